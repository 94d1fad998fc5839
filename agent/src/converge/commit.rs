//! Commit-confirm: a firewall that cuts the host off from its daemon is undone by the agent alone.
//! It looks at nothing: what is in force, whether the daemon was reached and the time are told.
//!
//! A new firewall is in force on trial. A fresh connection that the daemon answered, while the link
//! is up, confirms it; without that the one that was confirmed last is put back when the time is
//! over, and the new one gets another trial when the link has been up for a while.

use std::time::{Duration, Instant};

use super::effect::ProbeId;
use crate::ledger::LedgerRecord;

/// The link has to be up for so long before a firewall that was rolled back gets another trial.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// No trial is put off for longer: each costs the host its link for the time of a trial.
const LONGEST_RETRY: Duration = Duration::from_secs(60 * 60);

/// The pause after a probe that failed.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Whether what was last read back is what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Force {
    /// It is.
    Reached,
    /// It is not, and nothing was changed.
    Missed,
    /// It failed, but may have changed something.
    Unclear,
}

/// Where the firewall of the accepted document stands.
#[derive(Debug)]
pub(super) struct Commit {
    /// How long a trial lasts; none where the agent changes no firewall.
    within: Option<Duration>,
    phase: Phase,
    link_up_since: Option<Instant>,
    n_probes: u64,
}

#[derive(Debug)]
enum Phase {
    /// It is confirmed, or needs no confirmation.
    Settled,
    /// It is in force on trial.
    Trying(Trying),
    /// What was confirmed last is in force instead.
    Waiting {
        since: Instant,
        attempts: u32,
        why: String,
    },
    /// What was tried for an earlier document is undone before the table is left alone.
    Undoing,
}

#[derive(Debug)]
struct Trying {
    /// When it is rolled back; none while nothing of it is in force.
    deadline: Option<Instant>,
    /// Whether it was in force at all: what takes long to be made so has all its time from then on.
    was_in_force: bool,
    probe: Probe,
    /// Why the last probe failed.
    failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Probe {
    DueAt(Instant),
    Running(ProbeId),
    Succeeded,
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Ask for a probe.
    Probe(ProbeId),
    /// The firewall on trial is confirmed.
    Confirm,
    /// It is not; put back what was confirmed last.
    RollBack(String),
    /// Begin a trial.
    Try,
    /// What was tried is undone.
    Undone,
}

/// How a facet that is not settled is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing<'c> {
    /// As it was read back.
    AsReadBack,
    /// In force, and not confirmed yet.
    OnTrial,
    /// Rolled back.
    RolledBack {
        /// Why.
        why: &'c str,
        /// How long the link has to be up before the next trial.
        wait: Duration,
    },
    /// Never tried yet.
    Untried,
}

impl Commit {
    /// A firewall that needs no confirmation so far.
    pub(super) const fn new(within: Option<Duration>) -> Self {
        Self {
            within,
            phase: Phase::Settled,
            link_up_since: None,
            n_probes: 0,
        }
    }

    /// Whether firewalls are tried at all.
    pub(super) const fn tries(&self) -> bool {
        self.within.is_some()
    }

    /// Takes up what a ledger says that was read, not written: a trial of an earlier process is
    /// over, for nobody knows how long it had lasted.
    pub(super) fn resume(&mut self, record: Option<&LedgerRecord>, now: Instant) {
        let trial = record.and_then(|record| {
            let attempts = record.trial.as_ref()?.attempts;
            Some((record.wants_trial(), attempts))
        });
        self.phase = match trial.filter(|_| self.tries()) {
            None => Phase::Settled,
            Some((true, attempts)) => Phase::Waiting {
                since: now,
                attempts,
                why: "the agent ended before it was confirmed".to_owned(),
            },
            Some((false, _)) => Phase::Undoing,
        };
    }

    /// Takes up what was just written down.
    pub(super) fn begin(&mut self, record: &LedgerRecord, now: Instant) {
        let trial = record.trial.as_ref();
        self.phase = match trial.filter(|trial| trial.attempts > 0) {
            Some(_) if record.wants_trial() => Phase::Trying(Trying {
                deadline: self.within.map(|within| now + within),
                was_in_force: false,
                probe: Probe::DueAt(now),
                failure: None,
            }),
            Some(_) => Phase::Undoing,
            None => Phase::Settled,
        };
    }

    pub(super) fn settle(&mut self) {
        self.phase = Phase::Settled;
    }

    /// Waits for the next trial after this many.
    pub(super) fn wait(&mut self, attempts: u32, why: String, now: Instant) {
        self.phase = Phase::Waiting {
            since: now,
            attempts,
            why,
        };
    }

    pub(super) fn on_link_up(&mut self, now: Instant) {
        self.link_up_since = Some(now);
    }

    pub(super) fn on_link_down(&mut self) {
        self.link_up_since = None;
    }

    /// What was on trial had to be put right: whatever was proven meanwhile was proven without it.
    pub(super) fn on_repaired(&mut self, now: Instant) {
        if let Phase::Trying(trying) = &mut self.phase {
            trying.probe = Probe::DueAt(now);
        }
    }

