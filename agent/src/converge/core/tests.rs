//! The core on a host made of a few flags and a clock that only tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hidps_wire::{
    ConditionStatus, ContentHash, DesiredDocument, FacetCondition, FirewallRuleEntry, Generation,
    WatchPath,
};

use super::*;
use crate::file_watch::{FileKind, PathState};
use crate::firewall::{FirewallChange, FirewallError, FirewallSync, InForce};
use crate::ledger::LedgerRecord;
use crate::retirement::Standing;

const WITHIN: Duration = Duration::from_secs(30);

/// When the daemon can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Always,
    Never,
    /// The table cuts the host off.
    UnlessLoaded,
    /// The table is what lets the host out.
    OnlyLoaded,
    /// A second rule cuts the host off.
    AtMostOneRule,
}

/// A host: what is on its disk, in its kernel and on its network.
struct SimHost {
    core: Core,
    now: Instant,
    started: Instant,
    disk: Option<LedgerRecord>,
    is_disk_full: bool,
    is_loaded: bool,
    /// Of the table that was loaded last.
    n_rules: usize,
    failure: Option<fn() -> FirewallError>,
    /// What somebody did, as the next change says.
    tampering: Option<String>,
    reach: Reach,
    vanished: BTreeSet<WatchPath>,
    has_lost: bool,
    statuses: Vec<Status>,
    notes: Vec<Note>,
    n_probes: usize,
    n_writes: usize,
}

impl SimHost {
    fn new() -> Self {
        let now = Instant::now();
        let mut host = Self {
            core: core(Err(NoDocument::NotReceived), now),
            now,
            started: now,
            disk: None,
            is_disk_full: false,
            is_loaded: false,
            n_rules: 0,
            failure: None,
            tampering: None,
            reach: Reach::Always,
            vanished: BTreeSet::new(),
            has_lost: false,
            statuses: Vec::new(),
            notes: Vec::new(),
            n_probes: 0,
            n_writes: 0,
        };
        host.act();
        host
    }

    /// A host that is linked and has confirmed generation 1.
    fn with_confirmed(firewall: Option<bool>) -> Self {
        let mut host = Self::new();
        host.core.on_link_up(host.now);
        host.offer(1, firewall);
        assert!(host.disk.as_ref().is_some_and(|r| r.trial.is_none()));
        host
    }

    /// SIGKILL and a new process, after a reboot with an empty kernel or without.
    fn restart(&mut self, is_reboot: bool) {
        self.is_loaded &= !is_reboot;
        let ledger = self.disk.clone().ok_or(NoDocument::NotReceived);
        self.core = core(ledger, self.now);
        self.act();
    }

    fn offer(&mut self, generation: u64, firewall: Option<bool>) {
        self.core
            .on_document(document(generation, firewall), self.now);
        self.act();
    }

