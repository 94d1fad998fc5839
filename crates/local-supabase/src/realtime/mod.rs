//! The Realtime stand-in: what Supabase Realtime does over a socket, on this stack's own Postgres.
//! Never claims to be more than the subset its tests compare with the official clients.

mod access;
mod admission;
mod changes;
mod claims;
mod frame;
mod hub;
mod join;
mod messages;
mod pgchange;
mod pgoutput;
mod slot;
mod socket;
mod table;

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::access::Doorkeeper;
use self::changes::ChangePoller;
use self::claims::{Claims, TokenRefused};
use self::frame::{Body, Broadcast};
use self::hub::Hub;
use self::messages::MessagePoller;
use self::socket::Socket;
use crate::database::connect;
use crate::error::{StackError, database_failed};
use crate::faults::Faults;
use crate::keys::Keys;
use crate::options::Pace;

pub(crate) use self::frame::Version;

/// What all sockets of a stack share.
pub(crate) struct Realtime {
    keys: Keys,
    hub: Arc<Hub>,
    doorkeeper: Doorkeeper,
    faults: Faults,
    pace: Pace,
    stopping: watch::Receiver<bool>,
}

impl Realtime {
    /// Opens the slots and starts to read them.
    pub(crate) async fn start(
        database: &str,
        keys: Keys,
        faults: Faults,
        pace: Pace,
        stopping: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StackError> {
        let hub = Arc::new(Hub::default());
        let woken = Arc::new(Notify::new());
        let client = connect(database, tasks, None).await?;
        let changes = ChangePoller::new(client, Arc::clone(&hub), faults.clone(), pace)
            .await
            .map_err(database_failed("open the slot for changes"))?;
        let client = connect(database, tasks, Some(Arc::clone(&woken))).await?;
        let messages = MessagePoller::new(client, woken, Arc::clone(&hub), faults.clone())
            .await
            .map_err(database_failed("open the slot for broadcasts"))?;
        let doorkeeper = Doorkeeper::new(connect(database, tasks, None).await?);
        tasks.spawn(changes.run());
        tasks.spawn(messages.run());
        Ok(Self {
            keys,
            hub,
            doorkeeper,
            faults,
            pace,
            stopping,
        })
    }

    /// Tells who a key or token stands for.
    pub(crate) fn identify(&self, token: &str) -> Result<Claims, TokenRefused> {
        match self
            .keys
            .claims_of_key(token)
            .as_ref()
            .and_then(Claims::of_key)
        {
            Some(claims) => Ok(claims),
            None => Claims::verify(
                token,
                &self.keys.jwt_secret,
                jiff::Timestamp::now().as_second(),
            ),
        }
    }

    /// Tells why a connection with this key is refused, if it is: an HTTP status and a reason.
    pub(crate) fn refuse_connect(&self, key: Option<&str>) -> Option<(u16, String)> {
        if let Some(status) = self.faults.connect_refusal() {
            return Some((status, "refused by a fault".to_owned()));
        }
        let Some(key) = key else {
            return Some((401, "MissingApiKey".to_owned()));
        };
        self.identify(key)
            .err()
            .map(|refused| (401, refused.reason()))
    }

    /// Serves one socket until it ends.
    pub(crate) async fn serve(self: Arc<Self>, socket: WebSocket, version: Version, key: String) {
        Socket::new(self, socket, version, key).run().await;
    }

    /// Sends the messages of a REST broadcast.
    pub(crate) fn broadcast(&self, body: &Value) {
        for message in body["messages"].as_array().into_iter().flatten() {
            let (Some(topic), Some(event)) = (message["topic"].as_str(), message["event"].as_str())
            else {
                continue;
            };
            let private = message["private"].as_bool().unwrap_or(false);
            let payload = message.get("payload").cloned().unwrap_or_else(|| json!({}));
            let broadcast = Broadcast {
                event: event.to_owned(),
                body: Body::Text(payload, None),
            };
            self.hub
                .broadcast(&format!("realtime:{topic}"), private, None, broadcast);
        }
    }
}
