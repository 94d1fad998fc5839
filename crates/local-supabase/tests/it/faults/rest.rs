//! REST under faults, while Auth and Realtime go on.
//! Never speaks Realtime but to show that it goes on.

use std::time::Duration;

use hidps_local_supabase::{RestFault, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{alone, bump, heard, ready};

/// Asks for a path of the gateway and gives the status line.
async fn get(stack: &Stack, path: &str) -> Option<String> {
    let answer = get_whole(stack, path).await?;
    answer.lines().next().map(str::to_owned)
}

/// Asks for a path of the gateway and gives all that comes.
async fn get_whole(stack: &Stack, path: &str) -> Option<String> {
    let address = stack.url().trim_start_matches("http://").to_owned();
    let key = stack.secret_key();
    let mut tcp = TcpStream::connect(&address).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\napikey: {key}\r\nconnection: close\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[test]
fn rest_can_be_down_while_auth_and_realtime_go_on() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        let before = get(stack, "/rest/v1/agents?select=id").await;
        faults.set_rest(RestFault::Unavailable);
        let down = get(stack, "/rest/v1/agents?select=id").await;
        let auth = get(stack, "/auth/v1/health").await;
        faults.set_rest(RestFault::Hanging);
        let hanging = get(stack, "/rest/v1/agents?select=id");
        let hanging = tokio::time::timeout(Duration::from_millis(300), hanging).await;
        faults.set_rest(RestFault::None);
        let after = get(stack, "/rest/v1/agents?select=id").await;
        let generation = bump(stack).await;

        assert_eq!(before.as_deref(), Some("HTTP/1.1 200 OK"));
        assert_eq!(down.as_deref(), Some("HTTP/1.1 503 Service Unavailable"));
        assert_eq!(auth.as_deref(), Some("HTTP/1.1 200 OK"));
        assert!(hanging.is_err());
        assert_eq!(after.as_deref(), Some("HTTP/1.1 200 OK"));
        assert_eq!(heard(stack, &mut subscription).await.changes, [generation]);
    });
}

#[test]
fn rest_can_deny_some_and_answer_half_or_nothing() {
    alone(async |stack, faults| {
        faults.limit_rest_to(&["agents"]);

        faults.set_rest_after(1, RestFault::Refusing(403));
        let spared = get(stack, "/rest/v1/agents?select=id").await;
        let denied = get(stack, "/rest/v1/agents?select=id").await;
        let other = get(stack, "/rest/v1/alerts?select=id").await;
        faults.set_rest(RestFault::Empty);
        let empty = get_whole(stack, "/rest/v1/agents?select=id").await;
        faults.set_rest(RestFault::Truncated);
        let half = get_whole(stack, "/rest/v1/agents?select=id").await;
        faults.set_rest(RestFault::None);
        let whole = get_whole(stack, "/rest/v1/agents?select=id").await;

        assert_eq!(spared.as_deref(), Some("HTTP/1.1 200 OK"));
        assert_eq!(denied.as_deref(), Some("HTTP/1.1 403 Forbidden"));
        assert_eq!(other.as_deref(), Some("HTTP/1.1 200 OK"));
        let empty = empty.expect("an answer");
        assert!(empty.ends_with("[]"), "{empty}");
        let is_list = |answer: Option<String>| answer.is_some_and(|text| text.contains("}]"));
        assert!(!is_list(half), "only half of the answer comes");
        assert!(is_list(whole), "the whole answer comes");
    });
}

#[test]
fn a_request_that_waits_is_answered_when_the_fault_is_over() {
    alone(async |stack, faults| {
        faults.set_rest(RestFault::Waiting);

        let mut waiting = Box::pin(get(stack, "/rest/v1/agents?select=id"));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
        faults.set_rest(RestFault::None);
        let late = waiting.await;

        assert!(early.is_err());
        assert_eq!(late.as_deref(), Some("HTTP/1.1 200 OK"));
    });
}
