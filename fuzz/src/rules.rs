//! What people write for detection: rules, conditions, pipelines, placeholders, and events for them.
//! It never judges a rule: only that any text is taken or refused.

use std::fmt;
use std::sync::LazyLock;

use hidps_rules::tests::TestFile;
use hidps_rules::{
    Engine, Event, Limits, LogSource, Options, Pipeline, RuleFile, RuleSet, Scope, Value, lint,
    parse_placeholders,
};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Rules and the tests beside them: refused with a place, or able to look at any event.
pub fn rule_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // A first line of dashes parts the event's message from the rules.
    let (message, text) = text.split_once("\n---\n").unwrap_or(("", text));
    drop(TestFile::parse("fuzz.test.yml", text));
    let file = RuleFile {
        name: "fuzz.yml",
        text,
    };
    drop(format!("{:?}", lint(&[file])));
    let rules = match RuleSet::compile(&[file]) {
        Ok(rules) => rules,
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal says why");
            return;
        }
    };
    let mut engine = Engine::new(rules, Limits::default());
    for (service, at) in [
        ("sshd", 0),
        ("sudo", 1_000),
        ("sshd", -5),
        ("sshd", i64::MAX),
    ] {
        let logsource = LogSource {
            category: Some("file_event"),
            product: Some("linux"),
            service: Some(service),
            also: &[],
        };
        let fields = [
            ("outcome", Value::Str(message)),
            ("src_port", Value::Int(at)),
        ];
        let event = Event {
            logsource,
            message,
            fields: &fields,
        };
        engine.observe(Scope(1), &event, at, &mut |found| {
            drop(format!("{found:?}"))
        });
    }
}

/// Conditions of rules: refused with a place, or true where their opposite is false.
pub fn rule_condition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let quoted = |condition: &str| condition.replace('\'', "''");
    let rule = |id: &str, condition: &str| {
        format!(
            "title: {id}\nid: {id}\nlogsource: {{product: linux}}\ndetection:\n  \
             sel_a: {{a: '1'}}\n  sel_b: {{b: '1'}}\n  filter: {{c: '1'}}\n  _hidden: {{d: '1'}}\n  \
             condition: '{}'\n",
            quoted(condition)
        )
    };
    // YAML folds line ends, so that the second text would not be the first in parentheses.
    if text.chars().any(char::is_control) {
        return;
    }
    let (one, other) = (rule("one", text), rule("other", &format!("not ({text})")));
    let files = [
        RuleFile {
            name: "one.yml",
            text: &one,
        },
        RuleFile {
            name: "other.yml",
            text: &other,
        },
    ];
    let Ok(rules) = RuleSet::compile(&files) else {
        return;
    };
    let mut engine = Engine::new(rules, Limits::default());
    for bits in 0..16_u8 {
        let names = ["a", "b", "c", "d"].iter().enumerate();
        let fields: Vec<(&str, Value<'_>)> = names
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| (*name, Value::Str("1")))
            .collect();
        let mut found = Vec::new();
        let event = linux_event("", &fields);
        engine.observe(Scope(1), &event, 0, &mut |one| {
            found.push(one.rule.id.clone())
        });
        assert_eq!(found.len(), 1, "{text:?} or its opposite holds: {found:?}");
    }
}

/// Events as JSON text: refused, or judged as the same event in parts.
pub fn rule_event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let source = linux_event("", &[]).logsource;
    let mut engine = Engine::new(FOR_EVENTS.clone(), Limits::default());
    let mut as_text = Vec::new();
    let outcome = engine.observe_json(Scope(1), source, text, 0, &mut |one| {
        as_text.push((one.rule.id.clone(), one.group_key.clone()));
    });
    let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
    if outcome.is_err() {
        assert!(as_text.is_empty(), "what is refused matches nothing");
        return;
    }
    let Ok(read) = read else { return };
    let Some(fields) = read_flat(&read) else {
        return;
    };
    let mut in_parts = Vec::new();
    let message = read.get("message").and_then(serde_json::Value::as_str);
    let event = linux_event(message.unwrap_or(""), &fields);
    let mut engine = Engine::new(FOR_EVENTS.clone(), Limits::default());
    engine.observe(Scope(1), &event, 0, &mut |one| {
        in_parts.push((one.rule.id.clone(), one.group_key.clone()));
    });
    let entries = serde_json::from_str::<Entries>(text).map(|entries| entries.0);
    // A name that stands twice is two values to us, and the last of them to the reader here.
    if entries.is_ok_and(|entries| entries == read.len()) {
        assert_eq!(as_text, in_parts, "both entrances judge alike");
    }
}

/// How many names an object has, equal ones counted each time.
struct Entries(usize);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Counter)
    }
}

