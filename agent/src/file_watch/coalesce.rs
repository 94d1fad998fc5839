//! Joins what happens to one file within a moment: an editor's save is one event, not ten.
//! Two different things that happen to a file always stay two, but for the halves of a renaming,
//! which are one; the present time is an argument.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::change::{FileAction, FileChange};

/// How long a change waits for others like it: longer than a program's burst of writes, shorter
/// than anybody notices.
const WINDOW: Duration = Duration::from_millis(50);

/// Most changes that wait; beyond it the oldest are told early.
const MAX_WAITING: usize = 10_000;

/// Among so many changes the other half of a renaming is looked for: the kernel tells both at once.
const MAX_APART: usize = 64;

/// Changes that wait for others like them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Coalescer {
    waiting: VecDeque<Waiting>,
    open: BTreeSet<(PathBuf, FileAction)>,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    seen: Timestamp,
    change: FileChange,
}

impl Coalescer {
    /// Adds a change, unless the same one waits already.
    pub(super) fn add(&mut self, change: FileChange, now: Instant, seen: Timestamp) {
        let Some(change) = self.join(change) else {
            return;
        };
        if self.open.insert((change.path.clone(), change.action)) {
            self.waiting.push_back(Waiting {
                due: now + WINDOW,
                seen,
                change,
            });
        }
    }

    /// Makes one of the two halves of a renaming; what has no other half is given back.
    fn join(&mut self, change: FileChange) -> Option<FileChange> {
        let is_second = change.action == FileAction::MovedTo && change.cookie != 0;
        let latest = self.waiting.iter_mut().rev().take(MAX_APART);
        let mut latest = latest.filter(|_| is_second);
        let is_first = |waiting: &&mut Waiting| {
            waiting.change.action == FileAction::MovedFrom && waiting.change.cookie == change.cookie
        };
        let Some(first) = latest.find(is_first) else {
            return Some(change);
        };
        let from = std::mem::replace(&mut first.change.path, change.path);
        first.change.action = FileAction::Renamed;
        first.change.watched = change.watched;
        self.open.remove(&(from.clone(), FileAction::MovedFrom));
        self.open
            .insert((first.change.path.clone(), FileAction::Renamed));
        first.change.from = Some(from);
        None
    }

    /// When the next change is to be told.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.due)
    }

    /// The changes that wait, in their order.
    pub(super) fn waiting(&self) -> impl DoubleEndedIterator<Item = &FileChange> {
        self.waiting.iter().map(|waiting| &waiting.change)
    }

    /// The next change whose moment has passed.
    pub(super) fn poll_due(&mut self, now: Instant) -> Option<(FileChange, Timestamp)> {
        let is_full = self.waiting.len() > MAX_WAITING;
        let waiting = self
            .waiting
            .pop_front_if(|waiting| is_full || waiting.due <= now)?;
        let key = (waiting.change.path.clone(), waiting.change.action);
        self.open.remove(&key);
        Some((waiting.change, waiting.seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::WatchPath;

    fn change(path: &str, action: FileAction) -> FileChange {
        FileChange {
            path: path.into(),
            action,
            watched: WatchPath::parse(path).unwrap(),
            from: None,
            cookie: 0,
            before: None,
            is_away: false,
        }
    }

    fn told(coalescer: &mut Coalescer, now: Instant) -> Vec<(String, FileAction)> {
        std::iter::from_fn(|| coalescer.poll_due(now))
            .map(|(change, _)| (change.path.to_string_lossy().into_owned(), change.action))
            .collect()
    }

    #[test]
    fn equal_changes_within_a_moment_are_one_and_different_ones_stay_apart() {
        let (mut coalescer, now, seen) = (Coalescer::default(), Instant::now(), Timestamp::now());

        for _ in 0..10 {
            coalescer.add(change("/a", FileAction::Modified), now, seen);
        }
        coalescer.add(change("/a", FileAction::Deleted), now, seen);
        coalescer.add(change("/b", FileAction::Modified), now, seen);

        assert_eq!(told(&mut coalescer, now), []);
        let expected = [
            ("/a".to_owned(), FileAction::Modified),
            ("/a".to_owned(), FileAction::Deleted),
            ("/b".to_owned(), FileAction::Modified),
        ];
        assert_eq!(told(&mut coalescer, now + WINDOW), expected);
        assert_eq!(coalescer.next_due(), None);
    }

    #[test]
    fn the_same_change_later_is_told_again() {
        let (mut coalescer, now, seen) = (Coalescer::default(), Instant::now(), Timestamp::now());
        coalescer.add(change("/a", FileAction::Modified), now, seen);
        told(&mut coalescer, now + WINDOW);

        coalescer.add(change("/a", FileAction::Modified), now + WINDOW, seen);

        assert_eq!(told(&mut coalescer, now + WINDOW * 2).len(), 1);
    }

    #[test]
    fn the_halves_of_a_renaming_are_one_and_those_of_two_stay_two() {
        let (mut coalescer, now, seen) = (Coalescer::default(), Instant::now(), Timestamp::now());
        let half = |path, action, cookie| FileChange {
            cookie,
            ..change(path, action)
        };

        coalescer.add(half("/a", FileAction::MovedFrom, 1), now, seen);
        coalescer.add(half("/b", FileAction::MovedFrom, 2), now, seen);
        coalescer.add(half("/c", FileAction::MovedTo, 1), now, seen);
        coalescer.add(half("/d", FileAction::MovedTo, 3), now, seen);
        let (renamed, _) = coalescer.poll_due(now + WINDOW).unwrap();

        assert_eq!(
            (renamed.action, renamed.path),
            (FileAction::Renamed, "/c".into())
        );
        assert_eq!(renamed.from, Some("/a".into()));
        let expected = [
            ("/b".to_owned(), FileAction::MovedFrom),
            ("/d".to_owned(), FileAction::MovedTo),
        ];
        assert_eq!(told(&mut coalescer, now + WINDOW), expected);
    }

    #[test]
    fn a_flood_does_not_grow_without_end() {
        let (mut coalescer, now, seen) = (Coalescer::default(), Instant::now(), Timestamp::now());
        let mut early = 0;

        for number in 0..MAX_WAITING + 100 {
            coalescer.add(
                change(&format!("/{number}"), FileAction::Created),
                now,
                seen,
            );
            early += told(&mut coalescer, now).len();
        }

        assert_eq!(early, 100);
        assert_eq!(coalescer.waiting.len(), MAX_WAITING);
    }
}
