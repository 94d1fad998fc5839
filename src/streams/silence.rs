//! Agents that were connected and are not heard of any more, and when that is told.
//! It never reads a clock; a host that is silent while nobody watches is no news.

use std::collections::BTreeMap;

use hidps_wire::AgentId;
use jiff::Timestamp;

use crate::model::Observation;

/// After how many seconds a silence is told: a minute is longer than a reconnection, and whoever
/// writes rules chooses among the later ones.
const TELL_AFTER: [u64; 6] = [60, 300, 900, 3_600, 21_600, 86_400];

/// Most silent agents kept; further ones are not told.
const MAX_SILENT: usize = 100_000;

/// One silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Silence {
    since: Timestamp,
    /// How many of [`TELL_AFTER`] were told.
    n_told: usize,
}

impl Silence {
    fn seconds(self, now: Timestamp) -> u64 {
        let seconds = now.as_second().saturating_sub(self.since.as_second());
        u64::try_from(seconds).unwrap_or(0)
    }
}

/// All silences.
#[derive(Debug, Default)]
pub(super) struct Silences {
    silent: BTreeMap<AgentId, Silence>,
}

impl Silences {
    /// An agent's connection ended.
    pub(super) fn on_left(&mut self, agent: AgentId, now: Timestamp) {
        if self.silent.len() < MAX_SILENT {
            let silence = Silence {
                since: now,
                n_told: 0,
            };
            self.silent.insert(agent, silence);
        }
    }

    /// An agent connected: the news, if its silence was any.
    pub(super) fn on_entered(&mut self, agent: AgentId, now: Timestamp) -> Option<Observation> {
        let silence = self.silent.remove(&agent)?;
        let seconds = silence.seconds(now);
        (silence.n_told > 0).then_some(Observation::Back { seconds })
    }

    /// Its silence is expected.
    pub(super) fn forget(&mut self, agent: AgentId) {
        self.silent.remove(&agent);
    }

    /// Tells every silence that has reached its next length; one that is not taken is told at the
    /// next call.
    pub(super) fn tell_due(
        &mut self,
        now: Timestamp,
        mut tell: impl FnMut(AgentId, Observation) -> bool,
    ) {
        for (agent, silence) in &mut self.silent {
            let seconds = silence.seconds(now);
            let n_due = TELL_AFTER.iter().filter(|after| **after <= seconds).count();
            if n_due > silence.n_told && tell(*agent, Observation::Silent { seconds }) {
                silence.n_told = n_due;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn told(silences: &mut Silences, now: i64) -> Vec<Observation> {
        let mut told = Vec::new();
        silences.tell_due(at(now), |_, observation| {
            told.push(observation);
            true
        });
        told
    }

    #[test]
    fn a_silence_is_told_at_each_of_its_lengths_once_and_its_end() {
        let mut silences = Silences::default();
        silences.on_left(AGENT, at(0));

        assert_eq!(told(&mut silences, 59), []);
        assert_eq!(
            told(&mut silences, 60),
            [Observation::Silent { seconds: 60 }]
        );
        assert_eq!(told(&mut silences, 299), []);
        assert_eq!(
            told(&mut silences, 1_000),
            [Observation::Silent { seconds: 1_000 }]
        );
        assert_eq!(told(&mut silences, 3_599), []);
        let back = silences.on_entered(AGENT, at(3_599));
        assert_eq!(back, Some(Observation::Back { seconds: 3_599 }));
        assert_eq!(told(&mut silences, 90_000), []);
    }

    #[test]
    fn a_short_absence_is_no_news() {
        let mut silences = Silences::default();
        silences.on_left(AGENT, at(0));

        assert_eq!(silences.on_entered(AGENT, at(59)), None);
        assert_eq!(told(&mut silences, 600), []);
    }

    #[test]
    fn a_silence_that_was_expected_is_none() {
        let mut silences = Silences::default();
        silences.on_left(AGENT, at(0));
        silences.forget(AGENT);

        assert_eq!(told(&mut silences, 600), []);
    }

    #[test]
    fn what_was_not_taken_is_told_again() {
        let mut silences = Silences::default();
        silences.on_left(AGENT, at(0));
        silences.tell_due(at(70), |_, _| false);

        assert_eq!(
            told(&mut silences, 80),
            [Observation::Silent { seconds: 80 }]
        );
    }

    proptest! {
        #[test]
        fn nobody_is_back_who_was_not_silent(steps in prop::collection::vec((0..4_u8, 1..2_000_i64), 1..40)) {
            let (mut silences, mut now, mut n_silent) = (Silences::default(), 0, 0_u32);
            for (step, seconds) in steps {
                now += seconds;
                match step {
                    0 => {
                        silences.on_left(AGENT, at(now));
                        n_silent = 0;
                    }
                    1 => {
                        let back = silences.on_entered(AGENT, at(now));
                        prop_assert_eq!(back.is_some(), n_silent > 0);
                        n_silent = 0;
                    }
                    _ => n_silent += u32::try_from(told(&mut silences, now).len()).expect("few"),
                }
            }
        }
    }
}
