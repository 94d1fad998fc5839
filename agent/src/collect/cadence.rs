//! How often this host is looked at, as it is decided now; it may change while the agent runs.
//! It looks at nothing itself.

use std::time::Duration;

use hidps_wire::Collection;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often each thing is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cadence {
    /// Usage.
    pub usage: Duration,
    /// The snapshot of the processes that take most of the host.
    pub top_processes: Duration,
    /// What the host is.
    pub facts: Duration,
    /// Ports and connections, where they are watched.
    pub network: Duration,
    /// Processes that began or ended, where the kernel does not tell of them.
    pub process_poll: Duration,
}

impl Cadence {
    /// The same interval for everything.
    #[cfg(test)]
    pub(crate) const fn every(interval: Duration) -> Self {
        Self {
            usage: interval,
            top_processes: interval,
            facts: interval,
            network: interval,
            process_poll: interval,
        }
    }

    /// What is wanted, and where nothing is, what was decided before.
    #[must_use]
    pub fn with(self, wanted: Collection) -> Self {
        let every = |wanted: Option<u32>, before| {
            wanted.map_or(before, |seconds| Duration::from_secs(u64::from(seconds)))
        };
        Self {
            usage: every(wanted.usage, self.usage),
            top_processes: every(wanted.top_processes, self.top_processes),
            facts: every(wanted.facts, self.facts),
            network: every(wanted.network, self.network),
            process_poll: every(wanted.process_poll, self.process_poll),
        }
    }
}

/// Waits until it is time to look again, also when that is decided anew meanwhile.
pub async fn next_look(
    last: Instant,
    cadence: &mut watch::Receiver<Cadence>,
    every: impl Fn(&Cadence) -> Duration,
) {
    loop {
        let due = last + every(&cadence.borrow_and_update());
        tokio::select! {
            () = sleep_until(due) => return,
            Ok(()) = cadence.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cadence(secs: u64) -> Cadence {
        Cadence::every(Duration::from_secs(secs))
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_interval_holds_at_once_and_a_longer_one_too() {
        let (decide, mut cadence_rx) = watch::channel(cadence(600));
        let begun = Instant::now();

        let look = async {
            next_look(begun, &mut cadence_rx, |cadence| cadence.usage).await;
            let first = begun.elapsed();
            next_look(Instant::now(), &mut cadence_rx, |cadence| cadence.usage).await;
            (first, begun.elapsed())
        };
        let change = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            decide.send_replace(cadence(20));
            tokio::time::sleep(Duration::from_secs(15)).await;
            decide.send_replace(cadence(100));
        };
        let ((first, second), ()) = tokio::join!(look, change);

        assert_eq!((first.as_secs(), second.as_secs()), (20, 120));
    }

    #[tokio::test(start_paused = true)]
    async fn without_anybody_to_decide_the_last_word_holds() {
        let (decide, mut cadence_rx) = watch::channel(cadence(5));
        let begun = Instant::now();
        drop(decide);

        next_look(begun, &mut cadence_rx, |cadence| cadence.usage).await;

        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
