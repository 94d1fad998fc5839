//! The condition of the firewall: as read back, on trial, rolled back or drifted.
//! It never claims what was not read back.

use std::time::Duration;

use hidps_wire::{AgentCondition, ConditionStatus, FacetCondition};

use super::condition;
use crate::firewall::{Actor, FirewallOutcome, FirewallSync};
use crate::ledger::LedgerRecord;
use crate::text::printable;

/// Longest reason of a rollback in a message.
const MAX_WHY: usize = 300;

/// Longest name of a process in a message; the kernel's are 15 bytes.
const MAX_NAME: usize = 32;

/// The condition of the firewall.
#[must_use]
pub fn firewall_condition(outcome: &FirewallOutcome) -> AgentCondition {
    use ConditionStatus::{False, True, Unknown};
    let table = match outcome.active {
        Some(true) => "the agent's firewall table is loaded",
        Some(false) => "the agent's firewall table is absent",
        None => "whether the agent's firewall table is loaded cannot be read",
    };
    let (status, reason, message) = match &outcome.sync {
        FirewallSync::Enabled { keep_open } => {
            let ports: Vec<_> = keep_open.iter().map(ToString::to_string).collect();
            let ports = if ports.is_empty() {
                "no port".to_owned()
            } else {
                ports.join(", ")
            };
            let message =
                format!("the firewall table is loaded; of incoming traffic it keeps open {ports}");
            (True, "Enabled", message)
        }
        FirewallSync::Disabled => (
            True,
            "Disabled",
            "the firewall table is absent, as desired".to_owned(),
        ),
        FirewallSync::Unmanaged => (
            True,
            "Unmanaged",
            format!("nobody has decided on the firewall, so it is left alone; {table}"),
        ),
        FirewallSync::ObserveOnly { as_desired } => {
            let status = match (outcome.active, as_desired) {
                (None, _) => Unknown,
                (Some(_), true) => True,
                (Some(_), false) => False,
            };
            let message = format!(
                "this agent is configured to observe and never touches the firewall; {table}"
            );
            (status, "ObserveOnly", message)
        }
        FirewallSync::Failed(error) => (False, error.reason(), format!("{error}; {table}")),
    };
    firewall(status, reason, &message)
}

/// The condition of a firewall that is in force and not confirmed yet.
#[must_use]
pub fn on_trial_condition(record: &LedgerRecord, within: Option<Duration>) -> AgentCondition {
    let message = format!(
        "the firewall of generation {} is in force and not confirmed yet; unless the daemon can be \
         reached through it within {}, it is rolled back",
        record.accepted.generation,
        duration(within.unwrap_or_default()),
    );
    firewall(ConditionStatus::Unknown, "Confirming", &message)
}

/// The condition of a firewall that was rolled back; `failed` is what keeps the confirmed one from
/// being in force.
#[must_use]
pub fn rolled_back_condition(
    record: &LedgerRecord,
    why: &str,
    wait: Duration,
    failed: Option<&AgentCondition>,
) -> AgentCondition {
    let message = format!(
        "the firewall of generation {} ({}) was rolled back to {}: {}; it is tried again when the \
         link has been up for {}",
        record.accepted.generation,
        loaded(record.accepted.document.firewall_enabled),
        confirmed(record),
        printable(why, MAX_WHY),
        duration(wait),
    );
    not_in_force("RolledBack", message, failed)
}

/// The condition of a firewall that waits for its first trial.
#[must_use]
pub fn untried_condition(record: &LedgerRecord, failed: Option<&AgentCondition>) -> AgentCondition {
    let message = format!(
        "the firewall of generation {} ({}) was never in force on this host; it is tried when the \
         link is up, and until then the host keeps {}",
        record.accepted.generation,
        loaded(record.accepted.document.firewall_enabled),
        confirmed(record),
    );
    not_in_force("RolledBack", message, failed)
}

/// The condition of a firewall that somebody changed, before the agent put it right.
#[must_use]
pub fn drifted_condition(actor: Option<&Actor>, tampering: Option<&str>) -> AgentCondition {
    let message = format!(
        "{} {}; the agent put it right",
        who(actor),
        tampering.unwrap_or("changed the firewall table"),
    );
    firewall(ConditionStatus::False, "Drifted", &message)
}

/// Who changed something, for a sentence.
#[must_use]
pub fn who(actor: Option<&Actor>) -> String {
    actor.map_or_else(
        || "somebody".to_owned(),
        |actor| {
            let name = printable(&actor.name, MAX_NAME);
            format!("{name} (process {})", actor.process)
        },
    )
}

/// Another firewall than the accepted one is to be in force, and may have failed to be.
fn not_in_force(reason: &str, message: String, failed: Option<&AgentCondition>) -> AgentCondition {
    match failed {
        None => firewall(ConditionStatus::False, reason, &message),
        Some(failed) => {
            let message = format!("{message}; but that failed: {}", failed.message);
            firewall(ConditionStatus::False, &failed.reason, &message)
        }
    }
}

fn confirmed(record: &LedgerRecord) -> String {
    let Some(trial) = record.trial else {
        return "what was confirmed last".to_owned();
    };
    let state = loaded(Some(trial.restore));
    trial.confirmed.map_or_else(
        || format!("what it was before ({state})"),
        |generation| format!("that of generation {generation} ({state})"),
    )
}

const fn loaded(firewall: Option<bool>) -> &'static str {
    match firewall {
        Some(true) => "on",
        Some(false) => "off",
        None => "unmanaged",
    }
}

/// A duration for people: whole minutes and hours where it is some.
fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        3_600 => "an hour".to_owned(),
        seconds if seconds >= 120 && seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn firewall(status: ConditionStatus, reason: &str, message: &str) -> AgentCondition {
    condition(FacetCondition::FirewallSynced, status, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::FirewallError;

    #[test]
    fn a_firewall_is_as_desired_only_if_it_was_read_so() {
        let check = |active, sync, status, reason: &str| {
            let outcome = FirewallOutcome {
                active,
                change: None,
                tampering: None,
                sync,
            };

            let condition = firewall_condition(&outcome);

            assert_eq!(
                (condition.status, condition.reason.as_str()),
                (status, reason)
            );
            assert!(!condition.message.is_empty());
        };
        let enabled = FirewallSync::Enabled {
            keep_open: [crate::config::Port::SSH].into(),
        };
        let observe = |as_desired| FirewallSync::ObserveOnly { as_desired };

        check(Some(true), enabled, ConditionStatus::True, "Enabled");
        check(
            Some(false),
            FirewallSync::Disabled,
            ConditionStatus::True,
            "Disabled",
        );
        check(
            None,
            FirewallSync::Unmanaged,
            ConditionStatus::True,
            "Unmanaged",
        );
        check(
            Some(true),
            observe(true),
            ConditionStatus::True,
            "ObserveOnly",
        );
        check(
            Some(false),
            observe(false),
            ConditionStatus::False,
            "ObserveOnly",
        );
        check(
            None,
            observe(false),
            ConditionStatus::Unknown,
            "ObserveOnly",
        );
        let failed = FirewallSync::Failed(FirewallError::Privilege);
        check(None, failed, ConditionStatus::False, "MissingPrivilege");
    }
}
