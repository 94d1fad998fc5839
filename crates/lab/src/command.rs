//! Child processes that end with their owner, their captured output, and waits with a deadline.
//! It never ends a process it did not start, and never waits without a limit.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Most lines kept of one process: far more than a failing test prints, little memory.
pub const MAX_LOG_LINES: usize = 20_000;

/// How long a dropped process may take to end by itself before it is killed.
const DROP_GRACE: Duration = Duration::from_secs(3);

/// From SIGKILL to the end: the kernel may first have to write out or free much memory.
const KILL_DEADLINE: Duration = Duration::from_secs(60);

/// How long the output of an ended process may take to be read to its end.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(30);

/// After so long without a line, what keeps an ended process's output open is a grandchild.
const OUTPUT_SILENCE: Duration = Duration::from_secs(3);

/// How often a condition that nobody announces is looked at.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// The longest pause between looks, however dear one is.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Why a child process did not do what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("could not start {name}")]
    Start {
        /// The process.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Its state could not be read.
    #[error("could not wait for {name}")]
    Wait {
        /// The process.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It could not be signalled.
    #[error("could not signal {name}")]
    Signal {
        /// The process.
        name: String,
        /// What the system said.
        #[source]
        source: rustix::io::Errno,
    },
    /// It ended before it did what was wanted.
    #[error("{name} ended with {status} before {wanted}; its last lines:\n{log}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// What was waited for.
        wanted: String,
        /// Its last lines.
        log: String,
    },
    /// The deadline passed.
    #[error("{wanted} did not happen within {deadline:?}{log}")]
    Deadline {
        /// What was waited for.
        wanted: String,
        /// How long.
        deadline: Duration,
        /// The last lines of the process, if there is one.
        log: String,
    },
    /// A one-shot command failed.
    #[error("{name} failed with {status}: {stderr}")]
    Failed {
        /// The command line.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        stdout: String,
        /// What it said.
        stderr: String,
    },
}

impl CommandError {
    /// Whether a program or a privilege is missing here, and nothing else is wrong.
    #[must_use]
    pub fn tells_of_missing(&self) -> bool {
        // Words of the C library and of programs; ip and mount have no status of their own for it.
        const DENIALS: [&str; 4] = [
            "Operation not permitted",
            "Permission denied",
            "Read-only file system",
            "Function not implemented",
        ];
        let denied = |text: &str| DENIALS.iter().any(|words| text.contains(words));
        match self {
            Self::Start { source, .. } => {
                use std::io::ErrorKind::{NotFound, PermissionDenied};
                matches!(source.kind(), NotFound | PermissionDenied)
            }
            Self::Failed { stderr, .. } => denied(stderr),
            Self::Ended { log, .. } => denied(log),
            Self::Wait { .. } | Self::Signal { .. } | Self::Deadline { .. } => false,
        }
    }
}

