//! What a correlation remembers of one group: a summary that cannot grow past its cap.
//! It never reads a clock; every input carries its time.

use crate::correlation::key::Key;
use crate::correlation::number_window::NumberWindow;
use crate::correlation::recent::Recent;
use crate::correlation::sequence::{Chain, Facts, Ladder};
use crate::correlation::times::Times;
use crate::correlation::{Measure, Plan};
use crate::values::number::Number;

/// Entries that windows usually have room for: what more one had is given back when it is over.
const USUAL: usize = 8;

/// The memory of one group of one correlation.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    summary: Summary,
    /// Time of the newest match; time never goes back behind it.
    newest_ms: i64,
    /// The last event taken in, so that one that matches two rules counts once.
    last_event: u64,
    /// The last event this fired for.
    fired_event: u64,
}

/// What is kept, by what is computed.
#[derive(Clone, Debug)]
enum Summary {
    /// Times of matches, oldest first.
    Times(Times),
    /// Distinct values with the last time of each, oldest first.
    Values(Recent<i64>),
    /// The numbers of a field.
    Numbers(Box<NumberWindow>),
    /// Per joined rule the time of its last match.
    Seen(Vec<Option<i64>>),
    /// Sequences through all joined rules.
    Chain(Chain),
    /// Sequences that may leave out rules.
    Ladder(Ladder),
    /// What a formula over rules needs.
    Facts(Box<Facts>),
}

/// A match on its way into a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// Its time.
    pub(crate) now_ms: i64,
    /// The running number of the event, from one.
    pub(crate) event: u64,
    /// Which of the joined rules matched.
    pub(crate) member: usize,
    /// The value to count, when values are counted and the event has one.
    pub(crate) value: Option<Key<'a>>,
    /// The number to compute with, when numbers are and the event has one.
    pub(crate) number: Option<Number>,
    /// Whether the event brings nothing else, so that the window may fire at once.
    pub(crate) is_last: bool,
}

/// What a correlation computes and how much of it may be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizing<'a> {
    /// What it does.
    pub(crate) plan: &'a Plan,
    /// How many rules it joins.
    pub(crate) n_members: usize,
    /// Most entries kept.
    pub(crate) cap: usize,
}

/// What a window holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Reading {
    /// How many there are of what is counted.
    pub(crate) count: usize,
    /// What the bounds are tried on; nothing where no number can be computed.
    pub(crate) number: Option<Number>,
    /// Time of the oldest entry.
    pub(crate) first_ms: i64,
    /// Time of the newest entry.
    pub(crate) last_ms: i64,
}

impl Group {
    /// An empty window.
    pub(crate) fn new(sizing: &Sizing<'_>, now_ms: i64) -> Self {
        Self {
            summary: Summary::new(sizing),
            newest_ms: now_ms,
            last_event: 0,
            fired_event: 0,
        }
    }

    /// Forgets everything, for a group that is over; of its room it keeps what is usual.
    pub(crate) fn empty(&mut self) {
        self.summary.empty();
        (self.last_event, self.fired_event) = (0, 0);
    }

    /// Begins as an empty window does.
    pub(crate) fn begin(&mut self, now_ms: i64) {
        self.newest_ms = now_ms;
    }

    /// How many entries it holds.
    pub(crate) fn len(&self) -> usize {
        match &self.summary {
            Summary::Times(times) => times.len(),
            Summary::Values(values) => values.len(),
            Summary::Numbers(numbers) => numbers.len(),
            Summary::Seen(times) => times.len(),
            Summary::Chain(chain) => chain.len(),
            Summary::Ladder(ladder) => ladder.len(),
            Summary::Facts(facts) => facts.len(),
        }
    }

    /// Whether nothing in it can matter any more at `now_ms`.
    pub(crate) fn is_over(&self, now_ms: i64, timespan_ms: i64) -> bool {
        self.newest_ms < now_ms.saturating_sub(timespan_ms)
    }

    /// Takes a match in; answers how many live entries had to be dropped for it.
    pub(crate) fn add(&mut self, arrival: Arrival<'_>, sizing: &Sizing<'_>) -> u64 {
        let timespan_ms = sizing.plan.timespan_ms;
        if self.newest_ms.saturating_sub(arrival.now_ms) > timespan_ms {
            self.empty();
            self.begin(arrival.now_ms);
        }
        let is_new = self.last_event != arrival.event;
        self.last_event = arrival.event;
        self.newest_ms = self.newest_ms.max(arrival.now_ms);
        let oldest_ms = self.newest_ms.saturating_sub(timespan_ms);
        self.summary.forget_before(oldest_ms);
        self.summary
            .add(&arrival, self.newest_ms, is_new, sizing.cap)
    }

    /// What the window holds, if its condition is true and this event has not fired it before.
    pub(crate) fn poll_fired(&mut self, plan: &Plan) -> Option<Reading> {
        if self.fired_event == self.last_event || !self.holds(plan) {
            return None;
        }
        self.fired_event = self.last_event;
        Some(self.read())
    }

    /// Whether its condition is true.
    fn holds(&self, plan: &Plan) -> bool {
        if let (Some(formula), Summary::Facts(facts)) = (&plan.formula, &self.summary) {
            return formula.holds(facts);
        }
        let satisfies = |number: Number| {
            let mut bounds = plan.bounds.iter();
            bounds.all(|(relation, bound)| relation.holds(number, *bound))
        };
        self.read().number.is_some_and(satisfies)
    }

