//! The community's Linux rules, where a copy of them is at hand: how many this engine takes.
//! It never asserts what they match; differential tests do.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hidps_rules::{RuleError, RuleFile, RuleSet};

/// The folder of community rules, if there is one.
fn find_rules() -> Option<PathBuf> {
    let given = std::env::var_os("HIDPS_SIGMA_RULES").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/sigma");
    let folder = given.unwrap_or(default);
    folder.is_dir().then_some(folder)
}

/// Every rule file below a folder, in order.
fn read_rules(folder: &Path, found: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(folder).expect("the folder of rules is readable");
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the entry is readable").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_rules(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            found.push((
                path.display().to_string(),
                fs::read_to_string(&path).expect("the rule is readable"),
            ));
        }
    }
}

/// Past the capture of the test runner, which shows nothing of a test that passes.
fn say_skipped() {
    let line = "SKIPPED community rules: set HIDPS_SIGMA_RULES to a copy of them\n";
    std::io::stderr().write_all(line.as_bytes()).ok();
}

#[test]
fn every_community_linux_rule_compiles() {
    let Some(folder) = find_rules() else {
        return say_skipped();
    };
    let mut files = Vec::new();
    read_rules(&folder, &mut files);

    let refused: Vec<RuleError> = files
        .iter()
        .filter_map(|(name, text)| RuleSet::compile(&[RuleFile { name, text }]).err())
        .flatten()
        .collect();

    for error in &refused {
        println!("{error}");
    }
    println!(
        "{} of {} community rules compile",
        files.len() - refused.len(),
        files.len()
    );
    assert!(!files.is_empty(), "no rules in {}", folder.display());
    assert_eq!(refused, []);
}

#[test]
fn the_community_rules_compile_as_one_set() {
    let Some(folder) = find_rules() else {
        return say_skipped();
    };
    let mut files = Vec::new();
    read_rules(&folder, &mut files);
    let files: Vec<RuleFile<'_>> = files
        .iter()
        .map(|(name, text)| RuleFile { name, text })
        .collect();

    let rules = RuleSet::compile(&files).unwrap();

    assert_eq!(rules.rules().len(), files.len());
}
