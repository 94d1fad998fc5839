//! Every switch for a fault, seen by our own Realtime client and by a plain HTTP client.
//! Never uses the shared stack: a fault is for everybody on it, so these tests take turns on one of their own.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use hidps_local_supabase::{Faults, RestFault, Stack, SystemOk};
use hidps_realtime::{
    AccessToken, Backoff, Channel, Config, Event, RealtimeError, Remedy, Secret, Subscription,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::shared::{AGENT, Shared};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(10);

static STACK: LazyLock<Mutex<Shared>> = LazyLock::new(|| Mutex::new(Shared::start()));

/// Runs a test alone on the stack and ends its faults.
fn alone(test: impl AsyncFnOnce(&Stack, Faults)) {
    // A test that failed before says so itself; its stack is still good.
    let shared = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    shared.run(async |stack| {
        stack.faults().clear();
        test(stack, stack.faults()).await;
    });
}

fn config(stack: &Stack) -> Config {
    let channel = Channel::new("feed")
        .broadcast()
        .changes("public", "desired_generations");
    let mut config = Config::new(stack.url(), stack.secret_key(), channel);
    config.heartbeat_interval = Duration::from_millis(200);
    config.reply_deadline = Duration::from_secs(1);
    config.system_ok_deadline = Duration::from_secs(1);
    let brief = Duration::from_millis(20);
    config.backoff = Backoff {
        base: brief,
        cap: brief,
        slow: brief,
        hopeless: brief,
    };
    config
}

async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("an event in time")
}

async fn until_ready(subscription: &mut Subscription) {
    while !matches!(next(subscription).await, Event::Ready) {}
}

async fn until_lost(subscription: &mut Subscription) -> RealtimeError {
    loop {
        if let Event::Lost { error, .. } = next(subscription).await {
            return error;
        }
    }
}

async fn ready(stack: &Stack) -> Subscription {
    let mut subscription = Subscription::new(config(stack)).expect("the configuration is right");
    until_ready(&mut subscription).await;
    subscription
}

/// Raises the generation of the seed's agent and gives the new one.
async fn bump(stack: &Stack) -> i64 {
    let bump = format!(
        "update public.desired_generations set generation = generation + 1
         where agent_id = '{AGENT}' returning generation"
    );
    let rows = stack.sql(&bump).await.expect("the row is there");
    rows[0]["generation"]
        .as_deref()
        .unwrap_or_default()
        .parse()
        .expect("a number")
}

/// Waits for the next change and gives its generation and whether it is whole.
async fn next_change(subscription: &mut Subscription) -> (Option<i64>, bool) {
    loop {
        if let Event::Change(change) = next(subscription).await {
            return (
                change
                    .record
                    .get("generation")
                    .and_then(serde_json::Value::as_i64),
                change.intact,
            );
        }
    }
}

/// Asks for a path of the gateway and gives the status line.
async fn get(stack: &Stack, path: &str) -> Option<String> {
    let address = stack.url().trim_start_matches("http://").to_owned();
    let key = stack.secret_key();
    let mut tcp = TcpStream::connect(&address).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\napikey: {key}\r\nconnection: close\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.ok()?;
    answer.lines().next().map(str::to_owned)
}

#[test]
fn dropped_and_closed_sockets_are_lost_and_ready_again() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.drop_sockets();
        let dropped = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;
        faults.close_sockets(1001);
        let closed = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;

        assert!(matches!(
            dropped,
            RealtimeError::Socket { .. } | RealtimeError::SocketClosed { code: None }
        ));
        assert!(
            matches!(closed, RealtimeError::SocketClosed { code: Some(1001) }),
            "{closed:?}"
        );
    });
}

#[test]
fn crashed_and_failed_channels_are_lost_and_ready_again() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.crash_channels();
        let crashed = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;
        faults.fail_channels("Too many messages per second");
        let failed = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;

        assert!(
            matches!(crashed, RealtimeError::ChannelCrashed),
            "{crashed:?}"
        );
        assert_eq!(failed.remedy(), Remedy::SlowDown, "{failed:?}");
    });
}

#[test]
fn muted_heartbeats_are_noticed() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.mute_heartbeats(true);
        let error = until_lost(&mut subscription).await;
        faults.mute_heartbeats(false);
        until_ready(&mut subscription).await;

        assert!(
            matches!(error, RealtimeError::HeartbeatDeadline(_)),
            "{error:?}"
        );
    });
}

