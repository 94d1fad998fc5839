//! Finding programs and their versions on a machine.
//! It never installs, and it asks a program for its version only where a version is required.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest PostgreSQL whose logical decoding and syntax the migrations use.
const OLDEST_POSTGRES: u32 = 15;

/// Where programs of the administrator live; an ordinary user's PATH lacks them on Debian.
const ADMINISTRATION: [&str; 3] = ["usr/local/sbin", "usr/sbin", "sbin"];

/// Directories of PostgreSQL's packages, one folder per version inside.
const POSTGRES_HOMES: [&str; 2] = ["usr/lib/postgresql", "usr/local/pgsql"];

/// The machine that is searched.
#[derive(Clone)]
pub(crate) struct Host {
    /// `/`, but for tests.
    pub(crate) root: PathBuf,
    /// Directories of programs, in order.
    pub(crate) path: Vec<PathBuf>,
    /// Whether this process may do anything.
    pub(crate) is_root: bool,
}

/// Where a program is and which.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Its version, if that was asked for.
    pub(crate) version: String,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// How a requirement is found.
#[derive(Clone, Copy)]
pub(crate) enum Search {
    /// A program of this name.
    Program(&'static str),
    /// A program of this name, at least of this major version.
    Version {
        /// Its name.
        program: &'static str,
        /// The oldest major version.
        minimum: u32,
    },
    /// Server programs of PostgreSQL.
    Postgres,
}

impl Host {
    /// The machine this runs on.
    pub(crate) fn this() -> Self {
        let root = PathBuf::from("/");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::split_paths(&path)
            .chain(ADMINISTRATION.iter().map(|directory| root.join(directory)))
            .collect();
        let is_root = fs::metadata("/proc/self").is_ok_and(|of_process| of_process.uid() == 0);
        Self {
            root,
            path,
            is_root,
        }
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|directory| directory.join(program))
            .find(|path| is_executable(path))
    }

    /// Directories with both `postgres` and `initdb`, each once.
    fn postgres_directories(&self) -> Vec<PathBuf> {
        let linked = self
            .find("postgres")
            .and_then(|path| fs::canonicalize(path).ok())
            .and_then(|path| path.parent().map(Path::to_owned));
        let mut directories: Vec<_> = POSTGRES_HOMES
            .iter()
            .filter_map(|home| fs::read_dir(self.root.join(home)).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .chain(linked)
            .filter(|directory| {
                is_executable(&directory.join("postgres"))
                    && is_executable(&directory.join("initdb"))
            })
            .collect();
        directories.sort();
        directories.dedup();
        directories
    }
}

impl Search {
    /// Looks for it.
    pub(crate) fn find(self, host: &Host) -> Option<Found> {
        match self {
            Self::Program(name) => host.find(name).map(|path| Found {
                version: String::new(),
                path,
            }),
            Self::Version { program, minimum } => at_least(minimum, host.find(program)?),
            Self::Postgres => find_postgres(host).pop(),
        }
    }
}

/// Every version of PostgreSQL's server that is good enough, each by its `postgres`.
pub(crate) fn find_postgres(host: &Host) -> Vec<Found> {
    host.postgres_directories()
        .into_iter()
        .filter_map(|directory| at_least(OLDEST_POSTGRES, directory.join("postgres")))
        .collect()
}

fn at_least(minimum: u32, path: PathBuf) -> Option<Found> {
    let output = Command::new(&path).arg("--version").output().ok()?;
    let (version, major) = parse_version(&String::from_utf8_lossy(&output.stdout))?;
    (major >= minimum).then_some(Found { version, path })
}

/// The first version in a text such as `v20.11.1` or `postgres (PostgreSQL) 15.13 (Debian)`.
fn parse_version(text: &str) -> Option<(String, u32)> {
    text.split_whitespace().find_map(|word| {
        let version = word.strip_prefix('v').unwrap_or(word);
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        Some((version.to_owned(), digits.parse().ok()?))
    })
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A machine with these programs, each a path and what it says to `--version`.
#[cfg(test)]
pub(crate) fn made_up_host(root: &Path, programs: &[(&str, &str)]) -> Host {
    for (path, version) in programs {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a program has a directory")).expect("created");
        fs::write(&path, format!("#!/bin/sh\necho '{version}'\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    }
    Host {
        root: root.to_owned(),
        path: vec![root.join("usr/bin"), root.join("usr/sbin")],
        is_root: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(programs: &[(&str, &str)], search: Search, expected: Option<&str>) {
        let directory = tempfile::tempdir().expect("a directory");
        let host = made_up_host(directory.path(), programs);

        let found = search.find(&host);

        assert_eq!(found.map(|found| found.version).as_deref(), expected);
    }

    #[test]
    fn a_program_is_found_where_the_administrator_has_it() {
        check(&[("usr/sbin/nft", "")], Search::Program("nft"), Some(""));
        check(&[], Search::Program("nft"), None);
    }

    #[test]
    fn an_old_node_is_no_node() {
        let search = Search::Version {
            program: "node",
            minimum: 20,
        };

        check(&[("usr/bin/node", "v20.20.2")], search, Some("20.20.2"));
        check(&[("usr/bin/node", "v18.19.0")], search, None);
    }

    #[test]
    fn servers_are_found_in_the_directories_of_their_versions() {
        let servers = [
            (
                "usr/lib/postgresql/13/bin/postgres",
                "postgres (PostgreSQL) 13.1",
            ),
            ("usr/lib/postgresql/13/bin/initdb", ""),
            (
                "usr/lib/postgresql/15/bin/postgres",
                "postgres (PostgreSQL) 15.13 (Debian)",
            ),
            ("usr/lib/postgresql/15/bin/initdb", ""),
        ];

        check(&servers, Search::Postgres, Some("15.13"));
        check(&servers[..2], Search::Postgres, None);
    }

    #[test]
    fn a_client_alone_is_no_server() {
        let client = [("usr/bin/postgres", "postgres (PostgreSQL) 16.1")];

        check(&client, Search::Postgres, None);
    }
}
