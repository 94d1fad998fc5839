//! What a process costs, as the kernel counts it, and how many files this one may open.
//! It never asks the process itself.

use std::fs;
use std::io;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Processor time and memory of a process since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUse {
    /// Processor time, user and system, in seconds.
    pub cpu_secs: f64,
    /// Resident memory now, in MiB.
    pub resident_mib: f64,
    /// The most it ever was, in MiB.
    pub peak_mib: f64,
}

/// Reads what a process has used.
///
/// # Errors
/// When there is no such process.
pub fn read_use(process: u32) -> io::Result<ProcessUse> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let found = parse(&stat, &status);
    found.ok_or_else(|| io::Error::other("the kernel's account of a process has another form"))
}

fn parse(stat: &str, status: &str) -> Option<ProcessUse> {
    // The name, in parentheses, may hold anything.
    let (_, numbers) = stat.rsplit_once(')')?;
    let mut ticks = numbers.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1_024.0)
    };
    Some(ProcessUse {
        cpu_secs: (user + system) / clock_ticks_per_second() as f64,
        resident_mib: mib("VmRSS:")?,
        peak_mib: mib("VmHWM:")?,
    })
}

/// Lets this process, and those it starts, open as many files as they may: a swarm has a socket for
/// each agent. Gives how many that are.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_files() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 1 0 9";
        let status = "Name:\tx\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\n";

        let used = parse(stat, status).expect("it is of the known form");

        assert!((used.resident_mib - 2.0).abs() < 1e-9, "{used:?}");
        assert!((used.peak_mib - 4.0).abs() < 1e-9, "{used:?}");
        let ticks = clock_ticks_per_second() as f64;
        assert!((used.cpu_secs * ticks - 300.0).abs() < 1e-6, "{used:?}");
    }

    #[test]
    fn this_process_has_used_something_and_may_open_files() {
        let used = read_use(std::process::id()).expect("this process runs");

        assert!(used.resident_mib > 0.0 && used.peak_mib >= used.resident_mib);
        assert!(raise_open_files().expect("the soft limit may be raised") > 0);
    }
}
