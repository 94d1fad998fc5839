//! Processing pipelines: how rules written for other names are made to fit our events.
//! It never changes a rule file; it says what becomes of a field, a value or a log source.

pub(crate) mod gate;
pub(crate) mod parse;
pub(crate) mod run;
pub(crate) mod source;

use std::collections::BTreeMap;

use crate::fault::RuleError;
use crate::pipeline::gate::{FieldTest, Gate, ItemTest, RuleTest};
use crate::pipeline::parse::parse_pipeline;
use crate::reading::yaml::Node;
use crate::search::routing::WantedSource;

/// A processing pipeline in the form that pySigma reads.
///
/// ```
/// use hidps_rules::{Options, Pipeline, RuleFile, RuleSet};
///
/// let pipeline = Pipeline::parse(
///     "names.yml",
///     "name: Names
/// transformations:
///   - type: field_name_mapping
///     mapping: {Image: [exe, process.executable]}
///     rule_conditions:
///       - {type: logsource, category: process_creation}
/// ",
/// )?;
/// let options = Options { pipelines: vec![pipeline], ..Options::default() };
/// let file = RuleFile {
///     name: "shell.yml",
///     text: "title: Shell
/// logsource: {category: process_creation}
/// detection: {s: {Image|endswith: /sh}, condition: s}
/// ",
/// };
/// assert!(RuleSet::compile_with(&[file], &options).is_ok());
/// # Ok::<(), hidps_rules::RuleError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name, for messages.
    pub(crate) name: String,
    /// Lower ones apply first.
    pub(crate) priority: i64,
    /// What placeholders stand for.
    pub(crate) variables: BTreeMap<String, Vec<String>>,
    /// What it does, in order.
    pub(crate) steps: Vec<Step>,
    /// A spelling of its text that is equal for equal content.
    pub(crate) canonical: String,
}

impl Pipeline {
    /// Reads a pipeline; `name` is used in messages.
    ///
    /// # Errors
    /// The first thing that this engine cannot honour, with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RuleError> {
        parse_pipeline(text).map_err(|fault| fault.in_file(name))
    }

    /// Its name, as the file gives it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One step of a pipeline: what is done, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Its name, by which conditions of later steps know it.
    pub(crate) id: Option<String>,
    /// What it does.
    pub(crate) action: Action,
    /// To which rules.
    pub(crate) rules: Gate<RuleTest>,
    /// To which lines of their selections.
    pub(crate) items: Gate<ItemTest>,
    /// To which field names.
    pub(crate) fields: Gate<FieldTest>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Gives a field one or several other names.
    MapFields(Vec<(String, Vec<String>)>),
    /// Gives the beginning of a field's name one or several other forms.
    MapPrefixes(Vec<(String, Vec<String>)>),
    /// Puts a text before every field's name.
    AddPrefix(String),
    /// Puts a text behind every field's name.
    AddSuffix(String),
    /// Removes a line of a selection.
    DropItem,
    /// Adds a selection that must hold, or must not.
    AddCondition {
        /// The selection.
        selection: Node,
        /// Whether it must not hold.
        negated: bool,
    },
    /// Gives a rule another log source.
    ChangeSource(WantedSource),
    /// Puts the values of variables in the place of placeholders.
    FillPlaceholders(NameFilter),
    /// Puts `*` in the place of placeholders.
    LiftPlaceholders(NameFilter),
    /// Notes something for the conditions of later steps.
    SetState(String, String),
    /// Refuses a rule.
    RefuseRule(String),
    /// Refuses a line of a selection.
    RefuseItem(String),
}

/// Which placeholders a step is about.
#[derive(Clone, Default, Debug)]
pub(crate) struct NameFilter {
    /// Only these, if there are any.
    pub(crate) include: Vec<String>,
    /// All but these.
    pub(crate) exclude: Vec<String>,
}

impl NameFilter {
    /// Whether a placeholder is meant.
    pub(crate) fn admits(&self, name: &str) -> bool {
        let is_named = |names: &[String]| names.iter().any(|one| one == name);
        (self.include.is_empty() || is_named(&self.include)) && !is_named(&self.exclude)
    }
}

impl Action {
    /// The names a field gets; nothing when this leaves it as it is.
    pub(crate) fn rename(&self, field: &str) -> Option<Vec<String>> {
        match self {
            Self::MapFields(mapping) => {
                let found = mapping.iter().find(|(from, _)| from == field);
                found.map(|(_, names)| names.clone())
            }
            Self::MapPrefixes(mapping) => mapping.iter().find_map(|(from, names)| {
                let rest = field.strip_prefix(from.as_str())?;
                Some(names.iter().map(|name| format!("{name}{rest}")).collect())
            }),
            Self::AddPrefix(prefix) => Some(vec![format!("{prefix}{field}")]),
            Self::AddSuffix(suffix) => Some(vec![format!("{field}{suffix}")]),
            Self::DropItem
            | Self::AddCondition { .. }
            | Self::ChangeSource(_)
            | Self::FillPlaceholders(_)
            | Self::LiftPlaceholders(_)
            | Self::SetState(..)
            | Self::RefuseRule(_)
            | Self::RefuseItem(_) => None,
        }
    }

    /// What this notes under a key.
    pub(crate) fn state_of(&self, key: &str) -> Option<&String> {
        match self {
            Self::SetState(name, value) => (name == key).then_some(value),
            Self::MapFields(_)
            | Self::MapPrefixes(_)
            | Self::AddPrefix(_)
            | Self::AddSuffix(_)
            | Self::DropItem
            | Self::AddCondition { .. }
            | Self::ChangeSource(_)
            | Self::FillPlaceholders(_)
            | Self::LiftPlaceholders(_)
            | Self::RefuseRule(_)
            | Self::RefuseItem(_) => None,
        }
    }
}
