//! The loop of the host: wait for a reason, observe, plan, apply facet by facet, read back, report.
//! It never asks how a state was reached, and works the same with and without a connection.

use std::sync::Arc;
use std::time::Duration;

use hidps_wire::{Applied, Apply, Desired, EventKind, Fields, LogEvent, RefusedPath, Status};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::agent_note::AgentNote;
use crate::clock;
use crate::conditions::{files_condition, firewall_condition, no_document_conditions};
use crate::error_chain::chain;
use crate::event_queue::EventQueue;
use crate::file_watch::FileWatch;
use crate::firewall::{
    Actor, Drift, Firewall, FirewallChange, FirewallOutcome, TABLE_FAMILY, TABLE_NAME,
};
use crate::ledger::{Acceptance, Ledger};
use crate::text::printable;

/// How often the host is compared with what is desired though nothing told of a change.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60);

/// How soon a ledger that could not be read is read again: a busy disk recovers in seconds.
const LEDGER_RETRY: Duration = Duration::from_secs(2);

/// Longest reason that is told of a document that was not accepted.
const MAX_REASON_BYTES: usize = 300;

/// What the loop is made of.
pub struct Converge<F, W> {
    /// The last accepted document.
    pub ledger: Ledger,
    /// The firewall.
    pub firewall: Arc<F>,
    /// The watcher of files.
    pub files: W,
    /// Documents from the daemon.
    pub applies: mpsc::Receiver<Apply>,
    /// Somebody changed the firewall.
    pub drift: watch::Receiver<Drift>,
    /// What is so now, for the daemon.
    pub status: watch::Sender<Option<Status>>,
    /// What the ledger holds, for hello.
    pub applied: watch::Sender<Option<Applied>>,
    /// Where repairs are told.
    pub events: Arc<EventQueue>,
}

/// Why the loop goes round; only for the log and for whether the daemon wants an answer.
#[derive(Debug)]
enum Reason {
    Started,
    Document(Apply),
    FirewallChanged(Drift),
    FilesChanged,
    Audit,
    LedgerRetry,
}

impl<F: Firewall, W: FileWatch> Converge<F, W> {
    /// Runs until the daemon's link is gone.
    pub async fn run(mut self) {
        let mut audit = interval(AUDIT_INTERVAL);
        audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick of an interval is at once; the start is a round of its own.
        audit.tick().await;
        self.on_reason(Reason::Started).await;
        while let Some(reason) = self.wait(&mut audit).await {
            self.on_reason(reason).await;
        }
    }

    async fn wait(&mut self, audit: &mut Interval) -> Option<Reason> {
        tokio::select! {
            document = self.applies.recv() => document.map(Reason::Document),
            Ok(()) = self.drift.changed() => {
                Some(Reason::FirewallChanged(self.drift.borrow_and_update().clone()))
            }
            () = self.files.changed() => Some(Reason::FilesChanged),
            _ = audit.tick() => Some(Reason::Audit),
            () = sleep(LEDGER_RETRY), if self.ledger.is_unreadable() => Some(Reason::LedgerRetry),
        }
    }

    async fn on_reason(&mut self, reason: Reason) {
        tracing::debug!(?reason, "comparing the host with what is desired");
        let is_document = matches!(reason, Reason::Document(_));
        let mut actor = None;
        match reason {
            Reason::Document(document) => self.accept(document),
            Reason::FirewallChanged(drift) => actor = drift.actor,
            Reason::LedgerRetry => self.read_ledger_again(),
            Reason::Started | Reason::FilesChanged | Reason::Audit => {}
        }
        let desired = self
            .ledger
            .document()
            .map(desired_of)
            .map_err(|none| chain(none));
        let status = match desired {
            Ok((desired, refused)) => self.enforce(desired, &refused, actor.as_ref()).await,
            Err(why) => self.leave_alone(&why).await,
        };
        // A document is answered even when nothing changed: the daemon waits for it.
        self.status.send_if_modified(|known| {
            let is_new = is_document || known.as_ref() != Some(&status);
            *known = Some(status);
            is_new
        });
    }

    async fn enforce(
        &mut self,
        desired: Desired,
        refused: &[RefusedPath],
        actor: Option<&Actor>,
    ) -> Status {
        let outcome = self.firewall.ensure(desired.firewall).await;
        self.tell_change(&outcome, actor);
        // Each facet is applied whatever became of the others.
        let files = self.files.ensure(desired.watched).await;
        Status {
            applied: self.ledger.applied(),
            conditions: vec![
                firewall_condition(&outcome),
                files_condition(files.as_ref(), refused),
            ],
            firewall_active: outcome.active,
        }
    }

    /// What is not known to be desired is not taken for nothing: the host is only looked at.
    async fn leave_alone(&self, why: &str) -> Status {
        Status {
            applied: None,
            conditions: no_document_conditions(why),
            firewall_active: self.firewall.is_active().await.ok(),
        }
    }

    fn read_ledger_again(&mut self) {
        self.ledger.retry_read();
        self.applied.send_replace(self.ledger.applied());
    }

    /// Writes a document down before anything of it is applied. The write waits for the disk, and
    /// with it the whole agent: a host whose disk hangs is not one that works.
    fn accept(&mut self, document: Apply) {
        let generation = document.generation;
        match self.ledger.accept(document) {
            Ok(Acceptance::New) => tracing::info!(%generation, "accepted a desired document"),
            Ok(Acceptance::Known) => tracing::debug!(%generation, "the document is known"),
            Err(error) => {
                // A hash is the daemon's text.
                let text = printable(&chain(&error), MAX_REASON_BYTES);
                tracing::error!(%generation, error = %text, "a desired document was not accepted");
                self.events
                    .push(AgentNote::DocumentRefused { reason: text }.into_event());
            }
        }
        self.applied.send_replace(self.ledger.applied());
    }

    fn tell_change(&self, outcome: &FirewallOutcome, actor: Option<&Actor>) {
        let Some(change) = outcome.change else {
            return;
        };
        let who = actor.map_or_else(
            || "somebody".to_owned(),
            |actor| format!("{} (process {})", actor.name, actor.process),
        );
        let (action, message) = match change {
            FirewallChange::Loaded => ("loaded", "the firewall table was loaded".to_owned()),
            FirewallChange::Repaired => (
                "repaired",
                format!("{who} changed the firewall table, and the agent put it back"),
            ),
            FirewallChange::Removed => ("removed", "the firewall table was removed".to_owned()),
        };
        tracing::info!(action, message, "the firewall table changed");
        let mut fields = Fields::default();
        fields.push("action", action);
        if let Some(actor) = actor.filter(|_| change == FirewallChange::Repaired) {
            fields.push("actor", actor.name.clone());
            fields.push("actor_pid", i64::from(actor.process));
        }
        fields.push("table", format!("{TABLE_FAMILY} {TABLE_NAME}"));
        self.events.push(LogEvent {
            timestamp: clock::now().into(),
            kind: EventKind::Firewall,
            service: "nftables".into(),
            message: message.into(),
            fields,
        });
    }
}

fn desired_of(accepted: &Apply) -> (Desired, Vec<RefusedPath>) {
    Desired::from_document(&accepted.document)
}

#[cfg(test)]
mod tests;
