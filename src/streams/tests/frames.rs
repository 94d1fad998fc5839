//! Every frame of a viewer from every kind of caller: who is nobody gets nothing done, who is of
//! another tenant sees nothing, and who loses the right loses the stream.

use std::sync::atomic::Ordering;

use hidps_wire::{Answer, EventKind, LogEvent, Question, Refusal, StreamFrame, ViewerFrame};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::ports::{AccessChanges as _, LiveLog as _};
use crate::streams::fakes::{sign_token, sign_token_with};

/// Every frame a viewer may send about an agent. The match has no wildcard: a new frame or question
/// does not compile until it is here.
fn frames() -> Vec<ViewerFrame> {
    let describe = |frame: &ViewerFrame| match frame {
        ViewerFrame::Authenticate { .. } => "authenticate",
        ViewerFrame::Subscribe { .. } => "subscribe",
        ViewerFrame::Unsubscribe { .. } => "unsubscribe",
        ViewerFrame::Ask { question, .. } => match question {
            Question::FirewallRules => "rules",
            Question::FirewallStatus => "status",
            Question::Plan { .. } => "plan",
        },
    };
    let ask = |question| ViewerFrame::Ask {
        id: Uuid::from_u128(5),
        agent_id: AGENT,
        question,
    };
    let frames = vec![
        ViewerFrame::Subscribe { agent_id: AGENT },
        ViewerFrame::Unsubscribe { agent_id: AGENT },
        ask(Question::FirewallRules),
        ask(Question::FirewallStatus),
        ask(Question::Plan { document: None }),
        ask(Question::Plan {
            document: Some(Box::default()),
        }),
    ];
    let mut words: Vec<_> = frames.iter().map(describe).collect();
    words.dedup();
    assert_eq!(
        words,
        ["subscribe", "unsubscribe", "rules", "status", "plan"]
    );
    frames
}

/// Callers who are nobody.
fn nobodies() -> Vec<(&'static str, Option<String>)> {
    let of = |claims: Value| Some(sign_token("good", &claims));
    let other = "another secret, long enough too";
    vec![
        ("unauthenticated", None),
        ("expired", of(json!({"exp": 1}))),
        ("wrong audience", of(json!({"aud": "other"}))),
        (
            "wrong issuer",
            of(json!({"iss": "http://other.test/auth/v1"})),
        ),
        (
            "wrong key",
            Some(sign_token_with(other, "good", &json!({}))),
        ),
        ("no person", of(json!({"role": "service_role"}))),
        ("signed out", Some(sign_token("unknown", &json!({})))),
    ]
}

/// The next frame; its text lives as long as the test.
async fn next(socket: &mut Socket) -> StreamFrame<'static> {
    let text = receive_text(socket).await;
    decode(Box::leak(text.into_boxed_str()), usize::MAX).expect("a frame")
}

async fn refusal(socket: &mut Socket) -> Refusal {
    let frame = next(socket).await;
    let StreamFrame::Refused { reason, .. } = frame else {
        panic!("not a refusal: {frame:?}");
    };
    reason
}

impl World {
    async fn socket(&self, token: Option<&str>) -> Socket {
        let address = format!("ws://{}/v1/viewers/connect", self.address);
        let mut request = address.into_client_request().expect("a good address");
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a header value");
            request.headers_mut().insert("authorization", value);
        }
        connect_async(request).await.expect("the socket opens").0
    }

    /// A viewer of [`AGENT`], subscribed, with these claims.
    async fn subscriber(&self, claims: &Value) -> Socket {
        let mut socket = self.socket(Some(&sign_token("good", claims))).await;
        assert!(matches!(next(&mut socket).await, StreamFrame::Ready { .. }));
        send(
            &mut socket,
            &encode(&ViewerFrame::Subscribe { agent_id: AGENT }),
        )
        .await;
        assert!(matches!(
            next(&mut socket).await,
            StreamFrame::Subscribed { .. }
        ));
        socket
    }

    fn say(&self, message: &'static str) {
        let event = LogEvent {
            timestamp: "2026-11-21T00:00:00Z".into(),
            kind: EventKind::Login,
            service: "sshd".into(),
            message: message.into(),
            fields: hidps_wire::Fields::default(),
        };
        self.fanout.publish(AGENT, &[event]);
    }
}

#[tokio::test]
async fn nobody_gets_any_frame_done() {
    let world = world(KeyStatus::Admitted).await;
    for (caller, token) in nobodies() {
        let mut socket = world.socket(token.as_deref()).await;
        if token.is_some() {
            assert_eq!(
                refusal(&mut socket).await,
                Refusal::Unauthenticated,
                "{caller}"
            );
        }
        for frame in frames() {
            send(&mut socket, &encode(&frame)).await;
            let reason = refusal(&mut socket).await;
            assert_eq!(reason, Refusal::Unauthenticated, "{caller}: {frame:?}");
        }
        if let Some(token) = token {
            send(&mut socket, &encode(&ViewerFrame::Authenticate { token })).await;
            assert_eq!(
                refusal(&mut socket).await,
                Refusal::Unauthenticated,
                "{caller}"
            );
        }
    }
}

