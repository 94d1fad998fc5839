//! Samples into figures and a table: the middle of the rounds, and what it is beside each peer of the
//! same round. It measures nothing.

use std::fmt::Write as _;

use super::storm::{Listener, Storm};
use super::subject::Subject;
use super::{Sample, Series};
use crate::bench::{Figure, Peer};

/// The name of this bench.
const BENCH: &str = "agent";

/// What was measured of the agent and its peers.
#[derive(Clone, Debug)]
pub struct AgentReport {
    /// The agent's figures, each beside one peer or an aim.
    pub figures: Vec<Figure>,
    /// Everybody's figures, as Markdown.
    pub table: String,
    /// What has to be known about the run.
    pub notes: Vec<String>,
}

/// One thing that is measured of everybody.
struct Measure {
    name: &'static str,
    unit: &'static str,
    of: fn(&Sample) -> Option<f64>,
    /// What the agent should not exceed at so many lines a second.
    aims: &'static [(u64, f64)],
}

/// Everything that is measured of everybody.
const MEASURES: [Measure; 7] = [
    Measure {
        name: "processor",
        unit: "%",
        of: |sample| Some(sample.cost.cpu_percent),
        aims: &[(0, 0.1), (1_000, 2.0)],
    },
    Measure {
        name: "memory",
        unit: "MiB",
        of: |sample| Some(sample.cost.resident_mib),
        aims: &[(0, 10.0), (1_000, 16.0)],
    },
    Measure {
        name: "memory at its most",
        unit: "MiB",
        of: |sample| Some(sample.cost.peak_mib),
        aims: &[],
    },
    Measure {
        name: "wake-ups",
        unit: "/s",
        of: |sample| Some(sample.cost.wakeups_per_sec),
        aims: &[],
    },
    Measure {
        name: "line written to received, p50",
        unit: "ms",
        of: |sample| sample.delay.map(|delay| delay.p50),
        aims: &[],
    },
    Measure {
        name: "line written to received, p99",
        unit: "ms",
        of: |sample| sample.delay.map(|delay| delay.p99),
        aims: &[(1_000, 20.0)],
    },
    Measure {
        name: "lines that did not come",
        unit: "",
        of: |sample| sample.delay.map(|_| sample.n_lost as f64),
        aims: &[],
    },
];

impl AgentReport {
    /// Puts together what was measured.
    pub(super) fn of(series: &[Series], storms: &[Storm], notes: Vec<String>) -> Self {
        let mut figures = Vec::new();
        for measure in &MEASURES {
            figures.extend(compare(measure, series));
        }
        figures.extend(storms.iter().flat_map(|storm| storm_figures(storm, storms)));
        Self {
            figures,
            table: table(series) + &storm_table(storms),
            notes,
        }
    }
}

/// Each of ours beside its aim and everybody else under the same load.
fn compare(measure: &Measure, series: &[Series]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for ours in series.iter().filter(|series| is_ours(series.subject)) {
        let Some(value) = middle(ours.samples.iter().filter_map(measure.of)) else {
            continue;
        };
        let name = format!(
            "{}, {}: {}",
            ours.subject.name(),
            load(ours.rate),
            measure.name
        );
        for (_, aim) in measure.aims.iter().filter(|(rate, _)| *rate == ours.rate) {
            let peer = Peer {
                name: &format!("the aim of {aim} {}", measure.unit),
                value: *aim,
            };
            figures.push(Figure::new(BENCH, name.clone(), value, measure.unit, peer));
        }
        let peers = series.iter().filter(|peer| peer.rate == ours.rate);
        for peer in peers.filter(|peer| !is_ours(peer.subject)) {
            let pairs = ours.samples.iter().zip(&peer.samples);
            let ratios = pairs.filter_map(|(a, b)| Some((measure.of)(a)? / (measure.of)(b)?));
            let theirs = middle(peer.samples.iter().filter_map(measure.of));
            let (Some(ratio), Some(theirs)) = (middle(ratios), theirs) else {
                continue;
            };
            let named = Peer {
                name: &format!("{} with {theirs:.2} {}", peer.subject.name(), measure.unit),
                value: theirs,
            };
            // The middle of the ratios, not the ratio of the middles.
            figures.push(Figure {
                ratio,
                ..Figure::new(BENCH, name.clone(), value, measure.unit, named)
            });
        }
    }
    figures
}

const fn is_ours(subject: Subject) -> bool {
    matches!(
        subject,
        Subject::Agent | Subject::AgentOfJournal | Subject::AgentLogsAlone
    )
}

fn load(rate: u64) -> String {
    if rate == 0 {
        "idle".to_owned()
    } else {
        format!("{rate} lines/s")
    }
}

/// The middle of some values; the lower one of two.
fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    // A ratio of nothing to nothing is no number.
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

fn table(series: &[Series]) -> String {
    let mut text = String::from("| load | program |");
    for measure in &MEASURES {
        write!(text, " {} {} |", measure.name, measure.unit).ok();
    }
    text += "\n|---|---|";
    text += &"---:|".repeat(MEASURES.len());
    for series in series {
        write!(
            text,
            "\n| {} | {} |",
            load(series.rate),
            series.subject.name()
        )
        .ok();
        for measure in &MEASURES {
            match middle(series.samples.iter().filter_map(measure.of)) {
                Some(value) => write!(text, " {value:.2} |").ok(),
                None => write!(text, " |").ok(),
            };
        }
    }
    text + "\n"
}

fn storm_table(storms: &[Storm]) -> String {
    if storms.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n| storm | listener | programs/s | began | told one by one | gone before looked at | \
         counted | told to be lost | missed | processor % | memory at its most MiB |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for storm in storms {
        let (told, cost) = (storm.told, storm.cost);
        let missed = match storm.listener {
            Listener::Nobody => String::new(),
            Listener::Agent | Listener::Forkstat => storm.missed().to_string(),
        };
        writeln!(
            text,
            "| {} | {} | {:.0} | {} | {} | {} | {} | {} | {missed} | {:.1} | {:.1} |",
            storm.weather.name(),
            storm.listener.name(),
            storm.rate(),
            storm.n_began,
            told.told,
            told.gone,
            told.held,
            told.lost,
            cost.cpu_percent,
            cost.peak_mib,
        )
        .ok();
    }
    text
}

/// What the agent missed of a storm, and how fast it blew beside what the machine can make.
fn storm_figures(storm: &Storm, storms: &[Storm]) -> Vec<Figure> {
    if storm.listener != Listener::Agent {
        return Vec::new();
    }
    let name = |what: &str| format!("hidps-agent, {}: {what}", storm.weather.name());
    let began = Peer {
        name: "those that began",
        value: storm.n_began as f64,
    };
    let count = |what: &str, count: u64| Figure::new(BENCH, name(what), count as f64, "", began);
    let mut figures = vec![
        count("programs told to be lost", storm.told.lost),
        count("programs missed untold", storm.missed()),
    ];
    let alone = storms
        .iter()
        .find(|other| other.weather == storm.weather && other.listener == Listener::Nobody);
    if let Some(alone) = alone {
        let limit = Peer {
            name: "the machine with nobody listening",
            value: alone.rate(),
        };
        figures.push(Figure::new(
            BENCH,
            name("programs"),
            storm.rate(),
            "/s",
            limit,
        ));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_leaves_out_what_is_no_number() {
        assert_eq!(middle([3.0, f64::NAN, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(middle([4.0, 1.0].into_iter()), Some(1.0));
        assert_eq!(middle(std::iter::empty()), None);
    }
}
