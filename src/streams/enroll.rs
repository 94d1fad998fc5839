//! Enrollment over HTTP: takes an agent's public key to the directory and says what became of it.
//! It never sees a private key and never logs a token.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hidps_wire::{AgentId, EnrollRequest, EnrollResponse};

use crate::model::AgentRefusal;
use crate::ports::{StoreError, StoreErrorKind};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::peer::Client;
use crate::streams::routes::{Gateway, refuse, refuse_for_a_while};
use crate::telemetry::{self, Chain};

/// Header of the enrollment token.
const TOKEN_HEADER: &str = "x-api-key";

/// Longest token taken, in bytes; ours have 60.
const MAX_TOKEN: usize = 256;

pub(super) async fn enroll(
    State(gateway): State<Gateway>,
    (client, certificate): (Client, PeerCertificate),
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: Result<Json<EnrollRequest>, JsonRejection>,
) -> Response {
    let Ok(agent) = agent.parse::<AgentId>() else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "the agent id in the path is not a UUID",
        );
    };
    if let Some(refusal) = certificate.refusal(Some(agent)) {
        return refusal;
    }
    let request = match body {
        Ok(Json(request)) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    if !STANDARD
        .decode(&request.public_key)
        .is_ok_and(|key| key.len() == 32)
    {
        return refuse(
            StatusCode::BAD_REQUEST,
            "public_key is not 32 bytes in base64",
        );
    }
    let token = headers
        .get(TOKEN_HEADER)
        .map(|value| value.to_str().map(str::to_owned));
    let token = match token.transpose() {
        Ok(token) if token.as_ref().is_none_or(|token| token.len() <= MAX_TOKEN) => token,
        Ok(_) | Err(_) => return refuse(StatusCode::BAD_REQUEST, "X-API-Key is not a token"),
    };
    if let Err(too_often) = gateway.limits.enroll(client.address, token.as_deref()) {
        return refuse_for_a_while(too_often);
    }
    let token_prefix = token.as_deref().and_then(prefix_of);
    let enrolled = gateway
        .directory
        .enroll(agent, token, request, client.reported);
    match enrolled.await {
        Ok(enrollment) => {
            tracing::info!(%agent, ?enrollment, "an agent enrolled");
            Json(EnrollResponse { enrollment }).into_response()
        }
        Err(error) => {
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
            refuse_enrollment(agent, &error)
        }
    }
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

fn refuse_enrollment(agent: AgentId, error: &StoreError) -> Response {
    metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "enroll").increment(1);
    tracing::warn!(%agent, error = %Chain(error), "an enrollment was refused");
    match error.kind {
        StoreErrorKind::NotFound => refuse(
            StatusCode::NOT_FOUND,
            "no agent has this id; create it first and install with the id shown",
        ),
        StoreErrorKind::Unauthorized => refuse(
            StatusCode::FORBIDDEN,
            "the enrollment token is not valid for this agent; create a new one",
        ),
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
