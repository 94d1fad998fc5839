//! Agents that were connected, or asked regularly, and are not heard of any more; and when that is told.
//! It never reads a clock: its times are the steady clock's, or a corrected one would make all silent.

use std::collections::BTreeMap;

use hidps_wire::AgentId;
use jiff::{SignedDuration, Timestamp};

use crate::model::{Observation, Unheard};
use crate::streams::rhythm::{self, LONGEST_PAUSE, Rhythm};
use crate::telemetry;

/// After how many seconds a silence is told: a minute is longer than a reconnection, and whoever
/// writes rules chooses among the later ones.
const TELL_AFTER: [u64; 6] = [60, 300, 900, 3_600, 21_600, 86_400];

/// Most silent agents kept; further ones are counted and not told.
const MAX_SILENT: usize = 100_000;

/// How long agents may take to come back to a daemon that has just started.
const RETURN_WITHIN: SignedDuration = SignedDuration::from_secs(120);

/// How a silence began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Beginning {
    /// A connection ended.
    Left,
    /// Before this daemon did; whether the agent asked the last one regularly.
    Missed { polls: bool },
    /// With a request: whoever holds no connection is silent until the next one.
    Asked(Option<Rhythm>),
}

/// Why an agent is missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missed {
    /// It has not come back to this daemon.
    NotReturned,
    /// It asked regularly and does not any more.
    StoppedAsking,
}

/// What a request of an agent that holds no connection says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Asked {
    /// The news that it is back, if its silence was any.
    pub(super) back: Option<Observation>,
    /// Whether it asks regularly, so that it is missed when it does not.
    pub(super) is_expected: bool,
    /// Whether something else was known of it until now.
    pub(super) is_news: bool,
}

