//! What this host is, found in its files, and asked of its own time service: nothing here leaves the
//! host, takes a lock or starts a program.
//! What cannot be found out is left out; an answer that is not known is never made up.

mod interfaces;
mod open_ports;
mod os_release;
mod printed;
mod protection;
mod time_sync;
mod updates;
mod virtualization;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hidps_wire::{Facts, Shown};

use crate::collect::process::parse_users;
use os_release::OsRelease;
use time_sync::TimeServices;
use updates::UpdateReader;

pub use printed::print_facts;

/// What the facts of a host cannot tell, for people.
pub const CANNOT_SEE: &str = "pending updates are known on hosts with apt whose lists are there, \
     without pins and phases; OpenNTPD and ntpd-rs do not say whether they have set the clock, nor \
     do chrony and ntpd where they answer nobody; ports of other network namespaces";

/// Two readings of the time of start that differ by less are of one start: the kernel computes it
/// from a clock that is being corrected.
const SAME_BOOT_SECS: u64 = 60;

/// The first number of a person, as distributions number users.
const FIRST_PERSON: u32 = 1_000;

/// Above those of people: users that are made up for a service, and nobody.
const SERVICES_ABOVE: std::ops::RangeInclusive<u32> = 60_001..=65_535;

/// Most processes whose names are looked at.
const MAX_PROCESSES_LISTED: usize = 131_072;

/// Reads the facts, and remembers what is dear to find out.
#[derive(Debug)]
pub struct FactsReader {
    root: PathBuf,
    updates: UpdateReader,
    time_services: TimeServices,
    booted_at: Option<i64>,
}

impl FactsReader {
    /// A reader of the host whose root directory this is.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self {
            updates: UpdateReader::new(&root),
            time_services: TimeServices::of_this_host(),
            root,
            booted_at: None,
        }
    }

    /// What the host is now.
    pub fn read(&mut self) -> Facts {
        let system = rustix::system::uname();
        let release = OsRelease::read(&self.root);
        let programs = running_programs(&self.root.join("proc"));
        self.read_boot();
        let updates = self.updates.read();
        Facts {
            hostname: Shown::new(&system.nodename().to_string_lossy()),
            os: release.pretty_name.map(|name| Shown::new(&name)),
            os_id: release.id.map(|id| Shown::new(&id)),
            os_version: release.version.map(|version| Shown::new(&version)),
            kernel: Shown::new(&system.release().to_string_lossy()),
            arch: Shown::new(std::env::consts::ARCH),
            booted_at: self.booted_at,
            virtualization: virtualization::find(&self.root).map(|kind| Shown::new(&kind)),
            interfaces: interfaces::read(),
            open_ports: open_ports::read(&self.root),
            updates: updates.ok(),
            updates_unknown: updates.err().map(|why| Shown::new(&why.to_string())),
            antivirus: protection::find(&self.root, &programs),
            time_sync: self.time_services.find(&self.root, &programs),
        }
    }

    fn read_boot(&mut self) {
        let stat = fs::read_to_string(self.root.join("proc/stat")).unwrap_or_default();
        let read = parse_boot(&stat);
        let is_same = |before: i64| read.is_some_and(|now| now.abs_diff(before) < SAME_BOOT_SECS);
        if !self.booted_at.is_some_and(is_same) {
            self.booted_at = read;
        }
    }
}

/// The line `btime` of `/proc/stat`.
fn parse_boot(stat: &str) -> Option<i64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok().filter(|seconds| *seconds > 0)
}

/// The names of all programs of the system that run, as the kernel has them: at most 15 bytes. Those
/// of people do not count, for whoever is logged in may name a program as any service.
fn running_programs(proc: &Path) -> BTreeSet<String> {
    let listed = fs::read_dir(proc).into_iter().flatten().flatten();
    listed
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .take(MAX_PROCESSES_LISTED)
        .filter_map(|entry| {
            let name = fs::read(entry.path().join("comm")).ok()?;
            let status = fs::read(entry.path().join("status")).unwrap_or_default();
            let name = String::from_utf8_lossy(&name).trim_end().to_owned();
            (!is_of_person(&status)).then_some(name)
        })
        .collect()
}

/// Whether a person began a process, as its `status` says: services have numbers of users below
/// those, or from a range of their own.
fn is_of_person(status: &[u8]) -> bool {
    let user = parse_users(&String::from_utf8_lossy(status)).map(|(real, _)| real);
    user.is_some_and(|user| user >= FIRST_PERSON && !SERVICES_ABOVE.contains(&user))
}

/// When a file was changed last, in seconds since 1970.
fn changed_at(path: &Path) -> Option<i64> {
    let changed = fs::metadata(path).ok()?.modified().ok()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// For fuzzing.
pub(super) mod fuzzing {
    pub(in crate::collect) use super::time_sync::fuzzing::read_answers;
    pub(in crate::collect) use super::updates::fuzzing::{compare_versions, read_package_list};

    pub(in crate::collect) fn read_file(text: &str) {
        super::OsRelease::parse(text);
        super::parse_boot(text);
    }
}

#[cfg(test)]
mod tests;
