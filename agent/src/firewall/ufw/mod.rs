//! ufw as a back end: the desired rules before those of people, one call of ufw at a time.
//! It never touches a rule of somebody else, and leaves ufw's settings as it found them.
//!
//! What is so is read from ufw's own files and from the kernel. What is to be done follows from that
//! alone (see [`plan`]), so a way that was broken off is taken up by the next comparison.

mod copies;
mod error;
mod files;
mod forecast;
mod found;
mod kept;
mod lock;
mod patience;
mod plan;
mod rule;
mod tally;
mod watch;
mod way;
mod wishes;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use hidps_wire::FirewallPolicy;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::difference::Difference;
use super::goal::FirewallGoal;
use super::guard::{Guards, PEERS_FOR};
use super::nft::FirewallError;
use super::program::Program;
use super::ruleset::filters_outgoing;
use super::ssh_peers::{SshPeers, read_ssh_peers};
use super::{
    BackEnd, DaemonPlace, FirewallChange, FirewallOutcome, FirewallSync, InForce, Returning,
    UnsupportedRule,
};
use crate::config::{Config, Port};
use crate::dial::FirstHop;
use copies::Copies;
pub use error::UfwError;
use files::UfwPlace;
use found::{Found, FoundFile};
use kept::{KeptFiles, on_disk};
use lock::UfwLock;
use patience::Patience;
use plan::{UfwGoal, UfwState, next_step};
use tally::Tally;
pub(super) use watch::tell_changes;
use way::Way;
use wishes::Wishes;

/// A call takes a third of a second, and on a busy machine waits for those of others.
const DEADLINE: Duration = Duration::from_secs(60);

/// The firewall of a host that ufw rules.
#[derive(Debug)]
pub(super) struct Ufw {
    ufw: Program,
    iptables: [Program; 2],
    keep_open: BTreeSet<Port>,
    /// Where packets to the daemon go first.
    hop: FirstHop,
    place: UfwPlace,
    found: FoundFile,
    copies: Copies,
    memory: Mutex<Memory>,
    /// Beside the memory, which is held as long as a change takes.
    tally: StdMutex<Tally>,
}

/// What this process has made of ufw and knows.
#[derive(Debug, Default)]
struct Memory {
    enforced: Option<Enforced>,
    /// What somebody did, until it is told with the change that puts it right.
    untold: Option<String>,
    /// Where the daemon was when that could last be looked up.
    place: DaemonPlace,
    patience: Patience,
}

/// What this process has made so, once at least.
#[derive(Debug)]
struct Enforced {
    policy: Arc<FirewallPolicy>,
    guards: Guards,
    /// Until when those who were logged in may come back.
    until: Timestamp,
    goal: UfwGoal,
    /// Whether it was so when it was looked at last; where a repair fails nobody knows who left what.
    is_so: bool,
}

/// What was done to make ufw so.
#[derive(Debug, Default)]
struct Deed {
    change: Option<FirewallChange>,
    tampering: Option<String>,
    unsupported: Vec<UnsupportedRule>,
}

impl Ufw {
    /// ufw, as configured.
    pub(super) fn new(config: &Config) -> Self {
        let place = UfwPlace::of_host();
        let kept = KeptFiles::of(&place);
        Self {
            ufw: Program::find("ufw", DEADLINE),
            iptables: ["iptables", "ip6tables"].map(|name| Program::find(name, DEADLINE)),
            keep_open: config.keep_open.clone(),
            hop: config.way().first_hop(),
            found: FoundFile::new(kept.clone()),
            copies: Copies::new(kept, place.clone()),
            place,
            memory: Mutex::default(),
            tally: StdMutex::default(),
        }
    }

    /// Whether ufw rules this host, and the agent may change it.
    pub(super) fn is_usable(&self) -> bool {
        self.ufw.is_there() && self.place.is_enabled() && rustix::process::geteuid().is_root()
    }

    /// Whether the agent has something in ufw.
    pub(super) fn is_taken(&self) -> bool {
        let has_ours = || {
            let read = self.place.read_files();
            read.is_ok_and(|files| files.state.has_ours())
        };
        !matches!(self.found.read(), Ok(None)) || has_ours()
    }

    /// Whether ufw filters as the agent wants it.
    pub(super) async fn is_active(&self) -> Result<bool, UfwError> {
        let state = self.place.read_settled().await?.state;
        let is_ours = self.found.read()?.is_some() || state.has_ours();
        Ok(state.is_enabled && is_ours)
    }

