//! The five constraints of the seed, each as something that can be seen from outside.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hidps_lab::world::outside::find_in_files;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::viewer::Viewer;
use hidps_lab::world::{AGENT, World};
use serde_json::json;

use crate::faults::settled::wait_settled;
use crate::faults::shared::with_world;

/// Long enough for a machine busy with builds; every wait ends as soon as the value is there.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_log_line_reaches_its_viewer_and_nothing_that_is_stored() {
    with_world(&[], async |world| {
        let marker = format!("marked-{}", uuid::Uuid::new_v4().simple());
        let agent = AGENT.parse().expect("the agent of the seed has a UUID");
        let mut viewer = Viewer::connect(world.daemon.address(), world.admin.access_token())
            .await
            .expect("let in");
        viewer
            .subscribe(agent)
            .await
            .expect("the admin may watch the agent");

        // One failure is below what any rule tells a person, so that only the stream can carry it.
        let ssh = world.host.ssh().expect("the host has an sshd");
        ssh.fail_login(world.host.namespace(), &marker, 1)
            .expect("sshd refuses the login");
        let seen = viewer.next_event("the marked line", PATIENCE, |event| {
            event.message.contains(&marker)
        });
        seen.await.expect("the viewer sees the line");

        world
            .outside()
            .flush()
            .await
            .expect("a checkpoint is written");
        assert!(
            world
                .outside()
                .find_in_tables(&marker)
                .await
                .expect("searched")
                .is_empty()
        );
        let places = [world.stack.data_dir().to_owned(), world.daemon_state()];
        for place in places {
            let found = find_in_files(&place, &marker).expect("searched");
            assert!(found.is_empty(), "{found:?}");
        }
    });
}

#[test]
fn an_agent_holds_no_supabase_credential() {
    with_world(&[], async |world| {
        let environment =
            fs::read(format!("/proc/{}/environ", world.agent.id())).expect("readable");
        let environment = String::from_utf8_lossy(&environment);

        for secret in [
            world.stack.secret_key(),
            world.stack.publishable_key(),
            world.stack.jwt_secret(),
        ] {
            assert!(!environment.contains(secret));
            let directory = world
                .agent
                .config()
                .parent()
                .expect("the file is in a directory");
            let found = find_in_files(directory, secret).expect("searched");
            assert!(found.is_empty(), "{found:?}");
        }
    });
}

#[test]
fn an_agent_offers_nothing_to_connect_to() {
    with_world(&[], async |world| {
        let process = PathBuf::from(format!("/proc/{}", world.agent.id()));
        let links = fs::read_dir(process.join("fd")).expect("readable");
        let open: Vec<PathBuf> = links
            .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
            .collect();

        for table in ["net/tcp", "net/tcp6", "net/udp", "net/udp6"] {
            let sockets = fs::read_to_string(process.join(table)).expect("readable");
            for socket in sockets.lines().skip(1) {
                let columns: Vec<&str> = socket.split_whitespace().collect();
                // 0A is a listening TCP socket, 07 a UDP socket that takes packets from anybody.
                if matches!(columns[3], "0A" | "07") {
                    let inode = PathBuf::from(format!("socket:[{}]", columns[9]));
                    assert!(!open.contains(&inode), "{table}: {socket}");
                }
            }
        }
        let is_socket = |link: &PathBuf| link.to_string_lossy().starts_with("socket:");
        assert!(open.iter().any(is_socket), "its own link must be seen");
    });
}

#[test]
fn a_repeated_write_sends_nothing_and_a_repeated_command_changes_nothing() {
    with_world(&[], async |world| {
        set_firewall(world, true).await;
        let generation = world
            .outside()
            .read_generation(AGENT)
            .await
            .expect("there is one");
        let before = world.host.list_firewall().expect("readable");

        world
            .admin
            .update(
                "agent_stats",
                json!({"firewall_enabled": true}),
                json!({"agent_id": AGENT}),
            )
            .await
            .expect("the admin may write");
        world.daemon.kill().expect("it can be killed");
        world.daemon.restart().await.expect("it comes back");
        let back = wait_until("the agent's connection", PATIENCE, async || {
            match world.daemon.metric("hidps_agents_connected").await {
                Some(count) if count >= 1.0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        back.await.expect("the agent comes back");
        wait_settled(world).await;

        assert_eq!(
            world
                .outside()
                .read_generation(AGENT)
                .await
                .expect("there is one"),
            generation
        );
        // Handles are given anew with every transaction: the same text means that nothing was sent.
        assert_eq!(world.host.list_firewall().expect("readable"), before);
    });
}

#[test]
fn the_daemon_never_writes_what_people_want() {
    with_world(&[], async |world| {
        let catalog = world.stack.sql(
            "select column_name from information_schema.column_privileges \
         where grantee = 'service_role' and table_schema = 'public' \
         and table_name = 'agent_stats' and column_name = 'firewall_enabled' \
         and privilege_type = 'UPDATE'",
        );

        let granted = catalog.await.expect("the catalog is readable");

        assert!(
            granted.is_empty(),
            "the daemon's role could set intent: {granted:?}"
        );
    });
}

/// Sets the firewall as the admin and waits until the host has confirmed it.
async fn set_firewall(world: &mut World, enabled: bool) {
    world
        .admin
        .update(
            "agent_stats",
            json!({"firewall_enabled": enabled}),
            json!({"agent_id": AGENT}),
        )
        .await
        .expect("the admin may write");
    let confirmed = wait_until("the confirmation", PATIENCE, async || {
        let wanted = world
            .outside()
            .read_generation(AGENT)
            .await
            .map_err(|e| e.to_string())?;
        let condition = world
            .outside()
            .read_condition(AGENT, "FirewallSynced")
            .await;
        let condition = condition.map_err(|error| error.to_string())?;
        match condition {
            // Without a namespace of its own the host confirms that it only observes.
            Some(row)
                if row.observed_generation == Some(wanted)
                    && (row.status == "true" || row.reason == "ObserveOnly") =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    });
    confirmed.await.expect("the host converges");
}
