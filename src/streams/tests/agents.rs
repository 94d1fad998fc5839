//! What agents may do on their socket, and what becomes of those who do something else.

use std::net::IpAddr;

use hidps_wire::{
    AgentCondition, ConditionStatus, ContentHash, DesiredDocument, FacetCondition, Generation,
    MAX_AGENT_FRAME_BYTES, Status,
};

use axum::extract::ws::WebSocket;
use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::MaybeTlsStream;

use super::*;
use crate::model::{ConditionKind, DesiredState, Observation, OrgId, OwnedAgent, TwinSign};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::fakes::OTHER;

fn desired(generation: u64) -> Arc<DesiredState> {
    Arc::new(DesiredState {
        generation: Generation(generation),
        hash: ContentHash("h".into()),
        document: DesiredDocument::default(),
        changed_at: jiff::Timestamp::UNIX_EPOCH,
        hold: None,
        released: false,
    })
}

/// Sends one bad frame and expects a goodbye that says why, while another agent stays connected.
/// The goodbye quotes nothing of the frame: it is logged and stored.
async fn check_refused(frame: &str, expected: &str) {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;

    send(&mut socket, frame).await;

    let goodbye = receive(&mut socket).await;
    let DaemonFrame::Goodbye(advice) = goodbye else {
        panic!("not a goodbye: {goodbye:?}")
    };
    assert!(
        advice.reason.contains(expected),
        "{:?} lacks {expected:?}",
        advice.reason
    );
    world.agent(None).await;
}

#[tokio::test]
async fn a_frame_that_is_not_json_ends_the_connection_with_a_reason() {
    check_refused("{not json", "not JSON (line 1").await;
}

#[tokio::test]
async fn an_unknown_frame_ends_the_connection_with_a_reason() {
    check_refused(
        r#"{"type":"exec","command":"id"}"#,
        "not one of the protocol (line 1",
    )
    .await;
}

#[tokio::test]
async fn an_unknown_field_ends_the_connection_with_a_reason() {
    check_refused(
        r#"{"type":"usage","cpu":1,"ram":1,"storage":1,"agent_id":"x"}"#,
        "not one of the protocol",
    )
    .await;
}

#[tokio::test]
async fn a_second_hello_ends_the_connection_with_a_reason() {
    check_refused(&hello(1, None), "hello comes once").await;
}

#[tokio::test]
async fn an_oversized_frame_ends_the_connection_and_nothing_else() {
    check_refused(&"x".repeat(MAX_AGENT_FRAME_BYTES + 1), "too long").await;
}

#[tokio::test]
async fn an_agent_of_another_protocol_is_told_which_one_is_spoken() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.connect().await.expect("the signature is good");

    send(&mut socket, &hello(99, None)).await;

    let DaemonFrame::Goodbye(advice) = receive(&mut socket).await else {
        panic!("not a goodbye")
    };
    assert!(
        advice.reason.contains("protocol 99 is not spoken here"),
        "{}",
        advice.reason
    );
}

