//! What hosts tell of themselves: rows that members read and strangers do not.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use hidps_lab::say_skipped;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::viewer::Viewer;
use hidps_lab::world::{AGENT, STRANGER};
use hidps_wire::{AgentId, FieldValue, LogEvent};
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
fn intervals_and_sampling_are_a_row_and_hold_on_the_host() {
    with_world(&[], async |world| {
        let mut stranger = world.sign_in(STRANGER).await.expect("signed in");
        let row = json!({"agent_id": AGENT, "usage_interval": 2, "sampling": 10});

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
        if let Some(ssh) = world.host.ssh() {
            let viewer = Viewer::connect(world.daemon.address(), world.admin.access_token()).await;
            let mut viewer = viewer.expect("she may watch");
            let agent: AgentId = AGENT.parse().expect("an id");
            viewer.subscribe(agent).await.expect("hers to see");
            check_sampling(&mut viewer, ssh.log_path()).await;
        } else {
            let test = "intervals_and_sampling_are_a_row_and_hold_on_the_host";
            say_skipped(test, &"the host has no log that its agent follows");
        }
        let admin = &mut world.admin;
        let removed = admin.delete("collection_settings", json!({"agent_id": AGENT}));
        removed.await.expect("an admin decides");
    });
}

/// Of a hundred ordinary lines ten reach a viewer, and the agent says so of the others.
async fn check_sampling(viewer: &mut Viewer, log: &Path) {
    let lines = (0..100).map(|number| format!("Nov 21 01:02:03 h app[7]: request {number}\n"));
    let file = OpenOptions::new().append(true).open(log);
    let text: String = lines.collect();
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.expect("the log takes lines");

    let sampled = |event: &LogEvent<'_>| match event.fields.get("sampled") {
        Some(FieldValue::Integer(count)) => *count,
        _ => 0,
    };
    let mut n_left_out = 0;
    while n_left_out < 90 {
        let told = viewer.next_event("what was left out", PATIENCE, |event| sampled(event) > 0);
        n_left_out += sampled(&told.await.expect("the agent says so"));
    }
    let events = viewer.events().iter();
    let arrived: Vec<_> = events
        .filter(|event| &*event.service == "app")
        .map(|event| event.message.to_string())
        .collect();
    let expected: Vec<_> = (0..10)
        .map(|tens| format!("request {}", tens * 10))
        .collect();
    assert_eq!((arrived, n_left_out), (expected, 90));
}
