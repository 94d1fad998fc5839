//! What must be true: at every step of commands, ledgers and reports, and of everything once the
//! faults are over. It knows the rows and the hosts, and no state machine's mind.

use std::collections::BTreeMap;

use hidps::model::ConditionKind;
use hidps_agent::ledger::LedgerRecord;
use hidps_wire::{
    AgentId, Apply, ConditionStatus, Desired, FacetCondition, FirewallIntent, Status,
};

use crate::rows::hash_of;
use crate::time::Millis;
use crate::world::World;

/// What happens unseen is found by the agent's audit within this time.
const AUDITED: Millis = 62_000;

/// What is remembered of each host's ledger, and when somebody last changed the host unseen.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    highest: BTreeMap<usize, u64>,
    tampered_at: BTreeMap<usize, Option<Millis>>,
}

impl Ledgers {
    /// Takes note of what is on a disk; says if it went back.
    pub(crate) fn note(&mut self, host: usize, disk: Option<&LedgerRecord>) -> Option<String> {
        let generation = disk.map_or(0, |record| record.accepted.generation.0);
        let highest = self.highest.entry(host).or_default();
        if generation < *highest {
            return Some(format!(
                "the ledger of host {host} went back from generation {highest} to {generation}"
            ));
        }
        *highest = generation;
        None
    }

    /// A ledger was lost; whatever comes next is its first.
    pub(crate) fn forget(&mut self, host: usize) {
        self.highest.remove(&host);
    }

    /// Somebody changed a host; when is filled in at the next look.
    pub(crate) fn tamper(&mut self, host: usize) {
        self.tampered_at.insert(host, None);
    }

    fn is_settled(&mut self, host: usize, now: Millis) -> bool {
        match self.tampered_at.get_mut(&host) {
            None => true,
            Some(at) => now > *at.get_or_insert(now) + AUDITED,
        }
    }
}

impl World {
    /// A command carries a document there was, and never one that is held.
    pub(crate) fn check_command(&mut self, number: u64, agent: AgentId, apply: &Apply) {
        let content = hash_of(&apply.document);
        let key = (agent, apply.generation.0, content.clone());
        if apply.hash.0 != content || !self.rows.history.contains(&key) {
            self.fail(format!(
                "a document was sent that there never was: {apply:?}"
            ));
        }
        if self.rows.held.contains(&key) {
            self.fail(format!("a document was sent that is held: {apply:?}"));
        }
        self.check_removal(number, agent, apply);
    }

    /// A command that is not released leaves at least half of what the agent said it has.
    fn check_removal(&mut self, number: u64, agent: AgentId, apply: &Apply) {
        let is_released =
            self.rows
                .released
                .contains(&(agent, apply.generation.0, apply.hash.0.clone()));
        let link = self
            .daemon
            .as_ref()
            .and_then(|daemon| daemon.links.get(&number));
        let told = link.and_then(|link| link.told);
        let remaining = apply.document.entries();
        if !is_released && told.is_some_and(|told| told >= 5 && remaining * 2 < told) {
            self.fail(format!(
                "most of {told:?} things would go without a release: {apply:?}"
            ));
        }
    }

    /// A report claims no more than is so on the host.
    pub(crate) fn check_report(&mut self, host: usize, status: &Status) {
        let now = self.agenda.now();
        if !self.ledgers.is_settled(host, now) {
            return;
        }
        let machine = &self.hosts[host].machine;
        let accepted = machine.disk.as_ref().map(|record| &record.accepted);
        let Some(accepted) = accepted else {
            let claims = status
                .conditions
                .iter()
                .any(|it| it.status == ConditionStatus::True);
            if claims || status.applied.is_some() {
                self.fail(format!("host {host} claims without a document: {status:?}"));
            }
            return;
        };
        let (desired, _) = Desired::from_document(&accepted.document);
        let is_on = desired.firewall == FirewallIntent::On;
        let is_off = desired.firewall == FirewallIntent::Off;
        let has_other_rules = *machine.policy != desired.policy;
        let is_otherwise = is_on
            && (!machine.is_loaded || has_other_rules || machine.loses_with(&desired.policy))
            || is_off && machine.is_loaded;
        let watched = self.hosts[host].process.as_ref().map(|it| &it.watched);
        let files_are_so = watched == Some(&desired.watched)
            && desired
                .watched
                .keys()
                .all(|path| machine.existing.contains(path));
        let says = |facet| {
            let found = status.conditions.iter().find(|it| it.facet == facet);
            found.is_some_and(|it| it.status == ConditionStatus::True)
        };
        let generation = status.applied.as_ref().map(|applied| applied.generation);
        let lies = says(FacetCondition::FirewallSynced) && is_otherwise
            || says(FacetCondition::FilesWatched) && !files_are_so
            || generation != Some(accepted.generation);
        if lies {
            self.fail(format!("host {host} claims more than is so: {status:?}"));
        }
    }

