//! From a change to its event: how the file is now, its content hashed beside the thread, who did it.
//! Events leave in the order of the changes; what takes too long is told without it.
//!
//! inotify says what happened and fanotify who did it, each by a queue of its own: a change waits
//! until what fanotify had to say by then was read.

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
use super::watch_tree::{After, WatchTree};
use super::who::FILE_ACTORS;
use crate::agent_note::AgentNote;
use crate::collect::process::ProcessTable;
use crate::collect::source_board::SourceBoard;
use crate::event_queue::EventQueue;

/// Most changes whose hash is waited for; beyond it the first is told without.
const MAX_WAITING: usize = 1_000;

/// How soon it is looked again whether there is time for files that nobody changed.
const BASELINE_PAUSE: Duration = Duration::from_secs(1);

/// How long a hash is waited for: a disk or another host that does not answer keeps no change back.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a change is kept back until it is read who did it: only a flood of changes takes more
/// than one look.
const HOLD: Duration = Duration::from_millis(250);

/// So many changes without who did them are said at once, whatever goes on.
const MAX_UNSAID: u64 = 1_000;

/// Changes that are being told.
#[derive(Debug)]
pub(super) struct Telling {
    events: Arc<EventQueue>,
    processes: Arc<ProcessTable>,
    board: Arc<SourceBoard>,
    pub(super) hasher: Hasher,
    waiting: VecDeque<Waiting>,
    /// A file that is hashed though nobody changed it, by the number of its answer.
    baseline: Option<(u64, PathBuf, Entry)>,
    /// When the next one may be.
    baseline_at: Option<Instant>,
    /// Changes told without who did them, because that was not read in time; not said yet.
    n_without_actor: u64,
    /// What became known since that was asked.
    news: Option<News>,
}

/// What became known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum News {
    /// The content of a file that nobody changed.
    Read,
    /// A change.
    Told,
}

#[derive(Debug)]
struct Waiting {
    change: FileChange,
    seen: Timestamp,
    facts: Facts,
    /// Whether the file could be looked at, if there is one.
    is_seen: bool,
    /// The answer it waits for.
    number: Option<u64>,
    /// Since when it waits.
    since: Instant,
}

impl Waiting {
    /// Until when its hash is waited for.
    fn until(&self) -> Instant {
        self.since + PATIENCE
    }

    /// Is told without a hash, if it waits for one.
    fn wait_no_more(&mut self, hasher: &mut Hasher) {
        if let Some(number) = self.number.take() {
            self.facts.unhashed = Some(Unhashed::Busy);
            hasher.forget(number);
        }
    }
}

impl Telling {
    pub(super) fn new(
        events: Arc<EventQueue>,
        processes: Arc<ProcessTable>,
        board: Arc<SourceBoard>,
    ) -> Self {
        Self {
            events,
            processes,
            board,
            hasher: Hasher::start(),
            waiting: VecDeque::new(),
            baseline: None,
            baseline_at: None,
            n_without_actor: 0,
            news: None,
        }
    }

    /// The changes that are being told, in their order.
    pub(super) fn waiting(&self) -> impl DoubleEndedIterator<Item = &FileChange> {
        self.waiting.iter().map(|waiting| &waiting.change)
    }

    /// What became known since this was asked, if anything.
    pub(super) const fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    pub(super) fn events(&self) -> &EventQueue {
        &self.events
    }

    /// Counts what the kernel dropped of who did what.
    fn tell_actors_lost(&self) {
        tracing::warn!("the kernel dropped word of who changes files");
        let why = "more files were changed at once than the kernel keeps word of; what changed is \
                   told all the same";
        self.tell_loss(None, why);
    }

    /// Counts changes told without who did them, once there is a moment's rest or many of them.
    fn tell_actors_late(&mut self) {
        let is_time = self.waiting.is_empty() || self.n_without_actor >= MAX_UNSAID;
        if is_time && self.n_without_actor > 0 {
            let n_without_actor = std::mem::take(&mut self.n_without_actor);
            let why = "more files were changed at once than could be read of who did it; what \
                       changed was told";
            self.tell_loss(Some(n_without_actor), why);
        }
    }

