//! Where the lines of every source become events, and where what is wrong with them is counted.
//! It keeps no line. It shows what the other sources lost beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hidps_wire::{FieldValue, LogEvent};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::time::Instant;

use super::audit::{AuditCopies, redact_line, redact_records};
use super::lines::Line;
use super::sampling::{LineSampler, SampledLines};
use super::source_board::SourceBoard;
use super::source_losses::SourceLosses;
use super::unread::UnreadLines;
use super::{audit, log_file};
use crate::agent_note::AgentNote;
use crate::event_queue::{EventQueue, Losses};
use crate::normalize::audit::{AuditRecord, find_record};
use crate::normalize::{LineSource, NormalLine, normalize};
use crate::redact::LoggedCommands;
use crate::shutdown::Shutdown;

/// How often counts are shown on the host, and lines that were left out told to the daemon.
const SHOW_INTERVAL: Duration = Duration::from_secs(30);

/// How often lines that were not understood are told to the daemon, where there are new ones.
const TELL_UNREAD_INTERVAL: Duration = Duration::from_secs(3_600);

/// What became of the lines of all sources.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LineCounts {
    /// Those that were passed on without being understood.
    pub unread: UnreadLines,
    /// What every source lost before it could be read, also those that read no lines.
    pub lost: SourceLosses,
    /// Those that were left out because fewer are wanted.
    pub sampled: SampledLines,
    /// Events of all sources that there was no room to keep for the daemon.
    pub dropped: Losses,
}

/// The way of lines into the queue of events.
#[derive(Debug)]
pub struct LineSink {
    events: Arc<EventQueue>,
    board: Arc<SourceBoard>,
    zone: TimeZone,
    counts: Mutex<LineCounts>,
    sampler: Mutex<LineSampler>,
    /// Whether the kernel's messages come from the kernel itself, and are not to come twice.
    has_kernel_log: AtomicBool,
    /// Where copies of audit records go.
    audit_copies: AuditCopies,
    /// What the kernel last said it had lost of its audit.
    audit_lost: Mutex<Option<u64>>,
    /// What takes the secrets out of commands that lines quote.
    commands: Mutex<LoggedCommands>,
    shown: watch::Sender<LineCounts>,
}

impl LineSink {
    /// A way into a queue; the receiver hears what was counted.
    #[must_use]
    pub fn new(
        events: Arc<EventQueue>,
        board: Arc<SourceBoard>,
    ) -> (Arc<Self>, watch::Receiver<LineCounts>) {
        let shown = watch::Sender::default();
        let receiver = shown.subscribe();
        let sink = Self {
            events,
            board,
            zone: TimeZone::system(),
            counts: Mutex::default(),
            sampler: Mutex::default(),
            has_kernel_log: AtomicBool::new(false),
            audit_copies: AuditCopies::default(),
            audit_lost: Mutex::default(),
            commands: Mutex::default(),
            shown,
        };
        (Arc::new(sink), receiver)
    }

    /// Where its sources say how it is with them.
    pub(super) fn board(&self) -> &SourceBoard {
        &self.board
    }

    /// Of so many ordinary lines one goes out from now on.
    pub(super) fn sample(&self, one_of: u32) {
        self.sampler().decide(one_of);
    }

    /// Takes in a line of a file that a program logs to.
    pub(super) fn push_line(&self, line: Line<'_>, program: &str) {
        // Zeros stand where a writer went on at its old place in a truncated file.
        let begin = line.bytes.iter().position(|byte| *byte != 0);
        let bytes = begin.and_then(|begin| line.bytes.get(begin..));
        let text = String::from_utf8_lossy(bytes.unwrap_or_default());
        if text.trim().is_empty() {
            return;
        }
        let source = LineSource {
            program,
            seen: Timestamp::now(),
            zone: self.zone.clone(),
        };
        let read = normalize(&text, &source);
        // Anybody may have written it, so it is no record; but it may be a copy of one.
        let is_copy = read.event.service.as_str() == "kernel"
            && self.audit_copies.is_audit_read()
            && find_record(&read.event.message, line.is_cut).is_some();
        if !is_copy {
            self.push(log_file::SOURCE, read, line.is_cut);
        }
    }

