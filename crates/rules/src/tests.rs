//! Tests beside rules: `brute_force.test.yml` proves `brute_force.yml`, read here and run here.
//! It never reads files and never changes a rule set; the caller decides what a failure means.
//!
//! ```yaml
//! logsource: {product: linux, service: sshd}    # of every event that has none of its own
//! fields: {outcome: failure}                    # of every event, unless it says otherwise
//! cases:
//!   - name: five failures within a minute
//!     rule: ssh_brute_force                     # id or name; needed when the file has several
//!     events:
//!       - {at: 0s, fields: {src_ip: 192.0.2.7}}
//!       - {at: 15s, times: 4, every: 15s, fields: {src_ip: 192.0.2.7}}
//!     match: 1                                  # how many matches of the rule, or none
//! ```
//! `at` is the time since the case began, in ms, s, m, h or d, and never goes back by itself: an
//! event without it comes at the time of the one before. Every rule needs a case in which it
//! matches and one in which it does not.

use std::collections::{BTreeMap, BTreeSet};

use crate::correlation::parse_timespan;
use crate::engine::Engine;
use crate::event::{Event, LogSource, Scope, Value};
use crate::fault::{Fault, RuleError};
use crate::limits::Limits;
use crate::metadata::read_text;
use crate::number::Number;
use crate::rule_set::RuleSet;
use crate::value::{Scalar, read_scalar};
use crate::yaml::{Entry, Kind, Node, parse_documents};

/// What a test file's name ends with, in place of the rule file's `.yml`.
pub const TEST_SUFFIX: &str = ".test.yml";

/// The time at which every case begins: 2026-01-01, so that times look like real ones.
const START_MS: i64 = 1_767_225_600_000;

/// Most events of one case after repetition: a slow attack over a day has fewer.
const MAX_CASE_EVENTS: usize = 100_000;

/// The tests of one rule file.
#[derive(Clone, Debug)]
pub struct TestFile {
    name: String,
    cases: Vec<Case>,
}

/// One stream of events and what must come of it.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    rule: Option<String>,
    events: Vec<TestEvent>,
    expected: usize,
}

/// One event, perhaps repeated.
#[derive(Clone, Debug)]
struct TestEvent {
    at_ms: i64,
    every_ms: i64,
    times: usize,
    source: [Option<String>; 3],
    message: String,
    fields: BTreeMap<String, OwnedValue>,
}

/// The value of a test event's field.
#[derive(Clone, Debug)]
enum OwnedValue {
    Text(String),
    Number(Number),
    Flag(bool),
}

/// Why a rule is not proven.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum TestFailure {
    /// A case came out differently.
    #[error("{file}: case '{case}': rule '{rule}' matched {found} times, expected {expected}")]
    Mismatch {
        /// The test file.
        file: String,
        /// The case.
        case: String,
        /// The rule.
        rule: String,
        /// How often it should match.
        expected: usize,
        /// How often it did.
        found: usize,
    },
    /// A case does not say, or says wrongly, which rule it proves.
    #[error("{file}: case '{case}' names no rule of {rule_file}; add 'rule: <id or name>'")]
    UnknownRule {
        /// The test file.
        file: String,
        /// The case.
        case: String,
        /// The rule file it stands beside.
        rule_file: String,
    },
    /// A rule has no case in which it matches, or none in which it does not.
    #[error(
        "{file}: rule '{rule}' has no case in which it {lacking}; add one to its {TEST_SUFFIX}"
    )]
    Unproven {
        /// The rule file.
        file: String,
        /// The rule.
        rule: String,
        /// What is not shown: `matches` or `does not match`.
        lacking: &'static str,
    },
    /// A test file stands beside no rule file.
    #[error("{file}: there is no rule file {rule_file} for these tests")]
    NoRuleFile {
        /// The test file.
        file: String,
        /// The rule file that is missing.
        rule_file: String,
    },
}

impl TestFile {
    /// Reads a test file.
    ///
    /// # Errors
    /// The first fault with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RuleError> {
        let cases = parse_cases(text).map_err(|fault| fault.in_file(name))?;
        Ok(Self {
            name: name.to_owned(),
            cases,
        })
    }

    /// Name of the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many cases it has.
    #[must_use]
    pub fn n_cases(&self) -> usize {
        self.cases.len()
    }

    /// Name of the rule file it proves.
    #[must_use]
    pub fn rule_file(&self) -> String {
        let stem = self.name.strip_suffix(TEST_SUFFIX).unwrap_or(&self.name);
        format!("{stem}.yml")
    }
}

