//! Every fault a Realtime server can have, against the real driver over loopback.
//! Never waits for a time to pass: each test waits for the event it asserts.

mod server;

use std::time::Duration;

use hidps_realtime::{AccessToken, Event, RealtimeError, Remedy, Secret, Subscription};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

use crate::server::{ID, ScriptedServer, next, ready, reconnect};

/// Waits for a loss, then for the reconnect that must follow it by itself.
async fn lose(server: &ScriptedServer, subscription: &mut Subscription) -> RealtimeError {
    let Event::Lost { error, .. } = next(subscription).await else {
        panic!("no loss")
    };
    reconnect(server, subscription).await;
    error
}

fn change(errors: &Value) -> Value {
    json!({"ids": [ID], "data": {"schema": "public", "table": "desired_generations", "type": "UPDATE",
        "commit_timestamp": null, "columns": [], "record": {}, "old_record": {}, "errors": errors}})
}

#[tokio::test]
async fn a_reset_connection_is_lost_and_joined_again() {
    let server = ScriptedServer::start().await;
    let (mut subscription, peer) = ready(&server).await;

    peer.reset();

    let error = lose(&server, &mut subscription).await;
    assert!(matches!(
        error,
        RealtimeError::Socket { .. } | RealtimeError::SocketClosed { .. }
    ));
}

#[tokio::test]
async fn a_server_going_away_is_lost_and_joined_again() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    peer.close(1001).await;

    let error = lose(&server, &mut subscription).await;
    assert!(
        matches!(error, RealtimeError::SocketClosed { code: Some(1001) }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_crashed_channel_is_lost_and_joined_again() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    peer.push("phx_error", json!({})).await;

    let error = lose(&server, &mut subscription).await;
    assert!(matches!(error, RealtimeError::ChannelCrashed), "{error:?}");
}

#[tokio::test]
async fn a_doubted_connection_is_left_and_joined_again_once() {
    let server = ScriptedServer::start().await;
    let (mut subscription, _peer) = ready(&server).await;

    subscription.rejoin("CanarySilent");
    subscription.rejoin("CanarySilent");

    let error = lose(&server, &mut subscription).await;
    assert!(matches!(error, RealtimeError::Doubted { .. }), "{error:?}");
}

#[tokio::test]
async fn a_doubt_between_two_connections_is_answered_by_the_one_to_come() {
    let server = ScriptedServer::start().await;
    let (mut subscription, peer) = ready(&server).await;
    peer.reset();
    assert!(matches!(next(&mut subscription).await, Event::Lost { .. }));

    subscription.rejoin("CanarySilent");
    let mut peer = reconnect(&server, &mut subscription).await;
    peer.push("postgres_changes", change(&Value::Null)).await;

    let event = next(&mut subscription).await;
    assert!(matches!(event, Event::Change(_)), "{event:?}");
}

#[tokio::test]
async fn a_doubt_before_the_first_connection_and_under_a_cancelled_wait_is_told() {
    let server = ScriptedServer::start().await;
    let mut subscription = server.subscribe();

    subscription.rejoin("CanarySilent");
    drop(subscription.next());

    let error = lose(&server, &mut subscription).await;
    assert!(matches!(error, RealtimeError::Doubted { .. }), "{error:?}");
}

#[tokio::test]
async fn a_channel_closed_without_a_word_is_lost_and_joined_again() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    // A server that is told to disconnect its clients says so as something that is well.
    let words = "Server requested disconnect";
    peer.push(
        "system",
        json!({"status": "ok", "extension": "system", "message": words}),
    )
    .await;
    peer.push("phx_close", json!({})).await;

    let error = lose(&server, &mut subscription).await;
    assert!(matches!(error, RealtimeError::ChannelClosed), "{error:?}");
}

