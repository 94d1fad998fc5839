//! Who asks too often is told so over the wire, and others go on.

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;

use super::*;

/// Enrolls through a proxy that names this address.
async fn enroll(world: &World, client: &reqwest::Client, address: &str) -> reqwest::Response {
    let url = format!("http://{}/v1/agents/{AGENT}/enroll", world.address);
    let body = r#"{"public_key":"KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=","hostname":"h","os":"linux","arch":"x86_64","agent_version":"0"}"#;
    let request = client.post(url).header("x-forwarded-for", address);
    let request = request
        .header("content-type", "application/json")
        .body(body);
    request.send().await.expect("the daemon answers")
}

#[tokio::test]
async fn an_address_that_enrolls_too_often_is_told_when_to_come_back() {
    let world = world(KeyStatus::Admitted).await;
    let client = http_client();
    let flooded = async {
        loop {
            let answer = enroll(&world, &client, "203.0.113.9").await;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
        }
    };

    let refusal = timeout(Duration::from_secs(60), flooded).await;
    let refusal = refusal.expect("a flood is refused");
    let wait = refusal.headers()[RETRY_AFTER].to_str().expect("text");
    assert!((1..=5).contains(&wait.parse::<u64>().expect("seconds")));
    let text = refusal.text().await.expect("a body");
    assert!(text.contains("this address asks too often"), "{text}");

    let other = enroll(&world, &client, "203.0.113.10").await;
    assert_ne!(other.status(), StatusCode::TOO_MANY_REQUESTS);
}
