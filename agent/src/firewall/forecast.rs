//! What loading or removing the agent's table would change, found out without changing anything.
//! What cannot be told of the host's tracking is said to be unknown.

use std::collections::BTreeSet;
use std::fs;

use hidps_wire::{
    CutOff, Direction, FirewallAction, FirewallPlan, FirewallPolicy, MAX_PLAN_LINES, Packet,
    PacketKind, PlannedChange, PlannedPeer, encode,
};

use super::counts::Counts;
use super::cut_off::{Tracking, judge_cut_off};
use super::difference::Difference;
use super::goal::FirewallGoal;
use super::guard::{Guards, SshPeer};
use super::nft::{FirewallError, Nft};
use super::nftables::{Memory, Nftables, Step, TableState, plan_step};
use super::ruleset::{RuleSet, filters_outgoing};
use super::ssh_peers::read_ssh_peers;
use super::{DaemonPlace, Forecast};
use crate::config::{Port, Transport};
use crate::text::printable;

/// Most bytes of all lines: less than half of a frame.
const MAX_BYTES: usize = 96 * 1024;

/// Longest line.
const MAX_LINE: usize = 1_000;

/// Tracked connections beyond this are not looked through: the file is read into memory.
const MAX_CONNECTIONS_BYTES: u64 = 8 * 1024 * 1024;

impl Forecast {
    /// Nothing would be done.
    pub(super) fn unchanged(why: &str) -> Self {
        Self {
            plan: FirewallPlan {
                change: PlannedChange::None,
                lines: Vec::new(),
                truncated: false,
            },
            cuts_off: CutOff::No,
            why: why.to_owned(),
            ssh_peers: Vec::new(),
            n_peers_left_out: 0,
        }
    }
}

impl Nftables {
    /// Foretells what [`Nftables::ensure`] would do.
    pub(super) async fn forecast(
        &self,
        goal: &FirewallGoal,
        place: &DaemonPlace,
    ) -> Result<Forecast, FirewallError> {
        let mut memory = self.memory.lock().await;
        let (state, _) = self.observe(memory.loaded.as_ref()).await?;
        match goal {
            FirewallGoal::Unmanaged => Ok(Forecast::unchanged("the firewall would be left alone")),
            FirewallGoal::Off if state == TableState::Absent => {
                Ok(Forecast::unchanged("the table is absent, as it would be"))
            }
            FirewallGoal::Off => {
                let now = self.nft().print_table().await?;
                Ok(Forecast {
                    plan: plan(PlannedChange::Remove, &Difference::between(&now, "")),
                    why: "without its table the agent stops no packet".to_owned(),
                    ..Forecast::unchanged("")
                })
            }
            FirewallGoal::On(policy) => {
                let known = self.locate(policy, &mut memory).await;
                let wanted = memory.listing_of(policy, &known);
                let forecast = if plan_step(goal.intent(), &state, wanted) == Step::Nothing {
                    Forecast::unchanged(
                        "the very table is in force, and the daemon is reached through it",
                    )
                } else {
                    self.forecast_load(policy, &state, &memory, place).await?
                };
                Ok(foretell_peers(forecast, policy, &self.keep_open).await)
            }
        }
    }

    async fn forecast_load(
        &self,
        policy: &FirewallPolicy,
        state: &TableState,
        memory: &Memory,
        place: &DaemonPlace,
    ) -> Result<Forecast, FirewallError> {
        let guards = Guards {
            daemon: if filters_outgoing(policy) {
                place.clone()
            } else {
                DaemonPlace::default()
            },
            is_daemon_named: self.is_daemon_named(),
            ..Guards::default()
        };
        let rules = RuleSet::new(policy, &self.keep_open, &guards);
        let script = rules.table_text(&Counts::default());
        let loaded = memory.loaded.as_ref();
        let ours = loaded.filter(|it| *state == TableState::Present(it.listing.clone()));
        let (change, now) = match (state, ours) {
            (TableState::Absent, _) => (PlannedChange::Load, String::new()),
            // The words of both are the agent's own, so that only the rules differ.
            (TableState::Present(_), Some(ours)) => {
                let now = ours.rules.table_text(&Counts::default());
                (PlannedChange::Repair, now)
            }
            (TableState::Present(_), None) => {
                (PlannedChange::Repair, self.nft().print_table().await?)
            }
        };
        // How this version of nft prints the table is known once it was loaded.
        let printed = memory.printed.as_ref().filter(|it| *it.policy == *policy);
        let wanted = printed.map_or(&script, |printed| &printed.text);
        let difference = Difference::between(&now, wanted);
        let (cuts_off, why) = self.judge_load(&rules, policy, place).await?;
        Ok(Forecast {
            plan: plan(change, &difference),
            cuts_off,
            why,
            ssh_peers: Vec::new(),
            n_peers_left_out: 0,
        })
    }

    async fn judge_load(
        &self,
        rules: &RuleSet,
        policy: &FirewallPolicy,
        place: &DaemonPlace,
    ) -> Result<(CutOff, String), FirewallError> {
        if let Err(error) = self
            .nft()
            .check(&rules.load_script(&Counts::default()))
            .await
        {
            let why = format!("this kernel would refuse the table, so nothing changes: {error}");
            return Ok((CutOff::No, why));
        }
        judge_host(self.nft(), policy, place).await
    }
}