/// Counts the names of an object.
struct Counter;

impl<'de> Visitor<'de> for Counter {
    type Value = Entries;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = 0;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            entries += 1;
        }
        Ok(Entries(entries))
    }
}

/// The rules for events, compiled once.
static FOR_EVENTS: LazyLock<RuleSet> = LazyLock::new(|| {
    let file = RuleFile {
        name: "fuzz.yml",
        text: EVENT_RULES,
    };
    RuleSet::compile(&[file]).expect("the rules of this target compile")
});

/// Rules of every kind of test, for events.
const EVENT_RULES: &str = "\
title: A\nid: text\nlogsource: {product: linux}\ndetection: {s: {Image|endswith: [/nc, /sh]}, condition: s}\n---\n\
title: B\nid: number\nlogsource: {product: linux}\ndetection: {s: {Port: 22}, f: {User: null}, condition: s and not f}\n---\n\
title: C\nid: keyword\nlogsource: {product: linux}\ndetection: {k: [failed, 'ro*t'], condition: k}\n---\n\
title: D\nid: regex\nlogsource: {product: linux}\ndetection: {s: {CommandLine|re: 'a.*b'}, condition: s}\n---\n\
title: E\nid: range\nlogsource: {product: linux}\ndetection: {s: {Count|gte: 3, Count|lt: 9.5}, condition: s}\n---\n\
title: F\nid: network\nlogsource: {product: linux}\ndetection: {s: {src_ip|cidr: 10.0.0.0/8}, condition: s}\n---\n\
title: G\nid: field\nlogsource: {product: linux}\ndetection: {s: {Image|fieldref|endswith: User}, condition: s}\n---\n\
title: H\nid: flag\nlogsource: {product: linux}\ndetection: {s: {Initiated: true}, t: {a.b|contains: x}, condition: s or t}\n---\n\
title: I\nid: many\ncorrelation: {type: event_count, rules: [text], group-by: [User], timespan: 1m, condition: {gte: 1}, generate: true}\n";

/// The fields of an object without lists and objects in it.
fn read_flat(read: &serde_json::Map<String, serde_json::Value>) -> Option<Vec<(&str, Value<'_>)>> {
    let mut fields = Vec::new();
    for (name, value) in read {
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Bool(flag) => Value::Bool(*flag),
            serde_json::Value::String(text) => Value::Str(text),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64()?),
            },
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => return None,
        };
        fields.push((name.as_str(), value));
    }
    Some(fields)
}

/// An event of some program of Linux.
fn linux_event<'e>(message: &'e str, fields: &'e [(&'e str, Value<'e>)]) -> Event<'e> {
    Event {
        logsource: LogSource {
            category: None,
            product: Some("linux"),
            service: None,
            also: &[],
        },
        message,
        fields,
    }
}

/// Placeholders: refused with a place, or able to stand in any rule.
pub fn rule_placeholders(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(placeholders) = parse_placeholders("fuzz.yml", text) else {
        return;
    };
    let names = placeholders.keys().take(8);
    let values: Vec<String> = names
        .map(|name| format!("{:?}", format!("%{name}%")))
        .collect();
    let rule = format!(
        "title: Fuzz\nid: fuzz\nlogsource: {{product: linux}}\ndetection:\n  \
         s: {{a|expand: [{}]}}\n  condition: s\n",
        values.join(", ")
    );
    let options = Options {
        placeholders,
        ..Options::default()
    };
    let file = RuleFile {
        name: "rules.yml",
        text: &rule,
    };
    let _ = RuleSet::compile_with(&[file], &options);
}

/// Pipelines: refused with a place, or able to be applied to any rule.
pub fn rule_pipeline(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(pipeline) = Pipeline::parse("fuzz.yml", text) else {
        return;
    };
    let options = Options {
        pipelines: vec![pipeline],
        ..Options::default()
    };
    let file = RuleFile {
        name: "rules.yml",
        text: EVENT_RULES,
    };
    let compile = || RuleSet::compile_with(&[file], &options);
    match (compile(), compile()) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.hash(), other.hash(), "the same pipeline does the same");
            let mut engine = Engine::new(one, Limits::default());
            let fields = [("Image", Value::Str("/bin/sh")), ("Port", Value::Int(22))];
            let event = linux_event("failed", &fields);
            engine.observe(Scope(1), &event, 0, &mut |found| drop(format!("{found:?}")));
        }
        (Err(errors), Err(again)) => {
            assert!(!errors.is_empty(), "a refusal says why");
            assert_eq!(errors, again, "the same pipeline is refused alike");
        }
        _ => panic!("the same pipeline is taken once and refused once"),
    }
}
