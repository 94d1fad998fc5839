//! Other programs for the same job, from where they are published: Debian's packages, unpacked and
//! never installed, and a Python environment of its own. It starts none of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::command::{find_program, run};

/// The programs and the libraries that a small system does not have.
const PACKAGES: [&str; 10] = [
    "rsyslog",
    "syslog-ng-core",
    "forkstat",
    "libestr0",
    "libfastjson4",
    "libivykis0",
    "libjson-c5",
    "libnet1",
    "libpcre3",
    "libwrap0",
];

/// What the Python agent needs.
const PYTHON_PACKAGE: &str = "websockets==15.0.1";

/// Longest download.
const DEADLINE: Duration = Duration::from_secs(300);

/// Where peers are kept between runs.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    root: PathBuf,
    python: PathBuf,
    /// What cannot be had here, and why.
    pub(super) missing: Vec<String>,
}

impl Peers {
    /// Fetches what is not there yet; what cannot be had is said and left out.
    pub(super) fn fetch() -> anyhow::Result<Self> {
        let built = std::env::current_exe().context("this program has no path")?;
        let target = built
            .ancestors()
            .nth(2)
            .context("programs are built below a directory")?;
        let directory = target.join("bench-peers");
        let mut peers = Self {
            root: directory.join("root"),
            python: directory.join("venv/bin/python"),
            missing: Vec::new(),
        };
        if let Err(error) = peers.ensure_packages(&directory) {
            let names = PACKAGES.join(" ");
            peers.missing.push(format!(
                "rsyslog, syslog-ng and forkstat are not measured ({error:#}); they are had by \
                 apt-get download {names}"
            ));
        }
        if let Err(error) = peers.ensure_python(&directory) {
            peers.missing.push(format!(
                "the Python agent is not measured ({error:#}); it needs python3 with venv, and \
                 {PYTHON_PACKAGE}"
            ));
        }
        Ok(peers)
    }

    /// None at all: what is measured is measured alone.
    pub(super) fn none() -> Self {
        Self {
            root: PathBuf::new(),
            python: PathBuf::new(),
            missing: Vec::new(),
        }
    }

    /// A program of a package, if it is there.
    pub(super) fn find(&self, path: &str) -> Option<PathBuf> {
        Some(self.root.join(path)).filter(|path| path.is_file())
    }

    /// The Python of the environment, if it is there.
    pub(super) fn python(&self) -> Option<&Path> {
        Some(&*self.python).filter(|python| python.is_file())
    }

    /// The directory of a package.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Where the loader finds the libraries of all packages.
    pub(super) fn libraries(&self) -> anyhow::Result<String> {
        let path = |relative: &str| self.root.join(relative).display().to_string();
        let mut paths = vec![path("usr/lib/syslog-ng")];
        for directory in ["usr/lib", "lib"] {
            let Ok(entries) = fs::read_dir(self.root.join(directory)) else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_name().to_string_lossy().ends_with("-linux-gnu") {
                    paths.push(entry.path().display().to_string());
                }
            }
        }
        Ok(paths.join(":"))
    }

    fn ensure_packages(&self, directory: &Path) -> anyhow::Result<()> {
        if self.find("usr/sbin/rsyslogd").is_some() && self.find("usr/sbin/syslog-ng").is_some() {
            return Ok(());
        }
        if find_program("apt-get").is_none() || find_program("dpkg").is_none() {
            bail!("this is no Debian system");
        }
        let packages = directory.join("packages");
        fs::create_dir_all(&packages)?;
        let mut download = Command::new("apt-get");
        download.current_dir(&packages).args(["-qq", "download"]);
        run(command_with(download, &PACKAGES), DEADLINE)?;
        for package in fs::read_dir(&packages)? {
            let mut unpack = Command::new("dpkg");
            unpack.arg("-x").arg(package?.path()).arg(&self.root);
            run(unpack, DEADLINE)?;
        }
        Ok(())
    }

    fn ensure_python(&self, directory: &Path) -> anyhow::Result<()> {
        let mark = directory.join("venv/installed");
        if mark.is_file() {
            return Ok(());
        }
        let python = find_program("python3").context("there is no python3")?;
        let mut make = Command::new(python);
        make.args(["-m", "venv", "--clear"])
            .arg(directory.join("venv"));
        run(make, DEADLINE)?;
        let install = Command::new(directory.join("venv/bin/pip"));
        let arguments = [
            "install",
            "--quiet",
            "--disable-pip-version-check",
            PYTHON_PACKAGE,
        ];
        run(command_with(install, &arguments), DEADLINE)?;
        Ok(fs::write(mark, PYTHON_PACKAGE)?)
    }
}

fn command_with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}
