//! The last known status as a file, and the commands that show it and the desired document.
//! It is for people on the host; nothing reads it back into the agent.

mod desired;
mod status;

use hidps_wire::Status;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock;
use crate::collect::line_sink::LineCounts;
use crate::collect::sampling::SampledLines;
use crate::collect::source_board::SourceStates;
use crate::collect::source_losses::SourceLosses;
use crate::collect::unread::UnreadLines;
use crate::error_chain::chain;
use crate::event_queue::Losses;
use crate::link::LinkState;
use crate::state_dir::{StateDir, StateError};

pub use desired::{ShownDesired, ShownDocument, ShownRefusal, ShownRule, read_desired};
pub use status::{ShownSource, ShownStatus, read_status};

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
    /// What sources of events lost before it could be read.
    #[serde(default)]
    pub lost: SourceLosses,
    /// Lines of logs that were left out because fewer are wanted.
    #[serde(default)]
    pub sampled: SampledLines,
    /// Events that there was no room to keep for the daemon.
    #[serde(default)]
    pub dropped: Losses,
    /// Every source of events, and how it is read.
    #[serde(default)]
    pub sources: SourceStates,
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
    (mut counts, mut sources): (watch::Receiver<LineCounts>, watch::Receiver<SourceStates>),
) {
    loop {
        let LineCounts {
            unread,
            lost,
            sampled,
            dropped,
        } = counts.borrow_and_update().clone();
        let report = StatusReport {
            written_at: clock::now(),
            process: std::process::id(),
            link: link.borrow_and_update().clone(),
            host: host.borrow_and_update().clone(),
            unread,
            lost,
            sampled,
            dropped,
            sources: sources.borrow_and_update().clone(),
        };
        if let Err(error) = state.write(FILE, hidps_wire::encode(&report).as_bytes()) {
            tracing::warn!(error = %chain(&error), "the status file was not written");
        }
        let changed = tokio::select! {
            changed = host.changed() => changed,
            changed = link.changed() => changed,
            // The logs may end first; the last state of the link is still to be written.
            Ok(()) = counts.changed() => Ok(()),
            Ok(()) = sources.changed() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
