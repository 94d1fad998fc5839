//! Row shapes: what goes to and comes from PostgREST, one type per RPC, and their conversions.
//! It never does I/O and has no field that could hold a log event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hidps_wire::{
    AgentId, ConditionStatus, ContentHash, DesiredDocument, Generation, SubjectCondition,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::{
    AgentAccess, AgentCredential, Alert, ChangeReport, ConditionReport, DesiredState,
    DesiredVersion, HealthReport, HoldMark, KeyStatus, Notice, Notification, NotifiedAccount,
    NotifiedAlert, OrgId, PresenceReport, Unheard,
};
use crate::steady_clock::steady_now;

/// A row of `desired_generations`.
#[derive(Debug, Deserialize)]
pub(super) struct GenerationRow {
    agent_id: AgentId,
    generation: Generation,
    changed_at: Timestamp,
}

impl From<GenerationRow> for DesiredVersion {
    fn from(row: GenerationRow) -> Self {
        let GenerationRow {
            agent_id,
            generation,
            changed_at,
        } = row;
        Self {
            agent_id,
            generation,
            changed_at,
        }
    }
}

/// A row of `agent_keys`, as far as it is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct KeyRow {
    pub(super) agent_id: AgentId,
}

/// A row of `rpc/desired_state`.
#[derive(Debug, Deserialize)]
pub(super) struct DesiredRow {
    agent_id: AgentId,
    generation: Generation,
    content_hash: ContentHash,
    document: DesiredDocument,
    changed_at: Timestamp,
    hold: Option<String>,
    released: bool,
}

impl From<DesiredRow> for (AgentId, DesiredState) {
    fn from(row: DesiredRow) -> Self {
        let DesiredRow {
            agent_id,
            generation,
            content_hash: hash,
            document,
            changed_at,
            hold,
            released,
        } = row;
        (
            agent_id,
            DesiredState {
                generation,
                hash,
                document,
                changed_at,
                hold: hold.as_deref().map(hold_mark),
                released,
            },
        )
    }
}

/// A mark that is not known is a mark all the same: a newer database must not be overridden.
fn hold_mark(name: &str) -> HoldMark {
    match name {
        "BlastRadius" => HoldMark::BlastRadius,
        _ => HoldMark::Unknown,
    }
}

/// An element of `rpc/report_conditions`.
#[derive(Debug, Serialize)]
pub(super) struct ConditionRow {
    agent_id: AgentId,
    r#type: &'static str,
    status: ConditionStatus,
    reason: String,
    message: String,
    observed_generation: Option<Generation>,
    subjects: Vec<SubjectCondition>,
    transition_at: Option<Timestamp>,
}

impl From<ConditionReport> for ConditionRow {
    fn from(report: ConditionReport) -> Self {
        Self {
            agent_id: report.agent_id,
            r#type: report.kind.as_str(),
            status: report.status,
            reason: report.reason,
            message: report.message,
            observed_generation: report.observed_generation,
            subjects: report.subjects,
            transition_at: report.transition_at,
        }
    }
}

/// An element of `rpc/record_changes`.
#[derive(Debug, Serialize)]
pub(super) struct ChangeRow {
    agent_id: AgentId,
    generation: Generation,
    changed_at: Timestamp,
    sent_at: Option<Timestamp>,
    applied_at: Option<Timestamp>,
    observed_at: Option<Timestamp>,
}

impl From<ChangeReport> for ChangeRow {
    fn from(report: ChangeReport) -> Self {
        let ChangeReport {
            agent_id,
            generation,
            changed_at,
            sent_at,
            applied_at,
            observed_at,
        } = report;
        Self {
            agent_id,
            generation,
            changed_at,
            sent_at,
            applied_at,
            observed_at,
        }
    }
}

/// An element of `rpc/report_health`.
#[derive(Debug, Serialize)]
pub(super) struct HealthRow {
    r#type: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
    details: Value,
}

