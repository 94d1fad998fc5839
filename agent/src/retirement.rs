//! Gives up a key that the accepted document names, by the same steps as the command on the host.
//! It goes by the key on the disk alone, so that a restart in between begins nothing anew.

use std::sync::Arc;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::backoff::{Backoff, Chance};
use crate::dial::Dialer;
use crate::error_chain::chain;
use crate::identity::Identity;
use crate::ledger::LedgerRecord;
use crate::link::LinkState;
use crate::rotate_key::replace_key;
use crate::shutdown::Shutdown;
use crate::state_dir::StateDir;
use crate::text::printable;

/// Looked at again at the latest, in case that nothing told of a change.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// No attempt comes sooner after another: the daemon's limits are for whole fleets.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest reason that is told.
const MAX_REASON_CHARS: usize = 400;

/// How it is with a key that is to be given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retirement {
    /// The public key, as the document names it.
    pub key: String,
    /// How far it is.
    pub standing: Standing,
}

/// How far the agent is with giving up a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is still the agent's, and the daemon cannot be asked.
    Waiting,
    /// It is not the agent's.
    Done,
    /// It is still the agent's, because the last attempt failed.
    Failed(String),
}

/// What gives up keys.
pub struct KeyRetirement {
    /// The agent's address.
    pub agent_id: AgentId,
    /// The way to the daemon.
    pub dialer: Arc<Dialer>,
    /// Where the keys are.
    pub state: StateDir,
    /// What the ledger holds.
    pub record: watch::Receiver<Option<Arc<LedgerRecord>>>,
    /// How the link is: who cannot connect need not ask.
    pub link: watch::Receiver<LinkState>,
    /// What spaces attempts.
    pub chance: Chance,
    /// Where it is told how far it is.
    pub told: watch::Sender<Option<Retirement>>,
}

/// What is remembered of attempts, also while no key is named: the daemon's pauses are for the
/// agent, whichever key it asks for.
struct Course {
    key: Option<String>,
    backoff: Backoff,
    not_before: Instant,
}

impl Course {
    /// Notes which key is named now; a fleet that is told of its keys at once does not ask at once.
    fn name(&mut self, key: Option<&str>, chance: &Chance) {
        if self.key.as_deref() == key {
            return;
        }
        self.key = key.map(str::to_owned);
        let first = Backoff::default().next_wait(chance.draw());
        self.not_before = self.not_before.max(Instant::now() + first);
    }
}

impl KeyRetirement {
    /// Works until the agent ends.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut course = Course {
            key: None,
            backoff: Backoff::default(),
            not_before: Instant::now(),
        };
        loop {
            let again_at = tokio::select! {
                again_at = self.look(&mut course) => again_at,
                // The keys on the disk are as good as after a loss of power.
                () = shutdown.requested() => return,
            };
            tokio::select! {
                changed = self.record.changed() => if changed.is_err() { return },
                Ok(()) = self.link.changed() => {}
                () = sleep_until(again_at) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// Looks once, and says when to look again at the latest.
    async fn look(&mut self, course: &mut Course) -> Instant {
        let now = Instant::now();
        let record = self.record.borrow_and_update().clone();
        let is_connected = matches!(*self.link.borrow_and_update(), LinkState::Connected { .. });
        let named = record.and_then(|record| record.accepted.document.retired_key.clone());
        course.name(named.as_deref(), &self.chance);
        let Some(key) = named else {
            self.publish(None);
            return now + LOOK_EVERY;
        };
        match self.holds(&key) {
            Ok(false) => {
                self.tell(&key, Standing::Done);
                return now + LOOK_EVERY;
            }
            Err(why) => {
                self.tell(&key, Standing::Failed(why));
                return now + SHORTEST_PAUSE;
            }
            Ok(true) => {}
        }
        if !is_connected || now < course.not_before {
            self.tell_waiting(&key);
            return if is_connected {
                course.not_before
            } else {
                now + LOOK_EVERY
            };
        }
        self.attempt(&key, course).await
    }

    /// Whether the key is still the agent's, as the disk says.
    fn holds(&self, key: &str) -> Result<bool, String> {
        match Identity::load(&self.state) {
            Ok(Some(present)) => Ok(present.public_key() == key),
            Ok(None) => Err("the agent's key is gone from its file".to_owned()),
            Err(error) => Err(printable(&chain(&error), MAX_REASON_CHARS)),
        }
    }

    async fn attempt(&self, key: &str, course: &mut Course) -> Instant {
        let replaced = replace_key(&self.state, &self.dialer, self.agent_id, Some(key));
        match replaced.await {
            Ok(replaced) => {
                if replaced.is_some() {
                    tracing::info!(former = key, "replaced the key, as was asked for");
                }
                course.backoff = Backoff::default();
                self.tell(key, Standing::Done);
                Instant::now() + LOOK_EVERY
            }
            Err(error) => {
                let why = printable(&chain(&error), MAX_REASON_CHARS);
                tracing::warn!(
                    reason = why,
                    "the key that is to be given up was not replaced"
                );
                self.tell(key, Standing::Failed(why));
                let asked = error.retry_after().unwrap_or_default();
                let own = course.backoff.next_wait(self.chance.draw());
                course.not_before = Instant::now() + asked + SHORTEST_PAUSE + own;
                course.not_before
            }
        }
    }

    fn tell(&self, key: &str, standing: Standing) {
        self.publish(Some(Retirement {
            key: key.to_owned(),
            standing,
        }));
    }

    fn publish(&self, news: Option<Retirement>) {
        self.told.send_if_modified(|told| {
            let is_news = *told != news;
            *told = news;
            is_news
        });
    }

    /// Says that it waits, unless it is known why: that is worth more.
    fn tell_waiting(&self, key: &str) {
        let is_told = self
            .told
            .borrow()
            .as_ref()
            .is_some_and(|told| told.key == key);
        if !is_told {
            self.tell(key, Standing::Waiting);
        }
    }
}

#[cfg(test)]
mod tests;