    /// What the window holds.
    pub(crate) fn read(&self) -> Reading {
        let (count, first_ms) = self.summary.read();
        let number = match &self.summary {
            Summary::Numbers(numbers) => numbers.read(),
            Summary::Times(_)
            | Summary::Values(_)
            | Summary::Seen(_)
            | Summary::Chain(_)
            | Summary::Ladder(_)
            | Summary::Facts(_) => Some(Number::Int(i64::try_from(count).unwrap_or(i64::MAX))),
        };
        Reading {
            count,
            number,
            first_ms: first_ms.unwrap_or(self.newest_ms),
            last_ms: self.newest_ms,
        }
    }
}

impl Summary {
    /// An empty summary of the right kind.
    fn new(sizing: &Sizing<'_>) -> Self {
        let (plan, n_members) = (sizing.plan, sizing.n_members);
        if let Some(formula) = &plan.formula {
            return Self::Facts(Box::new(Facts::new(n_members, &formula.clauses)));
        }
        match &plan.measure {
            Measure::EventCount => Self::Times(Times::default()),
            Measure::ValueCount(_) => Self::Values(Recent::default()),
            Measure::Sum(_) => Self::Numbers(Box::new(NumberWindow::sum())),
            Measure::Average(_) => Self::Numbers(Box::new(NumberWindow::average())),
            Measure::Percentile(_, percent) => {
                Self::Numbers(Box::new(NumberWindow::percentile(*percent)))
            }
            Measure::Temporal => Self::Seen(vec![None; n_members]),
            Measure::TemporalOrdered => Self::Chain(Chain::new(n_members)),
            Measure::PartlyOrdered => Self::Ladder(Ladder::new(n_members)),
        }
    }

    /// Forgets everything, and gives back more room than is usual.
    fn empty(&mut self) {
        match self {
            Self::Times(times) => *times = Times::default(),
            Self::Values(values) => while values.pop_oldest().is_some() {},
            Self::Numbers(numbers) => numbers.empty(USUAL),
            Self::Seen(times) => times.fill(None),
            Self::Chain(chain) => chain.forget_before(i64::MAX),
            Self::Ladder(ladder) => ladder.forget_before(i64::MAX),
            Self::Facts(facts) => facts.forget_before(i64::MAX),
        }
    }

    /// Forgets what lies before the window.
    fn forget_before(&mut self, oldest_ms: i64) {
        match self {
            Self::Times(times) => {
                while times.first().is_some_and(|time| time < oldest_ms) {
                    times.pop();
                }
            }
            Self::Values(values) => {
                while values.oldest().is_some_and(|time| *time < oldest_ms) {
                    values.pop_oldest();
                }
            }
            Self::Numbers(numbers) => numbers.forget_before(oldest_ms),
            Self::Seen(times) => {
                for time in times {
                    *time = time.filter(|time| *time >= oldest_ms);
                }
            }
            Self::Chain(chain) => chain.forget_before(oldest_ms),
            Self::Ladder(ladder) => ladder.forget_before(oldest_ms),
            Self::Facts(facts) => facts.forget_before(oldest_ms),
        }
    }

    /// Takes a match in; answers how many live entries had to be dropped for it.
    fn add(&mut self, arrival: &Arrival<'_>, now_ms: i64, is_new: bool, cap: usize) -> u64 {
        match self {
            Self::Times(times) => {
                if is_new {
                    times.push(now_ms);
                }
                let is_over = times.len() > cap;
                if is_over {
                    times.pop();
                }
                return u64::from(is_over);
            }
            Self::Values(values) => return add_value(values, arrival.value, now_ms, cap),
            Self::Numbers(numbers) => {
                // One event that matches two rules counts once, unless they name other fields.
                let number = arrival
                    .number
                    .filter(|number| is_new || numbers.newest() != Some(*number));
                return number.map_or(0, |number| numbers.push(now_ms, number, cap));
            }
            Self::Seen(times) => {
                if let Some(time) = times.get_mut(arrival.member) {
                    *time = Some(now_ms);
                }
            }
            Self::Chain(chain) => chain.add(arrival.member, now_ms),
            Self::Ladder(ladder) => ladder.add(arrival.member, now_ms),
            Self::Facts(facts) => facts.add(arrival.member, now_ms),
        }
        0
    }

    /// How many there are of what is counted, and the time of the oldest.
    fn read(&self) -> (usize, Option<i64>) {
        let seen = |times: &[Option<i64>]| {
            let seen = times.iter().flatten();
            (seen.clone().count(), seen.min().copied())
        };
        match self {
            Self::Times(times) => (times.len(), times.first()),
            Self::Values(values) => (values.len(), values.oldest().copied()),
            Self::Numbers(numbers) => (numbers.len(), numbers.first_ms()),
            Self::Seen(times) => seen(times),
            Self::Chain(chain) => chain.longest(),
            Self::Ladder(ladder) => ladder.longest(),
            Self::Facts(facts) => seen(&facts.seen),
        }
    }
}

/// Notes a value; answers how many had to be dropped for it.
fn add_value(values: &mut Recent<i64>, value: Option<Key<'_>>, now_ms: i64, cap: usize) -> u64 {
    let Some(value) = value else { return 0 };
    match values.touch(value) {
        Some(time) => *time = now_ms,
        None => values.insert(value, || now_ms, |time| *time = now_ms),
    }
    let is_over = values.len() > cap;
    if is_over {
        values.pop_oldest();
    }
    u64::from(is_over)
}
