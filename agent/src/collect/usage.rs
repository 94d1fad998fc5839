//! How busy this host is: processor, memory, disks, load and temperature.
//! It never lists a process, and what a host does not have is left out, not told as 0.

mod disks;
mod sensors;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hidps_wire::Usage;

use disks::{parse_mounts, read_disk};
use sensors::read_sensors;

/// The name of this source.
pub(super) const SOURCE: &str = "usage";

/// How it is read.
pub(super) const HOW: &str = "by looking at /proc, /sys and the file systems";

/// What it cannot see.
pub(super) const CANNOT_SEE: &str = "what happens between two readings beyond the processor's \
     mean, the limits and use of single control groups and containers, file systems of the network \
     and of other mount namespaces, and sensors that the kernel does not show";

/// Why usage cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A file of `/proc` cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of `/proc` has another form.
    #[error("{path} has a form the agent does not know")]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The root file system cannot be asked.
    #[error("could not ask the root file system for its size")]
    Disk(#[source] rustix::io::Errno),
}

/// Processor time since boot, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

/// Reads usage, and remembers what it has to compare with.
#[derive(Debug)]
pub(super) struct UsageReader {
    root: PathBuf,
    before: CpuTimes,
}

impl UsageReader {
    /// The first report comes early, so that a new host does not look idle for half a minute.
    pub(super) const FIRST_SPAN: Duration = Duration::from_millis(500);

    /// A reader that has looked once already.
    pub(super) fn new(root: PathBuf) -> Self {
        let before = read_cpu(&root.join("proc")).unwrap_or_default();
        Self { root, before }
    }

    /// How busy the host was since the look before.
    ///
    /// # Errors
    /// Says which of the three shares that everybody has cannot be read.
    pub(super) fn read(&mut self) -> Result<Usage, UsageError> {
        let proc = self.root.join("proc");
        let now = read_cpu(&proc)?;
        let cpu = percent(
            now.busy.saturating_sub(self.before.busy),
            now.total.saturating_sub(self.before.total),
        );
        self.before = now;
        let meminfo = proc.join("meminfo");
        let ram = parse_memory(&read(&meminfo)?).ok_or(UsageError::Form { path: meminfo })?;
        let root = rustix::fs::statvfs(&self.root).map_err(UsageError::Disk)?;
        // What only root may still fill counts as used, as in df.
        let used = root.f_blocks.saturating_sub(root.f_bfree);
        let mounts = fs::read_to_string(proc.join("self/mountinfo")).unwrap_or_default();
        let disks = parse_mounts(&mounts);
        Ok(Usage {
            cpu,
            ram,
            storage: percent(used, used.saturating_add(root.f_bavail)),
            load: read(&proc.join("loadavg"))
                .ok()
                .and_then(|text| parse_load(&text)),
            disks: disks
                .iter()
                .filter_map(|mount| read_disk(&self.root, mount))
                .collect(),
            sensors: read_sensors(&self.root.join("sys")),
        })
    }
}

fn read_cpu(proc: &Path) -> Result<CpuTimes, UsageError> {
    let path = proc.join("stat");
    parse_cpu(&read(&path)?).ok_or(UsageError::Form { path })
}

fn read(path: &Path) -> Result<String, UsageError> {
    fs::read_to_string(path).map_err(|source| UsageError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn parse_cpu(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Option<Vec<u64>> = line
        .split_whitespace()
        .take(8)
        .map(|time| time.parse().ok())
        .collect();
    let times = times.filter(|times| times.len() >= 4)?;
    let total = times
        .iter()
        .fold(0, |sum: u64, time| sum.saturating_add(*time));
    let idle = times.iter().skip(3).take(2).sum();
    Some(CpuTimes {
        busy: total.saturating_sub(idle),
        total,
    })
}

fn parse_memory(meminfo: &str) -> Option<f32> {
    let value = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, available) = (value("MemTotal:")?, value("MemAvailable:")?);
    Some(percent(total.saturating_sub(available), total))
}

/// The first three numbers of `/proc/loadavg`.
fn parse_load(loadavg: &str) -> Option<[f32; 3]> {
    let mut numbers = loadavg.split_whitespace().map(|number| number.parse().ok());
    let mut next = || {
        let number: f32 = numbers.next()??;
        (0.0..=1_000_000.0).contains(&number).then_some(number)
    };
    Some([next()?, next()?, next()?])
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a percentage needs no more than three digits"
)]
fn percent(part: u64, whole: u64) -> f32 {
    if whole == 0 {
        return 0.0;
    }
    let share = part as f64 / whole as f64 * 100.0;
    // Two digits are all a page shows, and fewer different values are fewer rows written.
    ((share.clamp(0.0, 100.0) * 100.0).round() / 100.0) as f32
}

