//! What `hidps-agent desired` shows, as text and as JSON whose names stay.
//! It shows what the ledger holds and changes nothing of it.

use std::fmt::Write as _;

use hidps_wire::{
    AgentId, ContentHash, Desired, DesiredDocument, FirewallIntent, Generation, WatchDepth,
};
use serde::Serialize;
use uuid::Uuid;

use super::ReportError;
use crate::config::Config;
use crate::error_chain::chain;
use crate::ledger::{LedgerRecord, Trial, read_ledger};
use crate::state_dir::StateView;
use crate::text::printable;

/// Longest part of a key that is shown; a real one has 44 characters.
const MAX_KEY_CHARS: usize = 64;

/// Longest part of a hash that is shown; a real one has 64 characters.
const MAX_HASH_CHARS: usize = 64;

/// Longest line that is shown; a path has 4,096 bytes at most.
const MAX_LINE_CHARS: usize = 8 * 1024;

/// The document the agent has accepted, or why there is none.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownDesired {
    /// Whose it is.
    pub agent_id: AgentId,
    /// What was accepted.
    pub accepted: Option<ShownDocument>,
    /// Why nothing was, in one sentence.
    pub missing: Option<String>,
}

/// A document and what became of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownDocument {
    /// Its generation.
    pub generation: Generation,
    /// The hash of its content.
    pub hash: ContentHash,
    /// The document as it was sent.
    pub document: DesiredDocument,
    /// Paths of it that the agent refuses.
    pub refused: Vec<ShownRefusal>,
    /// Firewall rules of it that the agent refuses.
    pub refused_rules: Vec<ShownRule>,
    /// The firewall in one sentence, with the trial it is on.
    pub firewall: String,
    /// Whether the firewall is on trial.
    pub on_trial: bool,
}

/// A path that is not watched, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownRefusal {
    /// The path.
    pub path: String,
    /// Why it is refused.
    pub error: String,
}

/// A firewall rule that is not enforced, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownRule {
    /// Its row; null where it is the settings.
    pub rule: Option<Uuid>,
    /// Why it is refused.
    pub error: String,
}

/// Reads the document.
///
/// # Errors
/// Fails when the state directory cannot be read.
pub fn read_desired(config: &Config) -> Result<ShownDesired, ReportError> {
    let state = StateView::open(&config.state_dir).map_err(ReportError::State)?;
    let (accepted, missing) = match read_ledger(&state, config.agent_id) {
        Ok(record) => (Some(ShownDocument::of(record)), None),
        Err(error) => (None, Some(chain(&error))),
    };
    Ok(ShownDesired {
        agent_id: config.agent_id,
        accepted,
        missing,
    })
}

impl ShownDocument {
    /// What is shown of a record.
    #[must_use]
    pub fn of(record: LedgerRecord) -> Self {
        let (_, refused) = Desired::from_document(&record.accepted.document);
        let paths = refused.paths.into_iter().map(|refused| ShownRefusal {
            path: refused.path.clone(),
            error: refused.error.to_string(),
        });
        let rules = refused.rules.into_iter().map(|refused| ShownRule {
            rule: refused.id,
            error: refused.error.to_string(),
        });
        Self {
            refused: paths.collect(),
            refused_rules: rules.collect(),
            firewall: describe_firewall(&record),
            on_trial: record.trial.is_some(),
            generation: record.accepted.generation,
            hash: record.accepted.hash,
            document: record.accepted.document,
        }
    }
}

impl ShownDesired {
    /// The text for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Some(accepted) = &self.accepted else {
            let missing = self.missing.as_deref().unwrap_or("nothing");
            return printable(missing, MAX_LINE_CHARS) + "\n";
        };
        let (desired, refused) = Desired::from_document(&accepted.document);
        let mut text = String::new();
        // The ledger is the agent's, and whoever reads this may be root at a terminal.
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let value = printable(&value.to_string(), MAX_LINE_CHARS);
            writeln!(text, "{name:<10} {value}").expect("a string takes any text");
        };
        line("generation", &accepted.generation);
        line("hash", &printable(&accepted.hash.0, MAX_HASH_CHARS));
        line("firewall", &accepted.firewall);
        for (path, depth) in &desired.watched {
            let depth = match depth {
                WatchDepth::Entries => "",
                WatchDepth::Everything => " and everything below",
            };
            line("watch", &format_args!("{path}{depth}"));
        }
        if let Some(key) = &accepted.document.retired_key {
            let key = printable(key, MAX_KEY_CHARS);
            line("give up", &format_args!("the key {key}"));
        }
        for rule in &desired.policy.rules {
            line("rule", rule);
        }
        for refused in &refused.rules {
            line("refused", refused);
        }
        for refused in &accepted.refused {
            line(
                "refused",
                &format_args!("{} {}", refused.path, refused.error),
            );
        }
        text
    }
}

fn describe_firewall(record: &LedgerRecord) -> String {
    let wanted = match record.intent() {
        FirewallIntent::Unmanaged => "unmanaged",
        FirewallIntent::On => "on",
        FirewallIntent::Off => "off",
    };
    match &record.trial {
        None => wanted.to_owned(),
        Some(Trial { restore: true, .. }) => format!("{wanted}, not confirmed; it was on"),
        Some(Trial { restore: false, .. }) => format!("{wanted}, not confirmed; it was off"),
    }
}
