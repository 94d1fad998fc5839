//! Why a token or a list of keys is refused, in sentences for whoever sent or runs it.
//! No sentence holds a part of a token.

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenFault {
    /// It is longer than any access token.
    #[error("the token is too long to be an access token")]
    TooLong,
    /// It is no JWT, or its header or claims cannot be read.
    #[error("this is no Supabase access token; send the access_token of the signed-in session")]
    Malformed,
    /// Its algorithm is none of those taken, or not that of the key it names.
    #[error("the token is signed with an algorithm that is not taken")]
    Algorithm,
    /// It is signed with a shared secret, and the daemon has none.
    #[error(
        "the token is signed with the project's shared secret, which this daemon does not have; \
         its operator has to set SUPABASE_JWT_SECRET or move the project to signing keys"
    )]
    NoSecret,
    /// No key of that name is known.
    #[error("the token is signed with a key that the project does not publish; sign in again")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature is not that of the project; sign in again")]
    Signature,
    /// It ended.
    #[error("the token has expired; refresh the session and send the new one")]
    Expired,
    /// It has not begun.
    #[error("the token is not valid yet; the clocks of the project and the daemon differ")]
    NotYet,
    /// Somebody else issued it.
    #[error("the token was issued by another project")]
    Issuer,
    /// It is meant for somebody else.
    #[error("the token is meant for another audience")]
    Audience,
    /// It is no person's.
    #[error("the token is not a person's; sign in and send the access_token of that session")]
    Role,
}

impl TokenFault {
    /// One word, for a metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::NoSecret => "no_secret",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Role => "role",
        }
    }
}

/// Why a list of keys is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum KeySetFault {
    /// It is larger than any real one.
    #[error("the list of signing keys has more than {max} bytes", max = crate::MAX_KEY_SET_BYTES)]
    TooLong,
    /// It is no JSON of the form `{"keys": [...]}`.
    #[error("the list of signing keys cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// It names more keys than any real one.
    #[error("the list of signing keys has more than {max} keys", max = crate::MAX_KEYS)]
    TooMany,
}
