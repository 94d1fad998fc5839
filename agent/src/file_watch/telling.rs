//! From a change to its event: how the file is now, its content hashed beside the thread, who did it.
//! Events leave in the order of the changes; what takes too long is told without it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::change::{FileAction, FileChange};
use super::entry::{Entry, EntryKind};
use super::facts::Facts;
use super::hashing::{Done, Hasher, Unhashed};
use super::watch_tree::WatchTree;
use crate::agent_note::AgentNote;
use crate::collect::process::ProcessTable;
use crate::event_queue::EventQueue;

/// Most changes whose hash is waited for; beyond it the first is told without.
const MAX_WAITING: usize = 1_000;

/// How soon it is looked again whether there is time for files that nobody changed.
const BASELINE_PAUSE: Duration = Duration::from_secs(1);

/// How long a hash is waited for: a disk or another host that does not answer keeps no change back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Changes that are being told.
#[derive(Debug)]
pub(super) struct Telling {
    events: Arc<EventQueue>,
    processes: Arc<ProcessTable>,
    pub(super) hasher: Hasher,
    waiting: VecDeque<Waiting>,
    /// A file that is hashed though nobody changed it, by the number of its answer.
    baseline: Option<(u64, PathBuf, Entry)>,
    /// When the next one may be.
    baseline_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    change: FileChange,
    seen: Timestamp,
    facts: Facts,
    /// The answer it waits for.
    number: Option<u64>,
    /// Until when.
    until: Instant,
}

impl Telling {
    pub(super) fn new(events: Arc<EventQueue>, processes: Arc<ProcessTable>) -> Self {
        Self {
            events,
            processes,
            hasher: Hasher::start(),
            waiting: VecDeque::new(),
            baseline: None,
            baseline_at: None,
        }
    }

    pub(super) fn events(&self) -> &EventQueue {
        &self.events
    }

    /// Counts what the kernel dropped of who did what.
    pub(super) fn tell_actors_lost(&self) {
        tracing::warn!("the kernel dropped word of who changes files");
        let note = AgentNote::LinesLost {
            source: "file actors",
            lost: None,
            why: "more files were changed at once than the kernel keeps word of; what changed is \
                  told all the same"
                .to_owned(),
        };
        self.events.push(note.into_event());
    }

    pub(super) const fn processes(&self) -> &Arc<ProcessTable> {
        &self.processes
    }

    /// Begins to tell a change.
    pub(super) fn begin(
        &mut self,
        (change, seen): (FileChange, Timestamp),
        tree: &mut WatchTree,
        now: Instant,
    ) {
        let is_gone = matches!(change.action, FileAction::Deleted | FileAction::MovedFrom);
        let looked = (!is_gone)
            .then(|| tree.open_to_look(&change.path))
            .flatten();
        let mut facts = Facts::default();
        let mut number = None;
        if let Some((opened, entry)) = looked {
            let is_about_content = !matches!(change.action, FileAction::Attributes);
            if is_about_content && entry.kind == EntryKind::File {
                match self.hasher.hash(opened, entry.size, now) {
                    Ok(waits_for) => number = Some(waits_for),
                    Err(reason) => facts.unhashed = Some(reason),
                }
            }
            facts.after = Some(entry);
        }
        self.waiting.push_back(Waiting {
            change,
            seen,
            facts,
            number,
            until: now + PATIENCE,
        });
        if self.waiting.len() > MAX_WAITING
            && let Some(first) = self.waiting.front_mut()
            && first.number.take().is_some()
        {
            first.facts.unhashed = Some(Unhashed::Busy);
        }
        self.finish(tree);
    }

    /// A file was hashed.
    pub(super) fn on_done(&mut self, (number, hash): Done, tree: &mut WatchTree) {
        self.hasher.on_done();
        self.baseline_at = Some(Instant::now());
        if let Some((_, path, mut entry)) = self.baseline.take_if(|(its, ..)| *its == number) {
            entry.hash = hash.ok();
            // What was read may be from after a change of which nothing was heard yet.
            let looked = tree.open_to_look(&path);
            let is_as_looked_at = looked.is_some_and(|(_, now)| now.is_as_written(&entry));
            if entry.hash.is_some() && is_as_looked_at {
                tree.on_hashed(&path, &entry);
            }
            return;
        }
        let mut waiting = self.waiting.iter_mut();
        if let Some(waiting) = waiting.find(|waiting| waiting.number == Some(number)) {
            waiting.number = None;
            match (hash, &mut waiting.facts.after) {
                (Ok(hash), Some(entry)) => entry.hash = Some(hash),
                (Ok(_), None) => {}
                (Err(reason), _) => waiting.facts.unhashed = Some(reason),
            }
        }
        self.finish(tree);
    }

