//! The only file that knows all parts: builds them, joins them, and ends them in order.
//! It never branches on data.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::detection::{
    Detection, DetectionHandle, LoadedRules, Outlets, RuleCosts, RuleFilesError, RulePaths,
    RuleReload, TenantFeed, TenantRules, TenantSettings, load_rules,
};
use crate::health::Health;
use crate::model::Alert;
use crate::notify::{MailerError, Notifier, SmtpMailer};
use crate::persistence::{
    Feed, FeedEvent, FeedSettings, HINTS, HealthLog, Mirror, MirrorHandle, Outbox, OutboxHandle,
    PublishedKeys, Rest, Spool, SpoolError, run_expiry, run_retention,
};
use crate::ports::{Observations, Records, StoreError};
use crate::reconcile::{Mode, Sessions};
use crate::steady_clock::steady_now;
use crate::streams::{
    AccessCheck, AgentAuth, AgentLinks, Fanout, Gateway, HttpWays, Installer, KeyHints, KeyLookups,
    KeyReads, Keyring, ListenError, Listener, Origins, Presence, RefusalLog, RefusalReports,
    TrustedProxies, Watchers, router, watch_keys, watch_polling, watch_silence,
};
use crate::tasks::TaskSet;
use crate::telemetry::Chain;

/// Longest wait for connections to part, and then for the parts to finish their work.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait of an agent for a daemon that has just started: marking all agents offline takes a
/// second or two in a large fleet, and a request has 15 s in all.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait for what organizations want of detection before agents are let in.
const TENANTS_WITHIN: Duration = Duration::from_secs(2);

