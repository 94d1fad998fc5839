//! The one address of a stack: forwards REST and Auth, upgrades Realtime.
//! Never looks into a request it forwards, but for its access token where the project has signing keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Query, Request, State};
use axum::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::faults::{Faults, RestFault};
use crate::keys::Keys;
use crate::realtime::{self, Claims, Realtime, RestBroadcast, Version};

/// Largest frame a client may send; Supabase's own limit.
const MAX_FRAME: usize = 5_000_000;

/// Pause between two looks at whether a request is still held up.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the routes share.
#[derive(Clone)]
struct Gateway {
    upstream: Authority,
    client: Client<HttpConnector, Body>,
    faults: Faults,
    realtime: Arc<Realtime>,
    keys: Keys,
}

impl Gateway {
    /// Tells who sent a request: the bearer of its token, or else of its key.
    fn identify(&self, headers: &HeaderMap) -> Option<Claims> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        [bearer, text("apikey")]
            .into_iter()
            .flatten()
            .find_map(|token| self.realtime.identify(token).ok())
    }
}

/// Builds the routes; `upstream` serves REST and Auth.
pub(crate) fn router(
    upstream: Authority,
    faults: Faults,
    realtime: Arc<Realtime>,
    keys: Keys,
) -> Router {
    let client = Client::builder(TokioExecutor::new()).build_http();
    Router::new()
        .route("/rest/v1/{*path}", any(rest))
        .route("/rest/v1/", any(rest))
        .route("/auth/v1/.well-known/jwks.json", get(signing_keys))
        .route("/auth/v1/{*path}", any(auth))
        .route("/realtime/v1/websocket", get(upgrade))
        .route("/socket/websocket", get(upgrade))
        .route(
            "/realtime/v1/api/broadcast",
            post(broadcast_all).options(permit),
        )
        .route(
            "/realtime/v1/api/broadcast/{topic}/events/{event}",
            post(broadcast_one).options(permit),
        )
        .with_state(Gateway {
            upstream,
            client,
            faults,
            realtime,
            keys,
        })
}

async fn rest(state: State<Gateway>, request: Request) -> Response {
    let name = request.uri().path().rsplit('/').next();
    let name = name.unwrap_or_default().to_owned();
    match state.faults.take_rest(&name) {
        RestFault::None => forward(state, request).await,
        RestFault::Unavailable => refuse(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream"),
        RestFault::Refusing(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            refuse(status, "refused by a fault")
        }
        RestFault::Hanging => std::future::pending().await,
        RestFault::Waiting => {
            while state.faults.is_rest_waiting(&name) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            forward(state, request).await
        }
        RestFault::Truncated => truncate(forward(state, request).await).await,
        RestFault::Empty => Json(json!([])).into_response(),
    }
}

/// Gives the first half of an answer and breaks the connection.
async fn truncate(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_FRAME).await;
    let body = body.unwrap_or_default();
    let half = body.slice(..body.len() / 2);
    // Without a length the half would only end where the connection does.
    parts.headers.remove(header::CONTENT_LENGTH);
    let broken = std::io::Error::other("broken by a fault");
    let pieces = futures_util::stream::iter([Ok(half), Err(broken)]);
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Publishes the keys with which the project signs; while it has none, Auth says what it says.
async fn signing_keys(state: State<Gateway>, request: Request) -> Response {
    match state.keys.signing.published() {
        Some(list) => with_cors(Json(list).into_response()),
        None => forward(state, request).await,
    }
}

/// Forwards to Auth and signs what it issues with the project's key.
async fn auth(state: State<Gateway>, mut request: Request) -> Response {
    if state.keys.signing.published().is_none() {
        return forward(state, request).await;
    }
    let host = request.headers().get(header::HOST).cloned();
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let issuer = format!("http://{}/auth/v1", host.unwrap_or_default());
    // Its answer has to be readable here.
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    let keys = state.keys.clone();
    let (mut parts, body) = forward(state, request).await.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_FRAME).await else {
        return refuse(StatusCode::BAD_GATEWAY, "the answer of Auth broke off");
    };
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, Body::from(body));
    };
    for place in ["/access_token", "/session/access_token"] {
        if let Some(Value::String(token)) = answer.pointer_mut(place) {
            *token = keys.outside(token, &issuer);
        }
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(answer.to_string()))
}

