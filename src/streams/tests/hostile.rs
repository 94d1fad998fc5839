//! What a hostile agent may try, over real connections: another agent and a viewer go on, what is
//! kept stays bounded, and a counter tells it. What a batch holds is judged in `detection`.

use hidps_wire::{
    Answer, ContentHash, DesiredDocument, EventKind, Fields, Generation, LogEvent,
    MAX_AGENT_FRAME_BYTES, Status, ViewerFrame,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use uuid::Uuid;

use super::*;
use crate::model::DesiredState;
use crate::ports::LiveLog as _;
use crate::streams::fakes::{NEIGHBOUR, public_key, sign_token};

/// What the sockets counted in one test, all of which run on its thread.
struct Counts(PrometheusHandle);

impl Counts {
    fn recorder() -> (PrometheusRecorder, Self) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let counts = Self(recorder.handle());
        (recorder, counts)
    }

    fn of(&self, series: &str) -> u64 {
        let text = self.0.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().expect("a count"))
    }

    fn frames_refused(&self) -> u64 {
        self.of(r#"hidps_frames_refused_total{peer="agent"}"#)
    }
}

/// Who must not feel an attack: another agent, and somebody who watches the hostile one.
struct Bystanders {
    agent: Socket,
    viewer: Socket,
    said: u64,
}

