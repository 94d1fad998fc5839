//! Hosts: when their agents run, and what the agent's state machine wants done after each event.
//! It never looks into the daemon.

use hidps_agent::converge::{Core, ProbeId};

use super::{Event, World};
use crate::host::Outcome;

impl World {
    pub(crate) fn start_host(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        let now = self.agenda.instant();
        self.hosts[host].start(now);
        let boot = self.hosts[host].boot;
        self.ticks.remove(&host);
        self.agenda.after(5, Event::Connect(host, boot));
        self.settle_host(host);
    }

    pub(crate) fn kill_host(&mut self, host: usize) {
        let is_write_done = self.rng.bool();
        self.hosts[host].kill(is_write_done);
        self.ledgers
            .note(host, self.hosts[host].machine.disk.as_ref());
        if let Some(number) = self.up.remove(&host) {
            if let Some(wire) = self.wires.get_mut(&number) {
                wire.is_dead = true;
            }
            let delay = self.rng.u64(1..100);
            self.agenda
                .after(delay, Event::DaemonLoses(number, "the agent closed"));
        }
    }

    pub(crate) fn tell(&mut self, host: usize, boot: u64, input: impl FnOnce(&mut Core)) {
        if self.hosts[host].boot == boot {
            self.hosts[host].tell(input);
            self.settle_host(host);
        }
    }

    /// Plans what the agent's state machine wants after it was told something.
    pub(super) fn settle_host(&mut self, host: usize) {
        let boot = self.hosts[host].boot;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        if !process.is_busy && !process.effects.is_empty() {
            process.is_busy = true;
            let delay = self.rng.u64(1..30);
            self.agenda.after(delay, Event::EffectDone(host, boot));
        }
        let deadline = process.core.deadline();
        let wait = deadline.saturating_duration_since(self.agenda.instant());
        let at = self.agenda.now() + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2) + 1;
        if self.ticks.get(&host).is_none_or(|planned| at < *planned) {
            self.ticks.insert(host, at);
            let delay = at - self.agenda.now();
            self.agenda.after(delay, Event::HostTicks(host, boot));
        }
    }

    pub(super) fn on_effect_done(&mut self, host: usize, boot: u64) {
        if self.hosts[host].boot != boot || self.hosts[host].process.is_none() {
            return;
        }
        let now = self.agenda.instant();
        let outcome = self.hosts[host].finish_effect(now);
        if let Some(fault) = self
            .ledgers
            .note(host, self.hosts[host].machine.disk.as_ref())
        {
            self.fail(fault);
        }
        match outcome {
            Outcome::Done => {}
            Outcome::Report(status) => {
                self.check_report(host, &status);
                if let Some(number) = self.up.get(&host).copied() {
                    self.carry(number, 1, |number| Event::ToDaemon(number, status));
                }
            }
            Outcome::Probe(id) => self.probe(host, boot, id),
        }
        if !self.hosts[host].machine.reaches_daemon() {
            self.break_wire(host);
        }
        self.settle_host(host);
    }

    pub(super) fn probe(&mut self, host: usize, boot: u64, id: ProbeId) {
        let is_open = self.daemon.as_ref().is_some_and(|daemon| daemon.is_open);
        let (delay, result) = if is_open && self.hosts[host].machine.reaches_daemon() {
            (self.rng.u64(5..100), Ok(()))
        } else {
            (self.rng.u64(500..5_000), Err("no answer".to_owned()))
        };
        self.agenda
            .after(delay, Event::Probed(host, boot, id, result));
    }
}