    fn act(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::WriteLedger(record) => {
                let result = if self.is_disk_full {
                    Err("no space left".to_owned())
                } else {
                    self.n_writes += 1;
                    self.disk = Some(*record);
                    Ok(())
                };
                self.core.on_ledger_written(result, self.now);
            }
            Effect::ReadLedger => {
                let ledger = self.disk.clone().ok_or(NoDocument::NotReceived);
                self.core.on_ledger_read(ledger, self.now);
            }
            Effect::EnsureFirewall(goal) => {
                let outcome = self.ensure(&goal);
                self.core.on_firewall_ensured(&goal, &outcome, self.now);
            }
            Effect::LookAtFirewall => {
                self.core
                    .on_firewall_looked_at(Some(self.is_loaded), self.now);
            }
            Effect::EnsureFiles(paths) => {
                let states: BTreeMap<_, _> = paths
                    .into_keys()
                    .map(|path| (path, PathState::Watched(FileKind::File)))
                    .collect();
                let outcome = WatchOutcome {
                    states,
                    vanished: std::mem::take(&mut self.vanished),
                    has_lost: std::mem::take(&mut self.has_lost),
                    ..WatchOutcome::default()
                };
                self.core.on_files_ensured(Some(&outcome), self.now);
            }
            Effect::Probe(id) => {
                self.n_probes += 1;
                let answer = self.is_reachable().then_some(());
                let answer = answer.ok_or_else(|| "no route".to_owned());
                self.core.on_probed(id, answer, self.now);
            }
            Effect::Report(status) => self.statuses.push(status),
            Effect::Note(note) => self.notes.push(note),
        }
    }

    fn ensure(&mut self, goal: &FirewallGoal) -> FirewallOutcome {
        if let Some(failure) = self.failure {
            return outcome(None, None, FirewallSync::Failed(failure()));
        }
        let wanted = match goal {
            FirewallGoal::Unmanaged => self.is_loaded,
            FirewallGoal::On(_) => true,
            FirewallGoal::Off => false,
        };
        let n_rules = match goal {
            FirewallGoal::On(policy) => policy.rules.len(),
            FirewallGoal::Unmanaged | FirewallGoal::Off => self.n_rules,
        };
        let change = match (self.is_loaded, wanted) {
            (false, true) => Some(FirewallChange::Loaded),
            (true, false) => Some(FirewallChange::Removed),
            _ if n_rules != self.n_rules => Some(FirewallChange::Adjusted),
            _ => None,
        };
        self.is_loaded = wanted;
        self.n_rules = n_rules;
        let sync = match goal {
            FirewallGoal::Unmanaged => FirewallSync::Unmanaged,
            FirewallGoal::Off => FirewallSync::Disabled,
            FirewallGoal::On(policy) => FirewallSync::Enabled(InForce {
                policy: Arc::clone(policy),
                ..InForce::default()
            }),
        };
        FirewallOutcome {
            tampering: self.tampering.take_if(|_| change.is_some()),
            ..outcome(Some(wanted), change, sync)
        }
    }

    fn is_reachable(&self) -> bool {
        match self.reach {
            Reach::Always => true,
            Reach::Never => false,
            Reach::UnlessLoaded => !self.is_loaded,
            Reach::OnlyLoaded => self.is_loaded,
            Reach::AtMostOneRule => self.n_rules <= 1,
        }
    }

    /// Lets time pass, with every tick the core asks for.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.core.deadline() <= end {
            let due = self.core.deadline().max(self.now);
            self.now = due;
            self.core.on_tick(due);
            self.act();
            assert!(self.core.deadline() > due, "a tick does what is due");
        }
        self.now = end;
    }

    fn firewall(&self) -> (ConditionStatus, &str) {
        condition(self.statuses.last().unwrap())
    }

    fn message(&self) -> &str {
        &self.statuses.last().unwrap().conditions[0].message
    }

    fn generation(&self) -> Option<u64> {
        let applied = self.statuses.last().unwrap().applied.as_ref();
        applied.map(|applied| applied.generation.0)
    }
}

fn core(ledger: Result<LedgerRecord, NoDocument>, now: Instant) -> Core {
    let settings = CoreSettings {
        agent_id: AgentId::new(uuid::Uuid::nil()),
        confirm_within: Some(WITHIN),
    };
    Core::new(settings, ledger, now)
}

fn outcome(
    active: Option<bool>,
    change: Option<FirewallChange>,
    sync: FirewallSync,
) -> FirewallOutcome {
    FirewallOutcome {
        back_end: crate::firewall::BackEnd::Nftables,
        active,
        change,
        tampering: None,
        sync,
    }
}

fn document(generation: u64, firewall: Option<bool>) -> Apply {
    Apply {
        generation: Generation(generation),
        hash: ContentHash(format!("{generation} {firewall:?}")),
        document: DesiredDocument {
            firewall_enabled: firewall,
            monitored_files: vec!["/etc/passwd".to_owned()],
            ..DesiredDocument::default()
        },
    }
}

fn condition(status: &Status) -> (ConditionStatus, &str) {
    let firewall = &status.conditions[0];
    (firewall.status, &firewall.reason)
}

