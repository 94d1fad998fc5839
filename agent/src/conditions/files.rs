//! The condition of the watched files, with every path that is not as desired by its name.
//! It never takes a path that could not be looked at for one that is missing.

use hidps_wire::{
    AgentCondition, ConditionStatus, FacetCondition, MAX_CONDITION_SUBJECTS, MAX_PATH_BYTES,
    RefusedPath, SubjectCondition, encode,
};

use super::{MAX_MESSAGE_BYTES, condition};
use crate::file_watch::{FileKind, PathState, WatchOutcome, WatchReport};
use crate::text::{cut, printable};

/// How many paths a message names; the others are a number.
const MAX_NAMED_PATHS: usize = 3;

/// Longest name of a path in a message.
const MAX_NAME: usize = 200;

/// Most bytes of all subjects: less than the 60 KiB that the database keeps of a condition, because
/// it writes them with more white space.
const MAX_SUBJECTS_BYTES: usize = 50 * 1024;

/// A path that is not as desired.
struct Lack<'p> {
    path: &'p str,
    reason: &'static str,
    /// What is so, after its name.
    text: String,
}

/// The condition of the watched files; no report means that the watcher did not answer.
#[must_use]
pub fn files_condition(report: Option<&WatchReport>, refused: &[RefusedPath]) -> AgentCondition {
    let mut lacks: Vec<_> = refused.iter().map(Lack::refused).collect();
    let Some(report) = report else {
        let text = "the watcher of files did not answer in time";
        let status = ConditionStatus::Unknown;
        return lacking(status, "WatcherStuck", text, &lacks);
    };
    // The worst first: what cannot be watched at all, then what will be.
    lacks.extend(report.iter().filter_map(Lack::failed));
    lacks.extend(report.iter().filter_map(Lack::unfinished));
    lacks.extend(report.iter().filter_map(Lack::missing));
    match lacks.first() {
        Some(worst) => lacking(
            ConditionStatus::False,
            worst.reason,
            &name_some(lacks.iter().map(Lack::sentence)),
            &lacks,
        ),
        None => lacking(
            ConditionStatus::True,
            "AllWatched",
            &all_watched(report),
            &[],
        ),
    }
}

/// Adds to a condition that is well why it is not known who changes the files.
#[must_use]
pub fn with_who(mut condition: AgentCondition, who_unknown: Option<&str>) -> AgentCondition {
    if let Some(why) = who_unknown
        && condition.status == ConditionStatus::True
    {
        let who = format!("; who changes them is not known: fanotify says {why}");
        let message = condition.message + &who;
        condition.message = cut(&message, MAX_MESSAGE_BYTES).to_owned();
    }
    condition
}

/// Adds how many files are not remembered while the agent is away, if any.
#[must_use]
pub fn with_unremembered(mut condition: AgentCondition, n: usize) -> AgentCondition {
    if n > 0 {
        let message = format!(
            "{n} files are too many to be remembered: what happens to them while the agent is away is \
             not told; {}",
            condition.message
        );
        condition.message = cut(&message, MAX_MESSAGE_BYTES).to_owned();
    }
    condition
}

/// The condition of all paths when the kernel dropped events of them.
#[must_use]
pub fn lost_condition() -> AgentCondition {
    let message = "the kernel dropped events of watched files; every watched path is compared with \
                   what was known of it, and what changed and changed back meanwhile is not seen";
    lacking(ConditionStatus::False, "EventsLost", message, &[])
}

/// The condition of paths that were gone and are watched again; none if none was. What is still
/// gone is in the condition of now.
#[must_use]
pub fn vanished_condition(outcome: &WatchOutcome) -> Option<AgentCondition> {
    let lacks: Vec<_> = outcome
        .vanished
        .iter()
        .filter(|path| matches!(outcome.states.get(path), Some(PathState::Watched(_))))
        .map(|path| Lack {
            path: path.as_str(),
            reason: "PathMissing",
            text: "vanished and was watched again as soon as it was back".to_owned(),
        })
        .collect();
    let worst = lacks.first()?;
    let message = name_some(lacks.iter().map(Lack::sentence));
    Some(lacking(
        ConditionStatus::False,
        worst.reason,
        &message,
        &lacks,
    ))
}

impl<'p> Lack<'p> {
    fn refused(refused: &'p RefusedPath) -> Self {
        Self {
            path: &refused.path,
            reason: "PathRefused",
            text: refused.error.to_string(),
        }
    }

