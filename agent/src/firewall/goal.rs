//! What the firewall should be, whole: left alone, off, or on with all that it lets through.
//! It is a plain value; two goals are equal exactly if the host would do the same for both.

use std::sync::Arc;

use hidps_wire::{Desired, FirewallIntent, FirewallPolicy};

/// The whole desired value of the firewall.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FirewallGoal {
    /// Nobody has decided: it is left alone.
    #[default]
    Unmanaged,
    /// The agent filters nothing.
    Off,
    /// What the policy says passes.
    On(Arc<FirewallPolicy>),
}

impl FirewallGoal {
    /// The goal of a document.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        match desired.firewall {
            FirewallIntent::Unmanaged => Self::Unmanaged,
            FirewallIntent::Off => Self::Off,
            FirewallIntent::On => Self::On(Arc::new(desired.policy.clone())),
        }
    }

    /// On, with nothing but the defaults.
    #[must_use]
    pub fn plain_on() -> Self {
        Self::On(Arc::default())
    }

    /// The switch alone.
    #[must_use]
    pub const fn intent(&self) -> FirewallIntent {
        match self {
            Self::Unmanaged => FirewallIntent::Unmanaged,
            Self::Off => FirewallIntent::Off,
            Self::On(_) => FirewallIntent::On,
        }
    }
}
