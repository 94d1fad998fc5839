//! Agents that were connected and are not heard of any more, and when that is told.
//! It never reads a clock.

use std::collections::BTreeMap;

use hidps_wire::AgentId;
use jiff::{SignedDuration, Timestamp};

use crate::model::Observation;
use crate::telemetry;

/// After how many seconds a silence is told: a minute is longer than a reconnection, and whoever
/// writes rules chooses among the later ones.
const TELL_AFTER: [u64; 6] = [60, 300, 900, 3_600, 21_600, 86_400];

/// Most silent agents kept; further ones are counted and not told.
const MAX_SILENT: usize = 100_000;

/// How long agents may take to come back to a daemon that has just started.
const RETURN_WITHIN: SignedDuration = SignedDuration::from_secs(120);

/// One silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Silence {
    since: Timestamp,
    /// It is not told earlier.
    not_before: Timestamp,
    /// How many of [`TELL_AFTER`] were told.
    n_told: usize,
    /// Whether it began before this daemon did.
    is_older: bool,
}

impl Silence {
    fn seconds(self, now: Timestamp) -> u64 {
        let seconds = now.as_second().saturating_sub(self.since.as_second());
        u64::try_from(seconds).unwrap_or(0)
    }

    /// How many of [`TELL_AFTER`] it has reached.
    fn n_due(self, now: Timestamp) -> usize {
        let seconds = self.seconds(now);
        match now < self.not_before {
            true => 0,
            false => TELL_AFTER.iter().filter(|after| **after <= seconds).count(),
        }
    }
}

/// All silences.
#[derive(Debug, Default)]
pub(super) struct Silences {
    silent: BTreeMap<AgentId, Silence>,
    /// Ends of silences that nobody has taken yet.
    over: BTreeMap<AgentId, u64>,
}

impl Silences {
    /// An agent's connection ended.
    pub(super) fn on_left(&mut self, agent: AgentId, now: Timestamp) {
        let silence = Silence {
            since: now,
            not_before: now,
            n_told: 0,
            is_older: false,
        };
        self.begin(agent, silence);
    }

    /// The daemon has just started, and an agent that ought to be there was last heard of then.
    pub(super) fn on_missed(&mut self, agent: AgentId, heard_at: Timestamp, now: Timestamp) {
        let silence = Silence {
            since: heard_at.min(now),
            not_before: now.checked_add(RETURN_WITHIN).unwrap_or(now),
            n_told: 0,
            is_older: true,
        };
        self.begin(agent, silence);
    }

    fn begin(&mut self, agent: AgentId, silence: Silence) {
        if self.silent.len() >= MAX_SILENT && !self.silent.contains_key(&agent) {
            metrics::counter!(telemetry::SILENCES_LOST).increment(1);
            return;
        }
        self.silent.insert(agent, silence);
    }

    /// An agent connected: the news, if its silence was any.
    pub(super) fn on_entered(&mut self, agent: AgentId, now: Timestamp) -> Option<Observation> {
        let silence = self.silent.remove(&agent)?;
        let seconds = silence.seconds(now);
        (silence.n_told > 0).then_some(Observation::Back { seconds })
    }

    /// Nobody has taken the news that an agent is back; it is told at the next call.
    pub(super) fn keep_back(&mut self, agent: AgentId, seconds: u64) {
        if self.over.len() < MAX_SILENT {
            self.over.insert(agent, seconds);
        }
    }

    /// Its silence is expected.
    pub(super) fn forget(&mut self, agent: AgentId) {
        self.silent.remove(&agent);
    }

    /// The agents whose silence has reached its next length, or, with `all`, every silent one.
    pub(super) fn list(&self, now: Timestamp, all: bool) -> Vec<AgentId> {
        let due = self.silent.iter();
        let due = due.filter(|(_, silence)| all || silence.n_due(now) > silence.n_told);
        due.map(|(agent, _)| *agent).collect()
    }

    /// Tells every silence that has reached its next length; what is not taken is told at the next
    /// call. Answers whose silence began before this daemon did and was told for the first time.
    pub(super) fn tell_due(
        &mut self,
        now: Timestamp,
        mut tell: impl FnMut(AgentId, Observation) -> bool,
    ) -> Vec<AgentId> {
        let mut not_returned = Vec::new();
        self.over
            .retain(|agent, seconds| !tell(*agent, Observation::Back { seconds: *seconds }));
        for (agent, silence) in &mut self.silent {
            let (n_due, seconds) = (silence.n_due(now), silence.seconds(now));
            if n_due > silence.n_told && tell(*agent, Observation::Silent { seconds }) {
                if silence.is_older && silence.n_told == 0 {
                    not_returned.push(*agent);
                }
                silence.n_told = n_due;
            }
        }
        not_returned
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

    #[test]
    fn who_was_there_before_a_restart_has_time_to_come_back_and_is_told_once() {
        let mut silences = Silences::default();
        silences.on_missed(AGENT, at(0), at(5_000));

        assert_eq!(told(&mut silences, 5_119), []);
        assert_eq!(
            told(&mut silences, 5_120),
            [Observation::Silent { seconds: 5_120 }]
        );
        assert_eq!(told(&mut silences, 5_130), []);
        silences.on_missed(AGENT, at(0), at(6_000));
        assert_eq!(silences.tell_due(at(6_200), |_, _| true), [AGENT]);
        assert_eq!(silences.tell_due(at(90_000), |_, _| true), []);

        silences.on_missed(AGENT, at(0), at(5_000));
        assert_eq!(
            silences.on_entered(AGENT, at(5_060)),
            None,
            "it is back in time"
        );
        assert_eq!(told(&mut silences, 5_200), []);
    }

    #[test]
    fn an_end_that_nobody_took_is_told_again() {
        let mut silences = Silences::default();
        silences.keep_back(AGENT, 90);
        silences.tell_due(at(0), |_, _| false);

        assert_eq!(told(&mut silences, 5), [Observation::Back { seconds: 90 }]);
        assert_eq!(told(&mut silences, 10), []);
    }

    #[test]
    fn only_those_about_to_be_told_are_listed_unless_all_are_wanted() {
        let mut silences = Silences::default();
        silences.on_left(AGENT, at(0));

        assert_eq!(silences.list(at(59), false), []);
        assert_eq!(silences.list(at(60), false), [AGENT]);
        told(&mut silences, 60);
        assert_eq!(silences.list(at(61), false), []);
        assert_eq!(silences.list(at(61), true), [AGENT]);
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
