//! Requests about agents' keys: refused before there is a body where that can be, and read in one way.

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::AgentHosts;

const KEY: &str = "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=";

fn path(what: &str) -> String {
    format!("/v1/agents/{AGENT}/{what}")
}

/// What a request is answered whose body never comes.
async fn ask_without_end(world: &World, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.expect("loopback");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 203.0.113.7\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut answer = vec![0; 1_024];
    let read = timeout(Duration::from_secs(60), stream.read(&mut answer)).await;
    let length = read.expect("it answers or closes").expect("it answers");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn who_enrolls_too_often_is_refused_before_the_body_has_come() {
    let world = world(KeyStatus::Admitted).await;
    let client = http_client();
    let url = format!("http://{}{}", world.address, path("enroll"));
    let flooded = async {
        loop {
            let request = client.post(&url).header("x-forwarded-for", "203.0.113.7");
            // No body that can be read counts as well as one that can.
            let answer = request.body("{").send().await.expect("it answers");
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                return;
            }
        }
    };
    timeout(Duration::from_secs(60), flooded)
        .await
        .expect("there is a limit");

    let answers = async {
        loop {
            // One is let in again from time to time.
            let answer = ask_without_end(&world, &path("enroll"), "hidps.example").await;
            if answer.starts_with("HTTP/1.1 429") {
                return;
            }
        }
    };
    let answered = timeout(Duration::from_secs(60), answers).await;
    answered.expect("it is refused at once");
}

#[tokio::test]
async fn a_rotation_for_another_daemon_is_refused_before_the_body_has_come() {
    let health = Arc::new(Health::default());
    health.set_open();
    let (starting, served) = ((health, Duration::ZERO), (None, no_programs()));
    let named = |gateway: &mut Gateway| {
        gateway.agent_hosts = Arc::new(AgentHosts::of(&["hidps.example"]));
    };
    let world = build_with(KeyStatus::Admitted, starting, served, OPEN, named).await;

    let answer = ask_without_end(&world, &path("rotate"), "former.example").await;

    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_answered_alike_by_enrollment_and_rotation() {
    let world = world(KeyStatus::Admitted).await;
    let long = format!(r#"{{"public_key":"{}"}}"#, "x".repeat(20_000));

    for what in ["enroll", "rotate"] {
        let url = format!("http://{}{}", world.address, path(what));
        for (kind, body, expected) in [
            ("application/json", "{", 400),
            ("application/json", "{}", 400),
            ("application/json", r#"{"public_key":7}"#, 400),
            ("text/plain", "{}", 400),
            ("application/json", long.as_str(), 413),
        ] {
            let request = http_client().post(&url).header("content-type", kind);
            let answer = request.body(body.to_owned()).send().await;

            let answer = answer.expect("it answers");
            assert_eq!(
                answer.status().as_u16(),
                expected,
                "{what} {kind} {body:.40}"
            );
            let text = answer.text().await.expect("a text");
            assert!(text.contains("error"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_refused_enrollment_says_what_to_do_and_only_what_follows_from_what_was_sent() {
    let world = world(KeyStatus::Admitted).await;
    let url = format!("http://{}{}", world.address, path("enroll"));
    let enroll = async |token: Option<&str>, hostname: &str| {
        let body = serde_json::json!({
            "public_key": KEY, "hostname": hostname, "os": "linux", "arch": "x86_64",
            "agent_version": "0",
        });
        let request = http_client().post(&url).json(&body);
        let request = match token {
            Some(token) => request.header("x-api-key", token),
            None => request,
        };
        let answer = request.send().await.expect("it answers");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        answer.text().await.expect("a text")
    };

    let with_token = enroll(Some("hidps_0123456789ab_wrong"), "h").await;
    let without = enroll(None, "late").await;

    for text in [&with_token, &without] {
        assert!(text.contains("audit log"), "{text}");
    }
    assert!(with_token.contains("token is not valid"), "{with_token}");
    assert!(
        without.contains("decide on the key that waits"),
        "{without}"
    );
    assert_eq!(with_token, enroll(Some("x"), "late").await);
}
