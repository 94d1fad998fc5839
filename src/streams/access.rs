//! Who a viewer is and what they may see, decided by Postgres under their own token.
//! It never verifies a token itself and keeps no list of rights.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hidps_wire::{AgentId, Refusal};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::ports::{Access, StoreError, StoreErrorKind};
use crate::telemetry::{self, Chain};

/// Longest token taken, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// A person, as their accepted token says.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// The token's subject.
    pub(super) user_id: Uuid,
    /// When the token expires.
    pub(super) expires_at: Timestamp,
    token: String,
}

impl Person {
    /// Seconds until the token expires, 0 when it has.
    pub(super) fn expires_in(&self) -> u64 {
        u64::try_from(self.expires_at.as_second() - Timestamp::now().as_second()).unwrap_or(0)
    }
}

/// The check.
#[derive(Clone)]
pub struct AccessCheck {
    access: Arc<dyn Access>,
}

impl std::fmt::Debug for AccessCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessCheck").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: Uuid,
    exp: i64,
    role: String,
}

impl AccessCheck {
    /// A check through this port.
    pub fn new(access: Arc<dyn Access>) -> Self {
        Self { access }
    }

    /// Who bears this token. PostgREST verifies it; only then are its claims believed.
    pub(super) async fn person(&self, token: String) -> Result<Person, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Unauthenticated);
        }
        let claims = read_claims(&token).ok_or(Refusal::Unauthenticated)?;
        let person = Person {
            user_id: claims.sub,
            expires_at: Timestamp::from_second(claims.exp).map_err(|_| Refusal::Unauthenticated)?,
            token,
        };
        self.readable(&person, Vec::new()).await?;
        Ok(person)
    }

    /// The agents among those asked that this person may read now.
    pub(super) async fn readable(
        &self,
        person: &Person,
        agents: Vec<AgentId>,
    ) -> Result<Vec<AgentId>, Refusal> {
        if person.expires_in() == 0 {
            return Err(Refusal::Unauthenticated);
        }
        let found = self.access.readable(person.token.clone(), agents).await;
        let found = found.map_err(|error| refusal(&error))?;
        Ok(found.into_iter().map(|access| access.agent_id).collect())
    }
}

/// The claims of a person's token; a service key or an anonymous one is no person.
fn read_claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&json).ok()?;
    (claims.role == "authenticated").then_some(claims)
}

fn refusal(error: &StoreError) -> Refusal {
    match error.kind {
        StoreErrorKind::Unauthorized => {
            metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "viewer").increment(1);
            Refusal::Unauthenticated
        }
        StoreErrorKind::Unavailable
        | StoreErrorKind::RateLimited
        | StoreErrorKind::Rejected
        | StoreErrorKind::NotFound
        | StoreErrorKind::Malformed => {
            tracing::warn!(error = %Chain(error), "a viewer's access could not be checked");
            Refusal::Unavailable
        }
    }
}
