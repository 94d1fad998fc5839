//! Follows the desired state of the connected agents: does what its core wants read, and shows
//! connections whole values. It never acts on a hint itself.

mod core;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::chance::draw_share;
use crate::health::{Fault, Health};
use crate::persistence::feed::FeedEvent;
use crate::ports::{DesiredReader, DesiredSource, StoreError};
use crate::telemetry::{self, Chain};

pub use self::core::{Core, Followed, Pace, Want};

/// Where connections follow their agent.
#[derive(Debug, Clone)]
pub struct MirrorHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    wake: Notify,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        act(&mut self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DesiredSource for MirrorHandle {
    fn follow(&self, agent: AgentId) -> Followed {
        let receiver = self.shared.with(|core| core.follow(agent));
        self.shared.wake.notify_one();
        receiver
    }
}

/// The task that reads.
#[derive(Debug)]
pub struct Mirror<R> {
    shared: Arc<Shared>,
    reader: R,
    health: Arc<Health>,
}

impl<R: DesiredReader> Mirror<R> {
    /// A mirror over a reader; a full comparison happens about every `resync_every`.
    pub fn new(reader: R, resync_every: Duration, health: Arc<Health>) -> (Self, MirrorHandle) {
        let pace = Pace {
            resync_every,
            draw: draw_share,
        };
        let core = Core::new(pace, Instant::now().into_std());
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            wake: Notify::new(),
        });
        let handle = MirrorHandle {
            shared: Arc::clone(&shared),
        };
        let mirror = Self {
            shared,
            reader,
            health,
        };
        (mirror, handle)
    }

    /// Reads whenever there is a reason, until it is told to stop.
    pub async fn run(self, mut hints: mpsc::Receiver<FeedEvent>, stop: CancellationToken) {
        let mut hints_open = true;
        loop {
            let now = Instant::now().into_std();
            let want = self.shared.with(|core| {
                while let Ok(hint) = hints.try_recv() {
                    core.on_hint(hint);
                }
                core.want(now)
            });
            if let Want::Wait(until) = want {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep_until(until.into()) => {}
                    () = self.shared.wake.notified() => {}
                    hint = hints.recv(), if hints_open => match hint {
                        Some(hint) => self.shared.with(|core| core.on_hint(hint)),
                        None => hints_open = false,
                    },
                }
            } else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.satisfy(want) => {}
                }
                let fault = self.shared.with(|core| core.fault());
                self.health.set_read(fault);
            }
        }
    }

    async fn satisfy(&self, want: Want) {
        match want {
            Want::Wait(_) => {}
            Want::List {
                after,
                limit,
                cause,
            } => {
                if after.is_none() {
                    metrics::counter!(telemetry::RESYNCS, "cause" => cause).increment(1);
                }
                let page = self.reader.list_versions(after, limit).await;
                let page = page.map_err(|error| fault("ComparisonFailed", &error));
                let now = Instant::now().into_std();
                self.shared.with(|core| core.on_listed(page, now));
            }
            Want::Read(agents) => {
                let found = self.reader.read_desired(agents.clone()).await;
                let found = found.map_err(|error| fault("ReadFailed", &error));
                let now = Instant::now().into_std();
                self.shared.with(|core| core.on_read(agents, found, now));
            }
        }
    }
}

/// The cause goes to the log alone: the fault is shown to every tenant, and a cause names addresses
/// and agents.
fn fault(reason: &'static str, error: &StoreError) -> Fault {
    tracing::warn!(reason, error = %Chain(error), "desired state was not read");
    let message = error.for_everybody();
    Fault { reason, message }
}

#[cfg(test)]
mod tests;
