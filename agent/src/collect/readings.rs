//! The newest of what was read of this host, each for whoever wants it, and the part that reads it.
//! It reads on threads of its own: a disk or a `/proc` that is slow holds up nothing else.

use std::path::PathBuf;
use std::sync::Arc;

use hidps_wire::{Facts, Processes, Usage};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::cadence::{Cadence, next_look};
use super::facts::FactsReader;
use super::snapshot::ProcessReader;
use super::source_board::{SourceBoard, Standing};
use super::usage::{CANNOT_SEE, HOW, SOURCE, UsageReader};
use crate::error_chain::chain;

/// What was read of this host.
#[derive(Clone, Debug)]
pub struct Readings {
    /// How busy it is.
    pub usage: watch::Receiver<Option<Arc<Usage>>>,
    /// What runs on it.
    pub processes: watch::Receiver<Option<Arc<Processes>>>,
    /// What it is.
    pub facts: watch::Receiver<Option<Arc<Facts>>>,
}

/// Reads this host for as long as somebody wants to know.
#[derive(Debug)]
pub struct HostReader {
    root: PathBuf,
    cadence: watch::Receiver<Cadence>,
    board: Arc<SourceBoard>,
    usage: watch::Sender<Option<Arc<Usage>>>,
    processes: watch::Sender<Option<Arc<Processes>>>,
    facts: watch::Sender<Option<Arc<Facts>>>,
}

impl HostReader {
    /// A reader of the host whose root directory this is, and what it reads.
    #[must_use]
    pub fn new(
        root: PathBuf,
        cadence: watch::Receiver<Cadence>,
        board: Arc<SourceBoard>,
    ) -> (Self, Readings) {
        let (usage_tx, usage) = watch::channel(None);
        let (processes_tx, processes) = watch::channel(None);
        let (facts_tx, facts) = watch::channel(None);
        let reader = Self {
            root,
            cadence,
            board,
            usage: usage_tx,
            processes: processes_tx,
            facts: facts_tx,
        };
        let readings = Readings {
            usage,
            processes,
            facts,
        };
        (reader, readings)
    }

    /// Reads until nobody wants to know any more.
    pub async fn run(self) {
        let unwanted = self.usage.clone();
        let reading = async {
            tokio::join!(
                report_usage(
                    self.root.clone(),
                    self.cadence.clone(),
                    &self.board,
                    self.usage
                ),
                report_processes(self.root.clone(), self.cadence.clone(), self.processes),
                report_facts(self.root, self.cadence, self.facts),
            )
        };
        tokio::select! {
            _ = reading => {}
            () = unwanted.closed() => {}
        }
    }
}

/// Says once that something cannot be read; what is the same the next time is no news.
#[derive(Debug, Default)]
struct Complaint(bool);

impl Complaint {
    fn tell(&mut self, what: &'static str, error: &(dyn std::error::Error + 'static)) {
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!(
                error = chain(error),
                "{what} cannot be read and is not reported"
            );
        }
    }
}

async fn report_usage(
    root: PathBuf,
    mut cadence: watch::Receiver<Cadence>,
    board: &SourceBoard,
    reports: watch::Sender<Option<Arc<Usage>>>,
) {
    let mut reader = UsageReader::new(root);
    let mut complaint = Complaint::default();
    // A share of time needs two looks; the first report is of a short time, and never a false 0.
    sleep(UsageReader::FIRST_SPAN).await;
    loop {
        let last = Instant::now();
        let read = spawn_blocking(move || {
            let usage = reader.read();
            (reader, usage)
        });
        // A panic in a parser ends this part, which ends the agent.
        let (again, usage) = read.await.expect("reading usage does not panic");
        reader = again;
        match usage {
            Ok(usage) => {
                board.tell(SOURCE, Standing::Read, HOW, CANNOT_SEE);
                reports.send_replace(Some(Arc::new(usage)));
            }
            Err(error) => {
                board.tell(SOURCE, Standing::Failed, &chain(&error), CANNOT_SEE);
                complaint.tell(SOURCE, &error);
            }
        }
        next_look(last, &mut cadence, |cadence| cadence.usage).await;
    }
}

async fn report_processes(
    root: PathBuf,
    mut cadence: watch::Receiver<Cadence>,
    reports: watch::Sender<Option<Arc<Processes>>>,
) {
    let mut reader = ProcessReader::new(root);
    let mut complaint = Complaint::default();
    let mut is_first = true;
    loop {
        let last = Instant::now();
        let read = spawn_blocking(move || {
            let processes = reader.read(last.into_std());
            (reader, processes)
        });
        let (again, processes) = read.await.expect("reading processes does not panic");
        reader = again;
        match processes {
            // Before the second look nobody has used any time that could be told.
            Ok(_) if is_first => {
                is_first = false;
                sleep(ProcessReader::FIRST_SPAN).await;
                continue;
            }
            Ok(processes) => {
                reports.send_replace(Some(Arc::new(processes)));
            }
            Err(error) => complaint.tell("processes", &error),
        }
        next_look(last, &mut cadence, |cadence| cadence.top_processes).await;
    }
}

async fn report_facts(
    root: PathBuf,
    mut cadence: watch::Receiver<Cadence>,
    reports: watch::Sender<Option<Arc<Facts>>>,
) {
    let mut reader = FactsReader::new(root);
    loop {
        let last = Instant::now();
        let read = spawn_blocking(move || {
            let facts = reader.read();
            (reader, facts)
        });
        let (again, facts) = read.await.expect("reading facts does not panic");
        reader = again;
        reports.send_if_modified(|told| {
            let is_news = told.as_deref() != Some(&facts);
            if is_news {
                *told = Some(Arc::new(facts));
            }
            is_news
        });
        next_look(last, &mut cadence, |cadence| cadence.facts).await;
    }
}
