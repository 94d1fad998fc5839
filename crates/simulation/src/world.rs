//! The world of one run: database, feed, daemon, hosts and what connects them, moved on event by
//! event. Faults change what is possible; nothing here decides what a state machine should do.

mod database;
mod machines;
mod process;
mod wires;

use std::collections::BTreeMap;

use fastrand::Rng;
use hidps::model::{DesiredState, DesiredVersion};
use hidps::persistence::{FeedEvent, Want};
use hidps_agent::converge::ProbeId;
use hidps_wire::{AgentId, Applied, Apply, Status};
use uuid::Uuid;

use crate::check::Ledgers;
use crate::daemon::Daemon;
use crate::fault::{Act, Plan};
use crate::host::Host;
use crate::rows::{Row, Rows};
use crate::time::{Agenda, Millis};

/// Silence after which either end of a connection gives it up.
const SILENCE: Millis = 45_000;

/// Time between two signs of life that are recorded.
const SEEN_EVERY: Millis = 30_000;

/// Hears the time and what happens then.
pub type Trace<'t> = dyn FnMut(Millis, &dyn std::fmt::Debug) + 't;

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    Marked,
    Act(Act),
    Heal(Heal),
    Hint(FeedEvent),
    FeedReady(u64),
    DaemonStarts,
    DaemonOpens(u64),
    MirrorWakes,
    Query(u64, Want),
    Answer(u64, Answer),
    Flush(u64),
    Expire,
    Connect(usize, u64),
    Hello(u64, Option<Applied>),
    Welcome(u64),
    ToHost(u64, Apply),
    ToDaemon(u64, Status),
    SessionDeadline(u64),
    Seen(u64),
    DaemonLoses(u64, &'static str),
    HostLoses(u64),
    HostStarts(usize),
    HostTicks(usize, u64),
    EffectDone(usize, u64),
    Probed(usize, u64, ProbeId, Result<(), String>),
}

/// The end of a fault that lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heal {
    Feed,
    Rest,
    Partial,
    Network(usize),
    Disk(usize),
    Nft(usize),
    Twin(usize),
}

/// What the database answered, as it was when it was asked.
#[derive(Debug)]
pub(crate) enum Answer {
    Listed(Result<Vec<DesiredVersion>, hidps::health::Fault>),
    Read(
        Vec<AgentId>,
        Result<Vec<(AgentId, DesiredState)>, hidps::health::Fault>,
    ),
}

/// A connection between a host and the daemon.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) host: usize,
    boot: u64,
    epoch: u64,
    /// Nothing gets through any more, and neither end knows.
    is_dead: bool,
    /// When the last frame arrives, each way: frames do not overtake each other.
    last: [Millis; 2],
}

/// The state of everything.
#[derive(Debug)]
pub struct World {
    pub(crate) agenda: Agenda<Event>,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) rows: Rows,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) hosts: Vec<Host>,
    /// The connection each host believes to have.
    pub(crate) up: BTreeMap<usize, u64>,
    pub(crate) wires: BTreeMap<u64, Wire>,
    pub(crate) ledgers: Ledgers,
    pub(crate) counts: Counts,
    /// What was found wrong first.
    pub(crate) fault: Option<String>,
    is_flush_planned: bool,
    n_epochs: u64,
    n_wires: u64,
    feed_away: bool,
    rest_fails: bool,
    rest_partial: bool,
    clock_skew: i64,
    backup: Option<BTreeMap<AgentId, Row>>,
    ticks: BTreeMap<usize, Millis>,
}

/// What is bounded, for each agent.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) commands: BTreeMap<AgentId, u64>,
    pub(crate) retries: BTreeMap<AgentId, u64>,
    pub(crate) connects: BTreeMap<AgentId, u64>,
    pub(crate) events: u64,
}