    /// Makes ufw as intended and says what is so now.
    pub(super) async fn ensure(&self, goal: &FirewallGoal) -> FirewallOutcome {
        let mut memory = self.memory.lock().await;
        let mut deed = Deed::default();
        let result = match memory.patience.check(goal, Instant::now()) {
            Ok(()) => self.try_to_converge(goal, &mut memory, &mut deed).await,
            Err(paused) => Err(paused),
        };
        let sync = match (result, goal) {
            (_, FirewallGoal::Unmanaged) => FirewallSync::Unmanaged,
            (Err(error), _) => FirewallSync::Failed(FirewallError::Ufw(error)),
            (Ok(()), FirewallGoal::Off) => FirewallSync::Disabled,
            (Ok(()), FirewallGoal::On(policy)) => FirewallSync::Enabled(InForce {
                back_end: BackEnd::Ufw,
                policy: Arc::clone(policy),
                keep_open: self.keep_open.clone(),
                returning: memory.enforced.as_ref().and_then(Enforced::returning),
                others: Vec::new(),
                unsupported: deed.unsupported,
            }),
        };
        FirewallOutcome {
            back_end: BackEnd::Ufw,
            active: self.is_active().await.ok(),
            change: deed.change,
            tampering: deed.tampering,
            sync,
        }
    }

    async fn try_to_converge(
        &self,
        goal: &FirewallGoal,
        memory: &mut Memory,
        deed: &mut Deed,
    ) -> Result<(), UfwError> {
        let result = self.converge(goal, memory, deed).await;
        match &result {
            Ok(()) => memory.patience.on_made(),
            Err(error) if error.follows_calls() => {
                memory.patience.on_failed(goal, error, Instant::now());
            }
            Err(_) => {}
        }
        result
    }

    async fn converge(
        &self,
        goal: &FirewallGoal,
        memory: &mut Memory,
        deed: &mut Deed,
    ) -> Result<(), UfwError> {
        match goal {
            FirewallGoal::Unmanaged => {
                // Whoever changes it from here on may.
                memory.forget();
                return Ok(());
            }
            FirewallGoal::Off => {
                if memory.enforced.is_some() {
                    memory.forget();
                }
                memory.note_mended(&self.mend().await?);
                self.put_back(deed).await?;
            }
            FirewallGoal::On(policy) => {
                memory.note_mended(&self.mend().await?);
                self.enforce(policy, memory, deed).await?;
            }
        }
        deed.tell(memory.untold.take());
        Ok(())
    }

    /// Puts back what a call that was broken off has left half written, in this life or an earlier one.
    async fn mend(&self) -> Result<Vec<PathBuf>, UfwError> {
        if !self.copies.are_kept()? {
            return Ok(Vec::new());
        }
        let lock = UfwLock::take(&self.place.lock(), self.ufw.deadline()).await?;
        // Whoever writes without ufw just now gets the time for it.
        self.place.read_settled().await.ok();
        on_disk(&self.copies, move |copies| copies.mend(&lock)).await
    }

    /// Takes the agent's rules out, and leaves ufw's settings as they were found.
    async fn put_back(&self, deed: &mut Deed) -> Result<(), UfwError> {
        let found = self.found.read()?;
        if !self.ufw.is_there() && found.is_some() {
            // Whoever removed ufw has removed its rules.
            return on_disk(&self.found, FoundFile::forget).await;
        }
        // Without ufw's files there is nothing of the agent's in them.
        let state = match self.place.read_settled().await {
            Err(error) if found.is_none() && error.is_absence() => return Ok(()),
            read => read?.state,
        };
        if found.is_none() && !state.has_ours() {
            return Ok(());
        }
        let was_kept = found.is_some();
        let goal = found.unwrap_or_else(|| Found::of(&state)).as_goal();
        self.pursue(&goal, &mut Way::default()).await?;
        if was_kept {
            on_disk(&self.found, FoundFile::forget).await?;
        }
        deed.change = Some(FirewallChange::Removed);
        Ok(())
    }

    async fn enforce(
        &self,
        policy: &Arc<FirewallPolicy>,
        memory: &mut Memory,
        deed: &mut Deed,
    ) -> Result<(), UfwError> {
        let state = self.place.read_settled().await?.state;
        let found = self.keep_found(&state).await?;
        let place = self.locate(policy, memory).await;
        let same = memory
            .enforced
            .take()
            .filter(|it| *it.policy == **policy && it.guards.daemon == place);
        // What this process did not make so was nobody's to change.
        let was_so = same.as_ref().is_some_and(|it| it.is_so);
        memory.note(same.as_ref().and_then(|it| it.tampering(&state)));
        let (guards, until) = match &same {
            // Whoever was let back in had the time for it; a repair gives nobody more.
            Some(same) => same.guards_at(Timestamp::now()),
            None => self.guards_anew(policy, place).await,
        };
        let wishes = Wishes::new(policy, &self.keep_open, &guards, &state, &found);
        deed.unsupported = wishes.unsupported;
        let mut way = Way::default();
        let result = self.pursue(&wishes.goal, &mut way).await;
        let is_of_kernel_alone = was_so && way.n_steps == way.n_loads;
        memory.note(way.kernel.filter(|_| is_of_kernel_alone));
        if result.is_ok() || same.is_some() {
            memory.enforced = Some(Enforced {
                policy: Arc::clone(policy),
                guards,
                until,
                goal: wishes.goal,
                is_so: result.is_ok(),
            });
        }
        result?;
        deed.change = match way.n_steps {
            0 => None,
            // Somebody's time to come back is over, or a repair is made that was begun before.
            _ if same.is_some() => None,
            _ if state.has_ours() => Some(FirewallChange::Adjusted),
            _ => Some(FirewallChange::Loaded),
        };
        Ok(())
    }

