//! The decisions of the agent's loop: what is accepted, enforced now, confirmed, undone and told.
//! It does no I/O and tells no time; everything it knows is told to it, and `now` never goes back.
//!
//! After every call, `poll_effect` is asked until it has nothing more, each effect is done, in
//! order, and answered; `on_tick` is called when `deadline` is reached. Nothing else is needed: a
//! notification that is lost is made up for by the audit.

mod acceptance;
mod read_back;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hidps_wire::{AgentCondition, AgentId, Applied, Apply, Desired, Refused, Status};

use super::commit::{Commit, Force};
use super::effect::{Effect, Note, ProbeId};
use crate::conditions::{
    files_condition, lost_condition, vanished_condition, with_unremembered, with_who,
};
use crate::file_watch::WatchOutcome;
use crate::firewall::{Actor, FirewallGoal, FirewallOutcome};
use crate::ledger::{LedgerRecord, NoDocument, Trial};
use crate::retirement::Retirement;
use acceptance::{LEDGER_RETRY, LedgerIo, Purpose, Writing};
use read_back::{FilesView, FirewallView};

/// How often the host is compared with what is desired though nothing told of a change.
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(60);

/// What the core is told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreSettings {
    /// Whose ledger it is.
    pub agent_id: AgentId,
    /// How long a new firewall may take to be confirmed; none where the agent changes none.
    pub confirm_within: Option<Duration>,
}

/// What the record in force wants of the firewall, read once.
#[derive(Debug, Default)]
struct Goals {
    accepted: FirewallGoal,
    /// What a trial goes back to.
    confirmed: Option<FirewallGoal>,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    settings: CoreSettings,
    ledger: Result<LedgerRecord, NoDocument>,
    desired: Desired,
    refused: Refused,
    goals: Goals,
    commit: Commit,
    /// A document that waits for the ledger.
    offered: Option<Apply>,
    io: LedgerIo,
    firewall: FirewallView,
    files: FilesView,
    /// How it is with the sources of events, once they have said so.
    sources: Option<AgentCondition>,
    /// How it is with the key that a document names, or did.
    retirement: Option<Retirement>,
    /// Drifts that were repaired and are not told yet.
    repaired: Vec<AgentCondition>,
    audit_at: Instant,
    told: Option<Status>,
    owes_answer: bool,
    /// Whether anybody has desired how often the host looks at itself, so that it is told.
    tells_collection: bool,
    effects: VecDeque<Effect>,
}

impl Core {
    /// Begins with what the ledger says; the first effects compare the host with it.
    #[must_use]
    pub fn new(
        settings: CoreSettings,
        ledger: Result<LedgerRecord, NoDocument>,
        now: Instant,
    ) -> Self {
        let mut core = Self {
            settings,
            ledger: Err(NoDocument::NotReceived),
            desired: Desired::default(),
            refused: Refused::default(),
            goals: Goals::default(),
            commit: Commit::new(settings.confirm_within),
            offered: None,
            io: LedgerIo::default(),
            firewall: FirewallView::default(),
            files: FilesView::default(),
            sources: None,
            retirement: None,
            repaired: Vec::new(),
            audit_at: now + AUDIT_INTERVAL,
            told: None,
            owes_answer: false,
            tells_collection: false,
            effects: VecDeque::new(),
        };
        core.on_record(ledger, now);
        core.compare_all();
        core
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When `on_tick` has to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let others = [
            self.io.retry_at,
            self.firewall.restore_at,
            self.commit.deadline(),
        ];
        others.into_iter().flatten().fold(self.audit_at, Ord::min)
    }

    /// What the ledger holds, for hello.
    #[must_use]
    pub fn applied(&self) -> Option<Applied> {
        self.ledger.as_ref().ok().map(LedgerRecord::applied)
    }

    /// The record in force.
    ///
    /// # Errors
    /// Says why there is none.
    pub const fn record(&self) -> Result<&LedgerRecord, &NoDocument> {
        self.ledger.as_ref()
    }

