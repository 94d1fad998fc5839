//! `cargo x bench rules`: the rule engine alone and beside another one, in one run.
//! It never keeps figures: they hold for this machine at this moment, the ratios for longer.

mod contender;
mod measure;
mod report;
mod rules;
mod stream;

use std::process::{Command, ExitCode};

use contender::{Contender, Ours, TheirWindows, Theirs};
use measure::{best_time, duel, resident_bytes, solo};
use report::Report;
use rules::Texts;
use stream::Sample;

/// The seed of every stream.
const SEED: u64 = 20_261_121;

/// Events of one stream.
const EVENTS: usize = 20_000;

/// Rules of the points of the curve.
const CURVE: [usize; 4] = [250, 500, 1_500, 3_750];

/// Correlations over logins: a count, a count of values and an order.
const WINDOWS: &str = include_str!("windows.yml");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let Some(texts) = read_community() else {
        println!("SKIPPED: no community rules; set HIDPS_SIGMA_RULES to a copy of them");
        return ExitCode::SUCCESS;
    };
    if let Some(engine) = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--memory-of="))
    {
        println!("{}", measure_memory(engine, &texts));
        return ExitCode::SUCCESS;
    }
    if let Some(count) = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--only="))
    {
        run_only(count, &texts);
        return ExitCode::SUCCESS;
    }
    let turns = if has("--quick") { 1 } else { 5 };
    let mut report = Report::new(has("--json"));
    report.load_average(measure::load_average());
    compare(&texts, turns, &mut report);
    measure_load(&texts, &mut report);
    if !has("--quick") {
        draw_curve(&texts, &mut report);
    }
    measure_own(turns, &mut report);
    measure_windows(turns, &mut report);
    report.load_average(measure::load_average());
    report.finish();
    ExitCode::SUCCESS
}

/// The community's rules that compile, if there are any.
fn read_community() -> Option<Texts> {
    let folder = rules::find_community()?;
    rules::read(&folder).ok().map(contender::compiling)
}

/// The streams of the comparison.
fn streams() -> [(&'static str, Vec<Sample>); 4] {
    [
        ("process events", stream::processes(SEED, EVENTS)),
        ("log lines", stream::lines(SEED, EVENTS)),
        ("bare log lines", stream::bare_lines(SEED, EVENTS)),
        ("audit records", stream::audits(SEED, EVENTS)),
    ]
}

/// Runs one stream so many times through our engine, for a profiler: `--only=process:20`, or `log`,
/// `bare`, `audit`, `own` for our rules over process events, or `logins` for correlations.
fn run_only(what: &str, texts: &Texts) {
    let (name, passes) = what.split_once(':').unwrap_or((what, "1"));
    let own = || rules::read(&rules::repository().join("detection-rules")).unwrap_or_default();
    let (texts, stream) = match name {
        "own" => (own(), stream::processes(SEED, EVENTS)),
        "logins" => (vec![WINDOWS.to_owned()], stream::logins(SEED, EVENTS)),
        "log" => (texts.clone(), stream::lines(SEED, EVENTS)),
        "bare" => (texts.clone(), stream::bare_lines(SEED, EVENTS)),
        "audit" => (texts.clone(), stream::audits(SEED, EVENTS)),
        _ => (texts.clone(), stream::processes(SEED, EVENTS)),
    };
    let mut ours = Ours::load(&texts);
    let mut ids = Vec::new();
    let mut now_ms = 0;
    for _ in 0..passes.parse().unwrap_or(1) {
        ids.clear();
        for sample in &stream {
            now_ms += 1_000;
            ours.observe(sample, now_ms, &mut ids);
        }
    }
    let (tries, events) = ours.tries();
    println!(
        "{name}: {} matches, {tries} rules tried on {events} events",
        ids.len()
    );
    for (tries, hits, title) in ours.most_tried() {
        println!("  {tries:>9} {hits:>9} {title}");
    }
}

/// Both engines over all streams, with the community's rules.
fn compare(texts: &Texts, turns: usize, report: &mut Report) {
    report.section(&format!(
        "{} community rules, a second of processor time, JSON in, rule ids out",
        texts.len()
    ));
    let (mut ours, mut theirs) = (Ours::load(texts), Theirs::load(texts));
    for (name, stream) in streams() {
        report.duel(name, &duel(&mut ours, &mut theirs, &stream, turns));
    }
}

/// Time to load and reload, and memory.
fn measure_load(texts: &Texts, report: &mut Report) {
    report.section("loading the same rules");
    let mut ours = Ours::load(texts);
    let stream = stream::processes(SEED, 100);
    report.time("compile", best_time(5, || drop(contender::compile(texts))));
    report.time(
        "reload with the first 100 events",
        best_time(5, || {
            ours.reload(texts);
            let mut ids = Vec::new();
            stream
                .iter()
                .for_each(|sample| ours.observe(sample, 0, &mut ids));
        }),
    );
    report.time(
        "compile, other engine",
        best_time(3, || drop(Theirs::load(texts))),
    );
    for (name, engine) in [
        ("memory added", "ours"),
        ("memory added, other engine", "theirs"),
    ] {
        let output = std::env::current_exe().and_then(|program| {
            Command::new(program)
                .arg(format!("--memory-of={engine}"))
                .output()
        });
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let bytes = text.ok().and_then(|text| text.trim().parse::<u64>().ok());
        report.bytes(name, bytes.unwrap_or_default());
    }
}

/// The memory that loading the rules and one pass over each stream adds to a fresh process.
fn measure_memory(engine: &str, texts: &Texts) -> u64 {
    let streams = streams();
    let before = resident_bytes();
    let mut engine: Box<dyn Contender> = match engine {
        "ours" => Box::new(Ours::load(texts)),
        _ => Box::new(Theirs::load(texts)),
    };
    let mut ids = Vec::new();
    for (_, stream) in &streams {
        for sample in stream {
            ids.clear();
            engine.observe(sample, 0, &mut ids);
        }
    }
    resident_bytes().saturating_sub(before)
}

/// Process events against more and more rules, with and without routing.
fn draw_curve(texts: &Texts, report: &mut Report) {
    let stream = stream::processes(SEED, EVENTS / 4);
    for count in CURVE {
        let rules = contender::compiling(rules::multiply(texts, count));
        for (name, rules) in [
            ("routed", rules.clone()),
            ("not routed", rules::unroute(&rules)),
        ] {
            report.section(&format!("process events, {} rules, {name}", rules.len()));
            let mut ours = Ours::load(&rules);
            let mut theirs = Theirs::load(&rules);
            report.duel("process events", &duel(&mut ours, &mut theirs, &stream, 3));
        }
    }
}

/// Our own rules over their kinds of events.
fn measure_own(turns: usize, report: &mut Report) {
    let Ok(texts) = rules::read(&rules::repository().join("detection-rules")) else {
        return;
    };
    report.section(&format!(
        "our own {} rule files, correlations included",
        texts.len()
    ));
    let mut ours = Ours::load(&texts);
    for (name, stream) in streams() {
        report.figure(name, &solo(&mut ours, &stream, turns));
    }
}

/// Simple events through three correlations.
fn measure_windows(turns: usize, report: &mut Report) {
    report.section("logins through three correlations of an hour over 2,000 sources");
    let texts = vec![WINDOWS.to_owned()];
    let stream = stream::logins(SEED, EVENTS);
    let (mut ours, mut theirs) = (Ours::load(&texts), TheirWindows::load(&texts));
    report.duel("logins", &duel(&mut ours, &mut theirs, &stream, turns));
}
