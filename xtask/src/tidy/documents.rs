//! Rules for what is not Rust: the top of the tree, documents and their links, lock files of npm.
//! It never judges prose.

use super::Finding;
use super::tree::{Tree, has_extension};
use crate::frame_types::{SCHEMA, TYPES, generate};

/// Everything that may stand at the top of the repository, apart from dot files.
const TOP: [&str; 25] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "agent",
    "benches",
    "clients",
    "clippy.toml",
    "console",
    "crates",
    "deny.toml",
    "detection-rules",
    "docs",
    "fuzz",
    "install.sh",
    "judges",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "src",
    "supabase",
    "tests",
    "xtask",
];

/// Documents that are read whole, and the length at which nobody does.
const SHORT: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];
const SHORT_LINES: usize = 200;

/// Where the text of every frame is fixed, and where people read it.
const GOLDEN: &str = "crates/wire/tests/golden/";
const CONTRACT: &str = "docs/protocol.md";

/// Where the daemon's settings are listed, and where operators read about them.
const SETTINGS: &str = "src/config/settings.rs";
const REFERENCE: &str = "docs/operations.md";

/// Where promises stand beside the tests that show them.
const PROMISES: &str = "docs/threat-model.md";

/// Checks all files.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        findings.extend(check_top(path));
        findings.extend(check_length(path, text));
        if has_extension(path, "md") {
            check_links(tree, path, text, &mut findings);
        }
        if path.ends_with("package-lock.json") {
            findings.extend(check_npm_lock(path, text));
        }
    }
    check_protocol(tree, &mut findings);
    check_settings(tree, &mut findings);
    check_promises(tree, &mut findings);
    check_frame_types(tree, &mut findings);
    findings
}

fn check_top(path: &str) -> Option<Finding> {
    let top = path.split('/').next().unwrap_or(path);
    let known = top.starts_with('.') || TOP.contains(&top);
    (!known).then(|| Finding::of_file(path, "does not belong at the top of the repository"))
}

fn check_length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (SHORT.contains(&path) && lines >= SHORT_LINES).then(|| {
        Finding::of_file(
            path,
            format!("has {lines} lines; it stays below {SHORT_LINES} to be read"),
        )
    })
}

fn check_links(tree: &Tree, path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        for target in line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !elsewhere && !tree.contains(&resolve(path, file)) {
                findings.push(Finding::at(
                    path,
                    number + 1,
                    format!("links to {file}, which is not there"),
                ));
            }
        }
    }
}

/// The path, from the root, that a relative link in a file means.
fn resolve(path: &str, link: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Each golden frame is an example in the protocol's contract, so that the contract cannot age.
fn check_protocol(tree: &Tree, findings: &mut Vec<Finding>) {
    let of_golden = |path: &str| path.starts_with(GOLDEN) && has_extension(path, "jsonl");
    let contract = tree.text(CONTRACT).unwrap_or_default();
    for (path, text) in tree.files().filter(|(path, _)| of_golden(path)) {
        for (number, line) in text.lines().enumerate() {
            if !contract.lines().any(|example| example == line) {
                let message = format!("this frame is not an example in {CONTRACT}");
                findings.push(Finding::at(path, number + 1, message));
            }
        }
    }
}

/// The frames' types for TypeScript are those of the schema as it is.
fn check_frame_types(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(schema) = tree.text(SCHEMA) else {
        return;
    };
    match generate(schema) {
        Ok(types) if tree.text(TYPES) == Some(&types) => {}
        Ok(_) => {
            let message = format!("is not what {SCHEMA} says; run `cargo x types`");
            findings.push(Finding::of_file(TYPES, message));
        }
        Err(error) => findings.push(Finding::of_file(SCHEMA, format!("{error:#}"))),
    }
}

/// Each setting of the daemon is in the operator's reference.
fn check_settings(tree: &Tree, findings: &mut Vec<Finding>) {
    let settings = tree.text(SETTINGS).unwrap_or_default();
    let reference = tree.text(REFERENCE).unwrap_or_default();
    let of_setting = |word: &&str| {
        let of_name = |c: char| c.is_ascii_uppercase() || c == '_';
        (word.starts_with("HIDPS_") || word.starts_with("SUPABASE_")) && word.chars().all(of_name)
    };
    for (number, line) in settings.lines().enumerate() {
        for name in line.split('"').skip(1).step_by(2).filter(of_setting) {
            let known = reference.contains(&format!("`{name}`"));
            if !known && !name.ends_with('_') {
                let message = format!("the setting {name} is not in {REFERENCE}");
                findings.push(Finding::at(SETTINGS, number + 1, message));
            }
        }
    }
}

/// Each test that a promise names is there: a function of Rust, or a title in the database's tests.
fn check_promises(tree: &Tree, findings: &mut Vec<Finding>) {
    let is_code = |path: &str| {
        ["rs", "sql", "sh"]
            .iter()
            .any(|end| has_extension(path, end))
    };
    let of_test = |word: &&str| {
        let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.matches('_').count() >= 3 && word.chars().all(of_name)
    };
    let promises = tree.text(PROMISES).unwrap_or_default();
    for (number, line) in promises.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2).filter(of_test) {
            let titles = [
                format!("fn {name}("),
                format!("-- {name}\n"),
                format!("# {name}\n"),
            ];
            let is_there = tree
                .files()
                .filter(|(path, _)| is_code(path))
                .any(|(_, text)| titles.iter().any(|title| text.contains(title.as_str())));
            if !is_there {
                let message = format!("names the test {name}, which is not there");
                findings.push(Finding::at(PROMISES, number + 1, message));
            }
        }
    }
}