    fn tell_loss(&self, lost: Option<u64>, why: &str) {
        self.board.count_lost(FILE_ACTORS, lost);
        let note = AgentNote::LinesLost {
            source: FILE_ACTORS,
            lost,
            why: why.to_owned(),
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
        let looked = if is_gone {
            Ok(None)
        } else {
            tree.open_to_look(&change.path)
        };
        let mut facts = Facts::default();
        let mut number = None;
        let is_seen = looked.is_ok();
        if let Ok(Some((content, entry))) = looked {
            let is_about_content = !matches!(change.action, FileAction::Attributes);
            if is_about_content && entry.kind == EntryKind::File {
                match self.hasher.hash(content, entry.size, now) {
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
            is_seen,
            number,
            since: now,
        });
        if self.waiting.len() > MAX_WAITING
            && let Some(first) = self.waiting.front_mut()
        {
            first.wait_no_more(&mut self.hasher);
        }
        self.finish(tree, now);
    }

    /// A file was hashed.
    pub(super) fn on_done(&mut self, (number, hash): Done, tree: &mut WatchTree) {
        self.hasher.on_done(number);
        self.baseline_at = Some(Instant::now());
        if let Some((_, path, mut entry)) = self.baseline.take_if(|(its, ..)| *its == number) {
            entry.hash = hash.ok();
            // What was read may be from after a change of which nothing was heard yet.
            let looked = tree.open_to_look(&path);
            let is_as_looked_at = matches!(looked, Ok(Some((_, now))) if now.is_as_written(&entry));
            if entry.hash.is_some() && is_as_looked_at {
                tree.on_hashed(&path, &entry);
                self.news = self.news.max(Some(News::Read));
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
        self.finish(tree, Instant::now());
    }

    /// When there may be something to do without anything happening.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let late = self.waiting.front().map(|first| match first.number {
            Some(_) => first.until(),
            None => first.since + HOLD,
        });
        let baseline = self.baseline_at.filter(|_| self.baseline.is_none());
        let hung = self.hasher.hung_at();
        [late, baseline, hung].into_iter().flatten().min()
    }

    /// Tells what waited too long, and hashes a file that nobody changed, if there is time for it.
    pub(super) fn work(&mut self, tree: &mut WatchTree, now: Instant) {
        for late in self.waiting.iter_mut().take_while(|it| it.until() <= now) {
            late.wait_no_more(&mut self.hasher);
        }
        self.finish(tree, now);
        if self.hasher.give_up_hung(now) {
            self.baseline = None;
        }
        if tree.take_actor_loss() {
            self.tell_actors_lost();
        }
        self.tell_actors_late();
        if self.baseline_at.is_some_and(|at| at > now) || self.baseline.is_some() {
            return;
        }
        self.baseline_at = Some(now + BASELINE_PAUSE);
        if !self.hasher.is_idle(now) {
            return;
        }
        let Some(path) = tree.next_unhashed() else {
            // Another one can only come by what wakes the watcher anyway.
            self.baseline_at = None;
            return;
        };
        self.baseline_at = Some(now);
        if let Ok(Some((content, entry))) = tree.open_to_look(&path)
            && entry.is_hashable()
            && let Ok(number) = self.hasher.hash(content, entry.size, now)
        {
            self.baseline = Some((number, path, entry));
        }
    }

    /// Whether the first change waits for something.
    fn is_held(&mut self, tree: &mut WatchTree, now: Instant) -> bool {
        let is_flood = self.waiting.len() > MAX_WAITING;
        let Some(first) = self.waiting.front() else {
            return false;
        };
        if first.number.is_some() {
            return true;
        }
        if !tree.is_actor_awaited(&first.change, first.since, now) {
            return false;
        }
        let is_held = !is_flood && now < first.since + HOLD;
        self.n_without_actor += u64::from(!is_held);
        is_held
    }

    /// Tells what waits for nothing more.
    fn finish(&mut self, tree: &mut WatchTree, now: Instant) {
        while !self.is_held(tree, now)
            && let Some(told) = self.waiting.pop_front()
        {
            let Waiting {
                mut change,
                seen,
                mut facts,
                is_seen,
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
            self.news = Some(News::Told);
            let after = match &facts.after {
                Some(entry) => After::Is(entry),
                None if is_seen => After::Gone,
                None => After::Unseen,
            };
            tree.on_told(&change, after);
            let about = (&facts, actor.as_ref());
            self.events
                .push(change.into_event(seen, about, &self.processes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fid::tests::{directory, event};
    use super::super::kernel::KernelWatches;
    use super::super::memory::Memory;
    use super::super::reach::{self, Reach};
    use super::super::who::Who;
    use super::*;
    use crate::collect::process::host_processes;
    use hidps_wire::{EventBatch, MAX_AGENT_FRAME_BYTES, WatchPath, decode};
    use inotify::Inotify;
    use std::os::fd::OwnedFd;

    /// The kernel's bit of a write.
    const MODIFIED: u64 = 2;

    /// How often the kernel says something of a directory that nobody watches.
    const FLOOD: usize = 4_000;

    fn board() -> Arc<SourceBoard> {
        SourceBoard::new().0
    }

    fn modification(path: &str) -> FileChange {
        FileChange {
            path: path.into(),
            action: FileAction::Modified,
            watched: WatchPath::parse("/d").unwrap(),
            from: None,
            cookie: 0,
            before: None,
            is_away: false,
        }
    }

    /// A tree that hears who changes what is in `/d` through a pipe; none without the right to ask.
    fn tree_and_kernel(test: &str) -> Option<(WatchTree, OwnedFd)> {
        let flags = rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC;
        let (said, kernel) = rustix::pipe::pipe_with(flags).unwrap();
        rustix::pipe::fcntl_setpipe_size(&kernel, 1024 * 1024).unwrap();
        let who = Who::hearing(said, ("/d".into(), directory().0));
        let who = who.map_err(|error| hidps_lab::say_skipped(test, &error));
        Some((tree(Some(who.ok()?)), kernel))
    }

    fn tree(who: Option<Who>) -> WatchTree {
        let watches = Inotify::init().unwrap().watches();
        let kernel = KernelWatches::new(watches, who, Reach::new(reach::PATIENCE));
        WatchTree::new(kernel, Memory::default())
    }

    /// What was told, as message and process.
    async fn told(events: &EventQueue) -> Vec<(String, Option<i64>)> {
        events.on_connected(u32::MAX);
        let batch = events.next_batch().await;
        let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
        let fields = |event: &hidps_wire::LogEvent<'_>| {
            let process = match event.fields.get("ProcessId") {
                Some(hidps_wire::FieldValue::Integer(process)) => Some(*process),
                _ => None,
            };
            (event.message.to_string(), process)
        };
        batch.events.iter().map(fields).collect()
    }

    #[tokio::test]
    async fn who_did_it_is_read_before_a_change_is_told_whichever_queue_is_read_first() {
        let test = "who_did_it_is_read_before_a_change_is_told_whichever_queue_is_read_first";
        let Some((mut tree, kernel)) = tree_and_kernel(test) else {
            return;
        };
        let events = Arc::new(EventQueue::default());
        let mut telling = Telling::new(Arc::clone(&events), host_processes(), board());
        let (me, of_directory) = (std::process::id(), directory().1);
        let said = event(
            MODIFIED,
            i32::try_from(me).unwrap(),
            Some((&of_directory, "f")),
        );
        rustix::io::write(&kernel, &said).unwrap();

        let change = (modification("/d/f"), Timestamp::now());
        telling.begin(change, &mut tree, Instant::now());

        let told = told(&events).await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1, Some(i64::from(me)), "{told:?}");
    }

    #[tokio::test]
    async fn a_flood_holds_changes_for_a_moment_only_and_in_their_order() {
        let test = "a_flood_holds_changes_for_a_moment_only_and_in_their_order";
        let Some((mut tree, kernel)) = tree_and_kernel(test) else {
            return;
        };
        let events = Arc::new(EventQueue::default());
        let mut telling = Telling::new(Arc::clone(&events), host_processes(), board());
        let flood = event(MODIFIED, 1, Some((&[9; 4], "a name that is rather long")));
        rustix::io::write(&kernel, &flood.repeat(FLOOD)).unwrap();
        let now = Instant::now();

        // Nobody tells who changes what is in the second one's directory.
        for path in ["/d/f", "/elsewhere/f"] {
            telling.begin((modification(path), Timestamp::now()), &mut tree, now);
        }
        let at_once = events.pushed();
        let due = telling.next_due().unwrap();
        rustix::io::write(&kernel, &flood.repeat(FLOOD)).unwrap();
        telling.work(&mut tree, due);

        assert!(due <= now + HOLD);
        assert_eq!(at_once, 0);
        let told = told(&events).await;
        let told: Vec<_> = told.iter().map(|(message, _)| message.as_str()).collect();
        let [first, second, loss] = told[..] else {
            panic!("{told:?}");
        };
        assert!(first.starts_with("/d/f ") && second.starts_with("/elsewhere/f "));
        assert!(loss.starts_with("1 event(s) of the source file actors"));
        assert_eq!(telling.board.lost().sentence(), "file actors 1");
    }

    #[tokio::test]
    async fn a_change_whose_content_is_never_read_is_told_without_it() {
        let events = Arc::new(EventQueue::default());
        let mut telling = Telling::new(Arc::clone(&events), host_processes(), board());
        let mut tree = tree(None);
        let now = Instant::now();
        telling.waiting.push_back(Waiting {
            change: FileChange {
                path: "/a".into(),
                action: FileAction::Modified,
                watched: WatchPath::parse("/a").unwrap(),
                from: None,
                cookie: 0,
                before: None,
                is_away: false,
            },
            seen: Timestamp::now(),
            facts: Facts::default(),
            is_seen: true,
            number: Some(7),
            since: now,
        });

        telling.work(&mut tree, now);
        let before = events.pushed();
        let due = telling.next_due();
        telling.work(&mut tree, now + PATIENCE);

        assert_eq!((before, events.pushed()), (0, 1));
        assert!(due.is_some_and(|due| due <= now + PATIENCE));
    }

    #[tokio::test]
    async fn after_a_file_that_is_never_read_the_others_are() {
        let directory = tempfile::tempdir().unwrap();
        let mut telling = Telling::new(Arc::default(), host_processes(), board());
        telling.hasher = Hasher::that_hangs();
        let mut tree = tree(None);
        let paths = ["hangs", "other"].map(|name| directory.path().join(name));
        let wanted = paths.iter().map(|path| {
            std::fs::write(path, "abc").unwrap();
            let path = WatchPath::parse(path.to_str().unwrap()).unwrap();
            (path, hidps_wire::WatchDepth::Entries)
        });
        tree.set(&wanted.collect());

        telling.work(&mut tree, Instant::now());
        let read_first = telling.baseline.as_ref().map(|(_, path, _)| path.clone());
        let due = telling.next_due().unwrap();
        telling.work(&mut tree, due);
        let done = tokio::time::timeout(Duration::from_secs(30), telling.hasher.done.recv());
        let done = done.await.unwrap().unwrap();
        telling.on_done(done, &mut tree);

        assert_eq!(read_first.as_ref(), Some(&paths[0]));
        assert_eq!(
            telling.take_news(),
            Some(News::Read),
            "the other one is known"
        );
    }

    #[tokio::test]
    async fn nothing_is_due_while_a_file_that_nobody_changed_is_read() {
        let mut telling = Telling::new(Arc::default(), host_processes(), board());
        let directory = tempfile::tempdir().unwrap();
        let opened = super::super::beneath::open_to_look(directory.path()).unwrap();
        let entry = Entry::of(&std::fs::File::from(opened).metadata().unwrap());

        telling.baseline_at = Some(Instant::now());
        let before = telling.next_due();
        telling.baseline = Some((7, "/a".into(), entry));

        assert!(before.is_some());
        assert_eq!(telling.next_due(), None);
    }

    #[tokio::test]
    async fn nobody_is_woken_while_there_is_nothing_to_hash() {
        let mut telling = Telling::new(Arc::default(), host_processes(), board());
        let mut tree = tree(None);
        // The first allowance takes its time to come.
        telling.work(&mut tree, Instant::now() + PATIENCE);

        assert_eq!(telling.next_due(), None);
    }
}
