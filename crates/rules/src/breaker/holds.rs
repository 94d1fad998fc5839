//! Which rules are not tried for whom because of what they cost, and until when.
//! It never decides what costs too much, and never holds a rule for ever.
//!
//! A hold ends by itself. What follows is a trial as long as the pause was, with half the budget; who
//! fails it is held for twice as long, and who stands it is as if nothing had been.

use std::collections::BTreeMap;

use crate::breaker::{Breadth, Who};

/// Length of the first pause: long enough that a dear rule takes a small share of the time.
pub(crate) const FIRST_PAUSE: u64 = 60_000_000_000;

/// Longest pause: whoever floods a rule must go on doing so to keep it away.
pub(crate) const LONGEST_PAUSE: u64 = 3_600_000_000_000;

/// Most holds and trials of one engine; past them the one that ends first ends now, so that a rule is
/// tried too early rather than never.
const MAX_HOLDS: usize = 1_024;

/// One rule and for whom it is held.
pub(crate) type HeldFor = (usize, Breadth);

/// One hold, or the trial after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hold {
    /// Why.
    pub(crate) reason: String,
    /// How long.
    pub(crate) pause_nanos: u64,
    /// When it ends.
    until: u64,
    is_trial: bool,
}

/// All holds of one engine.
#[derive(Clone, Default, Debug)]
pub(crate) struct Holds {
    holds: BTreeMap<HeldFor, Hold>,
    /// How many holds each rule has, trials apart.
    n_held: Vec<u32>,
    /// When the next one ends.
    next: Option<u64>,
}

impl Holds {
    /// Whether a rule is not to be tried on an event of somebody.
    pub(crate) fn is_held(&self, number: usize, who: Who) -> bool {
        if self.n_held.get(number).is_none_or(|n| *n == 0) {
            return false;
        }
        let is_held = |breadth| {
            let hold = self.holds.get(&(number, breadth));
            hold.is_some_and(|hold| !hold.is_trial)
        };
        who.breadths().into_iter().any(is_held)
    }

    /// Whether a rule is on trial for somebody.
    pub(crate) fn is_on_trial(&self, held: &HeldFor) -> bool {
        self.holds.get(held).is_some_and(|hold| hold.is_trial)
    }

    /// Holds a rule for somebody from now on; answers for how long.
    pub(crate) fn hold(&mut self, held: HeldFor, reason: String, now: u64) -> u64 {
        if self.holds.len() >= MAX_HOLDS && !self.holds.contains_key(&held) {
            let first = self.holds.iter().min_by_key(|(_, hold)| hold.until);
            if let Some(first) = first.map(|(held, _)| *held) {
                self.holds.remove(&first);
            }
        }
        let before = self.holds.get(&held).map(|hold| hold.pause_nanos);
        let pause_nanos = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        let hold = Hold {
            reason,
            pause_nanos,
            until: now.saturating_add(pause_nanos),
            is_trial: false,
        };
        self.holds.insert(held, hold);
        self.count();
        pause_nanos
    }