#[tokio::test]
async fn another_tenants_person_gets_nothing_of_any_frame() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world
        .socket(Some(&sign_token("stranger", &json!({}))))
        .await;
    assert!(matches!(next(&mut socket).await, StreamFrame::Ready { .. }));
    for frame in frames() {
        send(&mut socket, &encode(&frame)).await;
        match (&frame, next(&mut socket).await) {
            // Ending what never was begun tells nothing.
            (ViewerFrame::Unsubscribe { .. }, StreamFrame::Unsubscribed { reason, .. }) => {
                assert_eq!(reason, Refusal::Requested);
            }
            (_, StreamFrame::Refused { reason, .. }) => {
                assert_eq!(reason, Refusal::Forbidden, "{frame:?}");
            }
            (_, other) => panic!("{frame:?} got {other:?}"),
        }
    }
    world.say("of a tenant");
    send(&mut socket, "{").await;
    assert_eq!(
        refusal(&mut socket).await,
        Refusal::BadFrame,
        "no event came before"
    );
}

/// Takes a right away while somebody watches, and says so as the feed would; gives why the stream
/// ended, and makes sure that nothing is streamed or answered afterwards.
async fn revoke(take_away: impl FnOnce(&World), claims: Value) -> Refusal {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.subscriber(&claims).await;
    world.say("before");
    assert!(matches!(
        next(&mut socket).await,
        StreamFrame::Events { .. }
    ));

    take_away(&world);
    let StreamFrame::Unsubscribed { agent_id, reason } = next(&mut socket).await else {
        panic!("the stream goes on");
    };
    assert_eq!(agent_id, AGENT);

    world.say("after");
    for frame in frames() {
        send(&mut socket, &encode(&frame)).await;
        match (&frame, next(&mut socket).await) {
            (_, StreamFrame::Refused { reason: then, .. }) => assert_eq!(then, reason, "{frame:?}"),
            (ViewerFrame::Unsubscribe { .. }, StreamFrame::Unsubscribed { .. }) => {}
            (_, other) => panic!("{frame:?} got {other:?}"),
        }
    }
    reason
}

#[tokio::test]
async fn a_stream_ends_when_the_right_to_it_does() {
    let reason = revoke(
        |world| {
            world.access.is_removed.store(true, Ordering::Relaxed);
            world.watchers.changed(Some(&[Uuid::nil()]));
        },
        json!({}),
    );

    assert_eq!(reason.await, Refusal::Forbidden);
}

#[tokio::test]
async fn a_stream_ends_when_the_session_does() {
    let reason = revoke(
        |world| {
            world.access.is_signed_out.store(true, Ordering::Relaxed);
            world.watchers.changed(None);
        },
        json!({}),
    );

    assert_eq!(reason.await, Refusal::Unauthenticated);
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires_without_anybody_saying_so() {
    let soon = Timestamp::now().as_second() + 3;

    let reason = revoke(|_| {}, json!({ "exp": soon }));

    assert_eq!(reason.await, Refusal::Unauthenticated);
}

#[tokio::test]
async fn an_answer_that_comes_after_the_right_has_gone_is_kept_back() {
    let world = world(KeyStatus::Admitted).await;
    let mut agent = world.agent(None).await;
    let mut socket = world.subscriber(&json!({})).await;
    let ask = ViewerFrame::Ask {
        id: Uuid::from_u128(5),
        agent_id: AGENT,
        question: Question::FirewallStatus,
    };
    send(&mut socket, &encode(&ask)).await;
    let DaemonFrame::Ask { id, .. } = receive(&mut agent).await else {
        panic!("not asked")
    };

    world.access.is_removed.store(true, Ordering::Relaxed);
    world.watchers.changed(Some(&[Uuid::nil()]));
    assert!(matches!(
        next(&mut socket).await,
        StreamFrame::Unsubscribed { .. }
    ));
    let answer = Answer::FirewallStatus { active: true };
    send(&mut agent, &encode(&AgentFrame::Answer { id, answer })).await;

    assert_eq!(refusal(&mut socket).await, Refusal::Forbidden);
}

#[tokio::test]
async fn what_postgres_said_just_now_is_not_asked_again() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.subscriber(&json!({})).await;
    let asked = || world.access.asked.load(Ordering::Relaxed);
    // The check after a token, and the subscription's own.
    until("the first checks", || asked() == 3).await;

    for _ in 0..20 {
        send(
            &mut socket,
            &encode(&ViewerFrame::Unsubscribe { agent_id: AGENT }),
        )
        .await;
        assert!(matches!(
            next(&mut socket).await,
            StreamFrame::Unsubscribed { .. }
        ));
        send(
            &mut socket,
            &encode(&ViewerFrame::Subscribe { agent_id: AGENT }),
        )
        .await;
        assert!(matches!(
            next(&mut socket).await,
            StreamFrame::Subscribed { .. }
        ));
    }

    // A machine that stalls for ten seconds may have to ask once more.
    assert!(asked() <= 5, "{} questions", asked());
}

#[tokio::test]
async fn a_person_has_so_many_viewers_and_is_told_of_the_bound() {
    let world = world(KeyStatus::Admitted).await;
    let mut sockets = Vec::new();
    for _ in 0..32 {
        sockets.push(world.subscriber(&json!({})).await);
    }

    let mut beyond = world.socket(Some(&sign_token("good", &json!({})))).await;
    assert_eq!(refusal(&mut beyond).await, Refusal::TooMany);
    let somebody_else = json!({"sub": Uuid::from_u128(9)});
    world.subscriber(&somebody_else).await;
    drop(sockets.pop());

    let again = async {
        loop {
            let mut socket = world.socket(Some(&sign_token("good", &json!({})))).await;
            if matches!(next(&mut socket).await, StreamFrame::Ready { .. }) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(Duration::from_secs(30), again)
        .await
        .expect("a place is free again");
}