#[tokio::test]
async fn a_token_made_of_an_opaque_key_is_renewed_by_connecting_again() {
    let server = ScriptedServer::start().await;
    let mut config = server.config();
    // Waiting for a token that nobody will bring would be past this test's deadline.
    config.backoff.slow = Duration::from_secs(3600);
    let mut subscription = Subscription::new(config).expect("the configuration is right");
    let mut peer = reconnect(&server, &mut subscription).await;

    let message = "Token has expired 3 seconds ago";
    peer.push(
        "system",
        json!({"status": "error", "extension": "system", "message": message}),
    )
    .await;
    peer.push("phx_close", json!({})).await;

    let error = lose(&server, &mut subscription).await;
    assert_eq!(error.remedy(), Remedy::NewToken, "{error:?}");
}

#[tokio::test]
async fn a_change_of_a_subscription_the_join_did_not_make_is_a_loss() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    let mut foreign = change(&Value::Null);
    foreign["ids"] = json!([ID + 1]);
    peer.push("postgres_changes", foreign).await;

    let error = lose(&server, &mut subscription).await;
    assert!(
        matches!(error, RealtimeError::UnknownSubscription),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_system_error_and_the_close_after_it_are_one_loss() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    let message = "Server requested disconnect";
    peer.push(
        "system",
        json!({"status": "error", "extension": "system", "message": message}),
    )
    .await;
    peer.push("phx_close", json!({})).await;

    let error = lose(&server, &mut subscription).await;
    assert!(matches!(&error, RealtimeError::System { message: said } if said == message));
}

#[tokio::test]
async fn muted_heartbeats_are_a_loss_although_events_still_come() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    let frames = async {
        loop {
            peer.take_any().await;
            peer.push("postgres_changes", change(&Value::Null)).await;
        }
    };
    let lost = async {
        loop {
            if let Event::Lost { error, .. } = next(&mut subscription).await {
                return error;
            }
        }
    };
    let error = tokio::select! { error = lost => error, () = frames => unreachable!() };

    assert!(
        matches!(error, RealtimeError::HeartbeatDeadline(_)),
        "{error:?}"
    );
    reconnect(&server, &mut subscription).await;
}

#[tokio::test]
async fn answered_heartbeats_keep_a_quiet_channel() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    let heartbeats = async {
        for _ in 0..5 {
            let heartbeat = peer.take_any().await;
            peer.answer(&heartbeat).await;
        }
        peer.confirm_changes().await;
    };
    let (event, ()) = tokio::join!(next(&mut subscription), heartbeats);

    assert!(matches!(event, Event::Ready), "{event:?}");
}

#[tokio::test]
async fn an_event_with_an_array_of_errors_is_told_and_not_intact() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    for error in [
        "Error 400: Bad Request, no primary key",
        "Error 401: Unauthorized",
        "Error 413: Payload Too Large",
    ] {
        peer.push("postgres_changes", change(&json!([error]))).await;

        let Event::Change(change) = next(&mut subscription).await else {
            panic!("no change")
        };
        assert!(!change.intact, "{error}");
    }
}

