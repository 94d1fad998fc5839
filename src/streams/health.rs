//! `/livez`, `/readyz`, `/healthz` and `/metrics`.
//! A Supabase outage fails readiness, never liveness: a restart would not help.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use hidps_wire::printable;
use serde_json::{Value, json};

use crate::health::RulesVerdict;
use crate::streams::routes::Gateway;
use crate::telemetry;

/// Longest fault that is told, in characters.
const MAX_TEXT: usize = 500;

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

/// Everything the daemon knows of itself, for people and programs; always 200.
pub(super) async fn overview(State(gateway): State<Gateway>) -> Json<Value> {
    let missing = gateway.health.missing();
    let rules = gateway.health.rules();
    let is_well = missing.is_empty() && rules.iter().all(|rules| rules.refused.is_none());
    Json(json!({
        "status": if is_well { "ok" } else { "degraded" },
        "missing": missing,
        "rules": rules.as_ref().map(describe_rules),
    }))
}

fn describe_rules(rules: &RulesVerdict) -> Value {
    let refused = rules.refused.as_ref().map(|refused| {
        let first = refused
            .faults
            .first()
            .map(|fault| printable(&fault.to_string(), MAX_TEXT));
        json!({
            "reason": refused.reason, "at": refused.at,
            "n_faults": refused.faults.len(), "first_fault": first,
        })
    });
    json!({
        "hash": rules.hash, "rules": rules.rules, "tests": rules.tests,
        "loaded_at": rules.loaded_at, "refused": refused,
    })
}

pub(super) async fn metrics(State(gateway): State<Gateway>) -> Response {
    let mut text = (gateway.render_metrics)();
    if let Some(rules) = gateway.health.rules() {
        // Written here, so that hashes of former sets do not stay as series of their own.
        let (name, hash) = (telemetry::RULES_INFO, rules.hash);
        text.push_str(&format!(
            "# TYPE {name} gauge\n{name}{{hash=\"{hash}\"}} 1\n"
        ));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
