//! What the daemon knows of itself, in the words of `system_health`.
//! It never names a host, an address or a path of this machine, and never exceeds what a row holds.

use std::time::Duration;

use hidps_wire::printable;
use serde_json::{Value, json};

use crate::health::{Fault, FeedVerdict, RuleFault, RulesRefused, RulesVerdict, SuspendedRule};
use crate::model::HealthReport;

/// Longest message of a row, in characters.
const MAX_MESSAGE: usize = 1000;

/// Room for a list in the details of a row, in bytes of text; the row holds 4 KiB.
const LIST_ROOM: usize = 3_000;

/// Longest problem of one fault, in characters.
const MAX_PROBLEM: usize = 300;

/// Longest name or reason of a suspended rule, in characters.
const MAX_NAME: usize = 150;

/// Hash characters that tell sets apart in a sentence.
const SHORT_HASH: usize = 12;

/// What makes a report worth writing at once.
pub(super) fn news(report: &HealthReport) -> (&'static str, &'static str, String) {
    // The feed's sentences change with every cause of the same failure.
    let message = match report.kind {
        "FeedHealthy" => String::new(),
        _ => report.message.clone(),
    };
    (report.kind, report.reason, message)
}

/// Whether this daemon only observes.
pub(super) fn read_only_report(read_only: bool) -> HealthReport {
    let (reason, message) = if read_only {
        ("Configured", "this daemon observes and sends no command")
    } else {
        ("Enforcing", "this daemon brings hosts to what is desired")
    };
    HealthReport {
        kind: "ReadOnly",
        holds: read_only,
        reason,
        message: message.to_owned(),
        details: json!({}),
    }
}

/// Whether the feed can be believed.
pub(super) fn feed_report(verdict: &FeedVerdict) -> HealthReport {
    let (reason, message) = match &verdict.fault {
        Some(fault) => (fault.reason, fault.message.clone()),
        None => ("Healthy", "changes are heard by both ways".to_owned()),
    };
    let millis = |took: Option<Duration>| {
        took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    };
    HealthReport {
        kind: "FeedHealthy",
        holds: verdict.fault.is_none(),
        reason,
        message,
        details: json!({
            "broadcast_ms": millis(verdict.trip.broadcast),
            "changes_ms": millis(verdict.trip.changes),
        }),
    }
}

/// Whether what the directory of rules holds is in force.
pub(super) fn rules_report(verdict: &RulesVerdict) -> HealthReport {
    let hash: String = verdict.hash.chars().take(SHORT_HASH).collect();
    let present = format!(
        "{} rules of set {hash} are in force since {:.0}",
        verdict.rules, verdict.loaded_at
    );
    let (reason, message) = match &verdict.refused {
        None => ("Loaded", present),
        Some(refused) => (refused.reason, describe(refused, &present)),
    };
    HealthReport {
        kind: "RulesLoaded",
        holds: verdict.refused.is_none(),
        reason,
        message,
        details: json!({
            "hash": verdict.hash,
            "rules": verdict.rules,
            "tests": verdict.tests,
            "loaded_at": verdict.loaded_at,
            "refused_at": verdict.refused.as_ref().map(|refused| refused.at),
            "n_faults": verdict.refused.as_ref().map_or(0, |refused| refused.faults.len()),
            "faults": verdict.refused.as_ref().map_or_else(Vec::new, list_faults),
        }),
    }
}

/// Whether every rule is tried on every host. It names no host and no organization, since everybody
/// reads it; those concerned have an alert.
pub(super) fn costs_report(suspended: &[SuspendedRule]) -> HealthReport {
    let show = |rule: &SuspendedRule| {
        json!({
            "id": cut(&rule.id, MAX_NAME), "title": cut(&rule.title, MAX_NAME),
            "reason": cut(&rule.reason, MAX_NAME), "since": rule.since,
            "workers": rule.workers, "organizations": rule.organizations, "agents": rule.agents,
        })
    };
    let (reason, whom) = match suspended.iter().any(|rule| rule.workers > 0) {
        true => ("RuleSuspended", "on all hosts"),
        false => (
            "RuleSuspendedForSome",
            "on the hosts that made them cost it",
        ),
    };
    let message = suspended.first().map(|first| {
        format!(
            "{} rules cost too much and are not tried {whom} for a while, the first is '{}' ({}): \
             {}; each is tried again by itself, at the latest after an hour, and at once when it is \
             made cheaper or the rules are loaded again (SIGHUP)",
            suspended.len(),
            cut(&first.title, MAX_NAME),
            cut(&first.id, MAX_NAME),
            cut(&first.reason, MAX_NAME),
        )
    });
    HealthReport {
        kind: "RulesWithinBudget",
        holds: suspended.is_empty(),
        reason: match suspended {
            [] => "AllTried",
            _ => reason,
        },
        message: message.unwrap_or_else(|| "no rule costs too much".to_owned()),
        details: json!({
            "n_suspended": suspended.len(),
            "suspended": fitting(suspended.iter().map(show)),
        }),
    }
}

/// Whether it is known what organizations want of detection.
pub(super) fn tenants_report(fault: Option<&Fault>) -> HealthReport {
    let (reason, message) = match fault {
        Some(fault) => (
            fault.reason,
            format!("{}; what is in force stays", fault.message),
        ),
        None => (
            "Read",
            "what organizations want of detection is read".to_owned(),
        ),
    };
    HealthReport {
        kind: "TenantRulesRead",
        holds: fault.is_none(),
        reason,
        message,
        details: json!({}),
    }
}

