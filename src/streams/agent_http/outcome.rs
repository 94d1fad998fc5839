//! What detection makes of a batch that was posted, on its way back to whoever waits for the answer.
//! It keeps nothing of an event: the names of rules and a number are all.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::ports::BatchProgress;

/// Most matches told of one post; a batch has no more events.
const MAX_HITS: usize = 64;

/// A rule that an event of a post matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RuleHit {
    /// The rule.
    pub(super) rule_id: String,
    /// What it is called.
    pub(super) title: String,
    /// How much risk it stands for, from 0 to 100.
    pub(super) risk: u8,
}

/// What became of a batch: the rules it matched, or why it was refused.
pub(super) type Outcome = Result<Vec<RuleHit>, String>;

/// Hears it, once.
#[derive(Debug)]
pub(super) struct PostProgress(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    reply: Option<oneshot::Sender<Outcome>>,
    hits: Vec<RuleHit>,
}

impl PostProgress {
    /// One that was not heard of yet, and where it will be.
    pub(super) fn new() -> (Self, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        let waiting = Waiting {
            reply: Some(reply),
            hits: Vec::new(),
        };
        (Self(Mutex::new(waiting)), outcome)
    }

    fn finish(&self, outcome: impl FnOnce(Vec<RuleHit>) -> Outcome) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = std::mem::take(&mut waiting.hits);
        if let Some(reply) = waiting.reply.take() {
            // Whoever posted may have gone meanwhile.
            reply.send(outcome(hits)).ok();
        }
    }
}

impl BatchProgress for PostProgress {
    fn taken(&self, _seq: u64) {
        self.finish(Ok);
    }

    fn refused(&self, reason: String) {
        self.finish(|_| Err(reason));
    }

    fn matched(&self, rule_id: &str, title: &str, risk: u8) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.hits.len() < MAX_HITS {
            waiting.hits.push(RuleHit {
                rule_id: rule_id.to_owned(),
                title: title.to_owned(),
                risk,
            });
        }
    }
}