/// Replaces the token of a request by one that REST and Auth know.
fn turn_token(keys: &Keys, headers: &mut HeaderMap) {
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let turned = given.map(|token| HeaderValue::try_from(format!("Bearer {}", keys.inside(token))));
    if let Some(Ok(turned)) = turned {
        headers.insert(header::AUTHORIZATION, turned);
    }
}

async fn forward(State(gateway): State<Gateway>, mut request: Request) -> Response {
    turn_token(&gateway.keys, request.headers_mut());
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = match forwarded(&gateway.upstream, path) {
        Ok(uri) => uri,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match gateway.client.request(request).await {
        Ok(response) => response.into_response(),
        Err(error) => refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

fn forwarded(upstream: &Authority, path: Option<PathAndQuery>) -> Result<Uri, axum::http::Error> {
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(upstream.clone())
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
}

async fn upgrade(
    State(gateway): State<Gateway>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let header = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    let key = header
        .or_else(|| query.get("apikey").map(String::as_str))
        .map(str::to_owned);
    if let Some((status, reason)) = gateway.realtime.refuse_connect(key.as_deref()) {
        tokio::time::sleep(gateway.faults.refusal_delays().connect).await;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
        return (status, Json(json!({ "error": reason }))).into_response();
    }
    let Some(version) = Version::parse(query.get("vsn").map(String::as_str)) else {
        return refuse(StatusCode::BAD_REQUEST, "unknown vsn");
    };
    let realtime = Arc::clone(&gateway.realtime);
    let key = key.unwrap_or_default();
    upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .on_upgrade(move |socket| realtime.serve(socket, version, key))
}

/// Sends a list of broadcasts, as clients do that have not joined.
async fn broadcast_all(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Result<Json<Value>, JsonRejection>,
) -> Response {
    let Some(claims) = gateway.identify(&headers) else {
        return unauthorized();
    };
    let Ok(Json(body)) = body else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "the body is not json");
    };
    for message in body["messages"].as_array().into_iter().flatten() {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let message = RestBroadcast {
            topic: text("topic"),
            event: text("event"),
            body: realtime::Body::Text(message["payload"].clone(), None),
            private: message["private"].as_bool().unwrap_or(false),
        };
        // Of a list, Supabase drops what the sender may not send and takes the rest.
        gateway.realtime.broadcast(&claims, message).await;
    }
    with_cors(StatusCode::ACCEPTED.into_response())
}

/// Sends one broadcast whose content is the whole body, JSON or not.
async fn broadcast_one(
    State(gateway): State<Gateway>,
    Path((topic, event)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(claims) = gateway.identify(&headers) else {
        return unauthorized();
    };
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let body = if kind == Some("application/octet-stream") {
        realtime::Body::Binary {
            is_json: false,
            bytes: body.to_vec(),
        }
    } else {
        match serde_json::from_slice(&body) {
            Ok(payload) => realtime::Body::Text(payload, None),
            Err(_) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, "the body is not json"),
        }
    };
    let private = query
        .get("private")
        .is_some_and(|private| private == "true");
    let message = RestBroadcast {
        topic,
        event,
        body,
        private,
    };
    if gateway.realtime.broadcast(&claims, message).await {
        with_cors(StatusCode::ACCEPTED.into_response())
    } else {
        refuse(
            StatusCode::FORBIDDEN,
            "Unauthorized: you may not send to this topic",
        )
    }
}

fn unauthorized() -> Response {
    refuse(StatusCode::UNAUTHORIZED, "Unauthorized")
}

async fn permit() -> Response {
    with_cors(StatusCode::NO_CONTENT.into_response())
}

fn refuse(status: StatusCode, message: &str) -> Response {
    with_cors((status, Json(json!({ "message": message }))).into_response())
}

/// Lets pages of any origin read the answer, as Supabase does.
fn with_cors(mut response: Response) -> Response {
    let any = HeaderValue::from_static("*");
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, any);
    let allowed = "authorization, apikey, content-type, x-client-info";
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(allowed),
    );
    response
}
