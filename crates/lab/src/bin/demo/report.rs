//! What came of each step: whether it held, how long it took, and what was seen.
//! A step that fails never hides those after it.

use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Map, Value, json};

/// What a step saw, and the latency people would ask about.
#[derive(Default)]
pub(crate) struct Observed {
    latency: Option<Duration>,
    facts: Map<String, Value>,
}

impl Observed {
    /// The latency the step is about.
    pub(crate) const fn took(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }

    /// Adds a fact.
    pub(crate) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a further latency.
    pub(crate) fn timed(self, name: &str, latency: Duration) -> Self {
        self.fact(&format!("{name} (ms)"), millis(latency))
    }
}

enum Outcome {
    Held(Observed),
    Failed(String),
    Skipped(String),
}

struct Step {
    title: &'static str,
    outcome: Outcome,
    whole: Duration,
}

/// All steps so far.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

impl Report {
    /// Runs a step; gives what it made, unless it failed.
    pub(crate) async fn step<T>(
        &mut self,
        title: &'static str,
        run: impl Future<Output = Result<(Observed, T)>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let (outcome, made) = match run.await {
            Ok((observed, made)) => (Outcome::Held(observed), Some(made)),
            Err(error) => (Outcome::Failed(format!("{error:#}")), None),
        };
        self.note(title, outcome, begun.elapsed());
        made
    }

    /// Notes a step that cannot be run here.
    pub(crate) fn skip(&mut self, title: &'static str, why: &str) {
        self.note(title, Outcome::Skipped(why.to_owned()), Duration::ZERO);
    }

    fn note(&mut self, title: &'static str, outcome: Outcome, whole: Duration) {
        let step = Step {
            title,
            outcome,
            whole,
        };
        // Progress is for whoever watches; the report is printed at the end.
        writeln!(std::io::stderr(), "{}", step.line(self.steps.len())).ok();
        self.steps.push(step);
    }

    /// Whether no step failed.
    pub(crate) fn is_ok(&self) -> bool {
        !self
            .steps
            .iter()
            .any(|step| matches!(step.outcome, Outcome::Failed(_)))
    }

    fn count_skipped(&self) -> usize {
        let is_skipped = |step: &&Step| matches!(step.outcome, Outcome::Skipped(_));
        self.steps.iter().filter(is_skipped).count()
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (number, step) in self.steps.iter().enumerate() {
            text.push_str(&step.line(number));
            text.push('\n');
            for line in step.details() {
                writeln!(text, "        {line}").expect("a string takes any text");
            }
        }
        let n_skipped = self.count_skipped();
        text.push_str(match (self.is_ok(), n_skipped) {
            (true, 0) => "every step held",
            (true, _) => "every step that can be told here held; the others were skipped",
            (false, _) => "NOT every step held",
        });
        text
    }

    /// The report for machines.
    pub(crate) fn json(&self) -> String {
        let whole: Duration = self.steps.iter().map(|step| step.whole).sum();
        let steps = self.steps.iter().enumerate();
        let steps: Vec<_> = steps.map(|(number, step)| step.json(number)).collect();
        let report = json!({
            "ok": self.is_ok(),
            "skipped": self.count_skipped(),
            "total_ms": millis(whole),
            "steps": steps,
        });
        serde_json::to_string_pretty(&report).expect("a value has a text form")
    }
}

impl Step {
    fn line(&self, number: usize) -> String {
        let (mark, latency) = match &self.outcome {
            Outcome::Held(observed) => ("ok  ", observed.latency),
            Outcome::Failed(_) => ("FAIL", None),
            Outcome::Skipped(_) => ("skip", None),
        };
        let latency =
            latency.map_or_else(String::new, |latency| format!("{:.0} ms", millis(latency)));
        format!("{number:>2}  {mark} {latency:>9}  {}", self.title)
    }

    fn details(&self) -> Vec<String> {
        match &self.outcome {
            Outcome::Held(observed) => observed
                .facts
                .iter()
                .map(|(name, value)| match value.as_str() {
                    Some(text) => format!("{name}: {text}"),
                    None => format!("{name}: {value}"),
                })
                .collect(),
            Outcome::Failed(why) | Outcome::Skipped(why) => {
                why.lines().map(str::to_owned).collect()
            }
        }
    }

    fn json(&self, number: usize) -> Value {
        let mut step = json!({"step": number, "title": self.title, "whole_ms": millis(self.whole)});
        match &self.outcome {
            Outcome::Held(observed) => {
                step["ok"] = json!(true);
                step["latency_ms"] = json!(observed.latency.map(millis));
                step["observed"] = Value::Object(observed.facts.clone());
            }
            Outcome::Failed(why) => {
                step["ok"] = json!(false);
                step["error"] = json!(why);
            }
            Outcome::Skipped(why) => {
                step["ok"] = Value::Null;
                step["skipped"] = json!(why);
            }
        }
        step
    }
}

/// Milliseconds with one decimal: finer than anything here is measured.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
