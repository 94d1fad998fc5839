//! auditd's log as it grows and goes, and records of this machine's own kernel.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use hidps_wire::{EventBatch, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, decode};
use netlink_sys::protocols::NETLINK_AUDIT;
use netlink_sys::{Socket, SocketAddr};
use tokio::task::JoinSet;

use super::*;
use crate::collect::source_board::SourceBoard;
use crate::event_queue::EventQueue;
use crate::shutdown::ShutdownSwitch;
use crate::state_dir::StateDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// A host with an auditd, as far as the source looks at it.
struct Host {
    directory: tempfile::TempDir,
    state: StateDir,
}

/// A run of the source.
struct Run {
    events: Arc<EventQueue>,
    positions: Arc<Positions>,
    switch: ShutdownSwitch,
    tasks: JoinSet<()>,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for folder in ["run", "proc/77", "etc/audit", "var/log/audit"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let state = StateDir::open(&root.join("state")).unwrap();
        let host = Self { directory, state };
        host.write("run/auditd.pid", "77\n");
        host.write("proc/77/comm", "auditd\n");
        host.write("var/log/audit/audit.log", "");
        host
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.directory.path().join(path), text).unwrap();
    }

    fn log(&self, lines: &[&str]) {
        let path = self.directory.path().join("var/log/audit/audit.log");
        let mut log = File::options().append(true).open(path).unwrap();
        for line in lines {
            writeln!(log, "{line}").unwrap();
        }
    }

    fn start(&self) -> Run {
        self.start_as(std::process::id())
    }

    /// The source, and what it needs.
    fn open(&self) -> (AuditSource, Arc<EventQueue>, Arc<Positions>) {
        let events = Arc::new(EventQueue::default());
        events.on_connected(u32::MAX);
        let positions = Arc::new(Positions::load(self.state.clone(), Arc::clone(&events)));
        let (sink, _counts) = LineSink::new(Arc::clone(&events), SourceBoard::new().0);
        let root = self.directory.path().to_owned();
        let source = AuditSource::new(root, sink, Arc::clone(&positions));
        (source, events, positions)
    }

    /// A run in which another process is the agent.
    fn start_as(&self, own_pid: u32) -> Run {
        let (mut source, events, positions) = self.open();
        source.intake.own_pid = own_pid;
        let (switch, shutdown) = crate::shutdown::shutdown();
        let mut tasks = JoinSet::new();
        tasks.spawn(source.run(shutdown));
        Run {
            events,
            positions,
            switch,
            tasks,
        }
    }
}