/// The same with so many rules.
fn with_rules(generation: u64, n_rules: usize) -> Apply {
    let mut apply = document(generation, Some(true));
    apply.hash = ContentHash(format!("{generation} with {n_rules}"));
    let rule = |number: usize| FirewallRuleEntry {
        id: uuid::Uuid::from_u128(number as u128),
        action: "allow".to_owned(),
        direction: "in".to_owned(),
        protocol: "any".to_owned(),
        port_from: None,
        port_to: None,
        source: None,
        destination: None,
    };
    apply.document.firewall_rules = (0..n_rules).map(rule).collect();
    apply
}

const ON: Option<bool> = Some(true);
const OFF: Option<bool> = Some(false);

#[test]
fn a_new_firewall_is_kept_exactly_if_the_daemon_is_reached_through_it() {
    // Confirmed before, new, reachable when, and what is so when the time is over.
    let check = |before, new, reach, is_loaded, reason: &str| {
        let mut host = SimHost::with_confirmed(before);
        host.reach = reach;

        host.offer(2, new);
        host.pass(WITHIN);

        let case = format!("{before:?} -> {new:?}, {reach:?}");
        assert_eq!(host.is_loaded, is_loaded, "{case}");
        assert_eq!(host.firewall().1, reason, "{case}");
        let is_true = host.firewall().0 == ConditionStatus::True;
        assert_eq!(is_true, reason != "RolledBack", "{case}");
        // The document is accepted whatever becomes of its firewall, so nobody sends it again.
        assert_eq!(host.generation(), Some(2), "{case}");
    };

    check(OFF, ON, Reach::Always, true, "Enabled");
    check(OFF, ON, Reach::UnlessLoaded, false, "RolledBack");
    check(OFF, ON, Reach::Never, false, "RolledBack");
    check(None, ON, Reach::Always, true, "Enabled");
    check(None, ON, Reach::Never, false, "RolledBack");
    check(ON, OFF, Reach::Always, false, "Disabled");
    check(ON, OFF, Reach::OnlyLoaded, true, "RolledBack");
    // What has the same effect, or none, is no risk and needs no proof.
    check(ON, ON, Reach::Never, true, "Enabled");
    check(OFF, OFF, Reach::Never, false, "Disabled");
    check(ON, None, Reach::Never, true, "Unmanaged");
    check(OFF, None, Reach::Never, false, "Unmanaged");
    check(None, OFF, Reach::Never, false, "Disabled");
}

#[test]
fn while_it_is_not_confirmed_nothing_is_claimed() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::Never;
    let n_before = host.statuses.len();

    host.offer(2, ON);
    host.pass(Duration::from_secs(600));

    let told: Vec<_> = host.statuses[n_before..].iter().map(condition).collect();
    assert_eq!(
        told.first(),
        Some(&(ConditionStatus::Unknown, "Confirming"))
    );
    assert!(
        told.iter()
            .all(|(status, _)| *status != ConditionStatus::True),
        "{told:?}"
    );
}

#[test]
fn a_rollback_says_what_why_and_when_it_is_tried_again() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::Never;

    host.offer(2, ON);
    host.pass(WITHIN);

    assert_eq!(
        host.message(),
        "the firewall of generation 2 (on) was rolled back to that of generation 1 (off): \
         no route; it is tried again when the link has been up for 60 s"
    );
    let rolled_back = Note::RolledBack {
        generation: Generation(2),
        why: "no route".to_owned(),
    };
    assert!(host.notes.contains(&rolled_back), "{:?}", host.notes);
}

#[test]
fn the_watched_files_of_a_rolled_back_document_stay_applied() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::Never;

    host.offer(2, ON);
    host.pass(WITHIN);

    let files = &host.statuses.last().unwrap().conditions[1];
    assert_eq!(files.reason, "AllWatched");
}

