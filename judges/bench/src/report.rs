//! Figures on the terminal, or as one JSON array.
//! It never decides whether a figure is good.

use std::time::Duration;

use serde_json::{Value, json};

use crate::measure::{Duel, Figure};

/// Collects and prints figures.
#[derive(Debug)]
pub struct Report {
    json: bool,
    section: String,
    rows: Vec<Value>,
}

impl Report {
    /// A report without figures.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            section: String::new(),
            rows: Vec::new(),
        }
    }

    /// How busy the machine was.
    pub fn load_average(&mut self, load: f64) {
        self.print(&format!("load average {load:.2}"));
        self.rows
            .push(json!({"name": "load average", "load": load}));
    }

    /// Begins a group of figures.
    pub fn section(&mut self, title: &str) {
        title.clone_into(&mut self.section);
        self.print(&format!("\n{title}"));
    }

    /// Two engines over a stream.
    pub fn duel(&mut self, name: &str, duel: &Duel) {
        let agreement = match duel.disagreements {
            0 => "same matches".to_owned(),
            differing => format!("DIFFERENT MATCHES on {differing} events"),
        };
        self.print(&format!(
            "  {name:<16} {:>10} ev/s {:>7.0} ns   other {:>9} ev/s {:>7.0} ns   {:>5.1} x   {agreement} ({})",
            thousands(duel.ours.rate), 1e9 / duel.ours.rate, thousands(duel.theirs.rate),
            1e9 / duel.theirs.rate, duel.ratio, duel.ours.matches,
        ));
        self.rows.push(json!({
            "section": self.section, "name": name, "events_per_s": duel.ours.rate,
            "other_events_per_s": duel.theirs.rate, "ratio": duel.ratio,
            "matches": duel.ours.matches, "disagreements": duel.disagreements,
        }));
    }

    /// Our engine over a stream.
    pub fn figure(&mut self, name: &str, figure: &Figure) {
        self.print(&format!(
            "  {name:<16} {:>10} ev/s {:>7.0} ns   {} matches",
            thousands(figure.rate),
            1e9 / figure.rate,
            figure.matches
        ));
        self.rows.push(json!({
            "section": self.section, "name": name, "events_per_s": figure.rate, "matches": figure.matches,
        }));
    }

    /// A time.
    pub fn time(&mut self, name: &str, time: Duration) {
        self.print(&format!(
            "  {name:<34} {:>8.1} ms",
            time.as_secs_f64() * 1e3
        ));
        self.rows
            .push(json!({"section": self.section, "name": name, "seconds": time.as_secs_f64()}));
    }

    /// A size in memory.
    pub fn bytes(&mut self, name: &str, bytes: u64) {
        self.print(&format!(
            "  {name:<34} {:>8.1} MiB",
            bytes as f64 / 1_048_576.0
        ));
        self.rows
            .push(json!({"section": self.section, "name": name, "bytes": bytes}));
    }

    /// Prints what is left.
    pub fn finish(self) {
        if self.json {
            println!("{}", Value::Array(self.rows));
        }
    }

    /// A line for people.
    fn print(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }
}

/// A rate with separators.
fn thousands(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
