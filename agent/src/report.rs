//! The last known status as a file, and the commands that show it and the desired document.
//! It is for people on the host; nothing reads it back into the agent.

use std::fmt::Write as _;

use hidps_wire::{ConditionStatus, Desired, FirewallIntent, Status};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock;
use crate::collect::unread::UnreadLines;
use crate::config::Config;
use crate::error_chain::chain;
use crate::ledger::{LedgerRecord, Trial, read_ledger};
use crate::link::LinkState;
use crate::state_dir::{StateDir, StateError};

/// The status's file.
const FILE: &str = "status.json";

/// What the agent last knew of itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct StatusReport {
    /// When this was written, RFC 3339 in UTC.
    pub written_at: String,
    /// The process that wrote it.
    pub process: u32,
    /// How the link is.
    pub link: LinkState,
    /// What was read back from the host.
    pub host: Option<Status>,
    /// Lines of logs that were passed on without being understood.
    #[serde(default)]
    pub unread: UnreadLines,
}

/// Why a command has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The state directory failed.
    #[error("could not read the agent's state")]
    State(#[source] StateError),
    /// There is no status yet.
    #[error("there is no status yet; the agent has not run with this state directory")]
    NoStatus,
    /// The status is malformed.
    #[error("the status file is damaged; it is written anew when the agent runs")]
    Damaged(#[source] serde_json::Error),
}

/// Writes the status whenever it is another, until the agent ends.
pub async fn keep_status_file(
    state: StateDir,
    mut host: watch::Receiver<Option<Status>>,
    mut link: watch::Receiver<LinkState>,
    mut unread: watch::Receiver<UnreadLines>,
) {
    loop {
        let report = StatusReport {
            written_at: clock::now(),
            process: std::process::id(),
            link: link.borrow_and_update().clone(),
            host: host.borrow_and_update().clone(),
            unread: unread.borrow_and_update().clone(),
        };
        if let Err(error) = state.write(FILE, hidps_wire::encode(&report).as_bytes()) {
            tracing::warn!(error = %chain(&error), "the status file was not written");
        }
        let changed = tokio::select! {
            changed = host.changed() => changed,
            changed = link.changed() => changed,
            // The logs may end first; the last state of the link is still to be written.
            Ok(()) = unread.changed() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The text of `hidps-agent status`.
///
/// # Errors
/// Fails when there is nothing to show.
pub fn show_status(config: &Config) -> Result<String, ReportError> {
    let state = StateDir::open_existing(&config.state_dir).map_err(ReportError::State)?;
    let is_running = state.lock().is_err();
    let content = state.read(FILE).map_err(ReportError::State)?;
    let content = content.ok_or(ReportError::NoStatus)?;
    let report: StatusReport = serde_json::from_slice(&content).map_err(ReportError::Damaged)?;
    Ok(print_status(config, &report, is_running))
}

fn print_status(config: &Config, report: &StatusReport, is_running: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<14} {value}").expect("a string takes any text");
    };
    line("agent", &config.agent_id.to_string());
    let running = if is_running {
        format!("yes, process {}", report.process)
    } else {
        format!("no; this is what it knew at {}", report.written_at)
    };
    line("running", &running);
    let link = match &report.link {
        LinkState::Starting => "starting".to_owned(),
        LinkState::WaitingForApproval => "waiting for an admin to approve this agent".to_owned(),
        LinkState::Connected { backend } => format!("connected to {backend}"),
        LinkState::Waiting { reason } => format!("down: {reason}"),
    };
    line("link", &link);
    if report.unread.total() > 0 {
        line("not understood", &report.unread.sentence());
    }
    let Some(host) = &report.host else {
        return text;
    };
    let generation = host.applied.as_ref().map_or_else(
        || "none yet".to_owned(),
        |applied| format!("generation {}", applied.generation),
    );
    line("desired", &generation);
    for condition in &host.conditions {
        let status = match condition.status {
            ConditionStatus::True => "yes",
            ConditionStatus::False => "NO",
            ConditionStatus::Unknown => "unknown",
        };
        let name = format!("{:?}", condition.facet);
        let value = format!("{status} ({}): {}", condition.reason, condition.message);
        line(&name, &value);
    }
    text
}

/// The text of `hidps-agent desired`.
///
/// # Errors
/// Fails when the state directory cannot be read.
pub fn show_desired(config: &Config) -> Result<String, ReportError> {
    let state = StateDir::open_existing(&config.state_dir).map_err(ReportError::State)?;
    let record = match read_ledger(&state, config.agent_id) {
        Ok(record) => record,
        Err(error) => return Ok(format!("{}\n", chain(&error))),
    };
    let accepted = &record.accepted;
    let (desired, refused) = Desired::from_document(&accepted.document);
    let firewall = print_firewall(&record);
    let mut text = format!(
        "generation {}\nhash       {}\nfirewall   {firewall}\n",
        accepted.generation, accepted.hash
    );
    for path in &desired.watched {
        writeln!(text, "watch      {path}").expect("a string takes any text");
    }
    for refused in &refused {
        writeln!(text, "refused    {} {}", refused.path, refused.error)
            .expect("a string takes any text");
    }
    Ok(text)
}

fn print_firewall(record: &LedgerRecord) -> String {
    let wanted = match record.intent() {
        FirewallIntent::Unmanaged => "unmanaged",
        FirewallIntent::On => "on",
        FirewallIntent::Off => "off",
    };
    match record.trial {
        None => wanted.to_owned(),
        Some(Trial { restore: true, .. }) => format!("{wanted}, not confirmed; it was on"),
        Some(Trial { restore: false, .. }) => format!("{wanted}, not confirmed; it was off"),
    }
}

#[cfg(test)]
mod tests;