#[test]
fn a_probe_proves_nothing_while_the_link_is_down() {
    let mut host = SimHost::with_confirmed(OFF);
    host.core.on_link_down(host.now);

    host.offer(2, ON);
    let on_trial = host.firewall().1.to_owned();
    host.pass(WITHIN);

    assert_eq!(on_trial, "Confirming");
    assert_eq!(host.firewall().1, "RolledBack");
    assert!(host.message().contains("the link to the daemon was down"));
}

#[test]
fn a_link_that_comes_back_within_the_time_confirms() {
    let mut host = SimHost::with_confirmed(OFF);
    host.core.on_link_down(host.now);
    host.offer(2, ON);

    host.pass(WITHIN / 2);
    host.core.on_link_up(host.now);
    host.act();

    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
    assert_eq!(host.disk.as_ref().unwrap().trial, None);
}

#[test]
fn it_is_tried_again_when_the_link_has_been_up_and_ever_more_rarely() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::UnlessLoaded;
    host.offer(2, ON);
    let mut tried_at = Vec::new();

    for _ in 0..12 * 3_600 {
        let n_before = host.notes.len();
        host.pass(Duration::from_secs(1));
        if host.notes[n_before..].contains(&Note::OnTrial(Generation(2))) {
            tried_at.push((host.now - host.started).as_secs());
        }
    }

    let gaps: Vec<_> = tried_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Each trial takes its 30 s before the next wait begins.
    assert_eq!(tried_at[0], 90);
    assert_eq!(gaps[..7], [150, 270, 510, 990, 1_950, 3_630, 3_630]);
    assert!(!host.is_loaded);
}

#[test]
fn the_wait_begins_anew_with_every_link() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::Never;
    host.offer(2, ON);
    host.pass(WITHIN);
    host.reach = Reach::Always;

    for _ in 0..10 {
        host.pass(Duration::from_secs(59));
        host.core.on_link_down(host.now);
        host.core.on_link_up(host.now);
        host.act();
    }
    let while_it_flaps = host.is_loaded;
    host.pass(Duration::from_secs(60));

    assert!(!while_it_flaps);
    assert!(host.is_loaded);
    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
}

#[test]
fn a_new_generation_is_tried_at_once() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::Never;
    host.offer(2, ON);
    host.pass(WITHIN);
    host.reach = Reach::Always;

    host.offer(3, ON);

    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
    assert_eq!(host.generation(), Some(3));
}

#[test]
fn a_document_that_wants_what_is_in_force_again_ends_the_trial() {
    for is_over in [false, true] {
        let mut host = SimHost::with_confirmed(OFF);
        host.reach = Reach::Never;
        host.offer(2, ON);
        host.pass(if is_over { WITHIN } else { WITHIN / 2 });

        host.offer(3, OFF);

        assert_eq!(host.firewall(), (ConditionStatus::True, "Disabled"));
        assert!(!host.is_loaded);
        assert_eq!(host.disk.as_ref().unwrap().trial, None);
    }
}

#[test]
fn what_was_tried_is_undone_before_the_table_is_left_alone() {
    for is_killed in [false, true] {
        let mut host = SimHost::with_confirmed(None);
        host.reach = Reach::UnlessLoaded;
        host.offer(2, ON);
        assert!(host.is_loaded);
        // The disk of a host that is killed here has accepted, and nothing was undone yet.
        if is_killed {
            host.core.on_document(document(3, None), host.now);
            let write = host.core.poll_effect().unwrap();
            host.perform(write);
            host.restart(false);
        } else {
            host.offer(3, None);
        }

        assert!(!host.is_loaded);
        assert_eq!(host.firewall(), (ConditionStatus::True, "Unmanaged"));
        assert_eq!(host.disk.as_ref().unwrap().trial, None);
    }
}

