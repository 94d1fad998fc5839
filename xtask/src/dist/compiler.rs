//! Which compiler builds for an architecture: the one in use where it has that standard library, and
//! Debian's own, which has the library's sources, where it is asked to build the library first.
//! It installs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::program::{capture, program};

/// Debian's compiler, newer than the one a stable Debian is made with.
const DEBIAN_COMPILER: &str = "/usr/bin/rustc";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// Where its packages put the sources of the standard library.
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// A way to build for an architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compiler {
    /// The one in use.
    InUse,
    /// Debian's, with the standard library built along.
    Debian,
}

impl Compiler {
    /// The one for an architecture; building a library takes minutes and is done when asked for.
    ///
    /// # Errors
    /// Says what to install.
    pub(super) fn for_target(triple: &str, is_asked_for: bool) -> Result<Self> {
        if has_standard_library(triple) {
            return Ok(Self::InUse);
        }
        let architecture = triple.split('-').next().unwrap_or_default();
        if !is_asked_for {
            bail!(
                "there is no standard library for it here: rustup target add {triple}, or build \
                 one: cargo x dist --target {architecture}"
            );
        }
        let is_here = |path: &&str| Path::new(path).exists();
        if [DEBIAN_COMPILER, DEBIAN_CARGO, DEBIAN_SOURCES]
            .iter()
            .all(is_here)
        {
            return Ok(Self::Debian);
        }
        bail!(
            "there is neither a standard library for it (rustup target add {triple}) nor a compiler \
             with its sources (apt-get install rustc-web cargo-web rust-web-src)"
        )
    }

    /// The directory that goes before others among those of programs; an empty one is none.
    pub(super) fn programs(self) -> &'static Path {
        Path::new(match self {
            Self::InUse => "",
            Self::Debian => "/usr/bin",
        })
    }

    /// Has a build use it; gives the directory below which the build puts what it makes.
    ///
    /// # Errors
    /// When the directory of programs has no parent.
    pub(super) fn prepare(self, build: &mut Command, dist: &Path) -> Result<PathBuf> {
        if self == Self::InUse {
            let Some(target) = dist.parent() else {
                bail!("{} has no parent", dist.display());
            };
            return Ok(target.to_owned());
        }
        // What another compiler has built is of no use to this one, and the other way about.
        let target = dist.join("build");
        build
            .env("RUSTC", DEBIAN_COMPILER)
            .env("CARGO", DEBIAN_CARGO);
        // A released compiler builds its library when it is told that it may.
        build.env("RUSTC_BOOTSTRAP", "1");
        build.env("CARGO_TARGET_DIR", &target);
        build.arg("-Zbuild-std=std,panic_unwind");
        Ok(target)
    }
}

fn has_standard_library(triple: &str) -> bool {
    let mut print = program("rustc");
    let root = capture(print.args(["--print", "sysroot"]));
    root.is_ok_and(|root| {
        let library = Path::new(root.trim()).join("lib/rustlib").join(triple);
        library.join("lib").exists()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_its_own_standard_library() {
        let own = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);

        assert!(has_standard_library(&own));
        assert!(!has_standard_library("pdp11-unknown-unix"));
    }

    #[test]
    fn a_library_is_built_only_when_it_is_asked_for() {
        let refused = Compiler::for_target("pdp11-unknown-unix", false);

        let why = refused.expect_err("there is none").to_string();
        assert!(why.contains("cargo x dist --target pdp11"), "{why}");
    }
}
