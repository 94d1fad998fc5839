//! The import table of the daemon: which module may use which, and which crates it must never name.
//! It reads paths in the code, not intentions; `ARCHITECTURE.md` says why each border is there.

use super::Finding;
use super::code::{blank, is_word, line_at, without_inline_tests, words};
use super::sources::is_test_file;
use super::tree::Tree;

/// One module of the daemon and its border.
struct Border {
    module: &'static str,
    /// Modules of the daemon it may use, apart from itself and [`SHARED`].
    may_use: &'static [&'static str],
    /// Words it must never use: crates, or types of one.
    never: &'static [&'static str],
}

/// Modules without knowledge of the product's parts, open to all of them.
const SHARED: [&str; 6] = [
    "chance",
    "config",
    "health",
    "steady_clock",
    "tasks",
    "telemetry",
];

/// Modules that know all parts.
const KNOW_ALL: [&str; 3] = ["main", "lib", "daemon"];

/// Crates that reach Supabase.
const SUPABASE: [&str; 3] = ["postgrest", "reqwest", "hidps_realtime"];

const BORDERS: [Border; 8] = [
    Border {
        module: "model",
        may_use: &[],
        never: &[
            "serde",
            "tokio",
            "postgrest",
            "reqwest",
            "hidps_realtime",
            "axum",
            "lettre",
        ],
    },
    Border {
        module: "ports",
        may_use: &["model"],
        never: &["serde", "postgrest", "reqwest", "hidps_realtime", "lettre"],
    },
    Border {
        module: "reconcile",
        may_use: &["model", "ports"],
        never: &[
            "postgrest",
            "reqwest",
            "hidps_realtime",
            "axum",
            "lettre",
            "LogEvent",
            "SystemTime",
        ],
    },
    Border {
        module: "streams",
        may_use: &["model", "ports"],
        never: &[
            "postgrest",
            "reqwest",
            "hidps_realtime",
            "hidps_rules",
            "lettre",
        ],
    },
    Border {
        module: "detection",
        may_use: &["model", "ports"],
        never: &["postgrest", "reqwest", "hidps_realtime", "axum", "lettre"],
    },
    Border {
        module: "rules_cli",
        may_use: &["detection"],
        never: &[
            "tokio",
            "postgrest",
            "reqwest",
            "hidps_realtime",
            "axum",
            "lettre",
        ],
    },
    Border {
        module: "persistence",
        may_use: &["model", "ports"],
        never: &["LogEvent", "EventBatch", "hidps_rules", "axum", "lettre"],
    },
    Border {
        module: "notify",
        may_use: &["model", "ports"],
        never: &[
            "postgrest",
            "reqwest",
            "hidps_realtime",
            "hidps_rules",
            "hidps_wire",
            "axum",
        ],
    },
];

/// Checks every file of the daemon.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust_files() {
        let Some(inner) = path.strip_prefix("src/") else {
            continue;
        };
        if is_test_file(path) {
            continue;
        }
        let module = top_module(inner);
        let blanked = blank(text);
        let code = without_inline_tests(&blanked);
        match BORDERS.iter().find(|border| border.module == module) {
            Some(border) => check_file(path, code, border, &mut findings),
            None if SHARED.contains(&module) => check_shared(path, code, module, &mut findings),
            None if KNOW_ALL.contains(&module) => {}
            None => findings.push(Finding::of_file(
                path,
                format!(
                    "module `{module}` has no row in the import table of xtask/src/tidy/borders.rs"
                ),
            )),
        }
    }
    findings
}

fn check_file(path: &str, code: &str, border: &Border, findings: &mut Vec<Finding>) {
    for (at, used) in used_modules(path, code) {
        let allowed =
            used == border.module || border.may_use.contains(&used) || SHARED.contains(&used);
        if !allowed {
            let message = format!("`{}` must not use `crate::{used}`", border.module);
            findings.push(Finding::at(path, line_at(code, at), message));
        }
    }
    for (at, word) in words(code) {
        if border.never.contains(&word) {
            let message = format!("`{}` must never use `{word}`", border.module);
            findings.push(Finding::at(path, line_at(code, at), message));
        }
    }
}

fn check_shared(path: &str, code: &str, module: &str, findings: &mut Vec<Finding>) {
    for (at, used) in used_modules(path, code) {
        if used != module && !SHARED.contains(&used) {
            let message = format!("`{module}` is open to all and must not use `crate::{used}`");
            findings.push(Finding::at(path, line_at(code, at), message));
        }
    }
    for (at, word) in words(code).filter(|(_, word)| SUPABASE.contains(word)) {
        let message = format!("`{module}` is open to all and must never use `{word}`");
        findings.push(Finding::at(path, line_at(code, at), message));
    }
}

