//! What of an older report, not written yet, has to survive in the one that takes its place.
//! It never mixes reports of different things.

use jiff::Timestamp;

use crate::model::{
    ChangeReport, ConditionReport, DetectionVerdict, FactsReport, PresenceReport, ProcessesReport,
    RiskReport, ShadowReport, SuppressedReport, UsageReport,
};

/// A report that may take the place of an older one.
pub(super) trait Newest {
    /// This report, with what the older one knows and this one does not.
    #[must_use]
    fn over(self, older: Self) -> Self;
}

impl Newest for ConditionReport {
    /// A status that changed meanwhile is a transition, though nobody has read the older one.
    fn over(mut self, older: Self) -> Self {
        let changed = (older.status != self.status).then(Timestamp::now);
        self.transition_at = self.transition_at.or(changed).or(older.transition_at);
        self
    }
}

impl Newest for PresenceReport {
    fn over(mut self, older: Self) -> Self {
        self.host = self.host.or(older.host);
        self
    }
}

impl Newest for ChangeReport {
    fn over(self, older: Self) -> Self {
        Self {
            sent_at: older.sent_at.or(self.sent_at),
            applied_at: older.applied_at.or(self.applied_at),
            observed_at: older.observed_at.or(self.observed_at),
            ..self
        }
    }
}

impl Newest for UsageReport {
    fn over(self, _: Self) -> Self {
        self
    }
}

impl Newest for ProcessesReport {
    fn over(self, _: Self) -> Self {
        self
    }
}

impl Newest for FactsReport {
    fn over(self, _: Self) -> Self {
        self
    }
}

impl Newest for DetectionVerdict {
    fn over(self, _: Self) -> Self {
        self
    }
}

impl Newest for RiskReport {
    fn over(self, _: Self) -> Self {
        self
    }
}

impl Newest for ShadowReport {
    fn over(mut self, older: Self) -> Self {
        self.matches = self.matches.saturating_add(older.matches);
        self
    }
}

impl Newest for SuppressedReport {
    fn over(mut self, older: Self) -> Self {
        self.matches = self.matches.saturating_add(older.matches);
        self
    }
}

#[cfg(test)]
mod tests {
    use hidps_wire::{AgentId, ConditionStatus, Generation};
    use uuid::Uuid;

    use super::*;
    use crate::model::ConditionKind;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));

    fn condition(status: ConditionStatus) -> ConditionReport {
        ConditionReport {
            agent_id: AGENT,
            kind: ConditionKind::FirewallSynced,
            status,
            reason: "Any".into(),
            message: String::new(),
            observed_generation: None,
            subjects: Vec::new(),
            transition_at: None,
        }
    }

    #[test]
    fn a_fault_that_was_repaired_before_it_was_written_is_still_a_transition() {
        let fault = condition(ConditionStatus::False);

        let repaired = condition(ConditionStatus::True).over(fault);
        let again = condition(ConditionStatus::True).over(repaired.clone());

        assert_eq!(repaired.status, ConditionStatus::True);
        assert!(repaired.transition_at.is_some());
        assert_eq!(again.transition_at, repaired.transition_at);
    }

    #[test]
    fn equal_statuses_are_no_transition() {
        let report = condition(ConditionStatus::True).over(condition(ConditionStatus::True));

        assert_eq!(report.transition_at, None);
    }

    #[test]
    fn each_step_of_a_change_keeps_its_first_time() {
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let sent = |at| ChangeReport {
            agent_id: AGENT,
            generation: Generation(3),
            changed_at: first,
            sent_at: Some(at),
            applied_at: None,
            observed_at: None,
        };
        let applied = ChangeReport {
            sent_at: None,
            applied_at: Some(second),
            ..sent(first)
        };

        let merged = applied.over(sent(second).over(sent(first)));

        assert_eq!(merged.sent_at, Some(first));
        assert_eq!(merged.applied_at, Some(second));
    }

    #[test]
    fn counts_that_wait_are_added_up() {
        let told = |matches| SuppressedReport {
            suppression: Uuid::nil(),
            agent_id: AGENT,
            matches,
        };
        let on_trial = |matches| ShadowReport {
            agent_id: AGENT,
            rule_id: "r".into(),
            title: "T".into(),
            matches,
        };

        assert_eq!(told(3).over(told(4)).matches, 7);
        assert_eq!(on_trial(u64::MAX).over(on_trial(4)).matches, u64::MAX);
    }
}
