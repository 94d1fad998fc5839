//! Does what the core asks for: writes the ledger, sets the firewall and the watches, tells.
//! It decides nothing, and works the same with and without a connection.

use std::sync::Arc;
use std::time::Duration;

use hidps_wire::{AgentCondition, Apply, EventKind, Fields, LogEvent};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::core::{Core, CoreSettings};
use super::effect::{Effect, Note, ProbeId};
use crate::agent_note::AgentNote;
use crate::clock;
use crate::collect::source_board::SourceStates;
use crate::conditions::{SourcesAsked, sources_condition, who};
use crate::error_chain::chain;
use crate::event_queue::EventQueue;
use crate::file_watch::FileWatch;
use crate::firewall::{Actor, BackEnd, Drift, Firewall, FirewallChange, TABLE_FAMILY, TABLE_NAME};
use crate::ledger::{Ledger, LedgerRecord, NoDocument};
use crate::probe::Probe;
use crate::retirement::Retirement;
use crate::status_queue::StatusQueue;
use crate::text::printable;

/// Longest reason that is told of a document that was not accepted.
const MAX_REASON_BYTES: usize = 300;

/// What the loop is made of.
pub struct Converge<F, W, P> {
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
    pub statuses: Arc<StatusQueue>,
    /// What the ledger holds, for hello and for questions.
    pub record: watch::Sender<Option<Arc<LedgerRecord>>>,
    /// The way to find out whether the daemon can be reached.
    pub probe: Arc<P>,
    /// The session of the link, none while it is down.
    pub link: watch::Receiver<Option<u64>>,
    /// Where repairs are told.
    pub events: Arc<EventQueue>,
    /// How it is with the sources of events, and which of them the configuration asks for.
    pub sources: (watch::Receiver<SourceStates>, SourcesAsked),
    /// How it is with a key that is to be given up.
    pub retirement: watch::Receiver<Option<Retirement>>,
    /// How long a new firewall may take to be confirmed; none where the agent changes none.
    pub confirm_within: Option<Duration>,
}

/// Why the core is called.
#[derive(Debug)]
enum Wake {
    Document(Apply),
    FirewallChanged(Drift),
    FilesChanged,
    SourcesTold(Option<AgentCondition>),
    RetirementTold(Option<Retirement>),
    Link(Option<u64>),
    Probed(ProbeId, Result<(), String>),
    Tick,
}

/// The core, and what goes on beside it.
struct Course {
    core: Core,
    /// At most one: an older one proves nothing any more.
    probes: JoinSet<(ProbeId, Result<(), String>)>,
    session: Option<u64>,
}

impl<F: Firewall, W: FileWatch, P: Probe> Converge<F, W, P> {
    /// Runs until the daemon's link is gone.
    pub async fn run(mut self) {
        let ledger = self.ledger.load();
        log_ledger(&ledger);
        let settings = CoreSettings {
            agent_id: self.ledger.agent_id(),
            confirm_within: self.confirm_within,
        };
        let mut course = Course {
            core: Core::new(settings, ledger, now()),
            probes: JoinSet::new(),
            session: None,
        };
        // A hello that cannot wait for the first comparison says what the ledger holds.
        self.publish(&course.core);
        course.core.on_sources_told(self.read_sources(), now());
        loop {
            self.act(&mut course).await;
            let Some(wake) = self.wait(&mut course).await else {
                return;
            };
            tracing::debug!(?wake, "something may be to be done");
            course.on_wake(wake);
        }
    }

