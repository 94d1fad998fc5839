//! Our own Realtime client on the stack.
//! Never injects a fault; those tests have a stack of their own.

use std::time::Duration;

use hidps_realtime::{Channel, Config, Event, Subscription};

use crate::shared::{AGENT, SHARED};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("an event in time")
}

/// Waits until changes are received; a broadcast of another test may come before that.
async fn until_ready(subscription: &mut Subscription) {
    while !matches!(next(subscription).await, Event::Ready) {}
}

#[test]
fn a_new_generation_arrives_by_broadcast_and_by_change() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let channel =
            Channel::new("hidps:feed").private().broadcast().changes("public", "desired_generations");
        let config = Config::new(stack.url(), stack.secret_key(), channel);
        let mut subscription = Subscription::new(config)?;
        until_ready(&mut subscription).await;

        let watch = format!(
            "insert into public.monitored_files (agent_id, file_path, added_by)
             select id, '/etc/by-broadcast', owner_id from public.agents where id = '{AGENT}'
             returning (select generation + 1 from public.desired_generations where agent_id = '{AGENT}')
               as generation"
        );
        let rows = stack.sql(&watch).await?;
        let generation: i64 = rows[0]["generation"].as_deref().unwrap_or_default().parse()?;
        let (mut by_broadcast, mut by_change) = (None, None);
        while by_broadcast.is_none() || by_change.is_none() {
            match next(&mut subscription).await {
                Event::Broadcast(broadcast) if broadcast.event == "generation" => {
                    by_broadcast = broadcast.payload.as_json().map(|json| json["generation"].clone());
                }
                Event::Change(change) => by_change = change.record.get("generation").cloned(),
                Event::Broadcast(_) | Event::Ready => {}
                Event::Lost { error, .. } => panic!("{error}"),
            }
        }

        assert_eq!(by_broadcast, Some(generation.into()));
        assert_eq!(by_change, Some(generation.into()));
        Ok(())
    })
}

#[test]
fn a_canary_comes_back_by_both_lanes_of_the_channel_that_carries_the_generations()
-> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let channel = Channel::new("hidps:feed")
            .private()
            .broadcast()
            .changes("public", "desired_generations")
            .changes("public", "feed_canary");
        let config = Config::new(stack.url(), stack.secret_key(), channel);
        let mut subscription = Subscription::new(config)?;
        until_ready(&mut subscription).await;

        let daemon = "0190a000-0000-7000-8000-00000000ca4a";
        stack
            .sql(&format!("select public.beat_canary('{daemon}', 7)"))
            .await?;
        let (mut by_broadcast, mut by_change) = (None, None);
        while by_broadcast.is_none() || by_change.is_none() {
            match next(&mut subscription).await {
                Event::Broadcast(broadcast) if broadcast.event == "canary" => {
                    by_broadcast = broadcast.payload.as_json().cloned();
                }
                Event::Change(change) if change.table == "feed_canary" => {
                    by_change = Some(change.record);
                }
                Event::Broadcast(_) | Event::Change(_) | Event::Ready => {}
                Event::Lost { error, .. } => panic!("{error}"),
            }
        }

        let (by_broadcast, by_change) = (
            by_broadcast.unwrap_or_default(),
            by_change.unwrap_or_default(),
        );
        assert_eq!(
            (&by_broadcast["daemon_id"], &by_broadcast["beat"]),
            (&daemon.into(), &7.into())
        );
        assert_eq!(
            (&by_change["daemon_id"], &by_change["beat"]),
            (&daemon.into(), &7.into())
        );
        Ok(())
    })
}
