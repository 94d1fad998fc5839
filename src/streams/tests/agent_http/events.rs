//! What hosts post, and what becomes of it: the same as of what comes by the socket.

use hidps_wire::{EventBatch, EventKind, MAX_AGENT_FRAME_BYTES};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::model::Observation;
use crate::ports::RawBatch;
use crate::streams::agent_http::OF_AGENT;

/// A line as older agents write it.
fn line(agent: &str, message: &str) -> Value {
    json!({
        "timestamp": "2026-11-20T23:59:55.496614Z", "agent_id": agent, "service": "sshd",
        "message": message, "type": "login",
    })
}

fn batch_of(batch: &RawBatch) -> EventBatch<'_> {
    decode(&batch.text, MAX_AGENT_FRAME_BYTES).expect("detection can read it")
}

const FAILED: &str = "Failed password for root from 203.0.113.9 port 51122 ssh2";

#[tokio::test]
async fn a_batch_goes_to_detection_as_it_is_and_its_verdict_comes_back() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let text = r#"{"type":"events","seq":1,"events":[]}"#;

    let (status, body) = host
        .post_and(text, |batch| {
            assert_eq!((batch.agent_id, &*batch.text), (AGENT, text));
            batch.progress.matched("rule-1", "Guessing", 70);
            batch.progress.matched("rule-2", "More", 40);
            batch.progress.taken(1);
        })
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&body["accepted"], &body["risk"]),
        (&json!(true), &json!(70))
    );
    assert_eq!(body["alerts"][0]["rule_id"], "rule-1");

    let refused = |batch: &RawBatch| batch.progress.refused("an event is too long".into());
    let (status, body) = host.post_and(text, refused).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error"], "an event is too long");

    // A worker that ends says nothing; that must not look like success.
    let (status, _) = host.post_and(text, |_| {}).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn lines_of_older_agents_become_one_batch_of_the_tokens_agent() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let own = AGENT.to_string();
    let lines = json!([line(&own, FAILED), line(&own, "x")]).to_string();

    let (status, body) = host
        .post_and(&lines, |batch| {
            let events = batch_of(batch).events;
            assert_eq!((batch.agent_id, events.len()), (AGENT, 2));
            assert_eq!(events[0].kind, EventKind::Login);
            assert!(events[0].fields.get("src_ip").is_some());
            batch.progress.taken(1);
        })
        .await;

    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, json!({"accepted": true, "risk": 0, "alerts": []}));
}

#[tokio::test]
async fn a_message_between_parties_is_answered_with_its_log_id_and_keeps_its_own_risk_out() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let message = json!({
        "sender": "a", "receiver": "b", "context": "login", "payload": "ignore all rules",
        "timestamp": "2026-11-20T23:59:55Z", "risk": 100,
    });

    let (status, body) = host
        .post_and(&message.to_string(), |batch| {
            let event = &batch_of(batch).events[0];
            assert_eq!(event.service.as_str(), "message");
            assert!(event.fields.get("sender").is_some());
            assert!(event.fields.get("risk").is_none());
            batch.progress.taken(1);
        })
        .await;

    assert_eq!(status, StatusCode::OK);
    assert!(body["log_id"].is_string() && body["risk"] == 0, "{body}");
}

#[tokio::test]
async fn another_agents_id_in_a_body_is_refused_and_nothing_of_the_post_is_taken() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let (own, other) = (AGENT.to_string(), NEIGHBOUR.to_string());
    let report = json!({
        "type": "agent_report", "agent_id": other,
        "data": {"cpu_usage": 1, "ram_usage": 1, "disk_usage": 1},
    });

    for body in [
        line(&other, "x"),
        json!([line(&own, "x"), line(&other, "x")]),
        line("agent_unknown", "x"),
        line("", "x"),
        report,
    ] {
        assert_eq!(status_of(host.post(body.to_string())).await, 403, "{body}");
    }
    // A frame of the socket has no such field at all.
    let usage = json!({"type": "usage", "cpu": 1, "ram": 1, "storage": 1, "agent_id": own});
    assert_eq!(status_of(host.post(usage.to_string())).await, 400);
    assert!(locked(&world.recorder.batches).is_empty());
    assert!(locked(&world.recorder.observations).is_empty());
}

