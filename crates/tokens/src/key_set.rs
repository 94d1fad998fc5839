//! The keys a project publishes (JWKS), each bound to the one algorithm it may verify.
//! It never takes a symmetric key from a public list, nor one that is not for signatures.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::fault::KeySetFault;

/// Longest list read, in bytes; a key has some 200, an RSA one 500.
pub const MAX_KEY_SET_BYTES: usize = 64 * 1024;

/// Most keys in a list: those in use, in standby and recently revoked are a handful.
pub const MAX_KEYS: usize = 32;

/// Longest name of a key, in bytes; Supabase's are UUIDs.
const MAX_KEY_ID: usize = 256;

/// A key and what it may be used for.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    id: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

/// The keys of a project, found by their names.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

#[derive(Deserialize)]
struct List {
    keys: Vec<serde_json::Value>,
}

/// A key as it is published; members of other kinds of keys are left aside.
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads a list. Keys of a kind that is not taken are left aside, as the standard has it.
    ///
    /// # Errors
    /// When the list itself cannot be read, so that nobody mistakes that for a project without keys.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetFault> {
        if json.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetFault::TooLong);
        }
        let list: List = serde_json::from_slice(json).map_err(KeySetFault::Malformed)?;
        if list.keys.len() > MAX_KEYS {
            return Err(KeySetFault::TooMany);
        }
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for value in list.keys {
            let published = serde_json::from_value::<Published>(value).ok();
            let Some(key) = published.and_then(verifying_key) else {
                continue;
            };
            // A second key of a name could only be there to take the place of the first.
            if keys.iter().all(|known| known.id != key.id) {
                keys.push(key);
            }
        }
        Ok(Self { keys })
    }

    /// The names of the keys, in the order of the list.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    pub(crate) fn find(&self, id: &str) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

/// The key in a form that verifies, or none where it is of no use here.
fn verifying_key(published: Published) -> Option<VerifyingKey> {
    if published
        .usage
        .as_deref()
        .is_some_and(|usage| usage != "sig")
    {
        return None;
    }
    let id = published
        .kid
        .filter(|id| !id.is_empty() && id.len() <= MAX_KEY_ID)?;
    let text = |value: &Option<String>| value.clone();
    let (algorithm, name, key) = match (published.kty.as_str(), published.crv.as_deref()) {
        ("EC", Some("P-256")) => {
            let key = DecodingKey::from_ec_components(&text(&published.x)?, &text(&published.y)?);
            (Algorithm::ES256, "ES256", key)
        }
        ("OKP", Some("Ed25519")) => {
            let key = DecodingKey::from_ed_components(&text(&published.x)?);
            (Algorithm::EdDSA, "EdDSA", key)
        }
        ("RSA", None) => {
            let key = DecodingKey::from_rsa_components(&text(&published.n)?, &text(&published.e)?);
            (Algorithm::RS256, "RS256", key)
        }
        _ => return None,
    };
    // A key that says it is for another algorithm is not for this one.
    if published.alg.is_some_and(|alg| alg != name) {
        return None;
    }
    Some(VerifyingKey {
        id,
        algorithm,
        key: key.ok()?,
    })
}