    async fn wait(&mut self, course: &mut Course) -> Option<Wake> {
        let deadline = course.core.deadline().into();
        tokio::select! {
            document = self.applies.recv() => document.map(Wake::Document),
            Ok(()) = self.drift.changed() => {
                Some(Wake::FirewallChanged(self.drift.borrow_and_update().clone()))
            }
            () = self.files.changed() => Some(Wake::FilesChanged),
            Ok(()) = self.sources.0.changed() => Some(Wake::SourcesTold(self.read_sources())),
            Ok(()) = self.retirement.changed() => {
                Some(Wake::RetirementTold(self.retirement.borrow_and_update().clone()))
            }
            Ok(()) = self.link.changed() => Some(Wake::Link(*self.link.borrow_and_update())),
            (id, result) = next_probed(&mut course.probes) => Some(Wake::Probed(id, result)),
            () = sleep_until(deadline) => Some(Wake::Tick),
        }
    }

    fn read_sources(&mut self) -> Option<AgentCondition> {
        let (states, asked) = &mut self.sources;
        sources_condition(&states.borrow_and_update(), asked)
    }

    async fn act(&mut self, course: &mut Course) {
        while let Some(effect) = course.core.poll_effect() {
            let core = &mut course.core;
            match effect {
                // The write waits for the disk, and with it the whole agent: a host whose disk
                // hangs is not one that works.
                Effect::WriteLedger(record) => {
                    let written = self.ledger.write(&record).map_err(|error| chain(&error));
                    core.on_ledger_written(written, now());
                    self.publish(core);
                }
                Effect::ReadLedger => {
                    core.on_ledger_read(self.ledger.load(), now());
                    self.publish(core);
                }
                Effect::EnsureFirewall(goal) => {
                    let outcome = self.firewall.ensure(&goal).await;
                    core.on_firewall_ensured(&goal, &outcome, now());
                }
                Effect::LookAtFirewall => {
                    let is_active = self.firewall.is_active().await.ok();
                    core.on_firewall_looked_at(is_active, now());
                }
                Effect::EnsureFiles(paths) => {
                    let outcome = self.files.ensure(paths).await;
                    core.on_files_ensured(outcome.as_ref(), now());
                }
                Effect::Probe(id) => self.begin_probe(course, id),
                Effect::Report(status) => self.statuses.push(status),
                Effect::Note(note) => self.tell(note),
            }
        }
    }

    fn publish(&self, core: &Core) {
        let record = core.record().ok().cloned().map(Arc::new);
        self.record.send_replace(record);
    }

    fn begin_probe(&self, course: &mut Course, id: ProbeId) {
        course.probes.abort_all();
        let probe = Arc::clone(&self.probe);
        course
            .probes
            .spawn(async move { (id, probe.probe().await) });
    }

    fn tell(&self, note: Note) {
        match note {
            Note::Accepted(generation) => {
                tracing::info!(%generation, "accepted a desired document");
            }
            Note::Known(generation) => tracing::debug!(%generation, "the document is known"),
            Note::Refused { generation, reason } => {
                // A hash is the daemon's text.
                let text = printable(&reason, MAX_REASON_BYTES);
                tracing::error!(%generation, error = %text, "a desired document was not accepted");
                self.events
                    .push(AgentNote::DocumentRefused { reason: text }.into_event());
            }
            Note::FirewallChanged {
                back_end,
                change,
                actor,
                tampering,
            } => {
                let event = change_event(back_end, change, actor.as_ref(), tampering.as_deref());
                tracing::info!(message = &*event.message, "the firewall changed");
                self.events.push(event);
            }
            Note::OnTrial(generation) => {
                tracing::info!(%generation, "the firewall is in force until it is confirmed");
            }
            Note::Confirmed(generation) => tracing::info!(%generation, "confirmed the firewall"),
            Note::RolledBack { generation, why } => {
                tracing::error!(%generation, why, "rolled back the firewall");
            }
            Note::NotSaved { reason } => {
                tracing::error!(
                    error = reason,
                    "the ledger could not be written; trying again"
                );
            }
        }
    }
}

