//! What people, hosts and operators get wrong: each is refused where it happens, with a sentence
//! that says what to do, and everything else goes on.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::Running;
use hidps_lab::ports::free_port;
use hidps_lab::world::probe::{http_get, wait_until};
use hidps_lab::world::viewer::Viewer;
use hidps_lab::world::{AGENT, STRANGER, VIEWER};
use serde_json::json;

use crate::faults::shared::with_world;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_bad_path_is_refused_where_it_is_written_and_a_good_one_still_works() {
    with_world(&[], async |world| {
        let long = format!("/{}", "x".repeat(5_000));
        let user_id = world.admin.user_id().to_owned();
        let row = |path: &str| json!({"agent_id": AGENT, "file_path": path, "added_by": user_id});

        for bad in ["etc/passwd", "/etc/../root", "/a//b", "/", "", &long] {
            let refused = world.admin.insert("monitored_files", row(bad)).await;
            let error = refused.expect_err("the path is refused");
            assert!(
                error.code().is_some_and(|code| code.starts_with('2')),
                "{bad:.20}: {error}"
            );
        }
        let nul = world
            .admin
            .insert("monitored_files", row("/etc/pass\0wd"))
            .await;
        nul.expect_err("Postgres has no NUL in text");
        world
            .admin
            .insert("monitored_files", row("/etc/hostname"))
            .await
            .expect("a good path");

        let watched = wait_until("the new path being watched", PATIENCE, async || {
            let outside = world.outside();
            let wanted = outside
                .read_generation(AGENT)
                .await
                .map_err(|error| error.to_string())?;
            let row = outside.read_condition(AGENT, "FilesWatched").await;
            match row.map_err(|error| error.to_string())? {
                Some(row) if row.observed_generation == Some(wanted) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        watched.await.expect("the host takes the good path");
        let all = json!({"agent_id": AGENT, "file_path": "/etc/hostname"});
        let removed = world.admin.delete("monitored_files", all).await;
        removed.expect("an admin may");
    });
}

#[test]
fn a_read_only_person_is_refused_in_words_and_a_stranger_sees_nothing() {
    with_world(&[], async |world| {
        let mut viewer = world.sign_in(VIEWER).await.expect("signed in");
        let mut stranger = world.sign_in(STRANGER).await.expect("signed in");
        let change = json!({"firewall_enabled": true});
        let whose = json!({"agent_id": AGENT});

        let refused = viewer
            .update("agent_stats", change.clone(), whose.clone())
            .await;
        let unseen = stranger.update("agent_stats", change, whose.clone()).await;

        assert_eq!(refused.expect_err("read-only").code(), Some("42501"));
        assert_eq!(unseen.expect("no row matches"), json!([]));
        assert_eq!(
            stranger.select("agent_stats", whose).await.expect("empty"),
            json!([])
        );
        let mut socket = Viewer::connect(world.daemon.address(), stranger.access_token())
            .await
            .expect("let in");
        let agent = AGENT.parse().expect("the agent of the seed has a UUID");
        socket
            .subscribe(agent)
            .await
            .expect_err("another tenant's agent cannot be watched");
    });
}

#[test]
fn a_refused_agent_is_in_the_audit_log_with_where_it_asked_from() {
    with_world(&[], async |world| {
        let prefix = "0123456789ab";
        let token = format!("hidps_{prefix}_{}", "5e".repeat(32));
        let body = json!({
            "public_key": "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=", "hostname": "web",
            "os": "linux", "arch": "x86_64", "agent_version": "0",
        });
        let url = format!("http://{}/v1/agents/{AGENT}/enroll", world.daemon.address());
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let request = reqwest::Client::new().post(url).header("x-api-key", token);
        let answer = request.json(&body).send().await.expect("it answers");
        assert_eq!(answer.status(), 403);

        // What a host's own agent did is told with that host's address.
        let host = world.host.uplink_address();
        let host = host.map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string());
        let refused = "agent agent.refused 127.0.0.1 0123456789ab".to_owned();
        let expected = [format!("agent agent_token.use {host} "), refused];
        let entries = format!(
            "select distinct concat_ws(' ', actor_kind, action, reported_ips, \
               coalesce(details ->> 'token_prefix', '')) as entry \
             from audit_log where actor_id = '{AGENT}' \
               and action in ('agent.refused', 'agent_token.use')"
        );
        let told = wait_until("both entries", PATIENCE, async || {
            let rows = world.stack.sql(&entries).await;
            let rows = rows.map_err(|error| error.to_string())?;
            let found = rows.iter().filter_map(|row| row.get("entry")?.clone());
            let found: Vec<String> = found.collect();
            let are_there = expected.iter().all(|entry| found.contains(entry));
            are_there
                .then_some(())
                .ok_or_else(|| format!("{found:?}, not {expected:?}"))
        });
        told.await.expect("the organization can read who tried");
    });
}

#[tokio::test]
async fn a_daemon_without_supabase_is_alive_and_says_what_is_missing() {
    let directory = tempfile::tempdir().expect("a folder can be made");
    let port = free_port(Ipv4Addr::LOCALHOST.into()).expect("a port is free");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut command = Command::new(env!("CARGO_BIN_EXE_hidpsd"));
    command.env_clear().envs([
        ("SUPABASE_URL", "http://127.0.0.1:9"),
        ("SUPABASE_SECRET_KEY", "sb_secret_x"),
        ("SUPABASE_PUBLISHABLE_KEY", "sb_publishable_x"),
        (
            "HIDPS_RULES_DIR",
            concat!(env!("CARGO_MANIFEST_DIR"), "/detection-rules"),
        ),
    ]);
    command
        .env("HIDPS_STATE_DIR", directory.path())
        .env("HIDPS_LISTEN", address.to_string());
    let mut daemon = Running::start("hidpsd", command).expect("it starts");

    let live = wait_until("liveness", PATIENCE, async || {
        match http_get(address, "/livez").await {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    live.await
        .expect("an outage of Supabase never fails liveness");
    let (status, body) = http_get(address, "/readyz").await.expect("it answers");

    assert_eq!(status, 503);
    assert!(
        body.contains("Supabase") && body.contains("Realtime"),
        "{body}"
    );
    let ended = daemon
        .terminate(PATIENCE)
        .expect("it drains although Supabase is away");
    assert!(ended.success(), "{ended}");
}
