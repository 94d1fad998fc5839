//! Hashes the content of watched files on a thread of its own, so much a second and no more.
//! It opens nothing by a path: what it reads was opened before, and found to be a file with content.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::beneath::magic_path;

/// Files beyond it are not hashed: configurations, programs and scripts are smaller.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How much may be read at once, after a pause.
const BURST_BYTES: u64 = 64 * 1024 * 1024;

/// How much may be read in a second: a small part of what any disk gives.
const BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

/// A file costs at least as much as opening it.
const MIN_COST: u64 = 4 * 1024;

/// Files that wait for the thread.
const QUEUE: usize = 64;

/// After so long without an answer a thread waits for a file system that gives none.
const HUNG: Duration = Duration::from_secs(60);

/// Most threads that are given up: each may hold a file of a file system for ever.
const MAX_GIVEN_UP: usize = 3;

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The thread's stack; it holds no large values.
const STACK_BYTES: usize = 128 * 1024;

/// The content of a file.
pub(super) type Hash = [u8; 32];

/// A hash as people write it.
pub(super) fn hex(hash: &Hash) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * hash.len());
    for byte in hash {
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text
}

/// Hashes in files of the agent.
pub(super) mod text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Hash, hex};

    pub(in super::super) fn serialize<S: Serializer>(
        hash: &Option<Hash>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => serializer.serialize_some(&hex(hash)),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(
        deserializer: D,
    ) -> Result<Option<Hash>, D::Error> {
        let text = Option::<std::borrow::Cow<'d, str>>::deserialize(deserializer)?;
        let parsed = |text: &str| parse(text).ok_or_else(|| D::Error::custom("this is no hash"));
        text.as_deref().map(parsed).transpose()
    }

    fn parse(text: &str) -> Option<Hash> {
        let mut hash = Hash::default();
        if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(hash)
    }
}

/// Why a file has no hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unhashed {
    /// It is larger than [`MAX_BYTES`].
    TooLarge,
    /// More changes at once than may be read.
    Busy,
    /// It could not be read.
    Unreadable,
}

impl Unhashed {
    /// The value of the field `unhashed`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A file that was hashed.
pub(super) type Done = (u64, Result<Hash, Unhashed>);

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Hasher {
    /// None where there can be none.
    worker: Option<Worker>,
    pub(super) done: mpsc::Receiver<Done>,
    /// For the next thread, should this one wait for a file system that does not answer.
    done_tx: mpsc::Sender<Done>,
    allowance: Allowance,
    /// What the thread was not asked yet: one that is given up keeps no file but its own.
    queue: VecDeque<Job>,
    /// What it was asked, and when.
    asked: Option<(u64, Instant)>,
    /// Threads that waited for too long, until they end after all.
    given_up: Vec<JoinHandle<()>>,
    last: u64,
}

/// A file to be hashed.
#[derive(Debug)]
struct Job {
    number: u64,
    content: Content,
}

/// The thread that reads.
#[derive(Debug)]
struct Worker {
    jobs: SyncSender<(u64, OwnedFd)>,
    thread: JoinHandle<()>,
}

/// A file that was opened to be known, and not yet to be read.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) opened: OwnedFd,
    /// Whether its file system may let whoever reads it wait for ever.
    pub(super) may_hang: bool,
}

impl Hasher {
    /// Starts the thread; without one nothing is hashed.
    pub(super) fn start() -> Self {
        let (done_tx, done) = mpsc::channel(QUEUE);
        Self {
            worker: Worker::start(done_tx.clone()),
            done,
            done_tx,
            allowance: Allowance::default(),
            queue: VecDeque::new(),
            asked: None,
            given_up: Vec::new(),
            last: 0,
        }
    }

    /// When the thread is given up, should it not have answered by then.
    pub(super) fn hung_at(&self) -> Option<Instant> {
        let asked = self.asked.filter(|_| self.given_up.len() < MAX_GIVEN_UP);
        asked.map(|(_, at)| at + HUNG)
    }

