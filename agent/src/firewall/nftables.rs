//! The agent's own table in nftables: replaced whole by one transaction, or absent.
//! It never reads or writes another table.

use std::collections::BTreeSet;

use hidps_wire::FirewallIntent;
use serde_json::Value;
use tokio::sync::Mutex;

use super::nft::{FirewallError, Nft};
use super::ruleset::{RuleSet, normalize, remove_script};
use super::{FirewallChange, FirewallOutcome, FirewallSync, TABLE_FAMILY, TABLE_NAME};
use crate::config::Port;

/// The managed firewall.
#[derive(Debug)]
pub struct Nftables {
    nft: Nft,
    keep_open: BTreeSet<Port>,
    rules: RuleSet,
    /// How the kernel lists the table as this process loaded it. It is learned by reading back,
    /// because versions of nft print the same rule in different words; a table left by an earlier
    /// process is therefore replaced once.
    loaded: Mutex<Option<Value>>,
}

/// What is under the name of the agent's table.
#[derive(Clone, PartialEq, Debug)]
enum TableState {
    Absent,
    Present(Value),
}

/// What has to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Nothing,
    Load,
    Remove,
}

impl Nftables {
    /// A firewall that keeps these ports open when it is on.
    #[must_use]
    pub fn new(nft: Nft, keep_open: BTreeSet<Port>) -> Self {
        Self {
            nft,
            rules: RuleSet::new(&keep_open),
            keep_open,
            loaded: Mutex::new(None),
        }
    }

    pub(super) const fn nft(&self) -> &Nft {
        &self.nft
    }

    /// Makes the table as intended and says what is so now.
    pub async fn ensure(&self, intent: FirewallIntent) -> FirewallOutcome {
        let mut loaded = self.loaded.lock().await;
        let mut change = None;
        let state = self.converge(intent, &mut loaded, &mut change).await;
        let active = match &state {
            Ok(state) => Some(*state != TableState::Absent),
            // After a failure only a fresh look tells what is so.
            Err(_) => self.nft.has_table().await.ok(),
        };
        let sync = match (state, intent) {
            (_, FirewallIntent::Unmanaged) => FirewallSync::Unmanaged,
            (Err(error), _) => FirewallSync::Failed(error),
            (Ok(_), FirewallIntent::On) => FirewallSync::Enabled {
                keep_open: self.keep_open.clone(),
            },
            (Ok(_), FirewallIntent::Off) => FirewallSync::Disabled,
        };
        FirewallOutcome {
            active,
            change,
            sync,
        }
    }

    async fn converge(
        &self,
        intent: FirewallIntent,
        loaded: &mut Option<Value>,
        change: &mut Option<FirewallChange>,
    ) -> Result<TableState, FirewallError> {
        let before = self.observe(loaded.is_some()).await?;
        match plan_step(intent, &before, loaded.as_ref()) {
            Step::Nothing => Ok(before),
            Step::Load => {
                self.nft.apply(&self.rules.load_script()).await?;
                let after = self.observe(true).await?;
                let TableState::Present(table) = &after else {
                    return Err(FirewallError::ReadBack("it is absent".to_owned()));
                };
                self.rules
                    .check_shape(table)
                    .map_err(FirewallError::ReadBack)?;
                // A table of an earlier process is not somebody's tampering.
                let was_ours = loaded.replace(table.clone()).is_some();
                *change = Some(if was_ours {
                    FirewallChange::Repaired
                } else {
                    FirewallChange::Loaded
                });
                Ok(after)
            }
            Step::Remove => {
                self.nft.apply(remove_script()).await?;
                *loaded = None;
                *change = Some(FirewallChange::Removed);
                let after = self.observe(false).await?;
                if after == TableState::Absent {
                    Ok(after)
                } else {
                    Err(FirewallError::ReadBack("it is still there".to_owned()))
                }
            }
        }
    }

    /// Reads the table. Each call of nft costs 3 ms, so what is expected to be there is listed at
    /// once; only when that fails is it asked whether the table is absent.
    async fn observe(&self, is_expected: bool) -> Result<TableState, FirewallError> {
        const LIST_TABLE: [&str; 4] = ["list", "table", TABLE_FAMILY, TABLE_NAME];
        if is_expected && let Ok(listing) = self.nft.list(&LIST_TABLE).await {
            return Ok(TableState::Present(normalize(&listing)));
        }
        if !self.nft.has_table().await? {
            return Ok(TableState::Absent);
        }
        let listing = self.nft.list(&LIST_TABLE).await?;
        Ok(TableState::Present(normalize(&listing)))
    }
}

fn plan_step(intent: FirewallIntent, state: &TableState, loaded: Option<&Value>) -> Step {
    match (intent, state) {
        (FirewallIntent::Unmanaged, _) | (FirewallIntent::Off, TableState::Absent) => Step::Nothing,
        (FirewallIntent::Off, TableState::Present(_)) => Step::Remove,
        (FirewallIntent::On, TableState::Present(table)) if Some(table) == loaded => Step::Nothing,
        (FirewallIntent::On, _) => Step::Load,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_plan_is_empty_exactly_when_the_table_is_as_intended() {
        let ours = json!({"nftables": ["ours"]});
        let other = json!({"nftables": ["other"]});
        let check = |intent, state: TableState, loaded: Option<&Value>, step| {
            assert_eq!(
                plan_step(intent, &state, loaded),
                step,
                "{intent:?} {state:?}"
            );
        };
        let present = |table: &Value| TableState::Present(table.clone());

        check(FirewallIntent::On, TableState::Absent, None, Step::Load);
        check(
            FirewallIntent::On,
            TableState::Absent,
            Some(&ours),
            Step::Load,
        );
        check(FirewallIntent::On, present(&ours), None, Step::Load);
        check(FirewallIntent::On, present(&other), Some(&ours), Step::Load);
        check(
            FirewallIntent::On,
            present(&ours),
            Some(&ours),
            Step::Nothing,
        );
        check(
            FirewallIntent::Off,
            TableState::Absent,
            Some(&ours),
            Step::Nothing,
        );
        check(FirewallIntent::Off, present(&other), None, Step::Remove);
        check(
            FirewallIntent::Unmanaged,
            TableState::Absent,
            Some(&ours),
            Step::Nothing,
        );
        check(
            FirewallIntent::Unmanaged,
            present(&other),
            Some(&ours),
            Step::Nothing,
        );
    }
}