impl From<HealthReport> for HealthRow {
    fn from(report: HealthReport) -> Self {
        Self {
            r#type: report.kind,
            status: if report.holds {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason: report.reason,
            message: report.message,
            details: report.details,
        }
    }
}

/// An element of `rpc/record_presence`.
#[derive(Debug, Serialize)]
pub(super) struct PresenceRow {
    agent_id: AgentId,
    online: bool,
    /// Seconds since the report was made, by this daemon's clock; the database's decides the rest.
    age: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retires_keys: Option<bool>,
}

/// Seconds since a moment of the steady clock.
pub(super) fn age_of(at: Timestamp) -> f64 {
    steady_now().duration_since(at).as_secs_f64().max(0.0)
}

impl From<PresenceReport> for PresenceRow {
    fn from(report: PresenceReport) -> Self {
        let host = report.host;
        Self {
            agent_id: report.agent_id,
            online: report.online,
            age: age_of(report.at),
            hostname: host.as_ref().map(|host| host.hostname.clone()),
            os: host.as_ref().map(|host| host.os.clone()),
            arch: host.as_ref().map(|host| host.arch.clone()),
            retires_keys: host.as_ref().map(|host| host.retires_keys),
            agent_version: host.map(|host| host.agent_version),
        }
    }
}

/// The argument of `rpc/upsert_alert`, and a line of the spool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AlertRow {
    pub(super) occurrence_id: Uuid,
    agent_id: AgentId,
    fingerprint: String,
    rule_id: String,
    title: String,
    message: String,
    alert_type: String,
    severity: u8,
    risk: u8,
    evidence: serde_json::Value,
    explanation: serde_json::Value,
    occurred_at: Timestamp,
    count: u32,
}

impl From<Alert> for AlertRow {
    fn from(alert: Alert) -> Self {
        Self {
            occurrence_id: alert.occurrence_id,
            agent_id: alert.agent_id,
            fingerprint: alert.fingerprint,
            rule_id: alert.rule_id,
            title: alert.title,
            message: alert.message,
            alert_type: alert.alert_type,
            severity: alert.severity,
            risk: alert.risk,
            evidence: alert.evidence,
            explanation: alert.explanation,
            occurred_at: alert.occurred_at,
            count: alert.count,
        }
    }
}

impl From<AlertRow> for Alert {
    fn from(row: AlertRow) -> Self {
        Self {
            occurrence_id: row.occurrence_id,
            agent_id: row.agent_id,
            fingerprint: row.fingerprint,
            rule_id: row.rule_id,
            title: row.title,
            message: row.message,
            alert_type: row.alert_type,
            severity: row.severity,
            risk: row.risk,
            evidence: row.evidence,
            explanation: row.explanation,
            occurred_at: row.occurred_at,
            count: row.count,
        }
    }
}

/// A row of `rpc/unheard_agents`.
#[derive(Debug, Deserialize)]
pub(super) struct UnheardRow {
    agent_id: AgentId,
    last_seen: Timestamp,
    polls: bool,
}

impl UnheardRow {
    /// What the row says.
    pub(super) fn into_unheard(self) -> Unheard {
        Unheard {
            agent: self.agent_id,
            heard_at: self.last_seen,
            polls: self.polls,
        }
    }
}

