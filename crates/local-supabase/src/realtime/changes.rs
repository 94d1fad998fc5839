//! From the write-ahead log to `postgres_changes`: polls, checks who may see what, and hands over.
//! Never sends to a socket itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_postgres::{Client, Error};

use super::claims::Claims;
use super::hub::{Delivery, Hub, Listener, What};
use super::pgchange::{Change, ChangeError, Kind};
use super::pgoutput::{Cell, LogMessage, Relation};
use super::slot::Slot;
use super::table::{Sight, Table};
use crate::faults::{Faults, Lane, SlotWish};
use crate::options::Pace;

/// The publication of a Supabase project.
const PUBLICATION: &str = "supabase_realtime";
/// Pause after a failed look, so that a stopping database is not hammered.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Reads changes and finds their listeners.
pub(crate) struct ChangePoller {
    client: Client,
    slot: Slot,
    hub: Arc<Hub>,
    faults: Faults,
    pace: Pace,
    tables: BTreeMap<u32, Table>,
    committed_at: i64,
    /// Tables of the publication, and when to look at it again.
    published: Vec<String>,
    publication_due: Instant,
}

/// A change as the log has it.
struct Logged<'a> {
    kind: Kind,
    table: &'a Table,
    /// The new row or, for a delete, the old key.
    cells: &'a [Cell],
    /// The old row as far as logged.
    old_cells: Option<&'a [Cell]>,
}

impl ChangePoller {
    /// Makes the slot.
    pub(crate) async fn new(
        client: Client,
        hub: Arc<Hub>,
        faults: Faults,
        pace: Pace,
    ) -> Result<Self, Error> {
        client.batch_execute("set timezone to 'UTC'").await?;
        let slot = Slot::create(&client, Lane::Changes, PUBLICATION, faults.clone()).await?;
        Ok(Self {
            published: list_published(&client).await?,
            publication_due: Instant::now() + pace.publication,
            client,
            slot,
            hub,
            faults,
            pace,
            tables: BTreeMap::new(),
            committed_at: 0,
        })
    }

    /// Polls for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let pause = match self.poll().await {
                Ok(true) => self.pace.poll_busy,
                Ok(false) => self.pace.poll_idle,
                Err(error) => {
                    tracing::warn!(%error, "changes cannot be read");
                    FAILURE_PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.slot.wished() => {}
            }
        }
    }

    /// Looks once; tells whether something was there.
    async fn poll(&mut self) -> Result<bool, Error> {
        if self.slot.wish() == SlotWish::Stopped {
            // Workers begin with an empty table of subscriptions, and nobody tells the channels.
            self.hub.deactivate_all();
        }
        self.follow_publication().await?;
        let messages = self.slot.take(&self.client).await?;
        let something = !messages.is_empty();
        for message in messages {
            match message {
                Ok(message) => self.on_message(message).await?,
                Err(_) => tracing::error!("a message of pgoutput cannot be read"),
            }
        }
        Ok(something)
    }

    /// Subscribes everybody anew if the publication has other tables than before, as Supabase does.
    async fn follow_publication(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if now < self.publication_due {
            return Ok(());
        }
        self.publication_due = now + self.pace.publication;
        let published = list_published(&self.client).await?;
        if self.published != published {
            self.published = published;
            self.hub.deactivate_all();
            self.faults.resubscribe_channels();
        }
        Ok(())
    }

    async fn on_message(&mut self, message: LogMessage) -> Result<(), Error> {
        match message {
            LogMessage::Begin { committed_at } => self.committed_at = committed_at,
            LogMessage::Relation(relation) => self.on_relation(relation).await?,
            LogMessage::Insert { table, new } => {
                self.on_change(table, Kind::Insert, &new, None).await?;
            }
            LogMessage::Update { table, old, new } => {
                self.on_change(table, Kind::Update, &new, old.as_deref())
                    .await?;
            }
            LogMessage::Delete { table, old } => {
                self.on_change(table, Kind::Delete, &old, Some(&old))
                    .await?;
            }
            LogMessage::Other => {}
        }
        Ok(())
    }

    async fn on_relation(&mut self, relation: Relation) -> Result<(), Error> {
        let table = Table::read(&self.client, relation).await?;
        self.tables.insert(table.relation.oid, table);
        Ok(())
    }

    async fn on_change(
        &mut self,
        table: u32,
        kind: Kind,
        cells: &[Cell],
        old_cells: Option<&[Cell]>,
    ) -> Result<(), Error> {
        let Some(table) = self.tables.get(&table) else {
            return Ok(());
        };
        let relation = &table.relation;
        let listeners = self
            .hub
            .list_listeners(&relation.schema, &relation.table, kind);
        if listeners.is_empty() {
            return Ok(());
        }
        let logged = Logged {
            kind,
            table,
            cells,
            old_cells,
        };
        let mut whole = logged.to_change(&self.client, self.committed_at).await?;
        whole.spoil(self.faults.take_spoil(&relation.table));
        let mut seen: BTreeMap<String, Option<Arc<Value>>> = BTreeMap::new();
        let mut receivers = Vec::new();
        for listener in listeners {
            let ids = logged.list_met_ids(&self.client, &listener).await?;
            if ids.is_empty() {
                continue;
            }
            let who = &listener.claims.json;
            if !seen.contains_key(who) {
                let data = logged
                    .show(&mut self.client, &listener.claims, &whole)
                    .await?;
                seen.insert(who.clone(), data);
            }
            if let Some(Some(data)) = seen.get(who) {
                receivers.push((listener.key, What::Change(ids, Arc::clone(data))));
            }
        }
        self.hub.deliver(Delivery {
            lane: Lane::Changes,
            name: relation.table.clone(),
            receivers,
        });
        Ok(())
    }
}

