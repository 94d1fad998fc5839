//! Channels that crash, are closed, fail, expire, or are subscribed anew while their socket lives.
//! Never refuses a join.

use hidps_local_supabase::Stack;
use hidps_realtime::{AccessToken, Event, RealtimeError, Remedy, Secret, Subscription};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::sync::watch;

use super::{DEADLINE, alone, bump, config, heard, next, ready, until_lost, until_ready};

/// Signs a token of the service that ends after some seconds.
fn token(stack: &Stack, lifetime: i64) -> Secret {
    let end = jiff::Timestamp::now().as_second() + lifetime;
    let claims = json!({ "role": "service_role", "exp": end });
    let key = EncodingKey::from_secret(stack.jwt_secret().as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key);
    Secret::from(token.expect("the claims can be signed"))
}

/// Subscribes by tokens; only a new one ends the pause after a refused one.
async fn ready_by_token(stack: &Stack, lifetime: i64) -> (Subscription, watch::Sender<Secret>) {
    let (tokens, watched) = watch::channel(token(stack, lifetime));
    let mut config = config(stack);
    config.access_token = AccessToken::Watched(watched);
    config.backoff.slow = DEADLINE * 10;
    let mut subscription = Subscription::new(config).expect("the configuration is right");
    until_ready(&mut subscription).await;
    (subscription, tokens)
}

#[test]
fn crashed_closed_and_failed_channels_are_lost_and_ready_again() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.crash_channels();
        let crashed = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;
        faults.close_channels();
        let closed = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;
        faults.fail_channels("Too many messages per second");
        let failed = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;

        assert!(
            matches!(crashed, RealtimeError::ChannelCrashed),
            "{crashed:?}"
        );
        assert!(matches!(closed, RealtimeError::ChannelClosed), "{closed:?}");
        assert!(matches!(failed, RealtimeError::System { .. }), "{failed:?}");
        assert_eq!(failed.remedy(), Remedy::SlowDown, "{failed:?}");
    });
}

#[test]
fn a_token_that_ends_ends_the_channel_and_a_new_one_restores_it() {
    alone(async |stack, _| {
        let (mut subscription, tokens) = ready_by_token(stack, 2).await;

        let error = until_lost(&mut subscription).await;
        tokens.send_replace(token(stack, 600));
        until_ready(&mut subscription).await;

        assert_eq!(error.remedy(), Remedy::NewToken, "{error:?}");
        assert!(error.to_string().contains("Token has expired"), "{error}");
    });
}

#[test]
fn an_expired_token_of_an_opaque_key_is_renewed_by_connecting_again() {
    alone(async |stack, faults| {
        let mut config = config(stack);
        config.backoff.slow = DEADLINE * 10;
        let mut subscription = Subscription::new(config).expect("the configuration is right");
        until_ready(&mut subscription).await;

        faults.expire_tokens();
        let error = until_lost(&mut subscription).await;
        until_ready(&mut subscription).await;

        assert_eq!(error.remedy(), Remedy::NewToken, "{error:?}");
    });
}

#[test]
fn a_new_token_subscribes_anew_and_calls_for_a_comparison() {
    alone(async |stack, _| {
        let (mut subscription, tokens) = ready_by_token(stack, 600).await;

        tokens.send_replace(token(stack, 1200));
        let event = next(&mut subscription).await;
        let generation = bump(stack).await;

        assert!(matches!(event, Event::Ready), "{event:?}");
        assert_eq!(heard(stack, &mut subscription).await.changes, [generation]);
    });
}

#[test]
fn a_server_that_subscribes_anew_by_itself_calls_for_a_comparison() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;

        faults.resubscribe_channels();
        let event = next(&mut subscription).await;
        let generation = bump(stack).await;

        assert!(matches!(event, Event::Ready), "{event:?}");
        assert_eq!(heard(stack, &mut subscription).await.changes, [generation]);
    });
}

#[test]
fn a_changed_publication_subscribes_anew_and_calls_for_a_comparison() {
    alone(async |stack, _| {
        let mut subscription = ready(stack).await;

        let add = "create table public.added (id int primary key);
            alter publication supabase_realtime add table public.added";
        stack.sql(add).await.expect("the table is published");
        let added = next(&mut subscription).await;
        stack
            .sql("drop table public.added")
            .await
            .expect("the table is gone");
        let dropped = next(&mut subscription).await;
        let generation = bump(stack).await;

        assert!(matches!(added, Event::Ready), "{added:?}");
        assert!(matches!(dropped, Event::Ready), "{dropped:?}");
        assert_eq!(heard(stack, &mut subscription).await.changes, [generation]);
    });
}
