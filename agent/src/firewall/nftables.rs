//! The agent's own table in nftables: replaced whole by one transaction, or absent.
//! It never reads or writes another table.

use std::collections::BTreeSet;

use hidps_wire::FirewallIntent;
use serde_json::Value;
use tokio::sync::Mutex;

use super::difference::Difference;
use super::nft::{FirewallError, Nft};
use super::ruleset::{RuleSet, normalize, remove_script};
use super::{FirewallChange, FirewallOutcome, FirewallSync, TABLE_FAMILY, TABLE_NAME};
use crate::config::Port;

/// The managed firewall.
#[derive(Debug)]
pub struct Nftables {
    nft: Nft,
    keep_open: BTreeSet<Port>,
    pub(super) rules: RuleSet,
    pub(super) memory: Mutex<Memory>,
}

/// How the kernel lists the table as this process loaded it. It is learned by reading back, because
/// versions of nft print the same rule in different words.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The table that has to be there; none before it was loaded, so that a table left by an
    /// earlier process is replaced once.
    pub(super) loaded: Option<Value>,
    /// How it is printed, for people; kept when the table is gone.
    pub(super) text: Option<String>,
}

/// What was done to make the table so.
#[derive(Debug, Default)]
struct Deed {
    change: Option<FirewallChange>,
    tampering: Option<String>,
}

/// What is under the name of the agent's table.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum TableState {
    Absent,
    Present(Value),
}

/// What has to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
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
            memory: Mutex::default(),
        }
    }

    pub(super) const fn nft(&self) -> &Nft {
        &self.nft
    }

    /// Makes the table as intended and says what is so now.
    pub async fn ensure(&self, intent: FirewallIntent) -> FirewallOutcome {
        let mut memory = self.memory.lock().await;
        let mut deed = Deed::default();
        let state = self.converge(intent, &mut memory, &mut deed).await;
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
            change: deed.change,
            tampering: deed.tampering,
            sync,
        }
    }

    async fn converge(
        &self,
        intent: FirewallIntent,
        memory: &mut Memory,
        deed: &mut Deed,
    ) -> Result<TableState, FirewallError> {
        if intent == FirewallIntent::Unmanaged {
            // Whoever changes it from here on may.
            memory.loaded = None;
        }
        let before = self.observe(memory.loaded.is_some()).await?;
        match plan_step(intent, &before, memory.loaded.as_ref()) {
            Step::Nothing => Ok(before),
            Step::Load => {
                // A table of an earlier process is not somebody's tampering.
                let tampering = match &memory.loaded {
                    Some(_) => Some(self.describe_tampering(memory, &before).await),
                    None => None,
                };
                self.nft.apply(&self.rules.load_script()).await?;
                let after = self.learn(memory).await?;
                deed.change = Some(match &tampering {
                    Some(_) => FirewallChange::Repaired,
                    None => FirewallChange::Loaded,
                });
                deed.tampering = tampering;
                Ok(after)
            }
            Step::Remove => {
                self.nft.apply(remove_script()).await?;
                memory.loaded = None;
                deed.change = Some(FirewallChange::Removed);
                let after = self.observe(false).await?;
                if after == TableState::Absent {
                    Ok(after)
                } else {
                    Err(FirewallError::ReadBack("it is still there".to_owned()))
                }
            }
        }
    }

    /// Reads back what was just loaded.
    async fn learn(&self, memory: &mut Memory) -> Result<TableState, FirewallError> {
        // The text is for people only: without it the firewall is in force all the same.
        let (after, text) = tokio::join!(self.observe(true), self.nft.print_table());
        let after = after?;
        let TableState::Present(table) = &after else {
            return Err(FirewallError::ReadBack("it is absent".to_owned()));
        };
        self.rules
            .check_shape(table)
            .map_err(FirewallError::ReadBack)?;
        memory.loaded = Some(table.clone());
        memory.text = text.ok().or(memory.text.take());
        Ok(after)
    }

    /// What somebody did to the table this process had loaded.
    async fn describe_tampering(&self, memory: &Memory, found: &TableState) -> String {
        if *found == TableState::Absent {
            return "deleted the firewall table".to_owned();
        }
        let found = self.nft.print_table().await.ok();
        let texts = memory.text.as_ref().zip(found.as_ref());
        texts.map_or_else(
            || "changed the firewall table".to_owned(),
            |(loaded, found)| Difference::between(loaded, found).describe(),
        )
    }

    /// Reads the table. Each call of nft costs 3 ms, so what is expected to be there is listed at
    /// once; only when that fails is it asked whether the table is absent.
    pub(super) async fn observe(&self, is_expected: bool) -> Result<TableState, FirewallError> {
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

/// The next step, from what is intended and what is there alone.
pub(super) fn plan_step(
    intent: FirewallIntent,
    state: &TableState,
    loaded: Option<&Value>,
) -> Step {
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
