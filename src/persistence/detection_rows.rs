//! Row shapes of detection: what organizations want of it, and what was observed of that.
//! It never does I/O and has no field that could hold a log event.

use hidps_wire::AgentId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{
    Contribution, DetectionIntent, DetectionVerdict, IntentKind, IntentRow, OrgId, OwnRule,
    RiskReport, RuleOverride, ShadowReport, SilenceMatch, SuppressedReport, Suppression,
    VerdictStatus,
};

/// The answer of `rpc/detection_index`.
#[derive(Debug, Deserialize)]
pub(super) struct IndexDocument {
    n_organizations: usize,
    organizations: Vec<IndexEntry>,
}

#[derive(Debug, Deserialize)]
struct IndexEntry {
    org_id: Uuid,
    generation: u64,
}

/// An index that does not hold as many organizations as it says.
#[derive(Debug, thiserror::Error)]
#[error("the index of {promised} organizations names {found}")]
pub(super) struct ShortIndex {
    promised: usize,
    found: usize,
}

impl IndexDocument {
    /// Every organization with its generation.
    pub(super) fn entries(self) -> Result<Vec<(OrgId, u64)>, ShortIndex> {
        let (promised, found) = (self.n_organizations, self.organizations.len());
        if promised != found {
            return Err(ShortIndex { promised, found });
        }
        let entry = |entry: IndexEntry| (OrgId(entry.org_id), entry.generation);
        Ok(self.organizations.into_iter().map(entry).collect())
    }
}

/// The answer of `rpc/detection_intent`.
#[derive(Debug, Deserialize)]
pub(super) struct IntentDocument {
    org_id: Uuid,
    generation: u64,
    agents: Vec<AgentId>,
    rules: Vec<RuleRow>,
    overrides: Vec<OverrideRow>,
    suppressions: Vec<SuppressionRow>,
}

#[derive(Debug, Deserialize)]
struct RuleRow {
    id: Uuid,
    version: i64,
    body: String,
    enabled: bool,
    shadow: bool,
}

