//! The accused: our own engine over the rules and events of a case.
//! It never looks at what a judge says.

use hidps_rules::{Engine, Event, Limits, LogSource, RuleError, RuleFile, RuleSet, Scope, Value};

use crate::case::{Case, CaseEvent, Kind, Pairs};

/// Pairs of rules and events that match, by our engine.
///
/// # Errors
/// The refusals of rules.
pub fn judge(case: &Case) -> Result<Pairs, Vec<RuleError>> {
    let files: Vec<RuleFile<'_>> = case
        .rules
        .iter()
        .map(|rule| RuleFile {
            name: &rule.name,
            text: &rule.text,
        })
        .collect();
    let mut engine = Engine::new(RuleSet::compile(&files)?, Limits::default());
    let mut pairs = Pairs::new();
    for (number, event) in case.events.iter().enumerate() {
        let now_ms = match case.kind {
            Kind::Events => 0,
            Kind::Stream => event.at * 1000,
        };
        observe(&mut engine, event, now_ms, &mut |id| {
            pairs.insert((id.to_owned(), number));
        });
    }
    Ok(pairs)
}

/// Hands one event to an engine.
fn observe(engine: &mut Engine, event: &CaseEvent, now_ms: i64, on_match: &mut dyn FnMut(&str)) {
    let fields: Vec<(&str, Value<'_>)> = event
        .fields
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), read_value(value)?)))
        .collect();
    let logsource = LogSource {
        category: event.source.category.as_deref(),
        product: event.source.product.as_deref(),
        service: event.source.service.as_deref(),
        also: &[],
    };
    let event = Event {
        logsource,
        message: &event.message,
        fields: &fields,
    };
    engine.observe(Scope(1), &event, now_ms, &mut |found| {
        on_match(&found.rule.id)
    });
}

/// A JSON value in the engine's form; null is no value.
fn read_value(value: &serde_json::Value) -> Option<Value<'_>> {
    match value {
        serde_json::Value::String(text) => Some(Value::Str(text)),
        serde_json::Value::Bool(flag) => Some(Value::Bool(*flag)),
        serde_json::Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64()?),
        }),
        _ => None,
    }
}
