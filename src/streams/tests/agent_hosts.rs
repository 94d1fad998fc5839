//! What an agent signed for a daemon of another name is worth nothing here, whoever hands it on.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;

use super::*;
use crate::config::AgentHosts;
use crate::streams::fakes::{key, sign_assertion, sign_connect, sign_rotation};

const OURS: &str = "hidps.example";
const THEIRS: &str = "former.example";

/// A daemon that knows its name.
async fn world_named() -> World {
    let health = Arc::new(Health::default());
    health.set_open();
    let (starting, served) = ((health, Duration::ZERO), (None, no_programs()));
    let named = |gateway: &mut Gateway| gateway.agent_hosts = Arc::new(AgentHosts::of(&[OURS]));
    build_with(KeyStatus::Admitted, starting, served, OPEN, named).await
}

/// The same request as a daemon elsewhere would hand it on.
fn from_elsewhere(request: RequestBuilder, host: &str) -> RequestBuilder {
    let request = request.header("host", host);
    request.header("x-forwarded-for", "203.0.113.7")
}

async fn answer(request: RequestBuilder) -> (StatusCode, String) {
    let answer = request.send().await.expect("the daemon answers");
    (answer.status(), answer.text().await.expect("a text"))
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[tokio::test]
async fn a_connect_that_was_signed_for_another_daemon_is_refused_here() {
    let world = world_named().await;
    let url = format!("http://{}{CONNECT_PATH}", world.address);
    let connect = |host: &str| {
        let request = http_client()
            .get(&url)
            .headers(sign_connect(AGENT, host, now()));
        from_elsewhere(request, host)
    };

    let (status, text) = answer(connect(THEIRS)).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{text}");
    assert!(text.contains("HIDPS_AGENT_HOSTS"), "{text}");
    // Everything is well but that this is no upgrade.
    let (status, text) = answer(connect(OURS)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.to_lowercase().contains("upgrade"), "{text}");
    // An agent on the daemon's own machine.
    world.connect().await.expect("it may name it by loopback");
}

#[tokio::test]
async fn a_rotation_that_was_signed_for_another_daemon_replaces_no_key() {
    let world = world_named().await;
    let new = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let url = format!("http://{}{}", world.address, hidps_wire::rotate_path(AGENT));
    let rotate = |host: &str| {
        let (headers, body) = sign_rotation((&key(), &new), AGENT, host, now());
        from_elsewhere(http_client().post(&url).headers(headers).json(&body), host)
    };

    let (status, text) = answer(rotate(THEIRS)).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{text}");
    world.connect().await.expect("its key is as it was");
    let (status, text) = answer(rotate(OURS)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
}

#[tokio::test]
async fn an_assertion_for_another_daemon_gets_no_token() {
    let world = world_named().await;
    let url = format!("http://{}/v1/agent/token", world.address);
    let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    let ask = |host: &str| {
        let audience = format!("https://{host}/v1/agent/token");
        let assertion = sign_assertion(AGENT, &audience, &json!({}));
        let form = format!(
            "grant_type=client_credentials&client_assertion_type={kind}&client_assertion={assertion}"
        );
        let request = http_client().post(&url).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        from_elsewhere(request, host)
    };

    let (status, text) = answer(ask(THEIRS)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("HIDPS_AGENT_HOSTS"), "{text}");
    let (status, text) = answer(ask(OURS)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("access_token"), "{text}");
}
