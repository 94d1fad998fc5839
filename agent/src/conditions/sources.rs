//! The condition of every source of events being read that the configuration asks for.
//! It looks at no source: it goes by what each one says of itself, and waits until it does.

use hidps_wire::{AgentCondition, ConditionStatus, FacetCondition};

use super::condition;
use crate::collect::source_board::{SourceState, SourceStates, Standing};
use crate::config::{AuditMode, Config, JournalMode, KernelLogMode, ProcessMode};
use crate::file_watch::FILES;

/// The source that most hosts have, and whose place log files take on the others.
const JOURNAL: &str = "journal";

/// What a configuration asks for, so that it is a fault when it cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourcesAsked(Vec<(&'static str, &'static str)>);

impl SourcesAsked {
    /// Reads a configuration: the names of sources, each with what to do when it fails.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let asked = [
            (
                config.logs.journal == JournalMode::Auto,
                JOURNAL,
                "start the agent by its unit, which lets it read the journal, or set journal = \"off\"",
            ),
            (
                config.logs.kernel_log == KernelLogMode::On,
                "kernel log",
                "give the agent CAP_SYSLOG, as its unit does, or set kernel_log = \"auto\"",
            ),
            (
                !config.logs.files.is_empty(),
                "log files",
                "correct its path, start the agent by its unit, which may read the files of others, \
                 or take it out of the configuration",
            ),
            (
                config.logs.audit == AuditMode::On,
                "audit",
                "start auditd, or the agent by its unit, which gives it CAP_AUDIT_READ, or set \
                 audit = \"auto\"",
            ),
            (
                config.processes.mode == ProcessMode::Connector,
                "processes",
                "start the agent by its unit, which gives it CAP_NET_ADMIN, or set processes = \
                 \"auto\"",
            ),
        ];
        let asked = asked.into_iter().filter(|(is_asked, _, _)| *is_asked);
        Self(asked.map(|(_, source, fix)| (source, fix)).collect())
    }
}

/// The condition; none until every source that is asked for has said how it is with it.
#[must_use]
pub fn sources_condition(states: &SourceStates, asked: &SourcesAsked) -> Option<AgentCondition> {
    let mut faults = Vec::new();
    for (source, fix) in &asked.0 {
        let state = states.get(*source)?;
        if is_fault(source, state) {
            faults.push(format!("{source}: {}; {fix}", state.how));
        }
    }
    let facet = FacetCondition::SourcesRead;
    if !faults.is_empty() {
        let message = format!("not read: {}", faults.join("; "));
        let told = condition(facet, ConditionStatus::False, "SourceUnread", &message);
        return Some(told);
    }
    let is_unread = |state: &SourceState| match state.standing {
        Standing::Absent | Standing::Failed => true,
        Standing::Read | Standing::Off => false,
    };
    let unread = states.iter().filter(|(source, state)| {
        // What is wrong with files has a condition of its own.
        *source != FILES && is_unread(state)
    });
    let unread: Vec<_> = unread
        .map(|(source, state)| format!("{source}: {}", state.how))
        .collect();
    let is_without_journal = states
        .get(JOURNAL)
        .is_some_and(|state| state.standing == Standing::Absent);
    let reason = if is_without_journal {
        "WithoutJournal"
    } else {
        "Reading"
    };
    let message = if unread.is_empty() {
        "every source is read that the configuration asks for".to_owned()
    } else {
        format!("not to be had and not insisted on: {}", unread.join("; "))
    };
    Some(condition(facet, ConditionStatus::True, reason, &message))
}

