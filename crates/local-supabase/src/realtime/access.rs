//! Who may join a private channel, asked of row level security on `realtime.messages`.
//! Never leaves a trace: the question is asked in a transaction that is rolled back.

use tokio::sync::Mutex;
use tokio_postgres::{Client, Error, Transaction};

use super::claims::Claims;
use super::table::become_role;

/// What somebody may do on a private topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// May hear broadcasts.
    pub(crate) reads: bool,
    /// May send broadcasts.
    pub(crate) writes: bool,
}

/// A connection to ask on, one question at a time.
pub(crate) struct Doorkeeper {
    client: Mutex<Client>,
}

impl Doorkeeper {
    /// Takes a connection of the superuser.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client: Mutex::new(client),
        }
    }

    /// Goes on with another connection.
    pub(crate) async fn reconnect(&self, client: Client) {
        *self.client.lock().await = client;
    }

    /// Asks what somebody may do on a topic (without prefix).
    pub(crate) async fn ask(&self, claims: &Claims, topic: &str) -> Result<Access, Error> {
        if claims.is_service() {
            return Ok(Access {
                reads: true,
                writes: true,
            });
        }
        let mut client = self.client.lock().await;
        let transaction = client.transaction().await?;
        let access = probe(&transaction, claims, topic).await;
        transaction.rollback().await?;
        access
    }

    /// Tells whether the publication has a table that a filter names.
    pub(crate) async fn publishes(&self, schema: &str, table: &str) -> Result<bool, Error> {
        let find = "select exists (select from pg_publication_tables
            where pubname = 'supabase_realtime'
              and ($1 = '*' or schemaname = $1) and ($2 = '*' or tablename = $2))";
        let client = self.client.lock().await;
        Ok(client.query_one(find, &[&schema, &table]).await?.get(0))
    }
}

/// Puts a message on the topic, then looks whether it can be seen, and another put, by the one who asks.
async fn probe(
    transaction: &Transaction<'_>,
    claims: &Claims,
    topic: &str,
) -> Result<Access, Error> {
    let insert = "insert into realtime.messages (topic, extension, event, private)
        values ($1, 'broadcast', 'probe', true)";
    let find = "select exists (select from realtime.messages
        where topic = $1 and extension = 'broadcast')";
    transaction.execute(insert, &[&topic]).await?;
    transaction
        .query_one("select set_config('realtime.topic', $1, true)", &[&topic])
        .await?;
    become_role(transaction, claims).await?;
    let reads = transaction
        .query_one(find, &[&topic])
        .await
        .map(|row| row.get(0));
    // A refused read ends the transaction, and then nothing can be written either.
    let reads: bool = reads.unwrap_or(false);
    let writes = transaction.execute(insert, &[&topic]).await.is_ok();
    Ok(Access { reads, writes })
}
