//! Rules for every Rust file: its first line, its length, the names in it, and what it may not hold.
//! It never looks at who imports whom.

use super::Finding;
use super::code::{blank, line_at, without_inline_tests, words};
use super::tree::Tree;

/// Longest file apart from tests, in lines; the aim is 200.
const MAX_LINES: usize = 600;

/// Words that say nothing about what a thing is.
const EMPTY_NAMES: [&str; 9] = [
    "utils", "util", "common", "helpers", "helper", "manager", "managers", "handler", "handlers",
];

/// Ends of type names that say nothing about what a thing is.
const EMPTY_ENDINGS: [&str; 5] = ["Manager", "Handler", "Helper", "Helpers", "Utils"];

/// Macros and attributes that never stay in the tree, with the reason.
const BANNED: [(&str, &str); 4] = [
    ("todo!", "is unfinished work; finish it or leave it out"),
    (
        "unimplemented!",
        "is unfinished work; finish it or leave it out",
    ),
    ("#[ignore", "hides a test; delete it or make it run"),
    (
        "#[should_panic",
        "cannot say which panic; return the error and compare it",
    ),
];

/// Checks all Rust files.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust_files() {
        let blanked = blank(text);
        findings.extend(check_first_line(path, text));
        findings.extend(check_length(path, &blanked));
        findings.extend(check_path(path));
        check_type_names(path, &blanked, &mut findings);
        check_banned(path, &blanked, &mut findings);
        check_reasons(path, &blanked, &mut findings);
    }
    findings
}

fn check_first_line(path: &str, text: &str) -> Option<Finding> {
    let says_what_it_owns = text.starts_with("//! ");
    (!says_what_it_owns).then(|| {
        Finding::at(
            path,
            1,
            "the first line must be `//!` and say what the file owns",
        )
    })
}

fn check_length(path: &str, blanked: &str) -> Option<Finding> {
    if is_test_file(path) {
        return None;
    }
    let lines = without_inline_tests(blanked).lines().count();
    (lines > MAX_LINES).then(|| {
        Finding::of_file(
            path,
            format!("has {lines} lines apart from tests; {MAX_LINES} is the limit"),
        )
    })
}

/// Whether a whole file is tests.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests")
}

fn check_path(path: &str) -> Option<Finding> {
    let name = path
        .trim_end_matches(".rs")
        .split('/')
        .find(|part| EMPTY_NAMES.contains(part))?;
    Some(Finding::of_file(
        path,
        format!("`{name}` names nothing; use a noun of the domain"),
    ))
}

fn check_type_names(path: &str, blanked: &str, findings: &mut Vec<Finding>) {
    let mut declares = false;
    for (at, word) in words(blanked) {
        if declares && EMPTY_ENDINGS.iter().any(|ending| word.ends_with(ending)) {
            let message = format!("`{word}` names nothing; use a noun of the domain");
            findings.push(Finding::at(path, line_at(blanked, at), message));
        }
        declares = matches!(word, "struct" | "enum" | "trait" | "type");
    }
}

fn check_banned(path: &str, blanked: &str, findings: &mut Vec<Finding>) {
    for (banned, reason) in BANNED {
        for (at, _) in blanked.match_indices(banned) {
            let message = format!("`{banned}` {reason}");
            findings.push(Finding::at(path, line_at(blanked, at), message));
        }
    }
}

fn check_reasons(path: &str, blanked: &str, findings: &mut Vec<Finding>) {
    for (at, _) in blanked
        .match_indices("#[")
        .chain(blanked.match_indices("#!["))
    {
        let Some(attribute) = blanked.get(at..).and_then(|rest| rest.split(']').next()) else {
            continue;
        };
        let exempts = attribute.contains("allow(") || attribute.contains("expect(");
        if exempts && !attribute.contains("reason") {
            let message = "an exception from a lint needs `reason = \"...\"`";
            findings.push(Finding::at(path, line_at(blanked, at), message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::made_up;
    use super::*;

    /// The findings in one made-up file, as `line: message` with line 0 for the whole file.
    #[track_caller]
    fn check_one(path: &str, text: &str, expected: &[(usize, &str)]) {
        let findings = check(&made_up([(path, text)]));

        let found: Vec<_> = findings
            .iter()
            .map(|finding| (finding.line.unwrap_or(0), finding.message.as_str()))
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((line, message), (expected_line, part)) in found.iter().zip(expected) {
            assert_eq!(line, expected_line, "{message}");
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn a_file_begins_with_what_it_owns() {
        check_one("src/a.rs", "//! A.\n", &[]);
        check_one("src/a.rs", "use std::fs;\n", &[(1, "first line")]);
        check_one("tests/it/a.rs", "", &[(1, "first line")]);
    }

    #[test]
    fn a_file_is_at_most_600_lines_apart_from_tests() {
        let long = format!("//! A.\n{}", "fn f() {}\n".repeat(600));
        let tested = format!(
            "//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn f() {}\n".repeat(700)
        );

        check_one("src/a.rs", &long, &[(0, "601 lines")]);
        check_one("src/a.rs", &tested, &[]);
        check_one("src/a/tests.rs", &long, &[]);
        check_one("crates/wire/tests/a.rs", &long, &[]);
    }

    #[test]
    fn names_say_what_a_thing_is() {
        check_one("src/utils.rs", "//! A.\n", &[(0, "`utils`")]);
        check_one("src/common/x.rs", "//! A.\n", &[(0, "`common`")]);
        check_one(
            "src/a.rs",
            "//! A.\nstruct AlertManager;\n",
            &[(2, "`AlertManager`")],
        );
        check_one("src/a.rs", "//! A.\nuse x::SignalHandler;\n", &[]);
    }

    #[test]
    fn unfinished_and_hidden_work_does_not_stay() {
        check_one(
            "src/a.rs",
            "//! A.\nfn f() { todo!() }\n",
            &[(2, "`todo!`")],
        );
        check_one("src/a.rs", "//! A.\n// todo!() in a comment\n", &[]);
        check_one(
            "src/a.rs",
            "//! A.\n#[test]\n#[ignore]\nfn f() {}\n",
            &[(3, "#[ignore")],
        );
    }

    #[test]
    fn an_exception_from_a_lint_has_a_reason() {
        let bare = "//! A.\n#[allow(dead_code)]\nfn f() {}\n";
        let reasoned = "//! A.\n#[expect(\n    dead_code,\n    reason = \"x\"\n)]\nfn f() {}\n";
        let wrapped = "//! A.\n#![cfg_attr(test, allow(dead_code))]\n";

        check_one("src/a.rs", bare, &[(2, "reason")]);
        check_one("src/a.rs", reasoned, &[]);
        check_one("src/a.rs", wrapped, &[(2, "reason")]);
    }
}
