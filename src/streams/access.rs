//! Who a viewer is, verified here, and what they may see, decided by Postgres under their own token.
//! It keeps no list of rights, and asks Postgres nothing for a token that is not good.

use std::sync::Arc;

use hidps_tokens::{Claims, TokenFault, Verifier};
use hidps_wire::{AgentId, Refusal};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::config::Tokens;
use crate::ports::{Access, StoreError, StoreErrorKind};
use crate::streams::keyring::Keyring;
use crate::telemetry::{self, Chain};

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

/// Why a token was not accepted: a class for programs, and a sentence where there is more to say.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) reason: Refusal,
    pub(super) message: Option<String>,
}

impl From<Refusal> for Denied {
    fn from(reason: Refusal) -> Self {
        Self {
            reason,
            message: None,
        }
    }
}

/// The check.
#[derive(Clone)]
pub struct AccessCheck {
    access: Arc<dyn Access>,
    verifier: Arc<Verifier>,
    keyring: Keyring,
}

impl std::fmt::Debug for AccessCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessCheck")
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}

impl AccessCheck {
    /// A check of tokens as these settings want them, and of rights through this port.
    pub fn new(access: Arc<dyn Access>, tokens: &Tokens, keyring: Keyring) -> Self {
        let secret = tokens.secret.as_ref().map(SecretString::expose_secret);
        let verifier = Verifier::new(&tokens.issuer, &tokens.audience, secret);
        Self {
            access,
            verifier: Arc::new(verifier),
            keyring,
        }
    }

    /// Who bears this token, if it is a good one and the session behind it still lives.
    pub(super) async fn person(&self, token: String) -> Result<Person, Denied> {
        let claims = self.verify(&token).await?;
        let person = Person {
            user_id: claims.user_id,
            expires_at: Timestamp::from_second(claims.expires_at).unwrap_or(Timestamp::MAX),
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

    async fn verify(&self, token: &str) -> Result<Claims, Denied> {
        let now = || Timestamp::now().as_second();
        let known = self.keyring.known();
        match self.verifier.verify(token, &known.keys, now()) {
            Ok(claims) => Ok(claims),
            // It may have been published since the keys were read.
            Err(TokenFault::UnknownKey) => {
                let known = self.keyring.read_again(&known).await;
                match self.verifier.verify(token, &known.keys, now()) {
                    Ok(claims) => Ok(claims),
                    Err(TokenFault::UnknownKey) if !known.is_current => Err(keys_unread()),
                    Err(fault) => Err(denied(fault)),
                }
            }
            Err(fault) => Err(denied(fault)),
        }
    }
}

fn keys_unread() -> Denied {
    Denied {
        reason: Refusal::Unavailable,
        message: Some("the project's signing keys cannot be read just now; try again".to_owned()),
    }
}

fn denied(fault: TokenFault) -> Denied {
    metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "viewer").increment(1);
    metrics::counter!(telemetry::TOKENS_REFUSED, "reason" => fault.word()).increment(1);
    Denied {
        reason: Refusal::Unauthenticated,
        message: Some(fault.to_string()),
    }
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
