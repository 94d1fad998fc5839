//! Whether what a path leads to answers: a file system whose server is gone, or whose program hangs,
//! lets whoever looks at it wait for ever.
//! It waits for a moment only, on a thread that is given up if need be, and keeps nothing of what it
//! sees.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// A disk that slept is awake by then.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most threads that are given up at once. Together they are waited for less long than whoever asks
/// for watched paths waits.
const MAX_STUCK: usize = 3;

/// How long the table of mounts is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// The thread's stack; it holds no large values.
const STACK_BYTES: usize = 64 * 1024;

/// File systems that ask nobody but a disk or the kernel; all others may have to wait for somebody.
const ASK_NOBODY: &str = "bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts devtmpfs \
    efivarfs erofs exfat ext2 ext3 ext4 f2fs fusectl hugetlbfs iso9660 jfs mqueue nsfs ntfs3 \
    overlay proc pstore ramfs reiserfs rootfs rpc_pipefs securityfs selinuxfs squashfs sysfs \
    tmpfs tracefs udf ufs vfat xfs";

/// What was found out about answers.
#[derive(Debug, Default)]
pub(super) struct Reach {
    prober: Option<Prober>,
    stuck: Vec<Stuck>,
    /// Where file systems are mounted that may not answer.
    doubtful: Vec<PathBuf>,
    read_at: Option<Instant>,
}

/// A thread that looks, and is asked one thing at a time.
#[derive(Debug)]
struct Prober {
    jobs: SyncSender<PathBuf>,
    answers: Receiver<()>,
}

/// A thread that was given up.
#[derive(Debug)]
struct Stuck {
    /// What does not answer, with everything below.
    at: PathBuf,
    answers: Receiver<()>,
}

impl Reach {
    /// Whether a path may be looked at, with what is in it if it is a directory.
    ///
    /// # Errors
    /// Fails when it did not answer in time, and until it does.
    pub(super) fn check(&mut self, path: &Path) -> io::Result<()> {
        // One that answered after all is done with.
        let still_waits = |stuck: &Stuck| stuck.answers.try_recv() == Err(TryRecvError::Empty);
        self.stuck.retain(still_waits);
        let is_stuck = |stuck: &Stuck| path.starts_with(&stuck.at);
        if self.stuck.iter().any(is_stuck) || self.stuck.len() >= MAX_STUCK {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let prober = match self.prober.take() {
            Some(prober) => prober,
            None => Prober::start()?,
        };
        let asked = prober.jobs.send(path.to_owned());
        asked.map_err(|_| io::Error::other("a thread ended"))?;
        match prober.answers.recv_timeout(PATIENCE) {
            Ok(()) => {
                self.prober = Some(prober);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                let at = self.mount_of(path);
                tracing::warn!(path = %at.display(), "a file system does not answer");
                let answers = prober.answers;
                self.stuck.push(Stuck { at, answers });
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("a thread ended")),
        }
    }

    /// Whether a path is on a file system that may not answer.
    pub(super) fn is_doubtful(&mut self, path: &Path) -> bool {
        self.read_mounts();
        self.doubtful.iter().any(|mount| path.starts_with(mount))
    }

    /// The names in a directory on which such file systems are mounted.
    pub(super) fn doubtful_in(&mut self, directory: &Path) -> Vec<PathBuf> {
        self.read_mounts();
        let mounts = self.doubtful.iter();
        let below = mounts.filter(|mount| mount.parent() == Some(directory));
        below.cloned().collect()
    }

    /// What hangs with a path: the whole of a file system that may not answer.
    fn mount_of(&mut self, path: &Path) -> PathBuf {
        self.read_at = None;
        self.read_mounts();
        let above = self.doubtful.iter().filter(|mount| path.starts_with(mount));
        let nearest = above.max_by_key(|mount| mount.as_os_str().len());
        nearest.cloned().unwrap_or_else(|| path.to_owned())
    }

    fn read_mounts(&mut self) {
        if self.read_at.is_some_and(|at| at.elapsed() < BELIEVED) {
            return;
        }
        // The thread's own table where the kernel shows it. Without a table every path is asked about
        // by itself.
        let table = fs::read("/proc/thread-self/mountinfo");
        if let Ok(table) = table.or_else(|_| fs::read("/proc/self/mountinfo")) {
            self.doubtful = parse_doubtful(&table);
        }
        self.read_at = Some(Instant::now());
    }
}

impl Prober {
    fn start() -> io::Result<Self> {
        let (jobs, asked) = sync_channel::<PathBuf>(1);
        let (answer, answers) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("looks".to_owned())
            .stack_size(STACK_BYTES);
        thread.spawn(move || {
            while let Ok(path) = asked.recv() {
                look(&path);
                if answer.send(()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, answers })
    }
}

/// Does what would have to wait; what it finds does not matter.
fn look(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
        && let Ok(mut entries) = fs::read_dir(path)
    {
        entries.next();
    }
}

/// The mount points in a table of mounts whose file systems may have to wait for somebody.
fn parse_doubtful(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let mounts = lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let at = fields.nth(4)?;
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let asks_nobody = ASK_NOBODY.split(' ').any(|known| known.as_bytes() == kind);
        (!asks_nobody).then(|| PathBuf::from(unescape(at)))
    });
    mounts.collect()
}

/// Octal escapes of spaces, tabs, line feeds and backslashes.
fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(byte));
        let taken = if code.is_some() { 3 } else { 0 };
        rest = after.get(taken..).unwrap_or_default();
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_ask_others_are_told_from_those_that_ask_nobody() {
        let table = b"22 28 0:21 / /proc rw shared:13 - proc proc rw\n\
                      28 1 253:1 / / rw shared:1 - ext4 /dev/vda1 rw\n\
                      32 28 0:40 / /net rw - nfs4 server:/x rw\n\
                      33 28 0:41 / /with\\040space rw shared:2 master:3 - fuse.sshfs x rw\n\
                      34 28 0:42 / /new rw - not-known x rw\n\
                      junk\n";

        let doubtful = parse_doubtful(table);

        let expected = ["/net", "/with space", "/new"].map(PathBuf::from);
        assert_eq!(doubtful, expected);
    }

    #[test]
    fn what_answers_may_be_looked_at_whatever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut reach = Reach::default();

        for path in [
            directory.path(),
            Path::new("/nonexistent"),
            Path::new("/dev/null"),
        ] {
            for _ in 0..100 {
                reach.check(path).unwrap();
            }
        }

        assert!(reach.stuck.is_empty());
    }
}
