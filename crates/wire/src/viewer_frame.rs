//! Frames between a viewer, a person's program with a Supabase JWT, and the daemon.
//! This channel carries streams and answers only; durable state is read from Supabase.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::AgentId;
use crate::log_event::LogEvent;
use crate::question::{Answer, Question};

/// A frame from a viewer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ViewerFrame {
    /// Who is speaking; first frame unless the handshake carried the token, and again before the
    /// token expires.
    Authenticate {
        /// A Supabase access token.
        token: String,
    },
    /// Send me this agent's live log.
    Subscribe {
        /// The agent.
        agent_id: AgentId,
    },
    /// Stop sending it.
    Unsubscribe {
        /// The agent.
        agent_id: AgentId,
    },
    /// Ask this host.
    Ask {
        /// Comes back in the answer.
        id: Uuid,
        /// The agent.
        agent_id: AgentId,
        /// What is asked.
        question: Question,
    },
}

/// A frame from the daemon to a viewer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum StreamFrame<'a> {
    /// The token was accepted.
    Ready {
        /// The person, the token's subject.
        user_id: Uuid,
        /// Seconds until the token expires.
        expires_in: u64,
    },
    /// The live log of this agent follows.
    Subscribed {
        /// The agent.
        agent_id: AgentId,
    },
    /// The live log of this agent has ended.
    Unsubscribed {
        /// The agent.
        agent_id: AgentId,
        /// Why.
        reason: Refusal,
    },
    /// Events of one agent, oldest first.
    Events {
        /// The agent, as its connection says.
        agent_id: AgentId,
        /// The events.
        #[serde(borrow)]
        events: Vec<LogEvent<'a>>,
    },
    /// This viewer was too slow and missed so many batches.
    Lagged {
        /// The agent.
        agent_id: AgentId,
        /// Batches missed.
        dropped: u64,
    },
    /// What a host answered.
    Answer {
        /// The id of the question.
        id: Uuid,
        /// The agent.
        agent_id: AgentId,
        /// What the host says.
        answer: Answer,
    },
    /// A frame of the viewer was refused.
    Refused {
        /// The machine-readable class.
        reason: Refusal,
        /// What happened and what to do.
        message: String,
        /// The id of the question, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Uuid>,
        /// The agent it was about, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_id: Option<AgentId>,
    },
}

/// Why the daemon does not do what a viewer asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No valid token yet, or it expired.
    Unauthenticated,
    /// Postgres does not let this person read this agent.
    Forbidden,
    /// The agent is not connected.
    AgentOffline,
    /// The agent did not answer in time.
    Timeout,
    /// The frame could not be read.
    BadFrame,
    /// Too many subscriptions or questions at once.
    TooMany,
    /// Access could not be checked just now; try again.
    Unavailable,
    /// The viewer asked for it.
    Requested,
}
