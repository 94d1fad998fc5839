//! One connection's state machine: one document in flight, newest wins, retry with backoff.
//! It never does I/O; `now` is an argument and frames and conditions are polled from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hidps_wire::{
    AgentCondition, AgentId, Applied, Apply, ConditionStatus, DaemonFrame, FacetCondition,
    Generation, Hello, Status, SubjectCondition, printable,
};
use jiff::Timestamp;

use crate::model::{ConditionKind, ConditionReport, DesiredState, Milestone};
use crate::ports::AgentSession;
use crate::reconcile::peak::Peak;
use crate::reconcile::plan::{HoldReason, Mode, Step, plan_step};

/// Time an agent has to apply and read back: an nft transaction takes milliseconds and a thousand
/// watches well under a second, so this much silence means that something is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Longest reason and message of a condition, in characters, as the database takes them.
const MAX_REASON: usize = 100;
const MAX_MESSAGE: usize = 1_000;

/// Longest name or message of one subject, in characters: a hundred of them stay one small row.
const MAX_SUBJECT: usize = 200;

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The reconciler of one connection.
#[derive(Debug)]
pub struct Session {
    agent_id: AgentId,
    mode: Mode,
    greeted: bool,
    desired: Option<Arc<DesiredState>>,
    applied: Option<Applied>,
    in_flight: Option<InFlight>,
    /// When an agent that has said hello, and nothing of its host yet, is taken to be silent.
    told_by: Option<Instant>,
    peak: Peak,
    /// What was last said of holding; nothing before the first decision, so that a condition an
    /// earlier connection left behind is corrected.
    held: Option<Option<HoldReason>>,
    frames: VecDeque<DaemonFrame>,
    conditions: Vec<ConditionReport>,
    /// The last step told of, so that each is told once.
    reached: Option<(Generation, Milestone)>,
    milestones: Vec<(Generation, Timestamp, Milestone)>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    generation: Generation,
    attempts: u32,
    deadline: Instant,
}

impl Session {
    /// A session that has not heard from its agent yet.
    #[must_use]
    pub const fn new(agent_id: AgentId, mode: Mode) -> Self {
        Self {
            agent_id,
            mode,
            greeted: false,
            desired: None,
            applied: None,
            in_flight: None,
            told_by: None,
            peak: Peak::NONE,
            held: None,
            frames: VecDeque::new(),
            conditions: Vec::new(),
            reached: None,
            milestones: Vec::new(),
        }
    }

    fn step(&mut self, now: Instant) {
        if !self.greeted || self.desired.is_none() {
            return;
        }
        let entries = self.applied.as_ref().map_or(0, |applied| applied.entries);
        let most = self.peak.look(entries, now);
        let desired = self.desired.as_deref();
        let step = plan_step(desired, self.applied.as_ref(), self.mode, most);
        self.peak.settle(step == Step::Idle, now);
        match step {
            Step::Idle => {
                self.in_flight = None;
                if desired.is_some_and(|desired| desired.released) {
                    self.peak.accept(entries);
                }
                self.release();
            }
            Step::Apply => {
                self.release();
                self.send(now);
            }
            Step::Hold(reason) => {
                self.in_flight = None;
                self.hold(reason);
            }
        }
    }

    /// Sends the desired document unless the same or a newer one is in flight.
    fn send(&mut self, now: Instant) {
        let Some(desired) = &self.desired else { return };
        // A newer one on its way may be applied already; the agent's answer decides.
        let is_underway =
            |sent: InFlight| sent.generation >= desired.generation && now < sent.deadline;
        if self.in_flight.is_some_and(is_underway) {
            return;
        }
        let known = self
            .in_flight
            .filter(|sent| sent.generation == desired.generation);
        let attempts = known.map_or(0, |sent| sent.attempts);
        let wait = ANSWER_WITHIN
            .saturating_mul(1 << attempts.min(8))
            .min(LONGEST_PAUSE);
        self.in_flight = Some(InFlight {
            generation: desired.generation,
            attempts: attempts + 1,
            deadline: now + wait,
        });
        self.frames.push_back(DaemonFrame::Apply(Apply {
            generation: desired.generation,
            hash: desired.hash.clone(),
            document: desired.document.clone(),
        }));
        self.reach(Milestone::Sent);
    }

    fn hold(&mut self, reason: HoldReason) {
        if self.held.replace(Some(reason)) != Some(Some(reason)) {
            let (word, sentence) = (reason.word(), reason.sentence());
            self.report_held(ConditionStatus::True, word, sentence);
        }
    }

    fn release(&mut self) {
        if self.held.replace(None) != Some(None) {
            let sentence = "nothing is held back".to_owned();
            self.report_held(ConditionStatus::False, "NothingHeld", sentence);
        }
    }

    fn report_held(&mut self, status: ConditionStatus, reason: &str, message: String) {
        let kind = ConditionKind::Held;
        self.report(kind, status, reason.to_owned(), message, Vec::new());
    }

    fn report(
        &mut self,
        kind: ConditionKind,
        status: ConditionStatus,
        reason: String,
        message: String,
        subjects: Vec<SubjectCondition>,
    ) {
        self.conditions.push(ConditionReport {
            agent_id: self.agent_id,
            kind,
            status,
            reason,
            message,
            observed_generation: self.observed_generation(kind),
            subjects,
            transition_at: None,
        });
    }