impl Logged<'_> {
    /// Builds the event as somebody would see it who may see everything.
    async fn to_change(&self, client: &Client, committed_at: i64) -> Result<Change, Error> {
        let table = self.table;
        let record = match self.kind {
            Kind::Insert | Kind::Update => table.to_json(client, self.cells).await?,
            Kind::Delete => Map::new(),
        };
        let old = match (self.kind, self.old_cells) {
            (Kind::Insert, _) => Map::new(),
            (_, Some(old)) if table.relation.has_full_identity && !table.has_row_security => {
                table.to_json(client, old).await?
            }
            (_, Some(old)) => table.keep_key(table.to_json(client, old).await?),
            // The key did not change, so the log does not repeat it.
            (_, None) => table.keep_key(record.clone()),
        };
        Ok(Change {
            schema: table.relation.schema.clone(),
            table: table.relation.table.clone(),
            kind: self.kind,
            committed_at,
            columns: table.list_columns(&table.all_names()),
            record,
            old,
            error: (!table.has_key()).then_some(ChangeError::NoPrimaryKey),
        })
    }

    /// Lists the ids of those filters of a listener whose conditions hold.
    async fn list_met_ids(&self, client: &Client, listener: &Listener) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::new();
        for binding in &listener.bindings {
            // A removed row has only its key left, and Supabase does not filter it by anything else.
            let met = self.kind == Kind::Delete
                || self
                    .table
                    .meets(client, &binding.conditions, self.cells)
                    .await?;
            if met && !ids.contains(&binding.id) {
                ids.push(binding.id);
            }
        }
        Ok(ids)
    }

    /// Gives the event as somebody may see it, if at all.
    async fn show(
        &self,
        client: &mut Client,
        claims: &Claims,
        whole: &Change,
    ) -> Result<Option<Arc<Value>>, Error> {
        let mut change = whole.clone();
        // A removed row cannot be read again: as on Supabase, everybody hears of it.
        if self.kind != Kind::Delete && self.table.has_key() {
            match self.table.look(client, claims, self.cells).await? {
                Sight::Hidden => return Ok(None),
                Sight::Unauthorized => change.error = Some(ChangeError::Unauthorized),
                Sight::Columns(columns) => {
                    change.record.retain(|name, _| columns.contains(name));
                    change.old.retain(|name, _| columns.contains(name));
                    change.columns = self.table.list_columns(&columns);
                }
            }
        }
        Ok(Some(Arc::new(change.to_json())))
    }
}

async fn list_published(client: &Client) -> Result<Vec<String>, Error> {
    let list = "select format('%I.%I', schemaname, tablename) from pg_publication_tables
        where pubname = $1 order by 1";
    let rows = client.query(list, &[&PUBLICATION]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