    /// Whether something is to end by now.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.next.is_some_and(|next| now >= next)
    }

    /// Ends what is to end by now; answers whose trials begin.
    pub(crate) fn end_due(&mut self, now: u64) -> Vec<HeldFor> {
        let mut begun = Vec::new();
        if !self.is_due(now) {
            return begun;
        }
        self.holds.retain(|held, hold| {
            let is_due = now >= hold.until;
            if is_due && !hold.is_trial {
                begun.push(*held);
                hold.is_trial = true;
                hold.until = now.saturating_add(hold.pause_nanos);
                return true;
            }
            !is_due
        });
        self.count();
        begun
    }

    /// Forgets everything about a rule.
    pub(crate) fn forget(&mut self, number: usize) {
        self.holds.retain(|(held, _), _| *held != number);
        self.count();
    }

    /// Moves holds to the new numbers of their rules; `kept` has the old number of each new rule.
    pub(crate) fn keep(&mut self, kept: &[Option<usize>]) {
        let mut new: BTreeMap<usize, usize> = BTreeMap::new();
        for (number, old) in kept.iter().enumerate() {
            new.extend(old.map(|old| (old, number)));
        }
        let moved = std::mem::take(&mut self.holds).into_iter();
        self.holds = moved
            .filter_map(|((number, breadth), hold)| Some(((*new.get(&number)?, breadth), hold)))
            .collect();
        self.count();
    }

    /// Every hold, trials apart.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&HeldFor, &Hold)> {
        self.holds.iter().filter(|(_, hold)| !hold.is_trial)
    }

    /// Why a rule is held for everybody, if it is.
    pub(crate) fn reason_for_all(&self, number: usize) -> Option<&str> {
        let hold = self.holds.get(&(number, Breadth::All))?;
        (!hold.is_trial).then_some(hold.reason.as_str())
    }

    /// Counts anew what is asked for on every event.
    fn count(&mut self) {
        self.next = self.holds.values().map(|hold| hold.until).min();
        self.n_held.clear();
        let held: Vec<usize> = self.list().map(|((number, _), _)| *number).collect();
        for number in held {
            if self.n_held.len() <= number {
                self.n_held.resize(number + 1, 0);
            }
            if let Some(n) = self.n_held.get_mut(number) {
                *n += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::Account;
    use crate::event::Scope;

    const WHO: Who = Who {
        scope: Scope(1),
        account: Account(10),
    };

    const OTHER: Who = Who {
        scope: Scope(2),
        account: Account(10),
    };

    /// Holds rule 3 for the scope of `WHO`.
    fn hold(holds: &mut Holds, now: u64) -> u64 {
        holds.hold((3, Breadth::Scope(WHO.scope)), "dear".to_owned(), now)
    }

    #[test]
    fn a_hold_is_for_its_rule_and_scope_only_and_ends_by_itself() {
        let mut holds = Holds::default();
        hold(&mut holds, 5);

        assert!(holds.is_held(3, WHO));
        assert!(!holds.is_held(3, OTHER));
        assert!(!holds.is_held(2, WHO));
        assert_eq!(holds.end_due(FIRST_PAUSE), []);
        assert_eq!(
            holds.end_due(FIRST_PAUSE + 5),
            [(3, Breadth::Scope(WHO.scope))]
        );
        assert!(!holds.is_held(3, WHO));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_a_trial_that_was_stood_ends_that() {
        let (mut holds, mut now) = (Holds::default(), 0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = hold(&mut holds, now);
            pauses.push(pause / FIRST_PAUSE);
            now += pause;
            assert_eq!(holds.end_due(now).len(), 1);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);

        assert_eq!(holds.end_due(now + LONGEST_PAUSE), []);
        assert_eq!(hold(&mut holds, now), FIRST_PAUSE);
    }

    #[test]
    fn a_hold_for_an_account_or_all_covers_its_scopes() {
        let mut holds = Holds::default();
        let stranger = Who {
            account: Account(11),
            ..OTHER
        };
        holds.hold((3, Breadth::Account(WHO.account)), String::new(), 0);
        assert!(holds.is_held(3, WHO) && holds.is_held(3, OTHER));
        assert!(!holds.is_held(3, stranger));

        holds.hold((3, Breadth::All), "all".to_owned(), 0);
        assert!(holds.is_held(3, stranger));
        assert_eq!(holds.reason_for_all(3), Some("all"));
    }

    #[test]
    fn holds_follow_their_rules_to_other_numbers() {
        let mut holds = Holds::default();
        hold(&mut holds, 0);

        holds.keep(&[Some(3), None]);
        assert!(holds.is_held(0, WHO) && !holds.is_held(3, WHO));

        holds.keep(&[None]);
        assert_eq!(holds.list().count(), 0);
    }

    #[test]
    fn past_the_bound_the_one_that_ends_first_ends_now() {
        let mut holds = Holds::default();
        for number in 0..=MAX_HOLDS {
            let now = u64::try_from(number).expect("it is small");
            holds.hold((number, Breadth::All), String::new(), now);
        }

        assert_eq!(holds.list().count(), MAX_HOLDS);
        assert!(!holds.is_held(0, WHO) && holds.is_held(1, WHO));
    }
}