    fn failed((path, state): (&'p hidps_wire::WatchPath, &PathState)) -> Option<Self> {
        let PathState::Failed(problem) = state else {
            return None;
        };
        Some(Self {
            path: path.as_str(),
            reason: problem.reason(),
            text: format!("cannot be watched: {problem}"),
        })
    }

    fn unfinished((path, state): (&'p hidps_wire::WatchPath, &PathState)) -> Option<Self> {
        let (reason, text) = match state {
            PathState::Partly(lack) => {
                let text = format!("is watched, and not everything below it: {lack}");
                (lack.reason(), text)
            }
            PathState::Surveying {
                n_directories,
                has_lost,
            } => {
                let (reason, why) = if *has_lost {
                    ("EventsLost", "compared, because the kernel dropped events")
                } else {
                    ("Surveying", "walked through")
                };
                let text =
                    format!("is being {why}; {n_directories} directories are watched so far");
                (reason, text)
            }
            PathState::Watched(_) | PathState::Missing | PathState::Failed(_) => return None,
        };
        Some(Self {
            path: path.as_str(),
            reason,
            text,
        })
    }

    fn missing((path, state): (&'p hidps_wire::WatchPath, &PathState)) -> Option<Self> {
        (*state == PathState::Missing).then(|| Self {
            path: path.as_str(),
            reason: "PathMissing",
            text: "does not exist; it will be watched when it appears".to_owned(),
        })
    }

    fn sentence(&self) -> String {
        format!("{} {}", printable(self.path, MAX_NAME), self.text)
    }

    fn subject(&self) -> SubjectCondition {
        SubjectCondition {
            subject: printable(self.path, MAX_PATH_BYTES),
            status: ConditionStatus::False,
            reason: self.reason.to_owned(),
            message: format!("it {}", self.text),
        }
    }
}

fn lacking(
    status: ConditionStatus,
    reason: &str,
    message: &str,
    lacks: &[Lack<'_>],
) -> AgentCondition {
    let mut condition = condition(FacetCondition::FilesWatched, status, reason, message);
    condition.subjects = name_subjects(lacks);
    condition
}

/// As many as fit; how many are left out is the last one.
fn name_subjects(lacks: &[Lack<'_>]) -> Vec<SubjectCondition> {
    let mut subjects = Vec::new();
    let mut room = MAX_SUBJECTS_BYTES;
    for (index, lack) in lacks.iter().enumerate() {
        let subject = lack.subject();
        let size = encode(&subject).len() + 1;
        let is_last = index + 1 == lacks.len();
        let is_full = subjects.len() + 1 == MAX_CONDITION_SUBJECTS && !is_last;
        if is_full || size > room {
            subjects.push(omitted(lacks.len() - index));
            break;
        }
        room -= size;
        subjects.push(subject);
    }
    subjects
}

fn omitted(n: usize) -> SubjectCondition {
    SubjectCondition {
        subject: String::new(),
        status: ConditionStatus::False,
        reason: "Omitted".to_owned(),
        message: format!("{n} more paths are not as desired and left out of this list"),
    }
}

fn all_watched(report: &WatchReport) -> String {
    let mut message = match report.len() {
        0 => "no path is to be watched".to_owned(),
        1 => "the one path is watched".to_owned(),
        n => format!("all {n} paths are watched"),
    };
    let links: Vec<_> = report
        .iter()
        .filter(|(_, state)| **state == PathState::Watched(FileKind::SymbolicLink))
        .map(|(path, _)| {
            let path = printable(path.as_str(), MAX_NAME);
            format!("{path} is a symbolic link, watched itself; watch its target as well")
        })
        .collect();
    if !links.is_empty() {
        message = format!("{message}; {}", name_some(links.into_iter()));
    }
    message
}

fn name_some(sentences: impl ExactSizeIterator<Item = String>) -> String {
    let more = sentences.len().saturating_sub(MAX_NAMED_PATHS);
    let named: Vec<_> = sentences.take(MAX_NAMED_PATHS).collect();
    let named = named.join("; ");
    if more == 0 {
        named
    } else {
        format!("{named}; and {more} more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_watch::{TreeLack, WatchProblem};
    use hidps_wire::{Desired, DesiredDocument, MAX_AGENT_FRAME_BYTES, WatchPath};

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
    fn what_is_watched_only_in_part_is_said_with_its_reason() {
        let check = |state: PathState, reason: &str, words: &str| {
            let condition = files_condition(Some(&report(&[("/a", state)])), &[]);

            assert_eq!(condition.status, ConditionStatus::False);
            assert_eq!(condition.reason, reason);
            assert!(condition.message.contains(words), "{}", condition.message);
        };
        let surveying = |has_lost| PathState::Surveying {
            n_directories: 7,
            has_lost,
        };
        let unwatched = TreeLack::Unwatched {
            first: "/a/b".into(),
            problem: WatchProblem::Denied,
        };
        let too_large = TreeLack::TooManyDirectories;

        check(
            surveying(false),
            "Surveying",
            "7 directories are watched so far",
        );
        check(surveying(true), "EventsLost", "the kernel dropped events");
        check(
            PathState::Partly(unwatched),
            "MissingPrivilege",
            "/a/b cannot be watched: the agent may not read it",
        );
        check(
            PathState::Partly(too_large),
            "TooLarge",
            "only 50000 directories",
        );
    }

    #[test]
    fn refused_paths_are_named_and_a_long_list_is_cut() {
        let document = DesiredDocument {
            firewall_enabled: None,
            monitored_files: (0..50).map(|n| format!("relative/{n}\n")).collect(),
            ..DesiredDocument::default()
        };
        let (_, refused) = Desired::from_document(&document);

        let condition = files_condition(Some(&WatchReport::new()), &refused.paths);

        assert_eq!(condition.reason, "PathRefused");
        assert!(
            condition.message.ends_with("and 47 more"),
            "{}",
            condition.message
        );
        assert!(!condition.message.contains('\n'));
    }

    #[test]
    fn files_that_there_is_no_room_to_remember_are_told_whatever_else_is_so() {
        for state in [PathState::Watched(FileKind::File), PathState::Missing] {
            let condition = files_condition(Some(&report(&[("/a", state)])), &[]);
            let (before, status) = (condition.message.clone(), condition.status);

            let told = with_unremembered(condition.clone(), 7);

            assert!(
                told.message
                    .starts_with("7 files are too many to be remembered")
            );
            assert!(told.message.ends_with(&before) && told.status == status);
            assert_eq!(with_unremembered(condition, 0).message, before);
        }
    }

    #[test]
    fn a_watcher_that_does_not_answer_is_unknown_and_not_well() {
        assert_eq!(files_condition(None, &[]).status, ConditionStatus::Unknown);
    }

    fn subjects(condition: &AgentCondition) -> Vec<(&str, &str)> {
        let subjects = condition.subjects.iter();
        subjects
            .map(|s| (s.subject.as_str(), s.reason.as_str()))
            .collect()
    }

    #[test]
    fn every_path_that_is_not_as_desired_is_a_subject_and_no_other() {
        let (_, refused) = Desired::from_document(&DesiredDocument {
            firewall_enabled: None,
            monitored_files: vec!["../x".to_owned()],
            ..DesiredDocument::default()
        });
        let states = report(&[
            ("/fine", PathState::Watched(FileKind::File)),
            ("/gone", PathState::Missing),
            ("/denied", PathState::Failed(WatchProblem::Denied)),
            ("/odd\npath", PathState::Missing),
        ]);

        let condition = files_condition(Some(&states), &refused.paths);
        let stuck = files_condition(None, &refused.paths);

        assert_eq!(
            subjects(&condition),
            [
                ("../x", "PathRefused"),
                ("/denied", "MissingPrivilege"),
                ("/gone", "PathMissing"),
                ("/odd\u{fffd}path", "PathMissing"),
            ]
        );
        let gone = &condition.subjects[2].message;
        assert_eq!(
            gone,
            "it does not exist; it will be watched when it appears"
        );
        // What was refused is known although the watcher says nothing.
        assert_eq!(subjects(&stuck), [("../x", "PathRefused")]);
    }

    #[test]
    fn a_thousand_long_paths_fit_a_frame_and_what_is_left_out_is_counted() {
        // Lengths from a usual path to the greatest, of characters that are long in JSON.
        for (length, fill) in [(20, "x"), (500, "x"), (4_000, "x"), (1_300, "\u{20ac}")] {
            let missing = |n: u32| {
                let path = format!("/{n}{}", fill.repeat(length));
                (WatchPath::parse(&path).unwrap(), PathState::Missing)
            };
            let states: WatchReport = (0..1_000).map(missing).collect();

            let condition = files_condition(Some(&states), &[]);

            let n = condition.subjects.len();
            assert!((2..=MAX_CONDITION_SUBJECTS).contains(&n), "{n}");
            assert!(encode(&condition).len() < MAX_AGENT_FRAME_BYTES / 3);
            let last = condition.subjects.last().unwrap();
            let left_out = 1_000 - (n - 1);
            assert_eq!(last.reason, "Omitted");
            assert!(last.message.starts_with(&left_out.to_string()));
        }
    }

    #[test]
    fn a_hundred_subjects_are_all_named() {
        let missing = |n: u32| {
            (
                WatchPath::parse(&format!("/{n}")).unwrap(),
                PathState::Missing,
            )
        };
        let of = |n| files_condition(Some(&(0..n).map(missing).collect()), &[]);

        let (exactly, beyond) = (of(100), of(101));

        assert!(exactly.subjects.iter().all(|s| s.reason == "PathMissing"));
        assert_eq!((exactly.subjects.len(), beyond.subjects.len()), (100, 100));
        assert!(beyond.subjects[99].message.starts_with("2 more"));
    }
}
