//! What each source lost before the agent could read it, counted since the agent started.
//! It says "unknown" where a number would be made up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The losses of every source that had any.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SourceLosses {
    sources: BTreeMap<String, SourceLoss>,
}

/// What one source lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct SourceLoss {
    /// How many events, as far as that can be known.
    known: u64,
    /// How often an unknown number was lost.
    unknown: u64,
}

impl SourceLosses {
    /// Counts a loss.
    pub fn count(&mut self, source: &'static str, lost: Option<u64>) {
        let loss = self.sources.entry(source.to_owned()).or_default();
        match lost {
            Some(lost) => loss.known = loss.known.saturating_add(lost),
            None => loss.unknown = loss.unknown.saturating_add(1),
        }
    }

    /// Whether nothing was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The sources with their losses: `journal 12, kernel log 3 and unknown`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let words: Vec<_> = self
            .sources
            .iter()
            .map(|(name, loss)| match (loss.known, loss.unknown) {
                (known, 0) => format!("{name} {known}"),
                (0, _) => format!("{name} unknown"),
                (known, _) => format!("{name} {known} and unknown"),
            })
            .collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told_beside_what_is_not() {
        let mut losses = SourceLosses::default();
        assert!(losses.is_empty());

        losses.count("journal", Some(5));
        losses.count("journal", Some(7));
        losses.count("kernel log", Some(3));
        losses.count("kernel log", None);

        assert_eq!(losses.sentence(), "journal 12, kernel log 3 and unknown");
    }
}
