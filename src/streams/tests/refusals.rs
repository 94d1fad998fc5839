//! Refused agents are told of to the audit log: once, with where they asked from, and not without end.

use std::net::IpAddr;

use reqwest::StatusCode;
use serde_json::json;

use super::*;
use crate::streams::fakes::{OTHER, sign_connect};

/// Somebody behind a proxy that says where they are.
struct Visitor<'a> {
    world: &'a World,
    client: reqwest::Client,
    address: &'static str,
}

impl<'a> Visitor<'a> {
    fn at(world: &'a World, address: &'static str) -> Self {
        Self {
            world,
            client: http_client(),
            address,
        }
    }

    async fn enroll(&self, agent: AgentId, token: &str) -> StatusCode {
        let url = format!("http://{}/v1/agents/{agent}/enroll", self.world.address);
        let body = json!({
            "public_key": "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=", "hostname": "h",
            "os": "linux", "arch": "x86_64", "agent_version": "0",
        });
        let request = self.client.post(url).header("x-api-key", token).json(&body);
        let answer = request.header("x-forwarded-for", self.address).send().await;
        answer.expect("the daemon answers").status()
    }

    async fn connect(&self, agent: AgentId, seconds: i64) -> StatusCode {
        let host = self.world.address.to_string();
        let url = format!("http://{host}{CONNECT_PATH}");
        let headers = sign_connect(agent, &host, seconds);
        let request = self.client.get(url).headers(headers);
        let answer = request.header("x-forwarded-for", self.address).send().await;
        answer.expect("the daemon answers").status()
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[tokio::test]
async fn a_refused_enrollment_is_told_once_with_its_address_and_its_tokens_prefix() {
    let world = world(KeyStatus::Admitted).await;
    let visitor = Visitor::at(&world, "203.0.113.7");
    let address: IpAddr = "203.0.113.7".parse().expect("an address");

    let token = "hidps_0123456789ab_secret";
    assert_eq!(visitor.enroll(AGENT, token).await, StatusCode::FORBIDDEN);

    let told = || locked(&world.directory.refusals).clone();
    until("the refusal is told", || told().len() == 1).await;
    let refusal = &told()[0];
    assert_eq!((refusal.agent, refusal.from), (AGENT, Some(address)));
    assert_eq!(refusal.token_prefix.as_deref(), Some("0123456789ab"));
    assert!(!format!("{refusal:?}").contains("secret"), "{refusal:?}");
    let places = locked(&world.directory.enrolled_from).clone();
    assert_eq!(places, [Some(address)]);
}

#[tokio::test]
async fn connects_that_were_judged_are_told_and_no_others() {
    let revoked = world(KeyStatus::Revoked).await;
    let visitor = Visitor::at(&revoked, "203.0.113.7");
    let told = || locked(&revoked.directory.refusals).clone();

    // A clock that is off is told in another way, and nobody is named without a header.
    let skewed = visitor.connect(AGENT, now() - 3_600).await;
    assert_eq!(skewed, StatusCode::UNAUTHORIZED);
    let url = format!("http://{}{CONNECT_PATH}", revoked.address);
    let nameless = visitor.client.get(url).send().await.expect("it answers");
    assert_eq!(nameless.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(visitor.connect(AGENT, now()).await, StatusCode::FORBIDDEN);
    assert_eq!(
        visitor.connect(OTHER, now()).await,
        StatusCode::UNAUTHORIZED
    );

    until("both are told", || told().len() == 2).await;
    let [first, second] = told().try_into().expect("two");
    assert_eq!(first.agent, AGENT);
    assert!(first.reason.contains("revoked"), "{first:?}");
    assert_eq!(second.agent, OTHER);
    assert!(second.reason.contains("not enrolled"), "{second:?}");
}

#[tokio::test]
async fn one_address_cannot_use_up_what_the_audit_log_is_told() {
    let world = world(KeyStatus::Admitted).await;
    let flood = Visitor::at(&world, "203.0.113.7");
    for _ in 0..60 {
        flood.enroll(AGENT, "hidps_0123456789ab_x").await;
    }
    let other = Visitor::at(&world, "203.0.113.8");
    assert_eq!(other.enroll(AGENT, "wrong").await, StatusCode::FORBIDDEN);

    let from = |address: &str| {
        let address = address.parse::<IpAddr>().ok();
        let refusals = locked(&world.directory.refusals);
        refusals.iter().filter(|one| one.from == address).count()
    };
    until("the other one is told of", || from("203.0.113.8") == 1).await;
    let told = from("203.0.113.7");
    assert!((20..60).contains(&told), "{told}");
}
