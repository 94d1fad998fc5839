//! Every route against every kind of caller, and the document that describes them all.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::streams::fakes::{sign_token, sign_token_with};
use crate::streams::routes::routes;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// Anybody, and everybody gets the same.
    Anybody,
    /// Whoever signs with an agent's key; no token of a person helps.
    AgentKey,
    /// Whoever shows a token that the daemon gave an agent; no token of a person is one.
    AgentToken,
    /// Whoever sends a form, in which the client proves who it is; what is asked here is none.
    ClientForm,
    /// Whoever has an enrollment token; no token of a person is one.
    EnrollmentToken,
    /// A person, whose token is judged inside of the socket; see `frames`.
    Person,
}

/// Every route; a new one is described here or the test fails.
const GUARDS: [(&str, &str, Guard); 16] = [
    ("get", "/", Guard::Anybody),
    ("get", "/livez", Guard::Anybody),
    ("get", "/healthz", Guard::Anybody),
    ("get", "/readyz", Guard::Anybody),
    ("get", "/metrics", Guard::Anybody),
    ("get", "/openapi.json", Guard::Anybody),
    ("get", "/v1/agents/connect", Guard::AgentKey),
    (
        "post",
        "/v1/agents/{agent_id}/enroll",
        Guard::EnrollmentToken,
    ),
    ("post", "/v1/agent/token", Guard::ClientForm),
    ("post", "/v1/agent/events", Guard::AgentToken),
    ("get", "/v1/agent/desired", Guard::AgentToken),
    ("post", "/v1/agents/{agent_id}/rotate", Guard::AgentKey),
    ("get", "/v1/viewers/connect", Guard::Person),
    ("get", "/install.sh", Guard::Anybody),
    ("get", "/agent/{architecture}/hidps-agent", Guard::Anybody),
    (
        "get",
        "/agent/{architecture}/hidps-agent.sha256",
        Guard::Anybody,
    ),
];

/// The status and the whole answer.
async fn ask(world: &World, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(world.address).await.expect("loopback");
    stream.write_all(request.as_bytes()).await.expect("taken");
    let (mut answer, mut part) = (String::new(), [0; 4096]);
    while !is_whole(&answer) {
        let read = timeout(Duration::from_secs(30), stream.read(&mut part));
        match read.await.expect("it answers").expect("it answers") {
            0 => break,
            n => answer += &String::from_utf8_lossy(&part[..n]),
        }
    }
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or(0), answer)
}

/// Whether an answer is there to its end; one without a length ends where the connection does.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    head.starts_with("http/1.1 101") || length.is_some_and(|length: usize| body.len() >= length)
}

fn request(world: &World, (method, path): (&str, &str), headers: &str) -> String {
    let path = path
        .replace("{agent_id}", &AGENT.to_string())
        .replace("{architecture}", "x86_64");
    let body = match method {
        "post" if path.ends_with("/rotate") => json!({"public_key": "x", "proof": "x"}).to_string(),
        "post" => json!({
            "public_key": "MCowBQYDK2VwAyEAMCowBQYDK2VwAyEAMCowBQYDK2U=", "hostname": "web",
            "os": "linux", "arch": "x86_64", "agent_version": "0",
        })
        .to_string(),
        _ => String::new(),
    };
    let upgrade = match path.ends_with("/connect") {
        true => {
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        }
        false => "Connection: close\r\n",
    };
    format!(
        "{} {path} HTTP/1.1\r\nHost: {}\r\n{upgrade}Content-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        method.to_uppercase(),
        world.address,
        body.len(),
    )
}

/// Tokens of every kind, as headers.
fn callers() -> Vec<(&'static str, String)> {
    let bearer = |token: String| format!("Authorization: Bearer {token}\r\nX-API-Key: {token}\r\n");
    let other = "another secret, long enough too";
    vec![
        ("nobody", String::new()),
        ("expired", bearer(sign_token("good", &json!({"exp": 1})))),
        (
            "wrong audience",
            bearer(sign_token("good", &json!({"aud": "other"}))),
        ),
        (
            "wrong key",
            bearer(sign_token_with(other, "good", &json!({}))),
        ),
        ("other tenant", bearer(sign_token("stranger", &json!({})))),
        ("a person", bearer(sign_token("good", &json!({})))),
    ]
}

#[tokio::test]
async fn every_route_answers_every_caller_as_its_guard_says() {
    let world = world(KeyStatus::Admitted).await;
    let known: BTreeSet<_> = GUARDS
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    let served: BTreeSet<_> = routes()
        .iter()
        .map(|route| (route.method, route.path))
        .collect();
    assert_eq!(
        known, served,
        "a route has no row in the table of this test"
    );

    for (method, path, guard) in GUARDS {
        let mut statuses = BTreeSet::new();
        for (caller, headers) in callers() {
            let (status, text) = ask(&world, &request(&world, (method, path), &headers)).await;
            let expected: &[u16] = match (guard, caller) {
                (Guard::Anybody, _) => &[200, 404, 503],
                (Guard::AgentKey | Guard::AgentToken, _) => &[401],
                (Guard::ClientForm, _) => &[415],
                // Without a token it waits for approval; a person's token is none of ours.
                (Guard::EnrollmentToken, "nobody") => &[200],
                (Guard::EnrollmentToken, _) => &[400, 403],
                (Guard::Person, _) => &[101],
            };
            assert!(
                expected.contains(&status),
                "{method} {path} as {caller}: {text}"
            );
            assert!(!text.contains("eyJ"), "{path} repeats a token: {text}");
            statuses.insert(status);
        }
        if guard == Guard::Anybody {
            assert_eq!(statuses.len(), 1, "{path} tells callers apart");
        }
    }
}

