//! Every rule of a token broken once, with real keys of every kind that is taken.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Claims, KeySet, TokenFault, Verifier};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://ref.supabase.co/auth/v1";
const SECRET: &str = "a shared secret of more than 32 bytes";
const PERSON: Uuid = Uuid::from_u128(7);
const SESSION: Uuid = Uuid::from_u128(8);

/// A 2048-bit RSA key of nobody, made for this test with `openssl genpkey`.
const RSA_DER: &[u8] = include_bytes!("../tests/rsa2048.pkcs1.der");

/// A key pair and the public half as it is published.
struct Pair {
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

fn ec(kid: &str) -> Pair {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    Pair {
        algorithm: Algorithm::ES256,
        private: EncodingKey::from_ec_der(der.as_ref()),
        public: json!({
            "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
            "key_ops": ["verify"], "x": B64.encode(x), "y": B64.encode(y),
        }),
    }
}

fn ed(kid: &str) -> Pair {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
    Pair {
        algorithm: Algorithm::EdDSA,
        private: EncodingKey::from_ed_der(der.as_ref()),
        public: json!({
            "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": B64.encode(pair.public_key().as_ref()),
        }),
    }
}

fn rsa(kid: &str) -> Pair {
    let pair = ring::rsa::KeyPair::from_der(RSA_DER).unwrap();
    let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
    Pair {
        algorithm: Algorithm::RS256,
        private: EncodingKey::from_rsa_der(RSA_DER),
        public: json!({
            "kty": "RSA", "kid": kid, "alg": "RS256",
            "n": B64.encode(public.n), "e": B64.encode(public.e),
        }),
    }
}

impl Pair {
    fn sign(&self, kid: &str, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(kid.to_owned());
        encode(&header, claims, &self.private).unwrap()
    }
}

fn keys(pairs: &[&Pair]) -> KeySet {
    let list: Vec<&Value> = pairs.iter().map(|pair| &pair.public).collect();
    KeySet::parse(json!({ "keys": list }).to_string().as_bytes()).unwrap()
}

fn verifier() -> Verifier {
    Verifier::new(ISSUER, "authenticated", Some(SECRET))
}

fn claims() -> Value {
    json!({
        "sub": PERSON, "session_id": SESSION, "role": "authenticated", "aud": "authenticated",
        "iss": ISSUER, "iat": NOW - 10, "exp": NOW + 60, "email": "somebody@acme.test",
    })
}

/// The claims with one of them another, or none where it is null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    members.insert(name.to_owned(), value);
    members.retain(|_, value| !value.is_null());
    claims
}

