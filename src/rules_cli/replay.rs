//! `rules match`: plays a stream of events through the rules of a directory and prints each match.
//! It never raises an alert: what the rules say is told as it is, low levels and repeats included.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use hidps_rules::{Engine, Limits, LogSource, Match, Scope};
use hidps_wire::LogEvent;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::samples::{claimed_ms, instant_ms, normalize_lines, parse_events, read_text};
use super::{Outcome, RulesArguments, RulesCliError, compile, write_text};
use crate::detection::with_rule_event;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Events are JSON as agents send it, one a line; with --program, raw lines of a log; with --logsource, \
JSON objects of that log source under the names that rules use, nested or flat, one a line. All are \
taken as of one host, in the order of the file, at the times they claim; one without a readable time \
has that of the event before. Rules that only feed a correlation are not told, as in the daemon; \
organizations' settings and suppressions are not applied. With --json each match is one line.

Exit code: 0 played, whether or not a rule matches, 1 the rules or the events cannot be read, \
2 wrong arguments.";

/// The field of a bare event that holds its time, unless another is named.
const TIME_FIELD: &str = "timestamp";

/// What is to be played.
#[derive(Args, Debug)]
pub struct MatchArguments {
    #[command(flatten)]
    rules: RulesArguments,
    /// File with the events, or - for standard input.
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// The file holds raw lines of a log, written by this program unless they say so themselves.
    #[arg(long, value_name = "NAME", conflicts_with = "logsource")]
    program: Option<String>,
    /// The file holds bare fields of this log source, such as `product=linux,category=file_event`.
    #[arg(long, value_name = "SOURCE", value_parser = parse_source)]
    logsource: Option<NamedSource>,
    /// The field of bare events that holds their time: RFC 3339, or seconds or milliseconds since
    /// 1970.
    #[arg(long, value_name = "FIELD", default_value = TIME_FIELD, requires = "logsource")]
    time: String,
    /// Print one JSON object a match.
    #[arg(long)]
    json: bool,
}

/// A log source that somebody named.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct NamedSource {
    category: Option<String>,
    product: Option<String>,
    service: Option<String>,
}

impl NamedSource {
    fn as_source(&self) -> LogSource<'_> {
        LogSource {
            category: self.category.as_deref(),
            product: self.product.as_deref(),
            service: self.service.as_deref(),
            ..LogSource::default()
        }
    }
}

fn parse_source(text: &str) -> Result<NamedSource, String> {
    let mut source = NamedSource::default();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let place = match name.trim() {
            "category" => &mut source.category,
            "product" => &mut source.product,
            "service" => &mut source.service,
            other => {
                return Err(format!(
                    "'{other}' is no part of a log source; write category=…, product=… or service=…, \
                     separated by commas"
                ));
            }
        };
        if value.trim().is_empty() || place.is_some() {
            return Err(format!(
                "'{}' needs one value, as in product=linux",
                name.trim()
            ));
        }
        *place = Some(value.trim().to_owned());
    }
    Ok(source)
}

/// Plays the events of a file.
pub(super) fn replay(
    arguments: &MatchArguments,
    out: &mut dyn Write,
) -> Result<Outcome, RulesCliError> {
    let set = compile(&arguments.rules)?;
    let n_rules = set.rules().len();
    let text = read_text(&arguments.events)?;
    let mut engine = Engine::new(set, Limits::default());
    let mut told = Told {
        out,
        as_json: arguments.json,
        n_matches: 0,
        fault: None,
    };
    let n_events = match (&arguments.logsource, &arguments.program) {
        (Some(source), _) => play_fields(&text, source, &arguments.time, &mut engine, &mut told)?,
        (None, Some(program)) => play(&normalize_lines(&text, program), &mut engine, &mut told),
        (None, None) => play(&parse_events(&text)?, &mut engine, &mut told),
    };
    told.end(n_rules, n_events)
}