/// Whether the keys are known with which people's tokens are verified.
pub(super) fn keys_report(fault: Option<&Fault>) -> HealthReport {
    let (reason, message) = match fault {
        Some(fault) => (
            fault.reason,
            format!("{}; the keys known before go on being used", fault.message),
        ),
        None => ("Read", "the project's signing keys are read".to_owned()),
    };
    HealthReport {
        kind: "SigningKeysRead",
        holds: fault.is_none(),
        reason,
        message,
        details: json!({}),
    }
}

fn describe(refused: &RulesRefused, present: &str) -> String {
    let first = refused.faults.first().map(ToString::to_string);
    let more = match refused.faults.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let problem = cut(&first.unwrap_or_default(), MAX_MESSAGE / 2);
    format!("the changed rules are not in force: {problem}{more}; {present}")
}

/// As many values as fit into a row, the first ones whole.
fn fitting(values: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut room = LIST_ROOM;
    let fits = |value: &Value| {
        let size = value.to_string().len();
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    values.take_while(fits).collect()
}

/// The faults that fit into a row.
fn list_faults(refused: &RulesRefused) -> Vec<Value> {
    fitting(refused.faults.iter().map(show))
}

fn show(fault: &RuleFault) -> Value {
    json!({
        "file": cut(&fault.file, MAX_PROBLEM),
        "line": fault.place.map(|(line, _)| line),
        "column": fault.place.map(|(_, column)| column),
        "problem": cut(&fault.problem, MAX_PROBLEM),
    })
}

/// The beginning of a text, tame, with a mark where it was cut.
fn cut(text: &str, max_chars: usize) -> String {
    let tame = printable(text, max_chars);
    match text.char_indices().nth(max_chars) {
        None => tame,
        Some(_) => tame.chars().take(max_chars - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(faults: Vec<RuleFault>) -> RulesVerdict {
        let refused = RulesRefused {
            reason: "NotCompiled",
            at: "2026-11-21T10:00:00Z".parse().expect("a time"),
            faults: faults.into(),
        };
        RulesVerdict {
            hash: "ab".repeat(32),
            rules: 63,
            tests: 60,
            loaded_at: "2026-11-21T09:00:00Z".parse().expect("a time"),
            refused: Some(refused),
        }
    }

    fn fault(n: usize) -> RuleFault {
        RuleFault {
            file: format!("sshd/{n}.yml"),
            place: Some((n, 2)),
            problem: "ü".repeat(2_000),
        }
    }

    #[test]
    fn a_refused_set_says_where_and_which_set_stays() {
        let mut one = fault(7);
        one.problem = "'contain' is no modifier; write 'contains'".to_owned();

        let report = rules_report(&verdict(vec![one]));

        assert!(!report.holds);
        assert_eq!(report.reason, "NotCompiled");
        assert_eq!(
            report.message,
            "the changed rules are not in force: sshd/7.yml:7:2: 'contain' is no modifier; write \
             'contains'; 63 rules of set abababababab are in force since 2026-11-21T09:00:00Z"
        );
        assert_eq!(report.details["faults"][0]["line"], 7);
    }

    #[test]
    fn a_thousand_faults_fit_into_a_row() {
        let report = rules_report(&verdict((0..1000).map(fault).collect()));

        assert!(report.message.chars().count() <= MAX_MESSAGE);
        assert!(report.details.to_string().len() <= 4_096);
        assert_eq!(report.details["n_faults"], 1000);
        assert!(!report.details["faults"][0].is_null());
        assert!(
            report
                .message
                .ends_with("are in force since 2026-11-21T09:00:00Z")
        );
    }

    #[test]
    fn suspended_rules_are_told_with_what_to_do_and_fit_into_a_row() {
        let rule = |n: usize| SuspendedRule {
            id: format!("r{n}"),
            title: "ü".repeat(500),
            reason: "it took some 3.1 s of the last 10.0 s".to_owned(),
            since: "2026-11-21T09:00:00Z".parse().expect("a time"),
            workers: 1,
            organizations: 2,
            agents: 3,
        };
        let rules: Vec<SuspendedRule> = (0..100).map(rule).collect();

        let report = costs_report(&rules);

        assert_eq!((report.holds, report.reason), (false, "RuleSuspended"));
        assert!(
            report.message.contains("(r0): it took some 3.1 s"),
            "{}",
            report.message
        );
        assert!(report.message.contains("SIGHUP"), "{}", report.message);
        assert!(report.message.chars().count() <= MAX_MESSAGE);
        assert!(report.details.to_string().len() <= 4_096);
        assert_eq!(report.details["n_suspended"], 100);
        assert!(costs_report(&[]).holds);
        let some = SuspendedRule {
            workers: 0,
            ..rule(1)
        };
        assert_eq!(costs_report(&[some]).reason, "RuleSuspendedForSome");
    }

    #[test]
    fn another_set_is_news_although_the_reason_is_the_same() {
        let mut first = verdict(Vec::new());
        first.refused = None;
        let second = RulesVerdict {
            hash: "cd".repeat(32),
            ..first.clone()
        };

        assert_eq!(rules_report(&first).reason, rules_report(&second).reason);
        assert_ne!(news(&rules_report(&first)), news(&rules_report(&second)));
    }
}
