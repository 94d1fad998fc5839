//! Answers to questions about the host.
//! They change nothing, and a question that cannot be answered says why.

use hidps_wire::{AgentFrame, Answer, Question};
use uuid::Uuid;

use crate::error_chain::chain;
use crate::firewall::Firewall;

/// Questions looked into at once: each may hold a whole ruleset in memory.
pub(super) const MAX_OPEN_QUESTIONS: usize = 4;

/// Looks at the host.
pub(super) async fn answer<F: Firewall>(firewall: &F, id: Uuid, question: Question) -> AgentFrame {
    let answer = match question {
        Question::FirewallRules => firewall
            .list_rules()
            .await
            .map(|list| Answer::FirewallRules {
                rules: list.rules,
                truncated: list.truncated,
            }),
        Question::FirewallStatus => firewall
            .is_active()
            .await
            .map(|active| Answer::FirewallStatus { active }),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed {
        message: chain(&error),
    });
    AgentFrame::Answer { id, answer }
}

/// Tells that too much is being looked into.
pub(super) fn refuse(id: Uuid) -> AgentFrame {
    let message = format!(
        "the host looks into {MAX_OPEN_QUESTIONS} questions already; ask again in a moment"
    );
    AgentFrame::Answer {
        id,
        answer: Answer::Failed { message },
    }
}