/// Plays events of agents; answers how many there were.
fn play(events: &[LogEvent<'_>], engine: &mut Engine, told: &mut Told<'_>) -> usize {
    let mut now_ms = 0;
    for (index, event) in events.iter().enumerate() {
        now_ms = claimed_ms(event, now_ms);
        with_rule_event(event, |event| {
            engine.observe(Scope(0), event, now_ms, &mut |found| {
                told.tell(index + 1, now_ms, &found);
            });
        });
    }
    events.len()
}

/// Plays bare events; answers how many there were.
fn play_fields(
    text: &str,
    source: &NamedSource,
    time: &str,
    engine: &mut Engine,
    told: &mut Told<'_>,
) -> Result<usize, RulesCliError> {
    let (mut now_ms, mut n_events) = (0, 0);
    let lines = text.lines().enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fault = |why: &dyn std::fmt::Display| {
            let line = index + 1;
            RulesCliError::Events(format!(
                "line {line} is no event: {why}; write one JSON object a line"
            ))
        };
        let fields: Map<String, Value> = serde_json::from_str(line).map_err(|e| fault(&e))?;
        n_events += 1;
        now_ms = fields.get(time).and_then(instant_ms).unwrap_or(now_ms);
        let played =
            engine.observe_json(Scope(0), source.as_source(), line, now_ms, &mut |found| {
                told.tell(n_events, now_ms, &found);
            });
        played.map_err(|error| fault(&error))?;
    }
    Ok(n_events)
}

/// The matches as they are printed.
struct Told<'a> {
    out: &'a mut dyn Write,
    as_json: bool,
    n_matches: usize,
    fault: Option<RulesCliError>,
}

impl Told<'_> {
    /// Prints a match, unless nobody reads any more.
    fn tell(&mut self, event: usize, now_ms: i64, found: &Match<'_>) {
        self.n_matches += 1;
        if self.fault.is_none() {
            let text = if self.as_json {
                format!("{}\n", show(event, now_ms, found))
            } else {
                describe(event, now_ms, found)
            };
            self.fault = write_text(self.out, &text).err();
        }
    }

    fn end(self, n_rules: usize, n_events: usize) -> Result<Outcome, RulesCliError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.as_json {
            let n_matches = self.n_matches;
            let text = format!("{n_matches} matches of {n_rules} rules over {n_events} events\n");
            write_text(self.out, &text)?;
        }
        Ok(Outcome::Good)
    }
}

fn show(event: usize, now_ms: i64, found: &Match<'_>) -> Value {
    let rule = found.rule;
    let window = found.window.as_ref().map(|window| {
        let group: Map<String, Value> = window
            .group
            .iter()
            .map(|(field, value)| (field.clone(), json!(value)))
            .collect();
        json!({
            "count": window.count, "value": window.value, "distinct": window.distinct,
            "timespan_secs": window.timespan_secs, "group": group,
            "first_ms": window.first_ms, "last_ms": window.last_ms,
        })
    });
    json!({
        "event": event, "at": shown_time(now_ms), "rule": rule.id, "title": rule.title,
        "level": rule.level.as_str(), "tags": rule.tags, "matched": found.matched,
        "window": window, "group_key": found.group_key,
    })
}

fn describe(event: usize, now_ms: i64, found: &Match<'_>) -> String {
    let rule = found.rule;
    let (at, level) = (shown_time(now_ms), rule.level.as_str());
    let mut text = format!("{at} event {event}: {level} {} [{}]", rule.title, rule.id);
    if let Some(window) = &found.window {
        let (count, span) = (window.count, window.timespan_secs);
        write!(text, " {count} within {span} s").expect("a string takes everything");
        for (field, value) in &window.group {
            write!(text, " {field}={value:?}").expect("a string takes everything");
        }
    }
    for (field, value) in &found.matched {
        write!(text, " {field}={value:?}").expect("a string takes everything");
    }
    text.push('\n');
    text
}

fn shown_time(now_ms: i64) -> String {
    Timestamp::from_millisecond(now_ms).map_or_else(|_| now_ms.to_string(), |at| at.to_string())
}
