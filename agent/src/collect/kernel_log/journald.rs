//! Whether the host's journald reads the kernel's log, as the files that it holds open tell.
//! It reads no configuration: what journald was told and has not heard yet is not so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::DEVICE;
use crate::collect::process::parse_users;

/// journald's name as far as the kernel keeps it.
const NAME: &str = "systemd-journal";

/// The bits of an open file that say how it may be used, and the value for writing alone.
const ACCESS: u32 = 0o3;
const WRITE_ONLY: u32 = 0o1;

/// How it is with journald and the kernel's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Journald {
    /// It reads it, so the journal has what the kernel says.
    Reads,
    /// It runs and does not read it, as `ReadKMsg=no` has it.
    Leaves,
    /// None runs.
    Absent,
    /// It cannot be seen.
    Unseen(String),
}

/// Looks at journald again and again without looking for it each time.
#[derive(Debug)]
pub(super) struct JournaldLook {
    proc: PathBuf,
    /// Where the one was that read the log when it was last looked.
    known: Option<PathBuf>,
}

impl JournaldLook {
    /// A look at the processes below a directory.
    pub(super) fn new(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            known: None,
        }
    }

    /// How it is now. Instances for namespaces read no kernel's log; one that does is enough.
    pub(super) fn look(&mut self) -> Journald {
        if let Some(known) = &self.known
            && is_journald(known)
            && reads_log(known).is_ok_and(|reads| reads)
        {
            return Journald::Reads;
        }
        self.known = None;
        let mut found = Journald::Absent;
        let processes = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        for process in processes.map(|entry| entry.path()) {
            match self.reads_for_this_host(&process) {
                Ok(Some(true)) => {
                    self.known = Some(process);
                    return Journald::Reads;
                }
                // One that is seen says more than one of that name that is not, as a container's.
                Ok(Some(false)) => found = Journald::Leaves,
                Ok(None) => {}
                // It has just ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if found == Journald::Absent => {
                    found = Journald::Unseen(error.to_string());
                }
                Err(_) => {}
            }
        }
        found
    }

    /// Whether a process that is the host's journald reads the log; none where it is another one.
    fn reads_for_this_host(&self, process: &Path) -> io::Result<Option<bool>> {
        if !is_journald(process) || !self.is_of_this_host(process)? {
            return Ok(None);
        }
        reads_log(process).map(Some)
    }

    /// Whether it is none of a container, which the host sees among its own processes.
    fn is_of_this_host(&self, process: &Path) -> io::Result<bool> {
        let own = fs::read_link(self.proc.join("self/ns/pid"))?;
        Ok(fs::read_link(process.join("ns/pid"))? == own)
    }
}

/// Whether a process is root's own and is called as journald: a person may take any name, but would
/// only keep the agent from a log that it could read.
fn is_journald(process: &Path) -> bool {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    if name.trim_end() != NAME {
        return false;
    }
    let status = fs::read(process.join("status")).unwrap_or_default();
    parse_users(&String::from_utf8_lossy(&status)).is_some_and(|(real, _)| real == 0)
}

