//! A host and its agent: the agent's real decisions over a firewall that is a flag, paths that are
//! a set, and a disk that keeps or loses what it should. It knows nothing of rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hidps_agent::converge::{Core, CoreSettings, Effect};
use hidps_agent::file_watch::{FileKind, PathState, WatchOutcome};
use hidps_agent::firewall::{
    FirewallChange, FirewallError, FirewallGoal, FirewallOutcome, FirewallSync, InForce,
};
use hidps_agent::ledger::{LedgerRecord, NoDocument};
use hidps_wire::{AgentId, FirewallPolicy, Status, WatchPath, WatchSet};

/// How long a new firewall may take to be confirmed.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);

/// What the kernel and the disk of a host hold; it outlives the agent's process.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// Whether the agent's table is loaded.
    pub(crate) is_loaded: bool,
    /// What the table that was loaded last lets through.
    pub(crate) policy: Arc<FirewallPolicy>,
    /// Paths that exist.
    pub(crate) existing: BTreeSet<WatchPath>,
    /// The ledger's file.
    pub(crate) disk: Option<LedgerRecord>,
    /// Whether the host loses the daemon while the table is loaded.
    pub(crate) loses_daemon: bool,
    /// With a table of more rules than this the host loses the daemon, too.
    pub(crate) most_rules: usize,
    /// Whether nothing can be written.
    pub(crate) is_disk_full: bool,
    /// Whether `nft` fails.
    pub(crate) is_nft_broken: bool,
    /// Whether the network is down.
    pub(crate) is_cut: bool,
}

impl Machine {
    /// Whether the daemon can be reached.
    #[must_use]
    pub(crate) fn reaches_daemon(&self) -> bool {
        !(self.is_cut || self.is_loaded && self.loses_with(&self.policy))
    }

    /// Whether a table that lets through just this costs the host its daemon.
    #[must_use]
    pub(crate) const fn loses_with(&self, policy: &FirewallPolicy) -> bool {
        self.loses_daemon || policy.rules.len() > self.most_rules
    }

    /// Whether no table costs the host its daemon.
    #[must_use]
    pub(crate) const fn bears_all(&self) -> bool {
        !self.loses_daemon && self.most_rules == usize::MAX
    }

    /// Does what the agent's nftables module does.
    fn ensure(&mut self, goal: &FirewallGoal) -> FirewallOutcome {
        if self.is_nft_broken {
            return FirewallOutcome {
                back_end: hidps_agent::firewall::BackEnd::Nftables,
                active: Some(self.is_loaded),
                change: None,
                tampering: None,
                sync: FirewallSync::Failed(FirewallError::Privilege),
            };
        }
        let (wanted, sync) = match goal {
            FirewallGoal::Unmanaged => (self.is_loaded, FirewallSync::Unmanaged),
            FirewallGoal::Off => (false, FirewallSync::Disabled),
            FirewallGoal::On(_) => (true, FirewallSync::Enabled(InForce::default())),
        };
        let policy = match goal {
            FirewallGoal::On(policy) => Arc::clone(policy),
            FirewallGoal::Unmanaged | FirewallGoal::Off => Arc::clone(&self.policy),
        };
        let change = match (self.is_loaded, wanted) {
            (false, true) => Some(FirewallChange::Loaded),
            (true, false) => Some(FirewallChange::Removed),
            (true, true) if policy != self.policy => Some(FirewallChange::Adjusted),
            (true, true) | (false, false) => None,
        };
        self.is_loaded = wanted;
        self.policy = policy;
        FirewallOutcome {
            back_end: hidps_agent::firewall::BackEnd::Nftables,
            active: Some(wanted),
            change,
            tampering: None,
            sync,
        }
    }
}

/// The agent's process.
#[derive(Debug)]
pub(crate) struct Process {
    /// The decisions.
    pub(crate) core: Core,
    /// Paths the kernel watches for it.
    pub(crate) watched: WatchSet,
    /// What is done next, one after the other.
    pub(crate) effects: VecDeque<Effect>,
    /// Whether the first of them is being done.
    pub(crate) is_busy: bool,
    /// What the daemon would be told on a new connection.
    pub(crate) latest: Option<Status>,
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    /// Whose identity it has.
    pub(crate) agent: AgentId,
    /// What outlives the process.
    pub(crate) machine: Machine,
    /// The process, unless it is dead.
    pub(crate) process: Option<Process>,
    /// Tells one process from the next.
    pub(crate) boot: u64,
}