/// For fuzzing.
pub(super) mod fuzzing {
    pub(in crate::collect) fn read_file(text: &str) {
        super::parse_cpu(text);
        super::parse_memory(text);
        super::parse_load(text);
    }

    pub(in crate::collect) fn read_disks(text: &str) -> Vec<std::path::PathBuf> {
        super::parse_mounts(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_what_is_not_idle() {
        let times = parse_cpu("cpu  10 0 20 60 10 0 0 0 5 0\ncpu0 1 2 3\n").unwrap();

        assert_eq!(
            times,
            CpuTimes {
                busy: 30,
                total: 100
            }
        );
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let text = "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n";

        assert_eq!(parse_memory(text), Some(75.0));
    }

    #[test]
    fn unknown_forms_are_nothing_and_no_crash() {
        for text in ["", "cpu", "cpu  x y z", "cpu  1 2", "intr 1"] {
            assert_eq!(parse_cpu(text), None, "{text:?}");
            assert_eq!(parse_memory(text), None, "{text:?}");
        }
    }

    #[test]
    fn load_is_the_first_three_numbers() {
        assert_eq!(
            parse_load("0.52 0.58 12.00 3/602 12345\n"),
            Some([0.52, 0.58, 12.0])
        );
        for text in ["", "1 2", "1 2 x", "NaN 1 1", "inf 1 1", "-1 1 1"] {
            assert_eq!(parse_load(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_machine_is_read() {
        let mut reader = UsageReader::new(PathBuf::from("/"));
        let begun = reader.before;

        let usage = reader.read().unwrap();

        let plausible = |share: f32| (0.0..=100.0).contains(&share);
        assert!(plausible(usage.cpu) && plausible(usage.ram) && plausible(usage.storage));
        assert!(usage.ram > 0.0 && usage.storage > 0.0, "{usage:?}");
        assert!(usage.load.is_some() && begun.total > 0);
        assert!(
            usage.disks.iter().any(|disk| &*disk.mount == "/"),
            "{usage:?}"
        );
    }

    #[test]
    fn each_share_is_of_the_time_since_the_look_before() {
        let root = tempfile::tempdir().unwrap();
        let proc = root.path().join("proc");
        fs::create_dir(&proc).unwrap();
        fs::write(proc.join("meminfo"), "MemTotal: 4 kB\nMemAvailable: 3 kB\n").unwrap();
        let spend = |busy: u64, idle: u64| {
            fs::write(proc.join("stat"), format!("cpu  {busy} 0 0 {idle}\n")).unwrap();
        };
        // Since it was booted, the host was busy all the time.
        spend(1_000, 0);
        let mut reader = UsageReader::new(root.path().to_owned());

        spend(1_025, 75);
        let first = reader.read().unwrap();
        spend(1_035, 165);
        let second = reader.read().unwrap();

        assert_eq!((first.cpu, second.cpu, first.ram), (25.0, 10.0, 25.0));
    }

    #[test]
    fn a_missing_file_is_told_by_name() {
        let error = UsageReader::new(PathBuf::from("/nonexistent")).read();

        assert_eq!(
            error.unwrap_err().to_string(),
            "could not read /nonexistent/proc/stat"
        );
    }
}
