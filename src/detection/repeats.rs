//! Counts instead of writing: repeats of one fingerprint, and whatever one agent raises beyond
//! its budget. It never forgets a count before it was raised.

use std::collections::HashMap;
use std::time::Duration;

use hidps_wire::AgentId;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::detection::alerting::Finding;
use crate::model::Alert;

/// Time in which repeats of one fingerprint are counted into one write: a burst of thousands then
/// costs a row change every few seconds, and the counter is never far behind.
const COUNT_FOR: Duration = Duration::from_secs(5);

/// Different alerts of one agent in a minute; nobody reads more, and each is a row and a mail.
const BUDGET: u32 = 30;

/// The same for critical ones, so that a flood of small things cannot hide a great one.
const CRITICAL_BUDGET: u32 = 120;

/// Time after which a budget is full again.
const BUDGET_FOR: Duration = Duration::from_secs(60);

/// Severity of a critical alert.
const CRITICAL: u8 = 4;

/// The counts of one worker.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    counted: HashMap<(AgentId, String), Counted>,
    spent: HashMap<AgentId, Spent>,
}

#[derive(Debug)]
struct Counted {
    until: Instant,
    repeats: u32,
    newest: Alert,
}

#[derive(Debug)]
struct Spent {
    until: Instant,
    raised: u32,
    suppressed: u32,
}

impl Repeats {
    /// The alert to raise now: the first of its kind at once, repeats later as one.
    pub(super) fn on_finding(&mut self, finding: Finding, now: Instant) -> Option<Alert> {
        let alert = finding.into_alert();
        let key = (alert.agent_id, alert.fingerprint.clone());
        if let Some(known) = self.counted.get_mut(&key) {
            known.repeats = known.repeats.saturating_add(1);
            known.newest = alert;
            return None;
        }
        if !self.spend(alert.agent_id, alert.severity, now) {
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

    /// Takes one from the agent's budget; without one left it is counted as suppressed.
    fn spend(&mut self, agent: AgentId, severity: u8, now: Instant) -> bool {
        let full = Spent {
            until: now + BUDGET_FOR,
            raised: 0,
            suppressed: 0,
        };
        let spent = self.spent.entry(agent).or_insert(full);
        let budget = if severity >= CRITICAL {
            CRITICAL_BUDGET
        } else {
            BUDGET
        };
        let is_left = spent.raised < budget;
        if is_left {
            spent.raised += 1;
        } else {
            spent.suppressed = spent.suppressed.saturating_add(1);
        }
        is_left
    }

    /// The repeats and suppressed ones whose time has come, each as one alert with its count.
    pub(super) fn poll_due(&mut self, now: Instant, all: bool) -> Vec<Alert> {
        let mut due = Vec::new();
        self.counted.retain(|_, counted| {
            if !all && now < counted.until {
                return true;
            }
            if counted.repeats > 0 {
                due.push(Alert {
                    count: counted.repeats,
                    ..counted.newest.clone()
                });
            }
            // Whoever goes on stays counted; whoever stopped is forgotten.
            let goes_on = counted.repeats > 0 && !all;
            counted.repeats = 0;
            counted.until = now + COUNT_FOR;
            goes_on
        });
        self.spent.retain(|agent, spent| {
            let is_due = all || now >= spent.until;
            if is_due && spent.suppressed > 0 {
                due.push(storm(*agent, spent.suppressed));
            }
            !is_due
        });
        due
    }
}

/// The one alert that stands for all that were suppressed.
fn storm(agent_id: AgentId, suppressed: u32) -> Alert {
    let message = format!(
        "This host raised more different alerts within a minute than anybody can read; {suppressed} \
         of them are not listed."
    );
    let advice = "Look at the alerts of this minute that are listed, and at the host's live log; \
                  a host that raises so many is under attack, taken over, or watched too closely.";
    Alert {
        occurrence_id: Uuid::new_v4(),
        agent_id,
        fingerprint: "hidps-alert-storm".to_owned(),
        rule_id: "hidps-alert-storm".to_owned(),
        title: "Alert storm".to_owned(),
        message,
        alert_type: "security".to_owned(),
        severity: 3,
        risk: 70,
        evidence: json!([]),
        explanation: json!({ "suppressed": suppressed, "advice": advice }),
        occurred_at: Timestamp::now(),
        count: suppressed,
    }
}
