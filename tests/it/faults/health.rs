//! What the daemon says of itself, read as a signed-in person reads it.

use std::time::Duration;

use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;
use serde_json::json;

/// A silent canary is noticed after 5 s, and joining again may have to pause as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a person reads this status and reason of `system_health`.
pub(super) async fn wait_health(world: &mut World, kind: &str, status: &str, reason: &str) {
    let admin = &mut world.admin;
    let wanted = format!("{kind} being {status} with {reason}");
    let told = wait_until(&wanted, PATIENCE, async || {
        let rows = admin.select("system_health", json!({"type": kind})).await;
        let rows = rows.map_err(|error| error.to_string())?;
        let row = &rows[0];
        if row["status"] == status && row["reason"] == reason {
            Ok(())
        } else {
            Err(row.to_string())
        }
    });
    if let Err(error) = told.await {
        panic!("{error}\ndaemon:\n{}", world.daemon.log());
    }
}
