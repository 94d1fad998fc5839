//! The alert that a rule is not tried for a while: whoever made it too dear may have wanted that.
//! It never says anything of hosts other than the one it is raised for.

use hidps_rules::{Breadth, RuleInfo, Suspension};
use hidps_wire::{AgentId, printable};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::detection::alerting::fingerprint;
use crate::detection::costs::breadth_name;
use crate::model::Alert;

/// The id under which it is raised.
const RULE_ID: &str = "hidps-rule-suspended";

/// Longest name of a rule in it, in characters.
const MAX_NAME: usize = 200;

/// The alert of one suspension, for the agent whose event was one too many.
pub(super) fn suspension_alert(rule: &RuleInfo, suspension: &Suspension) -> Alert {
    let whom = match suspension.breadth {
        Breadth::Scope(_) => "on this host",
        Breadth::Account(_) => "on the hosts of this organization",
        Breadth::All => "on the hosts of the same worker of the daemon",
    };
    let breadth = breadth_name(suspension.breadth);
    let title = printable(&rule.title, MAX_NAME);
    let pause_secs = suspension.pause_nanos / 1_000_000_000;
    let message = format!(
        "The rule '{title}' is not tried {whom} for {pause_secs} s: {}. It is tried again by itself.",
        suspension.reason
    );
    let advice = "Look at what this host sends: whoever floods a rule with events that nearly match \
                  it may want it out of the way. If the events are ordinary ones, the rule has to \
                  become cheaper.";
    Alert {
        occurrence_id: Uuid::new_v4(),
        agent_id: AgentId::new(Uuid::from_u128(suspension.scope.0)),
        fingerprint: fingerprint(RULE_ID, &format!("{breadth} {}", rule.id)),
        rule_id: RULE_ID.to_owned(),
        title: "A rule is suspended".to_owned(),
        message,
        alert_type: "security".to_owned(),
        severity: 3,
        risk: 50,
        evidence: json!([]),
        explanation: json!({
            "rule": { "id": printable(&rule.id, MAX_NAME), "title": title },
            "suspended_for": breadth, "pause_secs": pause_secs, "advice": advice,
        }),
        occurred_at: Timestamp::now(),
        count: 1,
    }
}
