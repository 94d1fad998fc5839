//! What other parts want of one agent's connection: a small queue that costs nothing while empty.
//! It never holds desired state; that is followed, not queued.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hidps_wire::{Answer, Question};
use tokio::sync::{Notify, oneshot};

/// Most messages that may wait; a viewer's question beyond it is refused.
const MAX_WAITING: usize = 16;

/// What is wanted.
#[derive(Debug)]
pub enum ToAgent {
    /// Ask this and give the answer back.
    Ask {
        /// The question.
        question: Question,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// Close: another connection of this agent took over.
    Superseded,
    /// Close: its key may not connect any more.
    Revoked,
    /// Close: another key took the place of the one it signed with.
    Rekeyed,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Mailbox {
    waiting: Mutex<VecDeque<ToAgent>>,
    wake: Notify,
}

impl Mailbox {
    /// Adds a message; `false` when too many wait.
    pub fn push(&self, message: ToAgent) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING && matches!(message, ToAgent::Ask { .. }) {
            return false;
        }
        waiting.push_back(message);
        drop(waiting);
        self.wake.notify_one();
        true
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Takes the next message, if there is one.
    pub fn take(&self) -> Option<ToAgent> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// Waits for the next message.
    pub async fn next(&self) -> ToAgent {
        loop {
            match self.take() {
                Some(message) => return message,
                None => self.wake.notified().await,
            }
        }
    }
}
