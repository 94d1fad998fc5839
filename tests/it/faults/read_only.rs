//! A daemon that only observes: it raises alerts, says what it would do, and sends no command.

use std::time::Duration;

use hidps_lab::world::AGENT;
use hidps_lab::world::probe::wait_until;
use serde_json::json;

use super::health::wait_health;
use super::holds::wait_held;
use super::settled::{change_everything, host_differs, read_intent, wait_settled};
use super::shared::with_world;

const READ_ONLY: [(&str, &str); 2] = [("HIDPS_CANARY_SECS", "1"), ("HIDPS_READ_ONLY", "true")];

/// The rule of the burst, and how many failures within a minute it wants.
const BURST_ALERT: &str = "SSH brute force from one source";
const BURST: usize = 5;

#[test]
fn a_read_only_daemon_alerts_and_sends_no_command() {
    with_world(&READ_ONLY, async |world| {
        wait_health(world, "ReadOnly", "true", "Configured").await;
        let before = read_intent(world).await;
        change_everything(world).await;
        wait_held(world, "ReadOnly").await;
        if let Some(ssh) = world.host.ssh() {
            let earlier = json!({"agent_id": AGENT, "title": BURST_ALERT});
            let forgotten = world.admin.delete("alerts", earlier).await;
            forgotten.expect("an admin clears what others left");
            ssh.fail_login(world.host.namespace(), "root", BURST)
                .expect("sshd refuses the logins");
            let alerted = wait_until("an alert", Duration::from_secs(60), async || {
                let alerts = world.outside().list_alerts(AGENT, BURST_ALERT).await;
                match alerts.map_err(|error| error.to_string())?.len() {
                    0 => Err("no alert".to_owned()),
                    _ => Ok(()),
                }
            });
            alerted.await.expect("detection goes on");
        }

        let kept = host_differs(world, &before);
        assert_eq!(kept, None, "the host keeps what it has");
        world.daemon.configure(&[("HIDPS_CANARY_SECS", "1")]);
        world.daemon.kill().expect("it can be killed");
        world.daemon.restart().await.expect("it comes back");
        wait_settled(world).await;
        wait_health(world, "ReadOnly", "false", "Enforcing").await;
    });
}
