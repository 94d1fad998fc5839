//! Rotation over HTTP: hands an agent's new key to the directory when both keys signed for it.
//! It never sees a private key, and it ends what was opened with the old one.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hidps_wire::{RotateRequest, RotateResponse};
use jiff::Timestamp;

use crate::model::OwnedAgent;
use crate::ports::{StoreError, StoreErrorKind};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::key_requests::{named_agent, read_body};
use crate::streams::mailbox::ToAgent;
use crate::streams::peer::Client;
use crate::streams::routes::{
    Gateway, refuse, refuse_connect, refuse_for_a_while, tell_refused_connect,
};
use crate::telemetry::{self, Chain};

pub(super) async fn rotate(
    State(gateway): State<Gateway>,
    caller: (Client, PeerCertificate),
    Path(agent): Path<String>,
    request: Request,
) -> Response {
    let replaced = replace(&gateway, caller, &agent, request).await;
    replaced.unwrap_or_else(|refusal| refusal)
}

async fn replace(
    gateway: &Gateway,
    (client, certificate): (Client, PeerCertificate),
    path: &str,
    request: Request,
) -> Result<Response, Response> {
    let limits = &gateway.limits;
    // Before the certificate, which costs more.
    limits.rotate(client.address).map_err(refuse_for_a_while)?;
    let agent = named_agent(path, &certificate).map_err(|refusal| *refusal)?;
    let headers = request.headers().clone();
    let ours = gateway.check_host(client, &headers);
    ours.map_err(|error| refuse_connect(&error))?;
    let request: RotateRequest = read_body(request).await?;
    let now = Timestamp::now();
    let verified = gateway.auth.verify_rotation(agent, &headers, &request, now);
    let (signer, successor) = verified.await.map_err(|error| {
        tell_refused_connect(gateway, client, &headers, &error);
        refuse_connect(&error)
    })?;
    limits.rotate_of_agent(agent).map_err(refuse_for_a_while)?;
    let rotated = gateway.directory.rotate(signer, successor, client.reported);
    let rotated = rotated.await;
    rotated.map_err(|error| refuse_rotation(signer, &error))?;
    tracing::info!(%agent, "an agent replaced its key");
    let registry = gateway.links.presence.registry();
    registry.end_if(agent, |_, key| *key == signer.key, ToAgent::Rekeyed);
    // Who signed with the former key before and has not come in yet.
    gateway.key_changes.changed(Some(&[agent]));
    let public_key = request.public_key;
    Ok(Json(RotateResponse { public_key }).into_response())
}

fn refuse_rotation(signer: OwnedAgent, error: &StoreError) -> Response {
    metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "rotate").increment(1);
    tracing::warn!(agent = %signer.agent, error = %Chain(error), "a rotation was refused");
    match error.kind {
        StoreErrorKind::NotFound | StoreErrorKind::Unauthorized => refuse(
            StatusCode::UNAUTHORIZED,
            "this agent is not enrolled with this key any more",
        ),
        StoreErrorKind::Rejected => refuse(
            StatusCode::CONFLICT,
            "the new key was in use before, or is the present one; make another key",
        ),
        StoreErrorKind::RateLimited => {
            // Whoever hears it holds the agent's key.
            let said = error.said();
            refuse(
                StatusCode::TOO_MANY_REQUESTS,
                said.unwrap_or("too many rotations; try again in a minute"),
            )
        }
        StoreErrorKind::Unavailable | StoreErrorKind::Malformed => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "Supabase cannot be reached just now; try again",
        ),
    }
}
