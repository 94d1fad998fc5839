//! A firewall that is looked at and never touched.
//! It has no way to change a rule.

use hidps_wire::FirewallIntent;

use super::nft::Nft;
use super::{BackEnd, FirewallOutcome, FirewallSync};

/// The observed firewall.
#[derive(Debug)]
pub struct ObserveOnly {
    nft: Nft,
}

impl ObserveOnly {
    /// A firewall to look at.
    #[must_use]
    pub const fn new(nft: Nft) -> Self {
        Self { nft }
    }

    pub(super) const fn nft(&self) -> &Nft {
        &self.nft
    }

    /// Says whether the firewall happens to be as intended.
    pub async fn observe(&self, intent: FirewallIntent) -> FirewallOutcome {
        let active = self.nft.has_table().await;
        let sync = match (intent, &active) {
            (FirewallIntent::Unmanaged, _) => FirewallSync::Unmanaged,
            (FirewallIntent::On, Ok(active)) => FirewallSync::ObserveOnly {
                as_desired: *active,
            },
            (FirewallIntent::Off, Ok(active)) => FirewallSync::ObserveOnly {
                as_desired: !active,
            },
            // Not even a look was possible, but the mode is what keeps it from being so.
            (FirewallIntent::On | FirewallIntent::Off, Err(_)) => {
                FirewallSync::ObserveOnly { as_desired: false }
            }
        };
        FirewallOutcome {
            back_end: BackEnd::Nftables,
            active: active.ok(),
            change: None,
            tampering: None,
            sync,
        }
    }
}
