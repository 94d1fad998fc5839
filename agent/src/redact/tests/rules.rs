//! The command lines that the project's own rules are tried with, as the agent would show them.
//! It runs no rule: a line that is shown as it was matches as it did.

use std::path::Path;

use super::*;

/// What an attacker may write before a command, so that it looks like a secret.
const TRICKS: [(&str, &str); 10] = [
    ("TOKEN=x; ", ""),
    ("export TOKEN=x && ", ""),
    (": --password x\n", ""),
    (": Cookie: a; ", ""),
    ("# token='\n", ""),
    ("# {\"password\":\n", ""),
    ("TOKEN=\"$(", ")\""),
    ("TOKEN=\"x`", "`\""),
    ("(app --token x|", ")"),
    ("sshpass -p x;", ""),
];

/// What is behind a field of an event in a test of a rule, as far as YAML is written there.
fn values_of<'t>(text: &'t str, field: &str) -> Vec<String> {
    let places = text.match_indices(field);
    let behind = places.filter_map(|(at, _)| text.get(at + field.len()..)?.lines().next());
    let value = |line: &'t str| match line.chars().next() {
        Some('"') => {
            let end = line.get(1..)?.replace("\\\"", "__").find('"')?;
            Some(
                line.get(1..=end)?
                    .replace("\\\"", "\"")
                    .replace("\\n", "\n"),
            )
        }
        Some('\'') => {
            let end = line.get(1..)?.replace("''", "__").find('\'')?;
            Some(line.get(1..=end)?.replace("''", "'"))
        }
        _ => {
            let end = line.find([',', '}']).unwrap_or(line.len());
            Some(line.get(..end)?.to_owned())
        }
    };
    behind.filter_map(value).collect()
}

fn lines_of_rules() -> Vec<String> {
    let mut lines = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../detection-rules");
    read_tests(&folder, &mut lines);
    assert!(lines.len() > 200, "only {} lines were found", lines.len());
    lines
}

fn read_tests(folder: &Path, lines: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the rules are there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            read_tests(&path, lines);
        } else if path.to_string_lossy().ends_with(".test.yml") {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            for field in ["CommandLine: ", "COMMAND: ", "command: "] {
                lines.extend(values_of(&text, field));
            }
        }
    }
}

#[test]
fn what_the_rules_are_tried_with_is_shown_as_it_is() {
    let mut changed = Vec::new();
    for line in &lines_of_rules() {
        let words: Vec<&str> = line.split(' ').collect();
        let quoted = arguments_of(line);
        let as_shell = redact_arguments(quoted.iter().map(String::as_str));
        let code = arguments(&["bash", "-c", line]);
        for (shown, was) in [
            (redact_command(line), line.clone()),
            (redact_joined(line), line.clone()),
            (arguments(&words), line.clone()),
            (as_shell, quoted.join(" ")),
            (code, format!("bash -c {line}")),
        ] {
            if shown != was {
                changed.push((was, shown));
            }
        }
    }
    assert!(
        changed.is_empty(),
        "these are shown in another way: {changed:#?}"
    );
}

#[test]
fn no_trick_hides_what_the_rules_are_tried_with() {
    let mut hidden = Vec::new();
    for line in lines_of_rules() {
        for (before, behind) in TRICKS {
            let code = format!("{before}{line}{behind}");
            let shown = arguments(&["bash", "-c", &code]);
            if !shown.contains(&line) {
                hidden.push((code, shown));
            }
        }
    }
    assert!(hidden.is_empty(), "what is hidden: {hidden:#?}");
}
