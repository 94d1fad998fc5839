//! The daemon's process: when it runs, and what its state machines want done after each event.
//! It never looks into a host.

use hidps::persistence::Want;
use hidps::ports::AgentSession as _;
use hidps_wire::DaemonFrame;
use jiff::Timestamp;

use super::{Event, SEEN_EVERY, World};
use crate::daemon::Daemon;
use crate::time::Millis;

impl World {
    pub(super) fn daemon_of(&mut self, epoch: u64) -> Option<&mut Daemon> {
        self.daemon.as_mut().filter(|daemon| daemon.epoch == epoch)
    }

    /// The daemon's wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        let real = i64::try_from(self.agenda.now()).unwrap_or(i64::MAX);
        // Away from zero, so that a clock that jumps back stays a time.
        Timestamp::from_millisecond(1_000_000_000 + real + self.clock_skew)
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn start_daemon(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        self.n_epochs += 1;
        let epoch = self.n_epochs;
        self.daemon = Some(Daemon::start(epoch, self.agenda.instant()));
        self.agenda.after(1, Event::DaemonOpens(epoch));
        let delay = self.rng.u64(50..3_000);
        self.agenda.after(delay, Event::FeedReady(epoch));
    }

    pub(super) fn open_daemon(&mut self, epoch: u64) {
        if self.rest_fails {
            self.agenda.after(1_000, Event::DaemonOpens(epoch));
        } else if self.daemon_of(epoch).is_some() {
            self.rows.reset_presence();
            if let Some(daemon) = self.daemon_of(epoch) {
                daemon.is_open = true;
            }
        }
    }

    pub(crate) fn kill_daemon(&mut self, back_after: Millis) {
        let Some(daemon) = self.daemon.take() else {
            return;
        };
        for number in daemon.links.keys() {
            let delay = self.rng.u64(1..1_000);
            self.agenda.after(delay, Event::HostLoses(*number));
        }
        self.agenda.after(back_after, Event::DaemonStarts);
    }

    /// Does what the daemon's state machines want after an event.
    pub(super) fn settle_daemon(&mut self) {
        let now = self.agenda.instant();
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let epoch = daemon.epoch;
        if !daemon.is_asking {
            daemon.drain_hints();
            match daemon.mirror.want(now) {
                Want::Wait(until) => self.agenda.at(until, Event::MirrorWakes),
                want @ (Want::List { .. } | Want::Read(_)) => {
                    daemon.is_asking = true;
                    let delay = self.rng.u64(1..50);
                    self.agenda.after(delay, Event::Query(epoch, want));
                }
            }
        }
        for number in daemon.wake_links(now) {
            self.agenda
                .after(0, Event::DaemonLoses(number, "superseded"));
        }
        self.pump_links();
        let has_records = self.daemon.as_ref().is_some_and(|daemon| {
            let pending = daemon.records.pending();
            !pending.conditions.is_empty() || !pending.presence.is_empty()
        });
        if has_records && !self.is_flush_planned {
            self.is_flush_planned = true;
            let delay = if self.rest_fails { 2_000 } else { 50 };
            self.agenda.after(delay, Event::Flush(epoch));
        }
    }

    pub(super) fn pump_links(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let mut frames = Vec::new();
        for (number, link) in &mut daemon.links {
            while let Some(frame) = link.session.poll_frame() {
                frames.push((*number, link.agent, frame));
            }
            let conditions = link.session.poll_conditions();
            if !conditions.is_empty() {
                hidps::ports::Records::conditions(&*daemon.records, conditions);
            }
            link.session.poll_milestones();
            let deadline = link.session.deadline();
            if let Some(at) = deadline.filter(|_| deadline != link.planned) {
                self.agenda.at(at, Event::SessionDeadline(*number));
            }
            link.planned = deadline;
        }
        for (number, agent, frame) in frames {
            if let DaemonFrame::Apply(apply) = frame {
                *self.counts.commands.entry(agent).or_default() += 1;
                self.check_command(number, agent, &apply);
                self.carry(number, 0, |number| Event::ToHost(number, apply));
            }
        }
    }

    pub(super) fn on_session_deadline(&mut self, number: u64) {
        let now = self.agenda.instant();
        let Some(link) = self
            .daemon
            .as_mut()
            .and_then(|daemon| daemon.links.get_mut(&number))
        else {
            return;
        };
        match link.session.deadline() {
            Some(deadline) if deadline <= now => {
                *self.counts.retries.entry(link.agent).or_default() += 1;
                link.session.on_deadline(now);
            }
            Some(deadline) => self.agenda.at(deadline, Event::SessionDeadline(number)),
            None => {}
        }
    }

    pub(super) fn on_seen(&mut self, number: u64) {
        let wall = self.wall();
        let is_dead = self.wires.get(&number).is_none_or(|wire| wire.is_dead);
        let Some(daemon) = self.daemon.as_ref() else {
            return;
        };
        if daemon.links.contains_key(&number) {
            if !is_dead {
                daemon.seen(number, wall);
            }
            self.agenda.after(SEEN_EVERY, Event::Seen(number));
        }
    }
}
