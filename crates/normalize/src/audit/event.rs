//! The records of one event as events for rules: one for each record, under auditd's names.
//! No command line leaves it before its secrets were taken out.

use hidps_wire::{EventKind, FieldValue, Fields, LogEvent};
use jiff::Timestamp;

use super::address::{self, SocketAddress};
use super::decode::from_hex;
use super::execve::{self, Arguments};
use super::join::AuditEvent;
use super::path::{Call, from_root};
use super::record::{AuditRecord, without_last_word};
use super::syscall;
use crate::rfc3339;

/// The service of these events.
const SERVICE: &str = "auditd";

/// Most arguments that have a field of their own; rules look at the first few.
const MAX_ARGUMENT_FIELDS: usize = 24;

/// Who did it: what the call says and every other record of it is told with.
const WHO: [&str; 9] = [
    "pid", "ppid", "auid", "uid", "euid", "ses", "tty", "comm", "exe",
];

/// Users, with the name of the field that says them by name.
const USERS: [(&str, &str); 3] = [("auid", "AUID"), ("uid", "UID"), ("euid", "EUID")];

/// The number of no user.
const NOBODY: u32 = u32::MAX;

/// The kernel keeps 128 bytes of a command line, the last of which may be none of it.
const MIN_CUT_TITLE_BYTES: usize = 127;

/// Fields that hold whole numbers.
const NUMBERS: [&str; 20] = [
    "pid", "ppid", "auid", "uid", "gid", "euid", "suid", "fsuid", "egid", "sgid", "fsgid", "ses",
    "exit", "items", "item", "argc", "ouid", "ogid", "opid", "lport",
];

/// Families of sockets without an address that rules look at.
const FAMILIES: [(u16, &str); 5] = [
    (0, "unspecified"),
    (16, "netlink"),
    (17, "packet"),
    (38, "alg"),
    (40, "vsock"),
];

/// What only whoever reads the records can know.
pub struct Naming<'n> {
    /// Arguments of a program without secrets, one by one.
    pub redact_arguments: &'n dyn Fn(&[String]) -> Vec<String>,
    /// A command line that is one text without secrets.
    pub redact_command: &'n dyn Fn(&str) -> String,
    /// The name of a user.
    pub user_name: &'n dyn Fn(u32) -> Option<String>,
}

impl AuditEvent {
    /// The process that did it, where the kernel says so.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        let told = self.records.iter().find_map(|record| record.get("pid"));
        told.and_then(|pid| pid.parse().ok())
    }

    /// One event for each record, without those that only explain the others.
    #[must_use]
    pub fn into_events(self, naming: &Naming<'_>) -> Vec<LogEvent<'static>> {
        let scene = Scene::of(&self, naming);
        let mut events = Vec::with_capacity(self.records.len());
        let mut has_arguments = false;
        for record in &self.records {
            match &*record.kind {
                "CWD" | "PROCTITLE" if self.records.len() > 1 => {}
                "EXECVE" if std::mem::replace(&mut has_arguments, true) => {}
                _ => events.push(scene.tell(record)),
            }
        }
        events
    }
}

/// What the records of an event say about each other.
struct Scene<'e> {
    event: &'e AuditEvent,
    naming: &'e Naming<'e>,
    call: Option<&'e AuditRecord>,
    call_name: Option<&'e str>,
    directory: Option<&'e str>,
    title: Option<String>,
    arguments: Arguments,
}

impl<'e> Scene<'e> {
    fn of(event: &'e AuditEvent, naming: &'e Naming<'e>) -> Self {
        let first = |kind: &str| event.records.iter().find(|record| record.kind == kind);
        let call = first("SYSCALL");
        let pieces = event.records.iter().flat_map(|record| &record.pieces);
        let mut arguments = execve::join(pieces, event.n_left_out > 0);
        let title = first("PROCTITLE").and_then(|record| record.get("proctitle"));
        let title = title.map(|title| redact_title(title, &arguments.texts, naming));
        arguments.texts = (naming.redact_arguments)(&arguments.texts);
        Self {
            event,
            naming,
            call,
            call_name: call.and_then(call_name),
            directory: first("CWD").and_then(|record| record.get("cwd")),
            title,
            arguments,
        }
    }