impl World {
    /// A world at rest with everything of the plan ahead.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let mut world = Self {
            agenda: Agenda::new(),
            rng,
            rows: Rows::default(),
            daemon: None,
            hosts: Vec::new(),
            up: BTreeMap::new(),
            wires: BTreeMap::new(),
            ledgers: Ledgers::default(),
            counts: Counts::default(),
            fault: None,
            is_flush_planned: false,
            n_epochs: 0,
            n_wires: 0,
            feed_away: false,
            rest_fails: false,
            rest_partial: false,
            clock_skew: 0,
            backup: None,
            ticks: BTreeMap::new(),
            plan,
        };
        for number in 0..world.plan.n_agents {
            let agent = AgentId::new(Uuid::from_u128(number as u128 + 1));
            world.rows.add(agent);
            let mut host = Host::new(agent);
            host.machine.loses_daemon = world.plan.loses_daemon[number];
            host.machine.most_rules = world.plan.most_rules[number];
            host.machine.existing = crate::edit::all_paths();
            world.hosts.push(host);
            world.agenda.after(1, Event::HostStarts(number));
        }
        world.agenda.after(0, Event::DaemonStarts);
        world.agenda.after(60_000, Event::Expire);
        for (at, act) in world.plan.acts.clone() {
            world.agenda.after(at, Event::Act(act));
        }
        world
    }

    /// The agent of a number.
    pub(crate) fn agent(&self, number: usize) -> AgentId {
        self.hosts[number].agent
    }

    /// Goes on by one event; false when the marked time is reached.
    pub(crate) fn step(&mut self, trace: &mut Trace<'_>) -> bool {
        match self.agenda.next() {
            None | Some(Event::Marked) => false,
            Some(event) => {
                self.counts.events += 1;
                trace(self.agenda.now(), &event);
                self.on_event(event);
                self.settle_daemon();
                true
            }
        }
    }

    /// Stops stepping at this time.
    pub(crate) fn mark(&mut self, end: Millis) {
        let delay = end.saturating_sub(self.agenda.now());
        self.agenda.after(delay, Event::Marked);
    }

    /// The time since the beginning, in milliseconds.
    #[must_use]
    pub const fn now(&self) -> Millis {
        self.agenda.now()
    }

    /// Ends every fault that is not part of a host.
    pub(crate) fn heal(&mut self) {
        for heal in [Heal::Feed, Heal::Rest, Heal::Partial] {
            self.on_heal(heal);
        }
        for host in 0..self.plan.n_agents {
            for heal in [Heal::Network(host), Heal::Disk(host), Heal::Nft(host)] {
                self.on_heal(heal);
            }
            self.hosts[host].machine.existing = crate::edit::all_paths();
            let (boot, now) = (self.hosts[host].boot, self.agenda.instant());
            self.tell(host, boot, |core| core.on_files_changed(now));
            self.start_host(host);
        }
        for twin in self.plan.n_agents..self.hosts.len() {
            self.kill_host(twin);
        }
        self.start_daemon();
    }

    /// Documents sent to agents whose hosts can converge.
    pub(crate) fn steady_commands(&self) -> u64 {
        let steady = self.hosts[..self.plan.n_agents]
            .iter()
            .filter(|host| host.machine.bears_all());
        steady
            .filter_map(|host| self.counts.commands.get(&host.agent))
            .sum()
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Act(act) => self.on_act(act),
            Event::Heal(heal) => self.on_heal(heal),
            Event::Hint(hint) => {
                if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.is_feed_up) {
                    daemon.hear(hint);
                }
            }
            Event::FeedReady(epoch) => self.on_feed_ready(epoch),
            Event::DaemonStarts => self.start_daemon(),
            Event::DaemonOpens(epoch) => self.open_daemon(epoch),
            Event::Marked | Event::MirrorWakes => {}
            Event::Query(epoch, want) => self.on_query(epoch, want),
            Event::Answer(epoch, answer) => self.on_answer(epoch, answer),
            Event::Flush(epoch) => self.flush(epoch),
            Event::Expire => {
                self.rows.expire_presence(self.agenda.now());
                self.agenda.after(60_000, Event::Expire);
            }
            Event::Connect(host, boot) => self.connect(host, boot),
            Event::Hello(wire, applied) => self.on_hello(wire, applied),
            Event::Welcome(wire) => self.on_welcome(wire),
            Event::ToHost(wire, apply) => self.on_apply(wire, apply),
            Event::ToDaemon(wire, status) => self.on_status(wire, status),
            Event::SessionDeadline(wire) => self.on_session_deadline(wire),
            Event::Seen(wire) => self.on_seen(wire),
            Event::DaemonLoses(wire, reason) => self.daemon_loses(wire, reason),
            Event::HostLoses(wire) => self.host_loses(wire),
            Event::HostStarts(host) => self.start_host(host),
            Event::HostTicks(host, boot) => {
                let now = self.agenda.instant();
                self.ticks.remove(&host);
                self.tell(host, boot, |core| core.on_tick(now));
            }
            Event::EffectDone(host, boot) => self.on_effect_done(host, boot),
            Event::Probed(host, boot, id, result) => {
                let now = self.agenda.instant();
                self.tell(host, boot, |core| core.on_probed(id, result, now));
            }
        }
    }

    pub(crate) fn on_heal(&mut self, heal: Heal) {
        match heal {
            Heal::Feed => {
                self.feed_away = false;
                if let Some(epoch) = self.daemon.as_ref().map(|daemon| daemon.epoch) {
                    let delay = self.rng.u64(50..2_000);
                    self.agenda.after(delay, Event::FeedReady(epoch));
                }
            }
            Heal::Rest => self.rest_fails = false,
            Heal::Partial => self.rest_partial = false,
            Heal::Network(host) => self.hosts[host].machine.is_cut = false,
            Heal::Disk(host) => self.hosts[host].machine.is_disk_full = false,
            Heal::Nft(host) => self.hosts[host].machine.is_nft_broken = false,
            Heal::Twin(host) => self.kill_host(host),
        }
    }

    pub(crate) fn lose_feed(&mut self) {
        self.feed_away = true;
        if let Some(daemon) = &mut self.daemon {
            daemon.is_feed_up = false;
        }
    }

    pub(crate) const fn fail_rest(&mut self) {
        self.rest_fails = true;
    }

    pub(crate) const fn cut_answers(&mut self) {
        self.rest_partial = true;
    }

    pub(crate) const fn jump_clock(&mut self, by: i64) {
        self.clock_skew += by;
    }

    pub(crate) fn back_up(&mut self) {
        self.backup = Some(self.rows.desired.clone());
    }

    pub(crate) fn restore(&mut self) {
        for (agent, row) in self.backup.clone().unwrap_or_default() {
            self.rows.restore(agent, row);
        }
        // A restored database begins with a new slot: nothing of it is told.
    }

    /// Keeps the first thing that is wrong.
    pub(crate) fn fail(&mut self, what: String) {
        let at = self.agenda.now();
        self.fault.get_or_insert_with(|| format!("{at} ms: {what}"));
    }
}
