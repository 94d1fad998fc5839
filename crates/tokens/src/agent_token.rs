//! The short tokens of agents that speak HTTP alone: issued and verified by one and the same daemon.
//! They are worth nothing where a person's token is wanted, nor is a person's one here.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fault::TokenFault;
use crate::signed::Signed;

/// Seconds for which a token is good: a host asks six times an hour, and a stolen one ends soon.
pub const AGENT_TOKEN_SECS: i64 = 600;

/// Who issues them.
const ISSUER: &str = "hidpsd";

/// What they are for.
const AUDIENCE: &str = "hidps-agent";

/// Whom a token is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentClaims {
    /// The agent.
    pub agent: Uuid,
    /// Its organization when the token was issued.
    pub org: Uuid,
    /// The agent's public key then, in base64; with another key the token is not its any more.
    pub public_key: String,
    /// The second since 1970 at which the token ends.
    pub expires_at: i64,
}

/// The claims as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    iss: String,
    aud: String,
    sub: Uuid,
    org: Uuid,
    key: String,
    iat: i64,
    exp: i64,
}

/// Issues and verifies; the secret is known to nobody else.
pub struct AgentTokens {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl std::fmt::Debug for AgentTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentTokens").finish_non_exhaustive()
    }
}

impl AgentTokens {
    /// Tokens under this secret, which has to be random.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
        }
    }

    /// A token of this agent from this second since 1970 on.
    ///
    /// # Errors
    /// When the claims cannot be written, which no claim of ours is known to cause.
    pub fn issue(
        &self,
        (agent, org): (Uuid, Uuid),
        public_key: &str,
        now: i64,
    ) -> Result<String, TokenFault> {
        let claims = Written {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: agent,
            org,
            key: public_key.to_owned(),
            iat: now,
            exp: now.saturating_add(AGENT_TOKEN_SECS),
        };
        let header = Header::new(Algorithm::HS256);
        encode(&header, &claims, &self.signing).map_err(|_| TokenFault::Malformed)
    }

    /// Whom the token is for, if it is a valid one of ours at this second since 1970.
    ///
    /// # Errors
    /// With the first rule that the token breaks.
    pub fn verify(&self, token: &str, now: i64) -> Result<AgentClaims, TokenFault> {
        let token = Signed::parse(token)?;
        if token.header.alg != "HS256" {
            return Err(TokenFault::Algorithm);
        }
        let message = token.message.as_bytes();
        let verified = crypto::verify(token.signature, message, &self.verifying, Algorithm::HS256);
        if !verified.map_err(|_| TokenFault::Signature)? {
            return Err(TokenFault::Signature);
        }
        let claims: Written = token.claims()?;
        if claims.iss != ISSUER {
            return Err(TokenFault::Issuer);
        }
        if claims.aud != AUDIENCE {
            return Err(TokenFault::Audience);
        }
        if claims.exp <= now {
            return Err(TokenFault::Expired);
        }
        Ok(AgentClaims {
            agent: claims.sub,
            org: claims.org,
            public_key: claims.key,
            expires_at: claims.exp,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const AGENT: Uuid = Uuid::from_u128(1);
    const ORG: Uuid = Uuid::from_u128(2);
    const SECRET: [u8; 32] = [7; 32];

    fn issued() -> String {
        let tokens = AgentTokens::new(&SECRET);
        tokens.issue((AGENT, ORG), "a key", NOW).unwrap()
    }

    /// A token with one claim replaced, under our own secret.
    fn with(name: &str, value: Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": AGENT, "org": ORG, "key": "a key",
            "iat": NOW, "exp": NOW + AGENT_TOKEN_SECS,
        });
        claims[name] = value;
        let key = EncodingKey::from_secret(&SECRET);
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    }

    fn fault_of(token: &str, now: i64) -> TokenFault {
        AgentTokens::new(&SECRET).verify(token, now).unwrap_err()
    }

    #[test]
    fn a_token_is_its_agents_until_the_second_it_ends() {
        let tokens = AgentTokens::new(&SECRET);
        let last = NOW + AGENT_TOKEN_SECS - 1;

        let claims = tokens.verify(&issued(), last).unwrap();

        assert_eq!((claims.agent, claims.org), (AGENT, ORG));
        assert_eq!(claims.public_key, "a key");
        assert_eq!(fault_of(&issued(), last + 1), TokenFault::Expired);
    }

    #[test]
    fn what_another_daemon_signed_or_a_claim_of_another_is_refused() {
        let other = AgentTokens::new(&[8; 32]);
        let theirs = other.issue((AGENT, ORG), "a key", NOW).unwrap();

        assert_eq!(fault_of(&theirs, NOW), TokenFault::Signature);
        assert_eq!(
            fault_of(&with("iss", json!("auth")), NOW),
            TokenFault::Issuer
        );
        let audience = with("aud", json!("authenticated"));
        assert_eq!(fault_of(&audience, NOW), TokenFault::Audience);
        let more = with("role", json!("service_role"));
        assert_eq!(fault_of(&more, NOW), TokenFault::Malformed);
        assert_eq!(
            fault_of(&with("sub", json!("all")), NOW),
            TokenFault::Malformed
        );
    }

    #[test]
    fn no_other_algorithm_takes_the_place_of_ours() {
        let (_, rest) = issued()
            .split_once('.')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS384"}"#,
            r#"{"alg":"EdDSA"}"#,
        ] {
            use base64::Engine as _;
            let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
            let forged = format!("{header}.{rest}");
            assert_eq!(fault_of(&forged, NOW), TokenFault::Algorithm, "{forged}");
        }
    }
}
