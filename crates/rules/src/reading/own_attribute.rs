//! Our own attribute of a rule, `hidps`: what its alerts say, and when they are raised.
//! It never changes what matches, and never ignores a key it does not know.

use crate::fault::{Fault, Location};
use crate::reading::metadata::{RuleInfo, read_text, read_texts};
use crate::reading::yaml::{Entry, Node};
use crate::values::value::read_flag;

/// Longest `alert_type`, which ends up in a column that people filter by.
const MAX_ALERT_TYPE_CHARS: usize = 40;

/// Most a match may say against a host.
const MAX_RISK: u8 = 100;

/// Reads our own attribute.
pub(crate) fn read_own_attribute(own: &Node, info: &mut RuleInfo) -> Result<(), Fault> {
    let Some(entries) = own.entries() else {
        return Err(Fault::new(
            own.at,
            "'hidps' is not a map",
            "write 'hidps: {alert_type: …}'",
        ));
    };
    for Entry { at, key, value } in entries {
        match key.as_str() {
            "alert_type" => info.alert_type = Some(read_alert_type(own, value.at)?),
            "advice" => info.advice = read_text(own, "advice")?,
            "evidence" => info.evidence = read_flag(value)?,
            "group-by" => info.group_by = read_texts(own, "group-by")?,
            "shadow" => info.shadow = read_flag(value)?,
            "risk" => info.risk = read_risk(value)?,
            "rearm" => info.rearm = Some(read_rule_name(own, value.at)?),
            _ => {
                return Err(Fault::new(
                    *at,
                    format!("'hidps' has no attribute '{key}'"),
                    "use alert_type, advice, evidence, group-by, shadow, risk or rearm",
                ));
            }
        }
    }
    Ok(())
}

/// Reads the kind of alert: one lower-case word.
fn read_alert_type(own: &Node, at: Location) -> Result<String, Fault> {
    let is_word = |text: &String| {
        !text.is_empty()
            && text.len() <= MAX_ALERT_TYPE_CHARS
            && text
                .chars()
                .all(|character| character.is_ascii_lowercase() || character == '_')
    };
    read_text(own, "alert_type")?
        .filter(is_word)
        .ok_or_else(|| {
            Fault::new(
                at,
                "'alert_type' is one lower-case word",
                "write one such as security, integrity, file_monitoring, network or system",
            )
        })
}

/// Reads how much a match says against a host.
fn read_risk(node: &Node) -> Result<u8, Fault> {
    node.text()
        .and_then(|text| text.parse().ok())
        .filter(|risk| *risk <= MAX_RISK)
        .ok_or_else(|| {
            Fault::new(
                node.at,
                "'risk' is a whole number from 0 to 100",
                "write one such as 70, or leave it out to take the level's",
            )
        })
}

/// Reads the name of the rule that arms this one again.
fn read_rule_name(own: &Node, at: Location) -> Result<String, Fault> {
    read_text(own, "rearm")?
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            Fault::new(
                at,
                "'rearm' names no rule",
                "write the id or name of a rule with the same group",
            )
        })
}