    /// Takes note that the kernel's messages come from the kernel itself; copies of them that
    /// other sources hold are left out from now on.
    pub(super) fn expect_kernel_log(&self) {
        self.has_kernel_log.store(true, Ordering::Relaxed);
    }

    /// Whether the kernel's messages come from the kernel itself.
    pub(super) fn has_kernel_log(&self) -> bool {
        self.has_kernel_log.load(Ordering::Relaxed)
    }

    /// Where copies of audit records go.
    pub(super) fn audit_copies(&self) -> &AuditCopies {
        &self.audit_copies
    }

    /// Takes in a copy of an audit record that the journal holds; one that cannot be read is
    /// counted as not understood, and told by nobody.
    pub(super) fn push_audit_copy(&self, copy: Option<AuditRecord>) {
        match copy {
            Some(copy) => self.audit_copies.push(copy),
            None => self.lock().unread.count("audit"),
        }
    }

    /// Takes in a message that the kernel itself logged if it is a copy of an audit record; what
    /// it says of records that it had to drop is counted.
    pub(super) fn takes_audit_copy(&self, message: &str) -> bool {
        if message.starts_with("audit: type=") {
            let copy = find_record(message, false).map(|(_, record)| record);
            // That the audit was turned off is the last that is heard of it.
            let is_of_audit = copy
                .as_ref()
                .is_some_and(|copy| copy.kind == "CONFIG_CHANGE");
            if is_of_audit && !self.audit_copies.is_audit_read() {
                return false;
            }
            self.push_audit_copy(copy);
            return true;
        }
        let Some(lost) = message
            .strip_prefix("audit: audit_lost=")
            .filter(|_| self.audit_copies.is_audit_read())
        else {
            return false;
        };
        let digits = lost.split(' ').next().unwrap_or_default();
        if let Ok(total) = digits.parse::<u64>() {
            let mut known = self
                .audit_lost
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let new = known.map(|known| total.saturating_sub(known));
            *known = Some(total);
            drop(known);
            let why = "the kernel had no room for them; raise its audit_backlog_limit";
            self.count_lost("audit", new, why.to_owned());
        }
        false
    }

    /// The queue behind it.
    #[cfg(test)]
    pub(super) fn events(&self) -> &EventQueue {
        &self.events
    }

    /// How many lines were passed on without being understood.
    #[cfg(test)]
    pub(super) fn unread(&self) -> u64 {
        self.lock().unread.total()
    }

    /// Takes in an event of the audit.
    pub(super) fn push_audit(&self, event: LogEvent<'_>) {
        self.events.push(event);
    }

    /// Takes in a line of the audit's log that is no record.
    pub(super) fn push_audit_line(&self, line: &str) {
        let source = LineSource {
            program: "auditd",
            seen: Timestamp::now(),
            zone: self.zone.clone(),
        };
        self.push(audit::SOURCE, normalize(&redact_line(line), &source), false);
    }

    /// Takes in a message of the kernel from the kernel itself.
    pub(super) fn push_kernel(&self, read: NormalLine<'_>) {
        if !self.takes_audit_copy(&read.event.message) {
            self.take_in(read, false);
        }
    }

    /// Takes in what was read of a line of a source, unless fewer are wanted.
    pub(super) fn push(&self, source: &'static str, read: NormalLine<'_>, is_cut: bool) {
        let is_kernels = matches!(read.event.service.as_str(), "kernel" | "ufw");
        if is_kernels && self.has_kernel_log() {
            return;
        }
        let admitted = self.sampler().admit(&read);
        let left_out = read.count.saturating_sub(admitted);
        if left_out > 0 {
            self.lock().sampled.count(source, left_out);
        }
        if admitted > 0 {
            let count = admitted;
            self.take_in(NormalLine { count, ..read }, is_cut);
        }
    }

