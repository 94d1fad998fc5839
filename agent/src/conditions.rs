//! Turns what was read back from the host into conditions for people and machines.
//! It is pure: it looks at nothing and never guesses what it was not given.

use hidps_wire::{AgentCondition, ConditionStatus, FacetCondition, RefusedPath};

use crate::file_watch::{FileKind, PathState, WatchReport};
use crate::firewall::{FirewallOutcome, FirewallSync};
use crate::text::{cut, printable};

/// How many paths a message names; the others are a number.
const MAX_NAMED_PATHS: usize = 3;

/// Longest name of a path in a message.
const MAX_PATH_BYTES: usize = 200;

/// Longest message: conditions become rows.
const MAX_MESSAGE_BYTES: usize = 1_000;

/// The conditions of a host without a desired document, which is left as it is.
#[must_use]
pub fn no_document_conditions(why: &str) -> Vec<AgentCondition> {
    let unknown = |facet, what| {
        let message = printable(&format!("{what}: {why}"), MAX_MESSAGE_BYTES);
        condition(facet, ConditionStatus::Unknown, "NoDocument", &message)
    };
    vec![
        unknown(
            FacetCondition::FirewallSynced,
            "the firewall is left as it was found",
        ),
        unknown(FacetCondition::FilesWatched, "no path is watched"),
    ]
}

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
    condition(FacetCondition::FirewallSynced, status, reason, &message)
}

/// The condition of the watched files; no report means that the watcher did not answer.
#[must_use]
pub fn files_condition(report: Option<&WatchReport>, refused: &[RefusedPath]) -> AgentCondition {
    use ConditionStatus::{False, True, Unknown};
    let answer = |status, reason, message: &str| {
        condition(FacetCondition::FilesWatched, status, reason, message)
    };
    let Some(report) = report else {
        return answer(
            Unknown,
            "WatcherStuck",
            "the watcher of files did not answer in time",
        );
    };
    let refused: Vec<_> = refused
        .iter()
        .map(|refused| {
            format!(
                "{} {}",
                printable(&refused.path, MAX_PATH_BYTES),
                refused.error
            )
        })
        .collect();
    let failed: Vec<_> = report
        .iter()
        .filter_map(|(path, state)| match state {
            PathState::Failed(problem) => Some((path, problem)),
            PathState::Watched(_) | PathState::Missing => None,
        })
        .collect();
    let failures: Vec<_> = failed
        .iter()
        .map(|(path, problem)| {
            format!(
                "{} cannot be watched: {problem}",
                printable(path.as_str(), MAX_PATH_BYTES)
            )
        })
        .collect();
    let missing: Vec<_> = in_state(report, &PathState::Missing)
        .map(|path| format!("{path} does not exist; it will be watched when it appears"))
        .collect();
    let message = name_some(refused.iter().chain(&failures).chain(&missing));
    if !refused.is_empty() {
        answer(False, "PathRefused", &message)
    } else if let Some((_, problem)) = failed.first() {
        answer(False, problem.reason(), &message)
    } else if !missing.is_empty() {
        answer(False, "PathMissing", &message)
    } else {
        answer(True, "AllWatched", &all_watched(report))
    }
}

fn all_watched(report: &WatchReport) -> String {
    let mut message = match report.len() {
        0 => "no path is to be watched".to_owned(),
        1 => "the one path is watched".to_owned(),
        n => format!("all {n} paths are watched"),
    };
    let links: Vec<_> = in_state(report, &PathState::Watched(FileKind::SymbolicLink))
        .map(|path| format!("{path} is a symbolic link, watched itself; watch its target as well"))
        .collect();
    if !links.is_empty() {
        message = format!("{message}; {}", name_some(links.iter()));
    }
    message
}

fn in_state<'r>(report: &'r WatchReport, wanted: &'r PathState) -> impl Iterator<Item = String> {
    report
        .iter()
        .filter(move |(_, state)| *state == wanted)
        .map(|(path, _)| printable(path.as_str(), MAX_PATH_BYTES))
}

fn name_some<'t>(texts: impl Iterator<Item = &'t String>) -> String {
    let texts: Vec<_> = texts.map(String::as_str).collect();
    let named: Vec<_> = texts.iter().take(MAX_NAMED_PATHS).copied().collect();
    let more = texts.len() - named.len();
    let named = named.join("; ");
    if more == 0 {
        named
    } else {
        format!("{named}; and {more} more")
    }
}

fn condition(
    facet: FacetCondition,
    status: ConditionStatus,
    reason: &str,
    message: &str,
) -> AgentCondition {
    AgentCondition {
        facet,
        status,
        reason: reason.to_owned(),
        message: cut(message, MAX_MESSAGE_BYTES).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_watch::WatchProblem;
    use crate::firewall::FirewallError;
    use hidps_wire::{Desired, DesiredDocument, WatchPath};

    fn report(states: &[(&str, PathState)]) -> WatchReport {
        states
            .iter()
            .map(|(path, state)| (WatchPath::parse(path).unwrap(), state.clone()))
            .collect()
    }

    #[test]
    fn files_are_watched_only_if_every_path_is() {
        let check = |states: &[(&str, PathState)], status, reason: &str, words: &str| {
            let condition = files_condition(Some(&report(states)), &[]);

            assert_eq!(
                (condition.status, condition.reason.as_str()),
                (status, reason)
            );
            assert!(condition.message.contains(words), "{}", condition.message);
        };
        let file = PathState::Watched(FileKind::File);
        let denied = PathState::Failed(WatchProblem::Denied);

        check(&[], ConditionStatus::True, "AllWatched", "no path");
        check(
            &[("/a", file.clone())],
            ConditionStatus::True,
            "AllWatched",
            "the one path",
        );
        check(
            &[("/a", file.clone()), ("/b", PathState::Missing)],
            ConditionStatus::False,
            "PathMissing",
            "/b does not exist; it will be watched when it appears",
        );
        check(
            &[("/a", PathState::Missing), ("/b", denied)],
            ConditionStatus::False,
            "MissingPrivilege",
            "/b cannot be watched",
        );
        check(
            &[("/a", PathState::Watched(FileKind::SymbolicLink))],
            ConditionStatus::True,
            "AllWatched",
            "/a is a symbolic link",
        );
    }

    #[test]
    fn refused_paths_are_named_and_a_long_list_is_cut() {
        let document = DesiredDocument {
            firewall_enabled: None,
            monitored_files: (0..50).map(|n| format!("relative/{n}\n")).collect(),
        };
        let (_, refused) = Desired::from_document(&document);

        let condition = files_condition(Some(&WatchReport::new()), &refused);

        assert_eq!(condition.reason, "PathRefused");
        assert!(
            condition.message.ends_with("and 47 more"),
            "{}",
            condition.message
        );
        assert!(!condition.message.contains('\n'));
    }

    #[test]
    fn a_watcher_that_does_not_answer_is_unknown_and_not_well() {
        assert_eq!(files_condition(None, &[]).status, ConditionStatus::Unknown);
    }

    #[test]
    fn a_firewall_is_as_desired_only_if_it_was_read_so() {
        let check = |active, sync, status, reason: &str| {
            let outcome = FirewallOutcome {
                active,
                change: None,
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
