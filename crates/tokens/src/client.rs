//! What a client says of itself when it asks for a token: OAuth's form for client credentials.
//! Nothing of it is believed here.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use uuid::Uuid;

use crate::fault::TokenFault;
use crate::signed::Signed;
use crate::verifier::Audience;

/// The only kind of assertion there is.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Longest secret, in bytes; ours have 83.
const MAX_SECRET: usize = 256;

/// Seconds for which an assertion may be good: it is made for one request.
const MAX_ASSERTION_SECS: i64 = 300;

/// Seconds by which a client's clock may be ahead of ours.
const CLOCK_LEEWAY: i64 = 5;

/// Longest name of an assertion, in bytes.
const MAX_ASSERTION_ID: usize = 64;

/// A request for a token.
#[derive(PartialEq, Eq)]
pub struct TokenRequest {
    /// The agent the client says it is.
    pub client: Uuid,
    /// How it says to prove that.
    pub proof: ClientProof,
}

/// How a client proves who it is.
#[derive(PartialEq, Eq)]
pub enum ClientProof {
    /// By a token that an admin made.
    Secret(String),
    /// By a JWT signed with the agent's own key.
    Assertion(String),
}

impl std::fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequest")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Why a request for a token cannot be read; no sentence holds a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestFault {
    /// A parameter comes twice, or two ways to prove oneself come at once.
    #[error("{0} is given twice; give it once")]
    Repeated(&'static str),
    /// A parameter is missing or not of its form.
    #[error("{0} is missing or malformed")]
    Parameter(&'static str),
    /// The grant is another one.
    #[error("grant_type must be client_credentials")]
    Grant,
    /// The client cannot be told from what was sent.
    #[error("client_id must be the agent's id, and client_secret or client_assertion its proof")]
    Client,
}

impl RequestFault {
    /// The word that OAuth has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Repeated(_) | Self::Parameter(_) => "invalid_request",
            Self::Grant => "unsupported_grant_type",
            Self::Client => "invalid_client",
        }
    }
}

/// The parameters we know; others are passed over, as OAuth wants it.
#[derive(Default)]
struct Form {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    assertion_type: Option<String>,
    assertion: Option<String>,
}

impl Form {
    fn parse(text: &[u8]) -> Result<Self, RequestFault> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(text) {
            let (slot, name) = match name.as_ref() {
                "grant_type" => (&mut form.grant_type, "grant_type"),
                "client_id" => (&mut form.client_id, "client_id"),
                "client_secret" => (&mut form.client_secret, "client_secret"),
                "client_assertion_type" => (&mut form.assertion_type, "client_assertion_type"),
                "client_assertion" => (&mut form.assertion, "client_assertion"),
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(RequestFault::Repeated(name));
            }
        }
        Ok(form)
    }

    /// Takes the client from the header in the place of the body.
    fn with_basic(mut self, header: &str) -> Result<Self, RequestFault> {
        const HEADER: RequestFault = RequestFault::Parameter("the Authorization header");
        let (scheme, coded) = header.split_once(' ').ok_or(HEADER)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(HEADER);
        }
        let pair = STANDARD.decode(coded.trim()).map_err(|_| HEADER)?;
        let pair = String::from_utf8(pair).map_err(|_| HEADER)?;
        let (id, secret) = pair.split_once(':').ok_or(HEADER)?;
        if self.client_secret.is_some() || self.assertion.is_some() {
            return Err(RequestFault::Repeated("the client's proof"));
        }
        if self.client_id.as_deref().is_some_and(|named| named != id) {
            return Err(RequestFault::Repeated("client_id"));
        }
        self.client_id = Some(id.to_owned());
        self.client_secret = Some(secret.to_owned());
        Ok(self)
    }
}

