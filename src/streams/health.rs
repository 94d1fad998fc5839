//! `/livez`, `/readyz` and `/metrics`.
//! A Supabase outage fails readiness, never liveness: a restart would not help.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::streams::routes::Gateway;

pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(gateway): State<Gateway>) -> Response {
    let missing = gateway.health.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

pub(super) async fn metrics(State(gateway): State<Gateway>) -> Response {
    let text = (gateway.render_metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