/// Connects and expects an HTTP refusal before any upgrade.
async fn refusal(world: &World, headers: axum::http::HeaderMap) -> u16 {
    let address = format!("ws://{}{CONNECT_PATH}", world.address);
    let mut request = address.into_client_request().expect("a good address");
    request.headers_mut().extend(headers);
    match connect_async(request).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("the handshake was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn strangers_are_refused_during_the_handshake() {
    let world = world(KeyStatus::Admitted).await;
    let (host, now) = (world.address.to_string(), Timestamp::now().as_second());

    assert_eq!(refusal(&world, axum::http::HeaderMap::new()).await, 401);
    assert_eq!(refusal(&world, sign_connect(OTHER, &host, now)).await, 401);
    assert_eq!(
        refusal(&world, sign_connect(AGENT, &host, now - 3_600)).await,
        401
    );
}

#[tokio::test]
async fn agents_wait_outside_until_supabase_was_reached() {
    let world = world_starting(Arc::default(), Duration::ZERO).await;
    let (host, now) = (world.address.to_string(), Timestamp::now().as_second());

    assert_eq!(refusal(&world, sign_connect(AGENT, &host, now)).await, 503);
}

#[tokio::test]
async fn an_agent_that_comes_while_the_daemon_starts_is_let_in_with_it() {
    let health = Arc::new(Health::default());
    let world = world_starting(Arc::clone(&health), Duration::from_secs(60)).await;
    let mut connecting = Box::pin(world.connect());

    let early = timeout(Duration::from_millis(100), &mut connecting).await;
    health.set_open();
    let connected = connecting.await;

    assert!(early.is_err(), "{early:?}");
    assert!(connected.is_ok(), "{connected:?}");
}

#[tokio::test]
async fn a_pending_or_revoked_key_is_refused_with_403() {
    for status in [KeyStatus::Pending, KeyStatus::Revoked] {
        let world = world(status).await;
        let host = world.address.to_string();

        assert_eq!(
            refusal(
                &world,
                sign_connect(AGENT, &host, Timestamp::now().as_second())
            )
            .await,
            403
        );
    }
}

#[tokio::test]
async fn a_desired_state_is_sent_once_and_its_confirmation_recorded() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;
    world.desired.slot.send_replace(Some(desired(4)));
    let DaemonFrame::Apply(apply) = receive(&mut socket).await else {
        panic!("not a document")
    };
    let condition = AgentCondition {
        facet: FacetCondition::FirewallSynced,
        status: ConditionStatus::True,
        reason: "Enabled".into(),
        message: "the table is loaded".into(),
        subjects: Vec::new(),
    };
    let applied = Some(Applied {
        generation: apply.generation,
        hash: apply.hash,
        entries: 0,
    });

    let status = Status {
        applied,
        conditions: vec![condition],
        firewall_active: Some(true),
    };
    send(&mut socket, &encode(&AgentFrame::Status(status))).await;

    until("the condition is recorded with its generation", || {
        locked(&world.recorder.conditions).iter().any(|report| {
            report.kind == ConditionKind::FirewallSynced
                && report.observed_generation == Some(Generation(4))
        })
    })
    .await;
}

/// Two holders on this machine.
const fn twin(sign: TwinSign) -> Observation {
    Observation::Twin {
        sign,
        addresses: [None, None],
    }
}

