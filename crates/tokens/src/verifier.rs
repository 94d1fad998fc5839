//! The rules a token has to meet: its key's algorithm, signature, issuer, audience, time and role.
//! The time is an argument, and rights are nobody's business here.

use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use uuid::Uuid;

use crate::fault::TokenFault;
use crate::key_set::KeySet;
use crate::signed::Signed;

/// Role of a signed-in person; keys of servers and browsers have others.
const PERSON: &str = "authenticated";

/// Seconds that the project's clock may be ahead of ours. The end of a token has no leeway: a person's
/// program renews it long before.
const LEEWAY: i64 = 10;

/// What a verified token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The person.
    pub user_id: Uuid,
    /// The session the person signed in with, where the token names one.
    pub session_id: Option<Uuid>,
    /// The second since 1970 at which the token ends.
    pub expires_at: i64,
}

/// The claims as they are written.
#[derive(Deserialize)]
struct Written {
    sub: String,
    role: Option<String>,
    exp: i64,
    nbf: Option<i64>,
    iss: Option<String>,
    aud: Option<Audience>,
    session_id: Option<String>,
}

/// For whom a token is.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Whether somebody is among them.
    pub(crate) fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

/// What is expected of every token.
pub struct Verifier {
    issuer: String,
    audience: String,
    secret: Option<DecodingKey>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("has_secret", &self.secret.is_some())
            .finish()
    }
}

impl Verifier {
    /// Rules for tokens of this issuer and audience; `secret` signs those of legacy projects.
    #[must_use]
    pub fn new(issuer: &str, audience: &str, secret: Option<&str>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            secret: secret.map(|secret| DecodingKey::from_secret(secret.as_bytes())),
        }
    }

    /// What the token says, if it is a valid one of a person at this second since 1970.
    ///
    /// # Errors
    /// With the first rule that the token breaks; [`TokenFault::UnknownKey`] may pass when the
    /// project's keys are read again.
    pub fn verify(&self, token: &str, keys: &KeySet, now: i64) -> Result<Claims, TokenFault> {
        let token = Signed::parse(token)?;
        // The algorithm is that of the key; what the token says about it must only not differ.
        let (algorithm, key) = match token.header.alg.as_str() {
            "HS256" => (
                Algorithm::HS256,
                self.secret.as_ref().ok_or(TokenFault::NoSecret)?,
            ),
            "ES256" | "RS256" | "EdDSA" => {
                let id = token.header.kid.as_deref().ok_or(TokenFault::UnknownKey)?;
                let known = keys.find(id).ok_or(TokenFault::UnknownKey)?;
                (known.algorithm, &known.key)
            }
            _ => return Err(TokenFault::Algorithm),
        };
        if token.header.alg != name_of(algorithm) {
            return Err(TokenFault::Algorithm);
        }
        let verified = crypto::verify(token.signature, token.message.as_bytes(), key, algorithm);
        if !verified.map_err(|_| TokenFault::Signature)? {
            return Err(TokenFault::Signature);
        }
        self.check(&token.claims()?, algorithm, now)
    }

    fn check(
        &self,
        claims: &Written,
        algorithm: Algorithm,
        now: i64,
    ) -> Result<Claims, TokenFault> {
        if claims.role.as_deref() != Some(PERSON) {
            return Err(TokenFault::Role);
        }
        let has_audience = claims.aud.as_ref();
        if !has_audience.is_some_and(|audience| audience.has(&self.audience)) {
            return Err(TokenFault::Audience);
        }
        match claims.iss.as_deref() {
            Some(issuer) if issuer.trim_end_matches('/') == self.issuer => {}
            // Older Auth servers name nobody; the secret is known to one project alone.
            None if algorithm == Algorithm::HS256 => {}
            Some(_) | None => return Err(TokenFault::Issuer),
        }
        if claims
            .nbf
            .is_some_and(|from| from > now.saturating_add(LEEWAY))
        {
            return Err(TokenFault::NotYet);
        }
        if claims.exp <= now {
            return Err(TokenFault::Expired);
        }
        let id = |text: &str| Uuid::try_parse(text).map_err(|_| TokenFault::Malformed);
        let session = claims.session_id.as_deref().filter(|text| !text.is_empty());
        Ok(Claims {
            user_id: id(&claims.sub)?,
            session_id: session.map(id).transpose()?,
            expires_at: claims.exp,
        })
    }
}

const fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        Algorithm::EdDSA => "EdDSA",
        Algorithm::HS384
        | Algorithm::HS512
        | Algorithm::ES384
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => "",
    }
}