    fn take_in(&self, read: NormalLine<'_>, is_cut: bool) {
        if !read.is_read {
            self.lock().unread.count(&read.event.service);
        }
        let mut event = {
            let mut commands = self.commands.lock();
            let commands = commands.as_mut().unwrap_or_else(|broken| broken.get_mut());
            commands.redact(redact_records(read.event, is_cut))
        };
        if is_cut {
            event.fields.push("truncated", FieldValue::Bool(true));
        }
        for _ in 1..read.count {
            self.events.push(event.clone());
        }
        self.events.push(event);
    }

    /// Takes note that a source lost lines, and tells the daemon.
    pub(super) fn count_lost(&self, source: &'static str, lost: Option<u64>, why: String) {
        tracing::warn!(source, lost, why, "a source of events lost some");
        self.board.count_lost(source, lost);
        self.events
            .push(AgentNote::LinesLost { source, lost, why }.into_event());
    }

    /// Shows and tells what was counted, each at its own pace, until the agent ends.
    pub async fn tell_counts(self: Arc<Self>, mut shutdown: Shutdown) {
        let (mut tell_at, mut told) = (Instant::now() + TELL_UNREAD_INTERVAL, 0);
        let mut told_sampled = 0;
        loop {
            self.show();
            told_sampled = self.tell_sampled(told_sampled);
            if Instant::now() >= tell_at {
                tell_at = Instant::now() + TELL_UNREAD_INTERVAL;
                told = self.tell_unread(told);
            }
            tokio::select! {
                () = tokio::time::sleep(SHOW_INTERVAL) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    fn show(&self) {
        let mut counts = self.lock();
        counts.lost = self.board.lost();
        counts.dropped = self.events.dropped();
        self.shown.send_if_modified(|shown| {
            let is_new = *shown != *counts;
            if is_new {
                shown.clone_from(&counts);
            }
            is_new
        });
    }

    /// Tells what is new since so many were told, and says how many are told now.
    fn tell_unread(&self, told: u64) -> u64 {
        let (total, sentence) = {
            let counts = self.lock();
            (counts.unread.total(), counts.unread.sentence())
        };
        if total > told {
            let new = total - told;
            let note = AgentNote::LinesUnread { new, sentence };
            self.events.push(note.into_event());
        }
        total
    }

    /// Tells what was left out since so many were told, and says how many are told now.
    fn tell_sampled(&self, told: u64) -> u64 {
        let (total, sentence) = {
            let counts = self.lock();
            (counts.sampled.total(), counts.sampled.sentence())
        };
        if total > told {
            let new = total - told;
            let note = AgentNote::LinesSampled { new, sentence };
            self.events.push(note.into_event());
        }
        total
    }

    fn sampler(&self) -> MutexGuard<'_, LineSampler> {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, LineCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{EventBatch, MAX_AGENT_FRAME_BYTES, decode};

    async fn next_events(queue: &EventQueue) -> Vec<LogEvent<'static>> {
        let text = queue.next_batch().await.text;
        let batch: EventBatch<'_> = decode(&text, MAX_AGENT_FRAME_BYTES).unwrap();
        batch.events.into_iter().map(LogEvent::into_owned).collect()
    }

    fn push(sink: &LineSink, bytes: &[u8], program: &str) {
        let is_cut = false;
        sink.push_line(Line { bytes, is_cut }, program);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_were_not_understood_are_shown_soon_and_told_by_the_hour() {
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let (sink, shown) = LineSink::new(Arc::clone(&queue), SourceBoard::new().0);
        push(&sink, b"sshd[1]: no header, so a line of named", "named");
        push(&sink, b"another", "named");
        let lines = next_events(&queue).await;

        let mut tasks = tokio::task::JoinSet::new();
        let (_switch, shutdown) = crate::shutdown::shutdown();
        tasks.spawn(Arc::clone(&sink).tell_counts(shutdown));
        let told = next_events(&queue).await;
        let n_shown = shown.borrow().unread.total();
        let more = tokio::time::timeout(2 * TELL_UNREAD_INTERVAL, queue.next_batch()).await;

        assert_eq!((lines.len(), n_shown), (2, 2));
        assert_eq!(told[0].fields.get("unread"), Some(&FieldValue::Integer(2)));
        assert!(told[0].message.contains("named 2"), "{}", told[0].message);
        assert!(more.is_err(), "nothing new in the second hour");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_were_left_out_are_shown_and_told_soon_and_no_others_are_lost() {
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let (sink, shown) = LineSink::new(Arc::clone(&queue), SourceBoard::new().0);
        let mut tasks = tokio::task::JoinSet::new();
        let (_switch, shutdown) = crate::shutdown::shutdown();
        tasks.spawn(Arc::clone(&sink).tell_counts(shutdown));
        tokio::time::sleep(SHOW_INTERVAL / 2).await;

        sink.sample(10);
        for _ in 0..20 {
            push(&sink, b"ordinary", "named");
            push(
                &sink,
                b"Failed password for root from 192.0.2.7 port 22 ssh2",
                "sshd",
            );
        }
        let lines = next_events(&queue).await;
        let told = next_events(&queue).await;
        sink.sample(1);
        push(&sink, b"ordinary", "named");
        let after = next_events(&queue).await;
        let more = tokio::time::timeout(10 * SHOW_INTERVAL, queue.next_batch()).await;

        let of = |service: &str| lines.iter().filter(|e| &*e.service == service).count();
        assert_eq!((of("named"), of("sshd"), lines.len()), (2, 20, 22));
        let field = |name| told[0].fields.get(name);
        assert_eq!(field("event"), Some(&FieldValue::from("lines_sampled")));
        assert_eq!(field("sampled"), Some(&FieldValue::Integer(18)));
        assert!(
            told[0].message.contains("log files 18"),
            "{}",
            told[0].message
        );
        assert_eq!((told.len(), after.len()), (1, 1));
        assert!(more.is_err(), "nothing new was left out");
        let counts = shown.borrow();
        assert_eq!((counts.sampled.total(), counts.unread.total()), (18, 3));
        assert_eq!(queue.dropped().total(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_of_a_source_is_told_at_once_and_counted() {
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let (sink, shown) = LineSink::new(Arc::clone(&queue), SourceBoard::new().0);

        sink.count_lost("kernel log", Some(7), "it was overwritten".to_owned());
        sink.count_lost("log files", None, "one was replaced".to_owned());
        sink.board().count_lost("processes", Some(2));
        sink.show();
        let notes = next_events(&queue).await;

        let sentence = shown.borrow().lost.sentence();
        assert_eq!(sentence, "kernel log 7, log files unknown, processes 2");
        let lost: Vec<_> = notes.iter().map(|note| note.fields.get("lost")).collect();
        assert_eq!(lost, [Some(&FieldValue::Integer(7)), None]);
        let source = notes[0].fields.get("source");
        assert_eq!(source, Some(&FieldValue::from("kernel log")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_kernels_messages_come_once() {
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let (sink, _shown) = LineSink::new(Arc::clone(&queue), SourceBoard::new().0);
        let line = b"Nov 21 01:02:03 web-01 kernel: device eth0 entered promiscuous mode";

        push(&sink, line, "kern");
        sink.expect_kernel_log();
        push(&sink, line, "kern");
        push(&sink, b"another program's", "named");

        let events = next_events(&queue).await;
        let services: Vec<_> = events.iter().map(|e| e.service.as_str()).collect();
        assert_eq!(services, ["kernel", "named"]);
    }

    #[tokio::test(start_paused = true)]
    async fn zeros_before_a_line_are_no_part_of_it() {
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let (sink, _shown) = LineSink::new(Arc::clone(&queue), SourceBoard::new().0);

        push(&sink, b"\0\0\0", "named");
        push(&sink, b"\0\0a line", "named");

        let events = next_events(&queue).await;
        let messages: Vec<_> = events.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(messages, ["a line"]);
    }
}
