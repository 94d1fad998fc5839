//! What rules cost, sampled by a clock that the caller brings, and which of them cost too much.
//! It never reads a clock by itself; a rule it suspends is data for whoever asks.

/// Reads nanoseconds since any moment; never goes back.
pub type Clock = fn() -> u64;

/// How much time one rule may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// One event in so many is measured: a reading of the clock costs as much as many a rule.
    pub every_events: u64,
    /// Over how much time costs are added up.
    pub window_nanos: u64,
    /// How much of a window one rule may take.
    pub rule_nanos: u64,
    /// How many measured tries it takes at least, as none counts for more than its part: one long
    /// pause of the machine says nothing about a rule.
    pub samples: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            every_events: 16,
            window_nanos: 10_000_000_000,
            rule_nanos: 2_000_000_000,
            samples: 16,
        }
    }
}

/// A rule that cost too much and is not tried any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspension {
    /// The id of the rule.
    pub id: String,
    /// Why, as the counters show it too.
    pub reason: String,
    /// What it took in the window, by the samples.
    pub spent_nanos: u64,
    /// How much of the window had passed.
    pub window_nanos: u64,
}

/// What one rule has cost.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Spending {
    /// In all, by the samples.
    pub(crate) nanos: u64,
    /// The window it was last measured in.
    window: u64,
    window_nanos: u64,
    /// What of that is held against the rule.
    charged_nanos: u64,
    samples: u32,
}

impl Spending {
    /// Forgets the window, for a rule that is tried again.
    pub(crate) fn begin_anew(&mut self) {
        self.window = 0;
    }
}

/// Measures some events.
#[derive(Clone, Copy, Debug)]
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
        }
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

    /// Ends a measured try of a rule; answers what it took of the window, and how much of the
    /// window had passed, if that is too much.
    pub(crate) fn charge(&mut self, spending: &mut Spending) -> Option<(u64, u64)> {
        let now = (self.clock)();
        let took = now
            .saturating_sub(self.last)
            .saturating_mul(self.budget.every_events.max(1));
        self.last = now;
        if spending.window != self.window {
            *spending = Spending {
                nanos: spending.nanos,
                window: self.window,
                ..Spending::default()
            };
        }
        spending.nanos = spending.nanos.saturating_add(took);
        let most = self.budget.rule_nanos / u64::from(self.budget.samples.max(1)) + 1;
        spending.window_nanos = spending.window_nanos.saturating_add(took);
        spending.charged_nanos = spending.charged_nanos.saturating_add(took.min(most));
        spending.samples = spending.samples.saturating_add(1);
        let is_dear = spending.charged_nanos > self.budget.rule_nanos
            && spending.samples >= self.budget.samples;
        is_dear.then_some((spending.window_nanos, now.saturating_sub(self.began)))
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
