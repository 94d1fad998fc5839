//! Brings each connected agent to what the database desires, and says how far it is.
//! It never does I/O, reads a clock or keeps anything beyond one connection.
//!
//! The loop: the newest desired state and what the agent says it applied are compared (`plan`);
//! the difference is at most one whole document in flight (`session`); the agent's read-back
//! becomes conditions. Nothing depends on how a state was reached: a lost, doubled or late hint
//! only changes when the comparison happens.

mod hold;
mod peak;
mod plan;
mod session;

use hidps_wire::AgentId;

use crate::ports::{AgentSession, SessionFactory};

pub use plan::{HoldReason, Mode, Step, plan_step};
pub use session::Session;

/// Makes sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Whether they may send commands.
    pub mode: Mode,
}

impl SessionFactory for Sessions {
    fn open(&self, agent: AgentId) -> Box<dyn AgentSession> {
        Box::new(Session::new(agent, self.mode))
    }
}
