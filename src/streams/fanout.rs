//! Live logs to whoever watches: one encoding per batch, shared by all viewers of the agent.
//! It never stores a frame beyond the viewers' own bounded queues.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use dashmap::DashMap;
use hidps_wire::{AgentId, LogEvent, StreamFrame, encode};

use crate::ports::LiveLog;
use crate::streams::viewer_queue::ViewerQueue;

/// Who watches which agent.
#[derive(Debug, Default)]
pub struct Fanout {
    viewers: DashMap<AgentId, Vec<Arc<ViewerQueue>>>,
}

impl Fanout {
    /// Lets a queue receive this agent's events from now on.
    pub fn subscribe(&self, agent: AgentId, queue: &Arc<ViewerQueue>) {
        let mut viewers = self.viewers.entry(agent).or_default();
        if !viewers.iter().any(|known| Arc::ptr_eq(known, queue)) {
            viewers.push(Arc::clone(queue));
        }
    }

    /// Ends that; frames already queued stay queued.
    pub fn unsubscribe(&self, agent: AgentId, queue: &Arc<ViewerQueue>) {
        self.viewers.remove_if_mut(&agent, |_, viewers| {
            viewers.retain(|known| !Arc::ptr_eq(known, queue));
            viewers.is_empty()
        });
    }
}

impl LiveLog for Fanout {
    fn publish(&self, agent: AgentId, events: &[LogEvent<'_>]) {
        let Some(viewers) = self.viewers.get(&agent).map(|viewers| viewers.clone()) else {
            return;
        };
        let frame = StreamFrame::Events {
            agent_id: agent,
            events: events.to_vec(),
        };
        let frame: Utf8Bytes = encode(&frame).into();
        for viewer in viewers {
            viewer.push(agent, frame.clone());
        }
    }
}
