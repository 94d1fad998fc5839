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
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::access::Doorkeeper;
use self::changes::ChangePoller;
use self::claims::TokenRefused;
use self::frame::Broadcast;
use self::hub::Hub;
use self::messages::MessagePoller;
use self::socket::Socket;
use crate::database::connect;
use crate::error::{StackError, database_failed};
use crate::faults::Faults;
use crate::keys::Keys;
use crate::options::Pace;

pub(crate) use self::claims::Claims;
pub(crate) use self::frame::{Body, Version};

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

    /// Sends a broadcast that came by REST; tells whether the sender may.
    pub(crate) async fn broadcast(&self, claims: &Claims, message: RestBroadcast) -> bool {
        let RestBroadcast {
            topic,
            event,
            body,
            private,
        } = message;
        if private {
            let access = self.doorkeeper.ask(claims, &topic).await;
            if !access.is_ok_and(|access| access.writes) {
                return false;
            }
        }
        let broadcast = Broadcast { event, body };
        self.hub
            .broadcast(&format!("realtime:{topic}"), private, None, broadcast);
        true
    }
}

/// A broadcast that came by REST.
pub(crate) struct RestBroadcast {
    /// Topic without prefix.
    pub(crate) topic: String,
    /// Name the sender gave it.
    pub(crate) event: String,
    /// Its content.
    pub(crate) body: Body,
    /// Whether it is for private channels.
    pub(crate) private: bool,
}
