//! An agent without a host that says whatever a test wants, with an admitted key.
//! Its row is gone when it is dismissed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use futures_util::{SinkExt as _, StreamExt as _};
use hidps_lab::swarm::connect::{ConnectError, Socket, connect};
use hidps_lab::world::{ORGANIZATION, World};
use hidps_wire::AgentId;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent of the seed's organization.
pub(crate) struct RawAgent {
    pub(crate) id: String,
    key: SigningKey,
}

impl RawAgent {
    /// Writes its rows, its key admitted.
    pub(crate) async fn admit(world: &World) -> Self {
        let id = Uuid::new_v4();
        let mut seed = [0x6b; 32];
        seed[..16].copy_from_slice(id.as_bytes());
        let key = SigningKey::from_bytes(&seed);
        let public = STANDARD.encode(key.verifying_key().as_bytes());
        let rows = format!(
            "insert into public.agents (id, name, owner_id, org_id) \
             select '{id}', 'raw-01', m.user_id, m.org_id from public.organization_members m \
             where m.org_id = '{ORGANIZATION}' and m.role = 'owner' limit 1; \
             insert into public.agent_keys (agent_id, public_key, status) \
             values ('{id}', '{public}', 'admitted')"
        );
        world.stack.sql(&rows).await.expect("the rows are taken");
        let id = id.to_string();
        Self { id, key }
    }

    /// Connects once.
    pub(crate) async fn connect(&self, world: &World) -> Result<Socket, ConnectError> {
        let id: AgentId = self.id.parse().expect("a UUID");
        connect(world.daemon.address(), id, &self.key).await
    }

    /// Connects, claims to be all of `words`, and waits to be welcomed.
    pub(crate) async fn greet(&self, world: &World, words: &str) -> Socket {
        let mut socket = self.connect(world).await.expect("its key is admitted");
        let hello = json!({
            "type": "hello", "protocol": 1, "agent_version": words, "hostname": words,
            "os": words, "arch": words, "applied": null,
        });
        say(&mut socket, &hello).await;
        loop {
            let frame = timeout(PATIENCE, socket.next()).await.expect("in time");
            let frame = frame.expect("it answers").expect("whole");
            if matches!(&frame, Message::Text(text) if text.contains("\"welcome\"")) {
                return socket;
            }
        }
    }

    /// Deletes its rows.
    pub(crate) async fn dismiss(self, world: &World) {
        let gone = format!("delete from public.agents where id = '{}'", self.id);
        world.stack.sql(&gone).await.expect("deleted");
    }
}

/// Sends a frame.
pub(crate) async fn say(socket: &mut Socket, frame: &Value) {
    let sent = timeout(PATIENCE, socket.send(Message::text(frame.to_string()))).await;
    sent.expect("in time").expect("the daemon takes it");
}