/// What came of an effect that others have to know of.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing.
    Done,
    /// Tell the daemon.
    Report(Status),
    /// Try whether the daemon can be reached.
    Probe(hidps_agent::converge::ProbeId),
}

impl Host {
    /// A host without an agent running.
    #[must_use]
    pub(crate) fn new(agent: AgentId) -> Self {
        Self {
            agent,
            machine: Machine::default(),
            process: None,
            boot: 0,
        }
    }

    /// Starts the agent; what it finds on disk is all it knows.
    pub(crate) fn start(&mut self, now: Instant) {
        let settings = CoreSettings {
            agent_id: self.agent,
            confirm_within: Some(CONFIRM_WITHIN),
        };
        let ledger = self.machine.disk.clone().ok_or(NoDocument::NotReceived);
        self.boot += 1;
        self.process = Some(Process {
            core: Core::new(settings, ledger, now),
            watched: WatchSet::new(),
            effects: VecDeque::new(),
            is_busy: false,
            latest: None,
        });
        self.collect();
    }

    /// Ends the agent at once; a write that is under way is done or not.
    pub(crate) fn kill(&mut self, is_write_done: bool) {
        let Some(process) = self.process.take() else {
            return;
        };
        if let (true, true, Some(Effect::WriteLedger(record))) =
            (process.is_busy, is_write_done, process.effects.front())
        {
            self.machine.disk = Some((**record).clone());
        }
    }

    /// Tells the agent something, if it runs, and takes up what it wants done.
    pub(crate) fn tell(&mut self, input: impl FnOnce(&mut Core)) {
        if let Some(process) = &mut self.process {
            input(&mut process.core);
        }
        self.collect();
    }

    /// Does the first effect, and tells the agent what came of it.
    pub(crate) fn finish_effect(&mut self, now: Instant) -> Outcome {
        let machine = &mut self.machine;
        let Some(process) = &mut self.process else {
            return Outcome::Done;
        };
        process.is_busy = false;
        let Some(effect) = process.effects.pop_front() else {
            return Outcome::Done;
        };
        let core = &mut process.core;
        let mut outcome = Outcome::Done;
        match effect {
            Effect::WriteLedger(record) => {
                let written = if machine.is_disk_full {
                    Err("no space left on device".to_owned())
                } else {
                    machine.disk = Some(*record);
                    Ok(())
                };
                core.on_ledger_written(written, now);
            }
            Effect::ReadLedger => {
                let record = machine.disk.clone().ok_or(NoDocument::NotReceived);
                core.on_ledger_read(record, now);
            }
            Effect::EnsureFirewall(goal) => {
                let ensured = machine.ensure(&goal);
                core.on_firewall_ensured(&goal, &ensured, now);
            }
            Effect::LookAtFirewall => core.on_firewall_looked_at(Some(machine.is_loaded), now),
            Effect::EnsureFiles(paths) => {
                let states = watch(&paths, &machine.existing);
                process.watched = paths;
                let outcome = WatchOutcome {
                    states,
                    ..WatchOutcome::default()
                };
                core.on_files_ensured(Some(&outcome), now);
            }
            Effect::Probe(id) => outcome = Outcome::Probe(id),
            Effect::Report(status) => {
                process.latest = Some(status.clone());
                outcome = Outcome::Report(status);
            }
            Effect::Note(_) => {}
        }
        self.collect();
        outcome
    }

    fn collect(&mut self) {
        if let Some(process) = &mut self.process {
            while let Some(effect) = process.core.poll_effect() {
                process.effects.push_back(effect);
            }
        }
    }
}

fn watch(paths: &WatchSet, existing: &BTreeSet<WatchPath>) -> BTreeMap<WatchPath, PathState> {
    let state = |path: &WatchPath| {
        if existing.contains(path) {
            PathState::Watched(FileKind::File)
        } else {
            PathState::Missing
        }
    };
    paths
        .keys()
        .map(|path| (path.clone(), state(path)))
        .collect()
}
