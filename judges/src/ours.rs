//! The accused: our own engine over the rules and events of a case, by both its entrances.
//! It never looks at what a judge says.

use hidps_rules::{
    Engine, Event, Limits, LogSource, Options, Pipeline, RuleFile, RuleSet, Scope, Value,
};

use crate::case::{Case, CaseEvent, Kind, Pairs};

/// Pairs of rules and events that match, by our engine.
///
/// # Errors
/// The refusals of rules, or that events in parts and events as text are judged differently.
pub fn judge(case: &Case) -> Result<Pairs, String> {
    let as_text = run(case, &mut observe_text)?;
    if case.kind == Kind::Documents {
        return Ok(as_text);
    }
    let in_parts = run(case, &mut observe_parts)?;
    match as_text.symmetric_difference(&in_parts).next() {
        None => Ok(in_parts),
        Some((id, event)) => Err(format!(
            "{}: {} matches event {event} by one entrance only",
            case.name,
            case.name_of(id)
        )),
    }
}

/// Hands one event to an engine and tells what matches.
type Observe<'o> = &'o mut dyn FnMut(&mut Engine, &CaseEvent, i64, &mut dyn FnMut(&str));

/// Runs all events through an engine of their own.
fn run(case: &Case, observe: Observe<'_>) -> Result<Pairs, String> {
    let files: Vec<RuleFile<'_>> = case
        .rules
        .iter()
        .map(|rule| RuleFile {
            name: &rule.name,
            text: &rule.text,
        })
        .collect();
    let pipelines = case
        .pipelines
        .iter()
        .map(|text| Pipeline::parse("pipeline.yml", text))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: our engine refuses {error}", case.name))?;
    let options = Options {
        pipelines,
        ..Options::default()
    };
    let rules = RuleSet::compile_with(&files, &options).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        format!(
            "{}: our engine refuses\n  {}",
            case.name,
            lines.join("\n  ")
        )
    })?;
    let mut engine = Engine::new(rules, Limits::default());
    let mut pairs = Pairs::new();
    for (number, event) in case.events.iter().enumerate() {
        let now_ms = if case.is_stream() { event.at * 1000 } else { 0 };
        observe(&mut engine, event, now_ms, &mut |id| {
            pairs.insert((id.to_owned(), number));
        });
    }
    Ok(pairs)
}

/// Hands over an event as its parts.
fn observe_parts(
    engine: &mut Engine,
    event: &CaseEvent,
    now_ms: i64,
    on_match: &mut dyn FnMut(&str),
) {
    let fields: Vec<(&str, Value<'_>)> = event
        .fields
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), read_value(value)?)))
        .collect();
    let event = Event {
        logsource: source_of(event),
        message: &event.message,
        fields: &fields,
    };
    engine.observe(Scope(1), &event, now_ms, &mut |found| {
        on_match(&found.rule.id);
    });
}

/// Hands over an event as JSON text.
fn observe_text(
    engine: &mut Engine,
    event: &CaseEvent,
    now_ms: i64,
    on_match: &mut dyn FnMut(&str),
) {
    let text = event.flat().to_string();
    engine
        .observe_json(Scope(1), source_of(event), &text, now_ms, &mut |found| {
            on_match(&found.rule.id);
        })
        .expect("what was JSON is JSON");
}

/// The log source of an event in the engine's form.
fn source_of(event: &CaseEvent) -> LogSource<'_> {
    LogSource {
        category: event.source.category.as_deref(),
        product: event.source.product.as_deref(),
        service: event.source.service.as_deref(),
        also: &[],
    }
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
