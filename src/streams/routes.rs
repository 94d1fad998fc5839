//! Paths to parts: which route does what, and how a request is refused.
//! It never holds logic beyond taking a request apart.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use hidps_wire::{CONNECT_PATH, HEADER_AGENT, MAX_AGENT_FRAME_BYTES, MAX_VIEWER_FRAME_BYTES};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::config::AgentHosts;
use crate::health::Health;
use crate::model::AgentRefusal;
use crate::ports::{Directory, KeyChanges};
use crate::steady_clock::steady_now;
use crate::streams::access::AccessCheck;
use crate::streams::agent_auth::{AgentAuth, ClockFault, ConnectError};
use crate::streams::agent_http::{self, EVENTS_PATH, HttpWays, TOKEN_PATH};
use crate::streams::agent_link::AgentLinks;
use crate::streams::browsers::{Origins, without_secrets};
use crate::streams::client_certificates::{PeerCertificate, with_certificates};
use crate::streams::enroll::enroll;
use crate::streams::fanout::Fanout;
use crate::streams::health;
use crate::streams::installer::{self, Installer};
use crate::streams::peer::{Client, TrustedProxies};
use crate::streams::rate_limits::{RateLimits, TooOften};
use crate::streams::refusals;
use crate::streams::refusals::RefusalLog;
use crate::streams::rotate::rotate;
use crate::streams::viewer_link::{self, Arrival, ViewerLinks};
use crate::streams::watchers::Watchers;
use crate::telemetry::{self, Chain};

/// Read buffer of one socket: the library's default of 128 KiB would cost 15 GB for 100,000
/// agents and three times the processor time.
const READ_BUFFER: usize = 2 * 1024;

/// Most bytes that may wait to be written to one socket.
const MAX_WRITE_BUFFER: usize = 8 * 1024 * 1024;

/// Largest HTTP request body, in bytes; an enrollment has a few hundred.
const MAX_BODY: usize = 16 * 1024;

/// Longest time a request may take to arrive and be answered; an upgrade is answered at once, so
/// that sockets are not meant.
const REQUEST_WITHIN: Duration = Duration::from_secs(15);

/// Subprotocol a browser offers beside its token, and that is answered instead of the token.
const VIEWER_PROTOCOL: &str = "hidps.v1";

/// Prefix of the subprotocol that carries a viewer's token.
const BEARER_PROTOCOL: &str = "bearer.";

/// What the routes need; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    /// Checks connecting agents.
    pub auth: Arc<AgentAuth>,
    /// Names that are this daemon's, for what agents sign.
    pub agent_hosts: Arc<AgentHosts>,
    /// Serves agents.
    pub links: Arc<AgentLinks>,
    /// Takes enrollments.
    pub directory: Arc<dyn Directory>,
    /// Where it is said whose key changed.
    pub key_changes: Arc<dyn KeyChanges>,
    /// Checks viewers.
    pub access: AccessCheck,
    /// How often somebody may ask.
    pub limits: Arc<RateLimits>,
    /// What the older ways of agents need.
    pub ways: Arc<HttpWays>,
    /// Where refused agents are told of.
    pub refusals: RefusalLog,
    /// Proxies that are believed about addresses.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// Serves live logs.
    pub fanout: Arc<Fanout>,
    /// Knows who watches, and how many may.
    pub watchers: Arc<Watchers>,
    /// Time between two checks that people may still see what they watch.
    pub recheck_every: Duration,
    /// Origins whose pages may use the daemon.
    pub origins: Origins,
    /// State of the daemon.
    pub health: Arc<Health>,
    /// How long an agent may wait for a daemon that is just starting, before it is told to come
    /// back: a fleet that returns while it starts is let in with it, not seconds later.
    pub open_within: Duration,
    /// Serves what new hosts fetch.
    pub installer: Arc<Installer>,
    /// Renders the metrics in Prometheus' text form.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Follows every connection, so that a drain can wait for them.
    pub connections: TaskTracker,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Refuses what an agent signed for a daemon of another name: that one may be hostile, and pass
    /// on what it was sent.
    pub(super) fn check_host(
        &self,
        client: Client,
        headers: &HeaderMap,
    ) -> Result<(), ConnectError> {
        let host = headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_ours = self.agent_hosts.takes(host, client.reported);
        if is_ours {
            Ok(())
        } else {
            Err(ConnectError::Host)
        }
    }

    /// Has a refusal told to the audit log, unless too many were.
    pub(super) fn tell_refusal(&self, client: Client, refusal: AgentRefusal) {
        if self.limits.may_tell_refusal(client.address) {
            self.refusals.tell(refusal);
        } else {
            refusals::count_untold("limit");
        }
    }
}

