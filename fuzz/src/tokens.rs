//! What is sent as an access token, and what is published as keys.
//! Neither may ever be taken here: nobody has signed it.

use hidps_tokens::{
    AgentTokens, ClientAssertion, ClientProof, KeySet, MAX_KEYS, Verifier, parse_token_request,
};

/// Longest time that an agent's assertion may be good for.
const LONGEST_SECS: i64 = 300;

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

/// The form in which an agent asks for a token, and after the first NUL its `Authorization` header;
/// neither is taken for a token of ours.
pub fn token_request(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let form = parts.next().unwrap_or_default();
    let header = parts
        .next()
        .and_then(|header| std::str::from_utf8(header).ok());
    if let Ok(request) = parse_token_request(form, header)
        && let ClientProof::Assertion(text) = &request.proof
    {
        let assertion = ClientAssertion::parse(text).expect("it was read once");
        assert_eq!(assertion.agent, request.client, "it names its own client");
        // Of all audiences this one is in the corpus; the end is then what decides.
        let end = assertion.expires_at;
        assert!(assertion.check("nowhere", end).is_err(), "it is over");
        if let Some(long_before) = end.checked_sub(LONGEST_SECS + 1) {
            let early = assertion.check("nowhere", long_before);
            assert!(early.is_err(), "none is good for longer");
        }
    }
    if let Ok(text) = std::str::from_utf8(form) {
        let tokens = AgentTokens::new(&[7; 32]);
        assert!(tokens.verify(text, NOW).is_err(), "nobody signed it");
    }
}
