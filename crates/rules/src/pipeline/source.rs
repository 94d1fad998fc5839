//! The log sources behind each rule, so that pipelines can tell correlations apart.
//! It never refuses anything; what it cannot read has no log source.

use std::collections::HashMap;

use crate::reading::metadata::read_texts;
use crate::reading::yaml::Node;
use crate::search::routing::WantedSource;

/// Longest chain of correlations that is followed.
const MAX_CHAIN: usize = 16;

/// Per id and name of a rule the log sources of the events behind it.
pub(crate) type Sources = HashMap<String, Vec<WantedSource>>;

/// The sources of these documents, beside those of rules that are known already.
pub(crate) fn gather_sources<'n>(
    known: Sources,
    documents: impl Iterator<Item = &'n Node> + Clone,
) -> Sources {
    let mut sources = known;
    for document in documents.clone() {
        if let Ok(source) = WantedSource::read(document) {
            for name in names_of(document) {
                sources.insert(name, vec![source.clone()]);
            }
        }
    }
    for _ in 0..MAX_CHAIN {
        let n_known = sources.len();
        for document in documents.clone() {
            let Some(correlation) = document.get("correlation") else {
                continue;
            };
            let members = read_texts(correlation, "rules").unwrap_or_default();
            let behind: Vec<WantedSource> = members
                .iter()
                .filter_map(|member| sources.get(member))
                .flatten()
                .cloned()
                .collect();
            if behind.is_empty() {
                continue;
            }
            for name in names_of(document) {
                sources.entry(name).or_insert_with(|| behind.clone());
            }
        }
        if sources.len() == n_known {
            break;
        }
    }
    sources
}

/// The id and name of a document.
fn names_of(document: &Node) -> Vec<String> {
    let text = |key| document.get(key).and_then(Node::text).map(str::to_owned);
    ["id", "name"].into_iter().filter_map(text).collect()
}
