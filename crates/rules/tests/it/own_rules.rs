//! The rules this project ships, run through the tests beside them.
//! It never repeats what those tests say.

use std::fs;
use std::path::{Path, PathBuf};

use hidps_rules::tests::{TEST_SUFFIX, TestFile, run_tests};
use hidps_rules::{
    Engine, Event, Level, Limits, LogSource, RuleFile, RuleSet, Scope, Severity, Value, lint,
};

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

/// Every document of every rule file: name of the file and text.
fn list_documents() -> Vec<(String, String)> {
    let mut files = Vec::new();
    read_files(&folder(), "", &mut files);
    files.retain(|(name, _)| !name.ends_with(TEST_SUFFIX));
    let split = |(name, text): &(String, String)| -> Vec<(String, String)> {
        let documents = text.split("\n---\n");
        documents
            .map(|text| (name.clone(), text.to_owned()))
            .collect()
    };
    files.iter().flat_map(split).collect()
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

    assert!(rules.rules().len() >= 150);
    assert_eq!(failures, []);
}

/// Fields that hold text in events of any kind.
const NAMES: [&str; 23] = [
    "Image",
    "CommandLine",
    "CurrentDirectory",
    "User",
    "ParentImage",
    "ParentCommandLine",
    "TargetFilename",
    "ImageDeleted",
    "DestinationIp",
    "action",
    "outcome",
    "user",
    "method",
    "event",
    "COMMAND",
    "USER",
    "ENV",
    "unit",
    "process",
    "shell",
    "reason",
    "module",
    "in",
];

/// Category, product and service of every log source that a rule of ours asks for.
fn list_sources() -> Vec<[Option<String>; 3]> {
    let mut sources: Vec<[Option<String>; 3]> = list_documents()
        .iter()
        .map(|(_, text)| {
            let line = text.lines().find(|line| line.starts_with("logsource:"));
            let part = |key: &str| {
                let behind = line?.split_once(&format!("{key}: "))?.1;
                Some(behind.split([',', '}']).next()?.to_owned())
            };
            [part("category"), part("product"), part("service")]
        })
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

#[test]
fn no_rule_of_ours_is_tried_on_what_has_nothing_to_do_with_it() {
    let (rules, _) = load();
    let sources = list_sources();
    assert!(sources.len() > 10);
    let fields = NAMES.map(
        |name| match name.ends_with("Image") || name.ends_with("Filename") {
            true => (name, Value::Str("/usr/bin/zq")),
            false => (name, Value::Str("zq")),
        },
    );
    let mut engine = Engine::new(rules, Limits::default());

    for [category, product, service] in &sources {
        let event = Event {
            logsource: LogSource {
                category: category.as_deref(),
                product: product.as_deref(),
                service: service.as_deref(),
                also: &[],
            },
            message: "zq",
            fields: &fields,
        };
        engine.observe(Scope(1), &event, 0, &mut |found| {
            panic!("{} matches", found.rule.id);
        });
    }

    let counters = engine.counters();
    let tried: Vec<&String> = counters
        .rules
        .iter()
        .filter(|(_, rule)| rule.tries > 0)
        .map(|(id, _)| id)
        .collect();
    assert_eq!(
        tried,
        Vec::<&String>::new(),
        "give it a literal that few events have"
    );
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

#[test]
fn every_rule_of_ours_that_alerts_argues_its_level() {
    let documents = list_documents();

    let silent: Vec<&str> = documents
        .iter()
        .filter(|(_, text)| !is_argued(text))
        .map(|(name, _)| name.as_str())
        .collect();

    assert_eq!(
        silent,
        Vec::<&str>::new(),
        "a line with '# ' above 'level:'"
    );
}

/// Whether a comment stands above the level, where the level alerts anybody.
fn is_argued(document: &str) -> bool {
    let mut before = "";
    for line in document.lines() {
        if let Some(level) = line.strip_prefix("level: ") {
            return before.starts_with("# ") || ["low", "informational"].contains(&level);
        }
        before = line;
    }
    false
}

#[test]
fn every_rule_of_ours_has_a_uuid_and_tags_of_todays_attack_matrix() {
    const TACTICS: [&str; 15] = [
        "reconnaissance",
        "resource-development",
        "initial-access",
        "execution",
        "persistence",
        "privilege-escalation",
        "stealth",
        "defense-impairment",
        "credential-access",
        "discovery",
        "lateral-movement",
        "collection",
        "command-and-control",
        "exfiltration",
        "impact",
    ];
    let (rules, _) = load();

    for info in rules.rules() {
        let groups: Vec<usize> = info.id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{}: {}", info.file, info.id);
        for tag in &info.tags {
            let tag = tag.strip_prefix("attack.").unwrap_or("");
            let is_technique = tag
                .strip_prefix('t')
                .is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()));
            assert!(
                is_technique || TACTICS.contains(&tag),
                "{}: {tag} is no tactic and no technique",
                info.file
            );
        }
    }
}

#[test]
fn the_list_of_our_rules_is_complete_and_true() {
    let (rules, _) = load();
    let list = fs::read_to_string(folder().join("README.md")).expect("the list is readable");

    for info in rules.rules() {
        let row = format!(
            "| {} | [{}]({}) |",
            info.level.as_str(),
            info.title,
            info.file
        );
        assert!(list.contains(&row), "README.md lacks the row '{row} …'");
    }
    let n_rows = list
        .lines()
        .filter(|line| line.contains(".yml) | "))
        .count();
    assert_eq!(n_rows, rules.rules().len(), "a row of a rule that is gone");
}

#[test]
fn lint_warns_about_none_of_them() {
    let mut files = Vec::new();
    read_files(&folder(), "", &mut files);
    files.retain(|(name, _)| !name.ends_with(TEST_SUFFIX));
    let files: Vec<RuleFile<'_>> = files
        .iter()
        .map(|(name, text)| RuleFile { name, text })
        .collect();

    let findings = lint(&files);

    let warnings: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity != Severity::Advice)
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings, Vec::<String>::new());
}
