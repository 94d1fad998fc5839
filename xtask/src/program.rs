//! Programs that tasks start: how they are started and where the repository is.
//! It never reads their output, apart from `capture`, which hands it over whole.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository")
}

/// The directory this program was built into, `target/debug` unless configured otherwise.
pub(crate) fn build_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    program
        .parent()
        .map(Path::to_owned)
        .context("this program has no directory")
}

/// A program, run from the root of the repository without standard input.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(repository_root()).stdin(Stdio::null());
    forget_outer_cargo(&mut command);
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Removes what the `cargo run` around this program set for it: build scripts that watch these
/// variables (ring's does) would be built anew at each change between `cargo x` and plain cargo.
fn forget_outer_cargo(command: &mut Command) {
    let of_package = |name: &str| {
        name.starts_with("CARGO_PKG_")
            || matches!(
                name,
                "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "OUT_DIR"
            )
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started or ends with another status than 0.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or ends with another status than 0.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start {line}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{line}: {}: {}", output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error =
            succeed(program("sh").args(["-c", "exit 3"])).expect_err("status 3 is a failure");

        let text = error.to_string();
        assert!(text.contains("sh -c exit 3"), "{text}");
        assert!(text.contains('3'), "{text}");
    }

    #[test]
    fn a_captured_failure_quotes_what_the_program_said() {
        let error = capture(program("sh").args(["-c", "echo no such thing >&2; exit 1"]))
            .expect_err("status 1 is a failure");

        assert!(error.to_string().contains("no such thing"), "{error}");
    }

    #[test]
    fn a_program_reads_nothing_from_the_terminal() {
        let text = capture(program("sh").args(["-c", "read line || echo at the end"]))
            .expect("the shell runs");

        assert_eq!(text.trim(), "at the end");
    }
}