/// What the agent did to the firewall, as an event of the program that filters.
fn change_event(
    back_end: BackEnd,
    change: FirewallChange,
    actor: Option<&Actor>,
    tampering: Option<&str>,
) -> LogEvent<'static> {
    let (what, were, table) = match back_end {
        BackEnd::Nftables => (
            "the firewall table",
            "the firewall table was",
            format!("{TABLE_FAMILY} {TABLE_NAME}"),
        ),
        BackEnd::Ufw => (
            "the rules in ufw",
            "the rules in ufw were",
            "ufw".to_owned(),
        ),
    };
    let (action, message) = match change {
        FirewallChange::Loaded => ("loaded", format!("{were} loaded")),
        FirewallChange::Repaired => {
            let who = who(actor);
            let did = tampering.map_or_else(|| format!("changed {what}"), str::to_owned);
            (
                "repaired",
                format!("{who} {did}, and the agent put it back"),
            )
        }
        FirewallChange::Adjusted => ("adjusted", format!("{were} changed to what is desired")),
        FirewallChange::Removed => ("removed", format!("{were} removed")),
    };
    let mut fields = Fields::default();
    fields.push("action", action);
    if let Some(actor) = actor {
        fields.push("actor", actor.name.clone());
        fields.push("actor_pid", i64::from(actor.process));
    }
    fields.push("table", table);
    LogEvent {
        timestamp: clock::now().into(),
        kind: EventKind::Firewall,
        service: back_end.name().into(),
        message: message.into(),
        fields,
    }
}

impl Course {
    fn on_wake(&mut self, wake: Wake) {
        let core = &mut self.core;
        match wake {
            Wake::Document(document) => core.on_document(document, now()),
            Wake::FirewallChanged(drift) => core.on_firewall_changed(drift.actor, now()),
            Wake::FilesChanged => core.on_files_changed(now()),
            Wake::SourcesTold(condition) => core.on_sources_told(condition, now()),
            Wake::RetirementTold(retirement) => core.on_retirement_told(retirement, now()),
            Wake::Probed(id, result) => core.on_probed(id, result, now()),
            Wake::Tick => core.on_tick(now()),
            Wake::Link(session) => {
                // Between two sessions the link was down, even if nobody looked then.
                if self.session.is_some() {
                    core.on_link_down(now());
                }
                if session.is_some() {
                    core.on_link_up(now());
                }
                self.session = session;
            }
        }
    }
}

/// Waits for a probe to end; nothing is lost when the wait is abandoned.
async fn next_probed(
    probes: &mut JoinSet<(ProbeId, Result<(), String>)>,
) -> (ProbeId, Result<(), String>) {
    while let Some(ended) = probes.join_next().await {
        // One that was ended for a newer one has nothing to say.
        if let Ok(probed) = ended {
            return probed;
        }
    }
    std::future::pending().await
}

fn log_ledger(ledger: &Result<LedgerRecord, NoDocument>) {
    match ledger {
        Ok(held) => tracing::info!(generation = %held.accepted.generation, "read the ledger"),
        Err(NoDocument::NotReceived) => {
            tracing::info!("this host is left as it is until the first desired state comes");
        }
        Err(absence) => tracing::error!(
            error = chain(absence),
            "this host is left as it is, for there is no desired state"
        ),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod change_tests {
    use super::*;

    #[test]
    fn a_change_is_told_of_the_program_that_filters() {
        let told = |back_end, change| {
            let event = change_event(back_end, change, None, None);
            (event.service.to_string(), event.message.to_string())
        };
        let pair = |service: &str, message: &str| (service.to_owned(), message.to_owned());

        let (nftables, ufw) = (BackEnd::Nftables, BackEnd::Ufw);
        let loaded = told(nftables, FirewallChange::Loaded);
        assert_eq!(loaded, pair("nftables", "the firewall table was loaded"));
        let removed = told(ufw, FirewallChange::Removed);
        assert_eq!(removed, pair("ufw", "the rules in ufw were removed"));
        let (service, message) = told(ufw, FirewallChange::Repaired);
        assert_eq!(service, "ufw");
        assert!(message.contains("changed the rules in ufw"), "{message}");
    }
}
