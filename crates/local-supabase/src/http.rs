//! Plain HTTP between the parts of a stack, all on loopback.
//! Never speaks TLS, so it needs no crypto provider.

use axum::body::Body;
use axum::http::{Method, Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::error::StackError;

/// Largest answer read; a full mail catcher stays far below.
const MAX_ANSWER: usize = 256 << 20;

/// Asks for JSON and gives status and answer.
pub(crate) async fn ask(
    operation: &str,
    method: Method,
    address: &str,
    apikey: Option<&str>,
    body: Option<&Value>,
) -> Result<(u16, Value), StackError> {
    let failed = |reason: String| StackError::Http {
        operation: operation.to_owned(),
        reason,
    };
    let mut request = Request::builder().method(method).uri(address);
    if let Some(apikey) = apikey {
        request = request.header("apikey", apikey);
    }
    let request = match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    let request = request.map_err(|error| failed(error.to_string()))?;
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let response = client
        .request(request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let status = response.status().as_u16();
    let answer = axum::body::to_bytes(Body::new(response.into_body()), MAX_ANSWER).await;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    let answer = serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
    Ok((status, answer))
}
