//! Installing packages on Debian and Ubuntu without a question and without side effects: no service
//! that a package brings is started or enabled. It never touches what is installed already.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::search::Host;
use crate::program::{program, succeed};

/// Packages that bring services, with their units.
const SERVICES: [(&str, &[&str]); 2] = [
    ("postgresql", &["postgresql.service"]),
    ("openssh-server", &["ssh.service", "ssh.socket"]),
];

/// What Debian asks before it starts the service of a package.
const START_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether packages can be installed here by this user.
pub(crate) fn is_usable(host: &Host) -> bool {
    host.is_root && host.root.join("usr/bin/apt-get").exists()
}

/// Installs packages and says so.
///
/// # Errors
/// When apt-get fails even with fresh package lists.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    println!("installing {} (apt-get install)", packages.join(" "));
    let units = units_not_enabled(packages);
    let _no_starts = ensure_no_starts()?;
    let lists_are_fresh = has_package_lists() && apt_get(&with_packages(packages)).is_ok();
    if !lists_are_fresh {
        apt_get(&["update"]).context("cannot refresh the package lists")?;
        apt_get(&with_packages(packages)).context("cannot install what is missing")?;
    }
    ensure_disabled(&units);
    Ok(())
}

fn with_packages<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    arguments
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = program("apt-get");
    command
        .arg("-qq")
        .args(["-o", "Dpkg::Use-Pty=0"])
        .args(arguments);
    succeed(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn has_package_lists() -> bool {
    let Ok(lists) = fs::read_dir("/var/lib/apt/lists") else {
        return false;
    };
    lists
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// A file that is removed when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            println!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Forbids starts of services for as long as the answer lives, unless a policy is there already.
fn ensure_no_starts() -> Result<Option<Temporary>> {
    let policy = Path::new(START_POLICY);
    if policy.exists() {
        return Ok(None);
    }
    fs::write(policy, "#!/bin/sh\nexit 101\n").context("cannot forbid starts of services")?;
    let temporary = Temporary(policy.to_owned());
    fs::set_permissions(policy, fs::Permissions::from_mode(0o755))
        .context("cannot forbid starts of services")?;
    Ok(Some(temporary))
}

fn units_not_enabled(packages: &[&str]) -> Vec<&'static str> {
    if !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    SERVICES
        .iter()
        .filter(|(package, _)| packages.contains(package))
        .flat_map(|(_, units)| units.iter().copied())
        .filter(|unit| {
            let mut is_enabled = program("systemctl");
            succeed(is_enabled.args(["--quiet", "is-enabled", unit])).is_err()
        })
        .collect()
}

/// Keeps units from starting at the next boot; one that the package does not have is no matter.
fn ensure_disabled(units: &[&str]) {
    for unit in units {
        if succeed(program("systemctl").args(["--quiet", "disable", "--now", unit])).is_err() {
            println!("note: {unit} could not be disabled; it may start at the next boot");
        }
    }
}