fn sign_shared(claims: &Value, secret: &str) -> String {
    encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

const GOOD: Claims = Claims {
    user_id: PERSON,
    session_id: Some(SESSION),
    expires_at: NOW + 60,
};

#[test]
fn tokens_of_every_kind_of_key_say_who_signed_in() {
    let (ec, ed, rsa) = (ec("a"), ed("b"), rsa("c"));
    let keys = keys(&[&ec, &ed, &rsa]);

    for (pair, kid) in [(&ec, "a"), (&ed, "b"), (&rsa, "c")] {
        let found = verifier().verify(&pair.sign(kid, &claims()), &keys, NOW);
        assert_eq!(found, Ok(GOOD), "{:?}", pair.algorithm);
    }
    let shared = sign_shared(&claims(), SECRET);
    assert_eq!(
        verifier().verify(&shared, &KeySet::default(), NOW),
        Ok(GOOD)
    );
}

#[test]
fn every_broken_claim_has_its_own_refusal() {
    let pair = ec("a");
    let keys = keys(&[&pair]);
    let cases = [
        ("exp", json!(NOW), TokenFault::Expired),
        ("exp", json!("soon"), TokenFault::Malformed),
        ("exp", Value::Null, TokenFault::Malformed),
        ("nbf", json!(NOW + 11), TokenFault::NotYet),
        (
            "iss",
            json!("https://other.supabase.co/auth/v1"),
            TokenFault::Issuer,
        ),
        ("iss", Value::Null, TokenFault::Issuer),
        ("aud", json!("service"), TokenFault::Audience),
        ("aud", json!(["other", "service"]), TokenFault::Audience),
        ("aud", Value::Null, TokenFault::Audience),
        ("role", json!("service_role"), TokenFault::Role),
        ("role", json!("anon"), TokenFault::Role),
        ("role", Value::Null, TokenFault::Role),
        ("sub", json!("somebody"), TokenFault::Malformed),
        ("session_id", json!("none"), TokenFault::Malformed),
    ];
    for (name, value, fault) in cases {
        let token = pair.sign("a", &with(name, value.clone()));
        assert_eq!(
            verifier().verify(&token, &keys, NOW),
            Err(fault),
            "{name} {value}"
        );
    }
}

#[test]
fn what_varies_between_auth_servers_is_taken() {
    let pair = ec("a");
    let keys = keys(&[&pair]);
    for (name, value) in [
        ("aud", json!(["authenticated", "other"])),
        ("nbf", json!(NOW + 10)),
        ("iss", json!(format!("{ISSUER}/"))),
    ] {
        let token = pair.sign("a", &with(name, value.clone()));
        assert_eq!(
            verifier().verify(&token, &keys, NOW),
            Ok(GOOD),
            "{name} {value}"
        );
    }
    for session in [json!(""), Value::Null] {
        let token = pair.sign("a", &with("session_id", session));
        let found = verifier()
            .verify(&token, &keys, NOW)
            .expect("it names no session");
        assert_eq!(found.session_id, None);
    }
}

#[test]
fn a_token_without_issuer_is_taken_of_the_shared_secret_alone() {
    let token = sign_shared(&with("iss", Value::Null), SECRET);

    assert_eq!(verifier().verify(&token, &KeySet::default(), NOW), Ok(GOOD));
}

#[test]
fn signatures_of_other_keys_are_refused() {
    let (ours, theirs) = (ec("a"), ec("a"));
    let keys = keys(&[&ours]);
    let check = |token: &str, fault| {
        assert_eq!(verifier().verify(token, &keys, NOW), Err(fault), "{token}");
    };

    check(&theirs.sign("a", &claims()), TokenFault::Signature);
    check(&theirs.sign("b", &claims()), TokenFault::UnknownKey);
    check(
        &sign_shared(&claims(), "another secret of 32 bytes or more"),
        TokenFault::Signature,
    );
    let good = ours.sign("a", &claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    check(&format!("{message}."), TokenFault::Signature);
}

#[test]
fn no_algorithm_can_take_the_place_of_the_keys_own() {
    let (ec, rsa) = (ec("a"), rsa("c"));
    let keys = keys(&[&ec, &rsa]);
    let payload = B64.encode(claims().to_string());
    let forged = |header: Value, signature: &str| {
        format!("{}.{payload}.{signature}", B64.encode(header.to_string()))
    };
    let check = |token: &str, fault| {
        assert_eq!(verifier().verify(token, &keys, NOW), Err(fault), "{token}");
    };

    for alg in [
        "none", "None", "NONE", "", "HS384", "HS512", "ES384", "PS256",
    ] {
        check(
            &forged(json!({"alg": alg, "kid": "a"}), ""),
            TokenFault::Algorithm,
        );
    }
    check(
        &forged(json!({"alg": "RS256", "kid": "a"}), "c2ln"),
        TokenFault::Algorithm,
    );
    check(
        &forged(json!({"alg": "ES256", "kid": "c"}), "c2ln"),
        TokenFault::Algorithm,
    );
    // The classic: a public key used as the secret of an HMAC.
    let public = rsa.public["n"].as_str().unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("c".to_owned());
    let key = EncodingKey::from_secret(&B64.decode(public).unwrap());
    check(
        &encode(&header, &claims(), &key).unwrap(),
        TokenFault::Signature,
    );
}

#[test]
fn a_daemon_without_the_secret_refuses_what_is_signed_with_one() {
    let verifier = Verifier::new(ISSUER, "authenticated", None);

    let found = verifier.verify(&sign_shared(&claims(), ""), &KeySet::default(), NOW);

    assert_eq!(found, Err(TokenFault::NoSecret));
}

#[test]
fn what_is_no_token_is_refused_without_a_look_at_keys() {
    let json = |value: Value| B64.encode(value.to_string());
    let critical = json(json!({"alg": "ES256", "kid": "a", "crit": ["exp"]}));
    let unencoded = json(json!({"alg": "ES256", "kid": "a", "b64": false}));
    for token in [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "..",
        "sb_secret_x",
        "e30.e30.e30",
    ] {
        let found = verifier().verify(token, &KeySet::default(), NOW);
        assert_eq!(found, Err(TokenFault::Malformed), "{token}");
    }
    for header in [critical, unencoded] {
        let found = verifier().verify(&format!("{header}.e30.c2ln"), &KeySet::default(), NOW);
        assert_eq!(found, Err(TokenFault::Malformed));
    }
    let long = "a".repeat(crate::MAX_TOKEN_BYTES + 1);
    assert_eq!(
        verifier().verify(&long, &KeySet::default(), NOW),
        Err(TokenFault::TooLong)
    );
}

#[test]
fn keys_of_no_use_are_left_aside_and_the_others_taken() {
    let good = ec("good");
    let mut encrypting = ec("encrypting").public;
    encrypting["use"] = json!("enc");
    let mut mislabelled = ec("mislabelled").public;
    mislabelled["alg"] = json!("HS256");
    let mut second = ec("good").public;
    second["extra"] = json!(1);
    let list = json!({ "keys": [
        {"kty": "oct", "kid": "shared", "k": B64.encode("secret"), "alg": "HS256"},
        {"kty": "EC", "crv": "secp256k1", "kid": "odd", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "kid": "half", "x": "AA"},
        {"kty": "RSA", "kid": "", "n": "AA", "e": "AQAB"},
        7, null, "key", encrypting, mislabelled, good.public, second,
    ]});

    let keys = KeySet::parse(list.to_string().as_bytes()).expect("the list is one");

    assert_eq!(keys.key_ids().collect::<Vec<_>>(), ["good"]);
    assert_eq!(
        verifier().verify(&good.sign("good", &claims()), &keys, NOW),
        Ok(GOOD)
    );
}

#[test]
fn a_list_that_is_none_is_an_error_and_not_a_project_without_keys() {
    let many = json!({"keys": vec![json!({"kty": "EC"}); crate::MAX_KEYS + 1]}).to_string();
    let long = format!("{{\"keys\":[{}]}}", " ".repeat(crate::MAX_KEY_SET_BYTES));
    for text in ["", "[]", "{}", "<html>", "{\"keys\":{}}", &many, &long] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text:.20}");
    }
    assert!(KeySet::parse(b"{\"keys\":[]}").is_ok());
}

proptest! {
    #[test]
    fn a_token_of_which_one_byte_was_changed_is_never_taken(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9._-]") {
        let token = sign_shared(&claims(), SECRET);
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != token);

        prop_assert!(verifier().verify(&changed, &KeySet::default(), NOW).is_err());
    }

    #[test]
    fn nothing_that_is_sent_panics(token in ".{0,200}", list in ".{0,200}") {
        prop_assert!(verifier().verify(&token, &KeySet::default(), NOW).is_err());
        drop(KeySet::parse(list.as_bytes()));
    }
}
