//! What hosts tell of themselves: rows that members read and strangers do not.

use std::time::Duration;

use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, STRANGER};
use serde_json::{Value, json};

use crate::faults::shared::with_world;

/// Long enough for a machine busy with builds; every wait ends as soon as the value is there.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn facts_and_processes_of_a_host_are_rows_for_members_and_not_for_strangers() {
    with_world(&[], async |world| {
        let host = json!({"agent_id": AGENT});

        for table in ["agent_facts", "agent_processes"] {
            let told = wait_until("the host tells of itself", PATIENCE, async || {
                let rows = world.admin.select(table, host.clone()).await;
                let rows = rows.map_err(|error| error.to_string())?;
                match rows.get(0) {
                    Some(row) => Ok(row.clone()),
                    None => Err(format!("{table} has no row")),
                }
            });
            let (row, _) = told.await.expect("a member sees the row");
            check_row(table, &row);
        }

        let mut stranger = world.sign_in(STRANGER).await.expect("signed in");
        for table in ["agent_facts", "agent_processes"] {
            let seen = stranger.select(table, host.clone()).await.expect("asked");
            assert_eq!(seen, json!([]), "{table}");
        }
    });
}

fn check_row(table: &str, row: &Value) {
    if table == "agent_facts" {
        assert!(
            row["kernel"].is_string() && row["booted_at"].is_string(),
            "{row}"
        );
        let interfaces = row["interfaces"].as_array().expect("a list");
        assert!(
            interfaces.iter().any(|interface| interface["name"] == "lo"),
            "{row}"
        );
    } else {
        let processes = row["processes"].as_array().expect("a list");
        assert!(!processes.is_empty() && processes.len() <= 200, "{row}");
        assert!(
            row["total"].as_u64() >= Some(processes.len() as u64),
            "{row}"
        );
        assert!(
            processes
                .iter()
                .any(|process| process["memory_kib"].as_u64() > Some(0))
        );
    }
}

#[test]
fn an_interval_is_a_row_and_holds_on_the_host() {
    with_world(&[], async |world| {
        let mut stranger = world.sign_in(STRANGER).await.expect("signed in");
        let row = json!({"agent_id": AGENT, "usage_interval": 2});

        let refused = stranger.insert("collection_settings", row.clone()).await;
        assert_eq!(refused.expect_err("it is not hers").code(), Some("42501"));
        let admin = &mut world.admin;
        admin
            .insert("collection_settings", row)
            .await
            .expect("an admin decides");

        let synced = wait_until("the host doing so", PATIENCE, async || {
            let outside = world.outside();
            let wanted = outside.read_generation(AGENT).await;
            let wanted = wanted.map_err(|error| error.to_string())?;
            let row = outside.read_condition(AGENT, "CollectionSynced").await;
            match row.map_err(|error| error.to_string())? {
                Some(row) if row.observed_generation == Some(wanted) && row.reason == "Applied" => {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        });
        synced.await.expect("the condition says so");
        let admin = &mut world.admin;
        let removed = admin.delete("collection_settings", json!({"agent_id": AGENT}));
        removed.await.expect("an admin decides");
    });
}