    /// The daemon sent a document; a status answers it, whatever becomes of it.
    pub fn on_document(&mut self, offered: Apply, now: Instant) {
        self.owes_answer = true;
        let is_newest = self
            .offered
            .as_ref()
            .is_none_or(|waiting| waiting.generation <= offered.generation);
        if is_newest {
            self.offered = Some(offered);
        }
        if self.is_unreadable() && !self.io.is_reading {
            self.read_ledger();
        }
        self.advance(now);
    }

    /// The ledger was read again.
    pub fn on_ledger_read(&mut self, ledger: Result<LedgerRecord, NoDocument>, now: Instant) {
        self.io.is_reading = false;
        if self.is_unreadable() {
            self.on_record(ledger, now);
            self.compare_all();
        }
        // A document of the daemon is worth more than a ledger that stays unreadable.
        self.advance(now);
    }

    /// The record was written, or why not.
    pub fn on_ledger_written(&mut self, result: Result<(), String>, now: Instant) {
        let Some(Writing { record, purpose }) = self.io.writing.take() else {
            return;
        };
        if result.is_ok() {
            self.io.failure = None;
        }
        match (result, purpose) {
            (Ok(()), Purpose::Save) => {}
            (Ok(()), Purpose::Accept) => self.on_accepted(record, now),
            (Ok(()), Purpose::Try) => self.on_trial_begun(record, now),
            (Err(reason), Purpose::Save) => self.on_not_saved(reason, now),
            (Err(reason), Purpose::Accept) => self.on_not_accepted(&record, reason),
            (Err(reason), Purpose::Try) => self.on_trial_not_begun(reason, now),
        }
        self.advance(now);
    }

    /// Somebody changed the table, the agent itself included.
    pub fn on_firewall_changed(&mut self, actor: Option<Actor>, now: Instant) {
        self.firewall.actor = actor;
        self.compare_firewall();
        self.advance(now);
    }

    /// A watched path is another than it was.
    pub fn on_files_changed(&mut self, now: Instant) {
        self.compare_files();
        self.advance(now);
    }

    /// What became of an intent.
    pub fn on_firewall_ensured(
        &mut self,
        goal: &FirewallGoal,
        outcome: &FirewallOutcome,
        now: Instant,
    ) {
        let firewall = &mut self.firewall;
        firewall.n_asked = firewall.n_asked.saturating_sub(1);
        firewall.is_active = outcome.active;
        let actor = firewall.actor.take();
        if self.target() == Some(goal) {
            self.on_read_back(goal, outcome, actor, now);
        }
        self.advance(now);
    }

    /// Whether the table is loaded, on a host where nothing is known to be desired.
    pub fn on_firewall_looked_at(&mut self, is_active: Option<bool>, now: Instant) {
        self.firewall.n_asked = self.firewall.n_asked.saturating_sub(1);
        self.firewall.is_active = is_active;
        self.advance(now);
    }

    /// What became of the paths; none when the watcher did not answer.
    pub fn on_files_ensured(&mut self, outcome: Option<&WatchOutcome>, now: Instant) {
        self.files.n_asked = self.files.n_asked.saturating_sub(1);
        if self.ledger.is_ok() {
            let states = outcome.map(|outcome| &outcome.states);
            let vanished = outcome.and_then(vanished_condition);
            self.repaired.extend(vanished);
            if outcome.is_some_and(|outcome| outcome.has_lost) {
                self.repaired.push(lost_condition());
            }
            let condition = files_condition(states, &self.refused.paths);
            let who_unknown = outcome.and_then(|outcome| outcome.who_unknown.as_deref());
            let n_unremembered = outcome.map_or(0, |outcome| outcome.n_unremembered);
            let condition = with_who(condition, who_unknown);
            self.files.condition = Some(with_unremembered(condition, n_unremembered));
        }
        self.advance(now);
    }

    /// How it is with the sources of events.
    pub fn on_sources_told(&mut self, condition: Option<AgentCondition>, now: Instant) {
        self.sources = condition;
        self.advance(now);
    }

    /// How far giving up a key is.
    pub fn on_retirement_told(&mut self, retirement: Option<Retirement>, now: Instant) {
        self.retirement = retirement;
        self.advance(now);
    }

    /// The link to the daemon is up: hello and welcome were exchanged.
    pub fn on_link_up(&mut self, now: Instant) {
        self.commit.on_link_up(now);
        self.advance(now);
    }

