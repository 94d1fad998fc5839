//! Files into events, and their positions over a restart.

use super::*;
use crate::collect::source_board::{SourceBoard, SourceStates};
use crate::event_queue::EventQueue;
use crate::shutdown::{ShutdownSwitch, shutdown};
use crate::state_dir::StateDir;
use hidps_wire::{EventBatch, EventKind, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, decode};
use std::fs::File;
use std::io::Write as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(30);

/// An agent's sources of files, from its start to its end.
struct Run {
    queue: Arc<EventQueue>,
    positions: Arc<Positions>,
    states: watch::Receiver<SourceStates>,
    switch: ShutdownSwitch,
    tasks: JoinSet<()>,
}

impl Run {
    fn start(state: &StateDir, path: &Path) -> Self {
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let positions = Arc::new(Positions::load(state.clone(), Arc::clone(&queue)));
        let source = LogFileSource {
            path: path.to_owned(),
            program: Some("sshd".to_owned()),
        };
        let (board, states) = SourceBoard::new();
        let (sink, _counts) = LineSink::new(Arc::clone(&queue), board);
        let files = LogFiles::start(&[source], sink, Arc::clone(&positions));
        let (switch, shutdown) = shutdown();
        let mut tasks = JoinSet::new();
        tasks.spawn(files.run(shutdown));
        Self {
            queue,
            positions,
            states,
            switch,
            tasks,
        }
    }

    /// Waits until the files are said to be so, and says how.
    async fn until_said(&mut self, standing: Standing) -> String {
        let is_so = |states: &SourceStates| {
            let state = states.get(SOURCE);
            state.is_some_and(|state| state.standing == standing)
        };
        let said = tokio::time::timeout(DEADLINE, self.states.wait_for(is_so)).await;
        said.expect("it is said").unwrap()[SOURCE].how.clone()
    }

    /// Takes events without acknowledging them; the number is that of the last batch.
    async fn take(&self, n_wanted: usize) -> (Vec<LogEvent<'static>>, u64) {
        let (mut events, mut seq) = (Vec::new(), 0);
        while events.len() < n_wanted {
            let batch = tokio::time::timeout(DEADLINE, self.queue.next_batch()).await;
            let batch = batch.expect("the events come");
            seq = batch.seq;
            let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
            events.extend(batch.events.into_iter().map(LogEvent::into_owned));
        }
        (events, seq)
    }

    async fn end(mut self) {
        self.switch.request();
        let ended = tokio::time::timeout(DEADLINE, self.tasks.join_next()).await;
        ended.expect("it ends");
        self.positions.save();
    }
}

fn fresh() -> (tempfile::TempDir, StateDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(&directory.path().join("state")).unwrap();
    let path = directory.path().join("sshd.log");
    (directory, state, path)
}

fn user(event: &LogEvent<'_>) -> Option<FieldValue<'static>> {
    event.clone().into_owned().fields.get("user").cloned()
}

#[tokio::test]
async fn lines_become_events_and_the_file_may_come_later() {
    let (_directory, state, path) = fresh();
    let run = Run::start(&state, &path);

    let mut file = File::create(&path).unwrap();
    file.write_all(b"\nFailed password for root from 10.0.0.1 port 5 ssh2\r\n")
        .unwrap();
    file.write_all(
        b"message repeated 2 times: [ Failed password for bob from 10.0.0.1 port 5 ssh2]\n",
    )
    .unwrap();
    file.write_all(&[b"x".repeat(40_000), b"\n".to_vec()].concat())
        .unwrap();
    let (events, _) = run.take(4).await;
    run.end().await;

    assert_eq!(events.len(), 4, "the empty line is none");
    assert_eq!(user(&events[0]), Some(FieldValue::from("root")));
    assert_eq!(user(&events[1]), Some(FieldValue::from("bob")));
    assert_eq!(events[1], events[2]);
    assert!(events.iter().all(|event| event.kind == EventKind::Login));
    assert_eq!(
        events[3].fields.get("truncated"),
        Some(&FieldValue::Bool(true))
    );
}

#[tokio::test]
async fn a_new_run_goes_on_behind_what_the_daemon_has() {
    let (_directory, state, path) = fresh();
    let mut file = File::create(&path).unwrap();
    let mut write = |user: &str| {
        let line = format!("Failed password for {user} from 10.0.0.1 port 5 ssh2\n");
        file.write_all(line.as_bytes()).unwrap();
    };
    write("before");
    let first = Run::start(&state, &path);
    write("acknowledged");
    let (_, seq) = first.take(1).await;
    first.queue.on_acknowledged(seq, u32::MAX);
    first.positions.save();
    write("sent");
    first.take(1).await;
    first.end().await;

    write("meanwhile");
    let second = Run::start(&state, &path);
    let (events, _) = second.take(2).await;
    second.end().await;

    let users: Vec<_> = events.iter().map(user).collect();
    let expected = ["sent", "meanwhile"].map(|user| Some(FieldValue::from(user)));
    assert_eq!(users, expected);
}

#[tokio::test]
async fn a_file_that_is_not_there_or_is_none_is_not_said_to_be_read() {
    let (_directory, state, path) = fresh();
    let mut run = Run::start(&state, &path);

    let absent = run.until_said(Standing::Absent).await;
    std::fs::create_dir(&path).unwrap();
    let failed = run.until_said(Standing::Failed).await;
    std::fs::remove_dir(&path).unwrap();
    File::create(&path).unwrap();
    let read = run.until_said(Standing::Read).await;
    run.end().await;

    let path = path.display().to_string();
    assert!(
        absent.starts_with(&format!("{path} (not read: No such file")),
        "{absent}"
    );
    assert!(failed.contains("not a regular file"), "{failed}");
    assert_eq!(read, path);
}
