//! Connections that break, are closed, are half dead or are refused.
//! Never looks at what is delivered.

use std::time::Duration;

use hidps_local_supabase::RefusalDelays;
use hidps_realtime::{RealtimeError, Remedy, Secret, Subscription};

use super::{alone, config, ready, subscribe, subscribe_impatiently, until_lost, until_ready};

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
fn muted_heartbeats_are_noticed() {
    alone(async |stack, faults| {
        let mut subscription = subscribe_impatiently(stack);
        until_ready(&mut subscription).await;

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
fn a_refused_connection_says_its_status_and_what_cures_it() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        for (status, remedy) in [
            (401, Remedy::GiveUp),
            (403, Remedy::GiveUp),
            (404, Remedy::GiveUp),
            (429, Remedy::SlowDown),
            (503, Remedy::Retry),
        ] {
            faults.refuse_connects(Some(status));
            faults.drop_sockets();
            until_lost(&mut subscription).await;
            let error = until_lost(&mut subscription).await;
            faults.refuse_connects(None);
            until_ready(&mut subscription).await;

            assert!(
                matches!(error, RealtimeError::Refused { status: said, .. } if said == status),
                "{error:?}"
            );
            assert_eq!(error.remedy(), remedy, "{status}");
        }
    });
}

#[test]
fn a_refused_connection_that_is_answered_late_is_understood_with_patience_only() {
    alone(async |stack, faults| {
        faults.refuse_connects(Some(401));
        faults.delay_refusals(RefusalDelays {
            connect: Duration::from_secs(1),
            ..RefusalDelays::default()
        });
        let mut impatient = config(stack);
        impatient.connect_deadline = Duration::from_millis(100);
        let mut impatient = Subscription::new(impatient).expect("the configuration is right");
        let mut patient = subscribe(stack);

        let (impatient, patient) =
            tokio::join!(until_lost(&mut impatient), until_lost(&mut patient));

        assert!(
            matches!(impatient, RealtimeError::ConnectDeadline(_)),
            "{impatient:?}"
        );
        assert!(
            matches!(patient, RealtimeError::Refused { status: 401, .. }),
            "{patient:?}"
        );
        assert!(config(stack).connect_deadline > RefusalDelays::SUPABASE.connect);
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
