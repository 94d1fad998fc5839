//! What is sent as an access token, and what is published as keys.
//! Neither may ever be taken here: nobody has signed it.

use hidps_tokens::{KeySet, MAX_KEYS, Verifier};

/// A second long before any token of a corpus expires.
const NOW: i64 = 0;

/// A list of keys, and after the first NUL a token.
pub fn access_token(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let list = parts.next().unwrap_or_default();
    let keys = KeySet::parse(list).unwrap_or_default();
    assert!(keys.key_ids().count() <= MAX_KEYS);
    let Ok(token) = std::str::from_utf8(parts.next().unwrap_or(list)) else {
        return;
    };
    let verifier = Verifier::new("https://ref.supabase.co/auth/v1", "authenticated", None);
    assert!(
        verifier.verify(token, &keys, NOW).is_err(),
        "nobody signed it"
    );
    let shared = "a secret that no corpus was signed with";
    let verifier = Verifier::new(
        "https://ref.supabase.co/auth/v1",
        "authenticated",
        Some(shared),
    );
    assert!(
        verifier.verify(token, &keys, NOW).is_err(),
        "nobody signed it"
    );
}