    /// How ufw was before the agent changed it, which is kept before it does.
    async fn keep_found(&self, state: &UfwState) -> Result<Found, UfwError> {
        if let Some(found) = self.found.read()? {
            return Ok(found);
        }
        self.check_means()?;
        let found = Found::of(state);
        let written = found.clone();
        on_disk(&self.found, move |file| file.write(&written)).await?;
        Ok(found)
    }

    /// Where the daemon is, if rules could keep packets from it: as it is now, or was last.
    async fn locate(&self, policy: &FirewallPolicy, memory: &mut Memory) -> DaemonPlace {
        if !filters_outgoing(policy) {
            return DaemonPlace::default();
        }
        let place = DaemonPlace::find(&self.hop).await;
        if !place.addresses.is_empty() {
            memory.place = place;
        }
        memory.place.clone()
    }

    fn is_daemon_named(&self) -> bool {
        self.hop.host.parse::<IpAddr>().is_err()
    }

    async fn guards_anew(
        &self,
        policy: &FirewallPolicy,
        daemon: DaemonPlace,
    ) -> (Guards, Timestamp) {
        let found = tokio::task::spawn_blocking(read_ssh_peers).await;
        let SshPeers {
            mut peers,
            n_left_out,
        } = found.unwrap_or_default();
        // Each would cost a call, and whom the rules let in needs none.
        peers
            .retain(|peer| !super::forecast::foretell_peer(policy, &self.keep_open, *peer).returns);
        let guards = Guards {
            is_daemon_named: self.is_daemon_named(),
            daemon,
            peers,
            n_left_out,
        };
        let until = Timestamp::now().checked_add(PEERS_FOR);
        (guards, until.unwrap_or(Timestamp::MAX))
    }
}

impl Enforced {
    /// Who may come back, and until when.
    fn returning(&self) -> Option<Returning> {
        self.guards.returning(self.until)
    }

    /// The guards without those whose time is over.
    fn guards_at(&self, now: Timestamp) -> (Guards, Timestamp) {
        let mut guards = self.guards.clone();
        if self.until <= now {
            guards.peers.clear();
        }
        (guards, self.until)
    }

    /// What somebody did since it was made so.
    fn tampering(&self, state: &UfwState) -> Option<String> {
        self.is_so.then(|| next_step(state, &self.goal)).flatten()?;
        let (wanted, found) = (self.goal.text(), state.text());
        Some(Difference::between(&wanted, &found).describe())
    }
}

impl Memory {
    /// Takes note of what somebody did; the first is what the others may follow from.
    fn note(&mut self, did: Option<String>) {
        self.untold = self.untold.take().or(did);
    }

    /// Somebody may look at what a broken-off call had done meanwhile.
    fn note_mended(&mut self, mended: &[PathBuf]) {
        let files = name_all(mended);
        let did = format!("broke off a call of ufw, which left {files} half written");
        self.note((!mended.is_empty()).then_some(did));
    }

    fn forget(&mut self) {
        self.enforced = None;
        self.untold = None;
    }
}

impl Deed {
    /// Tells what somebody did, which is put right now.
    fn tell(&mut self, untold: Option<String>) {
        if untold.is_none() {
            return;
        }
        self.tampering = untold;
        if self.change != Some(FirewallChange::Removed) {
            self.change = Some(FirewallChange::Repaired);
        }
    }
}

fn name_all(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|it| it.display().to_string()).collect();
    names.join(" and ")
}

impl Found {
    /// ufw without anything of the agent's.
    fn as_goal(&self) -> UfwGoal {
        UfwGoal {
            rules: [Vec::new(), Vec::new()],
            defaults: self.defaults,
            is_enabled: self.is_enabled,
            log_level: self.log_level.clone(),
        }
    }
}

/// Whether ufw says that it filters on this host, whoever told it to.
pub(super) fn rules_host() -> bool {
    UfwPlace::of_host().is_enabled()
}

/// Reads any text as each of ufw's files and as a listing of iptables; gives how many rules are in it.
pub(super) fn read_any(text: &str) -> usize {
    let rules = rule::parse_rules(text);
    for rule in rules.iter().filter(|rule| rule.is_ours()) {
        rule.arguments();
    }
    files::read_any(text);
    tally::read_any(text);
    rules.len()
}

/// Reads bytes as how ufw was before the agent; gives whether they are read again as written.
pub(super) fn read_found(bytes: &[u8]) -> Option<bool> {
    let found = found::Found::parse(bytes)?;
    Some(found::Found::parse(&found.text()).as_ref() == Some(&found))
}

/// Whether what is found of a file is what a write that was broken off would leave of it.
pub(super) fn is_broken_off(whole: &str, found: &str) -> bool {
    files::is_broken_off(whole, found)
}

#[cfg(test)]
mod tests;
