//! What `hidps-agent status` shows, as text and as JSON whose names stay.
//! It reads what the agent wrote and asks nobody else.

use std::fmt::Write as _;

use hidps_wire::{AgentCondition, AgentId, Applied, ConditionStatus};
use serde::Serialize;

use super::{FILE, ReportError, StatusReport};
use crate::collect::source_board::{SourceState, Standing};
use crate::collect::source_losses::SourceLosses;
use crate::collect::unread::UnreadLines;
use crate::config::Config;
use crate::event_queue::Losses;
use crate::link::LinkState;
use crate::state_dir::StateView;
use crate::text::printable;

/// Longest name of a source or condition that is shown.
const MAX_NAME_CHARS: usize = 40;

/// Longest line that is shown; a condition may list many subjects.
const MAX_LINE_CHARS: usize = 16 * 1024;

/// What the agent last knew of itself and the host.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownStatus {
    /// Whose status it is.
    pub agent_id: AgentId,
    /// Whether the agent runs now.
    pub running: bool,
    /// Its process, while it runs.
    pub process: Option<u32>,
    /// When it last had something new to say, RFC 3339 in UTC.
    pub written_at: String,
    /// How the link is, or was last.
    pub link: LinkState,
    /// What was applied last.
    pub applied: Option<Applied>,
    /// What was read back from the host.
    pub conditions: Vec<AgentCondition>,
    /// Every source of what is told of the host.
    pub sources: Vec<ShownSource>,
    /// Lines of logs that were passed on without being understood.
    pub unread: UnreadLines,
    /// What sources of events lost before it could be read.
    pub lost: SourceLosses,
    /// Events that there was no room to keep for the daemon, by how dear they were.
    pub dropped: Losses,
}

/// A source of events.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownSource {
    /// Its name.
    pub name: String,
    /// How it is with it, since when, how it is read, and what it cannot see.
    #[serde(flatten)]
    pub state: SourceState,
    /// What it lost since the agent started, in a few words; null for nothing.
    pub lost: Option<String>,
    /// How many lines of it were left out because fewer are wanted, since the agent started.
    pub sampled: u64,
}

/// Reads the status.
///
/// # Errors
/// Fails when there is nothing to show.
pub fn read_status(config: &Config) -> Result<ShownStatus, ReportError> {
    let state = StateView::open(&config.state_dir).map_err(ReportError::State)?;
    let running = state.is_in_use().map_err(ReportError::State)?;
    let content = state.read(FILE).map_err(ReportError::State)?;
    let content = content.ok_or(ReportError::NoStatus)?;
    let report = serde_json::from_slice(&content).map_err(ReportError::Damaged)?;
    Ok(ShownStatus::of(report, config.agent_id, running))
}

impl ShownSource {
    /// One line for people.
    fn text(&self) -> String {
        let SourceState {
            standing,
            since,
            how,
            cannot_see,
        } = &self.state;
        let lost = self.lost.as_deref().unwrap_or("none");
        let counts = match self.sampled {
            0 => format!("lost: {lost}"),
            sampled => format!("lost: {lost}; sampled: {sampled} left out"),
        };
        match standing {
            Standing::Read => {
                format!("read since {since}, {how}; {counts}; cannot see: {cannot_see}")
            }
            Standing::Absent => format!("absent since {since}: {how}"),
            Standing::Failed => format!("NOT READ since {since}: {how}; {counts}"),
            Standing::Off => format!("off: {how}"),
        }
    }
}

impl ShownStatus {
    /// What is shown of a report.
    #[must_use]
    pub fn of(report: StatusReport, agent_id: AgentId, running: bool) -> Self {
        let (applied, conditions) = report
            .host
            .map_or((None, Vec::new()), |host| (host.applied, host.conditions));
        let sources = report.sources.into_iter().map(|(name, state)| ShownSource {
            lost: report.lost.of(&name),
            sampled: report.sampled.of(&name),
            name,
            state,
        });
        Self {
            sources: sources.collect(),
            agent_id,
            running,
            process: running.then_some(report.process),
            written_at: report.written_at,
            link: report.link,
            applied,
            conditions,
            unread: report.unread,
            lost: report.lost,
            dropped: report.dropped,
        }
    }

    /// What `status --check` exits with: 0 only while the agent is connected.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match (&self.link, self.running) {
            (_, false) => 3,
            (LinkState::Connected { .. }, true) => 0,
            (LinkState::Starting | LinkState::Waiting { refused: false, .. }, true) => 4,
            (LinkState::WaitingForApproval, true) => 5,
            (LinkState::Waiting { refused: true, .. }, true) => 6,
        }
    }

    /// The text for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // The file is the agent's, and whoever reads this may be root at a terminal.
        let mut line = |name: &str, value: &str| {
            let name = printable(name, MAX_NAME_CHARS);
            let value = printable(value, MAX_LINE_CHARS);
            writeln!(text, "{name:<14} {value}").expect("a string takes any text");
        };
        line("agent", &self.agent_id.to_string());
        let running = match self.process {
            Some(process) => format!("yes, process {process}"),
            None => format!("no; this is what it knew at {}", self.written_at),
        };
        line("running", &running);
        line("link", &self.link.to_string());
        if !self.lost.is_empty() {
            line("lost", &self.lost.sentence());
        }
        let Losses {
            telemetry,
            activity,
            security,
            ..
        } = self.dropped;
        if self.dropped.total() > 0 {
            let counts = format!(
                "{security} of security{}, {activity} of activity, {telemetry} of telemetry: \
                 more came than the daemon took",
                self.dropped.of_security()
            );
            line("dropped", &counts);
        }
        if self.unread.total() > 0 {
            line("not understood", &self.unread.sentence());
        }
        for source in &self.sources {
            line(&source.name, &source.text());
        }
        if self.applied.is_none() && self.conditions.is_empty() {
            return text;
        }
        let generation = self.applied.as_ref().map_or_else(
            || "none yet".to_owned(),
            |applied| format!("generation {}", applied.generation),
        );
        line("desired", &generation);
        for condition in &self.conditions {
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
}
