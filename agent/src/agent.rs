//! The only file that knows all parts: builds them, joins them by channels, ends them in order.
//! It makes no decision about a host.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agent_note::AgentNote;
use crate::backoff::Chance;
use crate::collect::cadence::Cadence;
use crate::collect::line_sink::{LineCounts, LineSink};
use crate::collect::log_sources::LogSources;
use crate::collect::positions::Positions;
use crate::collect::process::{ProcessSettings, ProcessTable, ProcessWatch, host_processes};
use crate::collect::readings::{HostReader, Readings};
use crate::collect::sockets::SocketWatch;
use crate::collect::source_board::{SourceBoard, SourceStates};
use crate::collect::wishes::{follow_sampling, follow_wishes};
use crate::conditions::SourcesAsked;
use crate::config::{Config, LogSettings};
use crate::converge::Converge;
use crate::dial::{DialError, Dialer};
use crate::event_queue::EventQueue;
use crate::file_watch::{FileMemory, FileWatchHandle, FileWatchTask, file_watch};
use crate::firewall::{Drift, HostFirewall, watch_drift};
use crate::host_facts::{AGENT_VERSION, HostFacts};
use crate::identity::IdentityError;
use crate::keys::Keys;
use crate::ledger::{Ledger, LedgerRecord};
use crate::link::{Link, LinkPulse, LinkState};
use crate::probe::DaemonProbe;
use crate::report::keep_status_file;
use crate::retirement::{KeyRetirement, Retirement};
use crate::shutdown::{Shutdown, shutdown};
use crate::state_dir::{StateDir, StateError};
use crate::status_queue::StatusQueue;
use crate::supervisor::{Supervisor, keep_told};

/// Documents that wait for the loop; the daemon has one in flight, so more is its mistake.
const APPLY_QUEUE: usize = 4;

/// A program that a killed agent was just about to run has its directory until it really runs, which
/// takes a busy machine a moment.
const PREDECESSOR_MAY_LINGER: Duration = Duration::from_secs(5);

