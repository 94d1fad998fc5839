//! Real processes, told by the kernel and seen by looking.
//! Tests that need the initial namespaces say so where they are not.

use super::*;
use hidps_wire::{EventBatch, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, decode};
use std::cell::RefCell;
use std::process::{Command, Stdio};

const DEADLINE: Duration = Duration::from_secs(30);

fn settings(mode: ProcessMode) -> ProcessSettings {
    ProcessSettings {
        mode,
        exits: ProcessExits::All,
        interval: Duration::from_millis(50),
    }
}

fn text(event: &LogEvent<'_>, field: &str) -> String {
    match event.fields.get(field) {
        Some(FieldValue::Text(text)) => text.to_string(),
        _ => String::new(),
    }
}

/// A watch that has begun, and its events.
struct Watched {
    queue: Arc<EventQueue>,
    table: Arc<ProcessTable>,
    /// Events that came and were not looked at.
    waiting: RefCell<Vec<LogEvent<'static>>>,
    _watch: ProcessWatch,
}

impl Watched {
    fn start(mode: ProcessMode) -> Self {
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let table = host_processes();
        let watch = ProcessWatch::start(
            settings(mode),
            Arc::clone(&table),
            Arc::clone(&queue),
            SourceBoard::new().0,
        );
        Self {
            queue,
            table,
            waiting: RefCell::default(),
            _watch: watch.unwrap(),
        }
    }

    /// The first event that is wanted, while something goes on happening.
    async fn wait_for(
        &self,
        mut happen: impl FnMut(),
        wanted: impl Fn(&LogEvent<'_>) -> bool,
    ) -> LogEvent<'static> {
        let found = async {
            loop {
                let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
                let mut waiting = waiting.into_iter();
                if let Some(event) = waiting.find(|event| wanted(event)) {
                    // What comes after it is for the next wait.
                    self.waiting.borrow_mut().extend(waiting);
                    return event;
                }
                happen();
                // Others run here as well: all that is told is taken before it happens again.
                let taken =
                    tokio::time::timeout(Duration::from_millis(300), self.take_all(&wanted));
                taken.await.ok();
            }
        };
        tokio::time::timeout(DEADLINE, found)
            .await
            .expect("it comes")
    }

    /// Takes in batches until a wanted event is among them.
    async fn take_all(&self, wanted: &impl Fn(&LogEvent<'_>) -> bool) {
        while !self.waiting.borrow().iter().any(wanted) {
            let batch = self.queue.next_batch().await;
            let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
            let events = batch.events.into_iter().map(LogEvent::into_owned);
            self.waiting.borrow_mut().extend(events);
        }
    }
}

fn can_listen(test: &str) -> bool {
    match Connector::open() {
        Ok(_) => true,
        Err(error) => {
            hidps_lab::say_skipped(test, &error);
            false
        }
    }
}

#[tokio::test]
async fn the_kernel_tells_of_a_program_its_parent_and_its_end() {
    if !can_listen("the_kernel_tells_of_a_program_its_parent_and_its_end") {
        return;
    }
    let watched = Watched::start(ProcessMode::Auto);
    let run = || {
        let script = "/bin/sleep 0.3 # --password hunter2\n exit 3";
        Command::new("/bin/sh")
            .args(["-c", script])
            .spawn()
            .unwrap()
            .wait()
            .unwrap();
    };

    let shell = watched
        .wait_for(run, |e| text(e, "CommandLine").starts_with("/bin/sh -c"))
        .await;
    let is_sleep = |e: &LogEvent<'_>| text(e, "CommandLine") == "/bin/sleep 0.3";
    let sleep = watched.wait_for(run, is_sleep).await;
    let code =
        |e: &LogEvent<'_>| is_ours(e) && e.fields.get("ExitCode") == Some(&FieldValue::Integer(3));
    let exit = watched.wait_for(run, code).await;

    assert!(
        text(&shell, "CommandLine").contains("--password ***"),
        "{shell:?}"
    );
    let image = std::env::current_exe().unwrap();
    assert_eq!(text(&shell, "ParentImage"), image.to_str().unwrap());
    assert_eq!(text(&shell, "User"), text(&sleep, "User"));
    let directory = std::env::current_dir().unwrap();
    assert_eq!(
        text(&sleep, "CurrentDirectory"),
        directory.to_str().unwrap()
    );
    let parent = text(&sleep, "ParentCommandLine");
    assert!(parent.contains("--password ***"), "{parent}");
    assert_eq!(text(&exit, "event"), "exited");
    assert_eq!(text(&exit, "Image"), text(&shell, "Image"));
}

/// Whether the process of an event was begun by this one; others run on this machine too.
fn is_ours(event: &LogEvent<'_>) -> bool {
    let own = FieldValue::Integer(i64::from(std::process::id()));
    event.fields.get("ParentProcessId") == Some(&own)
}

#[tokio::test]
async fn a_process_that_ended_is_still_known() {
    if !can_listen("a_process_that_ended_is_still_known") {
        return;
    }
    let watched = Watched::start(ProcessMode::Connector);
    let run = || {
        let mut child = Command::new("/bin/sleep").arg("0.21").spawn().unwrap();
        child.wait().unwrap();
    };

    let is_it = |event: &LogEvent<'_>| text(event, "CommandLine") == "/bin/sleep 0.21";
    let event = watched.wait_for(run, is_it).await;
    let Some(FieldValue::Integer(pid)) = event.fields.get("ProcessId") else {
        panic!("{event:?}");
    };
    let ended = |e: &LogEvent<'_>| {
        text(e, "event") == "exited" && e.fields.get("ProcessId") == event.fields.get("ProcessId")
    };
    watched.wait_for(|| (), ended).await;
    let known = watched.table.resolve(u32::try_from(*pid).unwrap(), 0);

