//! Who may depend on whom among the crates of this repository, read from their manifests.
//! It never looks into source files.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use crate::program::{capture, cargo};

/// One crate's direct dependencies that reach what is shipped (normal and build, not test).
pub(crate) type Manifests = BTreeMap<String, BTreeSet<String>>;

/// A crate of ours and which others of ours it may depend on.
struct Rule {
    name: &'static str,
    ours: &'static [&'static str],
    never: &'static [&'static str],
}

/// Crates that do I/O or tell the time.
const IMPURE: [&str; 8] = [
    "tokio",
    "reqwest",
    "postgrest",
    "rp-postgrest",
    "tokio-tungstenite",
    "tungstenite",
    "axum",
    "getrandom",
];

const RULES: [Rule; 11] = [
    Rule {
        name: "hidps-wire",
        ours: &[],
        never: &IMPURE,
    },
    Rule {
        name: "hidps-normalize",
        ours: &["hidps-wire"],
        never: &IMPURE,
    },
    Rule {
        name: "hidps-rules",
        ours: &["hidps-wire"],
        never: &IMPURE,
    },
    Rule {
        name: "hidps-tokens",
        ours: &[],
        never: &IMPURE,
    },
    Rule {
        name: "hidps-realtime",
        ours: &[],
        never: &["reqwest", "postgrest", "rp-postgrest"],
    },
    Rule {
        name: "hidps-local-supabase",
        ours: &[],
        never: &[],
    },
    Rule {
        name: "hidps-lab",
        ours: &["hidps-realtime", "hidps-local-supabase", "hidps-wire"],
        never: &[],
    },
    Rule {
        name: "hidps-agent",
        ours: &["hidps-normalize", "hidps-wire"],
        never: &AGENT_NEVER,
    },
    Rule {
        name: "hidps",
        ours: &[
            "hidps-normalize",
            "hidps-wire",
            "hidps-rules",
            "hidps-realtime",
            "hidps-tokens",
        ],
        never: &[],
    },
    Rule {
        name: "hidps-simulation",
        ours: &["hidps", "hidps-agent", "hidps-wire"],
        never: &["hidps-lab", "hidps-local-supabase"],
    },
    Rule {
        name: "xtask",
        ours: &[],
        never: &["tokio"],
    },
];

/// What must not be in the agent at any depth: it holds no credential of Supabase and no rule.
const AGENT_NEVER: [&str; 8] = [
    "postgrest",
    "rp-postgrest",
    "reqwest",
    "realtime-rs",
    "hidps-realtime",
    "hidps-rules",
    "hidps",
    "lettre",
];

/// Reads the manifests of the workspace.
pub(crate) fn read() -> Result<Manifests> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value =
        serde_json::from_str(&capture(&mut metadata)?).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    packages.iter().map(parse_package).collect()
}

fn parse_package(package: &Value) -> Result<(String, BTreeSet<String>)> {
    let name = package["name"].as_str().context("a package has no name")?;
    let dependencies = package["dependencies"]
        .as_array()
        .context("a package has no list of dependencies")?;
    let shipped = dependencies
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned));
    Ok((name.to_owned(), shipped.collect()))
}

/// Checks the manifests against the table.
pub(crate) fn check(manifests: &Manifests) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, dependencies) in manifests {
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            let message = "this crate has no row in the table of xtask/src/tidy/manifests.rs";
            findings.push(Finding::of_file(name, message));
            continue;
        };
        for dependency in dependencies {
            let ours = manifests.contains_key(dependency);
            let refused = rule.never.contains(&dependency.as_str())
                || (ours && !rule.ours.contains(&dependency.as_str()));
            if refused {
                findings.push(Finding::of_file(
                    name,
                    format!("must not depend on {dependency}"),
                ));
            }
        }
    }
    findings
}

/// Reads the names of all crates that the agent is built from.
pub(crate) fn read_agent_tree() -> Result<BTreeSet<String>> {
    let mut tree = cargo();
    tree.args([
        "tree",
        "--package",
        "hidps-agent",
        "--edges",
        "normal,build",
    ]);
    tree.args([
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--target",
        "all",
        "--all-features",
    ]);
    let lines = capture(&mut tree)?;
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}

/// Checks that nothing the agent is built from reaches Supabase, at any depth.
pub(crate) fn check_agent_tree(tree: &BTreeSet<String>) -> Vec<Finding> {
    AGENT_NEVER
        .iter()
        .filter(|name| tree.contains(**name))
        .map(|name| {
            let message = format!("is built from {name}; see cargo tree -p hidps-agent -i {name}");
            Finding::of_file("hidps-agent", message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(crates: &[(&str, &[&str])]) -> Manifests {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        crates
            .iter()
            .map(|(name, dependencies)| ((*name).to_owned(), set(dependencies)))
            .collect()
    }

    #[test]
    fn the_engine_cannot_reach_for_a_runtime() {
        let findings = check(&made_up(&[(
            "hidps-rules",
            &["hidps-wire", "regex", "tokio"],
        )]));

        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("tokio"), "{}", findings[0]);
    }

    #[test]
    fn crates_of_ours_are_refused_unless_the_table_names_them() {
        let crates = made_up(&[
            ("hidps", &["hidps-wire"]),
            ("hidps-wire", &["serde"]),
            ("hidps-local-supabase", &["hidps"]),
        ]);

        let findings = check(&crates);

        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].to_string(),
            "hidps-local-supabase: must not depend on hidps"
        );
    }

    #[test]
    fn a_new_crate_needs_a_row_in_the_table() {
        let findings = check(&made_up(&[("hidps-novelty", &[])]));

        assert!(findings[0].message.contains("no row"), "{}", findings[0]);
    }

    #[test]
    fn the_agent_never_reaches_supabase_at_any_depth() {
        let tree = ["hidps-agent", "serde", "reqwest"]
            .map(str::to_owned)
            .into();

        let findings = check_agent_tree(&tree);

        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("reqwest"));
    }

    #[test]
    fn the_agent_tree_is_really_read() {
        let tree = read_agent_tree().expect("cargo tree runs");

        assert!(tree.contains("hidps-agent"), "{tree:?}");
    }
}
