//! Runs a program of another architecture once, where this machine can emulate that.
//! It proves that the program starts, loads its libraries and reads a host; no more.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::program::{capture, program};

/// Has the program say its version and look at this host, or says why it was not run.
///
/// # Errors
/// When it does not run.
pub(super) fn try_run(architecture: &str, path: &Path) -> Result<()> {
    if architecture == std::env::consts::ARCH {
        println!(
            "  says    {}",
            capture(program(path).arg("version"))?.trim()
        );
        return Ok(());
    }
    let (emulator, libraries) = (
        format!("qemu-{architecture}-static"),
        format!("/usr/{architecture}-linux-gnu"),
    );
    let is_here = capture(program(&emulator).arg("--version")).is_ok();
    if !is_here || !Path::new(&libraries).exists() {
        println!(
            "  not run: it needs {emulator} and {libraries} (qemu-user-static, libc6-arm64-cross, libgcc-s1-arm64-cross)"
        );
        return Ok(());
    }
    let run = |arguments: &[&str]| -> Result<String> {
        let mut emulated: Command = program(&emulator);
        emulated.args(["-L", &libraries]).arg(path).args(arguments);
        capture(&mut emulated)
    };
    println!("  says    {}", run(&["version", "--json"])?.trim());
    let facts = run(&["facts", "--json"])?;
    if !facts.contains(&format!("\"arch\":\"{architecture}\"")) {
        bail!("under {emulator} it does not know what it is: {facts}");
    }
    println!("  reads   this host under {emulator}");
    Ok(())
}
