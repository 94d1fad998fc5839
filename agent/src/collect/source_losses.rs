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

    /// What one source lost, as a few words; none where it lost nothing.
    #[must_use]
    pub fn of(&self, source: &str) -> Option<String> {
        self.sources.get(source).map(SourceLoss::words)
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
            .map(|(name, loss)| format!("{name} {}", loss.words()))
            .collect();
        words.join(", ")
    }
}

impl SourceLoss {
    fn words(&self) -> String {
        match (self.known, self.unknown) {
            (known, 0) => known.to_string(),
            (0, _) => "unknown".to_owned(),
            (known, _) => format!("{known} and unknown"),
        }
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
