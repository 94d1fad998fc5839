//! Answers to questions about the host.
//! They change nothing, and a question that cannot be answered says why.

use std::sync::Arc;

use hidps_wire::{AgentFrame, Answer, Desired, DesiredDocument, Question};
use tokio::sync::watch;
use uuid::Uuid;

use crate::dial::Dialer;
use crate::error_chain::chain;
use crate::firewall::{DaemonPlace, Firewall, FirewallError, FirewallGoal};
use crate::ledger::LedgerRecord;
use crate::plan::plan_host;

/// Questions looked into at once: each may hold a whole ruleset in memory.
pub(super) const MAX_OPEN_QUESTIONS: usize = 4;

/// What is looked at to answer.
pub(super) struct HostView<F> {
    /// The firewall.
    pub(super) firewall: Arc<F>,
    /// What the host has accepted.
    pub(super) record: watch::Receiver<Option<Arc<LedgerRecord>>>,
    /// The way to the daemon.
    pub(super) dialer: Arc<Dialer>,
}

impl<F> Clone for HostView<F> {
    fn clone(&self) -> Self {
        Self {
            firewall: Arc::clone(&self.firewall),
            record: self.record.clone(),
            dialer: Arc::clone(&self.dialer),
        }
    }
}

/// Looks at the host.
pub(super) async fn answer<F: Firewall>(
    host: HostView<F>,
    id: Uuid,
    question: Question,
) -> AgentFrame {
    let answer = match question {
        Question::FirewallRules => list_rules(&host).await,
        Question::FirewallStatus => read_status(&host).await,
        Question::Plan {
            document: Some(document),
        } => plan(&host, &document).await,
        Question::Plan { document: None } => Ok(Answer::Failed {
            message: "a plan needs a document; the daemon puts in what is desired now".to_owned(),
        }),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed {
        message: chain(&error),
    });
    AgentFrame::Answer { id, answer }
}

async fn list_rules<F: Firewall>(host: &HostView<F>) -> Result<Answer, FirewallError> {
    let list = host.firewall.list_rules().await?;
    Ok(Answer::FirewallRules {
        rules: list.rules,
        truncated: list.truncated,
    })
}

async fn read_status<F: Firewall>(host: &HostView<F>) -> Result<Answer, FirewallError> {
    let active = host.firewall.is_active().await?;
    Ok(Answer::FirewallStatus { active })
}

async fn plan<F: Firewall>(
    host: &HostView<F>,
    document: &DesiredDocument,
) -> Result<Answer, FirewallError> {
    let place = DaemonPlace::find(&host.dialer.first_hop()).await;
    let (desired, _) = Desired::from_document(document);
    let goal = FirewallGoal::of(&desired);
    let forecast = host.firewall.forecast(&goal, &place).await?;
    let record = host.record.borrow().clone();
    Ok(Answer::Plan(plan_host(
        record.as_deref(),
        document,
        forecast,
    )))
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
