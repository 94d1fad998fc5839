//! Cases of a test file: reads them, with the place of every fault.
//! It never runs them.

use std::collections::BTreeMap;

use crate::event::{Event, LogSource, Value};
use crate::fault::{Fault, Location};
use crate::reading::metadata::{read_text, read_texts};
use crate::reading::timespan::parse_timespan;
use crate::reading::yaml::{Entry, Kind, Node, parse_documents};
use crate::values::number::Number;
use crate::values::value::{Scalar, read_scalar};

/// Most events of one case after repetition: a slow attack over a day has fewer.
const MAX_CASE_EVENTS: usize = 100_000;

/// One stream of events and what must come of it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) rule: Option<String>,
    pub(super) events: Vec<TestEvent>,
    pub(super) expected: usize,
}

/// One event, perhaps repeated.
#[derive(Clone, Debug)]
pub(super) struct TestEvent {
    pub(super) at_ms: i64,
    pub(super) every_ms: i64,
    pub(super) times: usize,
    pub(super) source: [Option<String>; 3],
    /// The further services it answers to.
    pub(super) also: Vec<String>,
    pub(super) message: String,
    pub(super) fields: BTreeMap<String, OwnedValue>,
}

/// The value of a test event's field.
#[derive(Clone, Debug)]
pub(super) enum OwnedValue {
    Text(String),
    Number(Number),
    Flag(bool),
}

impl OwnedValue {
    /// The value as events have it.
    pub(super) fn borrow(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Str(text),
            Self::Number(Number::Int(whole)) => Value::Int(*whole),
            Self::Number(Number::Float(fraction)) => Value::Float(*fraction),
            Self::Flag(flag) => Value::Bool(*flag),
        }
    }
}

/// Reads all cases of a text.
pub(super) fn parse_cases(text: &str) -> Result<Vec<Case>, Fault> {
    let documents = parse_documents(text)?;
    let wrong = |at| Fault::new(at, "a test file is one map with cases", "write 'cases:'");
    let [document] = documents.as_slice() else {
        return Err(wrong(Location::START));
    };
    check_keys(document, &["logsource", "fields", "cases"])?;
    let Some(Kind::List(cases)) = document.get("cases").map(|cases| &cases.kind) else {
        return Err(wrong(document.at));
    };
    let common = TestEvent {
        at_ms: 0,
        every_ms: 0,
        times: 1,
        source: [None, None, None],
        also: Vec::new(),
        message: String::new(),
        fields: BTreeMap::new(),
    };
    let common = parse_shared(document, common)?;
    cases.iter().map(|case| parse_case(case, &common)).collect()
}

/// Reads one case.
fn parse_case(node: &Node, common: &TestEvent) -> Result<Case, Fault> {
    check_keys(node, &["name", "rule", "events", "match"])?;
    let name = read_text(node, "name")?
        .ok_or_else(|| Fault::new(node.at, "the case has no name", "add 'name: what it shows'"))?;
    let Some(Kind::List(items)) = node.get("events").map(|events| &events.kind) else {
        return Err(Fault::new(
            node.at,
            "the case has no events",
            "add a list 'events:'",
        ));
    };
    let mut events: Vec<TestEvent> = Vec::new();
    let mut n_events = 0_usize;
    for item in items {
        let before_ms = events.last().map_or(0, TestEvent::end_ms);
        let event = parse_event(item, common, before_ms)?;
        n_events = n_events.saturating_add(event.times);
        if n_events > MAX_CASE_EVENTS {
            return Err(Fault::new(
                item.at,
                format!("the case has more than {MAX_CASE_EVENTS} events"),
                "repeat fewer times",
            ));
        }
        events.push(event);
    }
    Ok(Case {
        name,
        rule: read_text(node, "rule")?,
        events,
        expected: parse_expected(node)?,
    })
}

/// Reads how often the rule must match.
fn parse_expected(node: &Node) -> Result<usize, Fault> {
    let wrong = |at| {
        Fault::new(
            at,
            "the case does not say how often the rule matches",
            "write 'match: 1', another number above zero, or 'match: none'",
        )
    };
    let expected = node.get("match").ok_or_else(|| wrong(node.at))?;
    match expected.text() {
        Some("none") => Ok(0),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| wrong(expected.at)),
        None => Err(wrong(expected.at)),
    }
}

