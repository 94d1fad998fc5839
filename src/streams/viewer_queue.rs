//! What one viewer has yet to receive: bounded, oldest dropped first, every drop counted.
//! It never makes whoever publishes wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use hidps_wire::AgentId;
use tokio::sync::Notify;

use crate::telemetry;

/// Most frames that wait: a second of a busy host in batches, more is no longer live.
const MAX_FRAMES: usize = 256;

/// Most bytes that wait.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The queue of one viewer.
#[derive(Debug, Default)]
pub struct ViewerQueue {
    pending: Mutex<Pending>,
    wake: Notify,
}

/// What was waiting, and what was dropped before it.
#[derive(Debug, Default)]
pub struct Pending {
    /// Frames, oldest first; the bytes are shared by all viewers of the agent.
    pub frames: VecDeque<(AgentId, Utf8Bytes)>,
    /// Frames dropped, by agent.
    pub dropped: BTreeMap<AgentId, u64>,
    bytes: usize,
}

impl ViewerQueue {
    /// Adds a frame; the oldest make room.
    pub fn push(&self, agent: AgentId, frame: Utf8Bytes) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.bytes += frame.len();
        pending.frames.push_back((agent, frame));
        while pending.frames.len() > MAX_FRAMES || pending.bytes > MAX_BYTES {
            let Some((agent, frame)) = pending.frames.pop_front() else {
                break;
            };
            pending.bytes -= frame.len();
            *pending.dropped.entry(agent).or_default() += 1;
            metrics::counter!(telemetry::VIEWER_DROPS).increment(1);
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Everything that waits, as soon as something does.
    pub async fn drain(&self) -> Pending {
        loop {
            let pending = {
                let mut guard = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *guard)
            };
            if !pending.frames.is_empty() || !pending.dropped.is_empty() {
                return pending;
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_slow_viewer_loses_the_oldest_and_is_told_how_many() {
        let queue = ViewerQueue::default();
        let agent = AgentId::new(Uuid::from_u128(1));
        for number in 0..MAX_FRAMES + 3 {
            queue.push(agent, number.to_string().into());
        }

        let pending = queue.drain().await;

        assert_eq!(pending.dropped.get(&agent), Some(&3));
        assert_eq!(pending.frames.len(), MAX_FRAMES);
        assert_eq!(pending.frames[0].1.as_str(), "3");
    }
}
