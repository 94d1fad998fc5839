//! The agent's own table in nftables: replaced whole by one transaction, or absent.
//! It never reads or writes another table.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hidps_wire::{FirewallIntent, FirewallPolicy};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use super::counts::Counts;
use super::difference::Difference;
use super::goal::FirewallGoal;
use super::guard::{Guards, PEERS_FOR};
use super::nft::{FirewallError, Nft};
use super::other_filters::{OtherFilter, find_other_filters};
use super::ruleset::{RuleSet, filters_outgoing, forget_peers, normalize, remove_script};
use super::ssh_peers::{SshPeers, read_ssh_peers};
use super::{
    BackEnd, DaemonPlace, FirewallChange, FirewallOutcome, FirewallSync, InForce, Returning,
    TABLE_FAMILY, TABLE_NAME,
};
use crate::config::Port;
use crate::dial::FirstHop;

/// The managed firewall.
#[derive(Debug)]
pub(super) struct Nftables {
    nft: Nft,
    pub(super) keep_open: BTreeSet<Port>,
    /// Where packets to the daemon go first.
    pub(super) hop: FirstHop,
    pub(super) memory: Mutex<Memory>,
}

/// What this process has loaded and knows.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The table that has to be there; none before it was loaded, so that a table left by an
    /// earlier process is replaced once.
    pub(super) loaded: Option<Loaded>,
    /// How the last one was printed, for people; kept when the table is gone.
    pub(super) printed: Option<Printed>,
    /// Where the daemon was when that could last be looked up.
    place: DaemonPlace,
}

/// A table this process has loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) policy: Arc<FirewallPolicy>,
    pub(super) guards: Guards,
    pub(super) rules: RuleSet,
    /// How the kernel lists it. It is learned by reading back, because versions of nft print the
    /// same rule in different words.
    pub(super) listing: Value,
    /// Until when those who were logged in may come back.
    until: Timestamp,
}

/// The text of a table that was loaded.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) policy: Arc<FirewallPolicy>,
    pub(super) text: String,
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

impl Memory {
    /// How the table of this policy has to be listed; none while it is not the one that was loaded.
    pub(super) fn listing_of(
        &self,
        policy: &FirewallPolicy,
        place: &DaemonPlace,
    ) -> Option<&Value> {
        let loaded = self.loaded.as_ref()?;
        let is_it = *loaded.policy == *policy && loaded.guards.daemon == *place;
        is_it.then_some(&loaded.listing)
    }
}

impl Nftables {
    /// A firewall that keeps these ports open when it is on.
    pub(super) fn new(nft: Nft, keep_open: BTreeSet<Port>, hop: FirstHop) -> Self {
        Self {
            nft,
            keep_open,
            hop,
            memory: Mutex::default(),
        }
    }

    pub(super) const fn nft(&self) -> &Nft {
        &self.nft
    }

    /// Makes the table as intended and says what is so now.
    pub(super) async fn ensure(&self, goal: &FirewallGoal) -> FirewallOutcome {
        let mut memory = self.memory.lock().await;
        let mut deed = Deed::default();
        let state = self.converge(goal, &mut memory, &mut deed).await;
        let active = match &state {
            Ok(state) => Some(*state != TableState::Absent),
            // After a failure only a fresh look tells what is so.
            Err(_) => self.nft.has_table().await.ok(),
        };
        let sync = match (state, goal) {
            (_, FirewallGoal::Unmanaged) => FirewallSync::Unmanaged,
            (Err(error), _) => FirewallSync::Failed(error),
            (Ok(_), FirewallGoal::On(policy)) => FirewallSync::Enabled(InForce {
                back_end: BackEnd::Nftables,
                unsupported: Vec::new(),
                policy: Arc::clone(policy),
                keep_open: self.keep_open.clone(),
                returning: memory.loaded.as_ref().and_then(Loaded::returning),
                others: self.find_others().await,
            }),
            (Ok(_), FirewallGoal::Off) => FirewallSync::Disabled,
        };
        FirewallOutcome {
            back_end: BackEnd::Nftables,
            active,
            change: deed.change,
            tampering: deed.tampering,
            sync,
        }
    }

    async fn converge(
        &self,
        goal: &FirewallGoal,
        memory: &mut Memory,
        deed: &mut Deed,
    ) -> Result<TableState, FirewallError> {
        if *goal == FirewallGoal::Unmanaged {
            // Whoever changes it from here on may.
            memory.loaded = None;
        }
        let (before, counts) = self.observe(memory.loaded.as_ref()).await?;
        let policy = match goal {
            FirewallGoal::On(policy) => policy,
            FirewallGoal::Off | FirewallGoal::Unmanaged => {
                let step = plan_step(goal.intent(), &before, None);
                return match step {
                    Step::Remove => self.remove(memory, deed).await,
                    Step::Nothing | Step::Load => Ok(before),
                };
            }
        };
        let place = self.locate(policy, memory).await;
        let wanted = memory.listing_of(policy, &place);
        if plan_step(goal.intent(), &before, wanted) == Step::Nothing {
            return Ok(before);
        }
        // A table of an earlier process is not somebody's tampering.
        let found_otherwise = memory
            .loaded
            .as_ref()
            .is_some_and(|loaded| before != TableState::Present(loaded.listing.clone()));
        if found_otherwise {
            deed.tampering = Some(self.describe_tampering(memory, &before).await);
        }
        let was_loaded = memory.loaded.is_some();
        let is_repair = wanted.is_some();
        let after = self.load(policy, place, is_repair, &counts, memory).await?;
        deed.change = Some(match (was_loaded, found_otherwise) {
            (false, _) => FirewallChange::Loaded,
            (true, true) => FirewallChange::Repaired,
            (true, false) => FirewallChange::Adjusted,
        });
        Ok(after)
    }