/// Reads one event.
fn parse_event(node: &Node, common: &TestEvent, before_ms: i64) -> Result<TestEvent, Fault> {
    check_keys(
        node,
        &["at", "every", "times", "logsource", "message", "fields"],
    )?;
    let mut event = parse_shared(node, common.clone())?;
    event.at_ms = read_time(node, "at")?.unwrap_or(before_ms);
    event.every_ms = read_time(node, "every")?.unwrap_or(0);
    event.message = read_text(node, "message")?.unwrap_or_default();
    if let Some(times) = node.get("times") {
        let number = times
            .text()
            .and_then(|text| text.parse().ok())
            .filter(|times| *times > 0);
        event.times = number.ok_or_else(|| {
            Fault::new(
                times.at,
                "'times' is not a number above zero",
                "write 'times: 5'",
            )
        })?;
    }
    Ok(event)
}

impl TestEvent {
    /// Hands out each of its repetitions, with the time since the beginning of the case.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(&Event<'_>, i64)) {
        let fields: Vec<(&str, Value<'_>)> = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.borrow()))
            .collect();
        let [category, product, service] = self.source.each_ref().map(Option::as_deref);
        let also: Vec<&str> = self.also.iter().map(String::as_str).collect();
        let event = Event {
            logsource: LogSource {
                category,
                product,
                service,
                also: &also,
            },
            message: &self.message,
            fields: &fields,
        };
        let mut at_ms = self.at_ms;
        for _ in 0..self.times {
            visit(&event, at_ms);
            at_ms = at_ms.saturating_add(self.every_ms);
        }
    }

    /// The time of its last repetition.
    fn end_ms(&self) -> i64 {
        let gaps = i64::try_from(self.times - 1).unwrap_or(i64::MAX);
        self.at_ms
            .saturating_add(self.every_ms.saturating_mul(gaps))
    }
}

/// Reads what a file may say once for all its events.
fn parse_shared(node: &Node, mut event: TestEvent) -> Result<TestEvent, Fault> {
    if let Some(source) = node.get("logsource") {
        check_keys(source, &["category", "product", "service", "also"])?;
        let read = |key| read_text(source, key);
        event.source = [read("category")?, read("product")?, read("service")?];
        event.also = read_texts(source, "also")?;
    }
    let Some(fields) = node.get("fields") else {
        return Ok(event);
    };
    let Some(entries) = fields.entries() else {
        return Err(Fault::new(
            fields.at,
            "'fields' is not a map",
            "write 'fields: {a: b}'",
        ));
    };
    for Entry { key, value, .. } in entries {
        let value = match read_scalar(value)? {
            Scalar::Null => {
                event.fields.remove(key);
                continue;
            }
            Scalar::Flag(flag) => OwnedValue::Flag(flag),
            Scalar::Number(number, _) => OwnedValue::Number(number),
            Scalar::Text(text) => OwnedValue::Text(text.to_owned()),
        };
        event.fields.insert(key.clone(), value);
    }
    Ok(event)
}

/// Reads a time since the beginning, or a distance between events.
fn read_time(node: &Node, key: &str) -> Result<Option<i64>, Fault> {
    let Some(text) = read_text(node, key)? else {
        return Ok(None);
    };
    let ms = match text.strip_suffix("ms") {
        Some(ms) => ms.parse().ok().filter(|ms| *ms >= 0),
        None => parse_timespan(&text).and_then(|secs| secs.checked_mul(1000)),
    };
    let at = node.get(key).map_or(node.at, |node| node.at);
    ms.map(Some).ok_or_else(|| {
        Fault::new(
            at,
            format!("'{text}' is not a time"),
            "write a number and ms, s, m, h or d",
        )
    })
}

/// Refuses keys that would otherwise be ignored.
fn check_keys(node: &Node, known: &[&str]) -> Result<(), Fault> {
    let Some(entries) = node.entries() else {
        return Err(Fault::new(
            node.at,
            "a map is needed here",
            "write 'key: value'",
        ));
    };
    match entries
        .iter()
        .find(|entry| !known.contains(&entry.key.as_str()))
    {
        None => Ok(()),
        Some(entry) => Err(Fault::new(
            entry.at,
            format!("'{}' is not known here", entry.key),
            format!("use {}", known.join(", ")),
        )),
    }
}