/// How long the parts may take to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory is of no use.
    #[error("could not use the state directory")]
    State(#[source] StateError),
    /// There is no key.
    #[error("could not know who this agent is")]
    Identity(#[source] IdentityError),
    /// Connections cannot be prepared.
    #[error("could not prepare connections to the daemon")]
    Dialer(#[source] DialError),
    /// Signals cannot be listened to.
    #[error("could not listen to signals")]
    Signals(#[source] io::Error),
    /// A thread cannot be started.
    #[error("could not start watching processes")]
    Processes(#[source] io::Error),
    /// A part ended on its own.
    #[error("the part {0:?} ended unexpectedly")]
    PartEnded(&'static str),
    /// A part broke an invariant.
    #[error("a part of the agent failed")]
    PartFailed(#[source] tokio::task::JoinError),
}

/// Runs the agent until it is told to end by SIGTERM or SIGINT. What it applied stays: desired
/// state outlives the process.
///
/// # Errors
/// Fails when a part cannot be built, or ends on its own.
pub async fn run(config: Config) -> Result<(), AgentError> {
    let state = StateDir::open(&config.state_dir).map_err(AgentError::State)?;
    let lock = state.lock_within(PREDECESSOR_MAY_LINGER).await;
    let _lock = lock.map_err(AgentError::State)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(AgentError::Signals)?;
    let (switch, shutdown) = shutdown();
    tracing::info!(
        version = AGENT_VERSION,
        agent = %config.agent_id,
        backend = %config.backend,
        "starting"
    );
    let events = Arc::new(EventQueue::default());
    let positions = Arc::new(Positions::load(state.clone(), Arc::clone(&events)));
    let memory = Arc::new(FileMemory::new(state.clone(), Arc::clone(&events)));
    let kept = (Arc::clone(&positions), Arc::clone(&memory));
    let mut parts = start_parts(config, state, shutdown, kept)?;

    let unexpected = tokio::select! {
        _ = terminated.recv() => None,
        _ = interrupted.recv() => None,
        Some(ended) = parts.join_next() => Some(ended),
    };
    switch.request();
    if let Some(ended) = unexpected {
        return Err(match ended {
            Ok(part) => AgentError::PartEnded(part),
            Err(error) => AgentError::PartFailed(error),
        });
    }
    tracing::info!("ending; what was applied stays");
    drain(parts).await;
    // Only now is it known what the daemon has taken in.
    positions.save();
    memory.save_last();
    Ok(())
}

fn start_parts(
    config: Config,
    state: StateDir,
    shutdown: Shutdown,
    (positions, memory): (Arc<Positions>, Arc<FileMemory>),
) -> Result<JoinSet<&'static str>, AgentError> {
    let keys = Keys::load_or_create(state.clone()).map_err(AgentError::Identity)?;
    let firewall = Arc::new(HostFirewall::new(&config));
    let dialer = Arc::new(Dialer::new(config.way()).map_err(AgentError::Dialer)?);
    let pulse = LinkPulse::default();
    let events = Arc::clone(positions.events());
    let (applies_tx, applies) = mpsc::channel(APPLY_QUEUE);
    let statuses = Arc::new(StatusQueue::default());
    let (record_tx, record) = watch::channel(None);
    let board = SourceBoard::new();
    let (host_reader, readings, cadence) = read_host(config.cadence, record.clone(), &board.0);
    let (link_tx, link_state) = watch::channel(LinkState::default());
    let (drift_tx, drift) = watch::channel(Drift::default());
    let mut parts = JoinSet::new();
    let who = (config.agent_id, &dialer, &state);
    let retirement = start_retirement(&mut parts, who, (&record, &link_state), &shutdown);
    let looks = (config.processes, config.network_interval, cadence);
    let read = (looks, (&config.logs, record.clone()));
    let (files, told) = start_sources(&mut parts, read, (&positions, memory, board), &shutdown)?;

    let converge = Converge {
        ledger: Ledger::new(state.clone(), config.agent_id),
        firewall: Arc::clone(&firewall),
        files,
        applies,
        drift,
        statuses: Arc::clone(&statuses),
        record: record_tx,
        events: Arc::clone(&events),
        probe: Arc::new(DaemonProbe::new(Arc::clone(&dialer), pulse.clone())),
        link: pulse.session(),
        sources: (told.1.clone(), SourcesAsked::of(&config)),
        retirement,
        confirm_within: config.confirm_within,
    };
    let link = Link {
        agent_id: config.agent_id,
        dialer,
        pulse,
        chance: Chance::of_system(),
        keys,
        facts: HostFacts::read(),
        token: config.token,
        firewall,
        events: Arc::clone(&events),
        applies: applies_tx,
        statuses: Arc::clone(&statuses),
        readings,
        record,
        state: link_tx,
        shutdown: shutdown.clone(),
    };
    begin(&mut parts, "drift", watch_drift(drift_tx, shutdown.clone()));
    begin(&mut parts, "converge", converge.run());
    begin(&mut parts, "host reader", host_reader);
    let status_file = keep_status_file(state, statuses.latest(), link_state.clone(), told);
    begin(&mut parts, "status file", status_file);
    begin(&mut parts, "link", link.run());
    // Last, so that every other part was begun when the agent says that it is ready.
    let told = keep_told(Supervisor::of_this_process(), link_state, shutdown);
    begin(&mut parts, "supervisor", told);
    events.push(AgentNote::Started.into_event());
    Ok(parts)
}

/// What is accepted, for those who do as it says.
type AcceptedRecord = watch::Receiver<Option<Arc<LedgerRecord>>>;

/// How often processes and sockets are looked at.
type Looks = (ProcessSettings, Option<Duration>, watch::Receiver<Cadence>);

/// Where sources say how it is with them, and where that is heard.
type Board = (Arc<SourceBoard>, watch::Receiver<SourceStates>);

/// What is told on the host of the sources of events.
type Told = (watch::Receiver<LineCounts>, watch::Receiver<SourceStates>);

/// Starts everything that events come from, and returns the way to the watcher of files and what is
/// told of all of it on the host.
fn start_sources(
    parts: &mut JoinSet<&'static str>,
    (looks, logs): (Looks, (&LogSettings, AcceptedRecord)),
    (positions, memory, (board, sources)): (&Arc<Positions>, Arc<FileMemory>, Board),
    shutdown: &Shutdown,
) -> Result<(FileWatchHandle, Told), AgentError> {
    let (events, table) = (Arc::clone(positions.events()), host_processes());
    let (files, files_task) = file_watch(events, Arc::clone(&table), memory, Arc::clone(&board));
    begin(parts, "files", watch_files(files_task));
    watch_processes(parts, (looks, table), (positions, &board), shutdown)?;
    let counts = start_logs(parts, logs, (positions, board), shutdown);
    Ok((files, (counts, sources)))
}

/// Starts what gives up keys, and returns where it tells how far it is.
fn start_retirement(
    parts: &mut JoinSet<&'static str>,
    (agent_id, dialer, state): (AgentId, &Arc<Dialer>, &StateDir),
    (record, link): (&AcceptedRecord, &watch::Receiver<LinkState>),
    shutdown: &Shutdown,
) -> watch::Receiver<Option<Retirement>> {
    let (told, retirement) = watch::channel(None);
    let part = KeyRetirement {
        agent_id,
        dialer: Arc::clone(dialer),
        state: state.clone(),
        record: record.clone(),
        link: link.clone(),
        chance: Chance::of_system(),
        told,
    };
    begin(parts, "key retirement", part.run(shutdown.clone()));
    retirement
}

/// Starts everything that reads lines, and returns what is counted of them.
fn start_logs(
    parts: &mut JoinSet<&'static str>,
    (settings, record): (&LogSettings, AcceptedRecord),
    (positions, board): (&Arc<Positions>, Arc<SourceBoard>),
    shutdown: &Shutdown,
) -> watch::Receiver<LineCounts> {
    let (sink, counts) = LineSink::new(Arc::clone(positions.events()), board);
    let sources = LogSources::open(settings, &sink, positions);
    let LogSources {
        journal,
        kernel,
        audit,
        files,
    } = sources;
    if let Some(audit) = audit {
        begin(parts, "audit", audit.run(shutdown.clone()));
    }
    if let Some(kernel) = kernel {
        begin(parts, "kernel log", kernel.run(shutdown.clone()));
    }
    if let Some(journal) = journal {
        begin(parts, "journal", journal.run(shutdown.clone()));
    }
    begin(parts, "log files", files.run(shutdown.clone()));
    let sampling = follow_sampling(Arc::clone(&sink), record);
    begin(parts, "line sampling", sampling);
    begin(parts, "line counts", sink.tell_counts(shutdown.clone()));
    let kept = Arc::clone(positions).keep(shutdown.clone());
    begin(parts, "positions", kept);
    counts
}

/// What reads this host, as often as is wanted, and what it reads.
fn read_host(
    configured: Cadence,
    record: AcceptedRecord,
    board: &Arc<SourceBoard>,
) -> (
    impl Future<Output = ()> + use<>,
    Readings,
    watch::Receiver<Cadence>,
) {
    let (cadence_tx, cadence) = watch::channel(configured);
    let (reader, readings) =
        HostReader::new(PathBuf::from("/"), cadence.clone(), Arc::clone(board));
    let wishes = follow_wishes(configured, record, cadence_tx);
    let reading = async {
        tokio::join!(reader.run(), wishes);
    };
    (reading, readings, cadence)
}

/// Watches files until the agent ends.
async fn watch_files(files: FileWatchTask) {
    if let Err(error) = files.run_apart().await {
        tracing::error!(%error, "there is no thread to watch files on");
    }
}

/// Begins a part; its name says which one ended.
fn begin<P>(parts: &mut JoinSet<&'static str>, name: &'static str, part: P)
where
    P: Future<Output = ()> + Send + 'static,
{
    parts.spawn(async move {
        part.await;
        name
    });
}

/// Starts everything that looks at processes and what they hold.
fn watch_processes(
    parts: &mut JoinSet<&'static str>,
    ((settings, network_interval, cadence), table): (Looks, Arc<ProcessTable>),
    (positions, board): (&Positions, &Arc<SourceBoard>),
    shutdown: &Shutdown,
) -> Result<(), AgentError> {
    let events = Arc::clone(positions.events());
    let watch = ProcessWatch::start(
        settings,
        Arc::clone(&table),
        Arc::clone(&events),
        Arc::clone(board),
    );
    let watch = watch.map_err(AgentError::Processes)?;
    begin(
        parts,
        "processes",
        watch.run(shutdown.clone(), cadence.clone()),
    );
    let watch = SocketWatch::start(network_interval, table, events, board);
    let watch = watch.map_err(AgentError::Processes)?;
    begin(parts, "sockets", watch.run(shutdown.clone(), cadence));
    Ok(())
}

/// The link says goodbye; as it goes, the parts that serve it end by themselves.
async fn drain(mut parts: JoinSet<&'static str>) {
    let all_ended = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_DEADLINE, all_ended)
        .await
        .is_err()
    {
        tracing::warn!("some parts did not end in time and are cut off");
    }
}
