//! Viewers against the real database: what they may see, and when they no longer may.
//! The check at intervals is off in these worlds, so that only the feed can end a stream.

mod endings;
mod same_as_sql;
mod signing_keys;

use hidps_lab::world::World;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// Checks every five minutes: longer than any test waits.
const FEED_ALONE: [(&str, &str); 1] = [("HIDPS_ACCESS_RECHECK_SECS", "300")];

/// The claims in a token.
fn claims_of(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("three parts");
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    serde_json::from_slice(&json.expect("base64")).expect("JSON")
}

/// A token of this person and session, as Auth would sign it, valid for so many seconds.
fn sign(world: &World, user_id: &str, session_id: Option<&str>, seconds: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "sub": user_id, "role": "authenticated", "aud": "authenticated",
        "iat": now, "exp": now + seconds,
    });
    if let Some(session_id) = session_id {
        claims["session_id"] = json!(session_id);
    }
    let key = EncodingKey::from_secret(world.stack.jwt_secret().as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signed")
}

async fn run(world: &World, statements: &str) {
    let ran = world.stack.sql(statements).await;
    ran.unwrap_or_else(|error| panic!("{error:?}"));
}
