//! A Debian host as it is right after its installation, with systemd as process 1: booted in
//! namespaces of its own from a root that is made once, copy-on-write, gone when dropped.
//! It never changes the root it boots from, nor anything of the machine around it.

mod root;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::command::{CommandError, Running, wait_for};
use crate::netns::{self, Link, Namespace, NetnsError};
pub use root::{RootError, check_root};

/// What boots a root, inside of namespaces.
const BOOT_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sh/fresh_host.sh");

/// What makes a copy-on-write root; scripts that make hosts of other kinds source it as well.
pub const COPIED_ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sh/copied_root.sh");

/// A boot takes half a second; a machine with two busy cores many more.
const BOOT_DEADLINE: Duration = Duration::from_secs(90);

/// Nothing a test runs on a host takes longer.
const RUN_DEADLINE: Duration = Duration::from_secs(180);

/// How long a host may take to go down by itself.
const OFF_DEADLINE: Duration = Duration::from_secs(10);

/// Numbers hosts within this process.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Why there is no fresh host.
#[derive(Debug, thiserror::Error)]
pub enum FreshHostError {
    /// Its root could not be made.
    #[error("could not make a Debian root")]
    Root(#[source] RootError),
    /// Its network could not be made.
    #[error("could not make the host's network")]
    Network(#[source] NetnsError),
    /// The machine has no cgroup2 file system, without which systemd does not boot.
    #[error("no cgroup2 file system is mounted on this machine")]
    NoCgroup,
    /// A file or directory of it failed.
    #[error("could not use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It did not boot or did not do as told.
    #[error("could not {action}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// How it failed.
        #[source]
        source: CommandError,
    },
}

/// Says whether fresh hosts can be booted here, without making a root yet.
///
/// # Errors
/// Names, in one sentence, what is missing.
pub fn check() -> Result<(), String> {
    netns::check().map_err(|missing| missing.to_string())?;
    check_root().map_err(|missing| missing.to_string())?;
    find_cgroup()
        .map(drop)
        .map_err(|missing| missing.to_string())
}

/// A running host.
#[derive(Debug)]
pub struct FreshHost {
    process: Running,
    /// Its process 1 as this machine numbers it.
    first: u32,
    link: Link,
    cgroup: PathBuf,
    _namespace: Namespace,
    _directory: tempfile::TempDir,
}

/// What a script on a host came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// All it printed.
    pub said: String,
}

impl FreshHost {
    /// Boots a host with a cable to the machine.
    ///
    /// # Errors
    /// Says what it lacked.
    pub fn boot() -> Result<Self, FreshHostError> {
        let root = root::ensure_root().map_err(FreshHostError::Root)?;
        let namespace = Namespace::new("fresh").map_err(FreshHostError::Network)?;
        let link = namespace
            .link_to_machine()
            .map_err(FreshHostError::Network)?;
        let directory = tempfile::Builder::new().prefix("hidps-fresh").tempdir();
        let directory = directory.map_err(|source| file_error(Path::new("/tmp"), source))?;
        let mount = find_cgroup()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let cgroup = mount.join(format!("hidps-lab-{}-{number}", std::process::id()));
        fs::create_dir(&cgroup).map_err(|source| file_error(&cgroup, source))?;
        let command = boot_command(&namespace, &cgroup, &[&root, directory.path()]);
        let started = Running::start("a fresh host", command);
        let process = started.map_err(process_error("boot"))?;
        let found = wait_for("process 1 of the host", BOOT_DEADLINE, || {
            child_of(process.id())
        });
        let first = found.map_err(process_error("boot"))?;
        let host = Self {
            process,
            first,
            link,
            cgroup,
            _namespace: namespace,
            _directory: directory,
        };
        host.wait_booted()?;
        Ok(host)
    }

    fn wait_booted(&self) -> Result<(), FreshHostError> {
        let is_up = || {
            let ran = self.run("systemctl is-system-running --wait").ok()?;
            (ran.code == Some(0)).then_some(())
        };
        let booted = wait_for("systemd to be up", BOOT_DEADLINE, is_up);
        booted.map_err(|source| FreshHostError::Process {
            action: "boot",
            source,
        })
    }

    /// The cable to the machine; the host is near.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// A file of the host as this machine reaches it.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.first)).join(inside.trim_start_matches('/'))
    }

    /// Runs a script as the host's root.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn run(&self, script: &str) -> Result<Ran, FreshHostError> {
        let mut command = Command::new("nsenter");
        let first = self.first.to_string();
        command.args(["-t", &first, "-a", "-r", "-w", "env", "-i", "HOME=/root"]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["bash", "-c", &format!("cd /root; exec 2>&1\n{script}")]);
        command.stdin(std::process::Stdio::null());
        let failed = process_error("run a script on the host");
        let mut running = Running::start("a script on the host", command).map_err(failed)?;
        let failed = process_error("run a script on the host");
        let status = running.wait_exit(RUN_DEADLINE).map_err(failed)?;
        // Its readers may still have a line.
        let end = running.wait_for_line("its end", Duration::ZERO, |_| false);
        drop(end);
        Ok(Ran {
            code: status.code(),
            said: running.log(),
        })
    }
}

impl Drop for FreshHost {
    fn drop(&mut self) {
        // What does not go down by itself is killed with its namespaces.
        self.run("systemctl poweroff").ok();
        if self.process.wait_exit(OFF_DEADLINE).is_err() {
            self.process.kill().ok();
        }
        remove_cgroups(&self.cgroup);
    }
}

fn boot_command(namespace: &Namespace, cgroup: &Path, arguments: &[&Path; 2]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "-p", "-f", "-u", "-i", "-C", "--kill-child"]);
    unshare.args(["bash", BOOT_SCRIPT]).args(arguments);
    let inside = namespace.exec(unshare.arg("fresh"));
    let mut command = Command::new("sh");
    let script = "echo $$ >\"$1/cgroup.procs\" && shift && exec \"$@\"";
    command.args([OsStr::new("-c"), script.as_ref(), "sh".as_ref()]);
    command.arg(cgroup).arg(inside.get_program());
    command.args(inside.get_args());
    command
}

/// The first child of a process, which is process 1 of the namespace it made.
fn child_of(process: u32) -> Option<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn find_cgroup() -> Result<PathBuf, FreshHostError> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    found.ok_or(FreshHostError::NoCgroup)
}

fn remove_cgroups(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    // One that is not empty yet costs nothing.
    fs::remove_dir(directory).ok();
}

fn file_error(path: &Path, source: io::Error) -> FreshHostError {
    FreshHostError::File {
        path: path.to_owned(),
        source,
    }
}

fn process_error(action: &'static str) -> impl FnOnce(CommandError) -> FreshHostError {
    move |source| FreshHostError::Process { action, source }
}
