//! The secrets of one stack, made anew at every start.
//! Never written to disk by this crate and never shown by `Debug`.

use std::fmt;

use serde_json::Value;

use crate::error::{StackError, io_failed};
use crate::signing::SigningKeys;

/// Keys and passwords of one stack.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Key of a browser.
    pub(crate) publishable: String,
    /// Key of a server.
    pub(crate) secret: String,
    /// Key that signs access tokens inside, and outside as long as there are no others.
    pub(crate) jwt_secret: String,
    /// Keys that sign them outside.
    pub(crate) signing: SigningKeys,
    /// Password of the database's superuser.
    pub(crate) superuser_password: String,
    /// Password of the role REST and Auth log in as.
    pub(crate) authenticator_password: String,
}

impl Keys {
    /// Draws new keys.
    pub(crate) fn generate() -> Result<Self, StackError> {
        Ok(Self {
            publishable: format!("sb_publishable_{}", random_hex()?),
            secret: format!("sb_secret_{}", random_hex()?),
            jwt_secret: random_hex()?,
            signing: SigningKeys::default(),
            superuser_password: random_hex()?,
            authenticator_password: random_hex()?,
        })
    }

    /// Gives a token as a client gets it, from one that the shared secret signed.
    pub(crate) fn outside(&self, token: &str, issuer: &str) -> String {
        self.signing.sign(token, &self.jwt_secret, issuer)
    }

    /// Gives a token that a client brings as the parts of the stack know it.
    pub(crate) fn inside(&self, token: &str) -> String {
        self.signing.turn_back(token, &self.jwt_secret)
    }

    /// Gives the claims an opaque key stands for.
    pub(crate) fn claims_of_key(&self, key: &str) -> Option<Value> {
        let role = match key {
            key if key == self.publishable => "anon",
            key if key == self.secret => "service_role",
            _ => return None,
        };
        Some(serde_json::json!({ "role": role }))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

/// Draws 256 random bits.
fn random_hex() -> Result<String, StackError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| io_failed("draw random bits")(std::io::Error::other(error)))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