/// Waits until `probe` yields a value.
///
/// # Errors
/// Says what did not happen when the deadline passes.
pub fn wait_for<T>(
    wanted: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, CommandError> {
    let end = Instant::now() + deadline;
    loop {
        let looked = Instant::now();
        if let Some(value) = probe() {
            return Ok(value);
        }
        if Instant::now() >= end {
            return Err(CommandError::Deadline {
                wanted: wanted.to_owned(),
                deadline,
                log: String::new(),
            });
        }
        thread::sleep(pause_after(looked.elapsed(), PROBE_INTERVAL));
    }
}

/// How long to wait after a look that took so long: whoever looks leaves the machine to those who
/// are looked at.
pub(crate) fn pause_after(look: Duration, at_least: Duration) -> Duration {
    (4 * look).clamp(at_least, LONGEST_PAUSE)
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// Fails when it cannot be started, ends with another status than 0 or passes the deadline.
pub fn run(mut command: Command, deadline: Duration) -> Result<Output, CommandError> {
    let name = describe(&command);
    command.stdin(Stdio::null());
    let mut running = Running::start(&name, command)?;
    let status = running.wait_exit(deadline)?;
    running.join_readers();
    let log = running.log.lock();
    let (stdout, stderr) = (log.text(Source::Stdout), log.text(Source::Stderr));
    if status.success() {
        Ok(Output {
            status,
            stdout: stdout.into_bytes(),
            stderr: stderr.into_bytes(),
        })
    } else {
        Err(CommandError::Failed {
            name,
            status,
            stdout,
            stderr,
        })
    }
}

/// Where a program is installed: the usual directories, then `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"]
        .into_iter()
        .map(std::path::PathBuf::from)
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A child process in a process group of its own; dropping it ends the group.
pub struct Running {
    name: String,
    child: Child,
    log: Arc<SharedLog>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Running {
    /// Starts a process and captures its output.
    ///
    /// # Errors
    /// Fails when the program cannot be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self, CommandError> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| CommandError::Start {
                name: name.to_owned(),
                source,
            })?;
        let log = Arc::new(SharedLog::default());
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(log.read_from(pipe, Source::Stdout));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(log.read_from(pipe, Source::Stderr));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            readers,
        })
    }

    /// The process id, which is also the id of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything captured so far, both streams in the order they arrived.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().all()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Fails when the system cannot say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>, CommandError> {
        self.child.try_wait().map_err(|source| CommandError::Wait {
            name: self.name.clone(),
            source,
        })
    }

    /// Waits for a line of its output, past or future.
    ///
    /// # Errors
    /// Fails when the process ends or the deadline passes first; the error quotes the log.
    pub fn wait_for_line(
        &mut self,
        wanted: &str,
        deadline: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<String, CommandError> {
        let end = Instant::now() + deadline;
        let mut seen = 0;
        loop {
            // Read before looking, so that the last lines of a process that ended are not missed.
            let status = self.exit_status()?;
            if status.is_some() {
                self.join_readers();
            }
            if let Some(line) = self.log.next_match(&mut seen, &matches, PROBE_INTERVAL) {
                return Ok(line);
            }
            if let Some(status) = status {
                return Err(CommandError::Ended {
                    name: self.name.clone(),
                    status,
                    wanted: wanted.to_owned(),
                    log: self.log.lock().tail(),
                });
            }
            if Instant::now() >= end {
                return Err(self.missed(wanted, deadline));
            }
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// Fails when the deadline passes; the process goes on.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus, CommandError> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(self.missed("its end", deadline));
            }
            thread::sleep(PROBE_INTERVAL);
        }
    }

    /// Asks its group to end by SIGTERM and waits for it.
    ///
    /// # Errors
    /// Fails when it does not end within `grace`; it is not killed then.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus, CommandError> {
        self.signal(Signal::TERM)?;
        self.wait_exit(grace)
    }

    /// Ends its group at once by SIGKILL.
    ///
    /// # Errors
    /// Fails when it cannot be signalled.
    pub fn kill(&mut self) -> Result<ExitStatus, CommandError> {
        self.signal(Signal::KILL)?;
        self.wait_exit(KILL_DEADLINE)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), CommandError> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let group = Pid::from_child(&self.child);
        kill_process_group(group, signal).map_err(|source| CommandError::Signal {
            name: self.name.clone(),
            source,
        })
    }

    /// Waits until all that an ended process printed is in the log.
    fn join_readers(&mut self) {
        let end = Instant::now() + OUTPUT_DEADLINE;
        let (mut seen, mut grown) = (self.log.lock().total, Instant::now());
        while !self.readers.iter().all(thread::JoinHandle::is_finished) {
            let total = self.log.lock().total;
            if total != seen {
                (seen, grown) = (total, Instant::now());
            }
            // A grandchild may hold the pipe open; its reader is then left to end with it.
            if grown.elapsed() >= OUTPUT_SILENCE || Instant::now() >= end {
                return;
            }
            thread::sleep(PROBE_INTERVAL);
        }
    }

    fn missed(&self, wanted: &str, deadline: Duration) -> CommandError {
        CommandError::Deadline {
            wanted: format!("{wanted} of {}", self.name),
            deadline,
            log: format!("; its last lines:\n{}", self.log.lock().tail()),
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Drop has nobody to tell; what is left over is a zombie of a process that is ending too.
        if self.terminate(DROP_GRACE).is_err() {
            self.kill().ok();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Stdout,
    Stderr,
}

#[derive(Default)]
struct SharedLog {
    lines: Mutex<Log>,
    grown: Condvar,
}

impl SharedLog {
    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_from(
        self: &Arc<Self>,
        pipe: impl Read + Send + 'static,
        source: Source,
    ) -> thread::JoinHandle<()> {
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                let text = String::from_utf8_lossy(&line);
                log.lock()
                    .push(source, text.trim_end_matches('\n').to_owned());
                log.grown.notify_all();
                line.clear();
            }
        })
    }

    /// The first match beyond the `seen` lines looked at before; waits once for the log to grow.
    fn next_match(
        &self,
        seen: &mut u64,
        matches: &impl Fn(&str) -> bool,
        wait: Duration,
    ) -> Option<String> {
        let lines = self.lock();
        let (lines, _) = self
            .grown
            .wait_timeout_while(lines, wait, |log| log.total <= *seen)
            .unwrap_or_else(PoisonError::into_inner);
        let first_kept = lines.total - lines.lines.len() as u64;
        let skip = usize::try_from(seen.saturating_sub(first_kept)).unwrap_or(usize::MAX);
        *seen = lines.total;
        lines
            .lines
            .iter()
            .skip(skip)
            .map(|(_, line)| line)
            .find(|line| matches(line))
            .cloned()
    }
}