impl Run {
    /// Every event until one that is asked for.
    async fn until(&self, is_wanted: impl Fn(&LogEvent<'_>) -> bool) -> Vec<LogEvent<'static>> {
        let mut taken: Vec<LogEvent<'static>> = Vec::new();
        while !taken.last().is_some_and(&is_wanted) {
            let batch = tokio::time::timeout(DEADLINE, self.events.next_batch()).await;
            let batch = batch.expect("the events come");
            let decoded: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
            for event in decoded.events {
                taken.push(event.into_owned());
                if taken.last().is_some_and(&is_wanted) {
                    break;
                }
            }
            self.events.on_acknowledged(batch.seq, u32::MAX);
        }
        taken
    }

    async fn end(mut self) {
        self.switch.request();
        let ended = tokio::time::timeout(DEADLINE, self.tasks.join_next()).await;
        ended.expect("it ends").unwrap().unwrap();
        self.positions.save();
    }
}

fn is(event: &LogEvent<'_>, name: &str, value: &str) -> bool {
    event.fields.get(name) == Some(&FieldValue::from(value))
}

const CALL: [&str; 4] = [
    "type=SYSCALL msg=audit(1795290703.468:124): arch=c000003e syscall=59 success=yes exit=0 \
     pid=4748 auid=4294967295 uid=0 comm=\"curl\" exe=\"/usr/bin/curl\" key=\"x\"",
    "type=EXECVE msg=audit(1795290703.468:124): argc=3 a0=\"curl\" a1=\"--password\" a2=\"hunter2\"",
    "type=CWD msg=audit(1795290703.468:124): cwd=\"/root\"",
    "type=PROCTITLE msg=audit(1795290703.468:124): \
     proctitle=6375726C002D2D70617373776F72640068756E74657232",
];

#[tokio::test]
async fn a_log_is_told_once_over_restarts_without_secrets() {
    let host = Host::new();
    host.log(&["type=USER_END msg=audit(1.0:1): pid=1"]);
    let first = host.start();
    host.log(&CALL);
    let told = first.until(|event| is(event, "type", "EXECVE")).await;
    first.end().await;

    host.log(&["type=USER_START msg=audit(1795290704.0:125): pid=1 uid=0"]);
    let second = host.start();
    let more = second.until(|event| is(event, "type", "USER_START")).await;
    second.end().await;

    let kinds: Vec<_> = told.iter().map(|event| event.fields.get("type")).collect();
    assert_eq!(kinds, [Some(&"SYSCALL".into()), Some(&"EXECVE".into())]);
    assert!(is(&told[0], "SYSCALL", "execve") && is(&told[0], "UID", "root"));
    assert!(is(&told[1], "a1", "--password") && is(&told[1], "a2", "***"));
    let text = format!("{told:?}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(more.len(), 1, "{more:?}");
}

#[tokio::test]
async fn what_is_no_record_is_passed_on_and_an_event_without_end_is_told_in_time() {
    let host = Host::new();
    let run = host.start();

    host.log(&[
        "a line of somebody",
        "type=AVC msg=audit(1.0:9): apparmor=\"DENIED\" pid=5",
    ]);
    let told = run.until(|event| is(event, "type", "AVC")).await;

    assert_eq!(told.len(), 2);
    assert_eq!(told[0].message.as_str(), "a line of somebody");
    assert!(is(&told[1], "apparmor", "DENIED"));
    run.end().await;
}

#[tokio::test]
async fn an_auditd_that_ended_is_told_as_a_gap() {
    let host = Host::new();
    let run = host.start();
    host.log(&CALL);
    run.until(|event| is(event, "type", "EXECVE")).await;

    // The number may be another program's by now.
    host.write("proc/77/comm", "bash\n");
    let told = run.until(|event| is(event, "event", "source_lost")).await;

    let gap = told.last().unwrap();
    assert!(is(gap, "source", "audit") && gap.message.contains("auditd ended"));
    run.end().await;
}

#[tokio::test]
async fn a_log_without_a_name_for_a_moment_is_rotated_and_no_end_of_auditd() {
    let host = Host::new();
    let (mut source, events, _positions) = host.open();
    let session = |serial: u32| {
        format!("type=USER_START msg=audit(1795290704.0:{serial}): pid=1 uid=0 mark={serial}")
    };
    let log = host.directory.path().join("var/log/audit/audit.log");
    host.log(&[&session(1)]);
    while source.read_new() {}

    fs::rename(&log, log.with_extension("log.1")).unwrap();
    source.look();
    let is_followed = matches!(source.way, Way::Log(_));
    host.write("var/log/audit/audit.log", "");
    host.log(&[&session(2)]);
    source.look();
    while source.read_new() {}

    assert!(is_followed);
    let batch = events.next_batch().await;
    let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
    let marks: Vec<_> = batch
        .events
        .iter()
        .map(|it| it.fields.get("mark"))
        .collect();
    assert_eq!(marks, [Some(&"1".into()), Some(&"2".into())]);
}

#[tokio::test]
async fn a_message_of_the_kernel_that_is_no_record_is_told_and_counted() {
    let host = Host::new();
    let (mut source, events, _positions) = host.open();

    for text in ["audit: not of this form\0", "audit(1.0:9): pid=1 uid=0"] {
        source.intake.push_message(1_112, text);
    }

    let batch = events.next_batch().await;
    let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
    let told: Vec<_> = batch.events.iter().map(|it| &*it.message).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "type=UNKNOWN[1112] msg=audit: not of this form");
    assert_eq!(source.intake.sink.unread(), 1);
}

#[tokio::test]
async fn an_event_that_the_kernel_told_is_not_told_again_from_the_log() {
    let (sink, _counts) = LineSink::new(Arc::new(EventQueue::default()), SourceBoard::new().0);
    let mut intake = Intake::new(Arc::clone(&sink));
    let record = |line: &str| parse_line(line).unwrap();
    let push_all = |intake: &mut Intake| CALL.iter().for_each(|line| intake.push(record(line)));

    push_all(&mut intake);
    let n_first = sink.events().pushed();
    intake.end_all();
    push_all(&mut intake);

    assert_eq!((n_first, sink.events().pushed()), (2, 2));
}

/// A message of the kernel's log for each record of the call, and the same as the journal has it.
fn copies() -> Vec<(String, AuditRecord)> {
    let kinds = [1_300, 1_309, 1_307, 1_327];
    let copies = CALL.iter().zip(kinds).map(|(line, kind)| {
        let (_, text) = line.split_once("msg=").unwrap();
        let message = format!("audit: type={kind} {text}");
        (message, parse_line(line).unwrap())
    });
    copies.collect()
}

#[tokio::test]
async fn where_the_audit_cannot_be_read_copies_of_its_records_are_told_once_without_secrets() {
    let host = Host::new();
    let (mut source, events, _positions) = host.open();
    source.take(Way::None);
    let sink = Arc::clone(&source.intake.sink);

    for (message, copy) in copies() {
        assert!(sink.takes_audit_copy(&message));
        sink.push_audit_copy(Some(copy));
    }
    while source.read_new() {}

    let batch = events.next_batch().await;
    assert!(!batch.text.contains("hunter2") && !batch.text.contains("68756E"));
    let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
    let kinds: Vec<_> = batch
        .events
        .iter()
        .map(|it| it.fields.get("type"))
        .collect();
    assert_eq!(kinds, [Some(&"SYSCALL".into()), Some(&"EXECVE".into())]);
    assert!(is(&batch.events[1], "a2", "***"));
}

#[tokio::test]
async fn copies_are_left_out_where_the_audit_is_read_and_where_it_is_off() {
    let host = Host::new();
    let (mut source, events, _positions) = host.open();
    let is_read = matches!(source.way, Way::Log(_));
    let (off, _counts) = LineSink::new(Arc::new(EventQueue::default()), SourceBoard::new().0);

    for (message, copy) in copies() {
        for sink in [&source.intake.sink, &off] {
            assert!(sink.takes_audit_copy(&message), "{message}");
            sink.push_audit_copy(Some(copy.clone()));
        }
    }
    while source.read_new() {}

    assert!(is_read);
    assert_eq!((events.pushed(), off.events().pushed()), (0, 0));
    let turned_off = "audit: type=1305 audit(1.0:9): op=set audit_enabled=0 old=1 auid=0 res=1";
    assert!(
        !off.takes_audit_copy(turned_off),
        "the last that is heard of the audit"
    );
}

#[tokio::test]
async fn copies_beyond_what_can_wait_are_counted() {
    let host = Host::new();
    let (mut source, events, _positions) = host.open();
    source.take(Way::None);
    let copy = |serial: u32| parse_line(&format!("type=USER_END msg=audit(1.0:{serial}): pid=1"));

    for serial in 0..600 {
        source.intake.sink.push_audit_copy(copy(serial));
    }
    while source.read_new() {}

    assert_eq!(
        events.pushed(),
        513,
        "those that waited, and that others were lost"
    );
    assert!(source.intake.sink.audit_copies().take_lost() == 0);
}

#[tokio::test]
async fn a_record_in_a_line_of_anybody_is_told_as_a_line_without_its_secrets() {
    let host = Host::new();
    let (mut source, events, _positions) = host.open();
    source.take(Way::None);
    let sink = Arc::clone(&source.intake.sink);
    let stamp = "audit(1795290703.468:124):";
    let lines = [
        format!(
            "kernel: [    7.000001] audit: type=1309 {stamp} argc=2 a0=\"mysql\" a1=\"-phunter2\""
        ),
        format!("kernel: audit: type=1327 {stamp} proctitle=6D7973716C002D7068756E74657232"),
        format!("audispd: node=web type=TTY msg={stamp} tty pid=1 data=68756E746572320A"),
        format!("sudo: type=1123 {stamp} pid=1 msg='cwd=\"/\" cmd=6D7973716C202D7068756E74657232'"),
    ];
    for line in &lines {
        let line = format!("2026-11-21T01:02:03Z web {line}");
        let bytes = line.as_bytes();
        let is_cut = false;
        sink.push_line(crate::collect::lines::Line { bytes, is_cut }, "syslog");
    }
    sink.push_audit_line("type=TTY msg=audit(x): data=68756E74657232");
    while source.read_new() {}

    let batch = events.next_batch().await;
    assert!(!batch.text.contains("hunter2"), "{}", batch.text);
    assert!(!batch.text.contains("68756E"), "{}", batch.text);
    let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
    let services: Vec<_> = batch.events.iter().map(|it| &*it.service).collect();
    assert_eq!(services, ["kernel", "kernel", "audispd", "sudo", "auditd"]);
    assert_eq!(
        &*batch.events[0].message,
        "[    7.000001] audit: type=EXECVE argc=2 a0=mysql a1=-p***"
    );
}

#[tokio::test]
async fn what_the_agent_itself_does_is_not_told() {
    let (sink, _counts) = LineSink::new(Arc::new(EventQueue::default()), SourceBoard::new().0);
    let mut intake = Intake::new(Arc::clone(&sink));
    let line = |pid: u32| format!("type=USER_CMD msg=audit(1.0:{pid}): pid={pid} uid=0");

    for pid in [std::process::id(), 1] {
        intake.push(parse_line(&line(pid)).unwrap());
    }

    assert_eq!(sink.events().pushed(), 1);
}

/// Sends a message of a program to the kernel's audit, which passes one of this kind on even where
/// nobody has turned it on; false where this process may not.
fn send(text: &str) -> bool {
    const USER_AVC: u16 = 1107;
    const REQUEST: u16 = 1;
    let length = u32::try_from(16 + text.len() + 1).unwrap();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(USER_AVC.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(text.as_bytes());
    message.push(0);
    let socket = Socket::new(NETLINK_AUDIT).unwrap();
    socket.send_to(&message, &SocketAddr::new(0, 0), 0).is_ok()
}

#[tokio::test]
async fn records_of_this_machines_kernel_are_told_as_they_come() {
    let host = Host::new();
    fs::remove_file(host.directory.path().join("run/auditd.pid")).unwrap();
    if let Err(error) = check_readable(host.directory.path()) {
        hidps_lab::say_skipped("the kernel's audit", &chain(&error));
        return;
    }
    let run = host.start_as(0);
    let mark = format!("hidps-test-{}", std::process::id());
    let mut n_sent = 0;

    // Another program of this machine may fill the socket in the same moment, so it is said again.
    let told = loop {
        if !send(&format!("op=test mark={mark} exe=\"/bin/true\"")) {
            hidps_lab::say_skipped("the kernel's audit", &"it takes no message of this process");
            return;
        }
        n_sent += 1;
        assert!(n_sent < 30, "the kernel tells what it was told");
        let told = run.until(|event| is(event, "mark", &mark));
        if let Ok(told) = tokio::time::timeout(Duration::from_secs(1), told).await {
            break told;
        }
    };

    let event = told.last().unwrap();
    assert!(is(event, "type", "USER_AVC") && is(event, "exe", "/bin/true"));
    assert!(matches!(
        event.fields.get("serial"),
        Some(FieldValue::Integer(_))
    ));
    run.end().await;
}

#[test]
fn a_datagram_is_a_record_however_its_length_is_told() {
    let text = b"audit(1.0:1): a=b";
    let head = |length: u32| {
        let mut head = length.to_ne_bytes().to_vec();
        head.extend(1300_u16.to_ne_bytes());
        head.extend([0; 10]);
        head
    };

    for length in [0, 17, 33, u32::MAX] {
        let datagram = [head(length).as_slice(), text].concat();
        let expected = Received::Record(1_300, "audit(1.0:1): a=b".to_owned());
        assert_eq!(netlink::parse(&datagram), expected);
    }
    assert_eq!(netlink::parse(b"short"), Received::Other);
}