/// Whether a process holds the kernel's log open for more than writing.
fn reads_log(process: &Path) -> io::Result<bool> {
    for handle in fs::read_dir(process.join("fd"))? {
        let handle = handle?;
        let is_log = fs::read_link(handle.path()).is_ok_and(|target| target == Path::new(DEVICE));
        if !is_log {
            continue;
        }
        let about = fs::read_to_string(process.join("fdinfo").join(handle.file_name()))?;
        if parse_access(&about).is_some_and(|access| access != WRITE_ONLY) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How an open file may be used, from what the kernel says about it.
fn parse_access(about: &str) -> Option<u32> {
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
    Some(flags & ACCESS)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory of processes.
    pub(in super::super) struct Processes(tempfile::TempDir);

    impl Processes {
        pub(in super::super) fn new() -> Self {
            let processes = Self(tempfile::tempdir().unwrap());
            processes.add("self", "agent", 0, "pid:[1]", None);
            processes
        }

        /// Where they are.
        pub(in super::super) fn path(&self) -> &Path {
            self.0.path()
        }

        /// The host's journald, which holds the log open with some flags.
        pub(in super::super) fn add_journald(&self, id: &str, flags: &str) {
            self.add(id, NAME, 0, "pid:[1]", Some(flags));
        }

        /// A process of a user in a namespace, which holds the log open with some flags.
        fn add(&self, id: &str, name: &str, user: u32, namespace: &str, flags: Option<&str>) {
            let process = self.0.path().join(id);
            for directory in ["ns", "fd", "fdinfo"] {
                fs::create_dir_all(process.join(directory)).unwrap();
            }
            fs::write(process.join("comm"), format!("{name}\n")).unwrap();
            let status = format!("Name:\t{name}\nUid:\t{user}\t0\t0\t0\n");
            fs::write(process.join("status"), status).unwrap();
            symlink(namespace, process.join("ns/pid")).unwrap();
            symlink("/dev/null", process.join("fd/0")).unwrap();
            if let Some(flags) = flags {
                symlink(DEVICE, process.join("fd/7")).unwrap();
                let about = format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t24\n");
                fs::write(process.join("fdinfo/7"), about).unwrap();
            }
        }

        pub(in super::super) fn remove(&self, id: &str) {
            fs::remove_dir_all(self.0.path().join(id)).unwrap();
        }

        fn look(&self) -> Journald {
            JournaldLook::new(self.0.path()).look()
        }
    }

    #[test]
    fn what_journald_holds_open_tells_whether_it_reads_the_log() {
        let check = |flags, expected| {
            let processes = Processes::new();
            processes.add("77", NAME, 0, "pid:[1]", flags);
            assert_eq!(processes.look(), expected, "{flags:?}");
        };

        check(Some("02104002"), Journald::Reads);
        check(Some("0100000"), Journald::Reads);
        check(Some("02104001"), Journald::Leaves);
        check(Some("no number"), Journald::Leaves);
        check(None, Journald::Leaves);
        assert_eq!(Processes::new().look(), Journald::Absent);
    }

    #[test]
    fn neither_a_persons_process_of_that_name_nor_a_containers_journald_counts() {
        let processes = Processes::new();
        processes.add("77", NAME, 1_000, "pid:[1]", Some("02"));
        processes.add("78", NAME, 0, "pid:[2]", Some("02"));
        processes.add("79", "systemd", 0, "pid:[1]", Some("02"));

        let without = processes.look();
        processes.add("80", NAME, 0, "pid:[1]", None);
        let with = processes.look();

        assert_eq!((without, with), (Journald::Absent, Journald::Leaves));
    }

    #[test]
    fn a_journald_that_was_started_anew_is_found_and_one_for_a_namespace_is_no_matter() {
        let processes = Processes::new();
        let mut look = JournaldLook::new(processes.0.path());
        processes.add("77", NAME, 0, "pid:[1]", Some("02"));
        let first = look.look();

        processes.remove("77");
        processes.add("78", NAME, 0, "pid:[1]", Some("01"));
        let anew = look.look();
        processes.add("79", NAME, 0, "pid:[1]", Some("02"));
        let beside = look.look();

        let expected = (Journald::Reads, Journald::Leaves, Journald::Reads);
        assert_eq!((first, anew, beside), expected);
    }

    #[test]
    fn one_that_cannot_be_seen_hides_none_that_can() {
        // The order in which a directory tells its names is not the test's to choose.
        for id in ["76", "78", "79", "80"] {
            let processes = Processes::new();
            processes.add("77", NAME, 0, "pid:[1]", None);
            processes.add(id, NAME, 0, "pid:[1]", None);
            let namespace = processes.0.path().join(id).join("ns/pid");
            fs::remove_file(&namespace).unwrap();
            fs::write(&namespace, "no link").unwrap();

            assert_eq!(processes.look(), Journald::Leaves, "{id}");
        }
    }

    #[test]
    fn one_whose_files_cannot_be_seen_is_not_taken_for_one_that_leaves_it() {
        let processes = Processes::new();
        processes.add("77", NAME, 0, "pid:[1]", Some("02"));
        fs::remove_dir_all(processes.0.path().join("77/fd")).unwrap();
        fs::write(processes.0.path().join("77/fd"), "no directory").unwrap();

        assert!(matches!(processes.look(), Journald::Unseen(_)));
    }
}