#[test]
fn an_agent_killed_within_the_time_begins_with_what_was_confirmed() {
    for is_reboot in [false, true] {
        let mut host = SimHost::with_confirmed(OFF);
        host.reach = Reach::UnlessLoaded;
        host.offer(2, ON);
        host.pass(WITHIN / 2);
        assert!(host.is_loaded);

        host.restart(is_reboot);

        assert!(!host.is_loaded, "it is put back at once");
        assert_eq!(host.firewall(), (ConditionStatus::False, "RolledBack"));
        assert_eq!(host.generation(), Some(2));
        assert!(
            host.message()
                .contains("the agent ended before it was confirmed")
        );
        // It is not tried before the link has been up for a while.
        host.pass(Duration::from_secs(600));
        assert!(!host.is_loaded);
        host.reach = Reach::Always;
        host.core.on_link_up(host.now);
        host.pass(Duration::from_secs(60));
        assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
    }
}

#[test]
fn an_agent_that_is_killed_in_every_trial_waits_ever_longer() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::UnlessLoaded;
    host.offer(2, ON);
    host.restart(false);
    host.core.on_link_up(host.now);
    host.pass(Duration::from_secs(60));
    assert!(host.is_loaded, "the second trial");
    host.restart(true);
    host.core.on_link_up(host.now);

    host.pass(Duration::from_secs(119));
    let before = host.is_loaded;
    host.pass(Duration::from_secs(1));

    assert_eq!((before, host.is_loaded), (false, true));
}

#[test]
fn a_confirmed_firewall_is_in_force_after_a_reboot_without_a_daemon() {
    let mut host = SimHost::with_confirmed(ON);
    host.reach = Reach::Never;

    host.restart(true);
    host.pass(Duration::from_secs(86_400));

    assert!(host.is_loaded);
    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
}

#[test]
fn an_old_proof_is_no_proof_of_a_new_firewall() {
    let mut host = SimHost::with_confirmed(OFF);
    host.core.on_document(document(2, ON), host.now);
    let mut stale = None;
    while let Some(effect) = host.core.poll_effect() {
        if let Effect::Probe(id) = effect {
            stale = Some(id);
        } else {
            host.perform(effect);
        }
    }
    host.reach = Reach::UnlessLoaded;
    host.offer(3, ON);

    host.core.on_probed(stale.unwrap(), Ok(()), host.now);
    host.act();

    assert_eq!(host.firewall().1, "Confirming");
    host.pass(WITHIN);
    assert_eq!(host.firewall().1, "RolledBack");
}

#[test]
fn a_firewall_that_cannot_be_applied_is_not_rolled_back_and_tried_at_every_audit() {
    let mut host = SimHost::with_confirmed(OFF);
    host.failure = Some(|| FirewallError::Missing);
    host.offer(2, ON);
    host.pass(WITHIN * 2);
    let missing = host.firewall().1.to_owned();

    host.failure = None;
    host.pass(AUDIT_INTERVAL);

    assert_eq!(missing, "NftMissing");
    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
}

#[test]
fn a_firewall_that_failed_and_may_be_in_force_is_rolled_back_all_the_same() {
    let mut host = SimHost::with_confirmed(OFF);
    host.failure = Some(|| FirewallError::Deadline);
    host.reach = Reach::Never;
    host.offer(2, ON);
    // It was loaded before nft hung.
    host.is_loaded = true;
    host.pass(WITHIN);
    let failed = host.firewall();
    assert_eq!(failed, (ConditionStatus::False, "NftFailed"));
    assert!(host.message().contains("was rolled back"));
    assert!(
        host.message()
            .contains("but that failed: nft did not answer")
    );

    host.failure = None;
    host.pass(Duration::from_secs(2));

    assert!(!host.is_loaded, "putting back is not left to the audit");
    assert_eq!(host.firewall().1, "RolledBack");
}

#[test]
fn a_trial_that_cannot_be_written_down_does_not_begin() {
    let mut host = SimHost::with_confirmed(OFF);
    host.is_disk_full = true;

    host.offer(2, ON);

    assert!(!host.is_loaded);
    assert_eq!(host.generation(), Some(1));
    assert!(matches!(host.notes.last(), Some(Note::Refused { .. })));
    host.is_disk_full = false;
    host.reach = Reach::Never;
    host.offer(2, ON);
    host.pass(WITHIN);
    host.is_disk_full = true;
    host.pass(Duration::from_secs(60));
    assert!(!host.is_loaded, "nor does the next one");
    assert_eq!(host.firewall().1, "RolledBack");
    host.is_disk_full = false;
    host.reach = Reach::Always;
    host.pass(Duration::from_secs(60));
    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
}

