//! What acts do to the world: edits of desired state, faults of hosts and of the daemon.
//! It never looks at what a state machine has decided.

use std::collections::BTreeSet;

use hidps_wire::{DesiredDocument, FirewallRuleEntry, WatchPath};

use crate::fault::{Act, HostAct};
use crate::host::Host;
use crate::world::{Event, Heal, World};

/// Most paths of one agent here: enough to be many.
const PATHS: u32 = 12;

fn path(number: u32) -> String {
    format!("/etc/{}", number % PATHS)
}

/// Every path that is ever desired.
#[must_use]
pub(crate) fn all_paths() -> BTreeSet<WatchPath> {
    let parsed = (0..PATHS).filter_map(|number| WatchPath::parse(&path(number)).ok());
    parsed.collect()
}

fn rule(port: u32) -> FirewallRuleEntry {
    FirewallRuleEntry {
        id: uuid::Uuid::from_u128(u128::from(port)),
        action: "allow".to_owned(),
        direction: "in".to_owned(),
        protocol: "tcp".to_owned(),
        port_from: Some(port),
        port_to: None,
        source: None,
        destination: None,
    }
}

/// One of the changes people make; `pick` says which.
fn edit(document: &mut DesiredDocument, pick: u32) {
    let files = &mut document.monitored_files;
    match pick % 10 {
        0 => document.firewall_enabled = None,
        1 => document.firewall_enabled = Some(false),
        2 | 3 => document.firewall_enabled = Some(true),
        4 | 5 => files.push(path(pick / 10)),
        6 => *files = (0..8).map(path).collect(),
        7 | 8 => {
            // Other ports each time: what is desired again after a restored backup is another matter.
            let first = 1 + pick % 60_000;
            document.firewall_rules = (first..first + pick / 10 % 5).map(rule).collect();
        }
        _ => files.truncate(usize::try_from(pick / 10 % 4).unwrap_or(0)),
    }
    files.sort();
    files.dedup();
}

impl World {
    pub(crate) fn on_act(&mut self, act: Act) {
        match act {
            Act::Edit(agent, pick) => self.edit(agent, pick, false),
            Act::EditAll(pick) => {
                for agent in 0..self.plan.n_agents {
                    self.edit(agent, pick, true);
                }
            }
            Act::Release(agent) => self.release(agent),
            Act::Backup => self.back_up(),
            Act::Restore => self.restore(),
            Act::FeedAway(long) => {
                self.lose_feed();
                self.agenda.after(long, Event::Heal(Heal::Feed));
            }
            Act::RestFails(long) => {
                self.fail_rest();
                self.agenda.after(long, Event::Heal(Heal::Rest));
            }
            Act::RestPartial(long) => {
                self.cut_answers();
                self.agenda.after(long, Event::Heal(Heal::Partial));
            }
            Act::KillDaemon(long) => self.kill_daemon(long),
            Act::ClockJump(by) => self.jump_clock(by),
            Act::Twin(agent, long) => self.start_twin(agent, long),
            Act::OnHost(host, act) => self.on_host_act(host, act),
        }
    }

    fn on_host_act(&mut self, host: usize, act: HostAct) {
        let machine = &mut self.hosts[host].machine;
        match act {
            HostAct::Cut(long) => {
                machine.is_cut = true;
                self.break_wire(host);
                self.agenda.after(long, Event::Heal(Heal::Network(host)));
            }
            HostAct::DiskFull(long) => {
                machine.is_disk_full = true;
                self.agenda.after(long, Event::Heal(Heal::Disk(host)));
            }
            HostAct::NftBroken(long) => {
                machine.is_nft_broken = true;
                self.agenda.after(long, Event::Heal(Heal::Nft(host)));
            }
            HostAct::DeleteTable(is_told) => self.delete_table(host, is_told),
            HostAct::TogglePath(pick) => self.toggle_path(host, pick),
            HostAct::Kill(long) => self.restart_host(host, long),
            HostAct::Reboot(long) => {
                self.restart_host(host, long);
                self.hosts[host].machine.is_loaded = false;
            }
            // Without its ledger an agent cannot know that a table it finds is on trial, and leaves
            // it alone; a host that this cuts off needs a person.
            HostAct::LoseLedger(_) if !machine.bears_all() => {}
            HostAct::LoseLedger(long) => {
                self.restart_host(host, long);
                self.hosts[host].machine.disk = None;
                self.ledgers.forget(host);
            }
        }
    }

    fn edit(&mut self, agent: usize, pick: u32, hold: bool) {
        let agent = self.agent(agent);
        let changed = self
            .rows
            .change(agent, hold, |document| edit(document, pick));
        if let Some(generation) = changed {
            self.publish(agent, generation);
        }
    }

    pub(crate) fn release(&mut self, agent: usize) {
        let agent = self.agent(agent);
        if let Some(generation) = self.rows.release(agent) {
            self.publish(agent, generation);
        }
    }

    fn restart_host(&mut self, host: usize, after: u64) {
        self.kill_host(host);
        self.agenda.after(after, Event::HostStarts(host));
    }

    fn delete_table(&mut self, host: usize, is_told: bool) {
        self.hosts[host].machine.is_loaded = false;
        self.ledgers.tamper(host);
        let (boot, now) = (self.hosts[host].boot, self.agenda.instant());
        if is_told {
            self.tell(host, boot, |core| core.on_firewall_changed(None, now));
        }
    }

    fn toggle_path(&mut self, host: usize, pick: u32) {
        let Ok(path) = WatchPath::parse(&path(pick)) else {
            return;
        };
        let existing = &mut self.hosts[host].machine.existing;
        if !existing.remove(&path) {
            existing.insert(path);
        }
        self.ledgers.tamper(host);
        let (boot, now) = (self.hosts[host].boot, self.agenda.instant());
        self.tell(host, boot, |core| core.on_files_changed(now));
    }

    /// Another host with the same key: a cloned machine.
    fn start_twin(&mut self, agent: usize, long: u64) {
        let number = self.hosts.len();
        let mut twin = Host::new(self.agent(agent));
        twin.machine.existing = all_paths();
        twin.machine.most_rules = self.hosts[agent].machine.most_rules;
        twin.machine.disk = self.hosts[agent].machine.disk.clone();
        self.hosts.push(twin);
        self.agenda.after(1, Event::HostStarts(number));
        self.agenda.after(long, Event::Heal(Heal::Twin(number)));
    }
}