#[tokio::test]
async fn a_secret_in_an_address_is_refused_on_every_route_and_not_repeated() {
    let world = world(KeyStatus::Admitted).await;
    let token = sign_token("good", &json!({}));
    for (method, path, _) in GUARDS {
        let path = format!("{path}?access_token={token}");

        let (status, text) = ask(&world, &request(&world, (method, &path), "")).await;

        assert_eq!(status, 400, "{path}: {text}");
        assert!(text.contains("Authorization: Bearer <token>"), "{text}");
        assert!(!text.contains(&token), "{text}");
    }
}

#[tokio::test]
async fn pages_of_unlisted_origins_get_no_socket_and_read_no_answer() {
    let world = world(KeyStatus::Admitted).await;
    let ours = "Origin: https://console.acme.test\r\n";
    let theirs = "Origin: https://evil.test\r\n";
    let socket = ("get", "/v1/viewers/connect");
    let health = ("get", "/healthz");

    let (status, text) = ask(&world, &request(&world, socket, theirs)).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("HIDPS_ALLOWED_ORIGINS"), "{text}");
    let (status, text) = ask(&world, &request(&world, socket, ours)).await;
    assert_eq!(status, 101, "{text}");

    let allows = "access-control-allow-origin: https://console.acme.test";
    let (_, text) = ask(&world, &request(&world, health, ours)).await;
    assert!(text.to_lowercase().contains(allows), "{text}");
    let (_, text) = ask(&world, &request(&world, health, theirs)).await;
    assert!(
        !text.to_lowercase().contains("access-control-allow-origin"),
        "{text}"
    );
}

#[tokio::test]
async fn a_browser_may_ask_first_whether_it_may_ask() {
    let world = world(KeyStatus::Admitted).await;
    let preflight = format!(
        "OPTIONS /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Origin: https://console.acme.test\r\nAccess-Control-Request-Method: GET\r\n\
         Access-Control-Request-Headers: authorization\r\n\r\n",
        world.address,
    );

    let (status, text) = ask(&world, &preflight).await;

    assert_eq!(status, 200, "{text}");
    let text = text.to_lowercase();
    assert!(
        text.contains("access-control-allow-headers: authorization"),
        "{text}"
    );
    assert!(!text.contains("access-control-allow-credentials"), "{text}");
}

#[tokio::test]
async fn the_served_document_describes_every_route_and_no_other() {
    let world = world(KeyStatus::Admitted).await;
    let (status, text) = ask(&world, &request(&world, ("get", "/openapi.json"), "")).await;
    assert_eq!(status, 200, "{text}");
    let (_, body) = text.split_once("\r\n\r\n").expect("there is a body");
    let document: Value = serde_json::from_str(body).expect("it is JSON");

    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            described.insert((method.clone(), path.clone()));
            assert!(operation["operationId"].is_string(), "{method} {path}");
            assert!(
                !operation["responses"]
                    .as_object()
                    .expect("responses")
                    .is_empty()
            );
            let named: BTreeSet<_> = path
                .split('/')
                .filter(|part| part.starts_with('{'))
                .collect();
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let given: BTreeSet<_> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap_or_default()))
                .collect();
            let named: BTreeSet<_> = named.into_iter().map(str::to_owned).collect();
            assert_eq!(named, given, "{method} {path}");
        }
    }

    let served = routes().into_iter();
    let served: BTreeSet<_> = served
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(described, served);
}

#[tokio::test]
async fn viewers_of_one_address_wait_after_a_burst_and_other_routes_do_not() {
    let world = world(KeyStatus::Admitted).await;
    let from = |address: &str| {
        let forwarded = format!("X-Forwarded-For: {address}\r\n");
        request(&world, ("get", "/v1/viewers/connect"), &forwarded)
    };
    let socket = from("203.0.113.7");
    let mut refused = None;
    for _ in 0..400 {
        let (status, text) = ask(&world, &socket).await;
        if status == 429 {
            refused = Some(text);
            break;
        }
        assert_eq!(status, 101, "{text}");
    }

    let text = refused.expect("the burst ends").to_lowercase();
    assert!(text.contains("retry-after: "), "{text}");
    assert_eq!(ask(&world, &from("203.0.113.8")).await.0, 101);
    let live = request(
        &world,
        ("get", "/livez"),
        "X-Forwarded-For: 203.0.113.7\r\n",
    );
    assert_eq!(ask(&world, &live).await.0, 200);
}