#[tokio::test]
async fn a_frame_nobody_can_read_is_a_loss() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    peer.send(Message::binary(vec![9, 9, 9])).await;

    let error = lose(&server, &mut subscription).await;
    assert!(
        matches!(error, RealtimeError::Undecodable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_ping_of_the_server_is_answered() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    peer.send(Message::Ping(b"x".as_slice().into())).await;
    let pong = async {
        let pong = peer.take_pong().await;
        peer.confirm_changes().await;
        pong
    };
    let (_, pong) = tokio::join!(next(&mut subscription), pong);

    assert_eq!(pong, b"x");
}

#[tokio::test]
async fn refused_joins_say_what_cures_them_and_are_tried_again() {
    let check = async |reason: &str, remedy| {
        let server = ScriptedServer::start().await;
        let mut subscription = server.subscribe();
        let (event, _peer) = tokio::join!(next(&mut subscription), async {
            let mut peer = server.accept().await;
            peer.take_join().await;
            peer.refuse_join(reason).await;
            peer
        });
        let Event::Lost { error, .. } = event else {
            panic!("no loss")
        };
        assert_eq!(error.remedy(), remedy, "{reason}");
        reconnect(&server, &mut subscription).await;
    };

    check("RealtimeRestarting: Realtime is restarting", Remedy::Retry).await;
    check(
        "InvalidJWTToken: Token has expired 1 seconds ago",
        Remedy::NewToken,
    )
    .await;
    check(
        "ClientJoinRateLimitReached: Too many joins per second",
        Remedy::SlowDown,
    )
    .await;
    check("Unauthorized: You do not have permissions", Remedy::GiveUp).await;
}

#[tokio::test]
async fn a_socket_closed_after_a_refused_join_does_not_hide_the_refusal() {
    let server = ScriptedServer::start().await;
    let mut subscription = server.subscribe();

    let (event, _peer) = tokio::join!(next(&mut subscription), async {
        let mut peer = server.accept().await;
        peer.take_join().await;
        peer.refuse_join("ClientJoinRateLimitReached: Too many joins per second")
            .await;
        peer.close(1000).await;
        peer
    });

    let Event::Lost { error, .. } = event else {
        panic!("no loss")
    };
    assert_eq!(error.remedy(), Remedy::SlowDown, "{error:?}");
    reconnect(&server, &mut subscription).await;
}

#[tokio::test]
async fn a_refused_upgrade_carries_its_status_and_not_the_key() {
    let check = async |status: &str, remedy| {
        let server = ScriptedServer::start().await;
        let mut subscription = server.subscribe();
        let (event, ()) = tokio::join!(next(&mut subscription), server.refuse(status));
        let Event::Lost { error, .. } = event else {
            panic!("no loss")
        };
        assert_eq!(error.remedy(), remedy, "{error}");
        assert!(error.to_string().contains("because ***"), "{error}");
        assert!(!format!("{error:?}").contains("sb_secret_x"), "{error:?}");
        reconnect(&server, &mut subscription).await;
    };

    check("401 Unauthorized", Remedy::GiveUp).await;
    check("403 Forbidden", Remedy::GiveUp).await;
    check("404 Not Found", Remedy::GiveUp).await;
    check("429 Too Many Requests", Remedy::SlowDown).await;
    check("503 Service Unavailable", Remedy::Retry).await;
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_lost_at_the_deadline() {
    let server = ScriptedServer::start().await;
    let mut subscription = server.subscribe();

    let (event, _silent) = tokio::join!(next(&mut subscription), server.ignore());

    let Event::Lost { error, .. } = event else {
        panic!("no loss")
    };
    assert!(
        matches!(error, RealtimeError::ConnectDeadline(_)),
        "{error:?}"
    );
    reconnect(&server, &mut subscription).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_lost_again_and_again() {
    let config = ScriptedServer::start().await.config();
    let mut subscription = Subscription::new(config).expect("the configuration is right");

    for _ in 0..3 {
        let Event::Lost { error, .. } = next(&mut subscription).await else {
            panic!("no loss")
        };
        assert!(matches!(error, RealtimeError::Connect { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_unanswered_join_is_lost_at_the_deadline() {
    let server = ScriptedServer::start().await;
    let mut subscription = server.subscribe();

    let (event, _peer) = tokio::join!(next(&mut subscription), server.accept());

    let Event::Lost { error, .. } = event else {
        panic!("no loss")
    };
    assert!(matches!(error, RealtimeError::JoinDeadline(_)), "{error:?}");
}

#[tokio::test]
async fn an_omitted_system_ok_is_lost_at_the_deadline() {
    let server = ScriptedServer::start().await;
    let mut subscription = server.subscribe();

    let (event, _peer) = tokio::join!(next(&mut subscription), async {
        let mut peer = server.accept().await;
        peer.take_join().await;
        peer.confirm_join().await;
        peer
    });

    let Event::Lost { error, .. } = event else {
        panic!("no loss")
    };
    assert!(
        matches!(error, RealtimeError::SystemOkDeadline(_)),
        "{error:?}"
    );
    reconnect(&server, &mut subscription).await;
}

#[tokio::test]
async fn every_later_system_ok_is_ready_again() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    for _ in 0..3 {
        peer.confirm_changes().await;

        assert!(matches!(next(&mut subscription).await, Event::Ready));
    }
}

#[tokio::test]
async fn a_new_token_goes_out_on_the_channel_and_into_the_next_join() {
    let server = ScriptedServer::start().await;
    let (tokens, watched) = watch::channel(Secret::from("token-1"));
    let mut config = server.config();
    config.access_token = AccessToken::Watched(watched);
    let mut subscription = Subscription::new(config).expect("the configuration is right");
    let (_, (mut peer, first)) = tokio::join!(next(&mut subscription), async {
        let mut peer = server.accept().await;
        let join = peer.take_join().await;
        peer.confirm_join().await;
        peer.confirm_changes().await;
        (peer, join)
    });

    tokens.send_replace(Secret::from("token-2"));
    let (_, frame) = tokio::join!(next(&mut subscription), async {
        let frame = peer.take().await;
        peer.confirm_changes().await;
        frame
    });
    peer.reset();
    next(&mut subscription).await;
    let (_, second) = tokio::join!(next(&mut subscription), async {
        let mut peer = server.accept().await;
        let join = peer.take_join().await;
        peer.reset();
        join
    });

    assert_eq!(first["access_token"], "token-1");
    assert_eq!(frame[3], "access_token");
    assert_eq!(frame[4]["access_token"], "token-2");
    assert_eq!(second["access_token"], "token-2");
}

#[tokio::test]
async fn a_new_token_ends_the_wait_after_a_refused_one() {
    let server = ScriptedServer::start().await;
    let (tokens, watched) = watch::channel(Secret::from("token-1"));
    let mut config = server.config();
    config.access_token = AccessToken::Watched(watched);
    // Without the new token the next attempt would be past this test's deadline.
    config.backoff.slow = Duration::from_secs(3600);
    let mut subscription = Subscription::new(config).expect("the configuration is right");
    let (event, _peer) = tokio::join!(next(&mut subscription), async {
        let mut peer = server.accept().await;
        peer.take_join().await;
        peer.refuse_join("InvalidJWTToken: Token has expired 1 seconds ago")
            .await;
        peer
    });
    assert!(matches!(event, Event::Lost { .. }), "{event:?}");

    tokens.send_replace(Secret::from("token-2"));

    reconnect(&server, &mut subscription).await;
}

#[tokio::test]
async fn an_event_survives_a_cancelled_wait() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;

    // A wait that is given up again and again, as in a select loop.
    let patient = async {
        loop {
            let brief = Duration::from_millis(1);
            if let Ok(event) = tokio::time::timeout(brief, subscription.next()).await {
                return event;
            }
        }
    };
    let (event, ()) = tokio::join!(patient, async {
        let heartbeat = peer.take_any().await;
        peer.answer(&heartbeat).await;
        peer.push("postgres_changes", change(&Value::Null)).await;
    });

    assert!(matches!(event, Event::Change(_)), "{event:?}");
}

#[tokio::test]
async fn a_reconnect_under_a_cancelled_wait_goes_on() {
    let server = ScriptedServer::start().await;
    let mut subscription = server.subscribe();

    let patient = async {
        loop {
            let brief = Duration::from_millis(1);
            if let Ok(event) = tokio::time::timeout(brief, subscription.next()).await {
                return event;
            }
        }
    };
    let (event, _peer) = tokio::join!(patient, server.serve());

    assert!(matches!(event, Event::Ready), "{event:?}");
}

#[tokio::test]
async fn an_owner_who_was_busy_past_a_deadline_reads_the_answer_first() {
    let server = ScriptedServer::start().await;
    let (mut subscription, mut peer) = ready(&server).await;
    let heartbeat = tokio::select! {
        heartbeat = peer.take_any() => heartbeat,
        event = next(&mut subscription) => panic!("{event:?}"),
    };

    peer.answer(&heartbeat).await;
    peer.push("postgres_changes", change(&Value::Null)).await;
    tokio::time::pause();
    tokio::time::advance(server.config().reply_deadline * 2).await;
    tokio::time::resume();

    let event = next(&mut subscription).await;
    assert!(matches!(event, Event::Change(_)), "{event:?}");
}
