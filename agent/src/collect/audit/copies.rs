//! Copies of audit records that other sources hold: the journal, the kernel's log and log files.
//! It lets none of them leave the host as it was written.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hidps_wire::LogEvent;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::intake::naming;
use crate::normalize::audit::{AuditEvent, AuditRecord, find_record};
use crate::redact::{MASK, redact_command};

/// Most copies that wait to be taken in.
const MAX_WAITING: usize = 512;

/// The way of copies to whoever tells records.
#[derive(Debug, Default)]
pub(in crate::collect) struct AuditCopies {
    taker: Mutex<Option<Sender<AuditRecord>>>,
    /// Whether the audit itself is read, so that every copy would come twice.
    is_read: AtomicBool,
    n_lost: AtomicU64,
}

impl AuditCopies {
    /// Begins to take copies; until then they are left out.
    pub(super) fn begin(&self) -> Receiver<AuditRecord> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let mut taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        *taker = Some(sender);
        receiver
    }

    /// Whether copies are wanted from now on.
    pub(super) fn expect(&self, are_wanted: bool) {
        self.is_read.store(!are_wanted, Ordering::Relaxed);
    }

    /// Whether the audit itself is read.
    pub(in crate::collect) fn is_audit_read(&self) -> bool {
        self.is_read.load(Ordering::Relaxed)
    }

    /// Takes in a copy, unless the audit itself tells it or nobody wants records.
    pub(in crate::collect) fn push(&self, copy: AuditRecord) {
        if self.is_audit_read() {
            return;
        }
        let taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = taker.as_ref().map(|taker| taker.try_send(copy));
        if matches!(sent, Some(Err(_))) {
            self.n_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there was no room for since this was asked last.
    pub(super) fn take_lost(&self) -> u64 {
        self.n_lost.swap(0, Ordering::Relaxed)
    }
}

/// An event of any program without the secrets of a record in its message.
pub(in crate::collect) fn redact_records(mut event: LogEvent<'_>, is_cut: bool) -> LogEvent<'_> {
    if let Some((before, record)) = find_record(&event.message, is_cut) {
        let told = AuditEvent::from(record).into_events(&naming(&|_| None));
        let told = told.first().map_or(MASK, |told| told.message.as_str());
        event.message = format!("{before}{told}").into();
    }
    event
}

/// A line of the audit that is no record, without what may be a command or what somebody typed.
pub(in crate::collect) fn redact_line(line: &str) -> String {
    let is_telling = |name: &str| {
        let is_argument = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        matches!(name, "cmd" | "cmdline" | "data" | "proctitle")
            || name.strip_prefix('a').is_some_and(is_argument)
    };
    let mut at = 0;
    for word in line.split_inclusive(char::is_whitespace) {
        at += word.len();
        let name = word.split_once('=').map(|(name, _)| name);
        if let Some(name) = name.filter(|name| is_telling(name)) {
            // Where it ends is as little known as what it is.
            let before = line.get(..at - word.len()).unwrap_or_default();
            return format!("{before}{name}={MASK}");
        }
    }
    redact_command(line)
}
