//! Matches to alerts: severity, fingerprint, explanation, and repeats counted instead of written.
//! It never copies an event; what it quotes is the bounded excerpt that the rule matched.

use std::collections::HashMap;
use std::time::Duration;

use hidps_rules::{Level, Match};
use hidps_wire::AgentId;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::model::Alert;

/// Time in which repeats of one fingerprint are counted into one write: a burst of thousands then
/// costs a row change every few seconds, and the counter is never far behind.
const COUNT_FOR: Duration = Duration::from_secs(5);

/// Most fingerprints counted at once in one worker; beyond it everything counted is written.
const MAX_COUNTED: usize = 10_000;

/// Longest evidence line, in characters.
const MAX_EVIDENCE: usize = 256;

/// The severity of a level, 1 to 4; none for levels that only feed other rules.
#[must_use]
pub(super) const fn severity(level: Level) -> Option<(u8, u8)> {
    match level {
        Level::Informational | Level::Low => None,
        Level::Medium => Some((2, 50)),
        Level::High => Some((3, 70)),
        Level::Critical => Some((4, 90)),
    }
}

/// A match worth telling a person, not yet counted.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    alert: Alert,
}

impl Finding {
    /// The finding of a match, or none when its level is too low to alert.
    #[must_use]
    pub(super) fn new(
        agent: AgentId,
        found: &Match<'_>,
        message: &str,
        rule_set: &str,
    ) -> Option<Self> {
        let (severity, risk) = severity(found.rule.level)?;
        let rule = found.rule;
        let evidence = if rule.evidence {
            json!([excerpt(message)])
        } else {
            json!([])
        };
        let alert = Alert {
            occurrence_id: Uuid::new_v4(),
            agent_id: agent,
            fingerprint: fingerprint(&rule.id, &found.group_key),
            rule_id: rule.id.clone(),
            title: rule.title.clone(),
            message: describe(found),
            alert_type: rule
                .alert_type
                .clone()
                .unwrap_or_else(|| "security".to_owned()),
            severity,
            risk,
            evidence,
            explanation: explain(found, rule_set),
            occurred_at: Timestamp::now(),
            count: 1,
        };
        Some(Self { alert })
    }
}

/// Counts repeats.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    counted: HashMap<(AgentId, String), Counted>,
}

#[derive(Debug)]
struct Counted {
    until: Instant,
    repeats: u32,
    newest: Alert,
}

impl Repeats {
    /// The alert to raise now: the first of its kind at once, repeats later as one.
    pub(super) fn on_finding(&mut self, finding: Finding, now: Instant) -> Option<Alert> {
        let alert = finding.alert;
        let key = (alert.agent_id, alert.fingerprint.clone());
        if let Some(known) = self.counted.get_mut(&key) {
            known.repeats = known.repeats.saturating_add(1);
            known.newest = alert;
            return None;
        }
        let counted = Counted {
            until: now + COUNT_FOR,
            repeats: 0,
            newest: alert.clone(),
        };
        self.counted.insert(key, counted);
        Some(alert)
    }

    /// The repeats whose time has come, each as one alert with its count.
    pub(super) fn poll_due(&mut self, now: Instant, all: bool) -> Vec<Alert> {
        let flush = all || self.counted.len() > MAX_COUNTED;
        let mut due = Vec::new();
        self.counted.retain(|_, counted| {
            if !flush && now < counted.until {
                return true;
            }
            if counted.repeats > 0 {
                due.push(Alert {
                    count: counted.repeats,
                    ..counted.newest.clone()
                });
            }
            // Whoever goes on stays counted; whoever stopped is forgotten.
            let goes_on = counted.repeats > 0 && !flush;
            counted.repeats = 0;
            counted.until = now + COUNT_FOR;
            goes_on
        });
        due
    }
}

fn fingerprint(rule_id: &str, group_key: &str) -> String {
    let digest = Sha256::new()
        .chain_update(rule_id)
        .chain_update([0])
        .chain_update(group_key);
    digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn describe(found: &Match<'_>) -> String {
    let mut text = found
        .rule
        .description
        .clone()
        .unwrap_or_else(|| found.rule.title.clone());
    if let Some(window) = &found.window {
        let group: Vec<String> = window
            .group
            .iter()
            .map(|(field, value)| format!("{field} {value}"))
            .collect();
        let group = if group.is_empty() {
            String::new()
        } else {
            format!(", {}", group.join(", "))
        };
        text += &format!(
            " ({} within {} s{group})",
            window.count, window.timespan_secs
        );
    } else if !found.matched.is_empty() {
        let matched: Vec<String> = found
            .matched
            .iter()
            .map(|(field, value)| format!("{field}: {value}"))
            .collect();
        text += &format!(" ({})", matched.join(", "));
    }
    text
}

fn explain(found: &Match<'_>, rule_set: &str) -> serde_json::Value {
    let rule = found.rule;
    let matched: serde_json::Map<String, serde_json::Value> = found
        .matched
        .iter()
        .map(|(field, value)| (field.to_string(), json!(value.to_string())))
        .collect();
    let window = found.window.as_ref().map(|window| {
        let group: serde_json::Map<String, serde_json::Value> = window
            .group
            .iter()
            .map(|(f, v)| (f.to_string(), json!(v.to_string())))
            .collect();
        json!({
            "count": window.count, "timespan_secs": window.timespan_secs, "group": group,
            "distinct": window.distinct,
        })
    });
    json!({
        "rule": { "id": rule.id, "title": rule.title, "author": rule.author, "tags": rule.tags },
        "level": format!("{:?}", rule.level).to_lowercase(),
        "matched": matched, "window": window, "advice": rule.advice,
        "false_positives": rule.falsepositives, "rule_set": rule_set,
    })
}

fn excerpt(message: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    message.chars().take(MAX_EVIDENCE).map(printable).collect()
}
