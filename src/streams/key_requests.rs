//! How requests about an agent's key begin, enrollment and rotation alike: of whom they speak, and what
//! stands in them. It never reads a body; whoever asks too often is refused before there is one.

use axum::Json;
use axum::extract::{FromRequest as _, Request};
use axum::http::StatusCode;
use axum::response::Response;
use hidps_wire::AgentId;
use serde::de::DeserializeOwned;

use crate::streams::client_certificates::PeerCertificate;
use crate::streams::routes::refuse;

/// The agent that a path names, if this is its certificate where one is wanted.
pub(super) fn named_agent(
    path: &str,
    certificate: &PeerCertificate,
) -> Result<AgentId, Box<Response>> {
    let agent = path.parse::<AgentId>().map_err(|_| {
        let message = "the agent id in the path is not a UUID";
        Box::new(refuse(StatusCode::BAD_REQUEST, message))
    })?;
    let refusal = certificate.refusal(Some(agent)).map(Box::new);
    refusal.map_or(Ok(agent), Err)
}

/// The body of a request that may be read now. What is too long is told apart from what cannot be read.
pub(super) async fn read_body<T: DeserializeOwned>(request: Request) -> Result<T, Response> {
    let read = Json::<T>::from_request(request, &()).await;
    read.map(|Json(body)| body).map_err(|error| {
        let status = match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        refuse(status, &error.body_text())
    })
}
