//! Values that open doors: API keys and access tokens.
//! Never prints one: `Debug` shows stars and there is no `Display`.

use std::fmt;

/// A key or token that does not show itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a raw key or token.
    pub fn new(raw: impl Into<String>) -> Self {
        Self(raw.into())
    }

    /// Gives the raw value, for the one line that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells whether this is one of Supabase's opaque keys, which its gateway turns into a JWT.
    pub(crate) fn is_opaque_key(&self) -> bool {
        self.0.starts_with("sb_")
    }
}

impl From<String> for Secret {
    fn from(raw: String) -> Self {
        Self(raw)
    }
}

impl From<&str> for Secret {
    fn from(raw: &str) -> Self {
        Self(raw.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
