//! What an alert says of itself: everything that is asked of it, no secret, and never too much.

use serde_json::Value;

use super::*;

/// Most bytes the database takes for an explanation.
const ROOM: usize = 65_536;

/// A rule with everything that an alert shows, about what a command line holds.
const COMMAND_RULE: &str = "title: A client was called\nid: 5d5280b1-aa92-4ad7-a69a-552518866401\n\
    author: Somebody\ntags: [attack.credential-access, attack.t1110.001]\nstatus: test\n\
    logsource: {product: linux, category: process_creation}\n\
    detection:\n  s: {CommandLine|contains: mysql}\n  condition: s\nlevel: high\n\
    falsepositives: [A backup]\nhidps: {advice: Ask the owner., group-by: [CommandLine]}\n";

/// The alerts of one command line under a rule.
fn alerts_of(rule: &str, command: &str) -> Vec<Alert> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let proof = "logsource: {product: linux, category: process_creation}\ncases:\n\
        \x20 - {name: it, events: [{fields: {CommandLine: mysql}}], match: 1}\n\
        \x20 - {name: not, events: [{fields: {CommandLine: ls}}], match: none}\n";
    for (name, text) in [("r.yml", rule), ("r.test.yml", proof)] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let rules = load_rules(folder.path()).expect("the rule is right");
    let mut fields = Fields::default();
    assert!(fields.push("CommandLine", command), "one field fits");
    let event = event(EventKind::Process, "exec", command, fields);
    run(&rules, &[batch(vec![event])])
        .1
        .alerts
        .lock()
        .expect("unpoisoned")
        .clone()
}

fn texts_of(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts_of(value, texts)),
        Value::Object(map) => map.values().for_each(|value| texts_of(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[tokio::test]
async fn an_alert_says_which_rule_saw_what() {
    let alerts = alerts_of(COMMAND_RULE, "mysql shop");

    let why = &alerts[0].explanation;
    assert_eq!(why["rule"]["id"], alerts[0].rule_id.as_str());
    assert_eq!(why["rule"]["title"], "A client was called");
    assert_eq!(why["rule"]["author"], "Somebody");
    assert_eq!(why["rule"]["tags"][1], "attack.t1110.001");
    assert_eq!(why["level"], "high");
    assert_eq!(why["matched"]["CommandLine"], "mysql shop");
    assert_eq!(why["group_key"], "CommandLine=\"mysql shop\"");
    assert_eq!(why["rule_set"].as_str().map(str::len), Some(64));
}

#[tokio::test]
async fn a_burst_says_when_it_began_and_how_many_it_was() {
    let burst = batch((0..5).map(|_| failed_login()).collect());

    let (_, recorder) = pipeline_after(&[burst]);

    let why = &recorder.of_rule(BRUTE_FORCE)[0].explanation;
    assert_eq!(why["window"]["count"], 5, "{why}");
    assert_eq!(why["window"]["timespan_secs"], 60);
    assert!(why["window"]["from"].as_str() <= why["window"]["to"].as_str());
    assert!(why["window"]["from"].is_string(), "{why}");
    assert_eq!(why["group_key"], "src_ip=\"192.0.2.7\"");
}

#[tokio::test]
async fn no_text_of_an_alert_holds_a_secret() {
    let alerts = alerts_of(
        COMMAND_RULE,
        "mysql -u root -phunter2 --token hunter2 PASSWORD=hunter2",
    );

    let alert = &alerts[0];
    let mut texts = vec![alert.message.clone(), alert.title.clone()];
    texts_of(&alert.explanation, &mut texts);
    texts_of(&alert.evidence, &mut texts);
    assert!(texts.len() > 8, "{texts:?}");
    for text in texts {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_rule_that_must_not_quote_quotes_nothing() {
    let rule = COMMAND_RULE.replace("hidps: {", "hidps: {evidence: false, ");

    let alerts = alerts_of(&rule, "mysql private");

    let mut texts = vec![alerts[0].message.clone()];
    texts_of(&alerts[0].explanation, &mut texts);
    texts_of(&alerts[0].evidence, &mut texts);
    for text in texts {
        assert!(!text.contains("private"), "{text}");
    }
}

#[tokio::test]
async fn a_huge_or_hostile_value_fits_into_its_row() {
    for filler in ["x", "\u{1}", "\"", "\\", "€", "𝄞"] {
        let command = format!("mysql {}", filler.repeat(8_000 / filler.len()));

        let alerts = alerts_of(COMMAND_RULE, &command);

        let alert = &alerts[0];
        let mut texts = Vec::new();
        texts_of(&alert.explanation, &mut texts);
        assert!(
            texts.iter().all(|text| text.chars().count() <= 300),
            "{texts:?}"
        );
        assert!(alert.explanation.to_string().len() < ROOM / 8);
        assert!(alert.message.chars().count() < 1_000);
        assert!(!alert.explanation.to_string().contains("\\u0001"));
    }
}
