//! `rules bench`: what each rule costs, the most expensive first.
//! It never asserts a time: machines differ, and a busy one lies.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use hidps_rules::{Engine, Event, Limits, RuleSet, Scope};
use hidps_wire::LogEvent;
use serde_json::{Value, json};

use super::list::name_source;
use super::samples::{parse_events, read_text};
use super::table::Table;
use super::{Outcome, RulesArguments, RulesCliError, load, refused, write_json, write_text};
use crate::detection::{TestFile, read_tests, with_rule_event};

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Without --events, the events of the rules' own tests are used, which are made to nearly match: it \
is the costly end of what a host sends. A rule's cost is what one event of any kind takes longer \
while this rule alone is tried; what all rules share, such as taking an event apart, is told once. \
What correlations cost is part of the rules they join. A build for release is measured, no other.

Exit code: 0 measured, 1 the rules or the events cannot be read, 2 wrong arguments.";

/// Rounds of which the quickest counts: others were disturbed.
const N_ROUNDS: usize = 5;

/// Most events kept for a measurement.
const MAX_EVENTS: usize = 100_000;

/// What is to be measured.
#[derive(Args, Debug)]
pub struct BenchArguments {
    #[command(flatten)]
    rules: RulesArguments,
    /// File with events as agents send them, one a line, or - for standard input.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Milliseconds for each rule; more gives steadier numbers.
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    millis: u64,
    /// Show only so many rules; 0 shows all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Where events come from: something that can hand them out again and again.
enum Supply<'a> {
    Agents(Vec<LogEvent<'a>>),
    Tests(Vec<TestFile>),
}

impl Supply<'_> {
    fn visit(&self, visit: &mut dyn FnMut(&Event<'_>)) {
        match self {
            Self::Agents(events) => events
                .iter()
                .for_each(|event| with_rule_event(event, &mut *visit)),
            Self::Tests(files) => files.iter().for_each(|file| file.visit_events(visit)),
        }
    }
}

/// What one rule costs.
struct Cost {
    rule: String,
    nanos_per_event: f64,
    tries: u64,
    hits: u64,
}

/// Measures every rule of a directory.
pub(super) fn bench(
    arguments: &BenchArguments,
    out: &mut dyn Write,
) -> Result<Outcome, RulesCliError> {
    let rules = load(&arguments.rules)?;
    let text = arguments.events.as_deref().map(read_text).transpose()?;
    let supply = match &text {
        Some(text) => Supply::Agents(parse_events(text)?),
        None => Supply::Tests(list_tests(arguments)?),
    };
    let within = Duration::from_millis(arguments.millis);
    let mut engine = Engine::new(rules.set.clone(), Limits::default());
    let (nanos_all, n_events) = measure(&mut engine, &supply, within * 4);
    let ids: Vec<String> = rules.set.rules().map(|rule| rule.id.clone()).collect();
    let mut engine = Engine::new(rules.set.clone(), Limits::default());
    for id in &ids {
        engine.suspend(id, "another rule is measured");
    }
    let (nanos_shared, _) = measure(&mut engine, &supply, within * 4);
    let mut costs: Vec<Cost> = ids
        .iter()
        // A correlation works only when the rules it joins match.
        .filter(|id| rules.set.log_source(id).is_some())
        .map(|id| {
            let before = engine.counters().rules.remove(id).unwrap_or_default();
            engine.resume(id);
            let (nanos, _) = measure(&mut engine, &supply, within);
            let after = engine.counters().rules.remove(id).unwrap_or_default();
            engine.suspend(id, "another rule is measured");
            Cost {
                rule: id.clone(),
                nanos_per_event: (nanos - nanos_shared).max(0.0),
                tries: after.tries - before.tries,
                hits: after.hits - before.hits,
            }
        })
        .collect();
    costs.sort_by(|a, b| b.nanos_per_event.total_cmp(&a.nanos_per_event));
    let measured = Measured {
        set: &rules.set,
        n_events,
        nanos_all,
        nanos_shared,
        costs,
    };
    let top = match arguments.top {
        0 => usize::MAX,
        top => top,
    };
    if arguments.json {
        write_json(out, &measured.show())?;
    } else {
        write_text(out, &measured.describe(top))?;
    }
    Ok(Outcome::Good)
}

fn list_tests(arguments: &BenchArguments) -> Result<Vec<TestFile>, RulesCliError> {
    let directory = &arguments.rules.directory;
    read_tests(directory).map_err(refused(directory))
}

/// Nanoseconds an event takes, in the quickest round, and how many events a round has.
fn measure(engine: &mut Engine, supply: &Supply<'_>, within: Duration) -> (f64, u64) {
    let begun = Instant::now();
    let (mut best, mut n_round, mut n_rounds) = (f64::INFINITY, 0, 0);
    let mut now_ms = 0;
    while n_rounds < N_ROUNDS || begun.elapsed() < within {
        let (round, mut n_events) = (Instant::now(), 0_u64);
        supply.visit(&mut |event| {
            if n_events < MAX_EVENTS as u64 {
                engine.observe(Scope(0), event, now_ms, &mut |_| {});
                n_events += 1;
            }
        });
        // A window of the round before must not make the next one slower or faster.
        engine.forget(Scope(0));
        now_ms += 1;
        #[expect(clippy::cast_precision_loss, reason = "rounds are short")]
        let nanos = round.elapsed().as_nanos() as f64 / n_events.max(1) as f64;
        best = best.min(nanos);
        n_round = n_events;
        n_rounds += 1;
    }
    (best, n_round)
}

/// What came out.
struct Measured<'a> {
    set: &'a RuleSet,
    n_events: u64,
    nanos_all: f64,
    nanos_shared: f64,
    costs: Vec<Cost>,
}

