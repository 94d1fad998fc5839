//! Looks again and again whether an agent's silence is to be told, and whether there is such an agent
//! still. It decides nothing; presence does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ports::Directory;
use crate::steady_clock::steady_now;
use crate::streams::agent_link::AgentLinks;
use crate::streams::presence::Presence;
use crate::telemetry::Chain;

/// How late a silence may be told.
const EVERY: Duration = Duration::from_secs(5);

/// How often it is asked whether silent agents exist at all.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// Agents per question: their ids go into one address, which may have 8 KiB.
const PER_QUESTION: usize = 100;

/// Looks until it is told to stop.
pub async fn watch_silence(
    links: Arc<AgentLinks>,
    directory: Arc<dyn Directory>,
    stop: CancellationToken,
) {
    let mut timer = interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep_at = Instant::now() + SWEEP_EVERY;
    loop {
        let now = tokio::select! {
            now = timer.tick() => now,
            () = stop.cancelled() => return,
        };
        let all = now >= sweep_at;
        if all {
            sweep_at = now + SWEEP_EVERY;
        }
        look(&links.presence, directory.as_ref(), steady_now(), all).await;
    }
}

/// Tells the silences that are due, but not those of agents that may not connect any more. Where that
/// cannot be asked they are told: a failed read must not hide a silence.
async fn look(presence: &Presence, directory: &dyn Directory, now: Timestamp, all: bool) {
    for agents in presence.list_silent(now, all).chunks(PER_QUESTION) {
        match directory.admitted(agents.to_vec()).await {
            Ok(admitted) => {
                let gone = agents.iter().filter(|agent| !admitted.contains(agent));
                gone.for_each(|agent| presence.expect_silence(*agent));
            }
            Err(error) => tracing::debug!(
                error = %Chain(&error), "it cannot be asked whether silent agents exist"
            ),
        }
    }
    presence.tell_silences(now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyStatus, Observation, Unheard};
    use crate::streams::fakes::{AGENT, FakeDirectory, OTHER, Recorder};

    /// What is observed of two silent agents, of which the directory knows only one.
    async fn observed(directory: FakeDirectory, all: bool) -> (Vec<Observation>, usize) {
        let recorder = Arc::new(Recorder::default());
        let records = Arc::clone(&recorder) as _;
        let presence = Presence::new(Arc::default(), records, Arc::clone(&recorder) as _);
        let at = |seconds| Timestamp::from_second(seconds).expect("a valid time");
        for agent in [AGENT, OTHER] {
            let heard_at = at(0);
            let unheard = Unheard {
                agent,
                heard_at,
                polls: false,
            };
            presence.expect_return(unheard, heard_at);
        }

        let now = if all { 1 } else { 200 };
        look(&presence, &directory, at(now), all).await;

        let observations = recorder.observations.lock().expect("unpoisoned");
        let observed = observations.iter().map(|(_, one)| *one).collect();
        (observed, presence.list_silent(at(now), true).len())
    }

    #[tokio::test]
    async fn the_silence_of_an_agent_that_is_gone_is_not_told() {
        let known = FakeDirectory::with_status(KeyStatus::Admitted);

        let expected = (vec![Observation::Silent { seconds: 200 }], 1);
        assert_eq!(observed(known, false).await, expected);
    }

    #[tokio::test]
    async fn agents_that_are_gone_are_forgotten_although_nothing_is_due() {
        let known = FakeDirectory::with_status(KeyStatus::Admitted);

        assert_eq!(observed(known, true).await, (Vec::new(), 1));
    }

    #[tokio::test]
    async fn a_directory_that_does_not_answer_hides_no_silence() {
        let (observed, n_silent) = observed(FakeDirectory::down(), false).await;
        assert_eq!((observed.len(), n_silent), (2, 2));
    }
}
