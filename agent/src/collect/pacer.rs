//! How a thread of its own that looks again and again waits between two looks, and how it is told
//! that they are wanted at other intervals. It looks at nothing itself.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::cadence::Cadence;

/// The thread's part.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: watch::Receiver<Duration>,
    woken: Receiver<()>,
}

/// The agent's part; the thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct PacerHandle {
    interval: watch::Sender<Duration>,
    wake: SyncSender<()>,
}

/// Both parts, with the interval that holds until another one is told.
pub(super) fn pacer(interval: Duration) -> (PacerHandle, Pacer) {
    let (interval_tx, interval) = watch::channel(interval);
    let (wake, woken) = sync_channel(1);
    let handle = PacerHandle {
        interval: interval_tx,
        wake,
    };
    (handle, Pacer { interval, woken })
}

impl Pacer {
    /// Waits for the time of the next look; false when there is to be none.
    pub(super) fn wait(&self) -> bool {
        let last = Instant::now();
        loop {
            let left = self.interval.borrow().saturating_sub(last.elapsed());
            match self.woken.recv_timeout(left) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Waits until there is nothing more to be done.
    pub(super) fn wait_for_end(&self) {
        while self.woken.recv().is_ok() {}
    }
}

impl PacerHandle {
    /// Passes on what is decided for as long as somebody decides, and then waits.
    pub(super) async fn follow(
        &self,
        mut cadence: watch::Receiver<Cadence>,
        every: impl Fn(&Cadence) -> Duration,
    ) {
        loop {
            let wanted = every(&cadence.borrow_and_update());
            self.interval.send_replace(wanted);
            // A thread that was woken already and has not looked yet finds this interval, too.
            self.wake.try_send(()).ok();
            if cadence.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than any test runs.
    const NEVER: Duration = Duration::from_secs(86_400);

    const DEADLINE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn another_interval_holds_for_a_wait_that_has_begun() {
        let (handle, pacer) = pacer(NEVER);
        let (decide, decided) = watch::channel(Cadence::every(NEVER));
        let (looked_tx, mut looked) = tokio::sync::mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            looked_tx.blocking_send(()).ok();
            if pacer.wait() {
                looked_tx.blocking_send(()).ok();
            }
        });

        let looks = async {
            looked.recv().await.expect("it has begun to wait");
            decide.send_replace(Cadence::every(Duration::ZERO));
            looked.recv().await.expect("it looks again");
        };
        let both = async {
            tokio::select! {
                () = looks => {}
                () = handle.follow(decided, |cadence| cadence.network) => {}
            }
        };
        tokio::time::timeout(DEADLINE, both).await.unwrap();

        thread.join().unwrap();
    }

    #[test]
    fn a_wait_ends_when_nobody_wants_looks_any_more() {
        let (handle, pacer) = pacer(NEVER);
        drop(handle);

        assert!(!pacer.wait());
        pacer.wait_for_end();
    }
}
