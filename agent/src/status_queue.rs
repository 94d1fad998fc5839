//! The way of statuses to the daemon: each one in order while connected, else only the latest.
//! It is bounded, and counts what it leaves out; it never holds a newer one back for an older one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hidps_wire::Status;
use tokio::sync::{Notify, watch};

/// Statuses that wait for the writer. They come as fast as drifts are repaired, some ten a second,
/// and a line that carries no more than that for 3 s has other worries.
const MAX_WAITING: usize = 32;

/// The queue, shared by the loop, the link and the status file.
#[derive(Debug)]
pub struct StatusQueue {
    state: Mutex<State>,
    changed: Notify,
    latest: watch::Sender<Option<Status>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Status>,
    is_connected: bool,
    n_left_out: u64,
}

impl Default for StatusQueue {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            latest: watch::Sender::new(None),
        }
    }
}

impl StatusQueue {
    /// Tells how it is now. When the queue is full the oldest one is left out: the next one is
    /// whole, so only a transition is lost that was put right since.
    pub fn push(&self, status: Status) {
        let mut state = self.lock();
        if state.is_connected {
            if state.waiting.len() == MAX_WAITING {
                state.waiting.pop_front();
                state.n_left_out += 1;
                let total = state.n_left_out;
                tracing::warn!(total, "a status was left out: they come too fast");
            }
            state.waiting.push_back(status.clone());
        }
        // Under the lock, so that the latest one is that of the last push.
        self.latest.send_replace(Some(status));
        drop(state);
        self.changed.notify_one();
    }

    /// Begins a connection: the daemon wants the state of now, known or not, and nothing older.
    pub fn on_connected(&self) {
        let mut state = self.lock();
        state.waiting = self.latest.borrow().iter().cloned().collect();
        state.is_connected = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Ends a connection; what was not sent is told by the state of the next one.
    pub fn on_disconnected(&self) {
        let mut state = self.lock();
        state.is_connected = false;
        state.waiting.clear();
    }

    /// Waits for the next one and takes it; nothing is lost when the wait is abandoned.
    pub async fn next(&self) -> Status {
        loop {
            let next = self.lock().waiting.pop_front();
            if let Some(status) = next {
                return status;
            }
            self.changed.notified().await;
        }
    }

    /// How it is now, for those who need no transitions.
    #[must_use]
    pub fn latest(&self) -> watch::Receiver<Option<Status>> {
        self.latest.subscribe()
    }

    /// How many were left out since the agent started.
    #[must_use]
    pub fn n_left_out(&self) -> u64 {
        self.lock().n_left_out
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{Applied, ContentHash, Generation};
    use proptest::prelude::*;

    fn status(generation: u64) -> Status {
        Status {
            applied: Some(Applied {
                generation: Generation(generation),
                hash: ContentHash(String::new()),
                entries: 0,
            }),
            conditions: Vec::new(),
            firewall_active: None,
        }
    }

    /// Everything that waits.
    async fn take_all(queue: &StatusQueue) -> Vec<u64> {
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                biased;
                status = queue.next() => taken.extend(status.applied.map(|a| a.generation.0)),
                () = std::future::ready(()) => return taken,
            }
        }
    }

    #[tokio::test]
    async fn while_connected_every_status_comes_in_order() {
        let queue = StatusQueue::default();
        queue.on_connected();

        for generation in 1..=5 {
            queue.push(status(generation));
        }

        assert_eq!(take_all(&queue).await, [1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn a_new_connection_gets_the_latest_only_known_or_not() {
        let queue = StatusQueue::default();
        queue.push(status(1));
        queue.push(status(2));

        queue.on_connected();
        let first = take_all(&queue).await;
        queue.push(status(3));
        queue.on_disconnected();
        queue.push(status(4));
        queue.push(status(5));
        queue.on_connected();
        let second = take_all(&queue).await;
        queue.on_disconnected();
        queue.on_connected();

        assert_eq!((first, second), (vec![2], vec![5]));
        assert_eq!(take_all(&queue).await, [5]);
        assert_eq!(queue.n_left_out(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_leaves_out_the_oldest_and_counts() {
        let queue = StatusQueue::default();
        queue.on_connected();

        for generation in 1..=40 {
            queue.push(status(generation));
        }

        let expected: Vec<_> = (9..=40).collect();
        assert_eq!(take_all(&queue).await, expected);
        assert_eq!(queue.n_left_out(), 8);
    }

    proptest! {
        #[test]
        fn the_last_one_told_is_always_the_latest(
            steps in prop::collection::vec(0_u8..4, 1..60)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let queue = StatusQueue::default();
            let (mut pushed, mut is_connected, mut told) = (0, false, Vec::new());

            for step in steps {
                match step {
                    0 | 1 => {
                        pushed += 1;
                        queue.push(status(pushed));
                    }
                    2 => {
                        queue.on_connected();
                        is_connected = true;
                        told.clear();
                    }
                    _ => {
                        queue.on_disconnected();
                        is_connected = false;
                    }
                }
                let taken = runtime.block_on(take_all(&queue));
                prop_assert!(is_connected || taken.is_empty());
                told.extend(taken);
                prop_assert!(told.is_sorted());
                if is_connected && pushed > 0 {
                    prop_assert_eq!(told.last(), Some(&pushed));
                }
            }
        }
    }
}