/// One thing the daemon does for a request.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    serve: MethodRouter<Gateway>,
}

/// Every route; `docs/openapi.json` describes each, and no other.
pub(super) fn routes() -> Vec<Route> {
    let get_route = |path, serve| Route {
        method: "get",
        path,
        serve,
    };
    vec![
        get_route("/", get(|| async { "hidpsd\n" })),
        get_route("/livez", get(health::live)),
        get_route("/healthz", get(health::overview)),
        get_route("/readyz", get(health::ready)),
        get_route("/metrics", get(health::metrics)),
        get_route("/openapi.json", get(describe)),
        get_route(CONNECT_PATH, get(connect_agent)),
        Route {
            method: "post",
            path: "/v1/agents/{agent_id}/enroll",
            serve: post(enroll),
        },
        Route {
            method: "post",
            path: TOKEN_PATH,
            serve: post(agent_http::grant_token),
        },
        Route {
            method: "post",
            path: EVENTS_PATH,
            // As much as a frame of the socket; it is read once the sender is known.
            serve: post(agent_http::take_events)
                .layer(DefaultBodyLimit::max(MAX_AGENT_FRAME_BYTES)),
        },
        get_route("/v1/agent/desired", get(agent_http::serve_desired)),
        Route {
            method: "post",
            path: "/v1/agents/{agent_id}/rotate",
            serve: post(rotate),
        },
        get_route("/v1/viewers/connect", get(connect_viewer)),
        get_route("/install.sh", get(installer::script)),
        get_route("/agent/{architecture}/hidps-agent", get(installer::program)),
        get_route(
            "/agent/{architecture}/hidps-agent.sha256",
            get(installer::checksum),
        ),
    ]
}

/// All routes, joined.
pub fn router(gateway: Gateway) -> Router {
    let router = routes().into_iter().fold(Router::new(), |router, route| {
        tracing::debug!(method = route.method, path = route.path, "serves");
        router.route(route.path, route.serve)
    });
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(within_deadline))
        .layer(middleware::from_fn(with_certificates))
        .layer(middleware::from_fn(without_secrets))
        .layer(gateway.origins.cors())
        .with_state(gateway)
}

/// What the daemon does over HTTP, for programs that write clients.
async fn describe() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, include_str!("../../docs/openapi.json"))
}

/// A body that comes drop by drop must not hold a connection. A post is not cut off in between: what
/// detection has taken in would be told as lost.
async fn within_deadline(request: Request, next: Next) -> Response {
    if request.uri().path() == EVENTS_PATH {
        return next.run(request).await;
    }
    match timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            metrics::counter!(telemetry::SLOW_PEERS, "owed" => "body").increment(1);
            refuse(
                StatusCode::REQUEST_TIMEOUT,
                "the request did not arrive within 15 s",
            )
        }
    }
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn connect_agent(
    State(gateway): State<Gateway>,
    client: Client,
    certificate: PeerCertificate,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    if let Err(too_often) = gateway.limits.connect(client.address) {
        return refuse_for_a_while(too_often);
    }
    if let Some(refusal) = certificate.refusal_of(&headers) {
        return refusal;
    }
    if let Err(error) = gateway.check_host(client, &headers) {
        return refuse_connect(&error);
    }
    let opened = timeout(gateway.open_within, gateway.health.opened()).await;
    if opened.is_err() {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is starting; try again",
        );
    }
    let owned = match gateway.auth.verify(&headers, Timestamp::now()).await {
        Ok(owned) => owned,
        Err(error) => {
            if let ConnectError::Clock(ClockFault {
                seconds,
                signer: Some(agent),
            }) = error
            {
                let presence = &gateway.links.presence;
                presence.observe_skew(agent, seconds, steady_now());
            }
            tell_refused_connect(&gateway, client, &headers, &error);
            return refuse_connect(&error);
        }
    };
    match upgrade {
        Ok(upgrade) => sized(upgrade, MAX_AGENT_FRAME_BYTES).on_upgrade(move |socket| {
            let connection = gateway.connections.token();
            async move {
                let links = &gateway.links;
                links
                    .serve(owned, client.address, certificate, socket)
                    .await;
                drop(connection);
            }
        }),
        Err(error) => error.into_response(),
    }
}