/// Reads the form of a request, and its `Authorization` header if it has one.
///
/// # Errors
/// With the first fault; the word of it is OAuth's.
pub fn parse_token_request(
    form: &[u8],
    authorization: Option<&str>,
) -> Result<TokenRequest, RequestFault> {
    let mut form = Form::parse(form)?;
    if let Some(header) = authorization {
        form = form.with_basic(header)?;
    }
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(RequestFault::Grant),
        None => return Err(RequestFault::Parameter("grant_type")),
    }
    let named = form.client_id.as_deref().map(Uuid::try_parse).transpose();
    let named = named.map_err(|_| RequestFault::Client)?;
    match (form.client_secret, form.assertion, form.assertion_type) {
        (Some(_), Some(_), _) => Err(RequestFault::Repeated("the client's proof")),
        (Some(secret), None, None) if !secret.is_empty() && secret.len() <= MAX_SECRET => {
            Ok(TokenRequest {
                client: named.ok_or(RequestFault::Client)?,
                proof: ClientProof::Secret(secret),
            })
        }
        (Some(_), None, _) => Err(RequestFault::Parameter("client_secret")),
        (None, Some(assertion), Some(kind)) if kind == JWT_BEARER => {
            let client = ClientAssertion::parse(&assertion).map_err(|_| RequestFault::Client)?;
            let client = client.agent;
            if named.is_some_and(|named| named != client) {
                return Err(RequestFault::Client);
            }
            Ok(TokenRequest {
                client,
                proof: ClientProof::Assertion(assertion),
            })
        }
        (None, Some(_), _) => Err(RequestFault::Parameter("client_assertion_type")),
        (None, None, _) => Err(RequestFault::Client),
    }
}

/// A JWT in which a client says who it is, before its signature was verified.
pub struct ClientAssertion<'a> {
    /// The agent it says it is.
    pub agent: Uuid,
    /// Its own name, by which it is known again.
    pub id: String,
    /// The second since 1970 at which it was made.
    pub issued_at: i64,
    /// The second since 1970 at which it ends.
    pub expires_at: i64,
    /// What the signature is over.
    pub message: &'a str,
    /// The Ed25519 signature.
    pub signature: [u8; 64],
    audience: Audience,
}

/// The claims as they are written.
#[derive(Deserialize)]
struct Asserted {
    iss: Uuid,
    sub: Uuid,
    aud: Audience,
    jti: String,
    iat: i64,
    exp: i64,
}

impl<'a> ClientAssertion<'a> {
    /// Takes it apart.
    ///
    /// # Errors
    /// When it is no assertion of an agent.
    pub fn parse(text: &'a str) -> Result<Self, TokenFault> {
        let signed = Signed::parse(text)?;
        if signed.header.alg != "EdDSA" {
            return Err(TokenFault::Algorithm);
        }
        let signature = URL_SAFE_NO_PAD.decode(signed.signature).ok();
        let signature = signature.and_then(|bytes| bytes.try_into().ok());
        let claims: Asserted = signed.claims()?;
        let is_named = (1..=MAX_ASSERTION_ID).contains(&claims.jti.len());
        if claims.iss != claims.sub || !is_named {
            return Err(TokenFault::Malformed);
        }
        Ok(Self {
            agent: claims.sub,
            id: claims.jti,
            issued_at: claims.iat,
            expires_at: claims.exp,
            message: signed.message,
            signature: signature.ok_or(TokenFault::Signature)?,
            audience: claims.aud,
        })
    }

    /// Whether it was made for this place, `host/path`, and for now.
    ///
    /// # Errors
    /// With the rule that it breaks.
    pub fn check(&self, place: &str, now: i64) -> Result<(), TokenFault> {
        let is_meant = ["https", "http"]
            .iter()
            .any(|scheme| self.audience.has(&format!("{scheme}://{place}")));
        if !is_meant {
            return Err(TokenFault::Audience);
        }
        if self.expires_at <= now {
            return Err(TokenFault::Expired);
        }
        let is_early = self.issued_at > now.saturating_add(CLOCK_LEEWAY);
        if is_early || self.expires_at > now.saturating_add(MAX_ASSERTION_SECS) {
            return Err(TokenFault::NotYet);
        }
        Ok(())
    }

    /// Whether it may have been used before that second, at which the memory of what was used began: a
    /// clock that is ahead writes a later time than it is.
    #[must_use]
    pub const fn may_be_older_than(&self, began: i64) -> bool {
        self.issued_at <= began.saturating_add(CLOCK_LEEWAY)
    }
}

#[cfg(test)]
mod tests;
