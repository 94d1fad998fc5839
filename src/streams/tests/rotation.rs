//! An agent's key for another one: both have to sign, once, in time, and nobody else can ask.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use hidps_agent::backend::Backend;
use hidps_agent::clock::ClockOffset;
use hidps_agent::dial::{Dialer, Way};
use hidps_agent::identity::Identity;
use hidps_agent::rotate::rotate;
use hidps_agent::state_dir::StateDir;
use hidps_wire::{HEADER_AGENT, RotateRequest, rotate_path};
use jiff::SignedDuration;

use super::*;
use crate::streams::fakes::{NEIGHBOUR, key, sign_connect_by, sign_rotation};
use crate::streams::key_hints::Changed;

/// The key that is to come.
fn successor() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

/// A key of somebody else.
fn stranger() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// The status and the text of the answer.
async fn ask(
    world: &World,
    agent: AgentId,
    (headers, body): (HeaderMap, RotateRequest),
) -> (u16, String) {
    let url = format!("http://{}{}", world.address, rotate_path(agent));
    let request = http_client().post(url).headers(headers);
    let answer = request.json(&body).send().await.expect("it answers");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a text"))
}

/// A good request from one key to another.
fn signed(
    world: &World,
    keys: (&SigningKey, &SigningKey),
    agent: AgentId,
) -> (HeaderMap, RotateRequest) {
    let now = Timestamp::now().as_second();
    sign_rotation(keys, agent, &world.address.to_string(), now)
}

