//! From `realtime.messages` to broadcasts: woken by a notification, read from the log.
//! Never asks who may hear a message; that was decided when the channel was joined.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_postgres::{Client, Error};

use super::frame::{Body, Broadcast};
use super::hub::Hub;
use super::pgoutput::{Cell, LogMessage};
use super::slot::Slot;
use crate::faults::{Faults, Lane};

/// The publication Supabase makes for broadcasts from the database.
const PUBLICATION: &str = "supabase_realtime_messages_publication";
/// A notification can be missed while the listening connection is being replaced; this is the net below.
const UNWOKEN: Duration = Duration::from_secs(1);

/// Reads messages and hands them to everybody on their topic.
pub(crate) struct MessagePoller {
    client: Client,
    slot: Slot,
    woken: Arc<Notify>,
    hub: Arc<Hub>,
    columns: BTreeMap<u32, Vec<String>>,
}

impl MessagePoller {
    /// Makes the slot and starts to listen; `client` must wake `woken` on notifications.
    pub(crate) async fn new(
        client: Client,
        woken: Arc<Notify>,
        hub: Arc<Hub>,
        faults: Faults,
    ) -> Result<Self, Error> {
        let slot = Slot::create(&client, Lane::Broadcasts, PUBLICATION, faults).await?;
        client.batch_execute("listen realtime_messages").await?;
        Ok(Self {
            client,
            slot,
            woken,
            hub,
            columns: BTreeMap::new(),
        })
    }

    /// Delivers for ever.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(error) = self.poll().await {
                tracing::warn!(%error, "messages cannot be read");
                tokio::time::sleep(UNWOKEN).await;
            }
            // Every end of the wait leads to the same look.
            tokio::select! {
                () = self.woken.notified() => {}
                () = self.slot.wished() => {}
                () = tokio::time::sleep(UNWOKEN) => {}
            }
        }
    }

    async fn poll(&mut self) -> Result<(), Error> {
        for message in self.slot.take(&self.client).await? {
            match message {
                Ok(LogMessage::Relation(relation)) => {
                    self.columns.insert(relation.oid, relation.columns);
                }
                Ok(LogMessage::Insert { table, new }) => self.on_message(table, &new),
                Ok(_) => {}
                Err(_) => tracing::error!("a message of pgoutput cannot be read"),
            }
        }
        Ok(())
    }

    fn on_message(&self, table: u32, cells: &[Cell]) {
        let Some(columns) = self.columns.get(&table) else {
            return;
        };
        let text = |name: &str| {
            let index = columns.iter().position(|column| column == name)?;
            match cells.get(index)? {
                Cell::Text(text) => Some(text.as_str()),
                Cell::Null | Cell::Unchanged => None,
            }
        };
        let (Some(topic), Some(event)) = (text("topic"), text("event")) else {
            return;
        };
        let payload = text("payload").and_then(|json| serde_json::from_str(json).ok());
        let meta = text("id").map(|id| json!({ "id": id }));
        let body = Body::Text(payload.unwrap_or(Value::Null), meta);
        let broadcast = Broadcast {
            event: event.to_owned(),
            body,
        };
        let private = text("private") == Some("t");
        self.hub
            .broadcast(&format!("realtime:{topic}"), private, None, broadcast);
    }
}