    fn tell(&self, record: &AuditRecord) -> LogEvent<'static> {
        let mut told = Told::new(&record.kind);
        for (name, value) in &record.fields {
            match name.as_str() {
                "saddr" => told.push_address(value),
                "cmd" | "cmdline" => told.push(name, &(self.naming.redact_command)(value)),
                "proctitle" => told.push(name, self.title.as_deref().unwrap_or_default()),
                "name" => told.push(name, &self.place(value)),
                _ => told.push(name, value),
            }
        }
        if !record.pieces.is_empty() {
            told.push_arguments(&self.arguments);
        }
        let message = told.message(record);
        self.push_scene(&mut told, record);
        let n_left_out = i64::try_from(self.event.n_left_out).unwrap_or(i64::MAX);
        if n_left_out > 0 {
            told.fields.push("records_left_out", n_left_out);
        }
        let time = Timestamp::from_millisecond(self.event.id.millis);
        LogEvent {
            timestamp: rfc3339(time.unwrap_or(Timestamp::UNIX_EPOCH)).into(),
            kind: EventKind::Process,
            service: SERVICE.into(),
            message: message.into(),
            fields: told.fields,
        }
    }

    /// What the other records add to one.
    fn push_scene(&self, told: &mut Told, record: &AuditRecord) {
        if record.kind == "SYSCALL" {
            told.push_if("SYSCALL", call_name(record));
            told.push_if("ARCH", record.get("arch").and_then(syscall::machine));
            told.push_if("proctitle", self.title.as_deref());
        } else if let Some(call) = self.call {
            for name in WHO {
                told.push_if(name, call.get(name));
            }
            told.push_if("success", call.get("success"));
            if record.kind == "EXECVE" {
                // Some rules look for words that follow each other.
                told.push_if("proctitle", self.title.as_deref());
            }
        }
        told.push_if("cwd", self.directory);
        for (number, name) in USERS {
            let user = match told.fields.get(number) {
                Some(FieldValue::Integer(user)) => u32::try_from(*user).ok(),
                _ => None,
            };
            match user {
                Some(NOBODY) => told.push_if(name, Some("unset")),
                Some(user) => told.push_if(name, (self.naming.user_name)(user).as_deref()),
                None => {}
            }
        }
        let serial = i64::try_from(self.event.id.serial).unwrap_or(i64::MAX);
        told.fields.push("serial", serial);
    }

    /// A path as it leads from the root, where that can be known.
    fn place(&self, name: &str) -> String {
        let argument = |name| {
            self.call
                .and_then(|call| call.get(name))
                .unwrap_or_default()
        };
        let call = Call {
            name: self.call_name.unwrap_or_default(),
            arguments: ["a0", "a1", "a2", "a3"].map(argument),
        };
        let directory = self.directory.filter(|_| self.call_name.is_some());
        let place = directory.and_then(|directory| from_root(name, directory, &call));
        place.unwrap_or_else(|| name.to_owned())
    }
}

/// A command line as the kernel has it, which it cuts: what its last word begins with may be a part
/// of a secret, so the argument that it is a part of is looked at instead, or it is left out.
fn redact_title(title: &str, arguments: &[String], naming: &Naming<'_>) -> String {
    let words = title.split('\0').filter(|word| !word.is_empty());
    let mut words: Vec<_> = words.map(str::to_owned).collect();
    let mut shown_bytes = usize::MAX;
    if title.len() >= MIN_CUT_TITLE_BYTES
        && let Some(last) = words.pop()
    {
        let whole = arguments.iter().rfind(|whole| whole.starts_with(&last));
        shown_bytes = whole.map_or(usize::MAX, |_| last.len());
        words.push(whole.map_or_else(|| without_last_word(&last).to_owned(), Clone::clone));
    }
    let mut shown = (naming.redact_arguments)(&words);
    if let Some(last) = shown.last_mut() {
        last.truncate(last.floor_char_boundary(shown_bytes));
    }
    shown.retain(|word| !word.is_empty());
    shown.join(" ")
}

fn call_name(record: &AuditRecord) -> Option<&str> {
    let named = record.get("SYSCALL");
    named.or_else(|| syscall::name(record.get("arch")?, record.get("syscall")?))
}

/// The fields of an event while they are told, and its text.
struct Told {
    fields: Fields<'static>,
    text: String,
}

impl Told {
    fn new(kind: &str) -> Self {
        let mut fields = Fields::with_capacity(40);
        fields.push("type", kind.to_owned());
        Self {
            fields,
            text: String::new(),
        }
    }

    fn push(&mut self, name: &str, value: &str) {
        self.text.push(' ');
        self.text.push_str(name);
        self.text.push('=');
        let is_plain = !value.is_empty() && !value.contains([' ', '"', '\n']);
        if is_plain {
            self.text.push_str(value);
        } else {
            self.text.push('"');
            self.text.push_str(value);
            self.text.push('"');
        }
        self.push_if(name, Some(value));
    }

    /// A field that the text does not have, unless it is there already.
    fn push_if(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value.filter(|_| self.fields.get(name).is_none()) else {
            return;
        };
        let number = value.parse::<i64>().ok();
        let value = match number.filter(|_| NUMBERS.contains(&name)) {
            Some(number) => FieldValue::Integer(number),
            None => FieldValue::Text(value.to_owned().into()),
        };
        self.fields.push(name.to_owned(), value);
    }

    fn push_address(&mut self, digits: &str) {
        match from_hex(digits).as_deref().and_then(address::parse) {
            Some(SocketAddress::Host(host, port)) => {
                let family = if host.is_ipv4() { "inet" } else { "inet6" };
                self.push("saddr_fam", family);
                self.push("laddr", &host.to_canonical().to_string());
                self.push("lport", &port.to_string());
            }
            Some(SocketAddress::Path(path)) => {
                self.push("saddr_fam", "local");
                self.push("path", &path);
            }
            Some(SocketAddress::Other(family)) => {
                let known = FAMILIES.iter().find(|(number, _)| *number == family);
                match known {
                    Some((_, name)) => self.push("saddr_fam", name),
                    None => self.push("saddr_fam", &family.to_string()),
                }
            }
            None => self.push("saddr", digits),
        }
    }

    fn push_arguments(&mut self, arguments: &Arguments) {
        for (number, argument) in arguments.texts.iter().enumerate() {
            if number < MAX_ARGUMENT_FIELDS {
                self.push(&format!("a{number}"), argument);
            } else {
                self.text.push(' ');
                self.text.push_str(argument);
            }
        }
        if arguments.is_cut {
            self.fields.push("truncated", FieldValue::Bool(true));
        }
    }

    /// The record as one line.
    fn message(&mut self, record: &AuditRecord) -> String {
        let mut message = format!("type={}", record.kind);
        if !record.others.is_empty() {
            message.push(' ');
            message.push_str(&record.others);
        }
        message.push_str(&self.text);
        message
    }
}