async fn connect_viewer(
    State(gateway): State<Gateway>,
    client: Client,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    if let Err(too_often) = gateway.limits.viewer(client.address) {
        return refuse_for_a_while(too_often);
    }
    if !gateway.origins.admit(&headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            "pages of this origin may not use the daemon; its operator lists origins in \
             HIDPS_ALLOWED_ORIGINS",
        );
    }
    let Some(unknown) = gateway.watchers.admit() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many connections have not shown a token yet; try again",
        );
    };
    let token = viewer_token(&headers);
    let arrival = Arrival { token, unknown };
    let links = ViewerLinks {
        access: gateway.access.clone(),
        registry: Arc::clone(gateway.links.presence.registry()),
        fanout: Arc::clone(&gateway.fanout),
        watchers: Arc::clone(&gateway.watchers),
        recheck_every: gateway.recheck_every,
        stop: gateway.links.stop.clone(),
    };
    match upgrade {
        Ok(upgrade) => {
            let upgrade = sized(upgrade, MAX_VIEWER_FRAME_BYTES).protocols([VIEWER_PROTOCOL]);
            upgrade.on_upgrade(move |socket| {
                let connection = gateway.connections.token();
                async move {
                    viewer_link::serve(links, arrival, socket).await;
                    drop(connection);
                }
            })
        }
        Err(error) => error.into_response(),
    }
}

fn sized(upgrade: WebSocketUpgrade, max_frame: usize) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(max_frame)
        .max_frame_size(max_frame)
}

/// The token in the `Authorization` header or among the offered subprotocols.
fn viewer_token(headers: &HeaderMap) -> Option<String> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let bearer = headers.get(header::AUTHORIZATION).and_then(text);
    if let Some(token) = bearer
        .as_deref()
        .and_then(|value| value.strip_prefix("Bearer "))
    {
        return Some(token.to_owned());
    }
    let offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(text);
    let offered: Vec<String> = offered.collect();
    let mut protocols = offered
        .iter()
        .flat_map(|line| line.split(','))
        .map(str::trim);
    protocols
        .find_map(|protocol| protocol.strip_prefix(BEARER_PROTOCOL))
        .map(str::to_owned)
}

/// Tells of a signed request that was judged and refused. A wrong clock is told in another way, and what was
/// not looked up was not judged.
pub(super) fn tell_refused_connect(
    gateway: &Gateway,
    client: Client,
    headers: &HeaderMap,
    error: &ConnectError,
) {
    match error {
        ConnectError::Unknown
        | ConnectError::Replayed
        | ConnectError::Pending
        | ConnectError::Revoked => {}
        ConnectError::Header(_)
        | ConnectError::Host
        | ConnectError::OtherAgent
        | ConnectError::Proof
        | ConnectError::Clock(_)
        | ConnectError::TooOften
        | ConnectError::Unavailable(_) => return,
    }
    let named = headers.get(HEADER_AGENT).and_then(|id| id.to_str().ok());
    let Some(Ok(agent)) = named.map(str::parse) else {
        return;
    };
    let refusal = AgentRefusal {
        agent,
        from: client.reported,
        token_prefix: None,
        reason: error.to_string(),
    };
    gateway.tell_refusal(client, refusal);
}

/// A refusal of whoever is not, or not yet, the agent it names.
pub(super) fn refuse_connect(error: &ConnectError) -> Response {
    let (kind, status) = match error {
        ConnectError::Header(_) => ("header", StatusCode::UNAUTHORIZED),
        ConnectError::Clock(_) => ("clock", StatusCode::UNAUTHORIZED),
        ConnectError::Unknown => ("unknown", StatusCode::UNAUTHORIZED),
        ConnectError::Host => ("host", StatusCode::MISDIRECTED_REQUEST),
        ConnectError::OtherAgent => ("header", StatusCode::UNAUTHORIZED),
        ConnectError::Proof => ("proof", StatusCode::BAD_REQUEST),
        ConnectError::Replayed => ("replay", StatusCode::UNAUTHORIZED),
        ConnectError::TooOften => ("too_often", StatusCode::TOO_MANY_REQUESTS),
        ConnectError::Pending => ("pending", StatusCode::FORBIDDEN),
        ConnectError::Revoked => ("revoked", StatusCode::FORBIDDEN),
        ConnectError::Unavailable(_) => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
    };
    metrics::counter!(telemetry::AUTH_FAILURES, "kind" => kind).increment(1);
    tracing::info!(error = %Chain(error), "a signed request was refused");
    refuse(status, &error.to_string())
}

/// A refusal of who asks too often, with the time after which to ask again.
pub(super) fn refuse_for_a_while(too_often: TooOften) -> Response {
    let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, &too_often.message());
    // Whole seconds, and never "at once".
    let seconds = too_often.wait.as_secs() + 1;
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// A refusal with one sentence in JSON.
pub(super) fn refuse(status: StatusCode, message: &str) -> Response {
    let mut response = (status, Json(json!({ "error": message }))).into_response();
    if matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    ) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