/// Whether rules of the agent would cost this host its daemon, by what else filters here.
pub(super) async fn judge_host(
    nft: &Nft,
    policy: &FirewallPolicy,
    place: &DaemonPlace,
) -> Result<(CutOff, String), FirewallError> {
    if filters_outgoing(policy) && place.addresses.is_empty() {
        let why = "it stops outgoing packets, and where the daemon is cannot be looked up now";
        return Ok((CutOff::Unknown, why.to_owned()));
    }
    let ruleset = nft.list(&["list", "ruleset"]).await?;
    // A long table of connections is not read on the thread that everything runs on.
    let read = tokio::task::spawn_blocking(|| (read_connections(), read_legacy_tables()));
    let (connections, legacy_tables) = read.await.unwrap_or_default();
    let tracking = Tracking {
        connections: connections.as_deref(),
        legacy_tables: legacy_tables.as_deref(),
    };
    Ok(judge_cut_off(&ruleset, tracking, place))
}

/// Adds what becomes of everybody who is logged in by SSH now.
pub(super) async fn foretell_peers(
    forecast: Forecast,
    policy: &FirewallPolicy,
    keep_open: &BTreeSet<Port>,
) -> Forecast {
    let read = tokio::task::spawn_blocking(read_ssh_peers).await;
    let found = read.unwrap_or_default();
    let peers = found.peers.into_iter();
    let foretold = peers.map(|peer| foretell_peer(policy, keep_open, peer));
    Forecast {
        ssh_peers: foretold.collect(),
        n_peers_left_out: found.n_left_out,
        ..forecast
    }
}

/// What becomes of somebody who is logged in by SSH: the session itself always lives.
pub(super) fn foretell_peer(
    policy: &FirewallPolicy,
    keep_open: &BTreeSet<Port>,
    peer: SshPeer,
) -> PlannedPeer {
    let packet = Packet {
        direction: Direction::In,
        peer: peer.address,
        kind: PacketKind::Tcp(peer.port),
    };
    let port = Port {
        transport: Transport::Tcp,
        number: peer.port,
    };
    let (returns, why) = match policy.decide(&packet) {
        (FirewallAction::Allow, Some(id)) => (true, format!("the rule {id} lets it in")),
        (_, Some(id)) => (false, format!("the rule {id} keeps it out")),
        (_, None) if keep_open.contains(&port) => (true, format!("{port} is kept open")),
        (FirewallAction::Allow, None) => (true, "incoming packets pass by default".to_owned()),
        (_, None) => (false, "incoming packets are stopped by default".to_owned()),
    };
    PlannedPeer {
        address: peer.address.to_string(),
        port: peer.port,
        returns,
        why,
    }
}

/// The lines of a plan, as many as fit.
pub(super) fn plan(change: PlannedChange, difference: &Difference<'_>) -> FirewallPlan {
    let removed = difference.removed.iter().map(|line| ("-", line));
    let added = difference.added.iter().map(|line| ("+", line));
    let mut plan = FirewallPlan {
        change,
        lines: Vec::new(),
        truncated: false,
    };
    let mut room = MAX_BYTES;
    for (sign, line) in removed.chain(added) {
        let line = format!("{sign} {}", printable(line, MAX_LINE));
        let size = encode(&line).len() + 1;
        if plan.lines.len() == MAX_PLAN_LINES || size > room {
            plan.truncated = true;
            break;
        }
        room -= size;
        plan.lines.push(line);
    }
    plan
}

/// The kernel's table of connections; none when it has none to show, or a very long one.
fn read_connections() -> Option<String> {
    use std::io::Read as _;
    let file = fs::File::open("/proc/net/nf_conntrack").ok()?;
    let mut text = String::new();
    file.take(MAX_CONNECTIONS_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    let is_whole = (text.len() as u64) < MAX_CONNECTIONS_BYTES;
    is_whole.then_some(text)
}

/// The tables of iptables' older kind; none when they cannot be read.
fn read_legacy_tables() -> Option<String> {
    let mut tables = String::new();
    for path in ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"] {
        match fs::read_to_string(path) {
            Ok(text) => tables.push_str(&text),
            // A kernel without them has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    Some(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::MAX_AGENT_FRAME_BYTES;

    #[test]
    fn a_plan_of_a_huge_table_is_cut_and_says_so() {
        let check = |line: &str, n: usize, is_cut: bool| {
            let now = format!("{line}\n").repeat(n);

            let plan = plan(PlannedChange::Remove, &Difference::between(&now, ""));

            assert_eq!(plan.truncated, is_cut);
            assert_eq!(plan.lines.len() < n, is_cut);
            assert!(plan.lines.len() <= MAX_PLAN_LINES);
            assert!(encode(&plan).len() < MAX_AGENT_FRAME_BYTES / 2);
        };

        check("accept", 1_000, false);
        check("accept", 1_001, true);
        check(&"x".repeat(900), 500, true);
        check(&"\u{1}\"".repeat(5_000), 1, false);
    }

    #[test]
    fn what_goes_is_told_before_what_comes() {
        let difference = Difference::between("one\ntwo\n", "two\nthree\n");

        let plan = plan(PlannedChange::Repair, &difference);

        assert_eq!(plan.lines, ["- one", "+ three"]);
    }
}
