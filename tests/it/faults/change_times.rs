//! How long changes take, as people can ask: the times of each change, in order, and the query of
//! the documents.

use std::time::Duration;

use hidps_lab::world::AGENT;
use hidps_lab::world::probe::wait_until;
use serde_json::json;

use super::settled::{change_everything, read_intent, wait_settled};
use super::shared::with_world;

const DOCUMENT: &str = include_str!("../../../docs/operations.md");

#[test]
fn the_times_of_a_change_are_there_in_order_and_can_be_asked_for() {
    with_world(&[("HIDPS_CANARY_SECS", "1")], async |world| {
        change_everything(world).await;
        wait_settled(world).await;
        let generation = read_intent(world).await.generation;
        let admin = &mut world.admin;
        let row = wait_until(
            "every time of the change",
            Duration::from_secs(60),
            async || {
                let matching = json!({"agent_id": AGENT, "generation": generation});
                let rows = admin.select("desired_changes", matching).await;
                let row = rows.map_err(|error| error.to_string())?[0].clone();
                if row["observed_at"].is_string() {
                    Ok(row)
                } else {
                    Err(row.to_string())
                }
            },
        );
        let (row, _) = row.await.expect("the daemon writes them");

        let names = ["changed_at", "sent_at", "applied_at", "observed_at"];
        let times = names.map(|name| parse_time(&row[name]));
        assert!(times.is_sorted(), "{row}");
        let query = latency_query();
        let who = world.admin.user_id();
        let as_person = format!(
            "begin; select set_config('request.jwt.claim.sub', '{who}', true), \
             set_config('request.jwt.claims', '{{\"sub\": \"{who}\"}}', true); \
             set local role authenticated; {query} commit"
        );
        let answer = world.stack.sql(&as_person).await.expect("the query runs");
        let value = answer.last().and_then(|row| row.values().next().cloned());
        assert!(
            value.flatten().is_some_and(|text| text.starts_with('{')),
            "{answer:?}"
        );
    });
}

/// The query of the documents that answers how long changes take.
fn latency_query() -> &'static str {
    let blocks = DOCUMENT.split("```sql\n").skip(1);
    let mut queries = blocks.filter_map(|block| block.split("```").next());
    queries
        .find(|query| query.contains("percentile_disc"))
        .expect("docs/operations.md has the query")
}

/// Microseconds of a time as PostgREST writes it; all are of the same zone.
fn parse_time(value: &serde_json::Value) -> String {
    let text = value.as_str().expect("a time");
    let (seconds, zone) = text.split_at(19);
    let digits: String = zone
        .trim_start_matches('.')
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    format!("{seconds}.{digits:0<6}")
}