#[test]
fn an_omitted_system_ok_is_noticed_and_a_delayed_one_is_waited_for() {
    alone(async |stack, faults| {
        faults.set_system_ok(SystemOk::Omitted);
        let mut subscription =
            Subscription::new(config(stack)).expect("the configuration is right");
        let error = until_lost(&mut subscription).await;
        faults.set_system_ok(SystemOk::Delayed(Duration::from_millis(500)));
        until_ready(&mut subscription).await;

        assert!(
            matches!(error, RealtimeError::SystemOkDeadline(_)),
            "{error:?}"
        );
    });
}

#[test]
fn a_change_before_the_confirmation_is_never_delivered() {
    alone(async |stack, faults| {
        let mut witness = ready(stack).await;
        faults.set_system_ok(SystemOk::Omitted);
        let mut subscription =
            Subscription::new(config(stack)).expect("the configuration is right");
        until_lost(&mut subscription).await;
        bump(stack).await;
        // The witness shows that the log has been read past the change.
        next_change(&mut witness).await;
        faults.clear();
        until_ready(&mut subscription).await;

        let generation = bump(stack).await;

        assert_eq!(
            next_change(&mut subscription).await,
            (Some(generation), true)
        );
    });
}

#[test]
fn skipped_changes_are_missing_without_a_word() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.skip_changes(2);
        bump(stack).await;
        bump(stack).await;
        let third = bump(stack).await;

        assert_eq!(next_change(&mut subscription).await, (Some(third), true));
    });
}

#[test]
fn a_silent_server_still_answers_heartbeats() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.go_silent(true);
        bump(stack).await;
        // Longer than three heartbeats and the deadline of one.
        let heard = tokio::time::timeout(Duration::from_secs(2), subscription.next()).await;
        faults.go_silent(false);
        let generation = bump(stack).await;

        assert!(heard.is_err(), "{heard:?}");
        assert_eq!(
            next_change(&mut subscription).await,
            (Some(generation), true)
        );
    });
}

#[test]
fn a_cut_change_is_not_intact_and_lacks_only_its_large_values() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.cut_changes(1);
        let generation = bump(stack).await;

        assert_eq!(
            next_change(&mut subscription).await,
            (Some(generation), false)
        );
    });
}

#[test]
fn refused_joins_and_connections_say_what_cures_them() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.refuse_joins(Some("UnableToConnectToProject: no"));
        faults.drop_sockets();
        until_lost(&mut subscription).await;
        let join = until_lost(&mut subscription).await;
        faults.refuse_joins(None);
        faults.refuse_connects(Some(429));
        faults.drop_sockets();
        let connect = loop {
            let error = until_lost(&mut subscription).await;
            if matches!(error, RealtimeError::Refused { .. }) {
                break error;
            }
        };
        faults.refuse_connects(None);
        until_ready(&mut subscription).await;

        assert!(
            matches!(join, RealtimeError::JoinRefused { .. }),
            "{join:?}"
        );
        assert!(
            matches!(connect, RealtimeError::Refused { status: 429, .. }),
            "{connect:?}"
        );
    });
}

#[test]
fn an_expired_token_ends_the_channel_and_a_new_one_restores_it() {
    alone(async |stack, _| {
        let token = |lifetime: i64| {
            let end = jiff::Timestamp::now().as_second() + lifetime;
            let claims = json!({ "role": "service_role", "exp": end });
            let key = EncodingKey::from_secret(stack.jwt_secret().as_bytes());
            let token = jsonwebtoken::encode(&Header::default(), &claims, &key);
            Secret::from(token.expect("the claims can be signed"))
        };
        let (tokens, watched) = watch::channel(token(2));
        let mut config = config(stack);
        config.access_token = AccessToken::Watched(watched);
        // Only the new token can end this pause.
        config.backoff.slow = DEADLINE * 10;
        let mut subscription = Subscription::new(config).expect("the configuration is right");
        until_ready(&mut subscription).await;

        let error = until_lost(&mut subscription).await;
        tokens.send_replace(token(600));
        until_ready(&mut subscription).await;
        tokens.send_replace(token(1200));
        until_ready(&mut subscription).await;

        assert_eq!(error.remedy(), Remedy::NewToken, "{error:?}");
    });
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
        assert_eq!(
            next_change(&mut subscription).await,
            (Some(generation), true)
        );
    });
}

#[test]
fn a_foreign_or_missing_key_is_refused_at_the_door() {
    alone(async |stack, _| {
        let mut foreign = config(stack);
        foreign.api_key = Secret::from("sb_secret_of_somebody_else");
        let mut subscription = Subscription::new(foreign).expect("the configuration is right");

        let error = until_lost(&mut subscription).await;

        assert!(
            matches!(error, RealtimeError::Refused { status: 401, .. }),
            "{error:?}"
        );
    });
}