#[test]
fn a_confirmation_is_written_down_as_soon_as_the_disk_allows() {
    let mut host = SimHost::with_confirmed(OFF);
    host.core.on_link_down(host.now);
    host.offer(2, ON);
    host.is_disk_full = true;
    host.core.on_link_up(host.now);
    host.act();
    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
    assert!(host.disk.as_ref().unwrap().trial.is_some());

    host.is_disk_full = false;
    host.pass(LEDGER_RETRY);

    assert_eq!(host.disk.as_ref().unwrap().trial, None);
}

#[test]
fn drift_is_told_as_it_was_and_as_it_is_again() {
    let mut host = SimHost::with_confirmed(ON);
    let n_before = host.statuses.len();

    host.is_loaded = false;
    let actor = Actor {
        process: 77,
        name: "nft".to_owned(),
    };
    host.core.on_firewall_changed(Some(actor), host.now);
    host.act();

    let told: Vec<_> = host.statuses[n_before..].iter().map(condition).collect();
    assert_eq!(
        told,
        [
            (ConditionStatus::False, "Drifted"),
            (ConditionStatus::True, "Enabled")
        ]
    );
    let message = &host.statuses[n_before].conditions[0].message;
    assert!(message.starts_with("nft (process 77) "), "{message}");
    assert!(host.is_loaded);
}

#[test]
fn drift_whose_repair_fails_at_first_is_told_by_the_repair_that_succeeds() {
    let mut host = SimHost::with_confirmed(ON);
    host.is_loaded = false;
    host.tampering = Some("deleted the firewall table".to_owned());
    host.failure = Some(|| FirewallError::Deadline);
    host.pass(AUDIT_INTERVAL);
    assert_ne!(host.firewall().0, ConditionStatus::True);
    let n_before = host.statuses.len();

    host.failure = None;
    host.pass(AUDIT_INTERVAL);

    let told: Vec<_> = host.statuses[n_before..].iter().map(condition).collect();
    assert_eq!(
        told,
        [
            (ConditionStatus::False, "Drifted"),
            (ConditionStatus::True, "Enabled")
        ]
    );
    let message = &host.statuses[n_before].conditions[0].message;
    assert!(message.contains("deleted the firewall table"), "{message}");
}

#[test]
fn drift_that_nobody_tells_is_found_by_the_audit() {
    let mut host = SimHost::with_confirmed(ON);
    let n_before = host.statuses.len();

    host.is_loaded = false;
    host.pass(AUDIT_INTERVAL);

    assert!(host.is_loaded);
    let told: Vec<_> = host.statuses[n_before..].iter().map(condition).collect();
    assert_eq!(told[0], (ConditionStatus::False, "Drifted"));
    assert_eq!(told[1], (ConditionStatus::True, "Enabled"));
}

#[test]
fn a_path_that_was_gone_is_told_as_it_was_and_as_it_is_again() {
    let mut host = SimHost::with_confirmed(None);
    let n_before = host.statuses.len();

    host.vanished = [WatchPath::parse("/etc/passwd").unwrap()].into();
    host.core.on_files_changed(host.now);
    host.act();

    let told: Vec<_> = host.statuses[n_before..]
        .iter()
        .map(|status| (status.conditions[1].status, &*status.conditions[1].reason))
        .collect();
    assert_eq!(
        told,
        [
            (ConditionStatus::False, "PathMissing"),
            (ConditionStatus::True, "AllWatched")
        ]
    );
}

