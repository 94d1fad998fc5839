//! Checks whether a host has what the agent needs, and says how to mend what it lacks.
//! It changes nothing, and enrolls nothing.

mod backend;
mod host;
mod privileges;

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Config;
use crate::text::printable;

/// Longest line that is shown.
const MAX_LINE_CHARS: usize = 4 * 1024;

/// The result of one check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// Whether all is well there.
    pub ok: bool,
    /// What was found, in one sentence.
    pub found: String,
    /// How to mend it, when something is wrong.
    pub fix: Option<String>,
}

impl Finding {
    fn well(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            ok: true,
            found: found.into(),
            fix: None,
        }
    }

    fn wrong(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            ok: false,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }
}

/// What a doctor says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnosis {
    /// Whether nothing is wrong.
    pub well: bool,
    /// Every check, in the order of what depends on what.
    pub checks: Vec<Finding>,
}

impl Diagnosis {
    fn of(checks: Vec<Finding>) -> Self {
        Self {
            well: checks.iter().all(|finding| finding.ok),
            checks,
        }
    }

    /// The text for people: one line for each check.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.checks {
            let mark = if finding.ok { "ok  " } else { "FAIL" };
            let mut said = finding.found.clone();
            if let Some(fix) = &finding.fix {
                said = format!("{said}; {fix}");
            }
            // It may quote what is not root's, to root at a terminal.
            let said = printable(&said, MAX_LINE_CHARS);
            writeln!(text, "{mark} {:<12} {said}", finding.name).expect("a string takes any text");
        }
        text
    }
}

/// Runs every check.
pub async fn examine(config: &Config) -> Diagnosis {
    let mut checks = vec![
        host::check_state(config),
        host::check_key(config),
        host::check_space(config),
        privileges::check_privileges(config),
        host::check_firewall(config).await,
        host::check_watches(),
        host::check_instances(),
        host::check_who(config),
        host::check_journal(config),
        host::check_kernel_log(config),
        host::check_audit(config),
        host::check_log_files(config),
        host::check_processes(config),
        host::check_network(config),
        host::check_link(config),
    ];
    checks.extend(backend::check_backend(config).await);
    Diagnosis::of(checks)
}

#[cfg(test)]
mod tests;
