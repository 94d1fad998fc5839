//! A logical replication slot and what it has to say; a fault may take it away and give another one back.
//! Never outlives its connection: the slot is temporary, so nothing is left behind.

use tokio::sync::watch;
use tokio_postgres::{Client, Error};

use super::pgoutput::{LogMessage, Malformed, parse_message};
use crate::faults::{Faults, Lane, SlotWish};

/// Changes fetched at once; Supabase's own number. Whole transactions are given, so more may come.
const BATCH: i32 = 100;

/// A slot on one publication.
pub(crate) struct Slot {
    name: &'static str,
    publication: &'static str,
    lane: Lane,
    faults: Faults,
    wishes: watch::Receiver<SlotWish>,
    is_there: bool,
}

impl Slot {
    /// Makes the slot; it sees what commits from now on.
    pub(crate) async fn create(
        client: &Client,
        lane: Lane,
        publication: &'static str,
        faults: Faults,
    ) -> Result<Self, Error> {
        // Postgres logs six lines at every look into a slot; several looks a second would bury the rest.
        client
            .batch_execute("set log_min_messages to 'fatal'")
            .await?;
        let name = match lane {
            Lane::Changes => "local_realtime_changes",
            Lane::Broadcasts => "local_realtime_messages",
        };
        let wishes = faults.slot(lane).wishes();
        let mut slot = Self {
            name,
            publication,
            lane,
            faults,
            wishes,
            is_there: false,
        };
        slot.appear(client).await?;
        Ok(slot)
    }

    /// Tells what is wanted of the slot.
    pub(crate) fn wish(&self) -> SlotWish {
        *self.wishes.borrow()
    }

    /// Waits until something else is wanted.
    pub(crate) async fn wished(&mut self) {
        if self.wishes.changed().await.is_err() {
            // Nobody is left who could want anything.
            std::future::pending::<()>().await;
        }
    }

    /// Takes the next messages out of the slot; there are none while a fault has taken it away.
    pub(crate) async fn take(
        &mut self,
        client: &Client,
    ) -> Result<Vec<Result<LogMessage, Malformed>>, Error> {
        match (self.wish(), self.is_there) {
            (SlotWish::Kept, false) => self.appear(client).await?,
            (SlotWish::Lost | SlotWish::Stopped, true) => self.vanish(client).await?,
            (SlotWish::Kept, true) | (SlotWish::Lost | SlotWish::Stopped, false) => {}
        }
        if !self.is_there {
            return Ok(Vec::new());
        }
        let take = "select data from pg_logical_slot_get_binary_changes(
            $1, null, $2, 'proto_version', '1', 'publication_names', $3)";
        let rows = client
            .query(take, &[&self.name, &BATCH, &self.publication])
            .await?;
        Ok(rows.iter().map(|row| parse_message(row.get(0))).collect())
    }

    async fn appear(&mut self, client: &Client) -> Result<(), Error> {
        let create = "select pg_create_logical_replication_slot($1, 'pgoutput', true)";
        client.query_one(create, &[&self.name]).await?;
        self.set_there(true);
        Ok(())
    }

    async fn vanish(&mut self, client: &Client) -> Result<(), Error> {
        client
            .query_one("select pg_drop_replication_slot($1)", &[&self.name])
            .await?;
        self.set_there(false);
        Ok(())
    }

    fn set_there(&mut self, is_there: bool) {
        self.is_there = is_there;
        self.faults.slot(self.lane).on_slot(is_there);
    }
}
