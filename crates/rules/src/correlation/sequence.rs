//! Sequences of joined rules within a window: how far they have come.
//! It never keeps single matches, only when the latest sequence of each length began.

use crate::correlation::formula::Clause;

/// Sequences that must go through every step, in order.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// Per step the latest beginning of a sequence that has come as far as it.
    begins: Box<[Option<i64>]>,
}

impl Chain {
    /// A sequence of so many steps.
    pub(crate) fn new(n_steps: usize) -> Self {
        Self {
            begins: vec![None; n_steps].into(),
        }
    }

    /// Takes a step.
    pub(crate) fn add(&mut self, step: usize, now_ms: i64) {
        let begin = match step.checked_sub(1) {
            Some(before) => self.begins.get(before).copied().flatten(),
            None => Some(now_ms),
        };
        if let (Some(slot), Some(begin)) = (self.begins.get_mut(step), begin) {
            *slot = Some(begin);
        }
    }

    /// Forgets sequences that began before the window.
    pub(crate) fn forget_before(&mut self, oldest_ms: i64) {
        for begin in &mut self.begins {
            *begin = begin.filter(|begin| *begin >= oldest_ms);
        }
    }

    /// How many steps the longest sequence has come, and when it began.
    pub(crate) fn longest(&self) -> (usize, Option<i64>) {
        let reached = self.begins.iter().rposition(Option::is_some);
        let begin = reached.and_then(|last| self.begins.get(last).copied().flatten());
        (reached.map_or(0, |last| last + 1), begin)
    }

    /// When the latest sequence through all steps began.
    pub(crate) fn complete(&self) -> Option<i64> {
        self.begins.last().copied().flatten()
    }

    /// How many entries it keeps.
    pub(crate) fn len(&self) -> usize {
        self.begins.len()
    }
}

/// Sequences that may leave out steps: the longest row of rules, each later than those before it.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    n_members: usize,
    /// Per rule and length the latest beginning of a sequence of this length that ends with it.
    begins: Vec<Option<i64>>,
}

impl Ladder {
    /// Sequences over this many rules.
    pub(crate) fn new(n_members: usize) -> Self {
        Self {
            n_members,
            begins: vec![None; n_members * n_members],
        }
    }

    /// The latest beginning of a sequence of `length` rules that ends with a rule before `member`.
    fn before(&self, member: usize, length: usize) -> Option<i64> {
        let earlier = (0..member).filter_map(|rule| {
            let at = rule * self.n_members + length.checked_sub(1)?;
            self.begins.get(at).copied().flatten()
        });
        earlier.max()
    }

    /// Takes the match of a rule in.
    pub(crate) fn add(&mut self, member: usize, now_ms: i64) {
        for length in (1..=self.n_members).rev() {
            let begin = match length {
                1 => Some(now_ms),
                _ => self.before(member, length - 1),
            };
            let slot = self.begins.get_mut(member * self.n_members + length - 1);
            if let Some(slot) = slot {
                *slot = begin.max(*slot);
            }
        }
    }

    /// Forgets sequences that began before the window.
    pub(crate) fn forget_before(&mut self, oldest_ms: i64) {
        for begin in &mut self.begins {
            *begin = begin.filter(|begin| *begin >= oldest_ms);
        }
    }

    /// How many rules the longest sequence has, and when it began.
    pub(crate) fn longest(&self) -> (usize, Option<i64>) {
        let lengths = (1..=self.n_members).rev();
        let found = lengths.map(|length| (length, self.before(self.n_members, length)));
        let mut found = found.filter(|(_, begin)| begin.is_some());
        found.next().unwrap_or((0, None))
    }

    /// How many entries it keeps.
    pub(crate) fn len(&self) -> usize {
        self.begins.len()
    }
}

/// What a boolean condition needs to know: which rules matched last when, and how far sequences are.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Per joined rule the time of its last match.
    pub(crate) seen: Vec<Option<i64>>,
    /// Per clause of an ordered condition its sequence.
    chains: Vec<Row>,
}

/// A sequence through some of the joined rules.
#[derive(Clone, Debug)]
struct Row {
    /// The rules, in the order in which they must match.
    steps: Vec<usize>,
    chain: Chain,
}

impl Facts {
    /// Nothing has matched yet.
    pub(crate) fn new(n_members: usize, clauses: &[Clause]) -> Self {
        let chain = |clause: &Clause| Row {
            steps: clause.steps.clone(),
            chain: Chain::new(clause.steps.len()),
        };
        Self {
            seen: vec![None; n_members],
            chains: clauses.iter().map(chain).collect(),
        }
    }

    /// Takes the match of a rule in.
    pub(crate) fn add(&mut self, member: usize, now_ms: i64) {
        if let Some(time) = self.seen.get_mut(member) {
            *time = Some(now_ms);
        }
        for row in &mut self.chains {
            if let Some(step) = row.steps.iter().position(|step| *step == member) {
                row.chain.add(step, now_ms);
            }
        }
    }

    /// Forgets what lies before the window.
    pub(crate) fn forget_before(&mut self, oldest_ms: i64) {
        for time in &mut self.seen {
            *time = time.filter(|time| *time >= oldest_ms);
        }
        self.chains
            .iter_mut()
            .for_each(|row| row.chain.forget_before(oldest_ms));
    }

    /// When the latest sequence through all rules of a clause began.
    pub(crate) fn complete(&self, clause: usize) -> Option<i64> {
        self.chains.get(clause)?.chain.complete()
    }

    /// Whether a joined rule matched within the window.
    pub(crate) fn has_seen(&self, member: usize) -> bool {
        self.seen.get(member).copied().flatten().is_some()
    }

    /// How many entries are kept.
    pub(crate) fn len(&self) -> usize {
        self.seen.len() + self.chains.iter().map(|row| row.chain.len()).sum::<usize>()
    }
}
