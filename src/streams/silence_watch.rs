//! Looks again and again whether an agent's silence is to be told.
//! It decides nothing; presence does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::streams::agent_link::AgentLinks;

/// How late a silence may be told.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until it is told to stop.
pub async fn watch_silence(links: Arc<AgentLinks>, stop: CancellationToken) {
    let mut timer = interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => links.presence.tell_silences(Timestamp::now()),
            () = stop.cancelled() => return,
        }
    }
}
