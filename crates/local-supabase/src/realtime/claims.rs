//! Who a token stands for, and why a token is refused.
//! Never accepts a token that it did not verify.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

/// A verified identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Database role.
    pub(crate) role: String,
    /// Second since 1970 at which the token ends; a key has no end.
    pub(crate) expires_at: Option<i64>,
    /// All claims, as row level security reads them.
    pub(crate) json: String,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenRefused {
    /// It is no JWT.
    Malformed,
    /// Somebody else signed it.
    Signature,
    /// It lacks `role` or `exp`.
    Incomplete,
    /// It ended this many seconds ago.
    Expired(i64),
}

impl TokenRefused {
    /// Gives the words Supabase uses.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Malformed => "MalformedJWT: The token provided is not a valid JWT".to_owned(),
            Self::Signature => "JwtSignatureError: Failed to validate JWT signature".to_owned(),
            Self::Incomplete => {
                "InvalidJWTToken: Fields `role` and `exp` are required in JWT".to_owned()
            }
            Self::Expired(seconds) => {
                format!("InvalidJWTToken: Token has expired {seconds} seconds ago")
            }
        }
    }
}

impl Claims {
    /// Takes the claims an opaque key stands for.
    pub(crate) fn of_key(claims: &Value) -> Option<Self> {
        let role = claims["role"].as_str()?.to_owned();
        Some(Self {
            role,
            expires_at: None,
            json: claims.to_string(),
        })
    }

    /// Verifies a token at a given second since 1970.
    pub(crate) fn verify(token: &str, jwt_secret: &str, now: i64) -> Result<Self, TokenRefused> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        rules.validate_aud = false;
        // Checked below, because the refusal has to say for how long.
        rules.validate_exp = false;
        let key = DecodingKey::from_secret(jwt_secret.as_bytes());
        let claims = jsonwebtoken::decode::<Value>(token, &key, &rules)
            .map_err(|error| refusal_of(&error))?
            .claims;
        let (Some(role), Some(expires_at)) = (claims["role"].as_str(), claims["exp"].as_i64())
        else {
            return Err(TokenRefused::Incomplete);
        };
        if expires_at <= now {
            return Err(TokenRefused::Expired(now - expires_at));
        }
        Ok(Self {
            role: role.to_owned(),
            expires_at: Some(expires_at),
            json: claims.to_string(),
        })
    }

    /// Tells whether row level security does not apply.
    pub(crate) fn is_service(&self) -> bool {
        self.role == "service_role"
    }
}

fn refusal_of(error: &jsonwebtoken::errors::Error) -> TokenRefused {
    let foreign = [ErrorKind::InvalidSignature, ErrorKind::InvalidAlgorithm];
    if foreign.contains(error.kind()) {
        TokenRefused::Signature
    } else {
        TokenRefused::Malformed
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    fn sign(claims: &Value, secret: &str) -> String {
        encode(
            &Header::default(),
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    }

    #[test]
    fn a_signed_token_gives_its_role_and_end() {
        let token = sign(
            &json!({"role": "authenticated", "exp": 200, "sub": "u"}),
            "secret",
        );

        let claims = Claims::verify(&token, "secret", 100).unwrap();

        assert_eq!(claims.role, "authenticated");
        assert_eq!(claims.expires_at, Some(200));
        assert!(claims.json.contains(r#""sub":"u""#));
    }

    #[test]
    fn every_fault_of_a_token_has_its_own_refusal() {
        let check = |token: &str, refused| {
            assert_eq!(
                Claims::verify(token, "secret", 100),
                Err(refused),
                "{token}"
            );
        };

        check("nonsense", TokenRefused::Malformed);
        check(
            &sign(&json!({"role": "anon", "exp": 200}), "other"),
            TokenRefused::Signature,
        );
        check(
            &sign(&json!({"role": "anon"}), "secret"),
            TokenRefused::Incomplete,
        );
        check(
            &sign(&json!({"exp": 200}), "secret"),
            TokenRefused::Incomplete,
        );
        check(
            &sign(&json!({"role": "anon", "exp": 93}), "secret"),
            TokenRefused::Expired(7),
        );
    }
}
