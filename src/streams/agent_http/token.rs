//! `POST /v1/agent/token`: a short token for an agent that proves who it is, as OAuth's client
//! credentials. It never says whether it was the agent or the proof that is unknown.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ed25519_dalek::{Signature, VerifyingKey};
use hidps_tokens::{
    AGENT_TOKEN_SECS, ClientAssertion, ClientProof, RequestFault, TokenFault, TokenRequest,
    parse_token_request,
};
use hidps_wire::AgentId;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::model::{AgentCredential, AgentRefusal};
use crate::ports::{StoreError, StoreErrorKind};
use crate::steady_clock::steady_now;
use crate::streams::agent_auth::judge;
use crate::streams::agent_http::{TOKEN_PATH, check_body, closed, is_judged, key_text};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::enroll::prefix_of;
use crate::streams::nonces::Verdict;
use crate::streams::peer::Client;
use crate::streams::routes::{Gateway, refuse_for_a_while};
use crate::telemetry::{self, Chain};

/// What is said of every client that is not let in, so that nobody learns which ids exist.
const WHO: &str = "the client is unknown, or its proof is not good";

/// Why no token is given.
enum Denied {
    /// The request is not of its form.
    Request(&'static str, String),
    /// The client did not prove who it is; the reason is for the audit log.
    Client(String),
    /// It signed with the agent's key, at a time that this clock does not have.
    Clock(String),
    /// It proved it and may not connect.
    Barred(String),
    /// It may have been used at a daemon before this one.
    Older,
    /// It could not be found out.
    Unavailable,
}

/// Gives a token for a proof.
pub(in crate::streams) async fn grant_token(
    State(gateway): State<Gateway>,
    (client, certificate): (Client, PeerCertificate),
    request: Request,
) -> Response {
    if !gateway.ways.open.token {
        return closed("HIDPS_HTTP_TOKEN");
    }
    if let Err(too_often) = gateway.limits.token(client.address) {
        return refuse_for_a_while(too_often);
    }
    if let Err(message) = check_body(request.headers(), "application/x-www-form-urlencoded") {
        return deny(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request",
            &message,
        );
    }
    let headers = request.headers().clone();
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejection) => {
            return deny(
                rejection.status(),
                "invalid_request",
                &rejection.body_text(),
            );
        }
    };
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default());
    let request = match parse_token_request(&body, authorization) {
        Ok(request) => request,
        Err(fault) => return deny_request(fault),
    };
    let agent = AgentId::new(request.client);
    if let Some(refusal) = certificate.refusal(Some(agent)) {
        return refusal;
    }
    let prefix = match &request.proof {
        ClientProof::Secret(secret) => prefix_of(secret),
        ClientProof::Assertion(_) => None,
    };
    let granted = prove(&gateway, client, &headers, request).await;
    let granted = granted.and_then(|credential| issue(&gateway, agent, &credential));
    match granted {
        Ok(token) => {
            let granted = json!({
                "access_token": token, "token_type": "Bearer", "expires_in": AGENT_TOKEN_SECS,
            });
            unkept(Json(granted).into_response())
        }
        Err(denied) => {
            tell(&gateway, client, (agent, prefix), &denied);
            denied.into_response()
        }
    }
}

fn issue(
    gateway: &Gateway,
    agent: AgentId,
    credential: &AgentCredential,
) -> Result<String, Denied> {
    let whose = (agent.uuid(), credential.org.0);
    let now = Timestamp::now().as_second();
    let tokens = &gateway.ways.tokens;
    let issued = tokens.issue(whose, &key_text(credential), now);
    issued.map_err(|_| Denied::Unavailable)
}

/// The key of the agent that the client proved to be.
async fn prove(
    gateway: &Gateway,
    client: Client,
    headers: &HeaderMap,
    TokenRequest { client: id, proof }: TokenRequest,
) -> Result<AgentCredential, Denied> {
    let agent = AgentId::new(id);
    if matches!(proof, ClientProof::Assertion(_)) {
        let ours = gateway.check_host(client, headers);
        ours.map_err(|error| Denied::Request("invalid_request", error.to_string()))?;
    }
    if let ClientProof::Secret(secret) = &proof {
        // Before anything is looked up: who guesses must not learn which ids exist.
        let limited = gateway.limits.token_of(secret);
        limited.map_err(|too_often| Denied::Request("slow_down", too_often.message()))?;
    }
    let known = gateway.auth.credential(agent).await;
    let known = known.map_err(|error| {
        tracing::warn!(%agent, error = %Chain(&error), "a client could not be looked up");
        Denied::Unavailable
    })?;
    match proof {
        ClientProof::Assertion(text) => {
            let credential = known.ok_or_else(no_key)?;
            check_assertion(gateway, headers, &credential, &text)?;
            judge(Some(&credential)).map_err(|error| match is_judged(&error) {
                true => Denied::Barred(error.to_string()),
                false => Denied::Client(error.to_string()),
            })?;
            Ok(credential)
        }
        ClientProof::Secret(secret) => {
            prove_by_secret(gateway, (agent, known), client, secret).await
        }
    }
}

fn no_key() -> Denied {
    Denied::Client("the agent has no key".to_owned())
}