#[tokio::test]
async fn states_are_recorded_and_a_host_that_posts_is_online() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let report = json!({
        "type": "agent_report", "agent_id": AGENT.to_string(),
        "data": {"cpu_usage": 98.5, "ram_usage": 5.5, "disk_usage": 21.5, "firewall_enabled": true},
    });
    let processes = json!({"type": "processes", "total": 3, "top": []});
    let facts = json!({
        "type": "facts", "hostname": "box", "kernel": "5.4.0", "arch": "aarch64", "interfaces": [],
    });
    let status = json!({
        "type": "status", "applied": null, "firewall_active": true, "conditions": [
            {"type": "FirewallSynced", "status": "true", "reason": "Enabled", "message": "on"},
        ],
    });

    for body in [report, processes, facts, status] {
        assert_eq!(status_of(host.post(body.to_string())).await, 200, "{body}");
    }

    let recorder = &world.recorder;
    assert_eq!(locked(&recorder.presence).get(&AGENT), Some(&true));
    assert_eq!(locked(&recorder.processes).len(), 1);
    assert_eq!(locked(&recorder.facts).len(), 1);
    let reasons: Vec<String> = locked(&recorder.conditions)
        .iter()
        .map(|condition| condition.reason.clone())
        .collect();
    assert_eq!(reasons, ["Polled", "Enabled"]);
    let observations = locked(&recorder.observations);
    let is_usage = |observed: &(AgentId, Observation)| {
        matches!(observed, (AGENT, Observation::Usage { cpu: 98.5, .. }))
    };
    assert!(observations.iter().any(is_usage), "{observations:?}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_with_a_reason_and_the_next_is_taken() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let bomb = [&[0x1f, 0x8b, 8, 0][..], &[0; 2_000]].concat();
    let packed = |encoding: &str| host.post(bomb.clone()).header("content-encoding", encoding);
    let untyped = host.client.post(host.url(EVENTS)).bearer_auth(&host.token);
    let retyped = |kind: &str| {
        untyped
            .try_clone()
            .expect("no stream")
            .header("content-type", kind)
    };

    for (what, request, expected) in [
        ("nothing", host.post(""), 400),
        ("not JSON", host.post("{"), 400),
        ("not UTF-8", host.post(vec![b'"', 0xff, b'"']), 400),
        ("NUL", host.post("\0"), 400),
        ("gzip that does not say so", host.post(bomb.clone()), 400),
        ("deep", host.post("[".repeat(200_000)), 400),
        ("deep objects", host.post("{\"a\":".repeat(40_000)), 400),
        (
            "an unknown frame",
            host.post(r#"{"type":"become_root"}"#),
            400,
        ),
        ("hello", host.post(hello(1, None)), 400),
        (
            "too long",
            host.post(" ".repeat(MAX_AGENT_FRAME_BYTES + 1)),
            413,
        ),
        ("gzip", packed("gzip"), 415),
        ("brotli", packed("br"), 415),
        ("gzip twice", packed("gzip, gzip"), 415),
        ("text", retyped("text/plain").body("[]"), 415),
        ("a form", retyped(FORM).body("a=b"), 415),
        (
            "without a type",
            untyped.try_clone().expect("no stream").body("[]"),
            415,
        ),
    ] {
        let (status, body) = answer(request).await;
        assert_eq!(status.as_u16(), expected, "{what}: {body}");
        let error = body["error"].as_str().unwrap_or_default();
        assert!(!error.is_empty() && error.len() < 300, "{what}: {body}");
    }
    assert!(locked(&world.recorder.batches).is_empty());

    let whole = line(&AGENT.to_string(), FAILED).to_string();
    let taken = |batch: &RawBatch| batch.progress.taken(1);
    assert_eq!(host.post_and(&whole, taken).await.0, StatusCode::OK);
}

/// Half of a post, and then nothing for as long as the stream lives.
async fn post_half(host: &Host<'_>) -> TcpStream {
    let mut stream = TcpStream::connect(host.world.address)
        .await
        .expect("loopback");
    let half = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         Content-Type: {JSON}\r\nContent-Length: 1000\r\n\r\n{{",
        host.token
    );
    stream.write_all(half.as_bytes()).await.expect("taken");
    stream
}

#[tokio::test]
async fn an_agent_that_posts_slowly_holds_a_few_seats_and_others_post() {
    let world = world(KeyStatus::Admitted).await;
    let (slow, other) = (Host::of(&world, AGENT), Host::of(&world, NEIGHBOUR));
    let mut held = Vec::new();
    for _ in 0..OF_AGENT {
        held.push(post_half(&slow).await);
    }
    // Whoever asks too often gets the same status and other words.
    let refused = async {
        loop {
            let (status, body) = answer(slow.post("nonsense")).await;
            if body["error"].to_string().contains("posts too much at once") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let status = timeout(Duration::from_secs(30), refused).await;

    let status = status.expect("its seats are taken");
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status_of(other.post("nonsense")).await, 400);
    drop(held);
    let served = async {
        while status_of(slow.post("nonsense")).await != 400 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), served)
        .await
        .expect("its seats are free again");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_ends_in_words_that_say_so() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let mut slow = post_half(&host).await;
    let mut text = String::new();

    timeout(Duration::from_secs(60), slow.read_to_string(&mut text))
        .await
        .expect("it is told")
        .expect("text");
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.contains("the body did not arrive"), "{text}");
}
