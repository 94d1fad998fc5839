//! The report of a task of several steps: each is run, timed and named; nothing is skipped silently.
//! A failing step never hides the steps after it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What came of the steps so far.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: String,
    outcome: Outcome,
    took: Duration,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Report {
    /// Runs a step and notes what came of it.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) {
        println!("==> {name}");
        let begun = Instant::now();
        let outcome = match run() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                println!("{error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        self.note(name, outcome, begun.elapsed());
    }

    /// Notes a step that cannot be run here, with the reason and the remedy.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("==> {name}: skipped: {why}");
        self.note(name, Outcome::Skipped(why.to_owned()), Duration::ZERO);
    }

    /// Takes over what came of the steps of another report.
    pub(crate) fn add(&mut self, other: Self) {
        self.steps.extend(other.steps);
    }

    fn note(&mut self, name: &str, outcome: Outcome, took: Duration) {
        self.steps.push(Step {
            name: name.to_owned(),
            outcome,
            took,
        });
    }

    /// Prints one line for each step and says whether all went well.
    pub(crate) fn finish(&self) -> ExitCode {
        println!();
        for step in &self.steps {
            println!("{}", step.line());
        }
        if self.failed() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    fn failed(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.outcome, Outcome::Failed(_)))
    }
}

impl Step {
    fn line(&self) -> String {
        let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        let (mark, note) = match &self.outcome {
            Outcome::Passed => ("ok  ", format!("{:.1} s", self.took.as_secs_f64())),
            Outcome::Failed(why) => ("FAIL", first_line(why)),
            Outcome::Skipped(why) => ("skip", first_line(why)),
        };
        format!("{mark}  {:<34} {note}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failed_step_fails_the_report_and_the_next_step_still_runs() {
        let mut report = Report::default();
        let mut second_ran = false;

        report.step("first", || bail!("it broke"));
        report.step("second", || {
            second_ran = true;
            Ok(())
        });

        assert!(report.failed());
        assert!(second_ran);
    }

    #[test]
    fn a_skipped_step_shows_its_reason_and_fails_nothing() {
        let mut report = Report::default();

        report.skip("advisories", "no network");

        assert!(!report.failed());
        assert!(report.steps[0].line().contains("no network"));
    }
}
