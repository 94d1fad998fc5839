//! Calls the database's own purge and lease expiry where no scheduler in the database does.
//! It never decides what is old; the functions and each organization's settings do.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::persistence::rest::Rest;
use crate::telemetry::Chain;

/// Pause between purges; what is purged is weeks old, so an hour more does not matter.
const EVERY: Duration = Duration::from_secs(3_600);

/// Most steps of one purge: a step removes a few thousand rows, so that none blocks Realtime long.
const MAX_STEPS: u32 = 100;

/// Pause between two looks for agents of whom nothing is heard; a lease is longer.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Ends leases until it is told to stop.
pub async fn run_expiry(rest: Rest, stop: CancellationToken) {
    let mut timer = interval(EXPIRE_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => match rest.expire_presence().await {
                Ok(0) => {}
                Ok(agents) => tracing::warn!(agents, "agents were marked offline: nothing was heard of them"),
                Err(error) => tracing::debug!(error = %Chain(&error), "leases were not looked at"),
            },
            () = stop.cancelled() => return,
        }
    }
}

/// Purges until it is told to stop.
pub async fn run_retention(rest: Rest, stop: CancellationToken) {
    let mut timer = interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => purge(&rest).await,
            () = stop.cancelled() => return,
        }
    }
}

async fn purge(rest: &Rest) {
    let mut removed = 0;
    for _ in 0..MAX_STEPS {
        match rest.purge().await {
            Ok(0) => break,
            Ok(rows) => removed += rows,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "old rows were not purged; trying again in an hour");
                break;
            }
        }
    }
    if removed > 0 {
        tracing::info!(rows = removed, "old rows were purged");
    }
}
