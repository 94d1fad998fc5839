//! One organization as it was last read: its layer, what that weighs, and whether it is suspended.
//! It never reads a row and never makes a layer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::detection::tenants::draft::{Draft, Suspension};
use crate::detection::tenants::engines::CostReport;
use crate::detection::tenants::layer::OrgLayer;
use crate::detection::tenants::room::Weight;
use crate::model::{
    DetectionIntent, DetectionVerdict, IntentKind, IntentRow, OrgId, VerdictStatus,
};

/// Length of the first suspension; each one soon after another is twice as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// Longest suspension.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// One organization.
#[derive(Debug)]
pub(super) struct Known {
    /// What it wants.
    pub(super) intent: Arc<DetectionIntent>,
    /// What is in force of that.
    pub(super) layer: Arc<OrgLayer>,
    /// What that holds.
    pub(super) weight: Weight,
    /// Why its own rules are not tried, if they are not.
    pub(super) suspended: Option<Suspension>,
    /// Until when, and then until when they are on trial.
    until: Option<Instant>,
    pause: Duration,
}

impl Known {
    /// An organization of which nothing is in force yet.
    pub(super) fn new(intent: &Arc<DetectionIntent>) -> Self {
        Self {
            intent: Arc::clone(intent),
            layer: Arc::default(),
            weight: Weight::default(),
            suspended: None,
            until: None,
            pause: Duration::ZERO,
        }
    }

    /// Suspends the rules in force, for longer if the last time is not long ago.
    pub(super) fn suspend(&mut self, report: &CostReport, now: Instant) {
        let is_soon = self.until.is_some_and(|until| now < until);
        self.pause = match is_soon {
            true => (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            false => FIRST_PAUSE,
        };
        self.until = Some(now + self.pause);
        self.suspended = Some(Suspension {
            rule_set: report.rule_set.clone(),
            reason: format!(
                "{}; they are tried again by themselves after {} s",
                report.reason,
                self.pause.as_secs()
            ),
        });
    }

    /// When its suspension ends, if it is suspended.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.suspended.as_ref().and(self.until)
    }

    /// Ends a suspension whose time is over; a trial as long as it begins then.
    pub(super) fn resume_due(&mut self, now: Instant) -> bool {
        let is_due = self.resume_at().is_some_and(|until| now >= until);
        if is_due {
            self.suspended = None;
            self.until = Some(now + self.pause);
        }
        is_due
    }

    /// Puts a layer in force; gives what is to be told of it.
    pub(super) fn take_over(
        &mut self,
        intent: &DetectionIntent,
        draft: Draft,
    ) -> Vec<DetectionVerdict> {
        let Draft {
            layer,
            mut verdicts,
            weight,
            is_crowded,
            is_suspended,
        } = draft;
        if !is_suspended {
            // It was about other rules.
            self.suspended = None;
        }
        let (status, reason) = match &self.suspended {
            Some(suspended) => (VerdictStatus::Suspended, suspended.reason.clone()),
            _ if is_crowded => (
                VerdictStatus::Crowded,
                "the rules of all organizations together hold as much as the daemon may; rows of \
                 this one were refused for it: remove or shorten some, or ask the operator"
                    .to_owned(),
            ),
            _ => (VerdictStatus::Accepted, String::new()),
        };
        self.layer = Arc::new(layer);
        self.weight = weight;
        let mut verdict = verdict(intent.org, Some(intent.generation), status, reason);
        verdict.rule_set = self.layer.set().map(|set| set.hash().to_owned());
        verdicts.push(verdict);
        verdicts
    }

    /// What is told of an organization that cannot be read.
    pub(super) fn unread(org: OrgId, in_force: Option<u64>, why: String) -> DetectionVerdict {
        let reason = format!("{why}; what was in force stays, and it is read again by itself");
        verdict(org, in_force, VerdictStatus::NotRead, reason)
    }
}

/// What is told of an organization as a whole.
fn verdict(
    org: OrgId,
    generation: Option<u64>,
    status: VerdictStatus,
    reason: String,
) -> DetectionVerdict {
    let version = i64::try_from(generation.unwrap_or(0)).unwrap_or(i64::MAX);
    DetectionVerdict {
        kind: IntentKind::Organization,
        row: IntentRow { id: org.0, version },
        status,
        reason,
        place: None,
        rule_set: None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn known() -> Known {
        Known::new(&Arc::new(DetectionIntent {
            org: OrgId(Uuid::nil()),
            generation: 1,
            agents: Vec::new(),
            rules: Vec::new(),
            overrides: Vec::new(),
            suppressions: Vec::new(),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspension_ends_by_itself_and_lasts_longer_when_it_comes_again_soon() {
        let report = CostReport {
            org: OrgId(Uuid::nil()),
            rule_set: "hash".to_owned(),
            reason: "too slow".to_owned(),
        };
        let (mut known, mut now) = (known(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            known.suspend(&report, now);
            assert!(!known.resume_due(now));
            let until = known.resume_at().expect("it ends");
            pauses.push((until - now).as_secs() / FIRST_PAUSE.as_secs());
            now = until;
            assert!(known.resume_due(now));
            assert!(!known.resume_due(now), "once");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);

        known.suspend(&report, now + LONGEST_PAUSE);
        assert_eq!(known.pause, FIRST_PAUSE);
    }
}
