//! The way of audit records into events: joined, named, without secrets and without the agent's own.
//! It reads nothing and never tells one event twice.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::super::line_sink::LineSink;
use super::super::process::{UserNames, monotonic_nanos};
use crate::normalize::audit::{AuditEvent, AuditId, AuditRecord, Joiner, Naming, parse_message};
use crate::redact::{redact_each, redact_joined};

/// Most events that are remembered as told: what a busy host records while it is noticed that
/// auditd has come.
const MAX_RECENT: usize = 4_096;

/// Records on their way.
pub(super) struct Intake {
    pub(super) sink: Arc<LineSink>,
    joiner: Joiner,
    users: RefCell<UserNames>,
    recent: Recent,
    /// Whether records come as copies that other sources hold, maybe more than one.
    takes_copies: bool,
    /// What the agent itself does is not told: each event would lead to the next.
    pub(super) own_pid: u32,
}

/// Events that were told.
#[derive(Debug, Default)]
struct Recent {
    known: HashSet<AuditId>,
    order: VecDeque<AuditId>,
}

impl Intake {
    pub(super) fn new(sink: Arc<LineSink>) -> Self {
        Self {
            sink,
            joiner: Joiner::default(),
            users: RefCell::default(),
            recent: Recent::default(),
            takes_copies: false,
            own_pid: std::process::id(),
        }
    }

    /// Takes in a record.
    pub(super) fn push(&mut self, record: AuditRecord) {
        let (mut ended, now) = (Vec::new(), Instant::now().into_std());
        // Another way told its event.
        if !self.recent.known.contains(&record.id) {
            self.joiner.push(record, now, |event| ended.push(event));
        }
        self.tell(ended);
    }

    /// Takes in a copy of a record; another copy of its event may come when it was told.
    pub(super) fn push_copy(&mut self, record: AuditRecord) {
        self.takes_copies = true;
        self.push(record);
    }

    /// Takes in a message of the kernel. One that is no record is told with the number of its kind,
    /// under a name of which nothing is known, and counted as not understood.
    pub(super) fn push_message(&mut self, kind: u16, text: &str) {
        match parse_message(kind, text) {
            Some(record) => self.push(record),
            None => {
                let text = text.trim_end_matches(['\0', '\n']);
                self.pass_on(&format!("type=UNKNOWN[{kind}] msg={text}"));
            }
        }
    }

    /// Takes in a line that is no record; it is told as it stands.
    pub(super) fn pass_on(&self, line: &str) {
        if !line.trim().is_empty() {
            self.sink.push_audit_line(line);
        }
    }

    /// Tells the events whose rest did not come in time.
    pub(super) fn end_late(&mut self) {
        let mut ended = Vec::new();
        let now = Instant::now().into_std();
        self.joiner.end_late(now, |event| ended.push(event));
        self.tell(ended);
    }

    /// Tells every event as far as it has come, and from now on no more of it.
    pub(super) fn end_all(&mut self) {
        let mut ended = Vec::new();
        self.joiner.end_all(|event| ended.push(event));
        self.tell(ended);
        self.recent.begin();
        self.takes_copies = false;
    }

    pub(super) fn deadline(&self) -> Option<std::time::Instant> {
        self.joiner.deadline()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.joiner.is_empty()
    }

    fn tell(&mut self, events: Vec<AuditEvent>) {
        for event in events {
            self.recent.note(event.id);
            if self.takes_copies {
                self.recent.known.insert(event.id);
            }
            if event.process() == Some(self.own_pid) {
                continue;
            }
            let user_name = |user| {
                let name = self.users.borrow_mut().name(user, monotonic_nanos());
                // A number says nothing that is not told already.
                name.parse::<u32>().is_err().then(|| name.to_string())
            };
            for event in event.into_events(&naming(&user_name)) {
                self.sink.push_audit(event);
            }
        }
    }
}

/// How records are told: without secrets, and with names of users.
pub(super) fn naming<'n>(user_name: &'n dyn Fn(u32) -> Option<String>) -> Naming<'n> {
    Naming {
        redact_arguments: &|words| redact_each(words.iter().map(String::as_str)),
        redact_command: &redact_joined,
        user_name,
    }
}

impl Recent {
    fn note(&mut self, id: AuditId) {
        self.order.push_back(id);
        if self.order.len() > MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What was noted until now is known from now on: records come by another way.
    fn begin(&mut self) {
        self.known = self.order.iter().copied().collect();
    }
}
