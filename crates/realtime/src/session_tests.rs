//! The session, driven by hand.
//! Never opens a socket and never waits.

use serde_json::{Value, json};

use super::*;
use crate::error::Remedy;
use crate::event::ChangeKind;

const ID: u64 = 106_243_155;

struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    fn join(channel: Channel) -> Self {
        let config = Config::new("http://host", "sb_secret_x", channel.clone());
        let now = Instant::now();
        let token = Secret::from("first-token");
        Self {
            session: Session::join(channel, Patience::from(&config), token, now),
            now,
        }
    }

    fn joined(channel: Channel) -> Self {
        let mut bench = Self::join(channel);
        bench.sent();
        let ids = json!([{ "id": ID }]);
        bench.receive(
            "phx_reply",
            json!({"status": "ok", "response": {"postgres_changes": ids}}),
        );
        bench
    }

    fn ready(channel: Channel) -> Self {
        let mut bench = Self::joined(channel);
        bench.receive("system", system_ok());
        assert!(matches!(
            bench.session.poll_output(),
            Some(Output::Emit(Event::Ready))
        ));
        bench
    }

    fn receive(&mut self, event: &str, payload: Value) {
        self.receive_raw(&json!(["1", "1", "realtime:feed", event, payload]).to_string());
    }

    fn receive_raw(&mut self, text: &str) {
        self.session.on_text(text, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.on_time(self.now);
    }

    fn sent(&mut self) -> Value {
        match self.session.poll_output() {
            Some(Output::Send(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a frame to send, got {other:?}"),
        }
    }

    fn event(&mut self) -> Event {
        match self.session.poll_output() {
            Some(Output::Emit(event)) => event,
            other => panic!("expected an event, got {other:?}"),
        }
    }

    fn failure(&mut self) -> RealtimeError {
        match self.session.poll_output() {
            Some(Output::Fail(error)) => error,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.session.poll_output().is_none()
    }
}

fn table() -> Channel {
    Channel::new("feed").changes("public", "desired_generations")
}

fn system_ok() -> Value {
    json!({"status": "ok", "extension": "postgres_changes", "message": "Subscribed to PostgreSQL", "channel": "feed"})
}

fn insert(ids: &Value) -> Value {
    json!({"ids": ids, "data": {"schema": "public", "table": "desired_generations", "type": "INSERT",
        "commit_timestamp": "2026-11-21T00:12:45.157Z", "columns": [], "record": {"generation": 4}, "errors": null}})
}

#[test]
fn the_join_asks_for_exactly_what_was_configured() {
    let mut bench = Bench::join(table().private());

    let frame = bench.sent();

    let payload = json!({
        "config": {
            "broadcast": {"ack": false, "self": false},
            "presence": {"enabled": false, "key": ""},
            "postgres_changes": [{"event": "*", "schema": "public", "table": "desired_generations"}],
            "private": true,
        },
        "access_token": "first-token",
    });
    assert_eq!(
        frame,
        json!(["1", "1", "realtime:feed", "phx_join", payload])
    );
}

#[test]
fn an_opaque_key_is_not_sent_as_a_token() {
    let config = Config::new("http://host", "sb_secret_x", table());
    let now = Instant::now();

    let mut session = Session::join(
        table(),
        Patience::from(&config),
        Secret::from("sb_secret_x"),
        now,
    );

    let Some(Output::Send(join)) = session.poll_output() else {
        panic!("no join")
    };
    assert!(
        !join.contains("access_token") && !join.contains("sb_secret_x"),
        "{join}"
    );
}

#[test]
fn a_join_reply_alone_is_not_ready_while_changes_are_unconfirmed() {
    let mut bench = Bench::joined(table());

    assert!(bench.is_quiet());
}

#[test]
fn every_system_ok_is_ready_not_only_the_first() {
    let mut bench = Bench::ready(table());

    bench.receive("system", system_ok());

    assert!(matches!(bench.event(), Event::Ready));
}

#[test]
fn a_channel_without_changes_is_ready_on_the_join_reply() {
    let mut bench = Bench::join(Channel::new("feed").broadcast());
    bench.sent();

    bench.receive(
        "phx_reply",
        json!({"status": "ok", "response": {"postgres_changes": []}}),
    );

    assert!(matches!(bench.event(), Event::Ready));
}

#[test]
fn a_change_is_told_with_its_row() {
    let mut bench = Bench::ready(table());

    bench.receive("postgres_changes", insert(&json!([ID])));

    let Event::Change(change) = bench.event() else {
        panic!("no change")
    };
    assert_eq!(change.kind, ChangeKind::Insert);
    assert_eq!(change.record["generation"], 4);
    assert!(change.intact);
}

#[test]
fn a_change_of_a_subscription_we_did_not_make_is_a_loss() {
    for ids in [json!([ID + 1]), json!([]), Value::Null] {
        let mut bench = Bench::ready(table());

        bench.receive("postgres_changes", insert(&ids));

        assert!(
            matches!(bench.failure(), RealtimeError::UnknownSubscription),
            "{ids}"
        );
    }
}

#[test]
fn a_frame_that_cannot_be_decoded_is_a_loss_and_never_silence() {
    let check = |text: &str| {
        let mut bench = Bench::ready(table().broadcast());
        bench.receive_raw(text);
        assert!(
            matches!(bench.failure(), RealtimeError::Undecodable { .. }),
            "{text}"
        );
    };

    check("not json");
    check(r#"["1",null,"realtime:feed","broadcast",{"payload":{}}]"#);
    check(r#"["1",null,"realtime:feed","broadcast",7]"#);
    check(&format!(
        r#"["1",null,"realtime:feed","postgres_changes",{{"ids":[{ID}],"data":{{}}}}]"#
    ));
    check(&format!(
        r#"["1",null,"realtime:feed","postgres_changes",{{"ids":[{ID}]}}]"#
    ));
}

#[test]
fn a_join_reply_without_an_id_per_filter_is_a_loss() {
    let mut bench = Bench::join(table());
    bench.sent();

    bench.receive(
        "phx_reply",
        json!({"status": "ok", "response": {"postgres_changes": []}}),
    );

    assert!(matches!(bench.failure(), RealtimeError::Undecodable { .. }));
}

#[test]
fn frames_of_other_topics_and_earlier_joins_are_not_ours() {
    let mut bench = Bench::ready(table());

    bench.receive_raw(r#"["0",null,"realtime:feed","phx_close",{}]"#);
    bench.receive_raw(r#"["1",null,"realtime:other","phx_error",{}]"#);

    assert!(bench.is_quiet());
}

#[test]
fn a_closed_and_a_crashed_channel_are_losses() {
    let mut closed = Bench::ready(table());
    closed.receive("phx_close", json!({}));
    let mut crashed = Bench::ready(table());
    crashed.receive("phx_error", json!({}));

    assert!(matches!(closed.failure(), RealtimeError::ChannelClosed));
    assert!(matches!(crashed.failure(), RealtimeError::ChannelCrashed));
}

#[test]
fn a_refused_join_says_what_would_cure_it_and_hides_the_token() {
    let mut bench = Bench::join(table());
    bench.sent();

    let reason = "InvalidJWTToken: first-token has expired";
    bench.receive(
        "phx_reply",
        json!({"status": "error", "response": {"reason": reason}}),
    );

    let error = bench.failure();
    assert_eq!(error.remedy(), Remedy::NewToken);
    assert!(
        !format!("{error} {error:?}").contains("first-token"),
        "{error}"
    );
}

#[test]
fn an_expired_token_asks_for_a_new_one() {
    let mut bench = Bench::ready(table());

    let message = "Token has expired 3 seconds ago";
    bench.receive(
        "system",
        json!({"status": "error", "extension": "system", "message": message}),
    );

    assert_eq!(bench.failure().remedy(), Remedy::NewToken);
}

#[test]
fn too_many_messages_ask_to_slow_down() {
    let mut bench = Bench::ready(table());

    let message = "Too many messages per second";
    bench.receive(
        "system",
        json!({"status": "error", "extension": "system", "message": message}),
    );

    assert_eq!(bench.failure().remedy(), Remedy::SlowDown);
}

#[test]
fn an_unanswered_join_is_a_loss_at_its_deadline() {
    let mut bench = Bench::join(table());
    bench.sent();

    bench.pass(Duration::from_millis(9_999));
    let early = bench.is_quiet();
    bench.pass(Duration::from_millis(1));

    assert!(early);
    assert!(matches!(bench.failure(), RealtimeError::JoinDeadline(_)));
}

#[test]
fn a_missing_system_ok_is_a_loss_at_its_deadline() {
    let mut bench = Bench::joined(table());

    bench.pass(Duration::from_secs(30));

    assert!(matches!(
        bench.failure(),
        RealtimeError::SystemOkDeadline(_)
    ));
}

#[test]
fn an_answered_heartbeat_is_followed_by_the_next() {
    let mut bench = Bench::ready(table());

    bench.pass(Duration::from_secs(15));
    let first = bench.sent();
    let reply = json!({"status": "ok", "response": {}});
    bench.receive_raw(&json!([null, first[1], "phoenix", "phx_reply", reply]).to_string());
    bench.pass(Duration::from_secs(15));
    let second = bench.sent();

    assert_eq!(first, json!([null, "2", "phoenix", "heartbeat", {}]));
    assert_eq!(second, json!([null, "3", "phoenix", "heartbeat", {}]));
}

#[test]
fn an_unanswered_heartbeat_is_a_loss_even_if_other_frames_come() {
    let mut bench = Bench::ready(table());
    bench.pass(Duration::from_secs(15));
    bench.sent();

    bench.receive_raw(r#"[null,"99","phoenix","phx_reply",{"status":"ok","response":{}}]"#);
    bench.pass(Duration::from_secs(10));

    assert!(matches!(
        bench.failure(),
        RealtimeError::HeartbeatDeadline(_)
    ));
}

#[test]
fn a_new_token_is_sent_once_and_must_be_confirmed() {
    let mut bench = Bench::ready(table());

    bench.session.on_token(Secret::from("second"), bench.now);
    bench.session.on_token(Secret::from("second"), bench.now);
    let frame = bench.sent();
    let nothing_more = bench.is_quiet();
    bench.receive("system", system_ok());

    assert_eq!(
        frame,
        json!(["1", "2", "realtime:feed", "access_token", {"access_token": "second"}])
    );
    assert!(nothing_more);
    assert!(matches!(bench.event(), Event::Ready));
}

#[test]
fn a_token_that_comes_during_the_join_is_sent_after_it() {
    let mut bench = Bench::join(table());
    bench.sent();

    bench.session.on_token(Secret::from("second"), bench.now);
    let before = bench.is_quiet();
    let ids = json!([{ "id": ID }]);
    bench.receive(
        "phx_reply",
        json!({"status": "ok", "response": {"postgres_changes": ids}}),
    );

    assert!(before);
    assert_eq!(bench.sent()[3], "access_token");
}

#[test]
fn broadcasts_are_told_in_both_encodings() {
    let mut bench = Bench::join(Channel::new("feed").broadcast());
    bench.sent();
    let payload = json!({"type": "broadcast", "event": "generation", "payload": {"n": 1}});

    bench.receive("broadcast", payload);
    let mut binary = vec![4, 13, 10, 0, 1];
    binary.extend_from_slice(b"realtime:feedgeneration{\"n\":1}");
    bench.session.on_binary(&binary);

    let (Event::Broadcast(text), Event::Broadcast(binary)) = (bench.event(), bench.event()) else {
        panic!("two broadcasts expected")
    };
    assert_eq!(text, binary);
    assert_eq!(text.payload.as_json(), Some(&json!({"n": 1})));
}

#[test]
fn broadcasts_nobody_asked_for_are_not_told() {
    let mut bench = Bench::ready(table());

    bench.receive(
        "broadcast",
        json!({"type": "broadcast", "event": "x", "payload": {}}),
    );

    assert!(bench.is_quiet());
}

#[test]
fn neither_a_session_nor_a_configuration_shows_its_secrets() {
    let config = Config::new("http://host", "sb_secret_x", table());
    let bench = Bench::join(table());

    let shown = format!(
        "{config:?} {:?}",
        Session {
            outputs: VecDeque::new(),
            ..bench.session
        }
    );

    assert!(
        !shown.contains("sb_secret_x") && !shown.contains("first-token"),
        "{shown}"
    );
}
