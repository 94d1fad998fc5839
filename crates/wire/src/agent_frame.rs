//! Frames from an agent to the daemon.
//! None of them names an agent, a table, a topic or a rule: the connection says who speaks.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::condition::AgentCondition;
use crate::facts::Facts;
use crate::ids::{ContentHash, Generation};
use crate::log_event::LogEvent;
use crate::processes::Processes;
use crate::question::Answer;
use crate::usage::Usage;

/// A frame from an agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentFrame {
    /// The first frame of a connection.
    Hello(Hello),
    /// The result of an apply, or of a drift the agent repaired or could not repair.
    Status(Status),
    /// Processor, memory and disk use, in percent of the whole.
    Usage(Usage),
    /// What runs on the host and takes most of it.
    Processes(Processes),
    /// What the host is; whole, and sent again whenever it is another.
    Facts(Box<Facts>),
    /// The answer to the question of this id.
    Answer {
        /// The id of the `ask` frame.
        id: Uuid,
        /// What the host says.
        answer: Answer,
    },
}

/// What an agent is and what it has applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the agent.
    pub protocol: u32,
    /// Version of the agent program.
    pub agent_version: String,
    /// Host name, claimed.
    pub hostname: String,
    /// Operating system, claimed, such as `linux`.
    pub os: String,
    /// Processor architecture, claimed, such as `x86_64`.
    pub arch: String,
    /// The boot its host is in, as the kernel numbers it (`/proc/sys/kernel/random/boot_id`); two
    /// that take turns are two hosts with one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Uuid>,
    /// Whether it gives up a key that a document names; one that does not is sent no such document.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retires_keys: bool,
    /// What its ledger says it applied last; none on a new host.
    pub applied: Option<Applied>,
}

/// A desired document that an agent accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// Its generation.
    pub generation: Generation,
    /// Its hash.
    pub hash: ContentHash,
    /// How many things it desires, as [`crate::DesiredDocument::entries`] counts them; the daemon
    /// compares it with the next document to notice a mass removal.
    pub entries: u32,
}

/// The state of a host after it was read back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The document it was compared with; none before the first one.
    pub applied: Option<Applied>,
    /// One condition for each facet.
    pub conditions: Vec<AgentCondition>,
    /// Whether our firewall table is loaded; none when that cannot be read.
    pub firewall_active: Option<bool>,
}

/// A batch of log events, the frame of type `events`; apart from [`AgentFrame`] because it
/// borrows from its text and goes another way.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventBatch<'a> {
    #[serde(rename = "type")]
    tag: EventsTag,
    /// Number of this batch within the connection, from 1, without gaps.
    pub seq: u64,
    /// Events the agent lost since it started, all told.
    #[serde(default)]
    pub dropped: u64,
    /// The events, at most [`crate::MAX_EVENTS_PER_BATCH`].
    #[serde(borrow)]
    pub events: Vec<LogEvent<'a>>,
}

impl<'a> EventBatch<'a> {
    /// The name of this frame's type.
    pub const TYPE: &'static str = "events";

    /// A batch.
    #[must_use]
    pub const fn new(seq: u64, dropped: u64, events: Vec<LogEvent<'a>>) -> Self {
        Self {
            tag: EventsTag::Events,
            seq,
            dropped,
            events,
        }
    }

    /// The text of a batch whose events are already text, each made by [`crate::encode`]; an
    /// agent encodes an event once and may have to send it twice.
    #[must_use]
    pub fn encode_parts<'e>(
        seq: u64,
        dropped: u64,
        events: impl IntoIterator<Item = &'e str>,
    ) -> String {
        let mut text = format!(
            r#"{{"type":"{}","seq":{seq},"dropped":{dropped},"events":["#,
            Self::TYPE
        );
        for (index, event) in events.into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(event);
        }
        text.push_str("]}");
        text
    }
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EventsTag {
    Events,
}
