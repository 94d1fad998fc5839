//! Real sockets of this machine, seen as events.
//! Ports are those that the kernel hands out, or found free.

use super::*;
use crate::collect::process::host_processes;
use hidps_wire::{EventBatch, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, decode};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

const DEADLINE: Duration = Duration::from_secs(30);

fn look() -> Look {
    let queue = Arc::new(EventQueue::default());
    queue.on_connected(u32::MAX);
    let (board, _states) = SourceBoard::new();
    Look::new(PathBuf::from("/proc"), host_processes(), queue, board)
}

/// The events of a look, until one is wanted.
async fn wait_for(look: &Look, wanted: impl Fn(&LogEvent<'_>) -> bool) -> LogEvent<'static> {
    let found = async {
        loop {
            let batch = look.events.next_batch().await;
            let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
            let mut events = batch.events.into_iter().map(LogEvent::into_owned);
            if let Some(event) = events.find(|event| wanted(event)) {
                return event;
            }
        }
    };
    tokio::time::timeout(DEADLINE, found)
        .await
        .expect("it comes")
}

fn is(event: &LogEvent<'_>, name: &str, value: impl Into<FieldValue<'static>>) -> bool {
    event.fields.get(name) == Some(&value.into())
}

#[tokio::test]
async fn a_port_is_told_with_its_program_when_it_opens_and_when_it_closes() {
    let mut look = look();
    let before = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    look.look().unwrap();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = i64::from(listener.local_addr().unwrap().port());
    let old = i64::from(before.local_addr().unwrap().port());
    look.look().unwrap();
    let opened = wait_for(&look, |event| {
        assert!(!is(event, "port", old), "what was there before is no event");
        is(event, "port", port)
    });
    let opened = opened.await;
    drop(listener);
    look.look().unwrap();
    look.look().unwrap();
    let closed = wait_for(&look, |event| is(event, "port", port)).await;

    assert!(is(&opened, "event", "listening_port_opened"), "{opened:?}");
    let image = std::env::current_exe().unwrap();
    assert!(
        is(&opened, "Image", image.to_str().unwrap().to_owned()),
        "{opened:?}"
    );
    assert!(is(&opened, "address", "127.0.0.1") && is(&opened, "proto", "tcp"));
    assert!(is(&opened, "ProcessId", i64::from(std::process::id())));
    assert!(is(&closed, "event", "listening_port_closed"), "{closed:?}");
    assert_eq!(closed.fields.get("Image"), opened.fields.get("Image"));
}

#[tokio::test]
async fn a_connection_is_told_with_who_began_it() {
    let mut look = look();
    look.look().unwrap();

    // Nothing is sent: to connect a datagram socket only sets its other end. The address is kept
    // for documentation.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    if let Err(error) = socket.connect("192.0.2.77:53") {
        return hidps_lab::say_skipped("a_connection_is_told_with_who_began_it", &error);
    }
    look.look().unwrap();
    let event = wait_for(&look, |event| is(event, "DestinationIp", "192.0.2.77")).await;

    assert!(is(&event, "Initiated", FieldValue::Bool(true)), "{event:?}");
    assert!(is(&event, "DestinationPort", 53_i64) && is(&event, "Protocol", "udp"));
    let image = std::env::current_exe().unwrap();
    assert!(
        is(&event, "Image", image.to_str().unwrap().to_owned()),
        "{event:?}"
    );
}

#[test]
fn what_is_beyond_what_is_compared_is_counted() {
    let look = look();
    let (mut before, mut now) = (Sockets::default(), Sockets::default());
    before.n_left_out = 2;
    now.n_left_out = 9;

    look.tell_flows(&now, &before, &HashMap::new());
    look.tell_flows(&now, &now, &HashMap::new());

    assert_eq!(look.board.lost().of(SOURCE).as_deref(), Some("7"));
}

#[tokio::test]
async fn a_watch_ends_with_the_agent() {
    let watch = SocketWatch::start(
        Some(DEADLINE),
        host_processes(),
        Arc::default(),
        &SourceBoard::new().0,
    )
    .unwrap();
    let (switch, shutdown) = crate::shutdown::shutdown();

    switch.request();

    let (_decide, cadence) = watch::channel(Cadence::every(DEADLINE));
    tokio::time::timeout(DEADLINE, watch.run(shutdown, cadence))
        .await
        .expect("it ends");
}

#[tokio::test]
async fn a_host_whose_sockets_cannot_be_read_is_told_as_such_and_so_is_their_return() {
    let (board, mut states) = SourceBoard::new();
    let proc = tempfile::tempdir().unwrap();
    let mut look = look();
    look.board = board;
    look.proc = proc.path().to_owned();
    // The kernel is not asked, so that only the tables are left.
    look.reader = SocketReader::refused("no such thing");
    let (handle, pacer) = pacer(Duration::from_secs(1));
    let thread = std::thread::spawn(move || look.repeat(&pacer));
    let mut becomes = async |wanted: Standing| {
        let told = states.wait_for(|states| {
            let state = states.get(SOURCE);
            state.is_some_and(|state| state.standing == wanted)
        });
        let told = tokio::time::timeout(DEADLINE, told).await;
        told.expect("it is told").unwrap()[SOURCE].clone()
    };

    becomes(Standing::Failed).await;
    std::fs::create_dir(proc.path().join("net")).unwrap();
    for table in ["tcp", "udp"] {
        std::fs::write(proc.path().join("net").join(table), "").unwrap();
    }
    let read = becomes(Standing::Read).await;

    assert!(read.how.contains("no such thing"), "{}", read.how);
    drop(handle);
    thread.join().unwrap();
}
