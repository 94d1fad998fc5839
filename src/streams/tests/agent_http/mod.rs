//! The older ways of agents as a host with nothing but HTTP sees them.

mod desired;
mod events;
mod presence;
mod tokens;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::streams::fakes::{NEIGHBOUR, OTHER, public_key, sign_assertion, sign_token};

const EVENTS: &str = "/v1/agent/events";
const DESIRED: &str = "/v1/agent/desired";
const TOKEN: &str = "/v1/agent/token";

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A program that speaks HTTP and nothing else.
struct Host<'a> {
    world: &'a World,
    client: Client,
    token: String,
}

impl<'a> Host<'a> {
    /// One whose token says that it is this agent.
    fn of(world: &'a World, agent: AgentId) -> Self {
        let now = Timestamp::now().as_second();
        let token = issue(world, agent, &public_key(), now);
        Self::with_token(world, token)
    }

    fn with_token(world: &'a World, token: String) -> Self {
        Self {
            world,
            client: http_client(),
            token,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.world.address)
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.client.post(self.url(EVENTS)).bearer_auth(&self.token);
        request.header("content-type", JSON).body(body)
    }

    fn desired(&self, query: &str) -> RequestBuilder {
        let url = self.url(&format!("{DESIRED}{query}"));
        self.client.get(url).bearer_auth(&self.token)
    }

    fn ask_token(&self, form: &str) -> RequestBuilder {
        let request = self.client.post(self.url(TOKEN));
        request.header("content-type", FORM).body(form.to_owned())
    }

    /// Posts while `act` says what becomes of the batch that arrives.
    async fn post_and(
        &self,
        body: &str,
        act: impl FnOnce(&crate::ports::RawBatch),
    ) -> (StatusCode, Value) {
        let request = self.post(body.to_owned());
        let mut posting = JoinSet::new();
        posting.spawn(async move { answer(request).await });
        let batches = || locked(&self.world.recorder.batches);
        until("the batch arrives", || !batches().is_empty()).await;
        let batch = batches().remove(0);
        act(&batch);
        drop(batch);
        let answered = posting.join_next().await.expect("it was asked");
        answered.expect("no panic")
    }
}

fn issue(world: &World, agent: AgentId, key: &str, now: i64) -> String {
    let whose = (agent.uuid(), uuid::Uuid::from_u128(10));
    let issued = world.ways.tokens.issue(whose, key, now);
    issued.expect("claims can be written")
}

/// The status and what the body says; null where there is none.
async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("the daemon answers");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn status_of(request: RequestBuilder) -> u16 {
    answer(request).await.0.as_u16()
}

#[tokio::test]
async fn a_way_that_is_closed_says_who_can_open_it_and_takes_nothing() {
    let health = Arc::new(Health::default());
    health.set_open();
    let closed = AgentHttp::default();
    let served = (None, no_programs());
    let world = build(KeyStatus::Admitted, health, Duration::ZERO, served, closed).await;
    let host = Host::of(&world, AGENT);

    for (request, setting) in [
        (host.post("[]"), "HIDPS_HTTP_EVENTS"),
        (host.desired(""), "HIDPS_HTTP_DESIRED"),
        (
            host.ask_token("grant_type=client_credentials"),
            "HIDPS_HTTP_TOKEN",
        ),
    ] {
        let (status, body) = answer(request).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(
            body["error"].as_str().expect("text").contains(setting),
            "{body}"
        );
    }
    assert!(locked(&world.recorder.batches).is_empty());
    assert!(locked(&world.recorder.presence).is_empty());
}

#[tokio::test]
async fn only_a_live_token_of_ours_for_an_admitted_key_gets_anything() {
    let world = world(KeyStatus::Admitted).await;
    let now = Timestamp::now().as_second();
    let with = |token: String| Host::with_token(&world, token);
    let person = sign_token("good", &json!({}));
    let agents = issue(&world, AGENT, &public_key(), now);
    let mut changed = agents.clone().into_bytes();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let changed = String::from_utf8(changed).expect("still text");

    for (what, token, expected) in [
        ("good", agents.clone(), 304),
        ("nothing", String::new(), 401),
        ("garbage", "a.b.c".into(), 401),
        ("a person's", person, 401),
        ("changed", changed, 401),
        (
            "expired",
            issue(&world, AGENT, &public_key(), now - 600),
            401,
        ),
        (
            "of another key",
            issue(&world, AGENT, "another key", now),
            401,
        ),
        ("of nobody", issue(&world, OTHER, &public_key(), now), 401),
        ("too long", "x".repeat(9_000), 401),
    ] {
        let host = with(token);
        let desired = crate::model::DesiredState {
            generation: hidps_wire::Generation(7),
            hash: hidps_wire::ContentHash("aa".into()),
            ..desired_state()
        };
        world.desired.slot.send_replace(Some(Arc::new(desired)));
        let query = "?generation=7&hash=aa&entries=0";
        let status = status_of(host.desired(query)).await;
        assert_eq!(status, expected, "{what}");
        if expected == 401 {
            assert_eq!(status_of(host.post("[]")).await, 401, "{what}");
        }
    }
    // Nor is it of use where a person's is wanted.
    let viewer = format!("ws://{}/v1/viewers/connect", world.address);
    let mut request = viewer.into_client_request().expect("a good address");
    let bearer = format!("Bearer {agents}").parse().expect("a header value");
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = connect_async(request).await.expect("refused in a frame");
    let refused = receive_text(&mut socket).await;
    assert!(refused.contains("unauthenticated"), "{refused}");
}

#[tokio::test]
async fn a_pending_or_revoked_key_ends_what_its_token_could_do() {
    for status in [KeyStatus::Pending, KeyStatus::Revoked] {
        let world = world(status).await;
        let host = Host::of(&world, AGENT);

        assert_eq!(status_of(host.post("[]")).await, 403, "{status:?}");
        assert_eq!(status_of(host.desired("")).await, 403, "{status:?}");
        assert!(locked(&world.recorder.presence).is_empty());
    }
}

#[tokio::test]
async fn an_agent_that_asks_too_often_waits_and_another_one_does_not() {
    let world = world(KeyStatus::Admitted).await;
    let (flood, other) = (Host::of(&world, AGENT), Host::of(&world, NEIGHBOUR));
    let flooding = async {
        for n_taken in 0.. {
            let (status, body) = answer(flood.post("nonsense")).await;
            if status == StatusCode::TOO_MANY_REQUESTS {
                return (n_taken, body);
            }
        }
        unreachable!("a flood has no end");
    };

    let (n_taken, body) = timeout(Duration::from_secs(60), flooding)
        .await
        .expect("a flood is refused");
    assert!(n_taken >= 60, "{n_taken}");
    let text = body["error"].as_str().expect("text");
    assert!(text.contains("this agent asks too often"), "{text}");
    assert_eq!(status_of(other.post("nonsense")).await, 400);
}

fn desired_state() -> crate::model::DesiredState {
    crate::model::DesiredState {
        generation: hidps_wire::Generation(7),
        hash: hidps_wire::ContentHash("aa".into()),
        document: hidps_wire::DesiredDocument::default(),
        changed_at: Timestamp::UNIX_EPOCH,
        released: false,
        hold: None,
    }
}