impl Bystanders {
    async fn of(world: &World) -> Self {
        let mut agent = world.connect_as(NEIGHBOUR).await.expect("let in");
        send(&mut agent, &hello(1, None)).await;
        receive(&mut agent).await;
        let address = format!("ws://{}/v1/viewers/connect", world.address);
        let mut request = address.into_client_request().expect("a good address");
        let token = format!("Bearer {}", sign_token("good", &json!({})));
        let headers = request.headers_mut();
        headers.insert("authorization", token.parse().expect("a header value"));
        let (mut viewer, _) = connect_async(request).await.expect("the socket opens");
        let subscribe = ViewerFrame::Subscribe { agent_id: AGENT };
        send(&mut viewer, &encode(&subscribe)).await;
        receive_until(&mut viewer, r#""subscribed""#).await;
        Self {
            agent,
            viewer,
            said: 0,
        }
    }

    /// The agent's next batch is taken in and acknowledged, and the viewer sees the next line.
    async fn go_on(&mut self, world: &World) {
        self.said += 1;
        let seq = self.said;
        let batch = format!(r#"{{"type":"events","seq":{seq},"events":[]}}"#);
        send(&mut self.agent, &batch).await;
        until("the neighbour's batch arrives", || {
            let batches = locked(&world.recorder.batches);
            let found = batches
                .iter()
                .find(|found| found.agent_id == NEIGHBOUR && *found.text == *batch);
            found.map(|found| found.progress.taken(seq)).is_some()
        })
        .await;
        receive_until(&mut self.agent, &format!(r#""seq":{seq},"#)).await;
        let line = format!("line {seq} of the test");
        let event = LogEvent {
            timestamp: "2026-11-21T00:00:00Z".into(),
            kind: EventKind::Login,
            service: "sshd".into(),
            message: line.clone().into(),
            fields: Fields::default(),
        };
        world.fanout.publish(AGENT, &[event]);
        receive_until(&mut self.viewer, &line).await;
    }
}

/// Passes over frames until one holds this text.
async fn receive_until(socket: &mut Socket, text: &str) {
    while !receive_text(socket).await.contains(text) {}
}

/// Reads until the connection has ended.
async fn read_to_end(socket: &mut Socket) {
    let reading = async { while let Some(Ok(_)) = socket.next().await {} };
    let ended = timeout(Duration::from_secs(60), reading).await;
    ended.expect("the daemon ends the connection");
}

fn raw_frame(opcode: OpCode, is_final: bool, payload: Vec<u8>) -> Message {
    let header = FrameHeader {
        is_final,
        opcode,
        ..FrameHeader::default()
    };
    Message::Frame(Frame::from_payload(header, Bytes::from(payload)))
}

/// Frames each of which has to end the connection that sends it.
fn hostile_frames() -> Vec<(&'static str, Vec<Message>)> {
    let deep = "[".repeat(100_000);
    let compressed = FrameHeader {
        rsv1: true,
        opcode: OpCode::Data(Data::Text),
        ..FrameHeader::default()
    };
    let compressed = Frame::from_payload(compressed, Bytes::from_static(b"{}"));
    let part = || vec![b' '; MAX_AGENT_FRAME_BYTES / 2 + 1];
    let text = OpCode::Data(Data::Text);
    let long_ping = raw_frame(OpCode::Control(Control::Ping), true, vec![0; 200]);
    vec![
        ("deep", vec![Message::text(deep.clone())]),
        (
            "deep within a frame",
            vec![Message::text(format!(
                r#"{{"type":"status","applied":{deep}"#
            ))],
        ),
        ("bad UTF-8", vec![raw_frame(text, true, vec![b'"', 0xff])]),
        ("binary", vec![Message::binary(vec![0; 16])]),
        ("compressed", vec![Message::Frame(compressed)]),
        (
            "a reserved kind",
            vec![raw_frame(OpCode::Data(Data::Reserved(3)), true, vec![b'{'])],
        ),
        ("a long control frame", vec![long_ping]),
        (
            "too long",
            vec![Message::text(" ".repeat(MAX_AGENT_FRAME_BYTES + 1))],
        ),
        (
            "too long in parts",
            vec![
                raw_frame(text, false, part()),
                raw_frame(OpCode::Data(Data::Continue), false, part()),
            ],
        ),
        (
            "a number out of range",
            vec![Message::text(
                r#"{"type":"usage","cpu":1e999,"ram":1,"storage":1}"#,
            )],
        ),
    ]
}

#[tokio::test]
async fn whatever_a_hostile_agent_sends_its_own_connection_ends_and_is_counted() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;

    for (what, frames) in hostile_frames() {
        let before = counts.frames_refused();
        let mut socket = world.agent(None).await;
        for frame in frames {
            // The daemon may have hung up within a long frame.
            socket.send(frame).await.ok();
        }
        read_to_end(&mut socket).await;

        until(what, || counts.frames_refused() > before).await;
        bystanders.go_on(&world).await;
    }
}

#[tokio::test]
async fn another_agents_id_in_any_field_of_any_frame_is_refused() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let status = AgentFrame::Status(Status {
        applied: None,
        conditions: Vec::new(),
        firewall_active: None,
    });
    let frames = [
        encode(&status),
        r#"{"type":"usage","cpu":1,"ram":1,"storage":1}"#.to_owned(),
        r#"{"type":"processes","total":0,"top":[]}"#.to_owned(),
        r#"{"type":"facts","hostname":"h","kernel":"6","arch":"a","interfaces":[]}"#.to_owned(),
        encode(&AgentFrame::Answer {
            id: Uuid::from_u128(5),
            answer: Answer::FirewallStatus { active: true },
        }),
    ];
    for field in ["agent_id", "sender", "org"] {
        let claim = format!(r#"{{"{field}":"{NEIGHBOUR}","#);
        for frame in &frames {
            let before = counts.frames_refused();
            let mut socket = world.agent(None).await;
            send(&mut socket, &frame.replacen('{', &claim, 1)).await;
            read_to_end(&mut socket).await;
            assert!(counts.frames_refused() > before, "{field} in {frame}");
        }
        let mut socket = world.connect().await.expect("the signature is good");
        send(&mut socket, &hello(1, None).replacen('{', &claim, 1)).await;
        read_to_end(&mut socket).await;
    }

    assert_eq!(counts.frames_refused(), 18);
    assert_eq!(
        locked(&world.recorder.presence).get(&NEIGHBOUR),
        Some(&true)
    );
    bystanders.go_on(&world).await;
}

/// Opens the agents' socket with these headers.
async fn connect_with(
    world: &World,
    headers: &axum::http::HeaderMap,
) -> Result<axum::http::HeaderMap, u16> {
    let address = format!("ws://{}{CONNECT_PATH}", world.address);
    let mut request = address.into_client_request().expect("a good address");
    request.headers_mut().extend(headers.clone());
    match connect_async(request).await {
        Ok((_, response)) => Ok(response.headers().clone()),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("no answer: {error}"),
    }
}

#[tokio::test]
async fn a_connect_is_good_once() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let host = world.address.to_string();
    let headers = sign_connect(AGENT, &host, Timestamp::now().as_second());
    let mut stolen = sign_connect(AGENT, &host, Timestamp::now().as_second());
    let neighbour = NEIGHBOUR.to_string().parse().expect("a header value");
    stolen.insert(hidps_wire::HEADER_AGENT, neighbour);

    assert!(connect_with(&world, &headers).await.is_ok());
    assert_eq!(connect_with(&world, &headers).await, Err(401));
    assert_eq!(connect_with(&world, &stolen).await, Err(401));

    assert_eq!(counts.of(r#"hidps_auth_failures_total{kind="replay"}"#), 1);
    assert_eq!(counts.of(r#"hidps_auth_failures_total{kind="unknown"}"#), 1);
    bystanders.go_on(&world).await;
}

#[tokio::test]
async fn compression_is_never_negotiated() {
    let world = world(KeyStatus::Admitted).await;
    let host = world.address.to_string();
    let mut headers = sign_connect(AGENT, &host, Timestamp::now().as_second());
    let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
    let offer = offer.parse().expect("a header value");
    headers.insert("sec-websocket-extensions", offer);

    let answer = connect_with(&world, &headers).await.expect("let in");

    assert_eq!(answer.get("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn an_older_protocol_is_refused_and_counted() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.connect().await.expect("the signature is good");

    send(&mut socket, &hello(0, None)).await;

    let goodbye = receive_text(&mut socket).await;
    assert!(
        goodbye.contains("protocol 0 is not spoken here"),
        "{goodbye}"
    );
    assert_eq!(counts.frames_refused(), 1);
}

#[tokio::test]
async fn a_flood_of_batches_is_bounded_by_the_credit() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let mut socket = world.agent(None).await;

    for seq in 1..=1_000 {
        let batch = format!(r#"{{"type":"events","seq":{seq},"events":[]}}"#);
        socket.send(Message::text(batch)).await.ok();
    }
    read_to_end(&mut socket).await;

    let batches = locked(&world.recorder.batches).len();
    assert_eq!(batches, 64, "twice the credit");
    assert_eq!(counts.frames_refused(), 1);
    bystanders.go_on(&world).await;
}

#[tokio::test]
async fn numbers_of_batches_are_repeated_and_nothing_more() {
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let mut socket = world.agent(None).await;
    let sequence = [5, 1_000_000, u64::MAX, u64::MAX, 0, 3];

    for seq in sequence {
        let batch = format!(r#"{{"type":"events","seq":{seq},"events":[]}}"#);
        send(&mut socket, &batch).await;
    }
    until("all arrive", || {
        locked(&world.recorder.batches).len() == sequence.len()
    })
    .await;
    for (batch, seq) in locked(&world.recorder.batches).iter().zip(sequence) {
        assert_eq!(batch.agent_id, AGENT);
        batch.progress.taken(seq);
    }

    receive_until(&mut socket, &format!(r#""seq":{},"#, u64::MAX)).await;
    bystanders.go_on(&world).await;
}

fn desired(monitored_files: Vec<String>) -> Arc<DesiredState> {
    Arc::new(DesiredState {
        generation: Generation(4),
        hash: ContentHash("h".into()),
        document: DesiredDocument {
            monitored_files,
            ..DesiredDocument::default()
        },
        changed_at: Timestamp::UNIX_EPOCH,
        hold: None,
        released: false,
    })
}

#[tokio::test]
async fn what_was_never_sent_cannot_be_confirmed() {
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let never_sent = Some(Applied {
        generation: Generation(u64::MAX),
        hash: ContentHash("none".into()),
        entries: u32::MAX,
    });
    let mut socket = world.agent(never_sent.clone()).await;
    let answer = AgentFrame::Answer {
        id: Uuid::from_u128(5),
        answer: Answer::FirewallStatus { active: true },
    };
    send(&mut socket, &encode(&answer)).await;
    let status = AgentFrame::Status(Status {
        applied: never_sent,
        conditions: Vec::new(),
        firewall_active: None,
    });
    send(&mut socket, &encode(&status)).await;
    world.desired.slot.send_replace(Some(desired(Vec::new())));

    receive_until(&mut bystanders.agent, r#""apply""#).await;
    until("the daemon says what it thinks of it", || {
        let conditions = locked(&world.recorder.conditions);
        conditions.iter().any(|report| report.agent_id == AGENT)
    })
    .await;
    let confirmed = |report: &crate::model::ConditionReport| {
        report.agent_id == AGENT && report.observed_generation.is_some()
    };
    assert!(!locked(&world.recorder.conditions).iter().any(confirmed));
    bystanders.go_on(&world).await;
}

/// Sends a request without a WebSocket and gives what comes until the daemon ends the connection.
async fn request(world: &World, text: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.expect("loopback");
    // The daemon may have hung up within a long request.
    stream.write_all(text.as_bytes()).await.ok();
    let mut answer = Vec::new();
    let reading = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer));
    // A connection that was reset is over as well.
    reading.await.expect("the daemon ends the connection").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}", "a".repeat(1_000_000));
    let many = format!(
        "GET / HTTP/1.1\r\nhost: h\r\n{}\r\n",
        "x: y\r\n".repeat(500)
    );

    for hostile in [long, many] {
        let answer = request(&world, &hostile).await;

        assert!(!answer.contains("hidpsd"), "{answer}");
    }
    let refused = || counts.of(r#"hidps_bad_requests_total{why="too_large"}"#);
    until("both are counted", || refused() == 2).await;
    bystanders.go_on(&world).await;
}

#[tokio::test]
async fn slow_peers_are_ended_and_counted_by_what_they_owe() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let body = format!(
        "POST /v1/agents/{AGENT}/enroll HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 500\r\n\r\n{{"
    );
    let headers = futures_util::future::join_all(
        (0..50).map(|_| request(&world, "GET / HTTP/1.1\r\nhost: h\r\nx: ")),
    );
    let mut silent = world.connect().await.expect("the signature is good");
    let silence = async {
        receive_until(&mut silent, "no hello within 10 s").await;
        read_to_end(&mut silent).await;
    };

    let (_, answer, (), ()) = tokio::join!(
        headers,
        request(&world, &body),
        silence,
        bystanders.go_on(&world)
    );

    assert!(answer.contains(" 408 "), "{answer}");
    let owed = |what: &str| counts.of(&format!(r#"hidps_slow_peers_total{{owed="{what}"}}"#));
    assert_eq!((owed("headers"), owed("body"), owed("hello")), (50, 1, 1));
}

#[tokio::test]
async fn an_agent_that_never_reads_is_left_and_counted() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let unread = world.agent(None).await;

    // More than the kernel keeps for a peer that does not read.
    let long = "x".repeat(4_000);
    world
        .desired
        .slot
        .send_replace(Some(desired(vec![long; 1_900])));

    until("the agent is left", || {
        locked(&world.recorder.presence).get(&AGENT) == Some(&false)
    })
    .await;
    assert_eq!(counts.of(r#"hidps_slow_peers_total{owed="reading"}"#), 1);
    drop(unread);
    world.desired.slot.send_replace(None);
    Bystanders::of(&world).await.go_on(&world).await;
}

/// Bodies that a hostile host posts with a good token, none of which may be taken.
fn hostile_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &[0; 5_000]].concat();
    let claim =
        format!(r#"{{"type":"login","service":"sshd","message":"x","agent_id":"{NEIGHBOUR}"}}"#);
    vec![
        ("deep", "[".repeat(100_000).into()),
        ("bad UTF-8", vec![b'"', 0xff]),
        ("packed", gzip),
        ("too long", vec![b' '; MAX_AGENT_FRAME_BYTES + 1]),
        ("another agent", claim.into()),
        ("hello", hello(1, None).into()),
        (
            "a number out of range",
            br#"{"type":"usage","cpu":1e999,"ram":1,"storage":1}"#.to_vec(),
        ),
    ]
}

#[tokio::test]
async fn whatever_is_posted_the_socket_of_another_agent_and_a_viewer_go_on() {
    let (recorder, counts) = Counts::recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let world = world(KeyStatus::Admitted).await;
    let mut bystanders = Bystanders::of(&world).await;
    let whose = (AGENT.uuid(), Uuid::from_u128(10));
    let now = Timestamp::now().as_second();
    let token = world.ways.tokens.issue(whose, &public_key(), now);
    let token = token.expect("claims can be written");
    let head = |length: usize| {
        format!(
            "POST /v1/agent/events HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n",
            world.address
        )
    };

    for (what, body) in hostile_bodies() {
        let mut stream = TcpStream::connect(world.address).await.expect("loopback");
        let head = head(body.len());
        stream.write_all(head.as_bytes()).await.expect("taken");
        // The daemon may have answered before the end of a long body.
        stream.write_all(&body).await.ok();
        let mut answer = Vec::new();
        let reading = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer));
        // What was not read of a long body may cost the end of the connection, not its answer.
        reading.await.expect("it answers").ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
        bystanders.go_on(&world).await;
    }

    // Half a body, and then nothing: others do not wait for the rest.
    let mut slow = TcpStream::connect(world.address).await.expect("loopback");
    let half = head(1_000) + "{";
    slow.write_all(half.as_bytes()).await.expect("taken");
    bystanders.go_on(&world).await;
    assert_eq!(counts.frames_refused(), hostile_bodies().len() as u64);
    assert!(
        locked(&world.recorder.batches)
            .iter()
            .all(|batch| batch.agent_id == NEIGHBOUR)
    );
}