/// Whether a source that is asked for does not come: a host may be without a journal.
fn is_fault(source: &str, state: &SourceState) -> bool {
    match state.standing {
        Standing::Failed => true,
        Standing::Absent => source != JOURNAL,
        Standing::Read | Standing::Off => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::source_board::SourceBoard;

    const READ: (Standing, &str) = (Standing::Read, "so");

    const LOG_FILE: &str = "[[log_file]]\npath = \"/var/log/app.log\"";

    fn asked(settings: &str) -> SourcesAsked {
        let text = format!(
            "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
             backend_url = \"http://127.0.0.1:9\"\n{settings}\n"
        );
        SourcesAsked::of(&Config::parse(&text, |_| None).unwrap())
    }

    fn told(settings: &str, sources: &[(&str, (Standing, &str))]) -> Option<AgentCondition> {
        let (board, states) = SourceBoard::new();
        for (source, (standing, how)) in sources {
            board.tell(source, *standing, how, "x");
        }
        sources_condition(&states.borrow(), &asked(settings))
    }

    #[test]
    fn the_watching_of_files_is_left_to_its_own_condition() {
        let failed = (Standing::Failed, "too many open files");
        let sources = [("journal", READ), (FILES, failed), ("usage", failed)];

        let told = told("", &sources).unwrap();

        assert_eq!(told.status, ConditionStatus::True);
        assert!(!told.message.contains(FILES), "{}", told.message);
        assert!(told.message.contains("usage: too many"), "{}", told.message);
    }

    #[test]
    fn a_source_that_is_asked_for_and_fails_is_a_fault_and_another_is_not() {
        use ConditionStatus::{False, True};
        let failed = (Standing::Failed, "permission denied");
        let absent = (Standing::Absent, "there is none");
        let table = [
            ("", "journal", READ, True, "Reading"),
            ("", "journal", failed, False, "SourceUnread"),
            ("", "journal", absent, True, "WithoutJournal"),
            ("", "kernel log", failed, True, "Reading"),
            (
                "kernel_log = \"on\"",
                "kernel log",
                failed,
                False,
                "SourceUnread",
            ),
            ("kernel_log = \"on\"", "kernel log", READ, True, "Reading"),
            ("", "audit", failed, True, "Reading"),
            ("", "audit", absent, True, "Reading"),
            ("audit = \"on\"", "audit", failed, False, "SourceUnread"),
            ("audit = \"on\"", "audit", absent, False, "SourceUnread"),
            ("audit = \"on\"", "audit", READ, True, "Reading"),
            ("", "log files", absent, True, "Reading"),
            (LOG_FILE, "log files", absent, False, "SourceUnread"),
            (LOG_FILE, "log files", failed, False, "SourceUnread"),
            (LOG_FILE, "log files", READ, True, "Reading"),
            (
                "processes = \"connector\"",
                "processes",
                failed,
                False,
                "SourceUnread",
            ),
        ];

        for (settings, source, state, status, reason) in table {
            let mut sources = vec![("journal", READ)];
            sources.push((source, state));

            let condition = told(settings, &sources).unwrap();

            let row = format!("{settings} {source} {state:?}: {}", condition.message);
            assert_eq!(
                (condition.status, &*condition.reason),
                (status, reason),
                "{row}"
            );
            assert_eq!(condition.message.contains(source), state != READ, "{row}");
        }
    }

    #[test]
    fn a_fault_names_the_source_why_and_what_to_do_and_goes_before_an_absence() {
        let sources = [
            ("audit", (Standing::Absent, "there is none")),
            ("journal", (Standing::Absent, "journald keeps no files")),
        ];

        let condition = told("audit = \"on\"", &sources).unwrap();

        assert_eq!(
            condition.message,
            "not read: audit: there is none; start auditd, or the agent by its unit, which gives \
             it CAP_AUDIT_READ, or set audit = \"auto\""
        );
    }

    #[test]
    fn nothing_is_said_before_the_sources_that_are_asked_for_have_spoken() {
        let journal = ("journal", READ);

        assert_eq!(told("audit = \"on\"", &[journal]), None);
        assert_eq!(told("", &[]), None);
        assert!(told("", &[journal]).is_some());
        assert!(told("journal = \"off\"", &[]).is_some());
    }
}
