//! A key that is revoked by its row: the connection ends when the row is written, not at the next look.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hidps_lab::swarm::connect::{ConnectError, Socket};
use hidps_lab::world::AGENT;
use serde_json::json;
use tokio::time::timeout;

use crate::faults::shared::with_world;
use crate::raw_agent::RawAgent;

/// Far more than the daemon looks at keys by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Half of the time between two such looks.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Reads until the daemon has ended the connection.
async fn read_to_end(socket: &mut Socket) {
    let reading = async { while let Some(Ok(_)) = socket.next().await {} };
    let ended = timeout(PATIENCE, reading).await;
    ended.expect("the daemon ends the connection");
}

#[test]
fn a_revoked_key_loses_its_connection_when_its_row_is_written_and_others_keep_theirs() {
    with_world(&[], async |world| {
        let agents = [RawAgent::admit(world).await, RawAgent::admit(world).await];
        let mut sockets = Vec::new();
        for agent in &agents {
            sockets.push(agent.greet(world, "raw").await);
        }

        let mut took = Vec::new();
        for (agent, socket) in agents.iter().zip(&mut sockets) {
            let whose = json!({"agent_id": agent.id});
            let revoked = json!({"status": "revoked"});
            let begun = Instant::now();
            let written = world.admin.update("agent_keys", revoked, whose).await;
            written.expect("an admin may");
            read_to_end(socket).await;
            took.push(begun.elapsed());
        }

        // The first may have met a look; after that the next one is 20 s away.
        assert!(took[1] < TOLD_WITHIN, "{took:?}");
        let again = agents[1].connect(world).await;
        assert!(
            matches!(again, Err(ConnectError::Refused { status: 403, .. })),
            "{again:?}"
        );
        let others = world.outside().is_online(AGENT).await;
        assert!(others.expect("readable"), "its key is as good as it was");
        for agent in agents {
            agent.dismiss(world).await;
        }
    });
}
