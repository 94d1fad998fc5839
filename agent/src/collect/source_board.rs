//! Which sources there are, how each is read, since when, what it cannot see, and what it lost.
//! It reads none of them: each source says how it is with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::source_losses::SourceLosses;
use crate::clock;
use crate::text::printable;

/// Longest sentence that is kept of a source.
const MAX_HOW_CHARS: usize = 300;

/// How it is with a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is read.
    Read,
    /// The host has no such thing.
    Absent,
    /// The host has it, and it cannot be read.
    Failed,
    /// The configuration leaves it alone.
    Off,
}

/// A source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceState {
    /// How it is with it.
    pub standing: Standing,
    /// Since when, RFC 3339 in UTC.
    pub since: String,
    /// How it is read, or why it is not.
    pub how: String,
    /// What it cannot see where it is read.
    pub cannot_see: String,
}

/// All sources by name.
pub type SourceStates = BTreeMap<String, SourceState>;

/// Where sources say how it is with them, and count what they lose.
#[derive(Debug)]
pub struct SourceBoard {
    states: watch::Sender<SourceStates>,
    losses: Mutex<SourceLosses>,
}

impl SourceBoard {
    /// An empty board; the receiver hears of every change.
    #[must_use]
    pub fn new() -> (Arc<Self>, watch::Receiver<SourceStates>) {
        let (states, receiver) = watch::channel(SourceStates::new());
        let board = Self {
            states,
            losses: Mutex::default(),
        };
        (Arc::new(board), receiver)
    }

    /// Takes note of how it is with a source; what is not new keeps its time.
    pub fn tell(&self, source: &str, standing: Standing, how: &str, cannot_see: &str) {
        let how = printable(how, MAX_HOW_CHARS);
        self.states.send_if_modified(|states| {
            let is_known = |known: &&SourceState| {
                known.standing == standing && known.how == how && known.cannot_see == cannot_see
            };
            if states.get(source).filter(is_known).is_some() {
                return false;
            }
            let state = SourceState {
                standing,
                since: clock::now(),
                how,
                cannot_see: cannot_see.to_owned(),
            };
            states.insert(source.to_owned(), state);
            true
        });
    }

    /// Counts what a source lost; none where nobody knows how much.
    pub fn count_lost(&self, source: &'static str, lost: Option<u64>) {
        self.losses().count(source, lost);
    }

    /// What every source lost so far.
    #[must_use]
    pub fn lost(&self) -> SourceLosses {
        self.losses().clone()
    }

    fn losses(&self) -> MutexGuard<'_, SourceLosses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_keeps_its_time_until_something_is_new_about_it() {
        let (board, mut states) = SourceBoard::new();
        board.tell("journal", Standing::Read, "from its files", "x");
        let first = states.borrow_and_update()["journal"].clone();

        board.tell("journal", Standing::Read, "from its files", "x");
        let is_told_again = states.has_changed().unwrap();
        board.tell("journal", Standing::Failed, "permission denied\n", "x");

        assert!(!is_told_again);
        let last = states.borrow()["journal"].clone();
        assert_eq!(
            (first.standing, last.standing),
            (Standing::Read, Standing::Failed)
        );
        assert!(!last.how.contains('\n'), "{}", last.how);
    }

    #[test]
    fn what_sources_lose_adds_up_by_source() {
        let (board, _states) = SourceBoard::new();

        board.count_lost("connections", Some(2));
        board.count_lost("connections", Some(3));
        board.count_lost("watched files", None);

        let sentence = board.lost().sentence();
        assert_eq!(sentence, "connections 5, watched files unknown");
    }
}
