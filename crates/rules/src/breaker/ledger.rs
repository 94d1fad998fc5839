//! What each payer has made each rule cost within the present window.
//! It never keeps more than its bound, and loses the light ones first.

use std::collections::HashMap;

use crate::breaker::holds::HeldFor;

/// Most payers and rules of one window, of which none that matters can be lost: those over the mean
/// of so many are kept, and a budget is far above it.
const MAX_CHARGES: usize = 4_096;

/// What was charged within a window.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Charge {
    /// In all, by the samples.
    pub(crate) spent_nanos: u64,
    /// What of that counts.
    pub(crate) charged_nanos: u64,
    /// How many tries were measured.
    pub(crate) samples: u32,
}

impl Charge {
    /// Adds one measured try, of which no more than `most` counts.
    pub(crate) fn add(&mut self, took: u64, most: u64) {
        self.spent_nanos = self.spent_nanos.saturating_add(took);
        self.charged_nanos = self.charged_nanos.saturating_add(took.min(most));
        self.samples = self.samples.saturating_add(1);
    }
}

/// The charges of one window.
#[derive(Clone, Default, Debug)]
pub(crate) struct Ledger {
    window: u64,
    charges: HashMap<HeldFor, Charge>,
}

impl Ledger {
    /// Adds one measured try to an account of this window; answers the account.
    pub(crate) fn add(&mut self, window: u64, payer: HeldFor, took: u64, most: u64) -> Charge {
        if self.window != window {
            self.window = window;
            self.charges.clear();
        }
        if self.charges.len() >= MAX_CHARGES && !self.charges.contains_key(&payer) {
            self.drop_light();
        }
        let charge = self.charges.entry(payer).or_default();
        charge.add(took, most);
        *charge
    }

    /// Forgets what one payer was charged.
    pub(crate) fn forget(&mut self, payer: &HeldFor) {
        self.charges.remove(payer);
    }

    /// Forgets everything, for rules that have other numbers now.
    pub(crate) fn clear(&mut self) {
        self.charges.clear();
    }

    /// Forgets whoever was charged no more than the mean.
    fn drop_light(&mut self) {
        let sum = |charge: &Charge| u128::from(charge.charged_nanos);
        let total: u128 = self.charges.values().map(sum).sum();
        let n = self.charges.len().max(1) as u128;
        self.charges.retain(|_, charge| sum(charge) * n > total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::Breadth;
    use crate::event::Scope;

    fn payer(number: u128) -> HeldFor {
        (0, Breadth::Scope(Scope(number)))
    }

    #[test]
    fn a_flood_of_light_payers_does_not_make_it_forget_a_heavy_one() {
        let mut ledger = Ledger::default();
        ledger.add(1, payer(0), 1_000_000, 1_000_000);

        for number in 1..100_000 {
            ledger.add(1, payer(number), 10, 10);
            assert!(ledger.charges.len() <= MAX_CHARGES);
        }

        let charge = ledger.add(1, payer(0), 1, 1);
        assert_eq!((charge.charged_nanos, charge.samples), (1_000_001, 2));
    }

    #[test]
    fn another_window_begins_at_nothing() {
        let mut ledger = Ledger::default();
        ledger.add(1, payer(0), 7, 5);

        let charge = ledger.add(2, payer(0), 7, 5);

        let expected = Charge {
            spent_nanos: 7,
            charged_nanos: 5,
            samples: 1,
        };
        assert_eq!(charge, expected);
    }
}