/// A row of `rpc/agent_credentials`.
#[derive(Debug, Deserialize)]
pub(super) struct CredentialRow {
    agent_id: AgentId,
    org_id: Uuid,
    public_key: String,
    status: KeyStatusRow,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyStatusRow {
    Admitted,
    Pending,
    Revoked,
}

impl CredentialRow {
    /// The agent's credential, or none when the key is not 32 bytes in base64.
    pub(super) fn credential(&self) -> Option<(AgentId, AgentCredential)> {
        let public_key = STANDARD.decode(&self.public_key).ok()?.try_into().ok()?;
        let status = match self.status {
            KeyStatusRow::Admitted => KeyStatus::Admitted,
            KeyStatusRow::Pending => KeyStatus::Pending,
            KeyStatusRow::Revoked => KeyStatus::Revoked,
        };
        let credential = AgentCredential {
            org: OrgId(self.org_id),
            public_key,
            status,
        };
        Some((self.agent_id, credential))
    }
}

/// A row of `rpc/agent_access`.
#[derive(Debug, Deserialize)]
pub(super) struct AccessRow {
    agent_id: AgentId,
    can_admin: bool,
}

impl From<AccessRow> for AgentAccess {
    fn from(row: AccessRow) -> Self {
        Self {
            agent_id: row.agent_id,
            can_admin: row.can_admin,
        }
    }
}

/// A row of `rpc/claim_notifications`.
#[derive(Debug, Deserialize)]
pub(super) struct NotificationRow {
    id: Uuid,
    recipient: String,
    stage: String,
    attempts: i32,
    message_id: String,
    alert_id: Uuid,
    title: Option<String>,
    message: Option<String>,
    severity: Option<i16>,
    risk: Option<i32>,
    rule_id: Option<String>,
    occurrences: i32,
    first_seen: Timestamp,
    last_seen: Timestamp,
    #[serde(default)]
    evidence: serde_json::Value,
    #[serde(default)]
    explanation: serde_json::Value,
    agent_id: AgentId,
    agent_name: String,
    organization_name: Option<String>,
}

impl From<NotificationRow> for Notification {
    fn from(row: NotificationRow) -> Self {
        Self {
            id: row.id,
            recipient: row.recipient.clone(),
            attempts: row.attempts,
            message_id: row.message_id.clone(),
            notice: if row.stage == "account" {
                Notice::Account(row.into_account())
            } else {
                Notice::Alert(row.into_alert())
            },
        }
    }
}

impl NotificationRow {
    /// What the rule or the database advises.
    fn advice(&self) -> Option<String> {
        let advice = self.explanation.get("advice")?;
        advice.as_str().map(str::to_owned)
    }

    fn into_account(self) -> NotifiedAccount {
        NotifiedAccount {
            advice: self.advice(),
            title: self.title.unwrap_or_else(|| "Your account".into()),
            message: self.message.unwrap_or_default(),
            at: self.first_seen,
        }
    }

    fn into_alert(self) -> NotifiedAlert {
        let lines = self.evidence.as_array().map(Vec::as_slice);
        let evidence = lines
            .unwrap_or_default()
            .iter()
            .filter_map(|line| line.as_str().map(str::to_owned))
            .collect();
        NotifiedAlert {
            advice: self.advice(),
            id: self.alert_id,
            title: self.title.unwrap_or_else(|| "alert".into()),
            message: self.message.unwrap_or_default(),
            severity: self
                .severity
                .and_then(|n| u8::try_from(n).ok())
                .unwrap_or(2),
            risk: self.risk.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
            rule_id: self.rule_id.unwrap_or_default(),
            occurrences: self.occurrences,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            evidence,
            is_storm: self.stage == "storm",
            agent_id: self.agent_id,
            agent_name: self.agent_name,
            organization: self.organization_name.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notice(stage: &str) -> Notice {
        let row: NotificationRow = serde_json::from_value(json!({
            "id": Uuid::from_u128(1), "recipient": "uma@acme.test", "stage": stage, "attempts": 1,
            "message_id": "<account.1@hidps>", "alert_id": Uuid::from_u128(1),
            "title": "New sign-in to your account", "message": "Firefox, from 198.51.100.0/24",
            "alert_type": "account", "severity": 2, "risk": 0, "rule_id": "new_device",
            "occurrences": 1, "first_seen": "1970-01-01T00:00:00+00:00",
            "last_seen": "1970-01-01T00:00:00+00:00", "evidence": [],
            "explanation": { "advice": "Change your password" }, "agent_id": Uuid::nil(),
            "agent_name": "198.51.100.0/24", "organization_name": "",
        }))
        .expect("a row as the database gives it");
        Notification::from(row).notice
    }

    #[test]
    fn a_row_of_stage_account_is_about_the_account_and_any_other_about_an_alert() {
        let account = NotifiedAccount {
            title: "New sign-in to your account".into(),
            message: "Firefox, from 198.51.100.0/24".into(),
            at: Timestamp::UNIX_EPOCH,
            advice: Some("Change your password".into()),
        };

        assert_eq!(notice("account"), Notice::Account(account));
        assert!(matches!(notice("raised"), Notice::Alert(alert) if !alert.is_storm));
        assert!(matches!(notice("storm"), Notice::Alert(alert) if alert.is_storm));
    }
}
