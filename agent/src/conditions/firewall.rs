//! The condition of the firewall: as read back, on trial, rolled back or drifted.
//! It never claims what was not read back.

use std::time::Duration;

use hidps_wire::{
    AgentCondition, ConditionStatus, Desired, FacetCondition, FirewallAction, FirewallIntent,
    FirewallPolicy, MAX_CONDITION_SUBJECTS, RefusedRule, SubjectCondition,
};

use super::condition;
use crate::firewall::{
    Actor, BackEnd, FirewallOutcome, FirewallSync, InForce, Returning, UnsupportedRule,
};
use crate::ledger::LedgerRecord;
use crate::text::printable;

/// Longest reason of a rollback in a message.
const MAX_WHY: usize = 300;

/// Longest name of a process in a message; the kernel's are 15 bytes.
const MAX_NAME: usize = 32;

/// The condition of the firewall as it was read back.
#[must_use]
pub fn firewall_condition(
    outcome: &FirewallOutcome,
    desired: &Desired,
    refused: &[RefusedRule],
) -> AgentCondition {
    use ConditionStatus::{False, True, Unknown};
    let table = match outcome.active {
        Some(true) => "the agent's firewall table is loaded",
        Some(false) => "the agent's firewall table is absent",
        None => "whether the agent's firewall table is loaded cannot be read",
    };
    let idle = idle_rules(desired);
    let (status, reason, message) = match &outcome.sync {
        FirewallSync::Enabled(force) if !refused.is_empty() || !force.unsupported.is_empty() => {
            return refused_condition(refused, &force.unsupported, &enabled(force));
        }
        // What these rules let through may be stopped elsewhere, and that cannot be seen from here.
        FirewallSync::Enabled(force)
            if !force.others.is_empty() && *force.policy != FirewallPolicy::default() =>
        {
            (Unknown, "OtherFilter", enabled(force))
        }
        FirewallSync::Enabled(force) => (True, "Enabled", enabled(force)),
        FirewallSync::Disabled => (
            True,
            "Disabled",
            format!("the firewall table is absent, as desired{idle}"),
        ),
        FirewallSync::Unmanaged => (
            True,
            "Unmanaged",
            format!("nobody has decided on the firewall, so it is left alone; {table}{idle}"),
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

/// What is said of rules while the firewall is not on.
fn idle_rules(desired: &Desired) -> String {
    let n = desired.policy.rules.len();
    if n == 0 || desired.firewall == FirewallIntent::On {
        return String::new();
    }
    format!("; none of the {n} desired rules is in force before firewall_enabled is true")
}

fn enabled(force: &InForce) -> String {
    let policy = &force.policy;
    let n = policy.rules.len() - force.unsupported.len();
    let undecided = |action| match action {
        FirewallAction::Allow => "passes",
        FirewallAction::Deny => "is dropped",
        FirewallAction::Reject => "is rejected",
    };
    let loaded = match force.back_end {
        BackEnd::Nftables => "the firewall table is loaded",
        BackEnd::Ufw => "ufw is active",
    };
    let mut message = match n {
        0 => loaded.to_owned(),
        1 => format!("{loaded} with 1 rule"),
        _ => format!("{loaded} with {n} rules"),
    };
    if force.back_end == BackEnd::Ufw {
        message.push_str(", before those that others have made there");
    }
    let ports: Vec<_> = force.keep_open.iter().map(ToString::to_string).collect();
    let ports = if ports.is_empty() {
        "no port".to_owned()
    } else {
        ports.join(", ")
    };
    let rest = if policy.incoming == FirewallAction::Allow {
        "; other incoming traffic passes".to_owned()
    } else {
        let verdict = undecided(policy.incoming);
        format!("; of other incoming traffic it keeps open {ports}, and the rest {verdict}")
    };
    message.push_str(&rest);
    if policy.outgoing != FirewallAction::Allow {
        let verdict = undecided(policy.outgoing);
        message.push_str("; other outgoing traffic ");
        message.push_str(verdict);
    }
    for other in &force.others {
        let (name, remedy) = (other.name(), other.remedy());
        let text =
            format!("; {name} filters here as well, and what passes has to pass both: {remedy}");
        message.push_str(&text);
    }
    if let Some(cannot) = force.back_end.cannot() {
        message.push_str("; ");
        message.push_str(cannot);
    }
    if let Some(returning) = &force.returning {
        message.push_str(&describe_returning(returning));
    }
    message
}

/// Who may come back, as the rest of a sentence.
fn describe_returning(returning: &Returning) -> String {
    const MAX_NAMED: usize = 3;
    let Returning {
        peers,
        n_left_out,
        until,
    } = returning;
    let named: Vec<_> = peers
        .iter()
        .take(MAX_NAMED)
        .map(ToString::to_string)
        .collect();
    let more = match peers.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let left_out = match n_left_out {
        0 => String::new(),
        n => format!("; {n} more were connected by SSH and may not, for want of places"),
    };
    let named = named.join(", ");
    format!(
        "; whoever was logged in by SSH may come back until {until:.0}: {named}{more}{left_out}"
    )
}

/// The condition of a firewall that enforces all but these rules.
fn refused_condition(
    refused: &[RefusedRule],
    unsupported: &[UnsupportedRule],
    enabled: &str,
) -> AgentCondition {
    let senseless = refused.iter().map(|refused| {
        let subject = refused
            .id
            .map_or_else(|| "firewall_settings".to_owned(), |id| id.to_string());
        (subject, "RuleRefused", refused.to_string())
    });
    let unsupported = unsupported.iter().map(|rule| {
        let message = format!("the firewall rule {} {}", rule.id, rule.why);
        (rule.id.to_string(), "RuleUnsupported", message)
    });
    let all: Vec<_> = senseless.chain(unsupported).collect();
    let first = all
        .first()
        .map(|(_, _, message)| message.as_str())
        .unwrap_or_default();
    let more = match all.len() {
        1 => String::new(),
        n => format!(" ({n} such in all)"),
    };
    let message = format!("{first}{more}; without that, {enabled}");
    let mut condition = firewall(ConditionStatus::False, "RulesRefused", &message);
    condition.subjects = all
        .into_iter()
        .take(MAX_CONDITION_SUBJECTS)
        .map(|(subject, reason, message)| SubjectCondition {
            subject,
            status: ConditionStatus::False,
            reason: reason.to_owned(),
            message,
        })
        .collect();
    condition
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
    let Some(trial) = &record.trial else {
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
    use crate::firewall::{FirewallError, OtherFilter, SshPeer};
    use hidps_wire::{Direction, FilterRule, FirewallRuleEntry, Service};

    #[test]
    fn a_firewall_is_as_desired_only_if_it_was_read_so() {
        let check = |active, sync, status, reason: &str| {
            let outcome = FirewallOutcome {
                back_end: BackEnd::Nftables,
                active,
                change: None,
                tampering: None,
                sync,
            };

            let condition = firewall_condition(&outcome, &Desired::default(), &[]);

            assert_eq!(
                (condition.status, condition.reason.as_str()),
                (status, reason)
            );
            assert!(!condition.message.is_empty());
        };
        let enabled = FirewallSync::Enabled(InForce {
            keep_open: [crate::config::Port::SSH].into(),
            ..InForce::default()
        });
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

    #[test]
    fn rules_that_cannot_be_enforced_are_named_one_by_one() {
        let entry = |action: &str| FirewallRuleEntry {
            id: uuid::Uuid::from_u128(7),
            action: action.to_owned(),
            direction: "in".to_owned(),
            protocol: "any".to_owned(),
            port_from: None,
            port_to: None,
            source: None,
            destination: None,
        };
        let (policy, refused) = FirewallPolicy::from_entries(&[entry("drop"), entry("deny")], None);
        let outcome = FirewallOutcome {
            back_end: BackEnd::Nftables,
            active: Some(true),
            change: None,
            tampering: None,
            sync: FirewallSync::Enabled(InForce {
                policy: policy.clone().into(),
                ..InForce::default()
            }),
        };
        let desired = Desired {
            firewall: FirewallIntent::On,
            policy,
            ..Desired::default()
        };

        let condition = firewall_condition(&outcome, &desired, &refused);

        assert_eq!(condition.status, ConditionStatus::False);
        assert_eq!(condition.reason, "RulesRefused");
        assert!(condition.message.contains("write allow, deny or reject"));
        assert!(condition.message.contains("loaded with 1 rule"));
        assert_eq!(condition.subjects.len(), 1);
        assert_eq!(
            condition.subjects[0].subject,
            uuid::Uuid::from_u128(7).to_string()
        );
    }

    #[test]
    fn rules_of_a_firewall_that_is_not_on_are_said_to_be_idle() {
        let (policy, _) = FirewallPolicy::from_entries(&[], None);
        let rule = FilterRule {
            id: uuid::Uuid::nil(),
            action: FirewallAction::Deny,
            direction: Direction::In,
            service: Service::Any,
            peer: None,
        };
        let desired = Desired {
            policy: FirewallPolicy {
                rules: vec![rule],
                ..policy
            },
            ..Desired::default()
        };
        let outcome = FirewallOutcome {
            back_end: BackEnd::Nftables,
            active: Some(false),
            change: None,
            tampering: None,
            sync: FirewallSync::Disabled,
        };

        let condition = firewall_condition(&outcome, &desired, &[]);

        assert_eq!(condition.status, ConditionStatus::True);
        assert!(
            condition.message.contains("none of the 1 desired rules"),
            "{}",
            condition.message
        );
    }

    #[test]
    fn a_filter_of_somebody_else_is_named_and_leaves_rules_uncertain() {
        let check = |incoming, status, reason: &str| {
            let policy = FirewallPolicy {
                incoming,
                ..FirewallPolicy::default()
            };
            let outcome = FirewallOutcome {
                back_end: BackEnd::Nftables,
                active: Some(true),
                change: None,
                tampering: None,
                sync: FirewallSync::Enabled(InForce {
                    policy: policy.into(),
                    others: vec![OtherFilter::Ufw],
                    ..InForce::default()
                }),
            };

            let condition = firewall_condition(&outcome, &Desired::default(), &[]);

            assert_eq!(
                (condition.status, condition.reason.as_str()),
                (status, reason)
            );
            assert!(
                condition.message.contains("ufw disable"),
                "{}",
                condition.message
            );
        };

        check(
            FirewallAction::Reject,
            ConditionStatus::Unknown,
            "OtherFilter",
        );
        // The switch alone asks for nothing to pass.
        check(FirewallAction::Deny, ConditionStatus::True, "Enabled");
    }

    #[test]
    fn who_may_come_back_is_told_with_the_time_it_ends() {
        let peer = |last| SshPeer {
            address: std::net::Ipv4Addr::new(10, 0, 0, last).into(),
            port: 22,
        };
        let force = InForce {
            returning: Some(Returning {
                peers: (1..=5).map(peer).collect(),
                n_left_out: 7,
                until: jiff::Timestamp::UNIX_EPOCH,
            }),
            ..InForce::default()
        };

        let said = enabled(&force);

        let wanted = "until 1970-01-01T00:00:00Z: 10.0.0.1 (port 22), 10.0.0.2 (port 22), \
                      10.0.0.3 (port 22) and 2 more; 7 more were connected by SSH and may not, for \
                      want of places";
        assert!(said.contains(wanted), "{said}");
    }
}
