//! Who the agents of a swarm are, and their rows: ids and keys counted up from fixed beginnings.
//! It never enrolls over the network; the rows are what an admin's approval would leave.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use hidps_local_supabase::{Stack, StackError};
use hidps_wire::AgentId;
use uuid::Uuid;

use crate::world::ORGANIZATION;

/// The first agent's id, as a number and as the text the database puts digits after.
const FIRST_ID: u128 = 0x0190_b000_0000_7000_8000_0000_0000_0000;
pub(super) const ID_PREFIX: &str = "0190b000-0000-7000-8000-";

/// What the ids of agents begin with that never connect; they sort before all others.
const ASLEEP_PREFIX: &str = "0190a800-0000-7000-8000-";

/// Agents per statement: enough to be quick, few enough for one message.
const PER_STATEMENT: usize = 1_000;

/// The id of an agent of the swarm, counted from 0.
#[must_use]
pub fn agent_id(number: usize) -> AgentId {
    AgentId::new(Uuid::from_u128(FIRST_ID + number as u128))
}

/// The key of an agent of the swarm; anybody can make it, for it opens nothing but a bench.
pub(super) fn signing_key(number: usize) -> SigningKey {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SigningKey::from_bytes(&seed)
}

/// Writes the rows of agents `0..n_agents` and admits their keys. Nothing is held back in their
/// organization, whatever share of it changes at once.
///
/// # Errors
/// When the database refuses.
pub async fn write_rows(stack: &Stack, n_agents: usize) -> Result<(), StackError> {
    let settings = format!(
        "update organizations set settings = settings || '{{\"hold_blast_percent\": 100}}' \
         where id = '{ORGANIZATION}'"
    );
    stack.sql(&settings).await?;
    for (from, until) in portions(n_agents) {
        stack.sql(&insert_agents(ID_PREFIX, from, until)).await?;
        stack.sql(&insert_keys(from, until)).await?;
    }
    analyze(stack).await
}

/// Writes the rows of so many agents that never connect.
///
/// # Errors
/// When the database refuses.
pub async fn write_asleep(stack: &Stack, n_agents: usize) -> Result<(), StackError> {
    for (from, until) in portions(n_agents) {
        stack
            .sql(&insert_agents(ASLEEP_PREFIX, from, until))
            .await?;
    }
    analyze(stack).await
}

/// What was just written in bulk is unknown to the planner until it is told.
async fn analyze(stack: &Stack) -> Result<(), StackError> {
    stack.sql("analyze").await.map(drop)
}

fn portions(n_agents: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n_agents)
        .step_by(PER_STATEMENT)
        .map(move |from| (from, (from + PER_STATEMENT).min(n_agents)))
}

fn insert_agents(prefix: &str, from: usize, until: usize) -> String {
    let last = until - 1;
    format!(
        "insert into agents (id, name, owner_id, org_id) \
         select ('{prefix}' || lpad(to_hex(n), 12, '0'))::uuid, 'swarm-' || n, m.user_id, m.org_id \
         from generate_series({from}, {last}) n, organization_members m \
         where m.org_id = '{ORGANIZATION}' and m.role = 'owner'"
    )
}

fn insert_keys(from: usize, until: usize) -> String {
    let mut insert = String::from("insert into agent_keys (agent_id, public_key, status) values ");
    for number in from..until {
        let separator = if number == from { "" } else { ", " };
        let id = agent_id(number);
        let key = STANDARD.encode(signing_key(number).verifying_key().as_bytes());
        write!(insert, "{separator}('{id}', '{key}', 'admitted')")
            .expect("a string takes any text");
    }
    insert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_up_as_the_database_counts() {
        assert_eq!(
            agent_id(0x1f).to_string(),
            format!("{ID_PREFIX}00000000001f")
        );
    }

    #[test]
    fn every_agent_has_a_key_of_its_own() {
        assert_ne!(
            signing_key(1).verifying_key(),
            signing_key(256).verifying_key()
        );
    }
}