#[tokio::test]
async fn copies_of_a_host_that_take_turns_are_told() {
    let world = world(KeyStatus::Admitted).await;
    for boot in [1, 2, 1] {
        let mut socket = world.connect().await.expect("the signature is good");
        let boot = format!(r#""boot":"{}","applied""#, uuid::Uuid::from_u128(boot));
        send(&mut socket, &hello(1, None).replace(r#""applied""#, &boot)).await;
        receive(&mut socket).await;
        socket.close(None).await.expect("the daemon listens");
        until("the connection has ended", || {
            locked(&world.recorder.presence).get(&AGENT) == Some(&false)
        })
        .await;
    }

    let told = locked(&world.recorder.observations).clone();
    assert!(told.contains(&(AGENT, twin(TwinSign::Turns))), "{told:?}");
}

#[tokio::test]
async fn an_older_connections_end_leaves_the_agent_online() {
    let world = world(KeyStatus::Admitted).await;
    let mut older = world.agent(None).await;

    let _newer = world.agent(None).await;

    let DaemonFrame::Goodbye(advice) = receive(&mut older).await else {
        panic!("not a goodbye")
    };
    assert!(advice.reason.contains("took over"), "{}", advice.reason);
    assert_eq!(locked(&world.recorder.presence).get(&AGENT), Some(&true));
    assert_eq!(
        *locked(&world.recorder.observations),
        [(AGENT, twin(TwinSign::Alive))],
        "the older one was alive, as it answered"
    );
}

#[tokio::test]
async fn an_agent_that_let_go_of_its_older_connection_is_no_twin() {
    let world = world(KeyStatus::Admitted).await;
    let mut older = world.agent(None).await;

    let _newer = world.agent(None).await;

    // Whatever arrives there is read by nobody who would answer.
    let mut unread = Vec::new();
    let MaybeTlsStream::Plain(stream) = older.get_mut() else {
        panic!("the tests use no TLS")
    };
    let end = timeout(Duration::from_secs(30), stream.read_to_end(&mut unread)).await;
    end.expect("the daemon closes")
        .expect("the socket is readable");
    assert!(String::from_utf8_lossy(&unread).contains("took over"));
    assert_eq!(*locked(&world.recorder.observations), []);
}

#[tokio::test]
async fn usage_is_shown_to_rules() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;

    let usage = r#"{"type":"usage","cpu":99.5,"ram":10,"storage":0,"load":[8,4,2],"sensors":[{"name":"a","celsius":41},{"name":"b","celsius":97.5}]}"#;
    send(&mut socket, usage).await;

    let usage = Observation::Usage {
        cpu: 99.5,
        ram: 10.0,
        storage: 0.0,
        load: Some([8.0, 4.0, 2.0]),
        celsius: Some(97.5),
    };
    until("the usage is observed", || {
        locked(&world.recorder.observations).contains(&(AGENT, usage))
    })
    .await;
}

#[tokio::test]
async fn processes_and_facts_are_recorded_without_what_deceives_a_reader() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;

    let processes = r#"{"type":"processes","total":1,"top":[{"pid":1,"name":"a\u0000\u202eb","cpu":0,"memory_kib":1}]}"#;
    send(&mut socket, processes).await;
    let facts = r#"{"type":"facts","hostname":"h\nh","kernel":"6","arch":"a","interfaces":[]}"#;
    send(&mut socket, facts).await;
    send(&mut socket, facts).await;
    send(&mut socket, &facts.replace("\"6\"", "\"7\"")).await;

    until("both are recorded", || {
        locked(&world.recorder.facts).len() == 1 && locked(&world.recorder.processes).len() == 1
    })
    .await;
    // Others that come so soon wait, and the end of the connection loses none.
    drop(socket);
    until("the last facts are recorded", || {
        locked(&world.recorder.facts).len() == 2
    })
    .await;
    let recorded = locked(&world.recorder.processes).remove(0);
    assert_eq!(recorded.agent_id, AGENT);
    assert_eq!(
        recorded.processes.top[0].name.as_str(),
        "a\u{fffd}\u{fffd}b"
    );
    let facts = locked(&world.recorder.facts).remove(1).facts;
    assert_eq!((&*facts.hostname, &*facts.kernel), ("h\u{fffd}h", "7"));
}

#[tokio::test]
async fn a_snapshot_of_too_many_processes_ends_the_connection() {
    let process = r#"{"pid":1,"name":"p","cpu":0,"memory_kib":1}"#;
    let top = vec![process; hidps_wire::MAX_PROCESSES + 1].join(",");
    let frame = format!(r#"{{"type":"processes","total":201,"top":[{top}]}}"#);

    check_refused(&frame, "not one of the protocol").await;
}

#[tokio::test]
async fn silence_is_told_when_it_is_long_and_not_when_it_was_wanted() {
    let recorder = Arc::new(Recorder::default());
    let presence = Presence::new(
        Arc::default(),
        Arc::clone(&recorder) as _,
        Arc::clone(&recorder) as _,
    );
    let at = |seconds| Timestamp::from_second(seconds).expect("a valid time");
    let frame = decode(&hello(1, None), usize::MAX);
    let Ok(AgentFrame::Hello(hello)) = frame else {
        panic!("not a hello: {frame:?}")
    };
    let owned = |agent| OwnedAgent {
        agent,
        org: OrgId(uuid::Uuid::nil()),
        key: [7; 32],
    };
    for agent in [AGENT, OTHER] {
        let (connection, _mailbox) = presence.enter(owned(agent), &hello, at(0));
        presence.leave(agent, connection, "gone", at(10));
    }
    presence.expect_silence(OTHER);

    presence.tell_silences(at(400));
    presence.enter(owned(AGENT), &hello, at(500));

    assert_eq!(
        *locked(&recorder.observations),
        [
            (AGENT, Observation::Silent { seconds: 390 }),
            (AGENT, Observation::Back { seconds: 490 }),
        ]
    );
}

#[tokio::test]
async fn a_wrong_clock_is_told_once_a_minute_however_often_it_knocks() {
    let recorder = Arc::new(Recorder::default());
    let records = Arc::clone(&recorder) as _;
    let presence = Presence::new(Arc::default(), records, Arc::clone(&recorder) as _);
    let at = |seconds| Timestamp::from_second(seconds).expect("a valid time");

    for second in 0..120 {
        presence.observe_skew(AGENT, 300, at(second));
    }
    presence.observe_skew(OTHER, 300, at(1));

    let observations = locked(&recorder.observations);
    let of = |agent| observations.iter().filter(|(one, _)| *one == agent).count();
    assert_eq!((of(AGENT), of(OTHER)), (2, 1));
}

#[tokio::test]
async fn an_agent_that_leaves_is_recorded_offline() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;

    socket.close(None).await.expect("the daemon listens");

    until("the agent is offline", || {
        locked(&world.recorder.presence).get(&AGENT) == Some(&false)
    })
    .await;
}

#[tokio::test]
async fn batches_carry_the_id_of_the_connection_and_are_acknowledged_when_taken_in() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;

    send(
        &mut socket,
        r#"{"type":"events","seq":7,"dropped":0,"events":[]}"#,
    )
    .await;
    until("the batch arrives", || {
        !locked(&world.recorder.batches).is_empty()
    })
    .await;
    let batch = locked(&world.recorder.batches).remove(0);
    batch.progress.taken(7);

    assert_eq!(batch.agent_id, AGENT);
    assert!(matches!(
        receive(&mut socket).await,
        DaemonFrame::Ack { seq: 7, .. }
    ));
}