/// Asks the database about a secret, for whatever agent: an answer that comes without that comes sooner.
async fn prove_by_secret(
    gateway: &Gateway,
    (agent, known): (AgentId, Option<AgentCredential>),
    client: Client,
    secret: String,
) -> Result<AgentCredential, Denied> {
    let barred = judge(known.as_ref()).err();
    // One that waits for approval must not use its secret up; nobody has this id.
    let whose = match barred {
        Some(_) => AgentId::new(Uuid::nil()),
        None => agent,
    };
    let used = gateway.directory.use_token(whose, secret, client.reported);
    let used = used.await.map_err(|error| denied_by_store(agent, &error));
    match (known, barred, used) {
        (Some(credential), None, used) => used.map(|()| credential),
        (_, _, Err(Denied::Unavailable)) => Err(Denied::Unavailable),
        (Some(_), Some(error), _) => Err(Denied::Client(error.to_string())),
        (None, _, _) => Err(no_key()),
    }
}

/// Checks what the client signed with its agent's key: for this daemon, for now, and once.
fn check_assertion(
    gateway: &Gateway,
    headers: &HeaderMap,
    credential: &AgentCredential,
    text: &str,
) -> Result<(), Denied> {
    let denied = |reason: &str| Denied::Client(format!("the assertion {reason}"));
    let assertion = ClientAssertion::parse(text).map_err(|_| denied("cannot be read"))?;
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let place = format!("{}{TOKEN_PATH}", host.to_ascii_lowercase());
    let now = Timestamp::now().as_second();
    let key = VerifyingKey::from_bytes(&credential.public_key);
    let key = key.map_err(|_| denied("has no key to be verified with"))?;
    let signature = Signature::from_bytes(&assertion.signature);
    // Strict: a key of small order would let one signature pass for many messages.
    key.verify_strict(assertion.message.as_bytes(), &signature)
        .map_err(|_| denied("is not signed with the agent's key"))?;
    let checked = assertion.check(&place, now);
    checked.map_err(
        |fault| match clock_fault(fault, assertion.issued_at.saturating_sub(now)) {
            Some(reason) => Denied::Clock(reason),
            None => denied("is for another place"),
        },
    )?;
    let began_at = gateway.ways.began_at((now, steady_now()));
    if assertion.may_be_older_than(began_at) {
        return Err(Denied::Older);
    }
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let life = (seconds(now), seconds(assertion.expires_at));
    let agent = AgentId::new(assertion.agent);
    match gateway.ways.remember(agent, &assertion.id, life) {
        Verdict::Fresh => Ok(()),
        Verdict::Replayed => Err(denied("was used before")),
        Verdict::TooMany => Err(denied("is one of too many")),
    }
}

/// What is said of a time that is not good to whoever signed it: on a host whose clock is wrong nobody
/// finds that out otherwise.
fn clock_fault(fault: TokenFault, ahead: i64) -> Option<String> {
    if fault == TokenFault::Expired {
        let reason = "the assertion has expired by the daemon's clock";
        return Some(format!("{reason}; set the host's clock or \"exp\""));
    }
    let is_far = fault == TokenFault::NotYet;
    is_far.then(|| {
        format!(
            "the assertion is {ahead} s ahead of the daemon's clock, or good for more than 300 s; set \
             the host's clock or \"exp\""
        )
    })
}

fn denied_by_store(agent: AgentId, error: &StoreError) -> Denied {
    match error.kind {
        StoreErrorKind::Unauthorized | StoreErrorKind::NotFound | StoreErrorKind::Rejected => {
            let said = error.said().unwrap_or("the token is not good");
            Denied::Client(said.to_owned())
        }
        StoreErrorKind::Unavailable | StoreErrorKind::RateLimited | StoreErrorKind::Malformed => {
            tracing::warn!(%agent, error = %Chain(error), "a token could not be checked");
            Denied::Unavailable
        }
    }
}

/// Tells the audit log of clients that were judged and refused.
fn tell(
    gateway: &Gateway,
    client: Client,
    (agent, token_prefix): (AgentId, Option<String>),
    denied: &Denied,
) {
    let (Denied::Client(reason) | Denied::Clock(reason) | Denied::Barred(reason)) = denied else {
        return;
    };
    metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "client").increment(1);
    tracing::info!(%agent, reason, "a client got no token");
    let refusal = AgentRefusal {
        agent,
        from: client.reported,
        token_prefix,
        reason: reason.clone(),
    };
    gateway.tell_refusal(client, refusal);
}

impl Denied {
    fn into_response(self) -> Response {
        match self {
            Self::Request("slow_down", message) => {
                deny(StatusCode::TOO_MANY_REQUESTS, "slow_down", &message)
            }
            Self::Request(word, message) => deny(StatusCode::BAD_REQUEST, word, &message),
            Self::Client(_) => deny(StatusCode::UNAUTHORIZED, "invalid_client", WHO),
            Self::Clock(reason) => deny(StatusCode::UNAUTHORIZED, "invalid_client", &reason),
            Self::Barred(reason) => deny(StatusCode::FORBIDDEN, "unauthorized_client", &reason),
            Self::Older => deny(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "the assertion may be older than this run of the daemon; sign another one",
            ),
            Self::Unavailable => deny(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "Supabase cannot be asked just now; try again",
            ),
        }
    }
}

fn deny_request(fault: RequestFault) -> Response {
    match fault {
        RequestFault::Client => deny(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            &fault.to_string(),
        ),
        RequestFault::Repeated(_) | RequestFault::Parameter(_) | RequestFault::Grant => {
            deny(StatusCode::BAD_REQUEST, fault.word(), &fault.to_string())
        }
    }
}

/// A refusal in the form that OAuth has for it.
fn deny(status: StatusCode, word: &str, description: &str) -> Response {
    let body = json!({ "error": word, "error_description": description });
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => {
            let scheme = HeaderValue::from_static("Basic realm=\"hidpsd\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    unkept(response)
}

/// The same, kept by nobody in between.
fn unkept(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
