//! Connections between hosts and the daemon: frames in order, and ends that notice late that the
//! other is gone. It never looks into a frame.

use hidps::ports::AgentSession as _;
use hidps_wire::{Applied, Apply, Status};

use super::{Event, SEEN_EVERY, SILENCE, Wire, World};

impl World {
    /// Sends a frame one way (0 to the host, 1 to the daemon), behind those sent before.
    pub(super) fn carry(&mut self, number: u64, way: usize, event: impl FnOnce(u64) -> Event) {
        let delay = self.rng.u64(1..80);
        let now = self.agenda.now();
        let Some(wire) = self.wires.get_mut(&number) else {
            return;
        };
        let at = wire.last[way].max(now + delay);
        wire.last[way] = at;
        if !wire.is_dead {
            self.agenda.after(at - now, event(number));
        }
    }

    /// Whether what was sent on a connection still arrives.
    pub(super) fn is_carried(&self, number: u64) -> bool {
        self.wires.get(&number).is_some_and(|wire| !wire.is_dead)
    }

    pub(super) fn connect(&mut self, host: usize, boot: u64) {
        let Some(process) = self.hosts[host].process.as_ref() else {
            return;
        };
        if self.hosts[host].boot != boot || self.up.contains_key(&host) {
            return;
        }
        let epoch = self
            .daemon
            .as_ref()
            .filter(|it| it.is_open)
            .map(|it| it.epoch);
        let Some(epoch) = epoch.filter(|_| self.hosts[host].machine.reaches_daemon()) else {
            let delay = self.rng.u64(500..8_000);
            return self.agenda.after(delay, Event::Connect(host, boot));
        };
        let applied = process.core.applied();
        self.n_wires += 1;
        let number = self.n_wires;
        let wire = Wire {
            host,
            boot,
            epoch,
            is_dead: false,
            last: [0; 2],
        };
        self.wires.insert(number, wire);
        self.up.insert(host, number);
        self.carry(number, 1, |number| Event::Hello(number, applied));
    }

    pub(super) fn on_hello(&mut self, number: u64, applied: Option<Applied>) {
        let times = (self.agenda.instant(), self.wall());
        let Some(wire) = self.wires.get(&number).filter(|wire| !wire.is_dead) else {
            return;
        };
        let (agent, epoch) = (self.hosts[wire.host].agent, wire.epoch);
        let Some(daemon) = self.daemon_of(epoch) else {
            return self.agenda.after(1, Event::HostLoses(number));
        };
        daemon.enter(number, agent, applied, times);
        *self.counts.connects.entry(agent).or_default() += 1;
        self.agenda.after(SEEN_EVERY, Event::Seen(number));
        self.carry(number, 0, Event::Welcome);
    }

    pub(super) fn on_welcome(&mut self, number: u64) {
        if !self.is_carried(number) {
            return;
        }
        let (host, boot) = (self.wires[&number].host, self.wires[&number].boot);
        let now = self.agenda.instant();
        self.tell(host, boot, |core| core.on_link_up(now));
        let process = self.hosts[host].process.as_ref();
        if let Some(status) = process.and_then(|process| process.latest.clone()) {
            self.carry(number, 1, |number| Event::ToDaemon(number, status));
        }
    }

    pub(super) fn on_apply(&mut self, number: u64, apply: Apply) {
        if !self.is_carried(number) {
            return;
        }
        let (host, boot) = (self.wires[&number].host, self.wires[&number].boot);
        let now = self.agenda.instant();
        self.tell(host, boot, |core| core.on_document(apply, now));
    }

    pub(super) fn on_status(&mut self, number: u64, status: Status) {
        if !self.is_carried(number) {
            return;
        }
        let now = self.agenda.instant();
        let daemon = self.daemon.as_mut();
        if let Some(link) = daemon.and_then(|daemon| daemon.links.get_mut(&number)) {
            link.told = status.applied.as_ref().map(|applied| applied.entries);
            link.session.on_status(status, now);
        }
    }

    pub(super) fn daemon_loses(&mut self, number: u64, reason: &str) {
        let wall = self.wall();
        let is_there = self
            .daemon
            .as_mut()
            .is_some_and(|daemon| daemon.links.contains_key(&number));
        if let Some(daemon) = self.daemon.as_mut().filter(|_| is_there) {
            daemon.leave(number, reason, wall);
            self.agenda.after(10, Event::HostLoses(number));
        }
    }

    pub(super) fn host_loses(&mut self, number: u64) {
        let Some(wire) = self.wires.get_mut(&number) else {
            return;
        };
        wire.is_dead = true;
        let (host, boot) = (wire.host, wire.boot);
        if self.up.get(&host) != Some(&number) {
            return;
        }
        self.up.remove(&host);
        self.agenda
            .after(10, Event::DaemonLoses(number, "the agent closed"));
        let now = self.agenda.instant();
        self.tell(host, boot, |core| core.on_link_down(now));
        let delay = self.rng.u64(200..5_000);
        self.agenda.after(delay, Event::Connect(host, boot));
    }

    /// A connection that carries nothing any more; each end notices within the silence it bears.
    pub(crate) fn break_wire(&mut self, host: usize) {
        let Some(number) = self.up.get(&host).copied() else {
            return;
        };
        let Some(wire) = self.wires.get_mut(&number).filter(|wire| !wire.is_dead) else {
            return;
        };
        wire.is_dead = true;
        let (theirs, ours) = (self.rng.u64(1..SILENCE), self.rng.u64(1..SILENCE));
        self.agenda
            .after(theirs, Event::DaemonLoses(number, "nothing was heard"));
        self.agenda.after(ours, Event::HostLoses(number));
    }
}
