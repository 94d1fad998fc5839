//! A key that is revoked by its row: the connection ends when the row is written, not at the next look.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hidps_lab::swarm::connect::{ConnectError, Socket};
use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;
use serde_json::json;
use tokio::time::timeout;

use crate::faults::shared::with_world;
use crate::raw_agent::RawAgent;

/// Far more than the daemon looks at keys by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Half of the time between two such looks.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Agents that are tried until one is told in time.
const MOST_AGENTS: usize = 6;

/// Reads until the daemon has ended the connection.
async fn read_to_end(socket: &mut Socket) {
    let reading = async { while let Some(Ok(_)) = socket.next().await {} };
    let ended = timeout(PATIENCE, reading).await;
    ended.expect("the daemon ends the connection");
}

#[test]
fn a_revoked_key_loses_its_connection_when_its_row_is_written_and_others_keep_theirs() {
    with_world(&[], async |world| {
        let mut took = Vec::new();
        // The first may end by a look; the next look is 20 s later, so that only word of its row
        // can end another soon. A machine that is busy may need more of them to be in time.
        while took.len() < 2 || took.len() < MOST_AGENTS && !was_told(&took) {
            took.push(revoke_one(world).await);
        }

        assert!(was_told(&took), "{took:?}");
        let left = wait_until("the others' connections", PATIENCE, async || {
            match world.daemon.metric("hidps_agents_connected").await {
                Some(1.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        left.await
            .expect("the key of the seed's is as good as it was");
    });
}

fn was_told(took: &[Duration]) -> bool {
    took.iter().skip(1).any(|took| *took < TOLD_WITHIN)
}

/// Admits an agent and revokes its key; gives how long its connection outlived that.
async fn revoke_one(world: &mut World) -> Duration {
    let agent = RawAgent::admit(world).await;
    let mut socket = agent.greet(world, "raw").await;
    let (whose, revoked) = (json!({"agent_id": agent.id}), json!({"status": "revoked"}));
    let begun = Instant::now();
    let written = world.admin.update("agent_keys", revoked, whose).await;
    written.expect("an admin may");
    read_to_end(&mut socket).await;
    let took = begun.elapsed();
    let again = agent.connect(world).await;
    assert!(
        matches!(again, Err(ConnectError::Refused { status: 403, .. })),
        "{again:?}"
    );
    agent.dismiss(world).await;
    took
}
