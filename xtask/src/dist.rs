//! `cargo x dist`: the agent as hosts get it, and its Debian package, below `target/dist`.
//! It publishes nothing and changes nothing outside of `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::program::{build_directory, capture, program, repository_root, succeed};
use crate::report::Report;

/// The oldest C library the program runs with: that of distributions of 2014.
const OLDEST_GLIBC: (u32, u32) = (2, 17);

/// What a program is built for.
struct Target {
    /// As `uname -m` and the daemon's directory name it.
    architecture: &'static str,
    /// As Debian names it.
    debian: &'static str,
    /// As the compiler names it.
    triple: &'static str,
}

const TARGETS: [Target; 2] = [
    Target {
        architecture: "x86_64",
        debian: "amd64",
        triple: "x86_64-unknown-linux-gnu",
    },
    Target {
        architecture: "aarch64",
        debian: "arm64",
        triple: "aarch64-unknown-linux-gnu",
    },
];

/// Builds for every architecture whose standard library is here, and says which is not.
pub(crate) fn run() -> ExitCode {
    let mut report = Report::default();
    let mut linker = None;
    report.step("linker", || {
        linker = Some(ensure_linker()?);
        Ok(())
    });
    let Some(linker) = linker else {
        return report.finish();
    };
    for target in &TARGETS {
        if !has_standard_library(target.triple) {
            let why = format!(
                "there is no standard library for it here: rustup target add {}",
                target.triple
            );
            report.skip(target.architecture, &why);
            continue;
        }
        report.step(target.architecture, || build(target, &linker));
    }
    report.finish()
}

fn directory() -> Result<PathBuf> {
    let built = build_directory()?;
    let target = built
        .parent()
        .context("programs are built below a directory")?;
    Ok(target.join("dist"))
}

/// The directory with the programs that link against an old C library; installed once.
fn ensure_linker() -> Result<PathBuf> {
    let environment = directory()?.join("venv");
    let wanted = repository_root().join("agent/packaging/requirements.txt");
    let wanted_text = fs::read_to_string(&wanted).context("cannot read what it needs")?;
    let mark = environment.join("installed.txt");
    let programs = environment.join("bin");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted_text) {
        return Ok(programs);
    }
    fs::create_dir_all(directory()?).context("cannot make target/dist")?;
    capture(
        program("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    let mut install = program(programs.join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--require-hashes", "--requirement"]);
    capture(install.arg(&wanted))?;
    fs::write(&mark, wanted_text).context("cannot note what is installed")?;
    Ok(programs)
}

fn has_standard_library(triple: &str) -> bool {
    let mut print = program("rustc");
    let root = capture(print.args(["--print", "sysroot"]));
    root.is_ok_and(|root| {
        Path::new(root.trim())
            .join("lib/rustlib")
            .join(triple)
            .exists()
    })
}

fn build(target: &Target, linker: &Path) -> Result<()> {
    let (major, minor) = OLDEST_GLIBC;
    let mut build = with_path(program(linker.join("cargo-zigbuild")), linker)?;
    build.args(["zigbuild", "--quiet", "--locked", "--profile", "dist"]);
    build.args(["-p", "hidps-agent", "--bin", "hidps-agent"]);
    build.args(["--target", &format!("{}.{major}.{minor}", target.triple)]);
    succeed(&mut build)?;
    let built = directory()?.with_file_name(target.triple);
    let built = built.join("dist/hidps-agent");

    // As HIDPS_AGENT_DIR wants it.
    let folder = directory()?.join("agent").join(target.architecture);
    fs::create_dir_all(&folder).context("cannot make the folder of the program")?;
    let path = folder.join("hidps-agent");
    fs::copy(&built, &path).with_context(|| format!("cannot copy {}", built.display()))?;
    let checksum = capture(program("sha256sum").arg("hidps-agent").current_dir(&folder))?;
    fs::write(folder.join("hidps-agent.sha256"), &checksum).context("cannot write the checksum")?;
    describe(&path, &checksum)?;
    pack(target, &path)
}

/// The same command with a directory first among those of programs.
fn with_path(mut command: Command, first: &Path) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all)?);
    Ok(command)
}

/// Prints what matters of a program, and refuses one that needs too new a C library.
fn describe(path: &Path, checksum: &str) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (major, minor) = highest_glibc(&bytes).context("the program names no C library")?;
    println!("{}", path.display());
    println!("  size    {} bytes", bytes.len());
    println!("  needs   GLIBC_{major}.{minor}");
    println!(
        "  sha256  {}",
        checksum.split(' ').next().unwrap_or_default()
    );
    if (major, minor) > OLDEST_GLIBC {
        let (wanted_major, wanted_minor) = OLDEST_GLIBC;
        bail!("it does not run where the C library is {wanted_major}.{wanted_minor}");
    }
    Ok(())
}

/// The highest version of the C library among the symbols of a program.
fn highest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    const PREFIX: &[u8] = b"GLIBC_";
    let texts = program.split(|byte| *byte == 0);
    let versions = texts.filter_map(|text| {
        let version = std::str::from_utf8(text.strip_prefix(PREFIX)?).ok()?;
        let mut numbers = version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    versions.max()
}

fn pack(target: &Target, path: &Path) -> Result<()> {
    if capture(program("dpkg-deb").arg("--version")).is_err() {
        println!("  no Debian package: dpkg-deb is not here");
        return Ok(());
    }
    let version = env!("CARGO_PKG_VERSION");
    let package = format!("hidps-agent_{version}_{}.deb", target.debian);
    let package = directory()?.join(package);
    let mut pack = program("agent/packaging/build-deb");
    pack.arg(path).args([target.debian, version]);
    succeed(pack.arg(&package))?;
    println!("{}", package.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_found_by_number_and_not_by_letter() {
        let program = b"\x7fELF\0GLIBC_2.9\0GLIBC_2.17\0GLIBC_2.2.5\0GLIBC_PRIVATE\0x";

        assert_eq!(highest_glibc(program), Some((2, 17)));
        assert_eq!(highest_glibc(b"static"), None);
    }

    #[test]
    fn this_machine_has_its_own_standard_library() {
        let own = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);

        assert!(has_standard_library(&own));
        assert!(!has_standard_library("pdp11-unknown-unix"));
    }
}