#[test]
fn lost_events_of_files_are_told_though_all_is_watched_again() {
    let mut host = SimHost::with_confirmed(None);
    let n_before = host.statuses.len();

    host.has_lost = true;
    host.core.on_files_changed(host.now);
    host.act();

    let told: Vec<_> = host.statuses[n_before..]
        .iter()
        .map(|status| &*status.conditions[1].reason)
        .collect();
    assert_eq!(told, ["EventsLost", "AllWatched"]);
}

#[test]
fn a_key_that_is_to_be_given_up_is_told_as_what_became_of_that_very_key() {
    let mut host = SimHost::with_confirmed(None);
    let mut naming = |generation, key: &str| {
        let mut named = document(generation, None);
        named.document.retired_key = Some(key.to_owned());
        host.core.on_document(named, host.now);
        host.act();
        let of_key = told_of_key(&host);
        let told = Retirement {
            key: key.to_owned(),
            standing: Standing::Done,
        };
        host.core.on_retirement_told(Some(told), host.now);
        host.act();
        (of_key, told_of_key(&host))
    };

    let (first, first_done) = naming(2, "first");
    let (second, second_done) = naming(3, "second");

    assert_eq!((&*first, &*first_done), ("Waiting", "Rotated"));
    // What was done for the first says nothing of the second.
    assert_eq!((&*second, &*second_done), ("Waiting", "Rotated"));
    host.offer(4, None);
    let facets = &host.statuses.last().unwrap().conditions;
    assert!(facets.iter().all(|c| c.facet != FacetCondition::KeyRotated));
}

fn told_of_key(host: &SimHost) -> String {
    let conditions = &host.statuses.last().unwrap().conditions;
    let found = conditions
        .iter()
        .find(|c| c.facet == FacetCondition::KeyRotated);
    found.expect("it is told").reason.clone()
}

#[test]
fn a_table_that_was_away_during_the_proof_has_to_be_proven_anew() {
    let mut host = SimHost::with_confirmed(OFF);
    host.reach = Reach::UnlessLoaded;
    host.core.on_document(document(2, ON), host.now);
    while let Some(effect) = host.core.poll_effect() {
        // Somebody takes the table away just before the daemon is asked.
        host.is_loaded &= !matches!(effect, Effect::Probe(_)) || host.n_probes > 0;
        host.perform(effect);
    }

    assert_eq!(host.firewall().1, "Confirming");
    host.pass(WITHIN);
    assert_eq!(host.firewall().1, "RolledBack");
}

#[test]
fn the_first_load_after_a_reboot_is_no_drift() {
    let mut host = SimHost::with_confirmed(ON);
    let n_before = host.statuses.len();

    host.restart(true);

    let told: Vec<_> = host.statuses[n_before..].iter().map(condition).collect();
    assert_eq!(told, [(ConditionStatus::True, "Enabled")]);
}

#[test]
fn a_document_that_comes_while_another_is_written_waits_and_the_newest_wins() {
    let mut host = SimHost::with_confirmed(OFF);
    host.core.on_document(document(2, OFF), host.now);
    let write = host.core.poll_effect().unwrap();
    host.core.on_document(document(4, OFF), host.now);
    host.core.on_document(document(3, OFF), host.now);
    assert_eq!(host.core.poll_effect(), None);

    host.perform(write);
    host.act();

    assert_eq!(host.generation(), Some(4));
}

#[test]
fn an_unreadable_ledger_is_read_again_before_a_document_is_judged() {
    let unreadable = || {
        NoDocument::Unreadable(crate::state_dir::StateError::InUse {
            path: "/state".into(),
        })
    };
    let mut host = SimHost::with_confirmed(OFF);
    host.offer(5, OFF);
    host.core = core(Err(unreadable()), host.now);

    host.offer(4, ON);

    // What is on the disk is newer than what is offered.
    assert_eq!(host.generation(), Some(5));
    assert!(matches!(host.notes.last(), Some(Note::Refused { .. })));
}

