//! A logical replication slot and what it has to say.
//! Never outlives its connection: the slot is temporary, so nothing is left behind.

use tokio_postgres::{Client, Error};

use super::pgoutput::{LogMessage, Malformed, parse_message};

/// Changes fetched at once; Supabase's own number. Whole transactions are given, so more may come.
const BATCH: i32 = 100;

/// A slot on one publication.
pub(crate) struct Slot {
    name: &'static str,
    publication: &'static str,
}

impl Slot {
    /// Makes the slot; it sees what commits from now on.
    pub(crate) async fn create(
        client: &Client,
        name: &'static str,
        publication: &'static str,
    ) -> Result<Self, Error> {
        // Postgres logs six lines at every look into a slot; several looks a second would bury the rest.
        client
            .batch_execute("set log_min_messages to 'fatal'")
            .await?;
        let create = "select pg_create_logical_replication_slot($1, 'pgoutput', true)";
        client.query_one(create, &[&name]).await?;
        Ok(Self { name, publication })
    }

    /// Takes the next messages out of the slot.
    pub(crate) async fn take(
        &self,
        client: &Client,
    ) -> Result<Vec<Result<LogMessage, Malformed>>, Error> {
        let take = "select data from pg_logical_slot_get_binary_changes(
            $1, null, $2, 'proto_version', '1', 'publication_names', $3)";
        let rows = client
            .query(take, &[&self.name, &BATCH, &self.publication])
            .await?;
        Ok(rows.iter().map(|row| parse_message(row.get(0))).collect())
    }
}
