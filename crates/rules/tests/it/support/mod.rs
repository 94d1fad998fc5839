//! What the tests of rules share: one rule, one event, one answer.
//! It never hides what is asserted.

use hidps_rules::{
    Engine, Event, Limits, LogSource, Match, RuleError, RuleFile, RuleSet, Scope, Value,
};

/// The text of a rule with this detection.
pub(crate) fn rule(detection: &str) -> String {
    format!("title: A rule\nid: rule\nlogsource: {{product: linux}}\ndetection:\n{detection}")
}

/// Compiles one text.
pub(crate) fn compile(text: &str) -> Result<RuleSet, Vec<RuleError>> {
    RuleSet::compile(&[RuleFile {
        name: "rule.yml",
        text,
    }])
}

/// An engine with these texts as rules.
pub(crate) fn engine(texts: &[&str]) -> Engine {
    let files: Vec<RuleFile<'_>> = texts
        .iter()
        .map(|text| RuleFile {
            name: "rule.yml",
            text,
        })
        .collect();
    let rules = RuleSet::compile(&files).expect("the rules of this test compile");
    Engine::new(rules, Limits::default())
}

/// The only refusal of a text.
pub(crate) fn refusal(text: &str) -> RuleError {
    let mut errors = compile(text).expect_err("the text is refused");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

/// Hands an event of an unknown program to an engine.
pub(crate) fn observe(
    engine: &mut Engine,
    message: &str,
    fields: &[(&str, Value<'_>)],
    on_match: &mut dyn FnMut(Match<'_>),
) {
    let logsource = LogSource {
        category: None,
        product: Some("linux"),
        service: Some("any"),
        also: &[],
    };
    engine.observe(
        Scope(1),
        &Event {
            logsource,
            message,
            fields,
        },
        0,
        on_match,
    );
}

/// Whether one rule matches an event with these values.
pub(crate) fn matches_values(text: &str, message: &str, fields: &[(&str, Value<'_>)]) -> bool {
    let mut n_matches = 0;
    observe(&mut engine(&[text]), message, fields, &mut |_| {
        n_matches += 1;
    });
    n_matches == 1
}

/// Whether one rule matches an event with these texts.
pub(crate) fn matches(text: &str, message: &str, fields: &[(&str, &str)]) -> bool {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, text)| (*name, Value::Str(text)))
        .collect();
    matches_values(text, message, &fields)
}
