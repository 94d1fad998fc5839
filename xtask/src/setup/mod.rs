//! `cargo x setup`: finds, or as root on Debian and Ubuntu installs, the programs that tests and the
//! local stack need. It never upgrades, removes or starts anything, and is quick when all is there.

mod apt;
mod requirement;
mod search;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use requirement::{Need, REQUIREMENTS, Requirement};
use search::{Found, Host};

/// Makes sure all is there and prints what was found where.
pub(crate) fn run() -> Result<ExitCode> {
    let host = Host::this();
    let install_error = install_missing(&host).err();
    let mut code = ExitCode::SUCCESS;
    for requirement in &REQUIREMENTS {
        match requirement.search.find(&host) {
            Some(Found { version, path }) => {
                println!(
                    "ok       {:<22} {version:<10} {}",
                    requirement.name,
                    path.display()
                );
            }
            None if blocks(requirement, &host) => {
                println!("missing  {}", line(requirement));
                code = ExitCode::FAILURE;
            }
            None => println!("optional {}", line(requirement)),
        }
    }
    install_error.map_or(Ok(code), Err)
}

/// Makes sure all is there, silently when it is.
///
/// # Errors
/// Names each missing program with the command that installs it.
pub(crate) fn ensure() -> Result<()> {
    let host = Host::this();
    install_missing(&host)?;
    let (blocking, others): (Vec<_>, Vec<_>) = missing(&host)
        .into_iter()
        .filter(|requirement| requirement.need != Need::Optional)
        .partition(|requirement| blocks(requirement, &host));
    for requirement in others {
        println!("note: {}", line(requirement));
    }
    if blocking.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = blocking.into_iter().map(line).collect();
    bail!(
        "something is missing on this machine:\n  {}",
        lines.join("\n  ")
    );
}

/// The versions of PostgreSQL that are good enough, each with the directory of its programs.
pub(crate) fn find_postgres() -> Vec<(String, PathBuf)> {
    search::find_postgres(&Host::this())
        .into_iter()
        .filter_map(|found| Some((found.version, found.path.parent()?.to_owned())))
        .collect()
}

fn install_missing(host: &Host) -> Result<()> {
    let packages: Vec<_> = missing(host)
        .into_iter()
        .filter(|requirement| requirement.need != Need::Optional)
        .flat_map(|requirement| requirement.debian_packages.iter().copied())
        .collect();
    if packages.is_empty() || !apt::is_usable(host) {
        return Ok(());
    }
    apt::install(&packages)
}

fn missing(host: &Host) -> Vec<&'static Requirement> {
    REQUIREMENTS
        .iter()
        .filter(|requirement| requirement.search.find(host).is_none())
        .collect()
}

/// Whether nothing works without it; programs that only root can use are no loss to others.
fn blocks(requirement: &Requirement, host: &Host) -> bool {
    match requirement.need {
        Need::Always => true,
        Need::ByRoot => host.is_root,
        Need::Optional => false,
    }
}

fn line(requirement: &Requirement) -> String {
    format!(
        "{} ({}): {}",
        requirement.name, requirement.purpose, requirement.remedy
    )
}

#[cfg(test)]
mod tests {
    use super::search::made_up_host;
    use super::*;

    #[test]
    fn a_bare_machine_misses_each_program_with_a_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = made_up_host(directory.path(), &[]);

        let missing = missing(&host);

        assert_eq!(missing.len(), REQUIREMENTS.len());
        assert!(
            missing
                .iter()
                .all(|requirement| !requirement.remedy.is_empty())
        );
    }

    #[test]
    fn an_ordinary_user_is_not_stopped_by_what_only_root_can_use() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = made_up_host(directory.path(), &[]);
        let nft = REQUIREMENTS
            .iter()
            .find(|requirement| requirement.name == "nft")
            .expect("nft is a requirement");

        assert!(!blocks(
            nft,
            &Host {
                is_root: false,
                ..host.clone()
            }
        ));
        assert!(blocks(
            nft,
            &Host {
                is_root: true,
                ..host
            }
        ));
    }
}