    /// When there may be something to do without anything happening.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let late = self.waiting.front().map(|first| first.until);
        let baseline = self.baseline_at.filter(|_| self.baseline.is_none());
        [late, baseline].into_iter().flatten().min()
    }

    /// Tells what waited too long, and hashes a file that nobody changed, if there is time for it.
    pub(super) fn work(&mut self, tree: &mut WatchTree, now: Instant) {
        for late in self.waiting.iter_mut().take_while(|it| it.until <= now) {
            if late.number.take().is_some() {
                late.facts.unhashed = Some(Unhashed::Busy);
            }
        }
        self.finish(tree);
        if self.baseline_at.is_some_and(|at| at > now) || self.baseline.is_some() {
            return;
        }
        self.baseline_at = Some(now + BASELINE_PAUSE);
        if !self.hasher.is_idle(now) {
            return;
        }
        let Some(path) = tree.next_unhashed() else {
            return;
        };
        self.baseline_at = Some(now);
        let looked = tree.open_to_look(&path);
        let looked = looked.filter(|(_, entry)| entry.is_hashable());
        if let Some((opened, entry)) = looked
            && let Ok(number) = self.hasher.hash(opened, entry.size, now)
        {
            self.baseline = Some((number, path, entry));
        }
    }

    /// Tells what waits for nothing more.
    fn finish(&mut self, tree: &mut WatchTree) {
        while let Some(told) = self.waiting.pop_front_if(|first| first.number.is_none()) {
            let Waiting {
                mut change,
                seen,
                mut facts,
                ..
            } = told;
            if change.action != FileAction::Created {
                facts.before = change.before.take().map(|before| *before);
            }
            if let (Some(before), Some(after)) = (&facts.before, &mut facts.after)
                && change.action == FileAction::Attributes
                && before.size == after.size
            {
                after.hash = before.hash;
            }
            let actor = tree.actor_of(&change);
            tree.on_told(&change, facts.after.as_ref());
            let about = (&facts, actor.as_ref());
            self.events
                .push(change.into_event(seen, about, &self.processes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::process::host_processes;
    use hidps_wire::WatchPath;
    use inotify::Inotify;

    #[tokio::test]
    async fn a_change_whose_content_is_never_read_is_told_without_it() {
        let events = Arc::new(EventQueue::default());
        let mut telling = Telling::new(Arc::clone(&events), host_processes());
        let mut tree = WatchTree::new(Inotify::init().unwrap().watches(), None);
        let now = Instant::now();
        telling.waiting.push_back(Waiting {
            change: FileChange {
                path: "/a".into(),
                action: FileAction::Modified,
                watched: WatchPath::parse("/a").unwrap(),
                from: None,
                cookie: 0,
                before: None,
            },
            seen: Timestamp::now(),
            facts: Facts::default(),
            number: Some(7),
            until: now + PATIENCE,
        });

        telling.work(&mut tree, now);
        let before = events.pushed();
        let due = telling.next_due();
        telling.work(&mut tree, now + PATIENCE);

        assert_eq!((before, events.pushed()), (0, 1));
        assert!(due.is_some_and(|due| due <= now + PATIENCE));
    }

    #[tokio::test]
    async fn nothing_is_due_while_a_file_that_nobody_changed_is_read() {
        let mut telling = Telling::new(Arc::new(EventQueue::default()), host_processes());
        let directory = tempfile::tempdir().unwrap();
        let opened = super::super::beneath::open_to_look(directory.path()).unwrap();
        let entry = Entry::of(&std::fs::File::from(opened).metadata().unwrap());

        telling.baseline_at = Some(Instant::now());
        let before = telling.next_due();
        telling.baseline = Some((7, "/a".into(), entry));

        assert!(before.is_some());
        assert_eq!(telling.next_due(), None);
    }
}
