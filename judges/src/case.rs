//! Cases: rules, events and what the oracle says of them, as files hold them.
//! It never runs an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Pairs of a rule's id and the number of an event that it matches.
pub type Pairs = BTreeSet<(String, usize)>;

/// Rules, events, and the oracle's answers.
#[derive(Clone, Deserialize, Debug)]
pub struct Case {
    /// What tells it from others.
    pub name: String,
    /// Whether events stand alone or make up a stream.
    pub kind: Kind,
    /// The rules, and filters among them.
    pub rules: Vec<RuleText>,
    /// The pipelines that all rules go through.
    #[serde(default)]
    pub pipelines: Vec<String>,
    /// The events, in the order of their times.
    pub events: Vec<CaseEvent>,
    /// Per rule id the numbers of the events that the oracle says it matches.
    pub matches: BTreeMap<String, Vec<usize>>,
    /// Why the second judge is not asked, if it is not.
    pub alone: Option<String>,
    /// Per rule id why the oracle says nothing about it.
    #[serde(default)]
    pub silent: BTreeMap<String, String>,
}

/// What the events of a case are to each other.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Each stands alone.
    Events,
    /// Each stands alone and nests: null, lists and objects among the values.
    Documents,
    /// They follow each other.
    Stream,
}

/// One rule.
#[derive(Clone, Deserialize, Debug)]
pub struct RuleText {
    /// A short name, for people and for the table of differences.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its YAML text.
    pub text: String,
}

/// One event.
#[derive(Clone, Deserialize, Debug)]
pub struct CaseEvent {
    /// Its log source.
    pub source: Source,
    /// Its line.
    pub message: String,
    /// Its fields.
    pub fields: Map<String, Value>,
    /// Its time in seconds.
    #[serde(default)]
    pub at: i64,
}

/// The log source of an event.
#[derive(Clone, Deserialize, Debug)]
pub struct Source {
    /// The class of events.
    pub category: Option<String>,
    /// The system.
    pub product: Option<String>,
    /// The program.
    pub service: Option<String>,
}

impl CaseEvent {
    /// It as one JSON object, its line under `message`.
    #[must_use]
    pub fn flat(&self) -> Value {
        let mut fields = self.fields.clone();
        fields
            .entry("message")
            .or_insert_with(|| self.message.clone().into());
        Value::Object(fields)
    }
}

impl Case {
    /// Reads a case from a file.
    ///
    /// # Errors
    /// When the file cannot be read or is no case.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }

    /// The pairs that the oracle names.
    #[must_use]
    pub fn expected(&self) -> Pairs {
        let pairs = self.matches.iter().flat_map(|(id, events)| {
            let pair = |event: &usize| (id.clone(), *event);
            events.iter().map(pair)
        });
        pairs.collect()
    }

    /// Whether time passes between events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.kind == Kind::Stream
    }

    /// The short name of a rule.
    #[must_use]
    pub fn name_of(&self, id: &str) -> &str {
        let named = self.rules.iter().find(|rule| rule.id == id);
        named.map_or("?", |rule| rule.name.as_str())
    }
}
