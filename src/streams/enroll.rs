//! Enrollment over HTTP: takes an agent's public key to the directory and says what became of it.
//! It never sees a private key and never logs a token.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hidps_wire::{AgentId, EnrollRequest, EnrollResponse};

use crate::model::AgentRefusal;
use crate::ports::{StoreError, StoreErrorKind};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::key_requests::{named_agent, read_body};
use crate::streams::peer::Client;
use crate::streams::routes::{Gateway, refuse, refuse_for_a_while};
use crate::telemetry::{self, Chain};

/// Header of the enrollment token.
const TOKEN_HEADER: &str = "x-api-key";

/// Longest token taken, in bytes; ours have 60.
const MAX_TOKEN: usize = 256;

pub(super) async fn enroll(
    State(gateway): State<Gateway>,
    caller: (Client, PeerCertificate),
    Path(agent): Path<String>,
    request: Request,
) -> Response {
    let enrolled = take_key(&gateway, caller, &agent, request).await;
    enrolled.unwrap_or_else(|refusal| refusal)
}

async fn take_key(
    gateway: &Gateway,
    (client, certificate): (Client, PeerCertificate),
    path: &str,
    request: Request,
) -> Result<Response, Response> {
    let token = shown_token(request.headers());
    let token = token.map_err(|message| refuse(StatusCode::BAD_REQUEST, message))?;
    // Before the certificate, which costs more.
    let allowed = gateway.limits.enroll(client.address, token.as_deref());
    allowed.map_err(refuse_for_a_while)?;
    let agent = named_agent(path, &certificate).map_err(|refusal| *refusal)?;
    let request: EnrollRequest = read_body(request).await?;
    let key = STANDARD.decode(&request.public_key);
    if !key.is_ok_and(|key| key.len() == 32) {
        let message = "public_key is not 32 bytes in base64";
        return Err(refuse(StatusCode::BAD_REQUEST, message));
    }
    let token_prefix = token.as_deref().and_then(prefix_of);
    let with_token = token.is_some();
    let directory = &gateway.directory;
    let enrolled = directory.enroll(agent, token, request, client.reported);
    let enrollment = enrolled.await.map_err(|error| {
        if is_judged(&error) {
            let reason = error.said().unwrap_or("the enrollment was refused");
            let refusal = AgentRefusal {
                agent,
                from: client.reported,
                token_prefix,
                reason: reason.to_owned(),
            };
            gateway.tell_refusal(client, refusal);
        }
        refuse_enrollment(agent, with_token, &error)
    })?;
    tracing::info!(%agent, ?enrollment, "an agent enrolled");
    Ok(Json(EnrollResponse { enrollment }).into_response())
}

/// The token that comes with a request, if one does.
fn shown_token(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let Some(value) = headers.get(TOKEN_HEADER) else {
        return Ok(None);
    };
    let token = value.to_str().ok().filter(|token| token.len() <= MAX_TOKEN);
    let token = token.ok_or("X-API-Key is not a token")?;
    Ok(Some(token.to_owned()))
}

/// Whether it was refused for what it is; of an agent that does not exist there is nobody to tell.
fn is_judged(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::Unauthorized | StoreErrorKind::Rejected
    )
}

/// What finds a token's row and is no secret: the part between the first two underscores.
pub(super) fn prefix_of(token: &str) -> Option<String> {
    let (prefix, _) = token.strip_prefix("hidps_")?.split_once('_')?;
    Some(prefix.to_owned())
}

/// What may be said without telling a stranger which tokens exist, or whether another key waits: it
/// follows from what was sent. The organization's audit log has the reason.
const fn forbidden(with_token: bool) -> &'static str {
    if with_token {
        "the enrollment token is not valid for this agent, or its key was revoked; the \
         organization's audit log says which, and a new token may mend it"
    } else {
        "without a token this key is not taken, because another one waits or this one was revoked; \
         an admin finds in the organization's audit log which, and may decide on the key that waits \
         or create a token"
    }
}

fn refuse_enrollment(agent: AgentId, with_token: bool, error: &StoreError) -> Response {
    metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "enroll").increment(1);
    tracing::warn!(%agent, error = %Chain(error), "an enrollment was refused");
    match error.kind {
        StoreErrorKind::NotFound => refuse(
            StatusCode::NOT_FOUND,
            "no agent has this id; create it first and install with the id shown",
        ),
        StoreErrorKind::Unauthorized => refuse(StatusCode::FORBIDDEN, forbidden(with_token)),
        StoreErrorKind::Rejected => refuse(
            StatusCode::BAD_REQUEST,
            "the enrollment was refused; check its values",
        ),
        StoreErrorKind::RateLimited => refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "too many enrollments; try again in a minute",
        ),
        StoreErrorKind::Unavailable | StoreErrorKind::Malformed => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "Supabase cannot be reached just now; try again",
        ),
    }
}