    /// Commands are no more than changes, retries and connects.
    pub(crate) fn check_counts(&mut self) {
        for number in 0..self.plan.n_agents {
            let agent = self.agent(number);
            let of = |counts: &BTreeMap<AgentId, u64>| counts.get(&agent).copied().unwrap_or(0);
            let sent = of(&self.counts.commands);
            let allowed =
                of(&self.rows.n_changes) + of(&self.counts.retries) + of(&self.counts.connects);
            if sent > allowed {
                self.fail(format!(
                    "{sent} commands went to agent {number}, not {allowed}"
                ));
            }
        }
    }

    /// Whether a firewall is on trial anywhere.
    pub(crate) fn has_trials(&self) -> bool {
        let hosts = &self.hosts[..self.plan.n_agents];
        hosts.iter().any(|host| {
            let record = host.machine.disk.as_ref();
            record.is_some_and(|record| record.trial.is_some())
        })
    }

    /// What keeps the world from being converged; none when it is.
    pub(crate) fn unsettled(&self) -> Option<String> {
        (0..self.plan.n_agents).find_map(|number| self.unsettled_agent(number))
    }

    fn unsettled_agent(&self, number: usize) -> Option<String> {
        let host = &self.hosts[number];
        let row = &self.rows.desired[&host.agent];
        let (desired, _) = Desired::from_document(&row.document);
        let is_lost = host.machine.loses_with(&desired.policy);
        if is_lost && desired.firewall == FirewallIntent::On {
            // Such a host is never converged and must never be shown so.
            let condition = (host.agent, ConditionKind::FirewallSynced);
            return self
                .rows
                .conditions
                .get(&condition)
                .filter(|it| it.status == ConditionStatus::True)
                .filter(|it| it.observed_generation.map(|g| g.0) == Some(row.generation))
                .map(|it| format!("agent {number} is shown as converged, and is cut off: {it:?}"));
        }
        let content = hash_of(&row.document);
        let disk = host.machine.disk.as_ref();
        let accepted = disk.map(|record| &record.accepted);
        let is_accepted =
            accepted.is_some_and(|it| it.generation.0 == row.generation && it.hash.0 == content);
        let firewall_is_so = match desired.firewall {
            FirewallIntent::Unmanaged => true,
            FirewallIntent::On => host.machine.is_loaded && *host.machine.policy == desired.policy,
            FirewallIntent::Off => !host.machine.is_loaded,
        };
        let watched = host.process.as_ref().map(|process| &process.watched);
        let facts = [
            (is_accepted, "has not accepted its document"),
            (
                disk.is_some_and(|it| it.trial.is_none()),
                "has a firewall on trial",
            ),
            (firewall_is_so, "has another firewall"),
            (watched == Some(&desired.watched), "watches other paths"),
            (
                self.is_shown_synced(number, ConditionKind::FirewallSynced),
                "is not shown FirewallSynced",
            ),
            (
                self.is_shown_synced(number, ConditionKind::FilesWatched),
                "is not shown FilesWatched",
            ),
            (
                !self.rows.is_true(host.agent, ConditionKind::Held),
                "is shown Held",
            ),
            (
                self.rows.is_true(host.agent, ConditionKind::Connected),
                "is not shown Connected",
            ),
            (
                self.rows.shown[&host.agent].is_online,
                "is not shown online",
            ),
            (self.is_linked(number), "is not connected"),
        ];
        let wrong = facts.iter().find(|(is_so, _)| !is_so);
        wrong.map(|(_, what)| format!("agent {number} {what}; {row:?}; {:?}", host.machine))
    }

    fn is_shown_synced(&self, number: usize, kind: ConditionKind) -> bool {
        let agent = self.agent(number);
        let generation = self.rows.desired[&agent].generation;
        let condition = self.rows.conditions.get(&(agent, kind));
        condition.is_some_and(|it| {
            it.status == ConditionStatus::True
                && it.observed_generation.map(|observed| observed.0) == Some(generation)
        })
    }

    fn is_linked(&self, number: usize) -> bool {
        let daemon = self.daemon.as_ref();
        let wire = self.up.get(&number);
        wire.is_some_and(|wire| daemon.is_some_and(|daemon| daemon.links.contains_key(wire)))
    }
}
