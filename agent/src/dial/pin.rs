//! A pin: the SHA-256 of the public key of a certificate, as curl and HPKP write it.
//! It says nothing about whether a certificate is trusted.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use sha2::{Digest as _, Sha256};

/// What every pin begins with.
const PREFIX: &str = "sha256//";

/// The hash of a public key, algorithm included (SPKI).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin([u8; 32]);

/// Why a text is no pin.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("is not sha256// and 32 bytes in base64, as curl --pinnedpubkey takes it")]
pub struct PinError;

impl Pin {
    /// The pin of a public key.
    #[must_use]
    pub fn of(key: &SubjectPublicKeyInfoDer<'_>) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(PinError)?;
        let bytes = BASE64.decode(encoded).map_err(|_| PinError)?;
        bytes.try_into().map(Self).map_err(|_| PinError)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let text = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

        let pin: Pin = text.parse().unwrap();

        assert_eq!(pin.to_string(), text);
        assert_eq!(pin, Pin::of(&SubjectPublicKeyInfoDer::from(&b""[..])));
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in [
            "",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256//47DEQpj8HBSa",
            "sha256//not base64",
            "sha1//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ] {
            assert_eq!(text.parse::<Pin>(), Err(PinError), "{text:?}");
        }
    }
}
