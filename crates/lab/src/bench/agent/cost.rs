//! What a process cost over a while: processor time to the nanosecond, memory, and how often it woke
//! up. It never asks the process itself.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

use crate::bench::process::read_use;

/// What a process had used at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    at: Instant,
    cpu: Duration,
    n_wakeups: u64,
}

/// What it used between two moments, and what it holds at the second one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// In percent of one core.
    pub(super) cpu_percent: f64,
    /// How often a second one of its threads began to run after waiting.
    pub(super) wakeups_per_sec: f64,
    /// Resident memory, in MiB.
    pub(super) resident_mib: f64,
    /// The most it ever was, in MiB.
    pub(super) peak_mib: f64,
}

impl Reading {
    /// Reads what a process has used until now.
    pub(super) fn of(process: u32) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: cpu_time(process)?,
            n_wakeups: count_wakeups(process)?,
        })
    }

    /// What it has used since.
    pub(super) fn cost_since(self, process: u32) -> io::Result<Cost> {
        let now = Self::of(process)?;
        let memory = read_use(process)?;
        let secs = (now.at - self.at).as_secs_f64();
        // A thread that has ended takes its count with it.
        let n_wakeups = now.n_wakeups.saturating_sub(self.n_wakeups);
        Ok(Cost {
            cpu_percent: 100.0 * now.cpu.saturating_sub(self.cpu).as_secs_f64() / secs,
            wakeups_per_sec: n_wakeups as f64 / secs,
            resident_mib: memory.resident_mib,
            peak_mib: memory.peak_mib,
        })
    }
}

/// Processor time of all threads of a process, those that have ended too; the accounts in `/proc`
/// are of hundredths of a second, in which an idle agent is not seen.
fn cpu_time(process: u32) -> io::Result<Duration> {
    let pid = Pid::from_raw(process.cast_signed());
    Ok(clock_getcpuclockid(pid)?.now()?.into())
}

/// Processor time of the calling thread.
pub(super) fn thread_cpu_time() -> io::Result<Duration> {
    let time: TimeSpec = ClockId::CLOCK_THREAD_CPUTIME_ID.now()?;
    Ok(time.into())
}

fn count_wakeups(process: u32) -> io::Result<u64> {
    let mut n_wakeups = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end at any time.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else {
            continue;
        };
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        n_wakeups += line
            .map_or(Ok(0), |count| count.trim().parse::<u64>())
            .unwrap_or(0);
    }
    Ok(n_wakeups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_costs_little_and_one_who_works_a_core() {
        let process = std::process::id();
        let before = Reading::of(process).expect("this process runs");

        let end = Instant::now() + Duration::from_millis(50);
        while thread_cpu_time().expect("there is such a clock") < Duration::from_millis(20)
            || Instant::now() < end
        {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(1));
        let cost = before.cost_since(process).expect("this process runs");

        assert!(cost.cpu_percent > 0.5, "{cost:?}");
        assert!(cost.wakeups_per_sec > 0.0, "{cost:?}");
        assert!(cost.peak_mib >= cost.resident_mib && cost.resident_mib > 0.5);
    }
}
