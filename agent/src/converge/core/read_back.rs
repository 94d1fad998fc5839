//! What was read back of the host, and how it is told.
//! A condition is made of what was read back and of where the trial stands, never of what was sent.

use std::time::{Duration, Instant};

use hidps_wire::{AgentCondition, FacetCondition, Status};

use super::super::commit::{Force, Standing};
use super::super::effect::{Effect, Note};
use super::Core;
use crate::conditions::{
    collection_condition, drifted_condition, firewall_condition, no_document_conditions,
    on_trial_condition, retirement_condition, rolled_back_condition, storage_condition,
    untried_condition,
};
use crate::error_chain::chain;
use crate::firewall::{
    Actor, FirewallChange, FirewallError, FirewallGoal, FirewallOutcome, FirewallSync,
};
use crate::ledger::LedgerRecord;

/// How soon putting back a confirmed firewall is tried again: the host may be cut off.
const RESTORE_RETRY: Duration = Duration::from_secs(2);

/// The firewall as it was read back last.
#[derive(Debug, Default)]
pub(super) struct FirewallView {
    /// Questions that are not answered yet.
    pub(super) n_asked: u32,
    pub(super) seen: Option<Seen>,
    pub(super) is_active: Option<bool>,
    pub(super) actor: Option<Actor>,
    pub(super) restore_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) goal: FirewallGoal,
    pub(super) force: Force,
    pub(super) condition: AgentCondition,
}

/// The watched files as they were read back last.
#[derive(Debug, Default)]
pub(super) struct FilesView {
    pub(super) n_asked: u32,
    pub(super) condition: Option<AgentCondition>,
}

impl Core {
    pub(super) fn on_read_back(
        &mut self,
        goal: &FirewallGoal,
        outcome: &FirewallOutcome,
        actor: Option<Actor>,
        now: Instant,
    ) {
        let before = self.firewall.seen.take().filter(|s| s.goal == *goal);
        let before = before.map(|seen| seen.force);
        let force = judge_force(goal, outcome);
        // Nobody but the daemon has moved when the table follows it.
        let is_tampering = outcome
            .change
            .is_some_and(|change| change != FirewallChange::Adjusted);
        // What a repair that failed at first has found is told by the one that succeeds.
        let is_drift = is_tampering
            && before.is_some_and(|it| it == Force::Reached || outcome.tampering.is_some());
        if is_drift {
            let tampering = outcome.tampering.as_deref();
            let drifted = drifted_condition(actor.as_ref(), tampering);
            self.repaired.push(drifted);
        }
        if let Some(change) = outcome.change {
            self.note(Note::FirewallChanged {
                back_end: outcome.back_end,
                change,
                actor: actor.filter(|_| is_drift),
                tampering: outcome.tampering.clone().filter(|_| is_drift),
            });
        }
        self.firewall.seen = Some(Seen {
            goal: goal.clone(),
            force,
            condition: firewall_condition(outcome, &self.desired, &self.refused.rules),
        });
        if outcome.change.is_some() {
            self.commit.on_repaired(now);
        }
        self.commit.on_ensured(before, force, now);
        let must_restore = self.commit.is_restoring() && force != Force::Reached;
        self.firewall.restore_at = must_restore.then(|| now + RESTORE_RETRY);
    }

    /// Tells how it is, once everything that was asked is answered.
    pub(super) fn report(&mut self) {
        if self.firewall.n_asked > 0 || self.files.n_asked > 0 {
            return;
        }
        let Some(status) = self.compose() else { return };
        for condition in std::mem::take(&mut self.repaired) {
            self.effects
                .push_back(Effect::Report(replace(&status, condition)));
            self.told = None;
        }
        if std::mem::take(&mut self.owes_answer) || self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            self.effects.push_back(Effect::Report(status));
        }
    }

    fn compose(&self) -> Option<Status> {
        let mut conditions = match &self.ledger {
            Err(absence) => no_document_conditions(&chain(absence)),
            Ok(record) => vec![
                self.firewall_condition(record)?,
                self.files.condition.clone()?,
            ],
        };
        if self.tells_collection && self.ledger.is_ok() {
            let (wanted, refused) = (self.desired.collection, &self.refused.collection);
            conditions.push(collection_condition(wanted, refused));
        }
        let accepted = self.ledger.as_ref().ok().map(|record| &record.accepted);
        if let Some(key) = accepted.and_then(|accepted| accepted.document.retired_key.as_deref()) {
            conditions.push(retirement_condition(key, self.retirement.as_ref()));
        }
        if self.io.has_failed {
            conditions.push(storage_condition(self.io.failure.as_deref()));
        }
        conditions.extend(self.sources.clone());
        Some(Status {
            applied: self.applied(),
            conditions,
            firewall_active: self.firewall.is_active,
        })
    }

    fn firewall_condition(&self, record: &LedgerRecord) -> Option<AgentCondition> {
        let seen = self.firewall.seen.as_ref()?;
        let standing = self.commit.standing();
        if standing == Standing::AsReadBack {
            return Some(seen.condition.clone());
        }
        if seen.force != Force::Reached && standing == Standing::OnTrial {
            return Some(seen.condition.clone());
        }
        let read_back = (seen.force != Force::Reached).then_some(&seen.condition);
        Some(match standing {
            Standing::AsReadBack => seen.condition.clone(),
            Standing::OnTrial => on_trial_condition(record, self.settings.confirm_within),
            Standing::RolledBack { why, wait } => {
                rolled_back_condition(record, why, wait, read_back)
            }
            Standing::Untried => untried_condition(record, read_back),
        })
    }
}

/// Whether an outcome is what was asked for.
fn judge_force(goal: &FirewallGoal, outcome: &FirewallOutcome) -> Force {
    match &outcome.sync {
        FirewallSync::Enabled { .. } | FirewallSync::Disabled | FirewallSync::Unmanaged => {
            Force::Reached
        }
        FirewallSync::ObserveOnly { .. }
        | FirewallSync::Failed(FirewallError::Missing | FirewallError::Privilege) => Force::Missed,
        FirewallSync::Failed(FirewallError::Ufw(error)) if error.is_untried() => Force::Missed,
        FirewallSync::Failed(_) => {
            // Only a table that was seen to be otherwise is certainly not the one asked for.
            let is_otherwise = outcome.active == Some(!matches!(goal, FirewallGoal::On(_)));
            if is_otherwise {
                Force::Missed
            } else {
                Force::Unclear
            }
        }
    }
}

/// A status with another condition of the same facet.
fn replace(status: &Status, condition: AgentCondition) -> Status {
    let mut status = status.clone();
    let facet: FacetCondition = condition.facet;
    for known in &mut status.conditions {
        if known.facet == facet {
            *known = condition.clone();
        }
    }
    status
}
