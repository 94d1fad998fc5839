//! What the database answers and the feed carries, with what can go wrong on the way.
//! It never decides what is asked.

use hidps::health::Fault;
use hidps::persistence::{FeedEvent, Want};
use hidps_wire::{AgentId, Generation};

use super::{Answer, Event, World};

impl World {
    /// Tells of a change by the feed, as well as the weather lets it.
    pub(crate) fn publish(&mut self, agent: AgentId, generation: u64) {
        let weather = self.plan.hints;
        let copies = 1 + u32::from(self.rng.u32(0..100) < weather.doubled);
        for _ in 0..copies {
            if self.rng.u32(0..100) >= weather.lost {
                let delay = self.rng.u64(1..=weather.delay);
                let generation = self.rng.bool().then_some(Generation(generation));
                let hint = FeedEvent::Hint { agent, generation };
                self.agenda.after(delay, Event::Hint(hint));
            }
        }
    }

    pub(super) fn on_feed_ready(&mut self, epoch: u64) {
        let is_away = self.feed_away;
        if let Some(daemon) = self.daemon_of(epoch)
            && !is_away
        {
            daemon.is_feed_up = true;
            daemon.hear(FeedEvent::Resync);
        }
    }

    pub(super) fn on_query(&mut self, epoch: u64, want: Want) {
        let failure = |reason| Fault {
            reason,
            message: String::new(),
        };
        let fails = self.rest_fails;
        let answer = match want {
            Want::Wait(_) => return,
            Want::List { after, limit, .. } => Answer::Listed(if fails {
                Err(failure("ComparisonFailed"))
            } else {
                Ok(self.rows.list(after, limit.min(self.plan.page)))
            }),
            Want::Read(agents) => {
                let (rows, rng) = (&self.rows, &mut self.rng);
                let is_partial = self.rest_partial;
                let found = agents
                    .iter()
                    .filter(|_| !(is_partial && rng.bool()))
                    .filter_map(|agent| Some((*agent, rows.desired_state(*agent)?)))
                    .collect();
                let found = if fails {
                    Err(failure("ReadFailed"))
                } else {
                    Ok(found)
                };
                Answer::Read(agents, found)
            }
        };
        let delay = if fails {
            self.rng.u64(1..10_000)
        } else {
            self.rng.u64(1..100)
        };
        self.agenda.after(delay, Event::Answer(epoch, answer));
    }

    pub(super) fn on_answer(&mut self, epoch: u64, answer: Answer) {
        let now = self.agenda.instant();
        let Some(daemon) = self.daemon_of(epoch) else {
            return;
        };
        daemon.is_asking = false;
        match answer {
            Answer::Listed(page) => daemon.mirror.on_listed(page, now),
            Answer::Read(asked, found) => daemon.mirror.on_read(asked, found, now),
        }
    }

    pub(super) fn flush(&mut self, epoch: u64) {
        self.is_flush_planned = false;
        if self.rest_fails {
            return;
        }
        let (now, wall) = (self.agenda.now(), self.wall());
        let rows = &mut self.rows;
        let Some(daemon) = self.daemon.as_mut().filter(|it| it.epoch == epoch) else {
            return;
        };
        let mut pending = daemon.records.pending();
        for report in std::mem::take(&mut pending.presence).into_values() {
            let age = wall.duration_since(report.at).as_millis();
            rows.record_presence(&report, u64::try_from(age).unwrap_or(0), now);
        }
        for report in std::mem::take(&mut pending.conditions).into_values() {
            rows.report(report);
        }
    }
}
