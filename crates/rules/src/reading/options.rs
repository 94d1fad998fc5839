//! What a rule set is compiled with besides its files: pipelines and values for placeholders.
//! It never reads a file; texts come in as arguments.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::pipeline::Pipeline;

/// What rules are compiled with.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Pipelines, applied by priority and then in this order.
    pub pipelines: Vec<Pipeline>,
    /// What `%name%` stands for in values with `expand`, unless a pipeline says otherwise.
    pub placeholders: BTreeMap<String, Vec<String>>,
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