#[derive(Debug, Deserialize)]
struct OverrideRow {
    id: Uuid,
    version: i64,
    rule_id: String,
    enabled: Option<bool>,
    level: Option<String>,
    threshold: Option<i64>,
    shadow: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct SuppressionRow {
    id: Uuid,
    version: i64,
    rule_id: Option<String>,
    agent_id: Option<AgentId>,
    field: Option<String>,
    r#match: String,
    value: Option<String>,
    until: Option<Timestamp>,
}

impl From<IntentDocument> for DetectionIntent {
    fn from(document: IntentDocument) -> Self {
        Self {
            org: OrgId(document.org_id),
            generation: document.generation,
            agents: document.agents,
            rules: document.rules.into_iter().map(OwnRule::from).collect(),
            overrides: document
                .overrides
                .into_iter()
                .map(RuleOverride::from)
                .collect(),
            suppressions: document
                .suppressions
                .into_iter()
                .map(Suppression::from)
                .collect(),
        }
    }
}

impl From<RuleRow> for OwnRule {
    fn from(row: RuleRow) -> Self {
        let RuleRow {
            id,
            version,
            body,
            enabled,
            shadow,
        } = row;
        Self {
            row: IntentRow { id, version },
            body,
            enabled,
            shadow,
        }
    }
}

impl From<OverrideRow> for RuleOverride {
    fn from(row: OverrideRow) -> Self {
        Self {
            row: IntentRow {
                id: row.id,
                version: row.version,
            },
            rule_id: row.rule_id,
            enabled: row.enabled,
            level: row.level,
            threshold: row.threshold,
            shadow: row.shadow,
        }
    }
}

impl From<SuppressionRow> for Suppression {
    fn from(row: SuppressionRow) -> Self {
        let kind = row.r#match;
        let wanted = move |value| match kind.as_str() {
            "value" => SilenceMatch::Value(value),
            "cidr" => SilenceMatch::Cidr(value),
            "prefix" => SilenceMatch::Prefix(value),
            _ => SilenceMatch::Unknown(kind),
        };
        Self {
            row: IntentRow {
                id: row.id,
                version: row.version,
            },
            rule_id: row.rule_id,
            agent: row.agent_id,
            field: row.field.zip(row.value.map(wanted)),
            until: row.until,
        }
    }
}

/// An element of `rpc/report_detection`.
#[derive(Debug, Serialize)]
pub(super) struct VerdictRow {
    kind: &'static str,
    id: Uuid,
    version: i64,
    status: &'static str,
    reason: String,
    line: Option<usize>,
    col: Option<usize>,
    rule_set: Option<String>,
}

impl From<DetectionVerdict> for VerdictRow {
    fn from(verdict: DetectionVerdict) -> Self {
        Self {
            kind: match verdict.kind {
                IntentKind::Rule => "rule",
                IntentKind::Override => "override",
                IntentKind::Suppression => "suppression",
                IntentKind::Organization => "organization",
            },
            id: verdict.row.id,
            version: verdict.row.version,
            status: match verdict.status {
                VerdictStatus::Accepted => "accepted",
                VerdictStatus::Refused => "refused",
                VerdictStatus::Suspended => "suspended",
                VerdictStatus::Disabled => "disabled",
                VerdictStatus::NotRead => "not_read",
                VerdictStatus::Crowded => "crowded",
            },
            reason: verdict.reason,
            line: verdict.place.map(|(line, _)| line),
            col: verdict.place.map(|(_, column)| column),
            rule_set: verdict.rule_set,
        }
    }
}

/// An element of `rpc/record_shadow_matches`.
#[derive(Debug, Serialize)]
pub(super) struct ShadowRow {
    agent_id: AgentId,
    rule_id: String,
    title: String,
    matches: u64,
}

impl From<ShadowReport> for ShadowRow {
    fn from(report: ShadowReport) -> Self {
        let ShadowReport {
            agent_id,
            rule_id,
            title,
            matches,
        } = report;
        Self {
            agent_id,
            rule_id,
            title,
            matches,
        }
    }
}

/// An element of `rpc/record_suppressed`.
#[derive(Debug, Serialize)]
pub(super) struct SuppressedRow {
    id: Uuid,
    agent_id: AgentId,
    matches: u64,
}

impl From<SuppressedReport> for SuppressedRow {
    fn from(report: SuppressedReport) -> Self {
        Self {
            id: report.suppression,
            agent_id: report.agent_id,
            matches: report.matches,
        }
    }
}

/// An element of `rpc/record_risk`.
#[derive(Debug, Serialize)]
pub(super) struct RiskRow {
    agent_id: AgentId,
    score: u8,
    window_secs: u32,
    valid_until: Timestamp,
    contributions: Vec<ContributionRow>,
}

#[derive(Debug, Serialize)]
struct ContributionRow {
    rule_id: String,
    title: String,
    risk: u8,
}

impl From<Contribution> for ContributionRow {
    fn from(part: Contribution) -> Self {
        let Contribution {
            rule_id,
            title,
            risk,
        } = part;
        Self {
            rule_id,
            title,
            risk,
        }
    }
}

impl From<RiskReport> for RiskRow {
    fn from(report: RiskReport) -> Self {
        Self {
            agent_id: report.agent_id,
            score: report.score,
            window_secs: report.window_secs,
            valid_until: report.valid_until,
            contributions: report
                .contributions
                .into_iter()
                .map(ContributionRow::from)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_lost_a_part_is_no_index() {
        let read = |n: usize| {
            let text = format!(
                r#"{{"n_organizations":{n},"organizations":[{{"org_id":"{}","generation":4}}]}}"#,
                Uuid::nil()
            );
            let document: IndexDocument = serde_json::from_str(&text).expect("it is one");
            document.entries()
        };

        assert_eq!(read(1).expect("it is whole"), [(OrgId(Uuid::nil()), 4)]);
        assert!(read(2).is_err());
        assert!(serde_json::from_str::<IndexDocument>("{}").is_err());
    }
}
