//! Who gets a token: whoever signs with the agent's key or has a token of an admin, and nobody else.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const GRANT: &str = "grant_type=client_credentials";
const KIND: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

fn with_secret(agent: AgentId, secret: &str) -> String {
    format!("{GRANT}&client_id={agent}&client_secret={secret}")
}

fn with_assertion(assertion: &str) -> String {
    format!("{GRANT}&client_assertion_type={KIND}&client_assertion={assertion}")
}

fn audience(world: &World) -> String {
    format!("https://{}{TOKEN}", world.address)
}

#[tokio::test]
async fn a_signature_or_a_secret_gets_a_token_that_works() {
    let world = world(KeyStatus::Admitted).await;
    let stranger = Host::with_token(&world, String::new());
    let assertion = sign_assertion(AGENT, &audience(&world), &json!({}));
    let basic = stranger.ask_token(GRANT).basic_auth(AGENT, Some("good"));

    for request in [
        stranger.ask_token(&with_secret(AGENT, "good")),
        stranger.ask_token(&with_assertion(&assertion)),
        basic,
    ] {
        let granted = request.send().await.expect("it answers");
        assert_eq!(granted.status(), StatusCode::OK);
        assert_eq!(granted.headers()["cache-control"], "no-store");
        let granted: Value = granted.json().await.expect("JSON");
        assert_eq!(granted["token_type"], "Bearer");
        assert_eq!(granted["expires_in"], 600);
        let token = granted["access_token"].as_str().expect("text").to_owned();
        let host = Host::with_token(&world, token);
        let (status, _) = host
            .post_and(r#"{"type":"events","seq":1,"events":[]}"#, |batch| {
                assert_eq!(batch.agent_id, AGENT);
                batch.progress.taken(1);
            })
            .await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn whoever_does_not_prove_it_learns_nothing_and_is_told_of() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::with_token(&world, String::new());
    let ours = audience(&world);
    let sign = |agent, audience: &str, replaced| sign_assertion(agent, audience, &replaced);
    let good = sign(AGENT, &ours, json!({}));
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged: String = signature.chars().skip(1).collect();
    let forged = format!("{message}.{other}{forged}");
    assert_ne!(forged, good);
    let wrong = [
        with_secret(AGENT, "hidps_0123456789ab_wrong"),
        with_secret(OTHER, "good"),
        with_secret(NEIGHBOUR, "good"),
        with_assertion(&forged),
        with_assertion(&sign(OTHER, &ours, json!({}))),
        with_assertion(&sign(AGENT, "https://evil.test/v1/agent/token", json!({}))),
    ];

    let mut bodies = std::collections::BTreeSet::new();
    for form in &wrong {
        let (status, body) = answer(host.ask_token(form)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{form} {body}");
        assert_eq!(body["error"], "invalid_client");
        bodies.insert(body.to_string());
    }
    assert_eq!(bodies.len(), 1, "callers are told apart: {bodies:?}");
    let told = || locked(&world.directory.refusals).clone();
    until("each is told of", || told().len() == wrong.len()).await;
    assert_eq!(told()[0].token_prefix.as_deref(), Some("0123456789ab"));
    assert!(
        told()
            .iter()
            .all(|refusal| !format!("{refusal:?}").contains("_wrong"))
    );
}

#[tokio::test]
async fn a_host_whose_clock_is_wrong_hears_that_it_is_the_clock() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::with_token(&world, String::new());
    let now = Timestamp::now().as_second();

    for (claims, words) in [
        (json!({"iat": now + 120}), "ahead of the daemon's clock"),
        (json!({"exp": now - 1}), "has expired"),
        (json!({"exp": now + 3_600}), "more than 300 s"),
    ] {
        let form = with_assertion(&sign_assertion(AGENT, &audience(&world), &claims));
        let (status, body) = answer(host.ask_token(&form)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
        assert_eq!(body["error"], "invalid_client");
        let said = body["error_description"].as_str().unwrap_or_default();
        assert!(
            said.contains(words) && said.contains("set the host's clock"),
            "{said}"
        );
        // Who did not sign it hears nothing of that.
        let forged = with_assertion(&sign_assertion(OTHER, &audience(&world), &claims));
        let (_, body) = answer(host.ask_token(&forged)).await;
        assert!(!body.to_string().contains("clock"), "{body}");
    }
    let told = || locked(&world.directory.refusals).len();
    until("each is told of", || told() == 6).await;
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::with_token(&world, String::new());
    let form = with_assertion(&sign_assertion(AGENT, &audience(&world), &json!({})));

    assert_eq!(status_of(host.ask_token(&form)).await, 200);
    assert_eq!(status_of(host.ask_token(&form)).await, 401);
}

#[tokio::test]
async fn an_assertion_that_an_earlier_run_may_have_taken_is_refused_until_another_is_signed() {
    let health = Arc::new(Health::default());
    health.set_open();
    let began = Timestamp::now() - jiff::SignedDuration::from_secs(30);
    let begin = |gateway: &mut Gateway| gateway.ways = Arc::new(HttpWays::begun(OPEN, began));
    let (starting, served) = ((health, Duration::ZERO), (None, no_programs()));
    let world = build_with(KeyStatus::Admitted, starting, served, OPEN, begin).await;
    let host = Host::with_token(&world, String::new());
    let ask = |issued: i64| {
        let claims = json!({ "iat": issued });
        let form = with_assertion(&sign_assertion(AGENT, &audience(&world), &claims));
        answer(host.ask_token(&form))
    };

    for issued in [began.as_second() - 60, began.as_second()] {
        let (status, body) = ask(issued).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert!(body.to_string().contains("sign another"), "{body}");
    }
    let (status, body) = ask(Timestamp::now().as_second()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

#[tokio::test]
async fn a_revoked_agent_gets_no_token_and_only_the_holder_of_its_key_hears_why() {
    let world = world(KeyStatus::Revoked).await;
    let host = Host::with_token(&world, String::new());
    let signed = with_assertion(&sign_assertion(AGENT, &audience(&world), &json!({})));

    let (status, body) = answer(host.ask_token(&signed)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert!(body.to_string().contains("revoked"), "{body}");
    let (status, body) = answer(host.ask_token(&with_secret(AGENT, "good"))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(!body.to_string().contains("revoked"), "{body}");
}

#[tokio::test]
async fn a_request_that_is_not_of_its_form_is_refused_in_oauths_words() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::with_token(&world, String::new());
    let form = with_secret(AGENT, "good");
    let as_json = host
        .client
        .post(host.url(TOKEN))
        .json(&json!({"grant_type": "x"}));
    let packed = host.ask_token(&form).header("content-encoding", "gzip");
    let long = format!("{form}&scope={}", "x".repeat(20_000));

    for (what, request, status, word) in [
        ("JSON", as_json, 415, "invalid_request"),
        ("packed", packed, 415, "invalid_request"),
        ("too long", host.ask_token(&long), 413, "invalid_request"),
        ("empty", host.ask_token(""), 400, "invalid_request"),
        (
            "another grant",
            host.ask_token(&form.replace("client_credentials", "password")),
            400,
            "unsupported_grant_type",
        ),
        (
            "twice",
            host.ask_token(&format!("{form}&client_secret=good")),
            400,
            "invalid_request",
        ),
        (
            "no id",
            host.ask_token(&format!("{GRANT}&client_secret=good")),
            401,
            "invalid_client",
        ),
    ] {
        let (found, body) = answer(request).await;
        assert_eq!(
            (found.as_u16(), body["error"].as_str()),
            (status, Some(word)),
            "{what}"
        );
    }
}

#[tokio::test]
async fn every_id_costs_the_same_question_whether_there_is_such_an_agent_or_not() {
    for status in [KeyStatus::Admitted, KeyStatus::Pending, KeyStatus::Revoked] {
        let world = world(status).await;
        let host = Host::with_token(&world, String::new());
        for (agent, secret) in [(AGENT, "wrong"), (OTHER, "wrong"), (OTHER, "good")] {
            let before = world.directory.n_secrets.load(Ordering::Relaxed);
            let (status, _) = answer(host.ask_token(&with_secret(agent, secret))).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            let asked = world.directory.n_secrets.load(Ordering::Relaxed) - before;
            assert_eq!(asked, 1, "{agent}");
        }
    }
}

#[tokio::test]
async fn a_way_that_is_closed_waits_for_no_body() {
    let health = Arc::new(Health::default());
    health.set_open();
    let served = (None, no_programs());
    let closed = AgentHttp::default();
    let world = build(KeyStatus::Admitted, health, Duration::ZERO, served, closed).await;
    let mut stream = TcpStream::connect(world.address).await.expect("loopback");
    let half = format!(
        "POST {TOKEN} HTTP/1.1\r\nHost: h\r\nContent-Type: {FORM}\r\nContent-Length: 999\r\n\r\na"
    );
    stream.write_all(half.as_bytes()).await.expect("taken");

    let mut begin = [0; 12];
    // A body that is waited for is given up after 15 s.
    let answered = timeout(Duration::from_secs(60), stream.read_exact(&mut begin)).await;
    answered.expect("it answers").expect("bytes");
    assert_eq!(&begin, b"HTTP/1.1 404");
}
