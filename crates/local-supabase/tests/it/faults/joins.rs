//! Joins that are refused, ignored, or confirmed late, never, too early or only after an error.
//! Never breaks a channel that was joined.

use std::time::Duration;

use hidps_local_supabase::{RefusalDelays, SystemOk};
use hidps_realtime::{RealtimeError, Remedy, Subscription};
use serde_json::json;

use super::raw::RawClient;
use super::{
    alone, bump, config, heard, heard_in_passing, ready, subscribe, subscribe_impatiently,
    until_lost, until_ready,
};

/// A reason for every code of the protocol, and what cures it.
const REFUSALS: [(&str, Remedy); 15] = [
    (
        "InitializingProjectConnection: Connecting to the project database",
        Remedy::Retry,
    ),
    (
        "RealtimeRestarting: Realtime is restarting, please standby",
        Remedy::Retry,
    ),
    (
        "UnableToConnectToProject: Realtime was unable to connect",
        Remedy::Retry,
    ),
    (
        "IncreaseConnectionPool: Please increase your connection pool size",
        Remedy::Retry,
    ),
    (
        "DatabaseLackOfConnections: Database can't accept more connections",
        Remedy::Retry,
    ),
    (
        "InvalidJWTToken: Token has expired 1 seconds ago",
        Remedy::NewToken,
    ),
    (
        "ClientJoinRateLimitReached: Too many joins per second",
        Remedy::SlowDown,
    ),
    (
        "ConnectionRateLimitReached: Too many connected users",
        Remedy::SlowDown,
    ),
    (
        "ChannelRateLimitReached: Too many channels",
        Remedy::SlowDown,
    ),
    (
        "MalformedJWT: The token provided is not a valid JWT",
        Remedy::GiveUp,
    ),
    (
        "JwtSignatureError: Failed to validate JWT signature",
        Remedy::GiveUp,
    ),
    (
        "Unauthorized: You do not have permissions to read",
        Remedy::GiveUp,
    ),
    (
        "TenantNotFound: Tenant with the given ID does not exist",
        Remedy::GiveUp,
    ),
    (
        "RealtimeDisabledForTenant: Realtime disabled for this tenant",
        Remedy::GiveUp,
    ),
    (
        "TopicNameRequired: You must provide a topic name",
        Remedy::GiveUp,
    ),
];

#[test]
fn a_refused_join_says_what_cures_it_and_is_tried_again() {
    alone(async |stack, faults| {
        for (reason, remedy) in REFUSALS {
            faults.refuse_joins(Some(reason));
            let mut subscription = subscribe(stack);
            let error = until_lost(&mut subscription).await;
            faults.refuse_joins(None);
            until_ready(&mut subscription).await;

            assert!(
                matches!(error, RealtimeError::JoinRefused { .. }),
                "{error:?}"
            );
            assert_eq!(error.remedy(), remedy, "{reason}");
        }
    });
}

#[test]
fn too_many_joins_cost_the_socket_as_well() {
    alone(async |stack, faults| {
        let mut client = RawClient::connect(stack).await;
        faults.refuse_joins(Some("ChannelRateLimitReached: Too many channels"));
        client.join().await;
        let kept = client.next().await;
        faults.refuse_joins(Some(
            "ClientJoinRateLimitReached: Too many joins per second",
        ));
        client.join().await;
        let refused = client.next().await;
        let end = client.next().await;

        assert_eq!(kept.expect("an answer")[4]["status"], "error");
        assert_eq!(refused.expect("an answer")[4]["status"], "error");
        assert_eq!(end, None);
    });
}

#[test]
fn a_refusal_that_comes_late_is_understood_with_patience_only() {
    alone(async |stack, faults| {
        faults.refuse_joins(Some(
            "RealtimeRestarting: Realtime is restarting, please standby",
        ));
        faults.delay_refusals(RefusalDelays {
            join: Duration::from_secs(2),
            ..RefusalDelays::default()
        });
        let mut patience = config(stack);
        patience.reply_deadline = Duration::from_secs(60);
        let mut patient = Subscription::new(patience).expect("the configuration is right");
        let mut impatient = subscribe_impatiently(stack);

        let (patient, impatient) =
            tokio::join!(until_lost(&mut patient), until_lost(&mut impatient));

        assert!(
            matches!(patient, RealtimeError::JoinRefused { .. }),
            "{patient:?}"
        );
        assert!(
            matches!(impatient, RealtimeError::JoinDeadline(_)),
            "{impatient:?}"
        );
    });
}

