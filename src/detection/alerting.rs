//! Matches to alerts: severity, fingerprint and explanation.
//! It never copies an event; what it quotes is an excerpt, and only if the rule allows it.

use hidps_rules::{Level, Match, RuleInfo};
use hidps_wire::AgentId;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::detection::excerpt::{excerpt, excerpt_of, is_secret};
use crate::model::Alert;

/// The severity of a level, 1 to 4; none for levels that only feed other rules.
#[must_use]
pub(super) const fn severity(level: Level) -> Option<u8> {
    match level {
        Level::Informational | Level::Low => None,
        Level::Medium => Some(2),
        Level::High => Some(3),
        Level::Critical => Some(4),
    }
}

/// How bad a match is, and how much it says against its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    /// How bad it is.
    pub(super) level: Level,
    /// 0 to 100.
    pub(super) risk: u8,
}

impl Weight {
    /// The rule's own weight, or that of another level. A risk that the rule states by itself stays:
    /// it was not taken from the level.
    pub(super) fn of(rule: &RuleInfo, level: Option<Level>) -> Self {
        let level = level.unwrap_or(rule.level);
        let risk = match rule.risk == rule.level.risk() {
            true => level.risk(),
            false => rule.risk,
        };
        Self { level, risk }
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
        weight: Weight,
    ) -> Option<Self> {
        let rule = found.rule;
        let severity = severity(weight.level)?;
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
            risk: weight.risk,
            evidence,
            explanation: explain(found, rule_set, weight.level),
            occurred_at: Timestamp::now(),
            count: 1,
        };
        Some(Self { alert })
    }

    /// The alert, for one occurrence.
    pub(super) fn into_alert(self) -> Alert {
        self.alert
    }
}

/// What tells alerts apart: a rule and what it matched for.
pub(super) fn fingerprint(rule_id: &str, group_key: &str) -> String {
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

/// Fields and values that a rule allows to be quoted.
fn quote<'a>(
    rule: &RuleInfo,
    values: impl Iterator<Item = (&'a String, &'a String)>,
) -> Vec<(String, String)> {
    let quoted = |(field, value): (&String, &String)| (excerpt(field), excerpt_of(field, value));
    if rule.evidence {
        values.map(quoted).collect()
    } else {
        Vec::new()
    }
}

/// The key of a group, which is made of the values of its fields.
fn quote_group(found: &Match<'_>) -> String {
    let of_window = found.window.iter().flat_map(|window| &window.group);
    let mut fields = of_window
        .map(|(field, _)| field)
        .chain(&found.rule.group_by);
    match fields.any(|field| is_secret(field)) {
        true => "***".to_owned(),
        false => excerpt(&found.group_key),
    }
}

/// A time of a window; none if it is no time.
fn instant(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

fn describe(found: &Match<'_>) -> String {
    let rule = found.rule;
    let text = rule.description.as_ref().unwrap_or(&rule.title);
    let list = |values: Vec<(String, String)>| -> Vec<String> {
        values
            .into_iter()
            .map(|(field, value)| format!("{field} {value}"))
            .collect()
    };
    let details = match &found.window {
        Some(window) => {
            let number = window
                .value
                .map_or_else(|| window.count.to_string(), |value| value.to_string());
            let count = format!("{number} within {} s", window.timespan_secs);
            let group = window.group.iter().map(|(field, value)| (field, value));
            [vec![count], list(quote(rule, group))].concat()
        }
        None => list(quote(rule, found.matched.iter())),
    };
    let details = [details, list_partly_read(found)].concat();
    if details.is_empty() {
        text.clone()
    } else {
        format!("{text} ({})", details.join(", "))
    }
}

/// Says of which fields values were too long to be read whole.
fn list_partly_read(found: &Match<'_>) -> Vec<String> {
    let fields = found.partly_read.iter().filter(|_| found.rule.evidence);
    fields
        .map(|field| format!("{} read only in part", excerpt(field)))
        .collect()
}

fn explain(found: &Match<'_>, rule_set: &str, level: Level) -> Value {
    let rule = found.rule;
    let object = |values: Vec<(String, String)>| -> Map<String, Value> {
        values
            .into_iter()
            .map(|(field, value)| (field, Value::String(value)))
            .collect()
    };
    let window = found.window.as_ref().map(|window| {
        let group = window.group.iter().map(|(field, value)| (field, value));
        json!({
            "count": window.count, "value": window.value, "timespan_secs": window.timespan_secs,
            "group": object(quote(rule, group)), "distinct": window.distinct,
            "from": instant(window.first_ms), "to": instant(window.last_ms),
        })
    });
    json!({
        "rule": { "id": rule.id, "title": rule.title, "author": rule.author, "tags": rule.tags },
        "level": level.as_str(),
        "matched": object(quote(rule, found.matched.iter())), "window": window,
        "partly_read": found.partly_read.iter().map(|field| excerpt(field)).collect::<Vec<_>>(),
        "advice": rule.advice, "false_positives": rule.falsepositives, "rule_set": rule_set,
        "group_key": rule.evidence.then(|| quote_group(found)),
    })
}

#[cfg(test)]
mod tests {
    use hidps_rules::{Engine, Event, Limits, LogSource, RuleFile, RuleSet, Scope};

    use super::*;

    /// The weight of a high rule with this attribute, at this level.
    fn weight(own: &str, level: Option<Level>) -> Weight {
        let text = format!(
            "title: T\nid: r\nlogsource: {{product: linux}}\n\
             detection: {{s: {{a: b}}, condition: s}}\nlevel: high\n{own}"
        );
        let file = RuleFile {
            name: "r.yml",
            text: &text,
        };
        let set = RuleSet::compile(&[file]).expect("it compiles");
        Weight::of(set.rule("r").expect("it is there"), level)
    }

    #[test]
    fn another_level_brings_its_risk_unless_the_rule_states_its_own() {
        let (level, risk) = (Level::Critical, 90);
        assert_eq!(weight("", Some(level)), Weight { level, risk });
        let stated = "hidps: {risk: 33}\n";
        assert_eq!(weight(stated, Some(level)).risk, 33);
        assert_eq!(weight("", None).risk, 70);
    }

    #[test]
    fn an_alert_says_what_was_read_only_in_part() {
        let text = "title: T\nid: r\nlogsource: {product: linux}\n\
                    detection: {s: {line|re: '^x+y'}, condition: s}\nlevel: high\n";
        let file = RuleFile {
            name: "r.yml",
            text,
        };
        let set = RuleSet::compile(&[file]).expect("it compiles");
        let mut engine = Engine::new(set, Limits::default());
        let mut told = |line: &str| {
            let event = Event {
                logsource: LogSource {
                    product: Some("linux"),
                    ..LogSource::default()
                },
                message: "",
                fields: &[("line", hidps_rules::Value::Str(line))],
            };
            let mut told = Vec::new();
            engine.observe(Scope(1), &event, 0, &mut |found| {
                let why = explain(&found, "", Level::High);
                told.push((why["partly_read"].clone(), describe(&found)));
            });
            told.pop().expect("it matches")
        };

        let (short, long) = (told("xy"), told(&format!("xy{}", "z".repeat(40_000))));

        assert_eq!(short.0, json!([]));
        assert!(!short.1.contains("in part"), "{}", short.1);
        assert_eq!(long.0, json!(["line"]));
        assert!(long.1.contains("line read only in part"), "{}", long.1);
    }
}
