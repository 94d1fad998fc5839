//! What the log of a real Postgres turns into, in the cases where Realtime surprises its users.
//! Never asks about visibility; the official client does that.

use std::time::Duration;

use hidps_local_supabase::Stack;
use hidps_realtime::{Change, ChangeKind, Channel, Config, Event, Subscription};
use serde_json::{Value, json};

use crate::shared::SHARED;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Makes a published table that the service role may read, and subscribes to it.
async fn subscribe(stack: &Stack, table: &str, definition: &str) -> anyhow::Result<Subscription> {
    let make = format!(
        "create table public.{table} {definition};
         grant select on public.{table} to service_role;
         alter publication supabase_realtime add table public.{table}"
    );
    stack.sql(&make).await?;
    let channel = Channel::new(table).changes("public", table);
    let mut subscription =
        Subscription::new(Config::new(stack.url(), stack.secret_key(), channel))?;
    let Event::Ready = next(&mut subscription).await else {
        anyhow::bail!("not ready")
    };
    Ok(subscription)
}

async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("an event in time")
}

async fn next_change(subscription: &mut Subscription) -> Change {
    let event = next(subscription).await;
    let Event::Change(change) = event else {
        panic!("expected a change, got {event:?}")
    };
    change
}

#[test]
fn values_of_all_kinds_become_the_json_that_rest_gives() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let definition = "(id bigint primary key, amount numeric, at timestamptz, plain timestamp, tags text[],
            doc jsonb, raw bytea, flag boolean, nothing text, span interval, who uuid)";
        let mut subscription = subscribe(stack, "kinds", definition).await?;

        let insert = r#"insert into public.kinds values (9007199254740993, 1.5, '2026-11-20 23:57:47.5+01',
            '2026-11-20 23:57:47', '{a,"b c"}', '{"x": [1, null]}', '\xff00', true, null, '90 minutes',
            '0190a000-0000-7000-8000-000000000001')"#;
        stack.sql(insert).await?;
        let change = next_change(&mut subscription).await;

        let expected = json!({
            "id": 9_007_199_254_740_993_i64, "amount": 1.5, "at": "2026-11-20T22:57:47.5+00:00",
            "plain": "2026-11-20T23:57:47", "tags": ["a", "b c"], "doc": {"x": [1, null]},
            "raw": "\\xff00", "flag": true, "nothing": null, "span": "01:30:00",
            "who": "0190a000-0000-7000-8000-000000000001",
        });
        assert_eq!(Value::Object(change.record), expected);
        assert!(change.intact);
        Ok(())
    })
}

#[test]
fn of_a_row_made_changed_and_removed_at_once_only_the_removal_is_told() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let mut subscription = subscribe(stack, "brief", "(id int primary key, v int)").await?;

        let together =
            "begin; insert into public.brief values (1, 1); update public.brief set v = 2;
            delete from public.brief; commit";
        stack.sql(together).await?;
        let change = next_change(&mut subscription).await;

        assert_eq!(change.kind, ChangeKind::Delete);
        assert_eq!(Value::Object(change.old), json!({"id": 1}));
        assert!(change.record.is_empty());
        Ok(())
    })
}

#[test]
fn a_large_value_that_did_not_change_is_absent_and_not_null() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let mut subscription =
            subscribe(stack, "large", "(id int primary key, v int, body text)").await?;
        stack
            .sql("alter table public.large alter column body set storage external")
            .await?;
        stack
            .sql("insert into public.large values (1, 1, repeat('x', 10000))")
            .await?;
        next_change(&mut subscription).await;

        stack.sql("update public.large set v = 2").await?;
        let change = next_change(&mut subscription).await;

        assert_eq!(Value::Object(change.record), json!({"id": 1, "v": 2}));
        assert_eq!(Value::Object(change.old), json!({"id": 1}));
        Ok(())
    })
}

#[test]
fn a_row_over_the_size_limit_keeps_its_small_values_only() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let mut subscription = subscribe(stack, "huge", "(id int primary key, body text)").await?;

        stack
            .sql("insert into public.huge values (1, repeat('x', 1100000))")
            .await?;
        let change = next_change(&mut subscription).await;

        assert!(!change.intact);
        assert_eq!(Value::Object(change.record), json!({"id": 1}));
        Ok(())
    })
}

#[test]
fn a_table_without_a_key_tells_that_something_happened_and_nothing_more() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let mut subscription = subscribe(stack, "keyless", "(v int)").await?;

        stack.sql("insert into public.keyless values (1)").await?;
        let change = next_change(&mut subscription).await;

        assert!(!change.intact);
        assert!(change.record.is_empty());
        assert_eq!(change.commit_timestamp, None);
        Ok(())
    })
}

#[test]
fn full_replica_identity_tells_the_old_row_unless_row_security_is_on() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let definition = "(id int primary key, v int)";
        let mut open = subscribe(stack, "full_open", definition).await?;
        let mut guarded = subscribe(stack, "full_guarded", definition).await?;
        let prepare = "alter table public.full_open replica identity full;
            alter table public.full_guarded replica identity full;
            alter table public.full_guarded enable row level security;
            insert into public.full_open values (1, 5); insert into public.full_guarded values (1, 5)";
        stack.sql(prepare).await?;
        next_change(&mut open).await;
        next_change(&mut guarded).await;

        stack.sql("delete from public.full_open; delete from public.full_guarded").await?;
        let (open, guarded) =
            (next_change(&mut open).await, next_change(&mut guarded).await);

        assert_eq!(Value::Object(open.old), json!({"id": 1, "v": 5}));
        assert_eq!(Value::Object(guarded.old), json!({"id": 1}));
        Ok(())
    })
}

#[test]
fn a_role_that_may_not_read_the_key_is_told_only_that() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let mut subscription = subscribe(stack, "secretive", "(id int primary key)").await?;
        stack
            .sql("revoke select on public.secretive from service_role")
            .await?;

        stack.sql("insert into public.secretive values (1)").await?;
        let change = next_change(&mut subscription).await;

        assert!(!change.intact);
        assert!(change.record.is_empty());
        Ok(())
    })
}

#[test]
fn changes_arrive_in_the_order_of_their_transactions() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let mut subscription = subscribe(stack, "ordered", "(id int primary key)").await?;

        // More than one batch of the slot.
        stack
            .sql("insert into public.ordered select generate_series(1, 120)")
            .await?;
        for id in 121..=250 {
            stack
                .sql(&format!("insert into public.ordered values ({id})"))
                .await?;
        }
        let mut ids = Vec::new();
        for _ in 1..=250 {
            ids.push(next_change(&mut subscription).await.record["id"].as_i64());
        }

        assert_eq!(ids, (1..=250).map(Some).collect::<Vec<_>>());
        Ok(())
    })
}