    let known = known.unwrap();
    assert_eq!(&*known.command, "/bin/sleep 0.21");
    assert_eq!(known.parent, std::process::id());
}

#[tokio::test]
async fn without_the_kernels_word_a_look_finds_what_still_runs() {
    let watched = Watched::start(ProcessMode::Poll);
    let mut children = Vec::new();
    let run = || {
        let child = Command::new("/bin/sleep")
            .arg("1001")
            .stdout(Stdio::null())
            .spawn();
        children.push(child.unwrap());
    };

    let event = watched
        .wait_for(run, |e| text(e, "CommandLine") == "/bin/sleep 1001")
        .await;
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ended = watched
        .wait_for(
            || (),
            |e| is_ours(e) && text(e, "event") == "exited" && text(e, "Image").ends_with("sleep"),
        )
        .await;

    assert_eq!(event.fields.get("SeenLate"), Some(&FieldValue::Bool(true)));
    assert_eq!(ended.fields.get("ExitCode"), None);
}

#[tokio::test]
async fn a_watch_ends_with_the_agent() {
    let process_watch = ProcessWatch::start(
        settings(ProcessMode::Auto),
        host_processes(),
        Arc::default(),
        SourceBoard::new().0,
    );
    let (switch, shutdown) = crate::shutdown::shutdown();

    switch.request();

    let (_decide, cadence) = watch::channel(Cadence::every(DEADLINE));
    tokio::time::timeout(DEADLINE, process_watch.unwrap().run(shutdown, cadence))
        .await
        .expect("it ends");
}

#[tokio::test]
async fn what_the_kernel_could_not_tell_is_told_as_a_number() {
    let queue = Arc::new(EventQueue::default());
    queue.on_connected(u32::MAX);
    let table = Arc::new(ProcessTable::new(Path::new("/nonexistent")));
    let (board, _states) = SourceBoard::new();
    let told = (Arc::clone(&queue), Arc::clone(&board));
    let mut observer = Observer::new(Arc::clone(&table), told.0, told.1, ProcessExits::All);
    let notice = |number, news| Notice {
        cpu: 0,
        number,
        at: monotonic_nanos(),
        news,
    };

    observer.on_notice(&notice(1, News::Other));
    observer.on_notice(&notice(5, News::Executed { pid: 7 }));
    observer.on_overrun();
    observer.on_idle();
    let mut events = Vec::new();
    while events.len() < 2 {
        let batch = tokio::time::timeout(DEADLINE, queue.next_batch()).await;
        let batch = batch.expect("both come").text;
        let batch: EventBatch<'_> = decode(&batch, MAX_AGENT_FRAME_BYTES).unwrap();
        events.extend(batch.events.into_iter().map(LogEvent::into_owned));
    }

    assert!(events[0].message.contains("before it could be looked at"));
    assert_eq!(events[0].fields.get("Image"), None);
    assert_eq!(text(&events[1], "event"), "source_lost");
    assert_eq!(text(&events[1], "source"), "processes");
    assert_eq!(events[1].fields.get("lost"), Some(&FieldValue::Integer(3)));
    assert_eq!(board.lost().of("processes").as_deref(), Some("3"));
    assert!(observer.due_in().is_some(), "what was missed is looked for");
}
