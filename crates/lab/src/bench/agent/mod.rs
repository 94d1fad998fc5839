//! What the agent costs the host it looks after, beside others who do the same job in the same run:
//! idle, following lines, and in a storm of programs. It asserts nothing; it says what makes a run
//! doubtful.

mod arrivals;
mod certificate;
mod cost;
mod lines;
mod peers;
mod place;
mod report;
mod sink;
mod storm;
mod subject;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Percentiles;
use crate::command::wait_for;
use crate::journal_host::JournalHost;
use cost::{Cost, Reading};
use lines::write_lines;
use peers::Peers;
pub use report::AgentReport;
use storm::Storm;
use subject::{Follower, Subject};

/// How long the last lines may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long lines are written before any counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// Beyond this part of a core the writer of lines is what is measured.
const MAX_WRITER_PERCENT: f64 = 95.0;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Times that each load is measured; the middle one counts.
    pub n_rounds: usize,
    /// From being connected to being measured.
    pub settle: Duration,
    /// How long nothing happens.
    pub idle: Duration,
    /// How long lines are written.
    pub loaded: Duration,
    /// Lines a second, one load each.
    pub rates: Vec<u64>,
    /// How long programs begin; not at all when it is none.
    pub storm: Option<Duration>,
    /// Whether others are measured too.
    pub has_peers: bool,
}

impl AgentOptions {
    /// For figures that are worth being written down.
    #[must_use]
    pub fn full() -> Self {
        Self {
            n_rounds: 3,
            settle: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            loaded: Duration::from_secs(15),
            rates: vec![1_000, 10_000],
            storm: Some(Duration::from_secs(10)),
            has_peers: true,
        }
    }

    /// For a first look.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            n_rounds: 1,
            settle: Duration::from_secs(3),
            idle: Duration::from_secs(10),
            loaded: Duration::from_secs(5),
            storm: Some(Duration::from_secs(5)),
            ..Self::full()
        }
    }
}

/// What a load cost, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    cost: Cost,
    delay: Option<Percentiles>,
    n_lost: u64,
}

/// All samples of one subject under one load.
#[derive(Clone, Debug)]
struct Series {
    /// Lines a second.
    rate: u64,
    subject: Subject,
    samples: Vec<Sample>,
}

/// Measures everything, one after another.
///
/// # Errors
/// When the agent cannot be started or is not heard of.
pub fn measure(options: &AgentOptions) -> anyhow::Result<AgentReport> {
    let mut notes = vec![describe_machine()];
    let peers = if options.has_peers {
        Peers::fetch()?
    } else {
        Peers::none()
    };
    notes.extend(peers.missing.iter().cloned());
    if let Err(missing) = JournalHost::check(None) {
        notes.push(format!("the agent is not measured by a journal: {missing}"));
    }
    let is_there = |subject: &Subject| subject.is_there(&peers);
    let mut bench = Bench {
        options,
        subjects: Subject::ALL.into_iter().filter(is_there).collect(),
        peers: &peers,
        notes,
    };
    let mut series = bench.measure_idle()?;
    for rate in &options.rates {
        series.extend(bench.measure_rate(*rate)?);
    }
    let storms = match options.storm {
        Some(during) => Storm::measure_all(&peers, during, &mut bench.notes)?,
        None => Vec::new(),
    };
    bench
        .notes
        .push(format!("load average at the end: {}", read_load()));
    Ok(AgentReport::of(&series, &storms, bench.notes))
}

struct Bench<'o> {
    options: &'o AgentOptions,
    subjects: Vec<Subject>,
    peers: &'o Peers,
    notes: Vec<String>,
}

impl Bench<'_> {
    /// All at the same time: whatever else goes on here happens to each of them.
    fn measure_idle(&self) -> anyhow::Result<Vec<Series>> {
        // Once they have looked at the host, they have nothing more to do.
        let settle = self.options.settle * 2;
        let followers = self
            .subjects
            .iter()
            .map(|subject| self.start(*subject, Duration::ZERO));
        let followers: Vec<_> = followers.collect::<Result<_, _>>()?;
        thread::sleep(settle);
        let before = followers
            .iter()
            .map(|follower| Reading::of(follower.process()));
        let before: Vec<_> = before.collect::<Result<_, _>>()?;
        thread::sleep(self.options.idle);
        let measured = followers.iter().zip(before).map(|(follower, before)| {
            let sample = Sample {
                cost: before.cost_since(follower.process())?,
                delay: None,
                n_lost: 0,
            };
            Ok(Series {
                rate: 0,
                subject: follower.subject,
                samples: vec![sample],
            })
        });
        measured.collect()
    }

    fn measure_rate(&mut self, rate: u64) -> anyhow::Result<Vec<Series>> {
        let series = |subject: &Subject| Series {
            rate,
            subject: *subject,
            samples: Vec::new(),
        };
        let mut all: Vec<_> = self.subjects.iter().map(series).collect();
        for round in 0..self.options.n_rounds {
            // There and back again, so that a load that grows or fades favours nobody.
            if round > 0 {
                all.reverse();
            }
            for series in &mut all {
                let sample = self.measure_lines(series.subject, rate);
                let name = series.subject.name();
                series
                    .samples
                    .push(sample.with_context(|| format!("{name}, {rate} lines/s"))?);
            }
        }
        all.sort_by_key(|series| {
            Subject::ALL
                .iter()
                .position(|other| *other == series.subject)
        });
        Ok(all)
    }

    fn measure_lines(&mut self, subject: Subject, rate: u64) -> anyhow::Result<Sample> {
        let follower = self.start(subject, self.options.settle)?;
        let began = follower.began;
        let during = self.options.loaded;
        // Pages and caches are filled by the first lines.
        let warm = write_lines(&follower.place, began, 0, rate, during.min(WARM_UP))?;
        let before = Reading::of(follower.process())?;
        let written = write_lines(&follower.place, began, warm.n_lines, rate, during)?;
        let cost = before.cost_since(follower.process())?;
        let n_lines = warm.n_lines + written.n_lines;
        let all_came = || (follower.sink.arrivals().n_lines() >= n_lines).then_some(());
        // What has not come by then is told as lost.
        wait_for("the last line", PATIENCE, all_came).ok();
        let arrivals = follower.sink.arrivals();
        let n_lost = n_lines - arrivals.n_lines();
        if written.cpu_percent > MAX_WRITER_PERCENT || written.late > during / 10 {
            self.notes.push(format!(
                "doubtful: at {rate} lines/s for {} the writer took {:.0} % of a core and was \
                 {:?} late",
                subject.name(),
                written.cpu_percent,
                written.late
            ));
        }
        let delays = arrivals
            .delays
            .iter()
            .copied()
            .skip(usize::try_from(warm.n_lines)?);
        Ok(Sample {
            cost,
            delay: Some(Percentiles::of(&mut delays.collect::<Vec<_>>())),
            n_lost,
        })
    }

    fn start(&self, subject: Subject, settle: Duration) -> anyhow::Result<Follower> {
        Follower::start(subject, self.peers, settle, (Instant::now(), Path::new("")))
    }
}

fn describe_machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = kernel.trim();
    format!(
        "{cores} cores, kernel {kernel}, load average at the start: {}",
        read_load()
    )
}

/// The load average of the last minute and the last five.
fn read_load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(2).collect::<Vec<_>>().join(", ")
}
