//! How much the rules of all organizations together may hold, and what is left of it.
//! It never takes away what is in force to make room for something new.

use hidps_rules::{Layer, LayerLimits};

/// How much one organization may hold: compiled within some tens of milliseconds, and a few
/// megabytes on every worker at the very worst.
const ONE: LayerLimits = LayerLimits {
    documents: 400,
    taken: 500,
    regexes: 50,
    size: 20_000,
};

/// Most rules of all organizations together, those taken from the built-in ones included.
const MAX_RULES: usize = 20_000;

/// Most values and parts of conditions of all organizations together: some hundreds of megabytes on
/// every worker at the very worst, for regular expressions take most.
const MAX_SIZE: usize = 200_000;

/// What one organization's rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weight {
    /// Rules, correlations, and copies of built-in ones.
    pub(super) rules: usize,
    /// Values and parts of conditions.
    pub(super) size: usize,
}

impl Weight {
    /// The weight of a layer.
    pub(super) fn of(layer: &Layer) -> Self {
        Self {
            rules: layer.set.rules().len(),
            size: layer.set.size(),
        }
    }
}

impl std::ops::Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rules: self.rules + other.rules,
            size: self.size + other.size,
        }
    }
}

/// What an organization may hold beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    left: Weight,
}

impl Room {
    /// The room where nobody else holds anything.
    pub(super) const fn all() -> Self {
        Self {
            left: Weight {
                rules: MAX_RULES,
                size: MAX_SIZE,
            },
        }
    }

    /// The room beside what all others hold.
    pub(super) fn beside(others: Weight) -> Self {
        let left = Weight {
            rules: MAX_RULES.saturating_sub(others.rules),
            size: MAX_SIZE.saturating_sub(others.size),
        };
        Self { left }
    }

    /// Room for so much.
    #[cfg(test)]
    pub(super) const fn leaving(left: Weight) -> Self {
        Self { left }
    }

    /// What its own texts may hold.
    pub(super) fn limits(self) -> LayerLimits {
        LayerLimits {
            documents: ONE.documents.min(self.left.rules),
            taken: ONE.taken.min(self.left.rules),
            size: ONE.size.min(self.left.size),
            ..ONE
        }
    }

    /// Whether there is less than one organization may have at most.
    pub(super) fn is_short(self) -> bool {
        self.limits() != ONE
    }

    /// Whether a layer fits, with what it takes from the built-in rules.
    pub(super) fn fits(self, weight: Weight) -> bool {
        weight.rules <= self.left.rules && weight.size <= self.left.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_organization_has_its_own_bounds_until_all_together_reach_theirs() {
        assert!(!Room::beside(Weight::default()).is_short());

        let nearly = Weight {
            rules: MAX_RULES - 3,
            size: MAX_SIZE - 10,
        };
        let room = Room::beside(nearly);
        assert!(room.is_short());
        assert_eq!((room.limits().documents, room.limits().size), (3, 10));
        assert!(room.fits(Weight { rules: 3, size: 10 }));
        assert!(!room.fits(Weight { rules: 3, size: 11 }));

        let more = nearly + nearly;
        assert!(!Room::beside(more).fits(Weight { rules: 1, size: 1 }));
    }
}