#[derive(Default)]
struct Log {
    lines: VecDeque<(Source, String)>,
    total: u64,
}

impl Log {
    fn push(&mut self, source: Source, line: String) {
        if self.lines.len() == MAX_LOG_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back((source, line));
        self.total += 1;
    }

    fn text(&self, wanted: Source) -> String {
        join(self.lines.iter().filter(|(source, _)| *source == wanted))
    }

    fn all(&self) -> String {
        join(self.lines.iter())
    }

    fn tail(&self) -> String {
        join(self.lines.iter().skip(self.lines.len().saturating_sub(40)))
    }
}

fn join<'a>(lines: impl Iterator<Item = &'a (Source, String)>) -> String {
    let mut text = String::new();
    for (_, line) in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_line_is_waited_for_and_found() {
        let mut running = Running::start("talker", shell("echo ready >&2; sleep 60")).unwrap();

        let line = running.wait_for_line("readiness", Duration::from_secs(30), |l| l == "ready");

        assert_eq!(line.unwrap(), "ready");
    }

    #[test]
    fn a_process_that_ends_early_is_told_with_its_log() {
        let mut running = Running::start("failer", shell("echo broken; exit 3")).unwrap();

        let error = running
            .wait_for_line("readiness", Duration::from_secs(30), |l| l == "ready")
            .unwrap_err();

        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("broken"),
            "{text}"
        );
    }

    #[test]
    fn a_dropped_process_takes_its_children_along() {
        let mut running = Running::start("parent", shell("sleep 60 & echo $!; wait")).unwrap();
        let child = running
            .wait_for_line("the child's id", Duration::from_secs(30), |_| true)
            .unwrap();

        drop(running);

        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z")).then_some(())
        };
        wait_for("the end of the child", Duration::from_secs(30), gone).unwrap();
    }

    #[test]
    fn a_command_that_hangs_is_given_up_at_its_deadline() {
        let started = Instant::now();

        let error = run(shell("sleep 60"), Duration::from_millis(100)).unwrap_err();

        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_outlives_the_process_in_its_pipe_is_read_to_the_end() {
        let late = shell("(sleep 0.2; echo late) & echo early");

        let output = run(late, Duration::from_secs(30)).unwrap();

        assert_eq!(output.stdout, b"early\nlate\n");
    }

    #[test]
    fn a_grandchild_that_keeps_the_output_open_is_not_waited_for() {
        let started = Instant::now();

        let output = run(shell("sleep 600 & echo done"), Duration::from_secs(30)).unwrap();

        assert_eq!(output.stdout, b"done\n");
        assert!(started.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn a_privilege_or_program_that_is_missing_is_told_from_other_failures() {
        let limit = Duration::from_secs(30);
        let denied = run(
            shell("echo mount: Operation not permitted >&2; exit 1"),
            limit,
        );
        let absent = run(Command::new("/nowhere/at-all"), limit);
        let broken = run(shell("echo no space left >&2; exit 1"), limit);
        let late = run(shell("sleep 60"), Duration::from_millis(100));

        let missing =
            |outcome: Result<Output, CommandError>| outcome.unwrap_err().tells_of_missing();
        assert!(missing(denied) && missing(absent));
        assert!(!missing(broken) && !missing(late));
    }

    #[test]
    fn a_failed_command_says_what_it_printed() {
        let error = run(
            shell("echo no such thing >&2; exit 2"),
            Duration::from_secs(30),
        );

        assert!(error.unwrap_err().to_string().contains("no such thing"));
    }
}
