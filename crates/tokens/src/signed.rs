//! A token taken apart: header, what is signed, and signature.
//! Nothing of it is believed here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::TokenFault;

/// Longest token taken, in bytes: it has to fit a header of an HTTP request.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// What the header says; it is only used to find the key, whose own algorithm then counts.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    crit: Option<Box<RawValue>>,
    b64: Option<Box<RawValue>>,
}

/// A token before anything of it was verified.
pub(crate) struct Signed<'a> {
    pub(crate) header: Header,
    /// The bytes the signature is over.
    pub(crate) message: &'a str,
    pub(crate) signature: &'a str,
    payload: &'a str,
}

impl<'a> Signed<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenFault::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        if payload.contains('.') {
            return Err(TokenFault::Malformed);
        }
        let header: Header = read(header)?;
        // Extensions that must be understood and are not change what the signature means.
        if header.crit.is_some() || header.b64.is_some() {
            return Err(TokenFault::Malformed);
        }
        Ok(Self {
            header,
            message,
            signature,
            payload,
        })
    }

    /// The claims; to be read only once the signature was found good.
    pub(crate) fn claims<T: for<'de> Deserialize<'de>>(&self) -> Result<T, TokenFault> {
        read(self.payload)
    }
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenFault> {
    let json = URL_SAFE_NO_PAD.decode(part);
    let json = json.map_err(|_| TokenFault::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenFault::Malformed)
}