#[tokio::test]
async fn an_agent_knows_what_was_taken_in_before_the_daemon_goes() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;
    send(
        &mut socket,
        r#"{"type":"events","seq":1,"dropped":0,"events":[]}"#,
    )
    .await;
    until("the batch arrives", || {
        !locked(&world.recorder.batches).is_empty()
    })
    .await;
    let batch = locked(&world.recorder.batches).remove(0);

    // No time passes in between in which it would be acknowledged anyway.
    batch.progress.taken(1);
    world.stop.cancel();

    assert!(matches!(
        receive(&mut socket).await,
        DaemonFrame::Ack { seq: 1, .. }
    ));
    assert!(matches!(
        receive(&mut socket).await,
        DaemonFrame::Goodbye(_)
    ));
}

/// The size of the future that a function returns.
fn future_size<'a, F>(
    _: impl Fn(&'a AgentLinks, OwnedAgent, Option<IpAddr>, PeerCertificate, WebSocket) -> F,
) -> usize {
    size_of::<F>()
}

#[test]
fn a_steady_connection_is_a_small_future() {
    let bytes = future_size(AgentLinks::serve);

    // Every connected agent pays this; one match with everything inlined took 15,900 bytes.
    assert!(bytes <= 600, "{bytes} bytes");
}

#[tokio::test]
async fn an_agent_that_ignores_its_credit_is_cut_off_and_no_other() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;

    for seq in 1..=65 {
        send(
            &mut socket,
            &format!(r#"{{"type":"events","seq":{seq},"events":[]}}"#),
        )
        .await;
    }

    let DaemonFrame::Goodbye(advice) = receive(&mut socket).await else {
        panic!("not a goodbye")
    };
    assert!(advice.reason.contains("credit"), "{}", advice.reason);
    world.agent(None).await;
}

#[tokio::test]
async fn claims_of_a_host_are_tamed_before_they_are_recorded() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.connect().await.expect("the signature is good");

    send(&mut socket, &hello(1, None).replace("web", "a\\u0000b\\n")).await;
    until("the host is recorded", || {
        !locked(&world.recorder.hosts).is_empty()
    })
    .await;

    assert_eq!(
        locked(&world.recorder.hosts)[0].hostname,
        "a\u{fffd}b\u{fffd}"
    );
}
