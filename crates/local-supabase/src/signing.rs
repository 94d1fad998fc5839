//! The keys with which a project signs access tokens once it has turned away from its shared secret.
//! Never makes a claim: what Auth signed with the secret is signed again, and what a client brings is turned back.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::{StackError, io_failed};

/// The keys of one stack; the newest signs, all of them verify. None of them means the shared secret.
#[derive(Clone, Default)]
pub(crate) struct SigningKeys(Arc<RwLock<Vec<SigningKey>>>);

/// One key on the curve P-256.
struct SigningKey {
    id: String,
    signs: EncodingKey,
    verifies: DecodingKey,
    published: Value,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.read();
        f.debug_list()
            .entries(ids.iter().map(|key| &key.id))
            .finish()
    }
}

impl SigningKey {
    fn generate() -> Result<Self, StackError> {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let der = der.map_err(|error| not_made(&error))?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random);
        let pair = pair.map_err(|error| not_made(&error))?;
        // The first byte says that the point is written in full; its halves follow.
        let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let verifies = DecodingKey::from_ec_components(&x, &y);
        let verifies = verifies.map_err(|error| not_made(&error))?;
        let id = Uuid::new_v4().to_string();
        Ok(Self {
            signs: EncodingKey::from_ec_der(der.as_ref()),
            verifies,
            published: json!({
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "key_ops": ["verify"],
                "kid": id, "x": x, "y": y,
            }),
            id,
        })
    }
}

impl SigningKeys {
    /// Makes a key that signs from now on and gives its name; those before it go on verifying.
    pub(crate) fn rotate(&self) -> Result<String, StackError> {
        let key = SigningKey::generate()?;
        let id = key.id.clone();
        self.write().push(key);
        Ok(id)
    }

    /// Forgets a key: what it signed is worth nothing any more.
    pub(crate) fn revoke(&self, id: &str) {
        self.write().retain(|key| key.id != id);
    }

    /// Gives the list a project publishes, or none while the shared secret signs.
    pub(crate) fn published(&self) -> Option<Value> {
        let keys = self.read();
        if keys.is_empty() {
            return None;
        }
        let list: Vec<&Value> = keys.iter().map(|key| &key.published).collect();
        Some(json!({ "keys": list }))
    }

    /// Signs again, in an issuer's name, what the shared secret signed; gives anything else back as it is.
    pub(crate) fn sign(&self, token: &str, secret: &str, issuer: &str) -> String {
        let keys = self.read();
        let signed = keys.last().and_then(|key| {
            let secret = DecodingKey::from_secret(secret.as_bytes());
            let mut claims = verified(token, &secret, Algorithm::HS256)?;
            claims["iss"] = json!(issuer);
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some(key.id.clone());
            encode(&header, &claims, &key.signs).ok()
        });
        signed.unwrap_or_else(|| token.to_owned())
    }

    /// Turns a token of one of these keys into one of the shared secret, for parts that know no other; gives
    /// anything else back as it is, so that whoever gets it refuses it.
    pub(crate) fn turn_back(&self, token: &str, secret: &str) -> String {
        let turned = jsonwebtoken::decode_header(token).ok().and_then(|header| {
            let keys = self.read();
            let key = keys
                .iter()
                .find(|key| Some(&key.id) == header.kid.as_ref())?;
            let claims = verified(token, &key.verifies, Algorithm::ES256)?;
            let secret = EncodingKey::from_secret(secret.as_bytes());
            encode(&Header::new(Algorithm::HS256), &claims, &secret).ok()
        });
        turned.unwrap_or_else(|| token.to_owned())
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<SigningKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<SigningKey>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_made(error: &dyn fmt::Display) -> StackError {
    io_failed("make a signing key")(std::io::Error::other(error.to_string()))
}

/// The claims of a token with a good signature; whoever uses them looks at the time.
fn verified(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Value> {
    let mut rules = Validation::new(algorithm);
    rules.required_spec_claims.clear();
    rules.validate_aud = false;
    rules.validate_exp = false;
    Some(decode::<Value>(token, key, &rules).ok()?.claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a shared secret";

    fn shared(claims: &Value) -> String {
        let secret = EncodingKey::from_secret(SECRET.as_bytes());
        encode(&Header::default(), claims, &secret).unwrap()
    }

    #[test]
    fn without_a_key_nothing_is_published_and_tokens_stay_as_they_are() {
        let keys = SigningKeys::default();
        let token = shared(&json!({"sub": "u"}));

        assert_eq!(keys.published(), None);
        assert_eq!(keys.sign(&token, SECRET, "i"), token);
        assert_eq!(keys.turn_back(&token, SECRET), token);
    }

    #[test]
    fn a_token_keeps_its_claims_there_and_back_also_after_the_next_key() {
        let keys = SigningKeys::default();
        let first = keys.rotate().unwrap();
        let token = keys.sign(&shared(&json!({"sub": "u", "exp": 1})), SECRET, "i");
        keys.rotate().unwrap();

        let header = jsonwebtoken::decode_header(&token).unwrap();
        let back = keys.turn_back(&token, SECRET);

        assert_eq!(header.kid, Some(first));
        let secret = DecodingKey::from_secret(SECRET.as_bytes());
        let claims = verified(&back, &secret, Algorithm::HS256).unwrap();
        assert_eq!(claims, json!({"sub": "u", "exp": 1, "iss": "i"}));
        assert_eq!(
            keys.published().unwrap()["keys"].as_array().unwrap().len(),
            2
        );
    }

    #[test]
    fn what_no_key_or_a_revoked_one_signed_is_not_turned_back() {
        let (keys, others) = (SigningKeys::default(), SigningKeys::default());
        let id = keys.rotate().unwrap();
        others.rotate().unwrap();
        let plain = shared(&json!({"sub": "u"}));
        let (own, foreign) = (
            keys.sign(&plain, SECRET, "i"),
            others.sign(&plain, SECRET, "i"),
        );

        assert_eq!(keys.turn_back(&foreign, SECRET), foreign);
        keys.revoke(&id);
        assert_eq!(keys.turn_back(&own, SECRET), own);
    }
}
