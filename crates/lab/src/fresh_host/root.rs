//! The Debian root that fresh hosts boot from: made once by debootstrap, kept below `target`.
//! It names no mirror: whichever this machine's apt uses is asked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{CommandError, find_program, run};

/// Where roots are kept.
const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/fresh-host");

/// What a host has beyond the least: an init, firewalls (ufw is there and off), what fetches files, and
/// what people log in and work by.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,nftables,ufw,ca-certificates,curl,cron,\
     openssh-server,sshpass,sudo";

/// It takes a minute and a half on a quiet machine, with a mirror nearby.
const DEADLINE: Duration = Duration::from_secs(900);

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The program that makes one is not there.
    #[error("debootstrap is missing: apt-get install debootstrap")]
    NoDebootstrap,
    /// The machine is no Debian, or apt knows no mirror.
    #[error("apt's sources on this machine name no mirror of Debian to make a root from")]
    NoMirror,
    /// A file failed.
    #[error("could not use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("debootstrap failed")]
    Debootstrap(#[source] CommandError),
}

/// Says whether a root is there or can be made.
///
/// # Errors
/// Says what is missing.
pub fn check_root() -> Result<(), RootError> {
    if is_made() {
        return Ok(());
    }
    if find_program("debootstrap").is_none() {
        return Err(RootError::NoDebootstrap);
    }
    find_mirror().map(drop).ok_or(RootError::NoMirror)
}

/// The root; the first who asks makes it, others wait.
pub(super) fn ensure_root() -> Result<PathBuf, RootError> {
    let cache = Path::new(CACHE);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RootError::File { path, source }
    };
    fs::create_dir_all(cache).map_err(failed(cache))?;
    let lock = cache.join("lock");
    let file = File::create(&lock).map_err(failed(&lock))?;
    file.lock().map_err(failed(&lock))?;
    let root = root_path();
    if is_made() {
        return Ok(root);
    }
    check_root()?;
    let (codename, mirror) = find_mirror().ok_or(RootError::NoMirror)?;
    let unfinished = cache.join("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failed(&unfinished))?;
    }
    let mut command = Command::new(find_program("debootstrap").ok_or(RootError::NoDebootstrap)?);
    command.args(["--variant=minbase", &format!("--include={PACKAGES}")]);
    command.arg(codename).arg(&unfinished).arg(mirror);
    run(command, DEADLINE).map_err(RootError::Debootstrap)?;
    fs::rename(&unfinished, &root).map_err(failed(&root))?;
    Ok(root)
}

fn root_path() -> PathBuf {
    // Another list of packages is another root.
    Path::new(CACHE).join(format!("debian-{}", PACKAGES.split(',').count()))
}

fn is_made() -> bool {
    root_path().join("lib/systemd/systemd").exists()
}

/// The codename of this machine's Debian and the mirror that apt has it from.
fn find_mirror() -> Option<(String, String)> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let mut lines = release.lines();
    let codename = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let codename = codename.trim_matches('"').to_owned();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(directory) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(directory.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mirror = files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        parse_mirror(&text, &codename)
    });
    Some((codename, mirror?))
}

/// The mirror of a codename in a file of apt's sources, in either form.
fn parse_mirror(text: &str, codename: &str) -> Option<String> {
    let of_list = text.lines().find_map(|line| {
        let rest = line.strip_prefix("deb ")?;
        let words = rest.split(' ').skip_while(|word| !word.contains("://"));
        let mut words = words.filter(|word| !word.is_empty());
        let (mirror, suite) = (words.next()?, words.next()?);
        (suite == codename).then(|| mirror.to_owned())
    });
    let of_stanza = || {
        text.split("\n\n").find_map(|stanza| {
            let value = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key));
            let mut suites = value("Suites:")?.split_whitespace();
            let is_meant = suites.any(|suite| suite == codename);
            let mirror = value("URIs:")?.split_whitespace().next()?;
            is_meant.then(|| mirror.to_owned())
        })
    };
    of_list.or_else(of_stanza)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_found_in_both_forms_of_apts_sources() {
        let list = "# x\ndeb [signed-by=/k] https://a.example/other stable main\n\
                    deb [arch=amd64] https://m.example/debian bookworm main\n";
        let stanzas = "Types: deb\nURIs: https://s.example/security\nSuites: bookworm-security\n\n\
                       Types: deb\nURIs: https://m.example/debian\nSuites: bookworm bookworm-updates\n";

        for text in [list, stanzas] {
            let mirror = parse_mirror(text, "bookworm");

            assert_eq!(
                mirror.as_deref(),
                Some("https://m.example/debian"),
                "{text}"
            );
        }
        assert_eq!(parse_mirror(stanzas, "trixie"), None);
    }
}
