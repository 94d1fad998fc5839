//! One connection's state machine: one document in flight, newest wins, retry with backoff.
//! It never does I/O; `now` is an argument and frames and conditions are polled from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hidps_wire::{
    AgentCondition, AgentId, Applied, Apply, ConditionStatus, DaemonFrame, FacetCondition, Hello,
    Status, printable,
};

use crate::model::{ConditionKind, ConditionReport, DesiredState};
use crate::ports::AgentSession;
use crate::reconcile::plan::{HoldReason, Step, plan_step};

/// Time an agent has to apply and read back: an nft transaction takes milliseconds and a thousand
/// watches well under a second, so this much silence means that something is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Longest reason and message of a condition, in characters, as the database takes them.
const MAX_REASON: usize = 100;
const MAX_MESSAGE: usize = 1_000;

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The reconciler of one connection.
#[derive(Debug)]
pub struct Session {
    agent_id: AgentId,
    greeted: bool,
    desired: Option<Arc<DesiredState>>,
    applied: Option<Applied>,
    in_flight: Option<InFlight>,
    /// What was last said of holding; nothing before the first decision, so that a condition an
    /// earlier connection left behind is corrected.
    held: Option<Option<HoldReason>>,
    frames: VecDeque<DaemonFrame>,
    conditions: Vec<ConditionReport>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    generation: hidps_wire::Generation,
    attempts: u32,
    deadline: Instant,
}

impl Session {
    /// A session that has not heard from its agent yet.
    #[must_use]
    pub const fn new(agent_id: AgentId) -> Self {
        Self {
            agent_id,
            greeted: false,
            desired: None,
            applied: None,
            in_flight: None,
            held: None,
            frames: VecDeque::new(),
            conditions: Vec::new(),
        }
    }

    fn step(&mut self, now: Instant) {
        if !self.greeted {
            return;
        }
        if self.desired.is_none() {
            return;
        }
        match plan_step(self.desired.as_deref(), self.applied.as_ref()) {
            Step::Idle => {
                self.in_flight = None;
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

    /// Sends the desired document unless the very same is already in flight.
    fn send(&mut self, now: Instant) {
        let Some(desired) = &self.desired else { return };
        let known = self
            .in_flight
            .filter(|sent| sent.generation == desired.generation);
        if known.is_some_and(|sent| now < sent.deadline) {
            return;
        }
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
    }

    fn hold(&mut self, reason: HoldReason) {
        if self.held.replace(Some(reason)) == Some(Some(reason)) {
            return;
        }
        let (reason, message) = match reason {
            HoldReason::WentBack => (
                "GenerationWentBack",
                "the host has applied a newer generation than the database holds; nothing is sent \
                 until a desired value changes past it",
            ),
            HoldReason::OtherContent => (
                "ContentDiffers",
                "the host has applied this generation with other content; change a desired value \
                 to send a new one",
            ),
        };
        self.report(
            ConditionKind::Held,
            ConditionStatus::True,
            reason,
            message.to_owned(),
        );
    }

    fn release(&mut self) {
        if self.held.replace(None) != Some(None) {
            let message = "nothing is held back".to_owned();
            self.report(
                ConditionKind::Held,
                ConditionStatus::False,
                "NothingHeld",
                message,
            );
        }
    }

    fn report(
        &mut self,
        kind: ConditionKind,
        status: ConditionStatus,
        reason: &str,
        message: String,
    ) {
        self.conditions.push(ConditionReport {
            agent_id: self.agent_id,
            kind,
            status,
            reason: reason.to_owned(),
            message,
            observed_generation: self.applied.as_ref().map(|applied| applied.generation),
        });
    }

    fn report_observed(&mut self, condition: AgentCondition) {
        let kind = match condition.facet {
            FacetCondition::FirewallSynced => ConditionKind::FirewallSynced,
            FacetCondition::FilesWatched => ConditionKind::FilesWatched,
        };
        let reason = printable(&condition.reason, MAX_REASON);
        self.report(
            kind,
            condition.status,
            &reason,
            printable(&condition.message, MAX_MESSAGE),
        );
    }
}

impl AgentSession for Session {
    fn on_hello(&mut self, hello: &Hello, now: Instant) {
        self.greeted = true;
        self.applied.clone_from(&hello.applied);
        self.step(now);
    }

    fn on_desired(&mut self, desired: Arc<DesiredState>, now: Instant) {
        let is_older = self
            .desired
            .as_ref()
            .is_some_and(|known| known.generation > desired.generation);
        if !is_older || self.in_flight.is_none() {
            self.desired = Some(desired);
        }
        self.step(now);
    }

    fn on_status(&mut self, status: Status, now: Instant) {
        self.applied = status.applied;
        for condition in status.conditions {
            self.report_observed(condition);
        }
        self.step(now);
    }

    fn on_deadline(&mut self, now: Instant) {
        let overdue = self.in_flight.filter(|sent| now >= sent.deadline);
        let Some(sent) = overdue else { return };
        let message = format!(
            "generation {} was sent {} times and not confirmed; it is sent again",
            sent.generation, sent.attempts
        );
        for kind in [ConditionKind::FirewallSynced, ConditionKind::FilesWatched] {
            self.report(kind, ConditionStatus::Unknown, "NoAnswer", message.clone());
        }
        self.step(now);
    }

    fn poll_frame(&mut self) -> Option<DaemonFrame> {
        self.frames.pop_front()
    }

    fn poll_conditions(&mut self) -> Vec<ConditionReport> {
        std::mem::take(&mut self.conditions)
    }

    fn deadline(&self) -> Option<Instant> {
        self.in_flight.map(|sent| sent.deadline)
    }
}

#[cfg(test)]
mod tests;
