//! What rules cost whom, sampled by a clock that the caller brings, and which of them cost too much.
//! It never reads a clock by itself; a rule it suspends is data for whoever asks.
//!
//! Whoever makes a rule dear loses it alone: one agent, else one organization, else all.

pub(crate) mod holds;
mod ledger;

use crate::breaker::holds::{HeldFor, Holds};
use crate::breaker::ledger::{Charge, Ledger};
use crate::event::Scope;

/// Reads nanoseconds since any moment; never goes back.
pub type Clock = fn() -> u64;

/// How much time one rule may take.
///
/// A scope has the budget once, an account twice and all together four times: whoever is suspended
/// alone has used up no more than half of what is suspended for with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// One event in so many is measured: a reading of the clock costs as much as many a rule.
    pub every_events: u64,
    /// Over how much time costs are added up.
    pub window_nanos: u64,
    /// How much of a window one rule may take for one scope.
    pub rule_nanos: u64,
    /// How long a try takes at least, on average, where a rule is at fault: many cheap events only
    /// are many.
    pub try_nanos: u64,
    /// How many measured tries it takes at least, as none counts for more than its part: one long
    /// pause of the machine says nothing about a rule.
    pub samples: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            every_events: 16,
            window_nanos: 10_000_000_000,
            rule_nanos: 1_000_000_000,
            // Twenty times what an event takes with all of hundreds of rules.
            try_nanos: 20_000,
            samples: 16,
        }
    }
}

/// Who pays for what rules cost beyond the agent an event came from: an organization, in the daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Account(pub u128);

/// For whom a rule is not tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Breadth {
    /// For one scope, which alone made it too dear.
    Scope(Scope),
    /// For one account, several scopes of which did.
    Account(Account),
    /// For everybody.
    All,
}

/// A rule that cost too much and is not tried for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspension {
    /// The id of the rule.
    pub id: String,
    /// For whom.
    pub breadth: Breadth,
    /// Whose event was one too many.
    pub scope: Scope,
    /// Why, as the counters show it too.
    pub reason: String,
    /// What it took in the window, by the samples.
    pub spent_nanos: u64,
    /// How much of the window had passed.
    pub window_nanos: u64,
    /// After how long it is tried again.
    pub pause_nanos: u64,
}

/// Whose event is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Who {
    /// The scope.
    pub(crate) scope: Scope,
    /// The account it belongs to.
    pub(crate) account: Account,
}

impl Who {
    /// Everybody it is one of, the narrowest first.
    pub(crate) const fn breadths(self) -> [Breadth; 3] {
        [
            Breadth::Scope(self.scope),
            Breadth::Account(self.account),
            Breadth::All,
        ]
    }
}

/// A try that was one too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Excess {
    /// For whom.
    pub(crate) breadth: Breadth,
    /// What the rule took in the window, by the samples.
    pub(crate) spent_nanos: u64,
    /// How much of the window had passed.
    pub(crate) window_nanos: u64,
    /// When that was.
    pub(crate) now: u64,
}

/// What one rule has cost.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Spending {
    /// In all, by the samples.
    pub(crate) nanos: u64,
    /// The window it was last measured in.
    window: u64,
    /// What of it was within that window.
    charge: Charge,
}

impl Spending {
    /// Forgets the window, for a rule that is tried again.
    pub(crate) fn begin_anew(&mut self) {
        self.window = 0;
    }
}

/// Measures some events.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    clock: Clock,
    budget: Budget,
    /// Events until the next one that is measured.
    left: u64,
    /// The number of the window, from one, and when it began.
    window: u64,
    began: u64,
    /// The reading at the end of the last measured try.
    last: u64,
    /// Whether the event at hand is measured.
    is_measuring: bool,
    /// Who has paid in this window, for rules that take a noticeable part of it.
    ledger: Ledger,
}

impl Meter {
    /// A meter whose first window begins now.
    pub(crate) fn new(clock: Clock, budget: Budget) -> Self {
        let now = clock();
        Self {
            clock,
            budget,
            left: 0,
            window: 1,
            began: now,
            last: now,
            is_measuring: false,
            ledger: Ledger::default(),
        }
    }

    /// The present time.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }

    /// The last time that was read.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Begins an event; answers itself if the tries of this one are to be measured.
    pub(crate) fn begin(&mut self) -> Option<&mut Self> {
        self.is_measuring = self.left == 0;
        if !self.is_measuring {
            self.left -= 1;
            return None;
        }
        self.left = self.budget.every_events.saturating_sub(1);
        self.last = (self.clock)();
        if self.last.saturating_sub(self.began) >= self.budget.window_nanos {
            self.window += 1;
            self.began = self.last;
        }
        Some(self)
    }

    /// Goes on with the event at hand after something that no rule answers for; answers itself if
    /// the event is measured.
    pub(crate) fn go_on(&mut self) -> Option<&mut Self> {
        if !self.is_measuring {
            return None;
        }
        self.last = (self.clock)();
        Some(self)
    }

    /// Ends a measured try of the rule of this number; answers for whom it was one too many, if it
    /// was: the narrowest that has used up its budget.
    pub(crate) fn charge(
        &mut self,
        number: usize,
        spending: &mut Spending,
        who: Who,
        holds: &Holds,
    ) -> Option<Excess> {
        let now = (self.clock)();
        let every = self.budget.every_events.max(1);
        let took = now.saturating_sub(self.last).saturating_mul(every);
        self.last = now;
        spending.nanos = spending.nanos.saturating_add(took);
        if spending.window != self.window {
            spending.window = self.window;
            spending.charge = Charge::default();
        }
        let budget = self.budget.rule_nanos;
        let most = budget / u64::from(self.budget.samples.max(1)) + 1;
        spending.charge.add(took, most);
        // Below that nobody can have used up anything, and accounts cost time too.
        if spending.charge.charged_nanos <= budget / 4 {
            return None;
        }
        let charges = who.breadths().map(|breadth| match breadth {
            Breadth::All => (breadth, spending.charge),
            Breadth::Scope(_) | Breadth::Account(_) => {
                let payer = (number, breadth);
                (breadth, self.ledger.add(self.window, payer, took, most))
            }
        });
        let mut budgets = [1, 2, 4]
            .map(|share| budget.saturating_mul(share))
            .into_iter();
        charges.into_iter().find_map(|(breadth, charge)| {
            let is_on_trial = holds.is_on_trial(&(number, breadth));
            let budget = budgets.next()? / if is_on_trial { 2 } else { 1 };
            let is_dear = charge.charged_nanos > budget
                && charge.samples >= self.budget.samples
                && charge.charged_nanos / u64::from(charge.samples)
                    >= self.budget.try_nanos * every;
            is_dear.then(|| Excess {
                breadth,
                spent_nanos: charge.spent_nanos,
                window_nanos: now.saturating_sub(self.began),
                now,
            })
        })
    }

    /// Forgets what was charged for a rule that is tried again.
    pub(crate) fn forget(&mut self, payer: &HeldFor) {
        self.ledger.forget(payer);
    }

    /// Forgets all that was charged, for rules that have other numbers now.
    pub(crate) fn forget_all(&mut self) {
        self.ledger.clear();
    }
}

/// Why a rule was suspended, in words.
pub(crate) fn reason(spent_nanos: u64, window_nanos: u64) -> String {
    let seconds = |nanos: u64| {
        format!(
            "{}.{:01} s",
            nanos / 1_000_000_000,
            nanos / 100_000_000 % 10
        )
    };
    format!(
        "it took some {} of the last {}",
        seconds(spent_nanos),
        seconds(window_nanos)
    )
}
