//! Stored answers of an oracle: events and which rules match them, as pySigma over SQLite says.
//! It never asks the oracle; `cargo x judge` does, and `judges/oracle --cut` makes these files anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hidps_rules::{Engine, Limits, LogSource, RuleFile, RuleSet, Scope};
use serde_json::Value;

/// Pairs of a rule's id and the number of an event.
type Pairs = BTreeSet<(String, usize)>;

/// One stored case.
fn read_case(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    let text = fs::read_to_string(path).expect("the case is readable");
    serde_json::from_str(&text).expect("the case is JSON")
}

/// The items of a list.
fn list<'c>(case: &'c Value, name: &str) -> &'c [Value] {
    case[name].as_array().expect("the case has this list")
}

/// What the oracle says.
fn expected(case: &Value) -> Pairs {
    let matches = case["matches"].as_object().expect("the case has answers");
    let pairs = matches.iter().flat_map(|(id, events)| {
        let events = events.as_array().expect("answers are lists");
        let number = |event: &Value| usize::try_from(event.as_u64()?).ok();
        events
            .iter()
            .filter_map(number)
            .map(|event| (id.clone(), event))
    });
    pairs.collect()
}

/// What the engine says.
fn found(case: &Value) -> Pairs {
    let files: Vec<RuleFile<'_>> = list(case, "rules")
        .iter()
        .map(|rule| RuleFile {
            name: rule["name"].as_str().expect("a rule has a name"),
            text: rule["text"].as_str().expect("a rule has a text"),
        })
        .collect();
    let rules = RuleSet::compile(&files).expect("stored rules compile");
    let mut engine = Engine::new(rules, Limits::default());
    let mut pairs = Pairs::new();
    for (number, event) in list(case, "events").iter().enumerate() {
        let mut fields = event["fields"].clone();
        if fields.get("message").is_none() {
            fields["message"] = event["message"].clone();
        }
        let source = &event["source"];
        let logsource = LogSource {
            category: source["category"].as_str(),
            product: source["product"].as_str(),
            service: source["service"].as_str(),
            also: &[],
        };
        let now_ms = event["at"].as_i64().unwrap_or(0) * 1000;
        engine
            .observe_json(
                Scope(1),
                logsource,
                &fields.to_string(),
                now_ms,
                &mut |one| {
                    pairs.insert((one.rule.id.clone(), number));
                },
            )
            .expect("stored events are objects");
    }
    pairs
}

/// Compares a stored case and names what differs.
fn check(name: &str) {
    let case = read_case(name);
    let (found, expected) = (found(&case), expected(&case));

    let extra: Vec<_> = found.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&found).collect();

    assert!(
        expected.len() >= 30,
        "{name} has only {} pairs",
        expected.len()
    );
    assert_eq!((extra, missing), (Vec::new(), Vec::new()), "{name}");
}

#[test]
fn rules_of_ours_match_what_the_oracle_says() {
    check("own");
}

#[test]
fn every_modifier_and_condition_matches_what_the_oracle_says() {
    check("generated");
}

#[test]
fn correlations_fire_when_the_oracle_says() {
    check("stream_counts_0");
    check("stream_values_0");
    check("stream_names_0");
}
