//! Rotation over HTTP: hands an agent's new key to the directory when both keys signed for it.
//! It never sees a private key, and it ends what was opened with the old one.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hidps_wire::{AgentId, RotateRequest, RotateResponse};
use jiff::Timestamp;

use crate::model::OwnedAgent;
use crate::ports::{StoreError, StoreErrorKind};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::mailbox::ToAgent;
use crate::streams::peer::Client;
use crate::streams::routes::{
    Gateway, refuse, refuse_connect, refuse_for_a_while, tell_refused_connect,
};
use crate::telemetry::{self, Chain};

pub(super) async fn rotate(
    State(gateway): State<Gateway>,
    (client, certificate): (Client, PeerCertificate),
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: Result<Json<RotateRequest>, JsonRejection>,
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
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    if let Err(too_often) = gateway.limits.rotate(client.address) {
        return refuse_for_a_while(too_often);
    }
    if let Err(error) = gateway.check_host(client, &headers) {
        return refuse_connect(&error);
    }
    let now = Timestamp::now();
    let verified = gateway.auth.verify_rotation(agent, &headers, &request, now);
    let (signer, successor) = match verified.await {
        Ok(verified) => verified,
        Err(error) => {
            tell_refused_connect(&gateway, client, &headers, &error);
            return refuse_connect(&error);
        }
    };
    if let Err(too_often) = gateway.limits.rotate_of_agent(agent) {
        return refuse_for_a_while(too_often);
    }
    let rotated = gateway.directory.rotate(signer, successor, client.reported);
    match rotated.await {
        Ok(()) => {
            tracing::info!(%agent, "an agent replaced its key");
            let registry = gateway.links.presence.registry();
            registry.end_if(agent, |_, key| *key == signer.key, ToAgent::Rekeyed);
            // Who signed with the former key before and has not come in yet.
            gateway.key_changes.changed(Some(&[agent]));
            let public_key = request.public_key;
            Json(RotateResponse { public_key }).into_response()
        }
        Err(error) => refuse_rotation(signer, &error),
    }
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
