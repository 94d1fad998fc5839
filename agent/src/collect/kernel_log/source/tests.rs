//! The machine's own log beside a journald that is made up, where this process may read the log.

use super::super::KernelPosition;
use super::super::journald::tests::Processes;
use super::*;
use crate::collect::source_board::{SourceBoard, SourceState, SourceStates};
use crate::event_queue::EventQueue;
use crate::normalize::{JournalEntry, normalize_entry};
use crate::state_dir::StateDir;
use tokio::sync::watch;

const READS: &str = "02104002";
const LEAVES: &str = "02104001";

/// What a source needs around it.
struct Around {
    _directory: tempfile::TempDir,
    processes: Processes,
    sink: Arc<LineSink>,
    positions: Arc<Positions>,
    states: watch::Receiver<SourceStates>,
}

impl Around {
    /// A host on which a run before this one kept a place in the log; none where this process may
    /// not read the log.
    fn make(test: &str, place: Option<(&str, u64)>) -> Option<Self> {
        if let Err(error) = super::super::check_readable() {
            hidps_lab::say_skipped(test, &error);
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let events = Arc::new(EventQueue::default());
        let positions = Positions::load(state, Arc::clone(&events));
        if let Some((boot, number)) = place {
            let boot = boot.to_owned();
            positions.begin(SOURCE, Position::Kernel(KernelPosition { boot, number }));
        }
        let (board, states) = SourceBoard::new();
        let (sink, _counts) = LineSink::new(events, board);
        Some(Self {
            _directory: directory,
            processes: Processes::new(),
            sink,
            positions: Arc::new(positions),
            states,
        })
    }

    fn begin(&self) -> KernelSource {
        KernelSource::beside_journal(self.processes.path(), &self.sink, &self.positions)
    }

    fn state(&self) -> SourceState {
        self.states.borrow()[SOURCE].clone()
    }

    /// Whether a copy of a kernel's line in the journal is told.
    fn tells_copy(&self) -> bool {
        let before = self.sink.events().pushed();
        let entry = JournalEntry {
            message: "device eth0 entered promiscuous mode",
            is_kernel: true,
            ..JournalEntry::default()
        };
        self.sink.push("journal", normalize_entry(&entry), false);
        self.sink.events().pushed() > before
    }
}

#[tokio::test]
async fn the_log_is_left_to_a_journald_that_reads_it_and_taken_from_one_that_does_not() {
    let test = "the_log_is_left_to_a_journald_that_reads_it_and_taken_from_one_that_does_not";
    for (flags, is_read, words) in [
        (Some(READS), false, "the journal tells it"),
        (Some(LEAVES), true, "ReadKMsg=no"),
        (None, true, "no journald runs"),
    ] {
        let Some(around) = Around::make(test, None) else {
            return;
        };
        if let Some(flags) = flags {
            around.processes.add_journald("77", flags);
        }

        let source = around.begin();

        assert_eq!(source.log.is_some(), is_read, "{words}");
        let standing = [Standing::Off, Standing::Read][usize::from(is_read)];
        let state = around.state();
        assert_eq!(state.standing, standing, "{words}");
        assert!(state.how.contains(words), "{}", state.how);
        assert_eq!(around.tells_copy(), !is_read, "{words}");
    }
}

#[tokio::test]
async fn a_journald_that_ceases_to_read_is_noticed_and_the_gap_is_told() {
    let test = "a_journald_that_ceases_to_read_is_noticed_and_the_gap_is_told";
    let Some(around) = Around::make(test, None) else {
        return;
    };
    around.processes.add_journald("77", READS);
    let mut source = around.begin();
    source.look();
    let was_read = source.log.is_some();

    around.processes.remove("77");
    source.look();
    // It may be on its way back.
    let is_read_at_once = source.log.is_some();
    around.processes.add_journald("78", LEAVES);
    source.look();

    assert_eq!((was_read, is_read_at_once), (false, false));
    assert!(source.log.is_some() && around.state().standing == Standing::Read);
    assert_eq!(around.sink.events().pushed(), 1, "the note of the gap");
    assert!(!around.tells_copy());
}

#[tokio::test]
async fn a_journald_that_is_gone_for_two_looks_does_not_come_back() {
    let test = "a_journald_that_is_gone_for_two_looks_does_not_come_back";
    let Some(around) = Around::make(test, None) else {
        return;
    };
    around.processes.add_journald("77", READS);
    let mut source = around.begin();

    around.processes.remove("77");
    source.look();
    source.look();

    assert!(source.log.is_some() && around.state().how.contains("no journald runs"));
}

#[tokio::test]
async fn what_was_begun_in_this_boot_goes_on_and_an_older_place_is_forgotten() {
    let test = "what_was_begun_in_this_boot_goes_on_and_an_older_place_is_forgotten";
    let boot = read_boot().unwrap();
    for (boot, is_read) in [(boot.as_str(), true), ("another", false)] {
        let Some(around) = Around::make(test, Some((boot, 7))) else {
            return;
        };
        around.processes.add_journald("77", READS);

        let source = around.begin();

        assert_eq!(source.log.is_some(), is_read, "{boot}");
        assert_eq!(around.positions.last(SOURCE).is_some(), is_read, "{boot}");
    }
}
