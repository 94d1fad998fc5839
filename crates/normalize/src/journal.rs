//! An entry of the journal into an event: what journald vouches for goes before what is claimed.
//! A program that calls itself another one's name is not believed, whatever its message says.

use hidps_wire::{EventKind, LogEvent};
use jiff::Timestamp;

use super::program::{Understood, service_of, understand, understands};
use super::reading::{Facts, Reading};
use super::{NormalLine, rfc3339, unfold_repeats};

/// Programs that keep their user's number while they act as root, so that the number tells
/// nothing against them.
const OF_USERS: [&str; 15] = [
    "sudo",
    "su",
    "doas",
    "pkexec",
    "passwd",
    "chage",
    "chfn",
    "chsh",
    "gpasswd",
    "newgrp",
    "crontab",
    "unix_chkpwd",
    "polkit-agent-helper-1",
    "login",
    "runuser",
];

/// Folders that only root can put a program into.
const OF_ROOT: [&str; 7] = [
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/lib/",
    "/usr/libexec/",
    "/bin/",
    "/sbin/",
    "/lib/",
];

/// An entry of the journal, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JournalEntry<'a> {
    /// What was said.
    pub message: &'a str,
    /// What the writer calls itself, `SYSLOG_IDENTIFIER`.
    pub identifier: Option<&'a str>,
    /// The process that wrote it, `_PID`.
    pub pid: Option<u32>,
    /// Its user, `_UID`.
    pub uid: Option<u32>,
    /// Its name, `_COMM`.
    pub comm: Option<&'a str>,
    /// Its program, `_EXE`; absent when it had ended before journald looked.
    pub exe: Option<&'a str>,
    /// Its unit, `_SYSTEMD_UNIT`.
    pub unit: Option<&'a str>,
    /// Whether it came from the kernel, `_TRANSPORT=kernel`.
    pub is_kernel: bool,
    /// When journald took it in.
    pub time: Timestamp,
}

/// How far the writer's name can be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trust {
    /// journald vouches for it.
    Vouched,
    /// It may be so: the process ended too early for journald to see its program.
    Unverified,
    /// It is another program.
    Forged,
}

/// Reads an entry.
#[must_use]
pub fn normalize_entry<'a>(entry: &JournalEntry<'a>) -> NormalLine<'a> {
    let claimed = entry.claimed_name();
    let trust = entry.trust(claimed);
    let (message, count) = unfold_repeats(entry.message);
    let understood = match trust {
        Trust::Forged => Understood {
            service: entry.own_name(),
            kind: EventKind::Process,
            reading: Reading::Other,
        },
        Trust::Vouched | Trust::Unverified => understand(claimed, entry.pid, message),
    };
    let is_read = understood.reading != Reading::Other;
    let facts = match understood.reading {
        Reading::Stated(facts) => facts,
        Reading::Ambiguous => Facts::none().flag("ambiguous", true),
        Reading::Companion | Reading::Other => Facts::none(),
    };
    let facts = match trust {
        Trust::Vouched => facts,
        Trust::Unverified => facts.flag("unverified", true),
        Trust::Forged => facts.text("claimed", claimed),
    };
    let named = (trust != Trust::Forged && claimed != understood.service).then_some(claimed);
    let facts = facts
        .text_if("program", named)
        .number_unless_told("pid", entry.pid)
        .number_if("_UID", entry.uid)
        .text_if("_EXE", entry.exe)
        .text_if("_SYSTEMD_UNIT", entry.unit);
    NormalLine {
        event: LogEvent {
            timestamp: rfc3339(entry.time).into(),
            kind: understood.kind,
            service: understood.service.into(),
            message: message.into(),
            fields: facts.into_fields(),
        },
        count,
        is_read,
    }
}

impl<'a> JournalEntry<'a> {
    fn claimed_name(&self) -> &'a str {
        if self.is_kernel {
            return "kernel";
        }
        let name = self.identifier.filter(|name| !name.is_empty());
        name.or(self.comm).unwrap_or("unknown")
    }

    /// What the writer is, by journald's word alone.
    fn own_name(&self) -> &'a str {
        let program = self.exe.and_then(|exe| exe.rsplit('/').next());
        program.or(self.comm).unwrap_or("unknown")
    }

    fn trust(&self, claimed: &str) -> Trust {
        let service = service_of(claimed);
        if self.is_kernel {
            return Trust::Vouched;
        }
        // Only the kernel is the kernel; root may be anybody else.
        if service == "kernel" {
            return Trust::Forged;
        }
        if self.uid == Some(0) || !understands(service, self.message) {
            return Trust::Vouched;
        }
        let is_users = OF_USERS.contains(&service);
        match self.exe {
            Some(exe) if is_program(exe, service) => Trust::Vouched,
            None if is_users => Trust::Unverified,
            Some(_) | None => Trust::Forged,
        }
    }
}

/// Whether a file is the program of a name, where only root can have put it.
fn is_program(exe: &str, service: &str) -> bool {
    let is_roots = OF_ROOT.iter().any(|folder| exe.starts_with(folder));
    // A program that was replaced while it ran is still what it was.
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
    is_roots && !exe.contains("/../") && service_of(exe) == service
}
