//! The form of a request for a token, with each of its parameters missing, doubled and malformed.

use serde_json::{Value, json};

use super::*;

const ID: &str = "0190a000-0000-7000-8000-000000000001";
const NOW: i64 = 1_800_000_000;
const PLACE: &str = "hidps.example:8443/v1/agent/token";

fn read(form: &str) -> Result<TokenRequest, RequestFault> {
    parse_token_request(form.as_bytes(), None)
}

fn fault_of(form: &str) -> &'static str {
    read(form).unwrap_err().word()
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// An assertion with some claims replaced, signed by nobody.
fn assertion(replaced: &Value) -> String {
    let mut claims = json!({
        "iss": ID, "sub": ID, "aud": format!("https://{PLACE}"), "jti": "one", "iat": NOW,
        "exp": NOW + 60,
    });
    for (name, value) in replaced.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let coded = |text: String| URL_SAFE_NO_PAD.encode(text);
    let (header, claims) = (
        coded(r#"{"alg":"EdDSA"}"#.into()),
        coded(claims.to_string()),
    );
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([1; 64]))
}

fn form_with(assertion: &str) -> String {
    format!(
        "grant_type=client_credentials&client_assertion_type={}&client_assertion={assertion}",
        JWT_BEARER.replace(':', "%3A")
    )
}

#[test]
fn a_secret_is_taken_from_the_form_or_from_the_header() {
    let expected = TokenRequest {
        client: ID.parse().unwrap(),
        proof: ClientProof::Secret("hidps_a_b".into()),
    };
    let in_form = format!("grant_type=client_credentials&client_id={ID}&client_secret=hidps_a_b");
    let with_more = format!("{in_form}&scope=events&resource=x");
    let header = basic(&format!("{ID}:hidps_a_b"));
    let in_header = parse_token_request(b"grant_type=client_credentials", Some(&header));

    assert!(read(&in_form) == Ok(expected));
    assert!(read(&with_more) == read(&in_form));
    assert!(in_header == read(&in_form));
    let shown = format!("{:?}", read(&in_form).unwrap());
    assert!(!shown.contains("hidps_a_b"), "{shown}");
}

#[test]
fn every_fault_has_the_word_that_oauth_has_for_it() {
    let whole = format!("grant_type=client_credentials&client_id={ID}&client_secret=x");
    for (form, word) in [
        (String::new(), "invalid_request"),
        ("\u{0}=%ff%zz&&&=".to_owned(), "invalid_request"),
        (
            whole.replace("client_credentials", "password"),
            "unsupported_grant_type",
        ),
        (whole.replace(ID, "agent_unknown"), "invalid_client"),
        (whole.replace("&client_secret=x", ""), "invalid_client"),
        (
            whole.replace("client_secret=x", "client_secret="),
            "invalid_request",
        ),
        (
            whole.replace("=x", &format!("={}", "x".repeat(257))),
            "invalid_request",
        ),
        (format!("{whole}&client_secret=y"), "invalid_request"),
        (
            format!("{whole}&grant_type=client_credentials"),
            "invalid_request",
        ),
        (format!("{whole}&client_assertion=y"), "invalid_request"),
        (
            format!("grant_type=client_credentials&client_id={ID}"),
            "invalid_client",
        ),
    ] {
        assert_eq!(fault_of(&form), word, "{form}");
    }
}

#[test]
fn a_header_that_is_not_basic_or_says_another_thing_than_the_form_is_refused() {
    let grant = "grant_type=client_credentials";
    let ours = basic(&format!("{ID}:x"));
    for (form, header) in [
        (grant.to_owned(), "Bearer x".to_owned()),
        (grant.to_owned(), "Basic".to_owned()),
        (grant.to_owned(), "Basic !!!".to_owned()),
        (grant.to_owned(), basic("no colon")),
        (format!("{grant}&client_secret=y"), ours.clone()),
        (format!("{grant}&client_id=another"), ours),
    ] {
        let fault = parse_token_request(form.as_bytes(), Some(&header)).unwrap_err();
        assert_eq!(fault.word(), "invalid_request", "{form} {header}");
    }
}

#[test]
fn an_assertion_names_its_client_and_no_other() {
    let text = assertion(&json!({}));
    let request = read(&form_with(&text)).unwrap();
    assert_eq!(request.client, ID.parse::<Uuid>().unwrap());
    assert!(request.proof == ClientProof::Assertion(text.clone()));

    let other = format!("{}&client_id={}", form_with(&text), Uuid::nil());
    assert_eq!(fault_of(&other), "invalid_client");
    assert_eq!(
        fault_of(&form_with(&assertion(&json!({"iss": Uuid::nil()})))),
        "invalid_client"
    );
    let untyped = form_with(&text).replace("jwt-bearer", "saml2-bearer");
    assert_eq!(fault_of(&untyped), "invalid_request");
}

#[test]
fn an_assertion_is_for_one_place_and_a_short_time() {
    let check = |replaced: Value| {
        let text = assertion(&replaced);
        ClientAssertion::parse(&text).and_then(|parsed| parsed.check(PLACE, NOW))
    };
    let plain = format!("http://{PLACE}");

    assert_eq!(check(json!({})), Ok(()));
    assert_eq!(check(json!({"aud": ["other", plain]})), Ok(()));
    assert_eq!(
        check(json!({"aud": "https://evil.test/v1/agent/token"})),
        Err(TokenFault::Audience)
    );
    assert_eq!(check(json!({"exp": NOW})), Err(TokenFault::Expired));
    assert_eq!(check(json!({"exp": NOW + 301})), Err(TokenFault::NotYet));
    assert_eq!(check(json!({"exp": i64::MAX})), Err(TokenFault::NotYet));
    assert_eq!(check(json!({"iat": NOW - 200})), Ok(()));
    assert_eq!(check(json!({"iat": NOW + 5})), Ok(()));
    assert_eq!(check(json!({"iat": NOW + 6})), Err(TokenFault::NotYet));
    assert_eq!(check(json!({"iat": null})), Err(TokenFault::Malformed));
    assert_eq!(check(json!({"jti": ""})), Err(TokenFault::Malformed));
    assert_eq!(
        check(json!({"jti": "x".repeat(65)})),
        Err(TokenFault::Malformed)
    );
    assert_eq!(check(json!({"exp": "soon"})), Err(TokenFault::Malformed));
}

#[test]
fn an_assertion_that_may_be_older_than_the_memory_of_what_was_used_says_so() {
    let began = NOW - 100;
    let is_older = |issued: i64| {
        let text = assertion(&json!({ "iat": issued }));
        let parsed = ClientAssertion::parse(&text).unwrap();
        parsed.may_be_older_than(began)
    };

    assert!(is_older(began - 60));
    // Made before, by a clock that is ahead.
    assert!(is_older(began + 5));
    assert!(!is_older(began + 6));
    assert!(is_older(i64::MIN));
}