/// The status with which a connect by a key is answered.
async fn connect_by(world: &World, key: &SigningKey) -> u16 {
    let host = world.address.to_string();
    let request = format!("ws://{host}{CONNECT_PATH}").into_client_request();
    let mut request = request.expect("an address");
    let now = Timestamp::now().as_second();
    request
        .headers_mut()
        .extend(sign_connect_by(key, AGENT, &host, now));
    match connect_async(request).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_replaced_key_ends_its_connection_and_never_connects_again() {
    let world = world(KeyStatus::Admitted).await;
    let mut socket = world.agent(None).await;
    let new = successor();

    let (status, text) = ask(&world, AGENT, signed(&world, (&key(), &new), AGENT)).await;

    assert_eq!(status, 200, "{text}");
    let DaemonFrame::Goodbye(advice) = receive(&mut socket).await else {
        panic!("not a goodbye")
    };
    assert_eq!(advice.retry_ms, 0);
    assert!(
        advice.reason.contains("key was replaced"),
        "{}",
        advice.reason
    );
    assert_eq!(connect_by(&world, &key()).await, 401);
    assert_eq!(connect_by(&world, &new).await, 101);
    let (status, text) = ask(&world, AGENT, signed(&world, (&key(), &stranger()), AGENT)).await;
    assert_eq!(status, 401, "{text}");
}

#[tokio::test]
async fn whoever_signed_with_the_former_key_and_is_not_in_yet_is_looked_at() {
    let world = world(KeyStatus::Admitted).await;
    let new = successor();

    let (status, text) = ask(&world, AGENT, signed(&world, (&key(), &new), AGENT)).await;

    assert_eq!(status, 200, "{text}");
    let heard = timeout(Duration::from_secs(30), world.key_hints.heard()).await;
    assert_eq!(heard.expect("it is told"), Changed::Of([AGENT].into()));
}

#[tokio::test]
async fn a_key_that_was_in_use_is_refused_for_good_and_a_request_counts_once() {
    let world = world(KeyStatus::Admitted).await;
    let new = successor();
    ask(&world, AGENT, signed(&world, (&key(), &new), AGENT)).await;
    let back = signed(&world, (&new, &key()), AGENT);

    let first = ask(&world, AGENT, back.clone()).await;
    let again = ask(&world, AGENT, back).await;

    assert_eq!(first.0, 409, "{}", first.1);
    assert_eq!(again.0, 401, "{}", again.1);
    assert!(again.1.contains("used before"), "{}", again.1);
}

#[tokio::test]
async fn nobody_replaces_the_key_of_another_agent() {
    let world = world(KeyStatus::Admitted).await;
    let new = successor();
    let own = |agent| signed(&world, (&key(), &new), agent);
    let renamed = {
        let (mut headers, body) = own(NEIGHBOUR);
        headers.insert(HEADER_AGENT, AGENT.to_string().parse().expect("a value"));
        (headers, body)
    };

    let strangers = signed(&world, (&stranger(), &new), AGENT);
    for (request, expected) in [(own(NEIGHBOUR), 401), (renamed, 400), (strangers, 401)] {
        let (status, text) = ask(&world, AGENT, request).await;

        assert_eq!(status, expected, "{text}");
    }
    assert_eq!(connect_by(&world, &key()).await, 101);
}

#[tokio::test]
async fn a_new_key_has_to_sign_too_and_the_one_that_is_named() {
    let world = world(KeyStatus::Admitted).await;
    let (new, other) = (successor(), stranger());
    let unproven = {
        let (headers, body) = signed(&world, (&key(), &new), AGENT);
        let (_, theirs) = signed(&world, (&key(), &other), AGENT);
        let proof = theirs.proof;
        (headers, RotateRequest { proof, ..body })
    };
    let swapped = {
        let (headers, _) = signed(&world, (&key(), &new), AGENT);
        let (_, theirs) = signed(&world, (&key(), &other), AGENT);
        (headers, theirs)
    };
    let no_key = |public_key: &str| {
        let (headers, body) = signed(&world, (&key(), &new), AGENT);
        let public_key = public_key.to_owned();
        (headers, RotateRequest { public_key, ..body })
    };

    for request in [
        unproven,
        swapped,
        no_key(""),
        no_key("AQ=="),
        no_key("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ] {
        let (status, text) = ask(&world, AGENT, request).await;

        assert_eq!(status, 400, "{text}");
        assert!(text.contains("proof"), "{text}");
    }
    assert_eq!(connect_by(&world, &key()).await, 101);
}

#[tokio::test]
async fn a_connect_is_no_rotation_and_an_old_request_none_either() {
    let world = world(KeyStatus::Admitted).await;
    let host = world.address.to_string();
    let now = Timestamp::now().as_second();
    let new = successor();
    let (_, body) = signed(&world, (&key(), &new), AGENT);
    let connect = sign_connect_by(&key(), AGENT, &host, now);
    let late = sign_rotation((&key(), &new), AGENT, &host, now - 3_600);
    let elsewhere = sign_rotation((&key(), &new), AGENT, "other.example", now);

    assert_eq!(ask(&world, AGENT, (connect, body)).await.0, 400);
    let (status, text) = ask(&world, AGENT, late).await;
    assert_eq!(status, 401, "{text}");
    assert!(text.contains("clock is off"), "{text}");
    assert_eq!(ask(&world, AGENT, elsewhere).await.0, 400);
    assert_eq!(connect_by(&world, &key()).await, 101);
}

#[tokio::test]
async fn a_key_that_waits_or_was_revoked_is_not_replaced() {
    for status in [KeyStatus::Pending, KeyStatus::Revoked] {
        let world = world(status).await;

        let request = signed(&world, (&key(), &successor()), AGENT);

        assert_eq!(ask(&world, AGENT, request).await.0, 403);
    }
}

/// The same key as an agent holds it.
fn held(key: &SigningKey) -> Identity {
    let directory = tempfile::tempdir().expect("a folder can be made");
    let state = StateDir::open(&directory.path().join("state")).expect("it is made");
    let text = STANDARD.encode(key.to_bytes());
    state.write("agent.key", text.as_bytes()).expect("written");
    let held = Identity::load(&state).expect("it is a key");
    held.expect("it is there")
}

#[tokio::test]
async fn what_an_agent_asks_is_taken_also_when_its_clock_is_wrong() {
    let world = world(KeyStatus::Admitted).await;
    let url = format!("http://{}", world.address);
    let backend = Backend::parse(&url, false).expect("an address");
    let dialer = Dialer::new(Way::direct(backend, None)).expect("no TLS is needed");
    let now = Timestamp::now();
    let wrong = ClockOffset::between(now + SignedDuration::from_hours(2), now);
    let (present, next) = (held(&key()), held(&successor()));

    let done = rotate(&dialer, AGENT, (&present, &next), &mut { wrong }).await;
    let again = rotate(&dialer, AGENT, (&present, &next), &mut { wrong }).await;
    let back = rotate(&dialer, AGENT, (&next, &present), &mut { wrong }).await;

    done.expect("both keys signed");
    let again = again.expect_err("the key is another now");
    assert!(again.changed_nothing() && !again.is_final(), "{again}");
    let back = back.expect_err("it was in use");
    assert!(back.is_final(), "{back}");
    assert_eq!(connect_by(&world, &successor()).await, 101);
}