    /// The link to the daemon is down.
    pub fn on_link_down(&mut self, now: Instant) {
        self.commit.on_link_down();
        self.advance(now);
    }

    /// Whether a fresh connection was answered by the daemon, or why not.
    pub fn on_probed(&mut self, id: ProbeId, result: Result<(), String>, now: Instant) {
        let was_proven = self.commit.is_proven();
        self.commit.on_probed(id, result, now);
        if self.commit.is_proven() && !was_proven {
            // The table may have been away while the daemon was reached.
            self.compare_firewall();
        }
        self.advance(now);
    }

    /// Time has passed.
    pub fn on_tick(&mut self, now: Instant) {
        if self.audit_at <= now {
            self.audit_at = now + AUDIT_INTERVAL;
            self.compare_all();
        }
        if self.firewall.restore_at.is_some_and(|at| at <= now) {
            self.firewall.restore_at = None;
            self.compare_firewall();
        }
        if self.io.retry_at.is_some_and(|at| at <= now) {
            self.io.retry_at = None;
            if self.is_unreadable() && !self.io.is_reading {
                self.read_ledger();
            }
        }
        self.advance(now);
    }

    /// Does what can be done now; looks only at what is so and never at what was told last.
    fn advance(&mut self, now: Instant) {
        if self.io.is_reading || self.io.writing.is_some() {
            return;
        }
        if let Some(offered) = self.offered.take() {
            self.accept(offered);
            if self.io.writing.is_some() {
                return;
            }
        }
        while let Some(turn) = self.commit.poll(self.force(), now) {
            self.on_turn(turn, now);
            if self.io.writing.is_some() {
                return;
            }
        }
        if self.io.is_unsaved && self.io.retry_at.is_none() {
            self.save();
        }
        self.report();
    }

    fn on_record(&mut self, ledger: Result<LedgerRecord, NoDocument>, now: Instant) {
        self.commit.resume(ledger.as_ref().ok(), now);
        match ledger {
            Ok(record) => self.take_up(record),
            Err(absence) => {
                self.io.retry_at = absence.is_unreadable().then(|| now + LEDGER_RETRY);
                self.ledger = Err(absence);
            }
        }
    }

    fn take_up(&mut self, record: LedgerRecord) {
        (self.desired, self.refused) = Desired::from_document(&record.accepted.document);
        self.tells_collection |= record.accepted.document.collection.is_some();
        self.goals = Goals {
            accepted: FirewallGoal::of(&self.desired),
            confirmed: record.trial.as_ref().map(Trial::goal),
        };
        self.ledger = Ok(record);
    }

    fn compare_all(&mut self) {
        self.compare_firewall();
        self.compare_files();
    }

    fn compare_firewall(&mut self) {
        let effect = self
            .target()
            .cloned()
            .map_or(Effect::LookAtFirewall, Effect::EnsureFirewall);
        self.firewall.n_asked += 1;
        self.effects.push_back(effect);
    }

    fn compare_files(&mut self) {
        // What is not known to be desired is not taken for nothing.
        if self.ledger.is_ok() {
            self.files.n_asked += 1;
            let paths = self.desired.watched.clone();
            self.effects.push_back(Effect::EnsureFiles(paths));
        }
    }

    fn read_ledger(&mut self) {
        self.io.is_reading = true;
        self.effects.push_back(Effect::ReadLedger);
    }

    fn note(&mut self, note: Note) {
        self.effects.push_back(Effect::Note(note));
    }

    /// What the firewall should be now.
    fn target(&self) -> Option<&FirewallGoal> {
        self.ledger.as_ref().ok()?;
        let confirmed = self.goals.confirmed.as_ref();
        let restored = confirmed.filter(|_| self.commit.is_restoring());
        Some(restored.unwrap_or(&self.goals.accepted))
    }

    /// What is in force of the target; none while that is not known.
    fn force(&self) -> Option<Force> {
        let seen = self.firewall.seen.as_ref()?;
        let is_known = self.firewall.n_asked == 0 && self.target() == Some(&seen.goal);
        is_known.then_some(seen.force)
    }

    fn is_unreadable(&self) -> bool {
        self.ledger.as_ref().is_err_and(NoDocument::is_unreadable)
    }
}

#[cfg(test)]
mod tests;