    /// Gives the thread up if it waits for ever, and says whether it did: what it was asked is awaited no
    /// more, and the next thread reads what has waited behind it.
    pub(super) fn give_up_hung(&mut self, now: Instant) -> bool {
        self.given_up.retain(|thread| !thread.is_finished());
        let is_hung = self.hung_at().is_some_and(|at| at <= now);
        if is_hung {
            tracing::warn!("a watched file is not read within a minute; others are read on");
            let next = Worker::start(self.done_tx.clone());
            let hung = std::mem::replace(&mut self.worker, next);
            self.given_up.extend(hung.map(|hung| hung.thread));
            self.asked = None;
            self.ask_next(now);
        }
        is_hung
    }

    /// Has a file hashed; the answer comes under the number returned.
    pub(super) fn hash(
        &mut self,
        content: Content,
        size: u64,
        now: Instant,
    ) -> Result<u64, Unhashed> {
        if size > MAX_BYTES {
            return Err(Unhashed::TooLarge);
        }
        // The last thread is for those that always answer.
        if content.may_hang && self.given_up.len() >= MAX_GIVEN_UP {
            return Err(Unhashed::Unreadable);
        }
        if self.worker.is_none() {
            return Err(Unhashed::Unreadable);
        }
        if self.queue.len() >= QUEUE || !self.allowance.take(size.max(MIN_COST), now) {
            return Err(Unhashed::Busy);
        }
        self.last += 1;
        let number = self.last;
        self.queue.push_back(Job { number, content });
        self.ask_next(now);
        Ok(number)
    }

    /// An answer was taken; nobody waits for that of a thread that was given up.
    pub(super) fn on_done(&mut self, number: u64) {
        if self.asked.is_some_and(|(asked, _)| asked == number) {
            self.asked = None;
            self.ask_next(Instant::now());
        }
    }

    /// An answer is awaited by nobody any more; a file that was not begun is let go of.
    pub(super) fn forget(&mut self, number: u64) {
        self.queue.retain(|job| job.number != number);
    }

    /// Asks the thread for the next file, unless it reads one.
    fn ask_next(&mut self, now: Instant) {
        while self.asked.is_none()
            && let Some(Job { number, content }) = self.queue.pop_front()
        {
            let is_for_last = !content.may_hang || self.given_up.len() < MAX_GIVEN_UP;
            let worker = self.worker.as_ref().filter(|_| is_for_last);
            let job = (number, content.opened);
            if worker.is_some_and(|worker| worker.jobs.try_send(job).is_ok()) {
                self.asked = Some((number, now));
            } else {
                // Whoever waits for it would wait in vain, and does so for a moment if this is not heard.
                self.done_tx
                    .try_send((number, Err(Unhashed::Unreadable)))
                    .ok();
            }
        }
    }

    /// Whether there is time for a file that nobody waits for.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        let rests = self.asked.is_none() && self.queue.is_empty();
        self.worker.is_some() && rests && self.allowance.is_ample(now)
    }
}

impl Worker {
    /// None where there can be none.
    fn start(done: mpsc::Sender<Done>) -> Option<Self> {
        let started = Self::spawn(move |waiting| work(&waiting, &done));
        if let Err(error) = &started {
            tracing::warn!(%error, "watched files are not hashed");
        }
        started.ok()
    }

    fn spawn(work: impl FnOnce(Receiver<(u64, OwnedFd)>) + Send + 'static) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("hashes".to_owned())
            .stack_size(STACK_BYTES);
        let thread = thread.spawn(move || work(waiting))?;
        Ok(Self { jobs, thread })
    }
}

fn work(waiting: &Receiver<(u64, OwnedFd)>, done: &mpsc::Sender<Done>) {
    while let Ok((number, opened)) = waiting.recv() {
        let hash = read(opened).map_err(|_| Unhashed::Unreadable);
        if done.blocking_send((number, hash)).is_err() {
            return;
        }
    }
}