fn check_npm_lock(path: &str, text: &str) -> Option<Finding> {
    let line = text
        .lines()
        .position(|line| line.contains("\"resolved\": \"http"))?;
    let remedy =
        "names a registry; set omit-lockfile-registry-resolved=true in .npmrc and lock again";
    Some(Finding::at(path, line + 1, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::tree::made_up;
    use super::*;

    #[test]
    fn the_top_of_the_tree_is_closed() {
        let tree = made_up([
            ("justfile", ""),
            (".ci/run", ""),
            ("tests/it/main.rs", "//! T.\n"),
        ]);

        let findings = check(&tree);

        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].file, "justfile");
    }

    #[test]
    fn links_lead_somewhere() {
        let text = "[a](../README.md) [b](adr/#top) [c](https://example.org/x) [d](gone.md)\n";
        let tree = made_up([
            ("docs/x.md", text),
            ("docs/adr/0001.md", ""),
            ("README.md", ""),
        ]);

        let findings = check(&tree);

        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].to_string(),
            "docs/x.md:1: links to gone.md, which is not there"
        );
    }

    #[test]
    fn a_promise_names_tests_that_are_there() {
        let text = "`a_test_of_rust_is_named` `a_test_of_sql_is_named` `audit_log` `a_test_that_is_gone`\n";
        let tree = made_up([
            (PROMISES, text),
            ("tests/it/a.rs", "//! T.\nfn a_test_of_rust_is_named() {}\n"),
            ("supabase/a.sql", "-- a_test_of_sql_is_named\ndo $$ $$;\n"),
        ]);

        let findings = check(&tree);

        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            findings[0].to_string(),
            "docs/threat-model.md:1: names the test a_test_that_is_gone, which is not there"
        );
    }

    #[test]
    fn lock_files_name_no_registry() {
        let text = "{\n  \"resolved\": \"https://registry.example/x.tgz\"\n}\n";
        let findings = check(&made_up([("crates/a/package-lock.json", text)]));

        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(2));
    }

    #[test]
    fn every_golden_frame_is_an_example_of_the_contract() {
        let golden = "{\"type\":\"a\"}\n{\"type\":\"b\"}\n";
        let contract = "```json\n{\"type\":\"a\"}\n```\n";
        let tree = made_up([
            ("crates/wire/tests/golden/x.jsonl", golden),
            ("docs/protocol.md", contract),
        ]);

        let findings = check(&tree);

        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(2));
    }

    #[test]
    fn types_that_are_not_those_of_the_schema_are_found() {
        let schema = r#"{"$defs": {"a": {"const": 1}}}"#;
        let with = |types: &str| check(&made_up([(SCHEMA, schema), (TYPES, types)]));

        assert!(with(&generate(schema).unwrap()).is_empty());
        let findings = with("export type A = 2;\n");
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().contains("cargo x types"));
    }

    #[test]
    fn every_setting_is_in_the_reference() {
        let settings = "setting(\"HIDPS_A\", \"\"),\nsetting(\"HIDPS_B\", \"see HIDPS_C\"),\n";
        let tree = made_up([
            ("src/config/settings.rs", settings),
            ("docs/operations.md", "| `HIDPS_A` |\n"),
        ]);

        let findings = check(&tree);

        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(2));
    }

    #[test]
    fn the_two_documents_everybody_reads_stay_short() {
        let findings = check(&made_up([("CONTRIBUTING.md", "x\n".repeat(200).as_str())]));

        assert_eq!(findings.len(), 1);
    }
}
