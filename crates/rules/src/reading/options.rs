//! What a rule set is compiled with besides its files: pipelines and values for placeholders.
//! It never reads a file; texts come in as arguments.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::fault::{Fault, RuleError};
use crate::pipeline::Pipeline;
use crate::reading::metadata::read_text_list;
use crate::reading::yaml::{Entry, Kind, Node, parse_documents};

/// What rules are compiled with.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Pipelines, applied by priority and then in this order.
    pub pipelines: Vec<Pipeline>,
    /// What `%name%` stands for in values with `expand`, unless a pipeline says otherwise.
    pub placeholders: BTreeMap<String, Vec<String>>,
}

/// Reads what placeholders stand for: a map from each name to its value or values.
///
/// # Errors
/// The first thing that is no such map, with its place; `name` is used in messages.
pub fn parse_placeholders(
    name: &str,
    text: &str,
) -> Result<BTreeMap<String, Vec<String>>, RuleError> {
    read_placeholders(text).map_err(|fault| fault.in_file(name))
}

fn read_placeholders(text: &str) -> Result<BTreeMap<String, Vec<String>>, Fault> {
    let nodes = parse_documents(text)?;
    let entries = match nodes.as_slice() {
        [] => return Ok(BTreeMap::new()),
        [
            Node {
                kind: Kind::Map(entries),
                ..
            },
        ] => entries,
        [node, ..] => {
            return Err(Fault::new(
                node.at,
                "placeholders are one map from names to values",
                "write 'name: value' or 'name: [value, value]', one a line",
            ));
        }
    };
    let read = |entry: &Entry| Ok((entry.key.clone(), read_text_list(&entry.value, &entry.key)?));
    entries.iter().map(read).collect()
}

impl Options {
    /// The pipelines in the order in which they apply.
    pub(crate) fn ordered(&self) -> Vec<&Pipeline> {
        let mut ordered: Vec<&Pipeline> = self.pipelines.iter().collect();
        ordered.sort_by_key(|pipeline| pipeline.priority);
        ordered
    }

    /// Bytes that are equal for equal options; none for the default.
    pub(crate) fn digest(&self) -> Vec<u8> {
        if self.pipelines.is_empty() && self.placeholders.is_empty() {
            return Vec::new();
        }
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        for pipeline in self.ordered() {
            add(&pipeline.canonical);
        }
        for (name, values) in &self.placeholders {
            add(name);
            values.iter().for_each(|value| add(value));
            add("");
        }
        hash.finalize().to_vec()
    }
}