    /// Whether a probe succeeded that is not confirmed yet.
    pub(super) const fn is_proven(&self) -> bool {
        matches!(&self.phase, Phase::Trying(trying) if matches!(trying.probe, Probe::Succeeded))
    }

    /// Takes in what was read back of the target.
    pub(super) fn on_ensured(&mut self, before: Option<Force>, force: Force, now: Instant) {
        let Phase::Trying(trying) = &mut self.phase else {
            return;
        };
        match force {
            Force::Reached | Force::Unclear => {
                let end = self.within.map(|within| now + within);
                let running = trying.deadline.filter(|_| trying.was_in_force);
                trying.deadline = running.or(end);
                trying.was_in_force = true;
            }
            // Nothing was changed, so nothing has to be undone.
            Force::Missed if before.is_none_or(|before| before == Force::Missed) => {
                trying.deadline = None;
            }
            Force::Missed => {}
        }
    }

    pub(super) fn on_probed(&mut self, id: ProbeId, result: Result<(), String>, now: Instant) {
        let Phase::Trying(trying) = &mut self.phase else {
            return;
        };
        if trying.probe != Probe::Running(id) {
            return;
        }
        match result {
            Ok(()) => trying.probe = Probe::Succeeded,
            Err(failure) => {
                trying.probe = Probe::DueAt(now + PROBE_PAUSE);
                trying.failure = Some(failure);
            }
        }
    }

    /// Decides what comes next, given what is in force of the target; none is not known yet.
    pub(super) fn poll(&mut self, force: Option<Force>, now: Instant) -> Option<Turn> {
        let is_linked = self.link_up_since.is_some();
        match &mut self.phase {
            Phase::Settled => None,
            Phase::Undoing => (force == Some(Force::Reached)).then_some(Turn::Undone),
            Phase::Waiting { .. } => self
                .retry_at()
                .is_some_and(|at| at <= now)
                .then_some(Turn::Try),
            Phase::Trying(trying) => trying.poll(force, is_linked, now, &mut self.n_probes),
        }
    }

    /// When there may be something next without anything being told.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Settled | Phase::Undoing => None,
            Phase::Waiting { .. } => self.retry_at(),
            Phase::Trying(trying) => match trying.probe {
                Probe::DueAt(due) => trying.deadline.map(|end| end.min(due)),
                Probe::Running(_) | Probe::Succeeded => trying.deadline,
            },
        }
    }

    /// How it is told.
    pub(super) fn standing(&self) -> Standing<'_> {
        match &self.phase {
            Phase::Settled | Phase::Undoing => Standing::AsReadBack,
            Phase::Trying(_) => Standing::OnTrial,
            Phase::Waiting { attempts: 0, .. } => Standing::Untried,
            Phase::Waiting { attempts, why, .. } => Standing::RolledBack {
                why,
                wait: wait_after(*attempts),
            },
        }
    }

    /// Whether something else than the accepted firewall is enforced.
    pub(super) const fn is_restoring(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Undoing)
    }

    fn retry_at(&self) -> Option<Instant> {
        let Phase::Waiting {
            since, attempts, ..
        } = &self.phase
        else {
            return None;
        };
        let from = self.link_up_since?.max(*since);
        Some(from + wait_after(*attempts))
    }
}

impl Trying {
    fn poll(
        &mut self,
        force: Option<Force>,
        is_linked: bool,
        now: Instant,
        n_probes: &mut u64,
    ) -> Option<Turn> {
        let force = force?;
        if self.probe == Probe::Succeeded && is_linked {
            if force == Force::Reached {
                return Some(Turn::Confirm);
            }
            // Not cut off, and nothing to confirm; what is in force later is proven anew.
            self.deadline = None;
            self.probe = Probe::DueAt(now);
        }
        if self.deadline.is_some_and(|end| end <= now) {
            return Some(Turn::RollBack(self.why_not(is_linked)));
        }
        let Probe::DueAt(due) = self.probe else {
            return None;
        };
        // Without a deadline there is nothing in force that could be proven.
        if self.deadline.is_none() || due > now {
            return None;
        }
        *n_probes += 1;
        let id = ProbeId(*n_probes);
        self.probe = Probe::Running(id);
        Some(Turn::Probe(id))
    }

    fn why_not(&self, is_linked: bool) -> String {
        match (&self.failure, self.probe) {
            (_, Probe::Succeeded) if !is_linked => "the link to the daemon was down".to_owned(),
            (Some(failure), _) => failure.clone(),
            (None, _) => "the daemon did not answer a fresh connection".to_owned(),
        }
    }
}

/// How long the link has to be up after so many trials.
fn wait_after(attempts: u32) -> Duration {
    let Some(failures) = attempts.checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_the_next_trial_doubles_up_to_an_hour() {
        let waits: Vec<_> = [0, 1, 2, 3, 6, 7, 8, 40, u32::MAX]
            .map(|attempts| wait_after(attempts).as_secs())
            .into();

        assert_eq!(waits, [0, 60, 120, 240, 1_920, 3_600, 3_600, 3_600, 3_600]);
    }
}
