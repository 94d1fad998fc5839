//! The secrets of one stack, made anew at every start.
//! Never written to disk by this crate and never shown by `Debug`.

use std::fmt;

use serde_json::Value;

use crate::error::{StackError, io_failed};

/// Keys and passwords of one stack.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Key of a browser.
    pub(crate) publishable: String,
    /// Key of a server.
    pub(crate) secret: String,
    /// Key that signs access tokens.
    pub(crate) jwt_secret: String,
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
            superuser_password: random_hex()?,
            authenticator_password: random_hex()?,
        })
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
