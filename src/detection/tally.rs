//! Counts of what raises no alert: matches on trial and matches kept quiet about.
//! It never grows past its bound; what does not fit is a number of its own.

use std::collections::HashMap;

use hidps_rules::RuleInfo;
use hidps_wire::AgentId;
use uuid::Uuid;

use crate::model::{ShadowReport, SuppressedReport};
use crate::telemetry;

/// Most rules and agents of which one worker counts matches between two reports.
const MAX_COUNTED: usize = 10_000;

/// The counts of one worker since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Tally {
    shadow: HashMap<(AgentId, String), ShadowReport>,
    suppressed: HashMap<(Uuid, AgentId), u64>,
}

impl Tally {
    /// Counts a match of a rule on trial.
    pub(super) fn count_shadow(&mut self, agent: AgentId, rule: &RuleInfo) {
        let key = (agent, rule.id.clone());
        if self.shadow.len() >= MAX_COUNTED && !self.shadow.contains_key(&key) {
            metrics::counter!(telemetry::COUNTS_LOST, "kind" => "shadow").increment(1);
            return;
        }
        let counted = self.shadow.entry(key).or_insert_with(|| ShadowReport {
            agent_id: agent,
            rule_id: rule.id.clone(),
            title: rule.title.clone(),
            matches: 0,
        });
        counted.matches = counted.matches.saturating_add(1);
    }

    /// Counts a match that a suppression keeps quiet about.
    pub(super) fn count_suppressed(&mut self, suppression: Uuid, agent: AgentId) {
        let key = (suppression, agent);
        if self.suppressed.len() >= MAX_COUNTED && !self.suppressed.contains_key(&key) {
            metrics::counter!(telemetry::COUNTS_LOST, "kind" => "suppressed").increment(1);
            return;
        }
        let counted = self.suppressed.entry(key).or_default();
        *counted = counted.saturating_add(1);
    }

    /// Everything counted so far; counting begins anew.
    pub(super) fn take(&mut self) -> (Vec<ShadowReport>, Vec<SuppressedReport>) {
        let shadow = self.shadow.drain().map(|(_, report)| report).collect();
        let suppressed = self.suppressed.drain();
        let suppressed = suppressed.map(|((suppression, agent_id), matches)| SuppressedReport {
            suppression,
            agent_id,
            matches,
        });
        (shadow, suppressed.collect())
    }
}
