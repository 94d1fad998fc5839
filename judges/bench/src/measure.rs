//! Rates of engines over streams, in processor time and in turns, so that noise meets all alike.
//! It never compares figures of two runs, and never counts the time that other programs had.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::contender::Contender;
use crate::stream::Sample;

/// What one engine did with one stream.
#[derive(Clone, Copy, Default, Debug)]
pub struct Figure {
    /// Events in a second of processor time: the median of the turns.
    pub rate: f64,
    /// Matches in one pass over the stream.
    pub matches: usize,
}

/// Two engines over one stream.
#[derive(Clone, Copy, Default, Debug)]
pub struct Duel {
    /// Ours.
    pub ours: Figure,
    /// The other.
    pub theirs: Figure,
    /// How many times faster ours was: the median of the turns.
    pub ratio: f64,
    /// On how many events the two named other rules.
    pub disagreements: usize,
}

/// Time between two events: whole seconds, since the other engine counts in them.
const STEP_MS: i64 = 1_000;

/// How long an engine runs in one turn, at least.
const TURN: Duration = Duration::from_millis(250);

/// The processor time that this process has had.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime)
        .try_into()
        .unwrap_or_default()
}

/// Passes over the stream for one turn and answers the rate.
fn run_turn(engine: &mut dyn Contender, stream: &[Sample], now_ms: &mut i64) -> f64 {
    let mut ids = Vec::new();
    let mut events = 0_usize;
    let start = processor_time();
    let mut spent = Duration::ZERO;
    while spent < TURN {
        for sample in stream {
            *now_ms += STEP_MS;
            engine.observe(sample, *now_ms, &mut ids);
        }
        events += stream.len();
        ids.clear();
        spent = processor_time() - start;
    }
    events as f64 / spent.as_secs_f64()
}

/// The middle one of several figures.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The ids of every event, sorted.
fn judge(engine: &mut dyn Contender, stream: &[Sample], now_ms: &mut i64) -> Vec<Vec<String>> {
    let judge_one = |sample| {
        let mut ids = Vec::new();
        *now_ms += STEP_MS;
        engine.observe(sample, *now_ms, &mut ids);
        ids.sort();
        ids
    };
    stream.iter().map(judge_one).collect()
}

/// Measures one engine alone.
pub fn solo(ours: &mut dyn Contender, stream: &[Sample], turns: usize) -> Figure {
    let mut now_ms = 0;
    let judged = judge(ours, stream, &mut now_ms);
    let rates: Vec<f64> = (0..turns)
        .map(|_| run_turn(ours, stream, &mut now_ms))
        .collect();
    Figure {
        rate: median(&rates),
        matches: judged.iter().map(Vec::len).sum(),
    }
}

/// Measures two engines in turns.
pub fn duel(
    ours: &mut dyn Contender,
    theirs: &mut dyn Contender,
    stream: &[Sample],
    turns: usize,
) -> Duel {
    let (mut our_ms, mut their_ms) = (0, 0);
    let our_ids = judge(ours, stream, &mut our_ms);
    let their_ids = judge(theirs, stream, &mut their_ms);
    let mut duel = Duel {
        disagreements: our_ids
            .iter()
            .zip(&their_ids)
            .filter(|(our, their)| our != their)
            .count(),
        ..Duel::default()
    };
    duel.ours.matches = our_ids.iter().map(Vec::len).sum();
    duel.theirs.matches = their_ids.iter().map(Vec::len).sum();
    let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        our_rates.push(run_turn(ours, stream, &mut our_ms));
        their_rates.push(run_turn(theirs, stream, &mut their_ms));
    }
    let ratios = our_rates.iter().zip(&their_rates);
    let ratios: Vec<f64> = ratios.map(|(our, their)| our / their).collect();
    duel.ours.rate = median(&our_rates);
    duel.theirs.rate = median(&their_rates);
    duel.ratio = median(&ratios);
    duel
}

/// The shortest processor time of several runs.
pub fn best_time(runs: usize, mut run: impl FnMut()) -> Duration {
    let time_one = |_| {
        let start = processor_time();
        run();
        processor_time() - start
    };
    (0..runs).map(time_one).min().unwrap_or_default()
}

/// How many programs wanted to run in the last minute, on average.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next();
    first.and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// The memory this process holds, in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}