/// Opens what was found once more, to be read, and reads it. Nothing is open afterwards: while
/// anything is, its file system cannot be unmounted.
fn read(opened: OwnedFd) -> io::Result<Hash> {
    // Of a file with content only; should it be none, nobody waits for it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let path = magic_path(opened.as_fd());
    let mut file = File::from(openat(CWD, &path, flags, Mode::empty())?).take(MAX_BYTES);
    drop(opened);
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(n) => hasher.update(chunk.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How much may be read now.
#[derive(Debug, Default)]
struct Allowance {
    /// What was read and not made up for by time.
    spent: u64,
    /// Until when time is counted.
    counted: Option<Instant>,
}

impl Allowance {
    /// Takes so much, if it is there.
    fn take(&mut self, bytes: u64, now: Instant) -> bool {
        self.refill(now);
        let is_there = self.spent + bytes <= BURST_BYTES;
        self.spent += if is_there { bytes } else { 0 };
        is_there
    }

    /// Whether so much is there that changes to come have enough of it.
    fn is_ample(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.spent < BURST_BYTES / 2
    }

    fn refill(&mut self, now: Instant) {
        let counted = *self.counted.get_or_insert(now);
        let passed = now.saturating_duration_since(counted).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let bytes = passed.saturating_mul(BYTES_PER_SECOND / 1_000);
        self.spent = self.spent.saturating_sub(bytes);
        self.counted = Some(counted + Duration::from_millis(passed));
    }
}

#[cfg(test)]
impl Hasher {
    /// One whose thread takes whatever it is asked, and never answers.
    pub(super) fn that_hangs() -> Self {
        let mut hasher = Self::start();
        hasher.worker = Worker::spawn(|waiting| while waiting.recv().is_ok() {}).ok();
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn hash(path: &std::path::Path, hasher: &mut Hasher) -> Result<Hash, Unhashed> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty()).unwrap();
        let size = std::fs::metadata(path).unwrap().len();
        let content = Content {
            opened,
            may_hang: false,
        };
        let number = hasher.hash(content, size, Instant::now())?;
        let done = tokio::time::timeout(Duration::from_secs(30), hasher.done.recv());
        let (answered, hash) = done.await.unwrap().unwrap();
        hasher.on_done(answered);
        assert_eq!(answered, number);
        hash
    }

    #[tokio::test]
    async fn content_is_hashed_and_what_is_too_large_or_no_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (small, large) = (
            directory.path().join("small"),
            directory.path().join("large"),
        );
        std::fs::write(&small, "abc").unwrap();
        let file = File::create(&large).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        let mut hasher = Hasher::start();

        let abc = hash(&small, &mut hasher).await.unwrap();

        assert_eq!(abc[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(hash(&large, &mut hasher).await, Err(Unhashed::TooLarge));
        let of_directory = hash(directory.path(), &mut hasher).await;
        assert_eq!(of_directory, Err(Unhashed::Unreadable));
    }

    #[tokio::test]
    async fn a_file_is_let_go_of_before_its_hash_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let mut hasher = Hasher::start();
        let is_open = || {
            let opened = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let mut leads_to = opened.filter_map(|fd| std::fs::read_link(fd.path()).ok());
            leads_to.any(|target| target == path)
        };

        for _ in 0..500 {
            hash(&path, &mut hasher).await.unwrap();

            assert!(!is_open());
        }
    }

    /// A thread that waits for ever is given up, or until it is let go of.
    fn hang(hasher: &mut Hasher) -> SyncSender<()> {
        let (let_go, waits) = sync_channel(0);
        let worker = Worker::spawn(move |_waiting| {
            waits.recv().ok();
        });
        hasher.worker = Some(worker.unwrap());
        let_go
    }

    #[tokio::test]
    async fn what_waits_behind_a_file_that_hangs_is_read_by_the_next_thread_or_let_go_of() {
        let directory = tempfile::tempdir().unwrap();
        let content = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, "abc").unwrap();
            Content {
                opened: super::super::beneath::open_to_look(&path).unwrap(),
                may_hang: false,
            }
        };
        let open = || {
            let opened = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let leads_to = opened.filter_map(|fd| std::fs::read_link(fd.path()).ok());
            let ours = leads_to.filter(|target| target.starts_with(directory.path()));
            let names = ours.filter_map(|target| Some(target.file_name()?.to_owned()));
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let (mut hasher, now) = (Hasher::start(), Instant::now());
        // It holds what it was asked for, as a thread does that waits in a read.
        let (let_go, waits) = sync_channel::<()>(0);
        let worker = Worker::spawn(move |waiting| {
            let _held = waiting.recv();
            waits.recv().ok();
        });
        hasher.worker = Some(worker.unwrap());
        hasher.hash(content("hangs"), 0, now).unwrap();
        let unwanted = hasher.hash(content("unwanted"), 0, now).unwrap();
        let healthy = hasher.hash(content("healthy"), 0, now).unwrap();

        hasher.forget(unwanted);
        let open_before = open();
        let hung_at = hasher.hung_at().unwrap();
        assert!(hasher.give_up_hung(hung_at));
        let done = tokio::time::timeout(Duration::from_secs(30), hasher.done.recv());
        let (number, hash) = done.await.unwrap().unwrap();
        hasher.on_done(number);

        let [hangs, healthy_name] = ["hangs", "healthy"].map(std::ffi::OsString::from);
        assert_eq!(open_before, [hangs.clone(), healthy_name].into());
        assert_eq!((number, hash.is_ok()), (healthy, true));
        assert_eq!(open(), [hangs].into(), "no other can keep its file system");
        assert_eq!(hasher.hung_at(), None, "nothing is waited for");
        drop(let_go);
    }

    #[tokio::test]
    async fn the_last_thread_reads_nothing_that_may_hang_until_another_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content = |may_hang| Content {
            opened: super::super::beneath::open_to_look(file.path()).unwrap(),
            may_hang,
        };
        let (mut hasher, mut now) = (Hasher::start(), Instant::now());
        let mut hung = Vec::new();
        for _ in 0..MAX_GIVEN_UP {
            hung.push(hang(&mut hasher));
            hasher.hash(content(true), 0, now).unwrap();
            now = hasher.hung_at().unwrap();
            assert!(hasher.give_up_hung(now));
        }

        let refused = hasher.hash(content(true), 0, now);
        let taken = hasher.hash(content(false), 0, now);
        hung.clear();
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while hasher.hash(content(true), 0, now).is_err() {
            assert!(
                std::time::Instant::now() < end,
                "a thread that ended counts"
            );
            hasher.give_up_hung(now);
            std::thread::yield_now();
        }

        assert_eq!(refused, Err(Unhashed::Unreadable));
        assert_eq!(taken, Ok(u64::try_from(MAX_GIVEN_UP).unwrap() + 1));
    }

    #[test]
    fn no_more_is_read_than_a_burst_and_so_much_a_second() {
        let (mut allowance, now) = (Allowance::default(), Instant::now());
        let mebibyte = 1024 * 1024;
        let take_all = |allowance: &mut Allowance, now| {
            (0..1_000).filter(|_| allowance.take(mebibyte, now)).count()
        };

        let at_once = take_all(&mut allowance, now);
        let after_a_second = take_all(&mut allowance, now + Duration::from_secs(1));
        let after_an_hour = take_all(&mut allowance, now + Duration::from_secs(3_600));

        assert_eq!((at_once, after_an_hour), (64, 64));
        assert!((7..=8).contains(&after_a_second), "{after_a_second}");
    }
}