#[test]
fn an_ignored_join_is_lost_at_the_deadline_and_tried_again() {
    alone(async |stack, faults| {
        faults.ignore_joins(true);
        let mut subscription = subscribe_impatiently(stack);
        let error = until_lost(&mut subscription).await;
        faults.ignore_joins(false);
        until_ready(&mut subscription).await;

        assert!(matches!(error, RealtimeError::JoinDeadline(_)), "{error:?}");
    });
}

#[test]
fn an_omitted_system_ok_is_noticed_and_a_delayed_one_is_waited_for() {
    alone(async |stack, faults| {
        faults.set_system_ok(SystemOk::Omitted);
        let mut subscription = subscribe_impatiently(stack);
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
fn a_failed_subscription_is_lost_and_ready_when_the_server_recovers() {
    alone(async |stack, faults| {
        faults.set_system_ok(SystemOk::Failed);
        let mut subscription = subscribe(stack);
        let error = until_lost(&mut subscription).await;
        faults.set_system_ok(SystemOk::Usual);
        until_ready(&mut subscription).await;

        assert!(matches!(error, RealtimeError::System { .. }), "{error:?}");
        assert_eq!(error.remedy(), Remedy::Retry, "{error:?}");
    });
}

#[test]
fn a_failed_subscription_is_tried_again_by_the_server_while_the_channel_stays() {
    alone(async |stack, faults| {
        faults.set_system_ok(SystemOk::Failed);
        let mut client = RawClient::connect(stack).await;
        client.join().await;
        let reply = client.next().await.expect("an answer");
        let failures = [client.next().await, client.next().await];
        faults.set_system_ok(SystemOk::Usual);
        let recovered = loop {
            let frame = client.next().await.expect("the channel stays");
            if frame[4]["status"] != "error" {
                break frame;
            }
        };

        assert_eq!(reply[4]["status"], "ok");
        for failure in failures {
            let failure = failure.expect("the channel stays");
            assert_eq!(failure[3], "system");
            assert_eq!(failure[4]["status"], "error");
        }
        assert_eq!(recovered[3], "system");
        assert_eq!(recovered[4]["message"], json!("Subscribed to PostgreSQL"));
    });
}

#[test]
fn a_change_before_the_confirmation_is_never_delivered() {
    alone(async |stack, faults| {
        let mut witness = ready(stack).await;
        faults.set_system_ok(SystemOk::Omitted);
        let mut subscription = subscribe_impatiently(stack);
        until_lost(&mut subscription).await;
        bump(stack).await;
        // The witness shows that the log has been read past the change.
        heard(stack, &mut witness).await;
        faults.clear();
        until_ready(&mut subscription).await;

        let generation = bump(stack).await;

        assert_eq!(heard(stack, &mut subscription).await.changes, [generation]);
    });
}

#[test]
fn a_premature_confirmation_comes_true_in_the_end() {
    alone(async |stack, faults| {
        faults.set_system_ok(SystemOk::Premature(Duration::from_millis(200)));
        let mut subscription = ready(stack).await;

        let mut changes = Vec::new();
        while changes.is_empty() {
            bump(stack).await;
            changes = heard_in_passing(stack, &mut subscription).await.changes;
        }
        let generation = bump(stack).await;

        let heard = heard(stack, &mut subscription).await;
        assert_eq!(heard.changes.last(), Some(&generation));
    });
}

#[test]
fn after_a_premature_confirmation_changes_are_lost_without_a_word() {
    alone(async |stack, faults| {
        let mut witness = ready(stack).await;
        faults.set_system_ok(SystemOk::Premature(Duration::from_secs(3600)));
        let mut subscription = ready(stack).await;

        let generation = bump(stack).await;
        // The witness shows that the log has been read past the change.
        let by_witness = heard(stack, &mut witness).await;
        let by_premature = heard_in_passing(stack, &mut subscription).await;

        assert_eq!(by_witness.changes, [generation]);
        assert_eq!(by_premature.changes.len(), 0);
        assert_eq!(by_premature.broadcasts, [generation]);
    });
}