    async fn load(
        &self,
        policy: &Arc<FirewallPolicy>,
        place: DaemonPlace,
        is_repair: bool,
        counts: &Counts,
        memory: &mut Memory,
    ) -> Result<TableState, FirewallError> {
        // Whoever was let back in had the time for it; a repair gives nobody more.
        let found = if is_repair {
            SshPeers::default()
        } else {
            tokio::task::spawn_blocking(read_ssh_peers)
                .await
                .unwrap_or_default()
        };
        let guards = Guards {
            is_daemon_named: self.is_daemon_named(),
            daemon: place,
            peers: found.peers,
            n_left_out: found.n_left_out,
        };
        let rules = RuleSet::new(policy, &self.keep_open, &guards);
        self.nft.apply(&rules.load_script(counts)).await?;
        let until = Timestamp::now().checked_add(PEERS_FOR);
        let loaded = Loaded {
            policy: Arc::clone(policy),
            guards,
            rules,
            listing: Value::Null,
            until: until.unwrap_or(Timestamp::MAX),
        };
        self.learn(loaded, memory).await
    }

    async fn remove(
        &self,
        memory: &mut Memory,
        deed: &mut Deed,
    ) -> Result<TableState, FirewallError> {
        self.nft.apply(remove_script()).await?;
        memory.loaded = None;
        deed.change = Some(FirewallChange::Removed);
        let (after, _) = self.observe(None).await?;
        if after == TableState::Absent {
            Ok(after)
        } else {
            Err(FirewallError::ReadBack("it is still there".to_owned()))
        }
    }

    /// Reads back what was just loaded.
    async fn learn(
        &self,
        mut loaded: Loaded,
        memory: &mut Memory,
    ) -> Result<TableState, FirewallError> {
        // The text is for people only: without it the firewall is in force all the same.
        let (after, text) = tokio::join!(self.observe(Some(&loaded)), self.nft.print_table());
        let (after, _) = after?;
        let TableState::Present(table) = &after else {
            return Err(FirewallError::ReadBack("it is absent".to_owned()));
        };
        loaded
            .rules
            .check_shape(table)
            .map_err(FirewallError::ReadBack)?;
        loaded.listing = table.clone();
        if let Ok(text) = text {
            let policy = Arc::clone(&loaded.policy);
            memory.printed = Some(Printed { policy, text });
        }
        memory.loaded = Some(loaded);
        Ok(after)
    }

    /// Where the daemon is, if rules could keep packets from it: as it is now, or was last.
    pub(super) async fn locate(&self, policy: &FirewallPolicy, memory: &mut Memory) -> DaemonPlace {
        if !filters_outgoing(policy) {
            return DaemonPlace::default();
        }
        let place = DaemonPlace::find(&self.hop).await;
        if !place.addresses.is_empty() {
            memory.place = place;
        }
        memory.place.clone()
    }

    /// The filters of others; what cannot be listed is not known to be there.
    pub(super) async fn find_others(&self) -> Vec<OtherFilter> {
        let tables = self.nft.list(&["list", "tables"]).await;
        let chains = self.nft.list(&["list", "chains"]).await;
        find_other_filters(&tables.unwrap_or_default(), &chains.unwrap_or_default())
    }

    /// Whether a name has to be looked up before the daemon can be reached.
    pub(super) fn is_daemon_named(&self) -> bool {
        self.hop.host.parse::<IpAddr>().is_err()
    }

    /// What somebody did to the table this process had loaded.
    async fn describe_tampering(&self, memory: &Memory, found: &TableState) -> String {
        if *found == TableState::Absent {
            return "deleted the firewall table".to_owned();
        }
        let found = self.nft.print_table().await.ok();
        let texts = memory.printed.as_ref().zip(found.as_ref());
        texts.map_or_else(
            || "changed the firewall table".to_owned(),
            |(loaded, found)| Difference::between(&loaded.text, found).describe(),
        )
    }

    /// Reads the table, and what its rules have counted. Each call of nft costs 3 ms, so what is
    /// expected to be there is listed at once; only when that fails is it asked whether the table is
    /// absent.
    pub(super) async fn observe(
        &self,
        expected: Option<&Loaded>,
    ) -> Result<(TableState, Counts), FirewallError> {
        const LIST_TABLE: [&str; 4] = ["list", "table", TABLE_FAMILY, TABLE_NAME];
        let read = |listing: &Value| {
            let mut table = normalize(listing);
            if let Some(loaded) = expected {
                forget_peers(&mut table, &loaded.rules);
            }
            (TableState::Present(table), Counts::read(listing))
        };
        if expected.is_some()
            && let Ok(listing) = self.nft.list(&LIST_TABLE).await
        {
            return Ok(read(&listing));
        }
        if !self.nft.has_table().await? {
            return Ok((TableState::Absent, Counts::default()));
        }
        Ok(read(&self.nft.list(&LIST_TABLE).await?))
    }
}

impl Loaded {
    /// Who may come back, and until when.
    fn returning(&self) -> Option<Returning> {
        self.guards.returning(self.until)
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
