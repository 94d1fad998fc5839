//! The decisions of a join: who it is, whether they may, whether the tables exist.
//! Never talks to the socket.

use super::Realtime;
use super::claims::{Claims, TokenRefused};
use super::join::{Binding, Join};

/// What every topic of a channel begins with.
pub(super) const TOPIC_PREFIX: &str = "realtime:";

impl Realtime {
    /// Decides about a join: who it is and whether they may send broadcasts, or the reason to refuse.
    pub(super) async fn admit(
        &self,
        key: &str,
        topic: &str,
        join: &Join,
    ) -> Result<(Claims, bool), String> {
        if let Some(reason) = self.faults.join_refusal() {
            return Err(reason);
        }
        let name = topic.strip_prefix(TOPIC_PREFIX).ok_or("unmatched topic")?;
        if name.is_empty() {
            return Err("TopicNameRequired: You must provide a topic name".to_owned());
        }
        let claims = self
            .identify_or(join.access_token.as_deref(), key)
            .map_err(TokenRefused::reason)?;
        if !join.private {
            return Ok((claims, true));
        }
        match self.doorkeeper.ask(&claims, name).await {
            Ok(access) if access.reads => Ok((claims, access.writes)),
            Ok(_) => Err(format!(
                "Unauthorized: You do not have permissions to read from this Channel topic: {name}"
            )),
            Err(error) => {
                tracing::warn!(%error, topic = name, "a private join cannot be decided");
                Err("UnableToConnectToProject: the topic's policies cannot be read".to_owned())
            }
        }
    }

    /// Takes the token of a frame, or falls back to the key the socket was opened with.
    pub(super) fn identify_or(
        &self,
        token: Option<&str>,
        key: &str,
    ) -> Result<Claims, TokenRefused> {
        self.identify(
            token
                .filter(|token| !token.starts_with("sb_"))
                .unwrap_or(key),
        )
    }

    /// Checks that the publication has the tables of all filters, as Supabase does only now.
    pub(super) async fn check_tables(
        &self,
        bindings: Vec<Binding>,
    ) -> Result<Vec<Binding>, String> {
        for Binding { schema, table, .. } in &bindings {
            let published = self.doorkeeper.publishes(schema, table).await;
            if !published.is_ok_and(|published| published) {
                return Err(format!(
                    "Unable to subscribe to changes with given parameters. Please check Realtime \
                     is enabled for the given connect parameters: \
                     [schema: {schema}, table: {table}, filters: []]"
                ));
            }
        }
        Ok(bindings)
    }
}
