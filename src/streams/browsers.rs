//! What is asked of browsers: pages of listed origins alone, and no secret in an address.
//! It never looks at a token.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::streams::routes::refuse;

/// Names under which people put secrets into an address.
const SECRET_NAMES: [&str; 10] = [
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "apikey",
    "api_key",
    "jwt",
    "authorization",
    "bearer",
    "x-api-key",
];

/// How the secrets of a project and of ours begin.
const SECRET_BEGINNINGS: [&str; 4] = ["eyJ", "sb_secret_", "hidps_", "Bearer"];

/// What is said of a secret in an address; it is in logs of whatever is between by now.
const SECRET_IN_ADDRESS: &str = "this address carries a secret, and addresses end up in logs: sign out or revoke it, and \
     send a token as `Authorization: Bearer <token>`, as the subprotocol `bearer.<token>` or in \
     the first frame";

/// The origins whose pages may use the daemon, as `HIDPS_ALLOWED_ORIGINS` lists them.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Exactly these.
    #[must_use]
    pub fn new(listed: &[String]) -> Self {
        Self(listed.to_vec())
    }

    /// Whether a socket may be opened: no browser, or a page of a listed origin. A browser always
    /// says whose page it is; programs do not, and have no cookies or tokens of others at hand.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => self.has(origin),
            (Some(_), Some(_)) => false,
        }
    }

    /// Lets pages of these origins read answers; without cookies, because there are none.
    pub(super) fn cors(&self) -> CorsLayer {
        let origins = self.clone();
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, _| origins.has(origin)))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
    }

    fn has(&self, origin: &HeaderValue) -> bool {
        self.0
            .iter()
            .any(|listed| listed.as_bytes() == origin.as_bytes())
    }
}

/// Refuses a request whose address carries a secret, whatever it is for.
pub(super) async fn without_secrets(request: Request, next: Next) -> Response {
    if request.uri().query().is_some_and(carries_secret) {
        return refuse(StatusCode::BAD_REQUEST, SECRET_IN_ADDRESS);
    }
    next.run(request).await
}

fn carries_secret(query: &str) -> bool {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.any(|(name, value)| {
        let is_named = SECRET_NAMES
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret));
        let begins = |text: &str| {
            SECRET_BEGINNINGS
                .iter()
                .any(|begin| text.starts_with(begin))
        };
        is_named || begins(value.trim_start()) || begins(name.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_admitted(origins: &[&str]) -> bool {
        let listed = [
            "https://console.acme.test".to_owned(),
            "http://localhost:5173".to_owned(),
        ];
        let headers = origins
            .iter()
            .map(|origin| (header::ORIGIN, origin.parse().expect("text")));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        Origins::new(&listed).admit(&map)
    }

    #[test]
    fn pages_of_listed_origins_and_programs_are_let_in_and_no_other_page() {
        assert!(is_admitted(&[]));
        assert!(is_admitted(&["https://console.acme.test"]));
        assert!(is_admitted(&["http://localhost:5173"]));
        for other in [
            "null",
            "",
            "*",
            "https://acme.test",
            "http://console.acme.test",
            "https://console.acme.test:444",
            "https://console.acme.test.evil.test",
            "https://evil.test/https://console.acme.test",
        ] {
            assert!(!is_admitted(&[other]), "{other}");
        }
        assert!(!is_admitted(&[
            "https://console.acme.test",
            "https://evil.test"
        ]));
    }

    #[test]
    fn a_secret_in_an_address_is_seen_in_every_disguise() {
        for query in [
            "token=x",
            "TOKEN=x",
            "a=1&access_token=x",
            "apikey=x",
            "jwt",
            "x=eyJhbGciOi",
            "x=sb_secret_1",
            "x=hidps_ab_cd",
            "Authorization=Bearer+x",
            "to%6ben=x",
            "x=%65yJ",
            "eyJhbGciOi",
        ] {
            assert!(carries_secret(query), "{query}");
        }
        for query in ["", "version=1", "page=2&of=tokens", "q=bearer%20of%20news"] {
            assert!(!carries_secret(query), "{query}");
        }
    }
}