/// Pause between attempts to reach Supabase at start.
const START_PAUSE: Duration = Duration::from_secs(1);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The rules cannot be used.
    #[error("the detection rules cannot be used")]
    Rules(#[source] RuleFilesError),
    /// The spool cannot be used.
    #[error("the alert spool cannot be used")]
    Spool(#[source] SpoolError),
    /// The HTTP client cannot be set up.
    #[error("the Supabase client cannot be set up")]
    Rest(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The Realtime client cannot be set up.
    #[error("the Realtime client cannot be set up")]
    Feed(#[source] hidps_realtime::ConfigError),
    /// An address cannot be listened on.
    #[error("the daemon cannot listen")]
    Listen(#[source] ListenError),
    /// Mail cannot be set up.
    #[error("mail cannot be set up")]
    Mail(#[source] MailerError),
}

/// What can fail at start: files, addresses and keys, all tried before anything runs.
struct Outside {
    rules: LoadedRules,
    rest: Rest,
    published_keys: PublishedKeys,
    spool: (Spool, Vec<Alert>),
    listener: Listener,
    mailer: Option<SmtpMailer>,
}

impl Outside {
    async fn open(config: &Config) -> Result<Self, StartError> {
        let rules = load_rules(rule_paths(config)).map_err(StartError::Rules)?;
        announce(&rules, config);
        let rest = Rest::new(&config.supabase).map_err(StartError::Rest)?;
        let published_keys = PublishedKeys::new(&config.supabase).map_err(StartError::Rest)?;
        let spool = Spool::open(&config.state_dir).map_err(StartError::Spool)?;
        let mailer = config.mail.as_ref().map(SmtpMailer::new).transpose();
        let mailer = mailer.map_err(StartError::Mail)?;
        let listener = Listener::bind(&config.listen, config.tls.as_ref()).await;
        let proxies = TrustedProxies::new(config.trusted_proxies.clone());
        let listener = listener.map_err(StartError::Listen)?.behind(proxies);
        Ok(Self {
            rules,
            rest,
            published_keys,
            spool,
            listener,
            mailer,
        })
    }
}

/// What brings desired state in, and says whether that works.
struct Inflow {
    feed: Feed,
    hints: mpsc::Receiver<FeedEvent>,
    mirror: Mirror<Rest>,
    desired: MirrorHandle,
    health_log: HealthLog,
    /// Notified when an organization may want something else of detection.
    detection_hint: Arc<Notify>,
    /// What is heard of keys.
    key_hints: Arc<KeyHints>,
}

impl Inflow {
    fn build(
        config: &Config,
        rest: &Rest,
        health: &Arc<Health>,
        (notifications, watchers): (&Arc<Notify>, &Arc<Watchers>),
    ) -> Result<Self, StartError> {
        let (hints_tx, hints) = mpsc::channel(HINTS);
        let detection_hint = Arc::new(Notify::new());
        let key_hints = Arc::new(KeyHints::default());
        let settings = FeedSettings {
            hints: hints_tx,
            notifications: Arc::clone(notifications),
            detection: Arc::clone(&detection_hint),
            access: Arc::clone(watchers) as _,
            keys: Arc::clone(&key_hints) as _,
            health: Arc::clone(health),
            probe: Arc::new(rest.clone()),
            canary_every: config.canary,
        };
        let feed = Feed::new(&config.supabase, settings).map_err(StartError::Feed)?;
        let (mirror, desired) = Mirror::new(rest.clone(), config.resync, Arc::clone(health));
        let health_log = HealthLog {
            health: Arc::clone(health),
            read_only: config.read_only,
            writer: Arc::new(rest.clone()),
        };
        Ok(Self {
            feed,
            hints,
            mirror,
            desired,
            health_log,
            detection_hint,
            key_hints,
        })
    }
}

/// What looks at events, and what keeps its rules as they should be.
struct Analysis {
    detection: Detection,
    intake: DetectionHandle,
    costs: Arc<RuleCosts>,
    upkeep: RuleUpkeep,
}

/// What keeps rules as they should be.
struct RuleUpkeep {
    reload: RuleReload,
    tenants: TenantRules<Rest>,
    tenant_feed: TenantFeed,
}

impl RuleUpkeep {
    /// Starts it; gives where it is said that everything was read once.
    fn spawn(self, tasks: &mut TaskSet, working: &CancellationToken) -> TenantFeed {
        tasks.spawn("rule reload", self.reload.run(working.clone()));
        tasks.spawn("tenant rules", self.tenants.run(working.clone()));
        self.tenant_feed
    }
}

/// Where detection hands what it makes of events.
fn outlets(fanout: &Arc<Fanout>, records: &OutboxHandle) -> Outlets {
    Outlets {
        live: Arc::clone(fanout) as _,
        alerts: Arc::new(records.clone()),
        records: Arc::new(records.clone()),
    }
}

impl Analysis {
    fn build(
        config: &Config,
        loaded: LoadedRules,
        rest: &Rest,
        (health, hint): (&Arc<Health>, Arc<Notify>),
        outlets: &Outlets,
    ) -> Self {
        let (reload, rules) = RuleReload::new(rule_paths(config), loaded, Arc::clone(health));
        let settings = TenantSettings {
            rules: rules.clone(),
            hint,
            resync_every: config.resync,
            records: Arc::clone(&outlets.records),
            health: Arc::clone(health),
        };
        let costs = Arc::new(RuleCosts::new(Arc::clone(health)));
        let (tenants, tenant_feed) = TenantRules::new(rest.clone(), settings);
        let (detection, intake) = Detection::new(&rules, &tenant_feed, outlets, &costs);
        Self {
            detection,
            intake,
            costs,
            upkeep: RuleUpkeep {
                reload,
                tenants,
                tenant_feed,
            },
        }
    }
}

/// What asks Supabase about those who come in, and tells it who was refused.
struct Doorkeepers {
    key_lookups: KeyLookups,
    signing_keys: KeyReads,
    refusals: RefusalReports,
}

/// Where the sockets ask these.
struct Doors {
    auth: AgentAuth,
    keyring: Keyring,
    refusals: RefusalLog,
}

impl Doorkeepers {
    fn build(rest: &Rest, published: PublishedKeys, health: &Arc<Health>) -> (Self, Doors) {
        let (key_lookups, keys) = KeyLookups::new(Arc::new(rest.clone()));
        let (keyring, signing_keys) = Keyring::new(Arc::new(published), Arc::clone(health));
        let (refusals, refusal_log) = RefusalReports::new(Arc::new(rest.clone()));
        let keepers = Self {
            key_lookups,
            signing_keys,
            refusals,
        };
        let doors = Doors {
            auth: AgentAuth::new(keys),
            keyring,
            refusals: refusal_log,
        };
        (keepers, doors)
    }

    fn spawn(self, tasks: &mut TaskSet, working: &CancellationToken) {
        tasks.spawn("key look-ups", self.key_lookups.run(working.clone()));
        tasks.spawn("signing keys", self.signing_keys.run(working.clone()));
        tasks.spawn("refusals", self.refusals.run(working.clone()));
    }
}

/// The daemon, built and bound, not yet running.
pub struct Daemon {
    listener: Listener,
    gateway: Gateway,
    doorkeepers: Doorkeepers,
    rest: Rest,
    feed: Feed,
    key_hints: Arc<KeyHints>,
    hints: mpsc::Receiver<FeedEvent>,
    mirror: Mirror<Rest>,
    outbox: Outbox<Rest>,
    health_log: HealthLog,
    detection: Detection,
    rule_upkeep: RuleUpkeep,
    notifier: Option<Notifier<Rest, SmtpMailer>>,
    stop_connections: CancellationToken,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl Daemon {
    /// Builds every part and binds the addresses; nothing is accepted yet.
    ///
    /// # Errors
    /// Names the part that cannot be built.
    pub async fn build(config: &Config, metrics: PrometheusHandle) -> Result<Self, StartError> {
        let outside = Outside::open(config).await?;
        let rest = outside.rest;
        let (health, notifications) = (Arc::new(Health::default()), Arc::new(Notify::new()));
        let (watchers, fanout) = (Arc::new(Watchers::default()), Arc::new(Fanout::default()));
        let inflow = Inflow::build(config, &rest, &health, (&notifications, &watchers))?;
        let (outbox, records) =
            Outbox::new(rest.clone(), outside.spool, Arc::clone(&notifications));
        let (hearing, outlets) = ((&health, inflow.detection_hint), outlets(&fanout, &records));
        let analysis = Analysis::build(config, outside.rules, &rest, hearing, &outlets);
        let (intake, stop_connections) = (Arc::new(analysis.intake), CancellationToken::new());
        let records: Arc<dyn Records> = Arc::new(records);
        let links = AgentLinks {
            presence: presence_of(&records, &intake),
            sessions: sessions_of(config),
            desired: Arc::new(inflow.desired),
            records,
            intake,
            stop: stop_connections.clone(),
        };
        let (doorkeepers, doors) = Doorkeepers::build(&rest, outside.published_keys, &health);
        let gateway = Gateway {
            auth: Arc::new(doors.auth),
            agent_hosts: Arc::new(config.agent_hosts.clone()),
            links: Arc::new(links),
            directory: Arc::new(rest.clone()),
            key_changes: Arc::clone(&inflow.key_hints) as _,
            access: AccessCheck::new(Arc::new(rest.clone()), &config.tokens, doors.keyring),
            limits: Arc::default(),
            refusals: doors.refusals,
            ways: Arc::new(HttpWays::new(config.agent_http)),
            trusted_proxies: Arc::new(TrustedProxies::new(config.trusted_proxies.clone())),
            fanout,
            watchers,
            recheck_every: config.access_recheck,
            origins: Origins::new(&config.allowed_origins),
            health,
            open_within: OPEN_WITHIN,
            installer: Arc::new(Installer::new(config)),
            render_metrics: Arc::new(move || metrics.render() + &analysis.costs.render()),
            connections: TaskTracker::new(),
        };
        let notifier = outside.mailer.map(notifier_of(&rest, notifications));
        Ok(Self {
            listener: outside.listener,
            gateway,
            doorkeepers,
            rest,
            feed: inflow.feed,
            key_hints: inflow.key_hints,
            hints: inflow.hints,
            mirror: inflow.mirror,
            outbox,
            health_log: inflow.health_log,
            detection: analysis.detection,
            rule_upkeep: analysis.upkeep,
            notifier,
            stop_connections,
        })
    }

    /// Where to ask that the rules be loaded again.
    #[must_use]
    pub fn rule_reload_asked(&self) -> Arc<Notify> {
        self.rule_upkeep.reload.asked()
    }

    /// Runs until `shutdown` ends or a part does; gives whether it ended as asked.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> bool {
        let mut shutdown = std::pin::pin!(shutdown);
        let [accepting, detecting, working] = [(); 3].map(|()| CancellationToken::new());
        let connections = self.gateway.connections.clone();
        let health = Arc::clone(&self.gateway.health);
        let links = Arc::clone(&self.gateway.links);
        let mut tasks = TaskSet::default();
        let watched = (&self.gateway, self.key_hints);
        spawn_watches(&mut tasks, watched, &working);
        let (mut listening, mut detection) = (TaskSet::default(), TaskSet::default());
        tracing::info!(addresses = ?self.listener.addresses(), "listening");
        let router = router(self.gateway);
        listening.spawn(
            "listener",
            self.listener
                .run(router, connections.clone(), accepting.clone()),
        );
        self.doorkeepers.spawn(&mut tasks, &working);
        tasks.spawn("feed", self.feed.run(working.clone()));
        tasks.spawn("mirror", self.mirror.run(self.hints, working.clone()));
        let tenants = self.rule_upkeep.spawn(&mut tasks, &working);
        let reaching = (self.rest.clone(), links);
        let opening = open_for_agents(reaching, (health, tenants), working.clone());
        tasks.spawn("opening", opening);
        spawn_upkeep(&mut tasks, self.rest, &working);
        tasks.spawn("health log", self.health_log.run(working.clone()));
        tasks.spawn("outbox", self.outbox.run(working.clone()));
        detection.spawn("detection", self.detection.run(detecting.clone()));
        if let Some(notifier) = self.notifier {
            tasks.spawn("notifier", notifier.run(working.clone()));
        }

        let graceful = tokio::select! {
            () = &mut shutdown => true,
            (name, panicked) = tasks.first_ended() => report_ended(name, panicked),
            (name, panicked) = detection.first_ended() => report_ended(name, panicked),
            (name, panicked) = listening.first_ended() => report_ended(name, panicked),
        };
        tracing::info!("draining");
        let mut left = listening.drain(&accepting, DRAIN_WITHIN).await;
        self.stop_connections.cancel();
        connections.close();
        if timeout(DRAIN_WITHIN, connections.wait()).await.is_err() {
            left.push("connections");
        }
        // Detection raises what it has counted, then the outbox takes it to disk or to its row.
        left.extend(detection.drain(&detecting, DRAIN_WITHIN).await);
        left.extend(tasks.drain(&working, DRAIN_WITHIN).await);
        if left.is_empty() {
            tracing::info!("stopped");
        } else {
            tracing::warn!(?left, "stopped without waiting for these any longer");
        }
        graceful && left.is_empty()
    }
}

fn rule_paths(config: &Config) -> RulePaths {
    RulePaths {
        directory: config.rules_dir.clone(),
        pipelines: config.rule_pipelines_dir.clone(),
        placeholders: config.rule_placeholders.clone(),
    }
}

fn sessions_of(config: &Config) -> Arc<Sessions> {
    let mode = if config.read_only {
        Mode::ReadOnly
    } else {
        Mode::Enforce
    };
    Arc::new(Sessions { mode })
}

fn announce(rules: &LoadedRules, config: &Config) {
    let (count, tests, hash) = (rules.set.rules().len(), rules.tests, rules.set.hash());
    tracing::info!(rules = count, tests, hash, "rules are loaded");
    if config.mail.is_none() {
        tracing::warn!("HIDPS_SMTP_URL is not set: alerts are rows only, no mail is sent");
    }
    if config.agent_hosts.is_anybodys() {
        tracing::warn!(
            "neither HIDPS_PUBLIC_URL nor HIDPS_AGENT_HOSTS is set: what agents sign for a daemon of \
             any name is taken"
        );
    }
}

/// What sends mails, with this mailer.
fn notifier_of(
    rest: &Rest,
    hint: Arc<Notify>,
) -> impl FnOnce(SmtpMailer) -> Notifier<Rest, SmtpMailer> {
    let queue = rest.clone();
    move |mailer| Notifier {
        queue,
        mailer,
        hint,
    }
}

/// Presence that is recorded in rows and told to the rules.
fn presence_of(records: &Arc<dyn Records>, intake: &Arc<impl Observations>) -> Presence {
    let observations = Arc::clone(intake) as Arc<dyn Observations>;
    Presence::new(Arc::default(), Arc::clone(records), observations)
}

/// Starts what looks after connections from outside.
fn spawn_watches(
    tasks: &mut TaskSet,
    (gateway, key_hints): (&Gateway, Arc<KeyHints>),
    working: &CancellationToken,
) {
    let registry = Arc::clone(gateway.links.presence.registry());
    let directory = Arc::clone(&gateway.directory);
    let keys = watch_keys(registry, Arc::clone(&directory), key_hints, working.clone());
    tasks.spawn("key watch", keys);
    let links = &gateway.links;
    let (ways, records) = (Arc::clone(&gateway.ways), Arc::clone(&links.records));
    let polling = watch_polling(ways, records, links.stop.clone());
    tasks.spawn("polling watch", polling);
    let silence = watch_silence(Arc::clone(&gateway.links), directory, working.clone());
    tasks.spawn("silence watch", silence);
}

/// Starts what keeps the database tidy where it does not do so by itself.
fn spawn_upkeep(tasks: &mut TaskSet, rest: Rest, working: &CancellationToken) {
    tasks.spawn("expiry", run_expiry(rest.clone(), working.clone()));
    tasks.spawn("retention", run_retention(rest, working.clone()));
}

fn report_ended(name: &str, panicked: bool) -> bool {
    tracing::error!(
        task = name,
        panicked,
        "a part of the daemon ended; stopping"
    );
    false
}

/// Marks every agent offline, and expects those back that were there last.
async fn take_over_presence(rest: &Rest, links: &AgentLinks) -> Result<(), StoreError> {
    rest.reset_presence().await?;
    let now = steady_now();
    for unheard in rest.list_unheard().await? {
        links.presence.expect_return(unheard, now);
    }
    Ok(())
}

/// Marks every agent offline before any may connect, so that a daemon that died leaves none
/// online; tries until Supabase answers, then lets agents in and waits for the end.
async fn open_for_agents(
    (rest, links): (Rest, Arc<AgentLinks>),
    (health, mut tenants): (Arc<Health>, TenantFeed),
    stop: CancellationToken,
) {
    while let Err(error) = take_over_presence(&rest, &links).await {
        tracing::error!(
            error = %Chain(&error),
            "Supabase cannot be used yet; check SUPABASE_URL, the key and the migrations"
        );
        tokio::select! { () = sleep(START_PAUSE) => {} () = stop.cancelled() => return }
    }
    // Whoever was told to be quiet must not be raised by the first events.
    if timeout(TENANTS_WITHIN, tenants.compared()).await.is_err() {
        tracing::warn!(
            "agents are let in before all that organizations want of detection was read"
        );
    }
    health.set_open();
    stop.cancelled().await;
}