/// One silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Silence {
    since: Timestamp,
    /// It is not told earlier.
    not_before: Timestamp,
    /// How many of [`TELL_AFTER`] were told.
    n_told: usize,
    beginning: Beginning,
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

    /// The silence of an agent that asked just now; of one that does so seldom it is never told.
    fn after_request(rhythm: Option<Rhythm>, now: Timestamp) -> Self {
        let patience = rhythm.and_then(|rhythm| rhythm.patience(now));
        let not_before = patience.and_then(|patience| now.checked_add(patience).ok());
        Self {
            since: now,
            not_before: not_before.unwrap_or(Timestamp::MAX),
            n_told: 0,
            beginning: Beginning::Asked(rhythm),
        }
    }

    fn is_expected(self) -> bool {
        self.not_before != Timestamp::MAX
    }

    /// Nothing follows from it any more.
    fn is_idle(self, now: Timestamp) -> bool {
        !self.is_expected() && now.duration_since(self.since) > LONGEST_PAUSE
    }

    fn missed(self) -> Option<Missed> {
        match self.beginning {
            Beginning::Left => None,
            Beginning::Missed { .. } => Some(Missed::NotReturned),
            Beginning::Asked(_) => Some(Missed::StoppedAsking),
        }
    }

    fn back(self, now: Timestamp) -> Option<Observation> {
        let seconds = self.seconds(now);
        (self.n_told > 0).then_some(Observation::Back { seconds })
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
            beginning: Beginning::Left,
        };
        self.begin(agent, silence);
    }

    /// The daemon has just started, and an agent that ought to be there was last heard of then.
    pub(super) fn on_missed(&mut self, unheard: Unheard, now: Timestamp) {
        let polls = unheard.polls;
        let within = if polls {
            rhythm::AT_MOST
        } else {
            RETURN_WITHIN
        };
        let silence = Silence {
            since: unheard.heard_at.min(now),
            not_before: now.checked_add(within).unwrap_or(now),
            n_told: 0,
            beginning: Beginning::Missed { polls },
        };
        self.begin(unheard.agent, silence);
    }

    /// An agent that holds no connection was heard of.
    pub(super) fn on_asked(&mut self, agent: AgentId, now: Timestamp) -> Asked {
        let before = self.silent.remove(&agent);
        let rhythm = before.and_then(|before| match before.beginning {
            Beginning::Asked(rhythm) => rhythm,
            Beginning::Missed { polls } => polls.then_some(Rhythm::vouched(now)),
            Beginning::Left => None,
        });
        let silence = Silence::after_request(rhythm, now);
        let is_as_before = |before: Silence| {
            matches!(before.beginning, Beginning::Asked(_))
                && before.n_told == 0
                && before.is_expected() == silence.is_expected()
        };
        let is_known = self.begin(agent, silence);
        Asked {
            back: before.and_then(|before| before.back(now)),
            is_expected: is_known && silence.is_expected(),
            is_news: is_known && !before.is_some_and(is_as_before),
        }
    }

    /// The same agent asked for what comes at its times; whether it does so regularly, if that is news.
    pub(super) fn on_beat(&mut self, agent: AgentId, now: Timestamp) -> Option<bool> {
        let silence = self.silent.get_mut(&agent)?;
        let Beginning::Asked(rhythm) = silence.beginning else {
            return None;
        };
        let rhythm = rhythm.map_or(Rhythm::new(now), |rhythm| rhythm.beat(now));
        let was_expected = silence.is_expected();
        *silence = Silence::after_request(Some(rhythm), now);
        let is_expected = silence.is_expected();
        (is_expected != was_expected).then_some(is_expected)
    }

    /// Whether there was room for it.
    fn begin(&mut self, agent: AgentId, silence: Silence) -> bool {
        if self.silent.len() >= MAX_SILENT && !self.silent.contains_key(&agent) {
            metrics::counter!(telemetry::SILENCES_LOST).increment(1);
            return false;
        }
        self.silent.insert(agent, silence);
        true
    }

    /// An agent connected: the news, if its silence was any.
    pub(super) fn on_entered(&mut self, agent: AgentId, now: Timestamp) -> Option<Observation> {
        self.silent.remove(&agent)?.back(now)
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
    /// call. Answers whose silence was told for the first time although no connection of it had ended.
    pub(super) fn tell_due(
        &mut self,
        now: Timestamp,
        mut tell: impl FnMut(AgentId, Observation) -> bool,
    ) -> Vec<(AgentId, Missed)> {
        let mut missed = Vec::new();
        self.over
            .retain(|agent, seconds| !tell(*agent, Observation::Back { seconds: *seconds }));
        for (agent, silence) in &mut self.silent {
            let (n_due, seconds) = (silence.n_due(now), silence.seconds(now));
            if n_due > silence.n_told && tell(*agent, Observation::Silent { seconds }) {
                if silence.n_told == 0 {
                    missed.extend(silence.missed().map(|missed| (*agent, missed)));
                }
                silence.n_told = n_due;
            }
        }
        self.silent.retain(|_, silence| !silence.is_idle(now));
        missed
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

    /// The agent was last heard of at the beginning, by an earlier daemon.
    fn missed(polls: bool) -> Unheard {
        Unheard {
            agent: AGENT,
            heard_at: at(0),
            polls,
        }
    }

    /// Has the agent ask every half minute for a quarter of an hour; answers with what was news.
    fn ask_regularly(silences: &mut Silences) -> Vec<(i64, bool)> {
        let mut news = Vec::new();
        for second in (0..=900).step_by(30) {
            let asked = silences.on_asked(AGENT, at(second));
            news.extend(asked.is_news.then_some((second, asked.is_expected)));
            let regular = silences.on_beat(AGENT, at(second));
            news.extend(regular.map(|is_expected| (second, is_expected)));
        }
        news
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
        silences.on_missed(missed(false), at(5_000));

        assert_eq!(told(&mut silences, 5_119), []);
        assert_eq!(
            told(&mut silences, 5_120),
            [Observation::Silent { seconds: 5_120 }]
        );
        assert_eq!(told(&mut silences, 5_130), []);
        silences.on_missed(missed(false), at(6_000));
        assert_eq!(
            silences.tell_due(at(6_200), |_, _| true),
            [(AGENT, Missed::NotReturned)]
        );
        assert_eq!(silences.tell_due(at(90_000), |_, _| true), []);

        silences.on_missed(missed(false), at(5_000));
        assert_eq!(
            silences.on_entered(AGENT, at(5_060)),
            None,
            "it is back in time"
        );
        assert_eq!(told(&mut silences, 5_200), []);
    }

    #[test]
    fn who_asks_regularly_is_missed_like_anybody_and_its_return_is_told() {
        let mut silences = Silences::default();
        assert_eq!(ask_regularly(&mut silences), [(0, false), (600, true)]);

        assert_eq!(told(&mut silences, 989), []);
        let first = silences.tell_due(at(990), |_, _| true);
        assert_eq!(first, [(AGENT, Missed::StoppedAsking)]);
        assert_eq!(
            told(&mut silences, 1_200),
            [Observation::Silent { seconds: 300 }]
        );
        let back = silences.on_asked(AGENT, at(1_210));
        assert_eq!(back.back, Some(Observation::Back { seconds: 310 }));
        assert!(back.is_news);
        assert_eq!(told(&mut silences, 1_211), []);
        assert_eq!(silences.on_beat(AGENT, at(1_211)), Some(true));
    }

    #[test]
    fn who_asks_now_and_then_is_never_missed_and_forgotten() {
        let mut silences = Silences::default();
        let first = silences.on_asked(AGENT, at(0));
        assert!(first.is_news && !first.is_expected);
        assert!(!silences.on_asked(AGENT, at(200)).is_news);
        assert_eq!(told(&mut silences, 500), []);
        assert_eq!(silences.list(at(500), true), [AGENT]);
        assert_eq!(told(&mut silences, 501), []);
        assert_eq!(silences.list(at(501), true), []);
    }

    #[test]
    fn a_request_ends_the_silence_that_a_connection_or_an_earlier_daemon_began() {
        let mut silences = Silences::default();
        silences.on_missed(missed(true), at(5_000));
        assert_eq!(told(&mut silences, 5_899), []);
        let asked = silences.on_asked(AGENT, at(5_899));
        assert!(asked.is_news && asked.is_expected && asked.back.is_none());
        assert_eq!(told(&mut silences, 6_000), []);

        silences.on_missed(missed(false), at(7_000));
        told(&mut silences, 7_200);
        let asked = silences.on_asked(AGENT, at(7_205));
        assert_eq!(asked.back, Some(Observation::Back { seconds: 7_205 }));
        assert!(asked.is_news && !asked.is_expected);

        silences.on_left(AGENT, at(8_000));
        assert!(silences.on_asked(AGENT, at(8_030)).is_news);
        assert_eq!(told(&mut silences, 8_200), []);
    }

    #[test]
    fn what_a_host_tells_when_something_happens_makes_it_nobody_to_miss() {
        let mut silences = Silences::default();
        for second in 0..2_000 {
            silences.on_asked(AGENT, at(second));
        }
        assert_eq!(told(&mut silences, 100_000), []);
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
        fn nobody_is_back_who_was_not_silent(steps in prop::collection::vec((0..6_u8, 1..2_000_i64), 1..40)) {
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
                    2 => {
                        let asked = silences.on_asked(AGENT, at(now));
                        silences.on_beat(AGENT, at(now));
                        prop_assert_eq!(asked.back.is_some(), n_silent > 0);
                        n_silent = 0;
                    }
                    _ => n_silent += u32::try_from(told(&mut silences, now).len()).expect("few"),
                }
            }
        }
    }
}
