//! Follows the desired state of the connected agents: hints mark, reads decide, readers see whole
//! values. It never removes anything because a read failed, was short or was denied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hidps_wire::{AgentId, Generation};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::chance::draw_share;
use crate::health::Health;
use crate::model::DesiredState;
use crate::persistence::feed::FeedEvent;
use crate::ports::{DesiredReader, DesiredSource, StoreError};
use crate::telemetry::{self, Chain};

/// Agents per page of the comparison; hosted PostgREST gives at most 1,000 rows.
const PAGE: usize = 1_000;

/// Most documents per read: enough to converge many hosts at once, few enough for a short answer.
const READ_AT_ONCE: usize = 100;

/// Pause after a failed read.
const PAUSE: Duration = Duration::from_secs(1);

type Slot = watch::Sender<Option<Arc<DesiredState>>>;

/// Where connections follow their agent.
#[derive(Debug, Clone, Default)]
pub struct MirrorHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    followed: BTreeMap<AgentId, Slot>,
    dirty: BTreeSet<AgentId>,
    /// Agents whose read failed; they wait for the next attempt and hold up nobody.
    failed: BTreeSet<AgentId>,
}

impl State {
    /// Marks an agent for reading if somebody follows it and the hint is news.
    fn hint(&mut self, agent: AgentId, generation: Option<Generation>) {
        let Some(slot) = self.followed.get(&agent) else {
            return;
        };
        let known = slot.borrow().as_ref().map(|desired| desired.generation);
        if generation.is_none() || known != generation {
            self.dirty.insert(agent);
        }
    }

    fn publish(&self, agent: AgentId, desired: DesiredState) {
        let Some(slot) = self.followed.get(&agent) else {
            return;
        };
        slot.send_if_modified(|held| {
            let is_news = held.as_deref() != Some(&desired);
            if is_news {
                *held = Some(Arc::new(desired));
            }
            is_news
        });
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DesiredSource for MirrorHandle {
    fn follow(&self, agent: AgentId) -> watch::Receiver<Option<Arc<DesiredState>>> {
        let receiver = self.shared.with(|state| {
            state.dirty.insert(agent);
            let slot = state
                .followed
                .entry(agent)
                .or_insert_with(|| watch::channel(None).0);
            slot.subscribe()
        });
        self.shared.wake.notify_one();
        receiver
    }
}

/// How the next read is tried after one failed.
struct Attempt {
    batch: usize,
    at: Instant,
    is_due: bool,
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            batch: READ_AT_ONCE,
            at: Instant::now(),
            is_due: false,
        }
    }
}

/// The task that reads.
#[derive(Debug)]
pub struct Mirror<R> {
    shared: Arc<Shared>,
    reader: R,
    resync_every: Duration,
    health: Arc<Health>,
}

impl<R: DesiredReader> Mirror<R> {
    /// A mirror over a reader; a full comparison happens about every `resync_every`.
    pub fn new(reader: R, resync_every: Duration, health: Arc<Health>) -> (Self, MirrorHandle) {
        let handle = MirrorHandle::default();
        (
            Self {
                shared: Arc::clone(&handle.shared),
                reader,
                resync_every,
                health,
            },
            handle,
        )
    }

    /// Reads whenever there is a reason, until it is told to stop.
    pub async fn run(self, mut hints: mpsc::Receiver<FeedEvent>, stop: CancellationToken) {
        let mut resync_at = Instant::now();
        let mut retry = Attempt::default();
        let mut hints_open = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(resync_at) => resync_at = self.compare("timer").await,
                () = sleep_until(retry.at), if retry.is_due => retry.is_due = false,
                hint = hints.recv(), if hints_open => match hint {
                    Some(FeedEvent::Hint { agent, generation }) => {
                        self.shared.with(|state| state.hint(agent, generation));
                    }
                    Some(FeedEvent::Resync) => resync_at = self.compare("feed").await,
                    None => hints_open = false,
                },
                () = self.shared.wake.notified() => {}
            }
            if !retry.is_due {
                self.shared
                    .with(|state| state.dirty.append(&mut state.failed));
            }
            self.read_dirty(&mut retry).await;
        }
    }

    /// Compares every generation with what is held and marks what differs; gives the next time.
    async fn compare(&self, cause: &'static str) -> Instant {
        metrics::counter!(telemetry::RESYNCS, "cause" => cause).increment(1);
        self.shared
            .with(|state| state.followed.retain(|_, slot| slot.receiver_count() > 0));
        let compared = self.mark_differences().await;
        self.health.set_compared(compared.is_ok());
        let wait = match compared {
            Ok(()) => jittered(self.resync_every),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), cause, "the comparison with the database failed");
                PAUSE
            }
        };
        Instant::now() + wait
    }

    async fn mark_differences(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.reader.list_generations(after, PAGE).await?;
            let Some((last, _)) = page.last().copied() else {
                return Ok(());
            };
            self.shared.with(|state| {
                for (agent, generation) in page {
                    state.hint(agent, Some(generation));
                }
            });
            after = Some(last);
        }
    }

    /// Reads everything marked once. What fails waits for the next attempt, which asks for half as
    /// many: one document that cannot be read then holds up no other.
    async fn read_dirty(&self, retry: &mut Attempt) {
        loop {
            let agents: Vec<AgentId> = self.shared.with(|state| {
                std::iter::from_fn(|| state.dirty.pop_first())
                    .take(retry.batch)
                    .collect()
            });
            if agents.is_empty() {
                return;
            }
            match self.reader.read_desired(agents.clone()).await {
                Ok(found) => {
                    retry.batch = (retry.batch * 2).min(READ_AT_ONCE);
                    self.publish(&agents, found);
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), agents = agents.len(), "desired state was not read");
                    self.health.set_compared(false);
                    self.shared.with(|state| state.failed.extend(agents));
                    *retry = Attempt {
                        batch: (retry.batch / 2).max(1),
                        at: Instant::now() + PAUSE,
                        is_due: true,
                    };
                }
            }
        }
    }

    fn publish(&self, asked: &[AgentId], found: Vec<(AgentId, DesiredState)>) {
        if found.len() < asked.len() {
            let missing = asked.len() - found.len();
            tracing::warn!(
                missing,
                "agents without a desired state were left as they are"
            );
        }
        self.shared.with(|state| {
            for (agent, desired) in found {
                state.publish(agent, desired);
            }
        });
    }
}

/// The interval plus up to a quarter, so that several daemons do not read in step.
fn jittered(interval: Duration) -> Duration {
    interval + interval.mul_f64(0.25 * draw_share())
}

#[cfg(test)]
mod tests;
