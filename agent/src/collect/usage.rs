//! Processor, memory and disk use, read from `/proc` and the root file system.
//! It never lists a process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hidps_wire::Usage;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The first report comes early, so that a new host does not look idle for half a minute.
const FIRST_SPAN: Duration = Duration::from_millis(500);

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

/// Reports usage until nobody wants it.
pub async fn report_usage(every: Duration, reports: watch::Sender<Option<Usage>>) {
    let proc = Path::new("/proc");
    let mut before = read_cpu(proc).unwrap_or_default();
    tokio::time::sleep(FIRST_SPAN).await;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_told = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = reports.closed() => return,
        }
        match read_usage(proc, &mut before) {
            Ok(usage) => {
                reports.send_replace(Some(usage));
            }
            Err(error) if !was_told => {
                was_told = true;
                let error = crate::error_chain::chain(&error);
                tracing::warn!(error, "usage cannot be read and is not reported");
            }
            Err(_) => {}
        }
    }
}

fn read_usage(proc: &Path, before: &mut CpuTimes) -> Result<Usage, UsageError> {
    let now = read_cpu(proc)?;
    let cpu = percent(
        now.busy.saturating_sub(before.busy),
        now.total.saturating_sub(before.total),
    );
    *before = now;
    let meminfo = proc.join("meminfo");
    let ram = parse_memory(&read(&meminfo)?).ok_or(UsageError::Form { path: meminfo })?;
    let root = rustix::fs::statvfs("/").map_err(UsageError::Disk)?;
    // What only root may still fill counts as used, as in df.
    let used = root.f_blocks.saturating_sub(root.f_bfree);
    let storage = percent(used, used.saturating_add(root.f_bavail));
    Ok(Usage { cpu, ram, storage })
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
    fn this_machine_is_read() {
        let mut before = CpuTimes::default();

        let usage = read_usage(Path::new("/proc"), &mut before).unwrap();

        let plausible = |share: f32| (0.0..=100.0).contains(&share);
        assert!(plausible(usage.cpu) && plausible(usage.ram) && plausible(usage.storage));
        assert!(usage.ram > 0.0 && usage.storage > 0.0, "{usage:?}");
    }

    #[test]
    fn a_missing_file_is_told_by_name() {
        let error = read_usage(Path::new("/nonexistent"), &mut CpuTimes::default());

        assert_eq!(
            error.unwrap_err().to_string(),
            "could not read /nonexistent/stat"
        );
    }
}
