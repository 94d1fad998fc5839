//! Updates that wait on a host with apt: its own lists against what is installed.
//! It fetches nothing, takes no lock and runs no program; unknown is an answer.

mod lists;
mod paragraph;
mod version;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use hidps_wire::PendingUpdates;

use super::changed_at;
use lists::{PackageList, find_lists};
use paragraph::{Paragraph, each_paragraph};
use version::Version;

/// Most packages of a host: a desktop with everything has some ten thousand.
const MAX_INSTALLED: usize = 100_000;

/// Counts pending updates, and counts anew only when a list or a package has changed.
#[derive(Debug)]
pub(super) struct UpdateReader {
    status: PathBuf,
    lists: PathBuf,
    known: Option<(Stamp, Result<PendingUpdates, Unknown>)>,
    root: PathBuf,
}

/// Why it is not known what waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unknown {
    /// Fetched by nobody yet, or cleaned away.
    #[error("apt has no lists of packages here; apt-get update fetches them")]
    NoLists,
    /// The answer would be too small without it.
    #[error("apt keeps a list here that is packed in a way the agent does not read")]
    OddList,
    /// It ends in the middle of a line, or cannot be read.
    #[error("a list of apt's or dpkg's cannot be read as one")]
    Unreadable,
    /// A host of rpm's has binary databases for which there is no reader here.
    #[error(
        "packages are rpm's here, whose databases the agent does not read; ask dnf check-update"
    )]
    Rpm,
    /// A host of another kind.
    #[error("the agent knows no package manager of this host")]
    NoManager,
}

/// Where rpm keeps what is installed, in its old and its new place.
const RPM: [&str; 2] = ["var/lib/rpm", "usr/lib/sysimage/rpm"];

/// What was there when it was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    status_at: Option<i64>,
    lists_at: Option<i64>,
}

/// What is installed, by name: most have one architecture, some two or three.
type Installed = HashMap<String, Vec<InstalledPackage>>;

/// One package of one architecture, and what was found to be newer.
#[derive(Debug)]
struct InstalledPackage {
    architecture: String,
    version: Version,
    has_update: bool,
    has_security_update: bool,
}

impl UpdateReader {
    /// A reader that has counted nothing.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            status: root.join("var/lib/dpkg/status"),
            lists: root.join("var/lib/apt/lists"),
            known: None,
            root: root.to_owned(),
        }
    }

    /// How many wait.
    ///
    /// # Errors
    /// Where that cannot be known, why.
    pub(super) fn read(&mut self) -> Result<PendingUpdates, Unknown> {
        // apt keeps a folder of its own for what is under way; that tells of every fetch.
        let fetched = [self.lists.join("partial"), self.lists.clone()];
        let stamp = Stamp {
            status_at: changed_at(&self.status),
            lists_at: fetched.iter().filter_map(|path| changed_at(path)).max(),
        };
        if let Some((known, updates)) = self.known
            && known == stamp
        {
            return updates;
        }
        let updates = self.count(stamp);
        self.known = Some((stamp, updates));
        updates
    }

    fn count(&self, stamp: Stamp) -> Result<PendingUpdates, Unknown> {
        if !self.status.exists() {
            let has_rpm = RPM.iter().any(|place| self.root.join(place).is_dir());
            return Err(if has_rpm {
                Unknown::Rpm
            } else {
                Unknown::NoManager
            });
        }
        let lists = find_lists(&self.lists)?;
        let mut installed = read_installed(&self.status).ok_or(Unknown::Unreadable)?;
        for list in &lists {
            compare(&mut installed, list).ok_or(Unknown::Unreadable)?;
        }
        let packages = || installed.values().flatten();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(PendingUpdates {
            total: count(packages().filter(|package| package.has_update).count()),
            security: count(
                packages()
                    .filter(|package| package.has_security_update)
                    .count(),
            ),
            lists_at: stamp.lists_at.ok_or(Unknown::NoLists)?,
        })
    }
}

/// What dpkg has installed and may replace: a held package waits for its owner, not for an update.
fn read_installed(status: &Path) -> Option<Installed> {
    let mut installed = Installed::new();
    let mut n_installed = 0;
    each_paragraph(File::open(status).ok()?, |paragraph| {
        let is_wanted = paragraph.status.as_deref() == Some("install ok installed");
        if is_wanted
            && n_installed < MAX_INSTALLED
            && let Some(version) = paragraph.version.as_deref().and_then(Version::parse)
        {
            n_installed += 1;
            let packages = installed.entry(paragraph.package.clone()).or_default();
            packages.push(InstalledPackage {
                architecture: paragraph.architecture.clone(),
                version,
                has_update: false,
                has_security_update: false,
            });
        }
    })
    .ok()?;
    (n_installed > 0).then_some(installed)
}

fn compare(installed: &mut Installed, list: &PackageList) -> Option<()> {
    each_paragraph(list.open().ok()?, |offered| {
        let Some(packages) = installed.get_mut(&offered.package) else {
            return;
        };
        let Some(version) = offered.version.as_deref().and_then(Version::parse) else {
            return;
        };
        for package in packages {
            if fits(package, offered) && version > package.version {
                package.has_update = true;
                package.has_security_update |= list.is_security;
            }
        }
    })
    .ok()
}

/// A package may change from one architecture to all of them and back.
fn fits(package: &InstalledPackage, offered: &Paragraph) -> bool {
    package.architecture == offered.architecture
        || package.architecture == "all"
        || offered.architecture == "all"
}

/// For fuzzing.
pub(super) mod fuzzing {
    use std::cmp::Ordering;

    use super::{Version, each_paragraph};

    pub(in crate::collect) fn read_package_list(bytes: &[u8]) -> usize {
        let mut n_versions = 0;
        let read = each_paragraph(bytes, |paragraph| {
            let version = paragraph.version.as_deref().and_then(Version::parse);
            n_versions += usize::from(version.is_some());
        });
        read.map_or(0, |()| n_versions)
    }

    pub(in crate::collect) fn compare_versions(one: &str, other: &str) -> Option<Ordering> {
        Some(Version::parse(one)?.cmp(&Version::parse(other)?))
    }
}

#[cfg(test)]
mod tests;