#[test]
fn where_nothing_is_confirmed_a_document_is_simply_applied() {
    let mut host = SimHost::with_confirmed(OFF);
    let settings = CoreSettings {
        confirm_within: None,
        ..host.core.settings
    };
    host.core = Core::new(settings, Ok(host.disk.clone().unwrap()), host.now);
    host.reach = Reach::Never;

    host.offer(2, ON);
    host.pass(Duration::from_secs(600));

    assert_eq!((host.n_probes, host.is_loaded), (0, true));
    // An agent that is told to manage the firewall later puts it on trial first.
    host.core = core(Ok(host.disk.clone().unwrap()), host.now);
    host.act();
    assert!(!host.is_loaded);
    assert!(host.message().contains("was never in force"));
    host.reach = Reach::Always;
    host.core.on_link_up(host.now);
    host.act();
    assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
}

#[test]
fn other_rules_are_on_trial_and_go_back_to_the_confirmed_ones() {
    let check = |reach, n_rules, reason: &str| {
        let mut host = SimHost::with_confirmed(ON);
        host.core.on_document(with_rules(2, 1), host.now);
        host.act();
        assert_eq!(host.firewall(), (ConditionStatus::True, "Enabled"));
        assert!(host.disk.as_ref().is_some_and(|r| r.trial.is_none()));
        host.reach = reach;

        host.core.on_document(with_rules(3, 2), host.now);
        host.act();
        host.pass(WITHIN);

        assert_eq!(
            (host.n_rules, host.firewall().1),
            (n_rules, reason),
            "{reach:?}"
        );
        assert_eq!(host.generation(), Some(3));
        host.restart(false);
        assert_eq!(host.n_rules, n_rules, "after a restart, {reach:?}");
    };

    check(Reach::Always, 2, "Enabled");
    check(Reach::AtMostOneRule, 1, "RolledBack");
}

#[test]
fn the_confirmed_rules_again_need_no_trial() {
    let mut host = SimHost::with_confirmed(ON);
    host.core.on_document(with_rules(2, 1), host.now);
    host.act();
    host.reach = Reach::AtMostOneRule;
    host.core.on_document(with_rules(3, 2), host.now);
    host.act();
    let n_probes = host.n_probes;

    host.core.on_document(with_rules(4, 1), host.now);
    host.act();

    assert_eq!((host.n_rules, host.firewall().1), (1, "Enabled"));
    assert_eq!(host.n_probes, n_probes, "nothing has to be proven");
    assert!(
        host.disk
            .as_ref()
            .is_some_and(|record| record.trial.is_none())
    );
}

#[test]
fn a_table_that_follows_the_daemon_is_no_tampering() {
    let mut host = SimHost::with_confirmed(ON);
    let before = host.statuses.len();
    host.n_rules = 5;

    host.pass(AUDIT_INTERVAL);

    assert_eq!(host.n_rules, 0);
    let drifted = host.statuses[before..]
        .iter()
        .any(|it| condition(it).1 == "Drifted");
    assert!(!drifted, "{:?}", host.statuses);
}

#[test]
fn a_document_that_cannot_be_written_down_is_a_condition_until_one_can() {
    let mut host = SimHost::with_confirmed(None);
    let stored = |host: &SimHost| {
        let conditions = &host.statuses.last().unwrap().conditions;
        let facet = FacetCondition::DocumentStored;
        let found = conditions.iter().find(|c| c.facet == facet)?;
        Some((found.status, found.reason.clone(), found.message.clone()))
    };
    assert_eq!(stored(&host), None, "nobody asks before it fails");

    host.is_disk_full = true;
    host.offer(2, None);
    let failed = stored(&host).unwrap();
    host.is_disk_full = false;
    host.offer(2, None);
    let mended = stored(&host).unwrap();

    assert_eq!(
        (failed.0, &*failed.1),
        (ConditionStatus::False, "NotWritten")
    );
    assert!(
        failed
            .2
            .starts_with("generation 2 could not be written down"),
        "{}",
        failed.2
    );
    assert_eq!((mended.0, &*mended.1), (ConditionStatus::True, "Stored"));
}
