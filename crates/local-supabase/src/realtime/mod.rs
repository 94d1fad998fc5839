//! The Realtime stand-in: what Supabase Realtime does over a socket, on this stack's own Postgres.
//! Never claims to be more than the subset its tests compare with the official clients.

mod access;
mod admission;
mod changes;
mod claims;
mod frame;
pub mod fuzzing;
mod hub;
mod join;
mod messages;
mod pgchange;
mod pgoutput;
mod slot;
mod socket;
mod subscribing;
mod table;

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

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
pub use self::pgchange::ChangeError;

/// What all sockets of a stack share.
pub(crate) struct Realtime {
    keys: Keys,
    hub: Arc<Hub>,
    doorkeeper: Doorkeeper,
    faults: Faults,
    pace: Pace,
    stopping: watch::Receiver<bool>,
    /// What reads the slots.
    pollers: Mutex<Vec<AbortHandle>>,
}

impl std::fmt::Debug for Realtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Realtime").finish_non_exhaustive()
    }
}

/// Opens the slots and reads them from now on.
async fn start_pollers(
    database: &str,
    hub: &Arc<Hub>,
    faults: &Faults,
    pace: Pace,
    tasks: &mut JoinSet<()>,
) -> Result<Vec<AbortHandle>, StackError> {
    let woken = Arc::new(Notify::new());
    let client = connect(database, tasks, None).await?;
    let changes = ChangePoller::new(client, Arc::clone(hub), faults.clone(), pace)
        .await
        .map_err(database_failed("open the slot for changes"))?;
    let client = connect(database, tasks, Some(Arc::clone(&woken))).await?;
    let messages = MessagePoller::new(client, woken, Arc::clone(hub), faults.clone())
        .await
        .map_err(database_failed("open the slot for broadcasts"))?;
    Ok(vec![
        tasks.spawn(changes.run()),
        tasks.spawn(messages.run()),
    ])
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
        let hub = Arc::new(Hub::new(faults.clone()));
        let pollers = start_pollers(database, &hub, &faults, pace, tasks).await?;
        let doorkeeper = Doorkeeper::new(connect(database, tasks, None).await?);
        Ok(Self {
            keys,
            hub,
            doorkeeper,
            faults,
            pace,
            stopping,
            pollers: Mutex::new(pollers),
        })
    }

    /// Goes on with a database that was started again: new slots see what commits from now on, and sockets and
    /// channels are told nothing.
    pub(crate) async fn reconnect(
        &self,
        database: &str,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), StackError> {
        for poller in self.pollers.lock().await.drain(..) {
            poller.abort();
        }
        let pollers = start_pollers(database, &self.hub, &self.faults, self.pace, tasks).await?;
        self.pollers.lock().await.extend(pollers);
        let client = connect(database, tasks, None).await?;
        self.doorkeeper.reconnect(client).await;
        Ok(())
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
                &self.keys.inside(token),
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
