//! What becomes of a document and of its trial: judged, written down, begun, confirmed, undone.
//! Nothing is in force before it is on disk.

use std::time::{Duration, Instant};

use hidps_wire::Apply;

use super::super::commit::{Standing, Turn};
use super::super::effect::{Effect, Note};
use super::Core;
use crate::error_chain::chain;
use crate::ledger::{Acceptance, LedgerRecord, judge, plan_record};
use crate::text::printable;

/// How soon a ledger that failed is tried again: a busy disk recovers in seconds.
pub(super) const LEDGER_RETRY: Duration = Duration::from_secs(2);

/// Longest text of how a write failed.
const MAX_FAILURE_CHARS: usize = 400;

/// What is being done with the ledger.
#[derive(Debug, Default)]
pub(super) struct LedgerIo {
    pub(super) is_reading: bool,
    pub(super) writing: Option<Writing>,
    /// When what failed is tried again.
    pub(super) retry_at: Option<Instant>,
    /// Whether the record in memory is newer than the one on disk.
    pub(super) is_unsaved: bool,
    /// How the last attempt to write failed, as the beginning of a sentence.
    pub(super) failure: Option<String>,
    /// Whether an attempt ever failed; before that nobody asks.
    pub(super) has_failed: bool,
}

#[derive(Debug)]
pub(super) struct Writing {
    pub(super) record: LedgerRecord,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Accept,
    Try,
    Save,
}

impl Core {
    pub(super) fn accept(&mut self, offered: Apply) {
        let generation = offered.generation;
        let held = self.ledger.as_ref().ok();
        match judge(held, &offered) {
            Ok(Acceptance::New) => {
                let agent_id = self.settings.agent_id;
                let mut record = plan_record(held, agent_id, offered, self.firewall.is_active);
                if self.commit.tries()
                    && record.wants_trial()
                    && let Some(trial) = &mut record.trial
                {
                    trial.attempts = 1;
                }
                self.write(record, Purpose::Accept);
                return;
            }
            Ok(Acceptance::Known) => self.note(Note::Known(generation)),
            Err(refusal) => self.note(Note::Refused {
                generation,
                reason: chain(&refusal),
            }),
        }
        self.compare_all();
    }

    pub(super) fn on_accepted(&mut self, record: LedgerRecord, now: Instant) {
        self.note(Note::Accepted(record.accepted.generation));
        self.io.is_unsaved = false;
        self.commit.begin(&record, now);
        self.take_up(record);
        if self.commit.standing() == Standing::OnTrial {
            self.note_trial();
        }
        self.compare_all();
    }

    pub(super) fn on_not_accepted(&mut self, record: &LedgerRecord, reason: String) {
        let generation = record.accepted.generation;
        self.on_write_failed(format!(
            "generation {generation} could not be written down and is not in force: {reason}"
        ));
        self.note(Note::Refused { generation, reason });
        self.compare_all();
    }

    fn on_write_failed(&mut self, failure: String) {
        self.io.failure = Some(printable(&failure, MAX_FAILURE_CHARS));
        self.io.has_failed = true;
    }

    pub(super) fn on_trial_begun(&mut self, record: LedgerRecord, now: Instant) {
        self.io.is_unsaved = false;
        self.commit.begin(&record, now);
        self.take_up(record);
        self.note_trial();
        self.compare_firewall();
    }

    pub(super) fn on_not_saved(&mut self, reason: String, now: Instant) {
        self.io.is_unsaved = true;
        self.io.retry_at = Some(now + LEDGER_RETRY);
        self.on_write_failed(format!(
            "the end of a trial could not be written down, which is tried again: {reason}"
        ));
        self.note(Note::NotSaved { reason });
    }

    pub(super) fn on_turn(&mut self, turn: Turn, now: Instant) {
        match turn {
            Turn::Probe(id) => self.effects.push_back(Effect::Probe(id)),
            Turn::Confirm => self.on_confirmed(),
            Turn::RollBack(why) => self.on_rolled_back(why, now),
            Turn::Undone => {
                self.end_trial();
                self.compare_firewall();
            }
            Turn::Try => {
                if let Ok(mut record) = self.ledger.as_ref().cloned()
                    && let Some(trial) = &mut record.trial
                {
                    trial.attempts = trial.attempts.saturating_add(1);
                    self.write(record, Purpose::Try);
                } else {
                    self.commit.settle();
                }
            }
        }
    }

    fn on_confirmed(&mut self) {
        if let Ok(record) = &self.ledger {
            let note = Note::Confirmed(record.accepted.generation);
            self.note(note);
        }
        self.end_trial();
    }

    fn on_rolled_back(&mut self, why: String, now: Instant) {
        if let Ok(record) = &self.ledger {
            let note = Note::RolledBack {
                generation: record.accepted.generation,
                why: why.clone(),
            };
            self.note(note);
        }
        let attempts = self.attempts();
        self.commit.wait(attempts, why, now);
        self.compare_firewall();
    }

    /// Ends a trial in memory at once; until that is on disk, a restart only tries again.
    fn end_trial(&mut self) {
        self.commit.settle();
        if let Ok(record) = &mut self.ledger {
            record.trial = None;
            self.io.is_unsaved = true;
        }
    }

    pub(super) fn on_trial_not_begun(&mut self, reason: String, now: Instant) {
        let attempts = self.attempts();
        self.commit.wait(attempts, reason.clone(), now);
        self.on_write_failed(format!(
            "the beginning of a trial could not be written down: {reason}"
        ));
        self.note(Note::NotSaved { reason });
    }

    pub(super) fn save(&mut self) {
        if let Ok(record) = self.ledger.as_ref().cloned() {
            self.io.is_unsaved = false;
            self.write(record, Purpose::Save);
        }
    }

    fn write(&mut self, record: LedgerRecord, purpose: Purpose) {
        self.effects
            .push_back(Effect::WriteLedger(Box::new(record.clone())));
        self.io.writing = Some(Writing { record, purpose });
    }

    fn note_trial(&mut self) {
        if let Ok(record) = &self.ledger {
            let note = Note::OnTrial(record.accepted.generation);
            self.note(note);
        }
    }

    fn attempts(&self) -> u32 {
        let record = self.ledger.as_ref().ok();
        let trial = record.and_then(|record| record.trial.as_ref());
        trial.map_or(0, |trial| trial.attempts)
    }
}