    /// The generation that what was read back belongs to: none for one that no database can hold,
    /// and none where the host has it with other content than is desired. A hold names what the host
    /// has whatever its content, because a release has to go past it.
    fn observed_generation(&self, kind: ConditionKind) -> Option<Generation> {
        let applied = self.applied.as_ref()?;
        let is_other = kind != ConditionKind::Held
            && self.desired.as_deref().is_some_and(|desired| {
                desired.generation == applied.generation && desired.hash != applied.hash
            });
        (!is_other && i64::try_from(applied.generation.0).is_ok()).then_some(applied.generation)
    }

    /// Tells of a step of the desired generation, once.
    fn reach(&mut self, milestone: Milestone) {
        let Some(desired) = &self.desired else { return };
        let step = (desired.generation, milestone);
        if self.reached.is_none_or(|reached| reached < step) {
            self.reached = Some(step);
            self.milestones
                .push((desired.generation, desired.changed_at, milestone));
        }
    }

    /// Whether the host said that exactly what is desired is applied.
    fn is_applied(&self) -> bool {
        let desired = self.desired.as_deref();
        let applied = self.applied.as_ref();
        desired.is_some() && plan_step(desired, applied, self.mode, 0) == Step::Idle
    }

    /// What was said earlier may not be so any more, and nobody says what is.
    fn report_unknown(&mut self, message: &str) {
        for kind in [ConditionKind::FirewallSynced, ConditionKind::FilesWatched] {
            let (status, reason) = (ConditionStatus::Unknown, "NoAnswer".to_owned());
            self.report(kind, status, reason, message.to_owned(), Vec::new());
        }
    }

    fn report_observed(&mut self, condition: AgentCondition) {
        let kind = match condition.facet {
            FacetCondition::FirewallSynced => ConditionKind::FirewallSynced,
            FacetCondition::FilesWatched => ConditionKind::FilesWatched,
            FacetCondition::CollectionSynced => ConditionKind::CollectionSynced,
            FacetCondition::DocumentStored => ConditionKind::DocumentStored,
            FacetCondition::SourcesRead => ConditionKind::SourcesRead,
            FacetCondition::KeyRotated => ConditionKind::KeyRotated,
        };
        let reason = printable(&condition.reason, MAX_REASON);
        let message = printable(&condition.message, MAX_MESSAGE);
        let subjects = condition.subjects.into_iter().map(tamed).collect();
        self.report(kind, condition.status, reason, message, subjects);
    }
}

/// Whether every facet was told, and each as it should be.
fn has_every_facet(conditions: &[AgentCondition]) -> bool {
    let is_told = |facet| conditions.iter().any(|condition| condition.facet == facet);
    is_told(FacetCondition::FirewallSynced)
        && is_told(FacetCondition::FilesWatched)
        && conditions
            .iter()
            .all(|condition| condition.status == ConditionStatus::True)
}

fn tamed(subject: SubjectCondition) -> SubjectCondition {
    SubjectCondition {
        subject: printable(&subject.subject, MAX_SUBJECT),
        status: subject.status,
        reason: printable(&subject.reason, MAX_REASON),
        message: printable(&subject.message, MAX_SUBJECT),
    }
}

impl AgentSession for Session {
    fn begin_anew(&mut self) {
        *self = Self {
            peak: self.peak,
            held: self.held,
            reached: self.reached,
            ..Self::new(self.agent_id, self.mode)
        };
    }

    fn on_hello(&mut self, hello: &Hello, now: Instant) {
        self.greeted = true;
        self.applied.clone_from(&hello.applied);
        self.told_by = Some(now + ANSWER_WITHIN);
        self.step(now);
    }

    fn on_desired(&mut self, desired: Arc<DesiredState>, now: Instant) {
        self.desired = Some(desired);
        self.step(now);
    }

    fn on_status(&mut self, status: Status, now: Instant) {
        self.applied = status.applied;
        self.told_by = None;
        let is_observed = has_every_facet(&status.conditions);
        for condition in status.conditions {
            self.report_observed(condition);
        }
        if self.is_applied() {
            self.reach(Milestone::Applied);
        }
        if self.is_applied() && is_observed {
            self.reach(Milestone::Observed);
        }
        self.step(now);
    }

    fn on_deadline(&mut self, now: Instant) {
        if let Some(sent) = self.in_flight.filter(|sent| now >= sent.deadline) {
            self.report_unknown(&format!(
                "generation {} was sent {} times and not confirmed; it is sent again",
                sent.generation, sent.attempts
            ));
            self.told_by = None;
            self.step(now);
        } else if self.told_by.take_if(|by| now >= *by).is_some() {
            self.report_unknown("the agent has connected and not said how its host is");
        }
    }

    fn poll_frame(&mut self) -> Option<DaemonFrame> {
        self.frames.pop_front()
    }

    fn poll_conditions(&mut self) -> Vec<ConditionReport> {
        std::mem::take(&mut self.conditions)
    }

    fn poll_milestones(&mut self) -> Vec<(Generation, Timestamp, Milestone)> {
        std::mem::take(&mut self.milestones)
    }

    fn deadline(&self) -> Option<Instant> {
        let answer = self.in_flight.map(|sent| sent.deadline);
        answer.into_iter().chain(self.told_by).min()
    }
}

#[cfg(test)]
mod tests;