/// The top-level module of a file below `src`.
fn top_module(inner: &str) -> &str {
    inner
        .split('/')
        .next()
        .unwrap_or(inner)
        .trim_end_matches(".rs")
}

/// The top-level modules that paths in the code begin with, each with its place.
fn used_modules<'a>(path: &str, code: &'a str) -> Vec<(usize, &'a str)> {
    let mut used = Vec::new();
    for root in roots(path) {
        for (at, _) in code.match_indices(root) {
            let after_word = code
                .get(..at)
                .is_some_and(|before| before.ends_with(is_word));
            let nested = code.get(..at).is_some_and(|before| before.ends_with("::"));
            if after_word || nested {
                continue;
            }
            let rest = code.get(at + root.len()..).unwrap_or_default();
            used.extend(heads(rest).into_iter().map(|head| (at, head)));
        }
    }
    used
}

/// What the crate's root is called in a file: always `crate`, and by `super` from the outside in.
fn roots(path: &str) -> &'static [&'static str] {
    let depth = path.split('/').count() - 1;
    match (depth, path.ends_with("/mod.rs")) {
        (1, _) | (2, true) => &["crate::", "super::"],
        (2, false) | (3, true) => &["crate::", "super::super::"],
        _ => &["crate::", "super::super::super::"],
    }
}

/// The first names of a path or of each path of a group.
fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest)
            .next()
            .map(|(_, word)| word)
            .into_iter()
            .collect();
    };
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut begun = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = group.get(begun..at).unwrap_or_default();
                heads.extend(words(item).next().map(|(_, word)| word));
                begun = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::super::tree::made_up;
    use super::*;

    #[track_caller]
    fn check_one(path: &str, code: &str, expected: &[&str]) {
        let findings = check(&made_up([(path, code)]));

        let found: Vec<_> = findings
            .iter()
            .map(|finding| finding.message.as_str())
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (message, part) in found.iter().zip(expected) {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn a_module_uses_only_what_the_table_gives_it() {
        check_one("src/streams/mod.rs", "use crate::model::Alert;\n", &[]);
        check_one("src/streams/mod.rs", "use crate::streams::fanout;\n", &[]);
        check_one(
            "src/streams/mod.rs",
            "use crate::telemetry::COUNTERS;\n",
            &[],
        );
        check_one(
            "src/streams/mod.rs",
            "use crate::reconcile::plan;\n",
            &["crate::reconcile"],
        );
        check_one(
            "src/notify/mod.rs",
            "fn f() { crate::persistence::x() }\n",
            &["crate::persistence"],
        );
    }

    #[test]
    fn groups_are_looked_into() {
        check_one(
            "src/detection/mod.rs",
            "use crate::{model::{Alert, Usage}, streams::fanout, ports};\n",
            &["crate::streams"],
        );
    }

    #[test]
    fn super_does_not_lead_around_the_table() {
        check_one(
            "src/notify.rs",
            "use super::streams::x;\n",
            &["crate::streams"],
        );
        check_one(
            "src/notify/mod.rs",
            "use super::streams::x;\n",
            &["crate::streams"],
        );
        check_one(
            "src/notify/mailer.rs",
            "use super::super::streams::x;\n",
            &["crate::streams"],
        );
        check_one("src/notify/mailer.rs", "use super::message;\n", &[]);
    }

    #[test]
    fn a_log_event_has_no_way_to_supabase() {
        check_one(
            "src/persistence/rest.rs",
            "use hidps_wire::LogEvent;\n",
            &["LogEvent"],
        );
        check_one(
            "src/persistence/rest.rs",
            "/// Never a LogEvent.\nfn f() {}\n",
            &[],
        );
    }

    #[test]
    fn streams_do_not_reach_supabase() {
        check_one(
            "src/streams/auth.rs",
            "use reqwest::Client;\n",
            &["reqwest"],
        );
        check_one("src/persistence/rest.rs", "use reqwest::Client;\n", &[]);
    }

    #[test]
    fn tests_and_the_daemon_file_may_use_all() {
        let inline = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::persistence::x;\n}\n";

        check_one("src/streams/mod.rs", inline, &[]);
        check_one("src/streams/tests.rs", "use crate::persistence::x;\n", &[]);
        check_one("src/daemon.rs", "use crate::{persistence, streams};\n", &[]);
    }

    #[test]
    fn a_new_module_needs_a_row_in_the_table() {
        check_one("src/elsewhere.rs", "fn f() {}\n", &["no row"]);
    }
}