/// Runs tests and answers every failure, rules that no test proves included, in order.
#[must_use]
pub fn run_tests(rules: &RuleSet, files: &[TestFile]) -> Vec<TestFailure> {
    let mut engine = Engine::new(rules.clone(), Limits::default());
    engine.report_joined_rules();
    let mut failures = Vec::new();
    let mut proven = BTreeSet::new();
    let mut scope = Scope(0);
    for file in files {
        if !rules.rules().any(|info| info.file == file.rule_file()) {
            let (file, rule_file) = (file.name.clone(), file.rule_file());
            failures.push(TestFailure::NoRuleFile { file, rule_file });
            continue;
        }
        for case in &file.cases {
            scope.0 += 1;
            match find_rule(rules, file, case) {
                Ok(id) => {
                    proven.insert((id, case.expected > 0));
                    failures.extend(run_case(&mut engine, scope, file, case, id));
                }
                Err(failure) => failures.push(failure),
            }
            engine.forget(scope);
        }
    }
    failures.extend(list_unproven(rules, &proven));
    failures.sort();
    failures
}

/// The rules that lack one side of the proof.
fn list_unproven(rules: &RuleSet, proven: &BTreeSet<(&str, bool)>) -> Vec<TestFailure> {
    let mut failures = Vec::new();
    for info in rules.rules() {
        for (matches, lacking) in [(true, "matches"), (false, "does not match")] {
            if !proven.contains(&(info.id.as_str(), matches)) {
                let (file, rule) = (info.file.clone(), info.id.clone());
                failures.push(TestFailure::Unproven {
                    file,
                    rule,
                    lacking,
                });
            }
        }
    }
    failures
}

/// The rule a case proves.
fn find_rule<'r>(rules: &'r RuleSet, file: &TestFile, case: &Case) -> Result<&'r str, TestFailure> {
    let rule_file = file.rule_file();
    let mut own = rules.rules().filter(|info| info.file == rule_file);
    let found = match &case.rule {
        Some(name) => own.find(|info| info.is_called(name)),
        None => own.next().filter(|_| own.next().is_none()),
    };
    found
        .map(|info| info.id.as_str())
        .ok_or_else(|| TestFailure::UnknownRule {
            file: file.name.clone(),
            case: case.name.clone(),
            rule_file,
        })
}

/// Runs one case in a scope of its own.
fn run_case(
    engine: &mut Engine,
    scope: Scope,
    file: &TestFile,
    case: &Case,
    id: &str,
) -> Option<TestFailure> {
    let mut found = 0;
    for event in &case.events {
        let fields: Vec<(&str, Value<'_>)> = event
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.borrow()))
            .collect();
        let [category, product, service] = event.source.each_ref().map(Option::as_deref);
        let logsource = LogSource {
            category,
            product,
            service,
        };
        let observed = Event {
            logsource,
            message: &event.message,
            fields: &fields,
        };
        let mut now_ms = START_MS + event.at_ms;
        for _ in 0..event.times {
            engine.observe(scope, &observed, now_ms, &mut |seen| {
                found += usize::from(seen.rule.id == id);
            });
            now_ms += event.every_ms;
        }
    }
    (found != case.expected).then(|| TestFailure::Mismatch {
        file: file.name.clone(),
        case: case.name.clone(),
        rule: id.to_owned(),
        expected: case.expected,
        found,
    })
}

impl OwnedValue {
    /// The value as events have it.
    fn borrow(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Str(text),
            Self::Number(Number::Int(whole)) => Value::Int(*whole),
            Self::Number(Number::Float(fraction)) => Value::Float(*fraction),
            Self::Flag(flag) => Value::Bool(*flag),
        }
    }
}

/// Reads all cases of a text.
fn parse_cases(text: &str) -> Result<Vec<Case>, Fault> {
    let documents = parse_documents(text)?;
    let wrong = |at| Fault::new(at, "a test file is one map with cases", "write 'cases:'");
    let [document] = documents.as_slice() else {
        return Err(wrong(crate::fault::Location::START));
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
        check_keys(source, &["category", "product", "service"])?;
        let read = |key| read_text(source, key);
        event.source = [read("category")?, read("product")?, read("service")?];
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
