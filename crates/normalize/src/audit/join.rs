//! Records of one event put together by their serial, within bounds of number, size and time.
//! It waits for nothing itself: whoever feeds it says what time it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::kind;
use super::record::{AuditId, AuditRecord};

/// How long the rest of an event is waited for where nothing says that it is complete; the kernel
/// writes all its records at once.
const WAIT: Duration = Duration::from_millis(500);

/// Most events that are put together at a time: one for each processor that is in a call.
const MAX_PENDING: usize = 64;

/// Most records of an event; a call has a handful, and one path each for what it touched.
const MAX_RECORDS: usize = 128;

/// Most bytes of an event.
const MAX_BYTES: usize = 256 * 1024;

/// All that was told of something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEvent {
    /// Which one.
    pub id: AuditId,
    /// Its records, in the order they came.
    pub(super) records: Vec<AuditRecord>,
    /// Records beyond what is kept of one event.
    pub n_left_out: u64,
}

impl From<AuditRecord> for AuditEvent {
    /// An event of which nothing else is known.
    fn from(record: AuditRecord) -> Self {
        Self {
            id: record.id,
            records: vec![record],
            n_left_out: 0,
        }
    }
}

/// Events that may not be complete.
#[derive(Debug, Default)]
pub struct Joiner {
    /// The oldest first.
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    event: AuditEvent,
    began: Instant,
    n_bytes: usize,
}

impl Joiner {
    /// Takes in a record and passes on every event that is complete by it.
    pub fn push(&mut self, record: AuditRecord, now: Instant, mut sink: impl FnMut(AuditEvent)) {
        let id = record.id;
        let known = self.pending.iter().position(|other| other.event.id == id);
        if record.kind == "EOE" {
            let ended = known.and_then(|at| self.pending.remove(at));
            return ended.into_iter().for_each(|ended| sink(ended.event));
        }
        let is_last =
            record.kind == "PROCTITLE" || (known.is_none() && kind::is_alone(&record.kind));
        let at = known.unwrap_or_else(|| {
            if self.pending.len() >= MAX_PENDING
                && let Some(oldest) = self.pending.pop_front()
            {
                sink(oldest.event);
            }
            self.pending.push_back(Pending::new(id, now));
            self.pending.len() - 1
        });
        if let Some(pending) = self.pending.get_mut(at) {
            pending.take(record);
        }
        if is_last && let Some(ended) = self.pending.remove(at) {
            sink(ended.event);
        }
    }

    /// Passes on the events whose rest did not come in time.
    pub fn end_late(&mut self, now: Instant, mut sink: impl FnMut(AuditEvent)) {
        let is_late = |pending: &mut Pending| now.duration_since(pending.began) >= WAIT;
        while let Some(late) = self.pending.pop_front_if(is_late) {
            sink(late.event);
        }
    }

    /// Passes on every event as far as it has come.
    pub fn end_all(&mut self, mut sink: impl FnMut(AuditEvent)) {
        for pending in self.pending.drain(..) {
            sink(pending.event);
        }
    }

    /// When [`end_late`](Self::end_late) has something to do at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.pending.front().map(|pending| pending.began + WAIT)
    }

    /// Whether nothing is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl Pending {
    fn new(id: AuditId, began: Instant) -> Self {
        Self {
            event: AuditEvent {
                id,
                records: Vec::new(),
                n_left_out: 0,
            },
            began,
            n_bytes: 0,
        }
    }

    fn take(&mut self, record: AuditRecord) {
        // The kernel says nothing twice; copies of what it said may come by two ways.
        if self.event.records.contains(&record) {
            return;
        }
        let n_bytes = self.n_bytes.saturating_add(record.size());
        if self.event.records.len() >= MAX_RECORDS || n_bytes > MAX_BYTES {
            self.event.n_left_out += 1;
            return;
        }
        self.n_bytes = n_bytes;
        self.event.records.push(record);
    }
}
