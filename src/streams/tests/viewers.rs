//! What viewers may see, and that one tenant's viewer never sees another's agent.

use std::sync::atomic::Ordering;

use hidps_wire::{
    AgentId, Answer, EventKind, LogEvent, Question, Refusal, StreamFrame, ViewerFrame,
};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::ports::LiveLog as _;
use crate::streams::fakes::{OTHER, sign_token, sign_token_by_key, sign_token_with};

/// The token of somebody who may watch [`AGENT`].
fn good() -> String {
    sign_token("good", &json!({}))
}

impl World {
    async fn viewer(&self, token: Option<&str>) -> Socket {
        let address = format!("ws://{}/v1/viewers/connect", self.address);
        let mut request = address.into_client_request().expect("a good address");
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a header value");
            request.headers_mut().insert("authorization", value);
        }
        connect_async(request).await.expect("the socket opens").0
    }

    /// A viewer whose token was accepted.
    async fn person(&self) -> Socket {
        let mut socket = self.viewer(Some(&good())).await;
        let ready = receive_text(&mut socket).await;
        assert!(ready.starts_with(r#"{"type":"ready""#), "{ready}");
        socket
    }
}

/// The class of the refusal that comes next.
async fn refused(socket: &mut Socket) -> Refusal {
    refusal(socket).await.0
}

/// The class and the words of the refusal that comes next.
async fn refusal(socket: &mut Socket) -> (Refusal, String) {
    let text = receive_text(socket).await;
    match decode(&text, usize::MAX) {
        Ok(StreamFrame::Refused {
            reason, message, ..
        }) => (reason, message),
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn subscribe(socket: &mut Socket, agent_id: AgentId) {
    send(socket, &encode(&ViewerFrame::Subscribe { agent_id })).await;
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_in_words_and_postgres_is_not_asked() {
    let world = world(KeyStatus::Admitted).await;
    let claim = |name: &str, value: serde_json::Value| sign_token("good", &json!({ name: value }));
    let past = Timestamp::now().as_second() - 60;
    let cases = [
        ("nonsense".to_owned(), "no Supabase access token"),
        (
            sign_token_with("another secret, long enough too", "good", &json!({})),
            "signature",
        ),
        (claim("exp", json!(past)), "has expired"),
        (claim("role", json!("service_role")), "not a person's"),
        (claim("aud", json!("other")), "another audience"),
        (
            claim("iss", json!("http://other.test/auth/v1")),
            "another project",
        ),
    ];
    for (token, why) in cases {
        let mut socket = world.viewer(Some(&token)).await;

        let (reason, message) = refusal(&mut socket).await;
        assert_eq!(reason, Refusal::Unauthenticated);
        assert!(message.contains(why), "{message:?} does not say {why:?}");
    }
    assert_eq!(world.access.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_token_that_postgres_does_not_take_is_refused() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.viewer(Some(&sign_token("unknown", &json!({})))).await;

    assert_eq!(refused(&mut socket).await, Refusal::Unauthenticated);
}

#[tokio::test]
async fn nothing_is_done_for_a_viewer_without_a_token() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.viewer(None).await;

    subscribe(&mut socket, AGENT).await;

    assert_eq!(refused(&mut socket).await, Refusal::Unauthenticated);
}

#[tokio::test]
async fn another_tenants_agent_can_neither_be_watched_nor_asked() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.person().await;
    let ask = ViewerFrame::Ask {
        id: Uuid::from_u128(5),
        agent_id: OTHER,
        question: Question::FirewallRules,
    };

    subscribe(&mut socket, OTHER).await;
    assert_eq!(refused(&mut socket).await, Refusal::Forbidden);
    send(&mut socket, &encode(&ask)).await;

    assert_eq!(refused(&mut socket).await, Refusal::Forbidden);
}

#[tokio::test]
async fn an_outage_of_the_check_refuses_and_says_so() {
    let world = world(KeyStatus::Admitted).await;

    let mut socket = world.viewer(Some(&sign_token("down", &json!({})))).await;

    assert_eq!(refused(&mut socket).await, Refusal::Unavailable);
}

#[tokio::test]
async fn a_subscribed_viewer_sees_that_agents_events_and_no_others() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.person().await;
    subscribe(&mut socket, AGENT).await;
    assert!(receive_text(&mut socket).await.contains("subscribed"));
    let event = |message: &'static str| LogEvent {
        timestamp: "2026-11-21T00:00:00Z".into(),
        kind: EventKind::Login,
        service: "sshd".into(),
        message: message.into(),
        fields: hidps_wire::Fields::default(),
    };

    world.fanout.publish(OTHER, &[event("of another")]);
    world.fanout.publish(AGENT, &[event("of ours")]);

    let text = receive_text(&mut socket).await;
    assert!(
        text.contains("of ours") && text.contains(&AGENT.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn a_check_that_began_before_a_subscription_does_not_end_it() {
    let world = world(KeyStatus::Admitted).await;
    let late = sign_token("late", &json!({}));
    let mut socket = world.viewer(Some(&late)).await;
    assert!(receive_text(&mut socket).await.contains("ready"));
    let checks = || world.access.asked_nobody.load(Ordering::Relaxed);
    until("the check has begun", || checks() == 2).await;

    subscribe(&mut socket, AGENT).await;
    let subscribed = receive_text(&mut socket).await;
    subscribe(&mut socket, OTHER).await;

    assert!(subscribed.contains("subscribed"), "{subscribed}");
    // By now the check has ended as well.
    assert_eq!(refused(&mut socket).await, Refusal::Forbidden);
}

#[tokio::test]
async fn a_question_goes_to_the_host_and_its_answer_comes_back() {
    let world = world(KeyStatus::Admitted).await;
    let mut agent = world.agent(None).await;
    let mut socket = world.person().await;
    let id = Uuid::from_u128(5);
    let ask = ViewerFrame::Ask {
        id,
        agent_id: AGENT,
        question: Question::FirewallStatus,
    };

    send(&mut socket, &encode(&ask)).await;
    let DaemonFrame::Ask { id: asked, .. } = receive(&mut agent).await else {
        panic!("not asked")
    };
    let answer = Answer::FirewallStatus { active: true };
    send(
        &mut agent,
        &encode(&AgentFrame::Answer {
            id: asked,
            answer: answer.clone(),
        }),
    )
    .await;

    let expected = encode(&StreamFrame::Answer {
        id,
        agent_id: AGENT,
        answer,
    });
    assert_eq!(receive_text(&mut socket).await, expected);
}

#[tokio::test]
async fn a_question_to_an_absent_host_is_refused_at_once() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.person().await;
    let id = Uuid::from_u128(5);
    let ask = ViewerFrame::Ask {
        id,
        agent_id: AGENT,
        question: Question::FirewallStatus,
    };

    send(&mut socket, &encode(&ask)).await;

    assert_eq!(refused(&mut socket).await, Refusal::AgentOffline);
}

#[tokio::test]
async fn a_bad_frame_is_refused_and_the_next_one_served() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.person().await;

    for bad in ["{", r#"{"type":"run"}"#, "[]"] {
        send(&mut socket, bad).await;
        assert_eq!(refused(&mut socket).await, Refusal::BadFrame, "{bad}");
    }
    subscribe(&mut socket, AGENT).await;

    assert!(receive_text(&mut socket).await.contains("subscribed"));
}

#[tokio::test]
async fn a_flood_of_tokens_ends_the_connection() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.viewer(None).await;
    let token = sign_token_with("another secret, long enough too", "good", &json!({}));

    for _ in 0..200 {
        let frame = encode(&ViewerFrame::Authenticate {
            token: token.clone(),
        });
        if socket.send(Message::text(frame)).await.is_err() {
            break;
        }
    }

    let mut refusals = 0;
    while let Some(Ok(_)) = socket.next().await {
        refusals += 1;
    }
    assert!(refusals < 40, "{refusals} frames were answered");
}

#[tokio::test]
async fn a_token_signed_with_a_published_key_is_good_and_one_of_another_name_is_not() {
    let world = world(KeyStatus::Admitted).await;
    let token = sign_token_by_key("current", "good");
    let mut socket = world.viewer(Some(&token)).await;
    let ready = receive_text(&mut socket).await;
    assert!(ready.starts_with(r#"{"type":"ready""#), "{ready}");

    let retired = sign_token_by_key("retired", "good");
    let mut socket = world.viewer(Some(&retired)).await;

    let (reason, message) = refusal(&mut socket).await;
    assert_eq!(reason, Refusal::Unauthenticated);
    assert!(message.contains("does not publish"), "{message}");
}
