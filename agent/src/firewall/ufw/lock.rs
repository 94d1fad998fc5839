//! ufw's own lock, held while the agent writes into ufw's files itself: no call of ufw, whoever made
//! it, is in the middle of a write then. It is never held while ufw is called.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use tokio::time::{Instant, sleep};

use super::UfwError;

/// How often a lock that somebody holds is asked for again.
const RETRY: Duration = Duration::from_millis(20);

/// Held as long as ufw's files are the agent's to write.
#[derive(Debug)]
pub(super) struct UfwLock {
    /// Never read: the open file is the lock.
    _file: Option<File>,
}

impl UfwLock {
    /// Takes the lock as soon as it is free.
    pub(super) async fn take(path: &Path, patience: Duration) -> Result<Self, UfwError> {
        let failed = |source| UfwError::Lock {
            path: path.to_owned(),
            source,
        };
        let file = open(path).map_err(failed)?;
        let give_up = Instant::now() + patience;
        loop {
            // Locks of this kind are the process's, as ufw takes them.
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: Some(file) }),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {}
                Err(error) => return Err(failed(error.into())),
            }
            if Instant::now() >= give_up {
                return Err(UfwError::Busy {
                    seconds: patience.as_secs(),
                });
            }
            sleep(RETRY).await;
        }
    }

    /// None at all, where nobody else writes.
    #[cfg(test)]
    pub(super) const fn unheld() -> Self {
        Self { _file: None }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);
    options
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_lab::command::Running;
    use std::process::Command;

    /// Another process that holds the lock, as ufw does.
    fn hold(path: &Path) -> Option<Running> {
        let script = format!(
            "import fcntl, time
lock = open('{}', 'w')
fcntl.lockf(lock, fcntl.LOCK_EX)
print('held', flush=True)
time.sleep(1000)",
            path.display()
        );
        let mut python = Command::new(hidps_lab::command::find_program("python3")?);
        python.args(["-c", &script]);
        let mut holder = Running::start("a holder of ufw's lock", python).unwrap();
        let is_held = |line: &str| line == "held";
        let deadline = Duration::from_secs(30);
        holder.wait_for_line("held", deadline, is_held).unwrap();
        Some(holder)
    }

    #[tokio::test]
    async fn who_writes_into_ufws_files_waits_for_a_call_of_somebody_else() {
        let test = "who_writes_into_ufws_files_waits_for_a_call_of_somebody_else";
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ufw.lock");
        let Some(mut holder) = hold(&path) else {
            return hidps_lab::say_skipped(test, &"python3 is missing: apt-get install python3");
        };

        let refused = UfwLock::take(&path, Duration::from_millis(100)).await;
        let patience = Duration::from_secs(30);
        let (taken, ()) = tokio::join!(UfwLock::take(&path, patience), async {
            holder.kill().unwrap();
        });

        assert!(matches!(refused, Err(UfwError::Busy { .. })), "{refused:?}");
        taken.unwrap();
    }
}
