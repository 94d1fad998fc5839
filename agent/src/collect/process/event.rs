//! Processes as events, under the names that Sigma's rules use.
//! It reads nothing: what it says is in its arguments.

use hidps_wire::{EventKind, FieldValue, Fields, LogEvent};

use super::proc_entry::ProcEntry;
use super::table::{KnownProcess, ProcessTable};

/// The service of these events.
const SERVICE: &str = "process";

/// Longest command line quoted in a message; the field has all of it.
const MAX_QUOTED_BYTES: usize = 256;

/// A program that began, with what is known of its parent.
pub(super) struct Execution<'e> {
    pub(super) pid: u32,
    /// None when it had gone before it could be looked at.
    pub(super) entry: Option<&'e ProcEntry>,
    pub(super) parent_pid: Option<u32>,
    pub(super) parent: Option<&'e KnownProcess>,
    /// Whether it was found by a look afterwards.
    pub(super) is_late: bool,
}

/// A process that ended.
pub(super) struct Exit<'e> {
    pub(super) pid: u32,
    pub(super) process: &'e KnownProcess,
    /// How, as `wait` has it; none where it was only seen missing.
    pub(super) status: Option<u32>,
}

impl Execution<'_> {
    /// The event.
    pub(super) fn into_event(
        self,
        timestamp: String,
        table: &ProcessTable,
        now: u64,
    ) -> LogEvent<'static> {
        let mut fields = Fields::with_capacity(16);
        let user = self
            .entry
            .and_then(|entry| push_entry(&mut fields, entry, table, now));
        if let Some(parent) = self.parent {
            push_text(&mut fields, "ParentImage", parent.image.as_deref());
            push_text(&mut fields, "ParentCommandLine", Some(&parent.command));
            push_text(&mut fields, "ParentUser", parent.user.as_deref());
        }
        fields.push("ProcessId", i64::from(self.pid));
        if let Some(parent) = self.parent_pid {
            fields.push("ParentProcessId", i64::from(parent));
        }
        if self.is_late {
            fields.push("SeenLate", FieldValue::Bool(true));
        }
        let message = self.sentence(user.as_deref());
        event(timestamp, message, fields)
    }

    fn sentence(&self, user: Option<&str>) -> String {
        let user = user.unwrap_or("somebody");
        match self.entry {
            Some(entry) => {
                let image = entry.image.as_deref().unwrap_or(&entry.name);
                let command = crate::text::cut(&entry.command, MAX_QUOTED_BYTES);
                format!("{user} ran {image}: {command}")
            }
            None => {
                let parent = self.parent.and_then(|parent| parent.image.as_deref());
                let parent = parent.unwrap_or("an unknown program");
                format!("a program begun by {parent} ended before it could be looked at")
            }
        }
    }
}

fn push_entry(
    fields: &mut Fields<'static>,
    entry: &ProcEntry,
    table: &ProcessTable,
    now: u64,
) -> Option<String> {
    push_text(fields, "Image", entry.image.as_deref());
    if entry.image_deleted {
        fields.push("ImageDeleted", FieldValue::Bool(true));
    }
    push_text(fields, "CommandLine", Some(&entry.command));
    if entry.image.is_none() {
        push_text(fields, "ProcessName", Some(&entry.name));
    }
    push_text(fields, "CurrentDirectory", entry.directory.as_deref());
    let user = entry.users.map(|(user, rights)| {
        let name = table.user_name(user, now).to_string();
        push_text(fields, "User", Some(&name));
        if rights != user {
            push_text(fields, "EffectiveUser", Some(&table.user_name(rights, now)));
        }
        name
    });
    for (name, number) in [
        ("LogonId", entry.login_user),
        ("TerminalSessionId", entry.session),
    ] {
        if let Some(number) = number {
            fields.push(name, i64::from(number));
        }
    }
    push_text(fields, "Terminal", entry.terminal.as_deref());
    fields.push(
        "ProcessStart",
        i64::try_from(entry.started).unwrap_or(i64::MAX),
    );
    user
}

impl Exit<'_> {
    /// The event.
    pub(super) fn into_event(self, timestamp: String) -> LogEvent<'static> {
        let mut fields = Fields::with_capacity(8);
        fields.push("event", "exited");
        push_text(&mut fields, "Image", self.process.image.as_deref());
        push_text(&mut fields, "User", self.process.user.as_deref());
        fields.push("ProcessId", i64::from(self.pid));
        fields.push("ParentProcessId", i64::from(self.process.parent));
        let how = match self.status.map(Ending::of) {
            Some(Ending::Code(code)) => {
                fields.push("ExitCode", i64::from(code));
                format!("with code {code}")
            }
            Some(Ending::Signal(signal)) => {
                fields.push("Signal", i64::from(signal));
                format!("by signal {signal}")
            }
            None => "unseen".to_owned(),
        };
        let image = self.process.image.as_deref().unwrap_or("a program");
        let message = format!("{image} ended {how}");
        event(timestamp, message, fields)
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// By itself.
    Code(u32),
    /// By a signal, its own faults included.
    Signal(u32),
}

impl Ending {
    /// From what `wait` has.
    pub(super) const fn of(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Code(status >> 8 & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

fn push_text(fields: &mut Fields<'static>, name: &'static str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        fields.push(name, FieldValue::from(value.to_owned()));
    }
}

fn event(timestamp: String, message: String, fields: Fields<'static>) -> LogEvent<'static> {
    LogEvent {
        timestamp: timestamp.into(),
        kind: EventKind::Process,
        service: SERVICE.into(),
        message: message.into(),
        fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn text(event: &LogEvent<'_>, name: &str) -> Option<String> {
        match event.fields.get(name) {
            Some(FieldValue::Text(text)) => Some(text.to_string()),
            _ => None,
        }
    }

    #[test]
    fn a_program_has_the_names_rules_look_for() {
        let table = ProcessTable::new(Path::new("/nonexistent"));
        let entry = ProcEntry {
            pid: 7,
            parent: 3,
            image: Some("/memfd:x".to_owned()),
            image_deleted: true,
            command: "x --token ***".to_owned(),
            users: Some((0, 0)),
            login_user: Some(1_000),
            ..ProcEntry::default()
        };
        let parent = KnownProcess {
            started: None,
            image: Some("/bin/sh".into()),
            command: "sh -c x".into(),
            user: None,
            parent: 1,
            has_executed: true,
        };

        let event = Execution {
            pid: 7,
            entry: Some(&entry),
            parent_pid: Some(3),
            parent: Some(&parent),
            is_late: false,
        }
        .into_event(String::new(), &table, 0);

        assert_eq!(text(&event, "Image").as_deref(), Some("/memfd:x"));
        assert_eq!(
            event.fields.get("ImageDeleted"),
            Some(&FieldValue::Bool(true))
        );
        assert_eq!(
            text(&event, "CommandLine").as_deref(),
            Some("x --token ***")
        );
        assert_eq!(
            text(&event, "ParentCommandLine").as_deref(),
            Some("sh -c x")
        );
        assert_eq!(text(&event, "User").as_deref(), Some("root"));
        assert_eq!(
            event.fields.get("LogonId"),
            Some(&FieldValue::Integer(1_000))
        );
        assert_eq!(
            event.fields.get("ParentProcessId"),
            Some(&FieldValue::Integer(3))
        );
    }

    #[test]
    fn an_end_says_how() {
        assert_eq!(Ending::of(0x0300), Ending::Code(3));
        assert_eq!(Ending::of(0x008b), Ending::Signal(11));
    }
}
