//! `cargo x dist`: the agent as hosts get it, and its Debian package, below `target/dist`.
//! It publishes nothing and changes nothing outside of `target`.

mod compiler;
mod emulator;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::program::{build_directory, capture, program, repository_root, succeed};
use crate::report::Report;
use compiler::Compiler;

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

/// Builds for the architectures asked for; without any, for those whose standard library is here,
/// and says which is not.
pub(crate) fn run(wanted: &[String]) -> ExitCode {
    let mut report = Report::default();
    let is_known = |name: &&String| TARGETS.iter().any(|target| target.architecture == **name);
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        report.step(unknown, || {
            bail!("there is no agent for it; ask for x86_64 or aarch64")
        });
        return report.finish();
    }
    let mut linker = None;
    report.step("linker", || {
        linker = Some(ensure_linker()?);
        Ok(())
    });
    let Some(linker) = linker else {
        return report.finish();
    };
    for target in &TARGETS {
        let is_wanted = wanted.iter().any(|name| name == target.architecture);
        if !wanted.is_empty() && !is_wanted {
            continue;
        }
        match Compiler::for_target(target.triple, is_wanted) {
            Ok(compiler) => report.step(target.architecture, || build(target, &linker, &compiler)),
            Err(why) if is_wanted => report.step(target.architecture, || Err(why)),
            Err(why) => report.skip(target.architecture, &why.to_string()),
        }
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

fn build(target: &Target, linker: &Path, compiler: &Compiler) -> Result<()> {
    let (major, minor) = OLDEST_GLIBC;
    let mut build = program(linker.join("cargo-zigbuild"));
    build.args(["zigbuild", "--quiet", "--locked", "--profile", "dist"]);
    build.args(["-p", "hidps-agent", "--bin", "hidps-agent"]);
    build.args(["--target", &format!("{}.{major}.{minor}", target.triple)]);
    let built = compiler.prepare(&mut build, &directory()?)?;
    succeed(&mut with_path(build, &[linker, compiler.programs()])?)?;
    let built = built.join(target.triple).join("dist/hidps-agent");

    // As HIDPS_AGENT_DIR wants it.
    let folder = directory()?.join("agent").join(target.architecture);
    fs::create_dir_all(&folder).context("cannot make the folder of the program")?;
    let path = folder.join("hidps-agent");
    fs::copy(&built, &path).with_context(|| format!("cannot copy {}", built.display()))?;
    let checksum = capture(program("sha256sum").arg("hidps-agent").current_dir(&folder))?;
    fs::write(folder.join("hidps-agent.sha256"), &checksum).context("cannot write the checksum")?;
    describe(&path, &checksum)?;
    emulator::try_run(target.architecture, &path)?;
    pack(target, &path)
}

/// The same command with directories first among those of programs.
fn with_path(mut command: Command, first: &[&Path]) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = first.iter().map(|first| (*first).to_owned());
    let all = first
        .filter(|path| !path.as_os_str().is_empty())
        .chain(std::env::split_paths(&path));
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
}
