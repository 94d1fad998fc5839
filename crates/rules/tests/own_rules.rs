//! The rules this project ships, run through the tests beside them.
//! It never repeats what those tests say.

use std::fs;
use std::path::{Path, PathBuf};

use hidps_rules::tests::{TEST_SUFFIX, TestFile, run_tests};
use hidps_rules::{Level, RuleFile, RuleSet};

/// The folder of our rules.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../detection-rules")
}

/// Names and texts of the files below a folder that end with `.yml`.
fn read_files(folder: &Path, prefix: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the folder of rules is readable") {
        let path = entry.expect("the entry is readable").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            read_files(&path, &format!("{prefix}{name}/"), found);
        } else if name.ends_with(".yml") {
            let text = fs::read_to_string(&path).expect("the rule is readable");
            found.push((format!("{prefix}{name}"), text));
        }
    }
}

/// Our rules and their tests.
fn load() -> (RuleSet, Vec<TestFile>) {
    let mut files = Vec::new();
    read_files(&folder(), "", &mut files);
    let (tests, rules): (Vec<_>, Vec<_>) = files
        .iter()
        .partition(|(name, _)| name.ends_with(TEST_SUFFIX));
    let rules: Vec<RuleFile<'_>> = rules
        .into_iter()
        .map(|(name, text)| RuleFile { name, text })
        .collect();
    let tests = tests
        .into_iter()
        .map(|(name, text)| TestFile::parse(name, text));
    let set = RuleSet::compile(&rules).expect("our rules compile");
    (
        set,
        tests
            .collect::<Result<_, _>>()
            .expect("our tests are well formed"),
    )
}

#[test]
fn every_rule_of_ours_passes_the_tests_beside_it() {
    let (rules, tests) = load();

    let failures = run_tests(&rules, &tests);

    assert!(rules.rules().len() >= 10);
    assert_eq!(failures, []);
}

#[test]
fn every_rule_of_ours_tells_a_person_what_to_do() {
    let (rules, _) = load();

    for info in rules.rules() {
        assert!(info.advice.is_some(), "{} has no advice", info.file);
        assert!(info.alert_type.is_some(), "{} has no alert type", info.file);
        assert!(
            info.description.is_some(),
            "{} has no description",
            info.file
        );
        assert!(
            !info.falsepositives.is_empty(),
            "{} names no false positives",
            info.file
        );
        assert!(!info.tags.is_empty(), "{} has no tags", info.file);
    }
    let levels: Vec<Level> = rules.rules().map(|info| info.level).collect();
    assert!(levels.contains(&Level::Critical));
}