impl Measured<'_> {
    fn source(&self, id: &str) -> String {
        let source = self.set.log_source(id);
        source.map_or_else(|| "correlation".to_owned(), name_source)
    }

    fn title(&self, id: &str) -> &str {
        self.set.rule(id).map_or("", |rule| rule.title.as_str())
    }

    fn show(&self) -> Value {
        let rules = self.costs.iter().map(|cost| {
            json!({
                "rule": cost.rule, "title": self.title(&cost.rule),
                "logsource": self.source(&cost.rule),
                "nanos_per_event": rounded(cost.nanos_per_event),
                "tries": cost.tries, "hits": cost.hits,
            })
        });
        json!({
            "events": self.n_events,
            "events_per_second": per_second(self.nanos_all).round(),
            "nanos_per_event": rounded(self.nanos_all),
            "shared_nanos_per_event": rounded(self.nanos_shared),
            "rules": rules.collect::<Vec<_>>(),
        })
    }

    fn describe(&self, top: usize) -> String {
        let mut table = Table::new(
            &["NS/EVENT", "TRIES", "HITS", "LOG SOURCE", "TITLE", "ID"],
            &[0, 1, 2],
        );
        for cost in self.costs.iter().take(top) {
            table.push(vec![
                format!("{:.1}", cost.nanos_per_event),
                cost.tries.to_string(),
                cost.hits.to_string(),
                self.source(&cost.rule),
                self.title(&cost.rule).to_owned(),
                cost.rule.clone(),
            ]);
        }
        let hidden = self.costs.len().saturating_sub(top);
        let hidden = match hidden {
            0 => String::new(),
            n => format!("{n} cheaper rules are not shown (--top 0 shows all)\n"),
        };
        format!(
            "{}{hidden}{} rules on {} events: {:.0} events/s ({:.0} ns each, of which {:.0} ns are \
             shared by all rules)\n",
            table.render(),
            self.costs.len(),
            self.n_events,
            per_second(self.nanos_all),
            self.nanos_all,
            self.nanos_shared,
        )
    }
}

fn per_second(nanos: f64) -> f64 {
    1e9 / nanos.max(1.0)
}

fn rounded(nanos: f64) -> f64 {
    (nanos * 10.0).round() / 10.0
}
