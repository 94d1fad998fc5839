//! What came out at the far end: which lines, how long after they were written, and what was told
//! of programs. It counts and never sends.

use std::time::{Duration, Instant};

use hidps_wire::{EventBatch, FieldValue, LogEvent};

/// Begins the mark in a line; behind it are the line's number and its time.
const MARK: &str = "mk-";

/// A text that a receiver finds again in whatever form a line arrives.
pub(super) fn mark(number: u64, began: Instant) -> String {
    format!("{MARK}{number}-{}x", began.elapsed().as_nanos())
}

/// Everything that arrived.
#[derive(Debug)]
pub(super) struct Arrivals {
    began: Instant,
    seen: Vec<bool>,
    /// From a line written to its arrival, in milliseconds.
    pub(super) delays: Vec<f64>,
    /// Frames of events, or reads of a plain connection.
    pub(super) n_frames: u64,
    /// What was told of programs.
    pub(super) programs: Programs,
}

/// What was told of programs that began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Programs {
    /// Of the storm's program, one by one.
    pub(super) told: u64,
    /// Ended before they could be looked at; their parent is told.
    pub(super) gone: u64,
    /// Counted, and not sent one by one.
    pub(super) held: u64,
    /// Missed, and told to be.
    pub(super) lost: u64,
}

impl Arrivals {
    /// Nothing yet; times in marks count from `began`.
    pub(super) fn since(began: Instant) -> Self {
        Self {
            began,
            seen: Vec::new(),
            delays: Vec::new(),
            n_frames: 0,
            programs: Programs::default(),
        }
    }

    /// How many different lines have arrived.
    pub(super) fn n_lines(&self) -> u64 {
        self.delays.len() as u64
    }

    /// Takes in whatever lines are in a text; a line that is told twice counts once.
    pub(super) fn on_text(&mut self, text: &str) {
        self.n_frames += 1;
        let now = self.began.elapsed();
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once(MARK) {
            rest = behind;
            let Some((number, written)) = read_mark(behind) else {
                continue;
            };
            if self.seen.len() <= number {
                self.seen.resize(number + 1, false);
            }
            if !std::mem::replace(&mut self.seen[number], true) {
                let delay = now.saturating_sub(written);
                self.delays.push(delay.as_secs_f64() * 1_000.0);
            }
        }
    }

    /// Takes in what a batch tells of programs; `program` is the storm's.
    pub(super) fn on_batch(&mut self, batch: &EventBatch<'_>, program: &str) {
        for event in &batch.events {
            self.programs.count(event, program);
        }
    }
}

impl Programs {
    fn count(&mut self, event: &LogEvent<'_>, program: &str) {
        let number = |name: &str| match event.fields.get(name) {
            Some(FieldValue::Integer(number)) => u64::try_from(*number).unwrap_or_default(),
            _ => 0,
        };
        let is = |name: &str, text: &str| event.fields.get(name) == Some(&FieldValue::from(text));
        let is_child = number("ParentProcessId") == u64::from(std::process::id());
        if is("event", "events_held") {
            self.held += number("executions");
        } else if is("event", "source_lost") {
            self.lost += number("lost");
        } else if is("event", "exited") {
        } else if is("Image", program) {
            self.told += 1;
        } else if event.fields.get("Image").is_none() && is_child {
            self.gone += 1;
        }
    }

    /// All that somebody can know of.
    pub(super) const fn accounted(self) -> u64 {
        self.told + self.gone + self.held + self.lost
    }
}

/// The number and the time behind a mark.
fn read_mark(text: &str) -> Option<(usize, Duration)> {
    let (number, rest) = text.split_once('-')?;
    let (nanos, _) = rest.split_once('x')?;
    Some((
        number.parse().ok()?,
        Duration::from_nanos(nanos.parse().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_told_twice_counts_once() {
        let began = Instant::now();
        let mut arrivals = Arrivals::since(began);
        let (first, second) = (mark(0, began), mark(7, began));

        arrivals.on_text(&format!(
            r#"{{"message":"user {first} from","user":"{first}"}}"#
        ));
        arrivals.on_text(&format!("{second}\n{first}\nmk-no mark\n"));

        assert_eq!((arrivals.n_lines(), arrivals.n_frames), (2, 2));
        assert!(arrivals.delays.iter().all(|delay| *delay >= 0.0));
    }
}
