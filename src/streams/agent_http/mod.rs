//! The older ways of agents: plain HTTP, for hosts that can hold no WebSocket. Each is closed unless
//! the operator opens it, and leads to where the frames of the socket go.
//! It never learns from a body who speaks: the token says it, and the agent's key stands behind it.

mod batches;
mod desired;
mod events;
mod lines;
mod outcome;
mod polling;
mod seats;
mod token;

use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hidps_tokens::{AgentTokens, TokenFault};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::config::AgentHttp;
use crate::model::{AgentCredential, OwnedAgent};
use crate::steady_clock::steady_now;
use crate::streams::agent_auth::{ConnectError, judge};
use crate::streams::agent_http::polling::PollingAgents;
use crate::streams::agent_http::seats::{Full, Seats};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::nonces::{Nonces, Verdict};
use crate::streams::peer::Client;
use crate::streams::routes::{Gateway, refuse, refuse_connect, refuse_for_a_while};
use crate::telemetry;

pub(super) use desired::serve_desired;
pub(super) use events::take_events;
pub use polling::watch_polling;
#[cfg(test)]
pub(super) use seats::OF_AGENT;
pub(super) use token::grant_token;

/// Path at which a token is asked for; an assertion of a client names it.
pub(super) const TOKEN_PATH: &str = "/v1/agent/token";

/// Path at which a host posts; each step of a post has a deadline of its own.
pub(super) const EVENTS_PATH: &str = "/v1/agent/events";

/// What the older ways need beside the socket's parts.
pub struct HttpWays {
    open: AgentHttp,
    pub(super) tokens: AgentTokens,
    assertions: Mutex<Nonces>,
    /// When these began to be remembered, by the steady clock.
    began_at: Timestamp,
    polling: Mutex<PollingAgents>,
    seats: Seats,
}

impl std::fmt::Debug for HttpWays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpWays")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl HttpWays {
    /// As configured. Tokens are signed with a secret of this process, so that none outlives it.
    #[must_use]
    pub fn new(open: AgentHttp) -> Self {
        Self::begun(open, steady_now())
    }

    /// The same, begun at that moment of the steady clock.
    #[must_use]
    pub(super) fn begun(open: AgentHttp, at: Timestamp) -> Self {
        // Two random ids hold 244 random bits.
        let random = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
        let secret = Sha256::digest(random.concat()).into();
        Self {
            open,
            tokens: AgentTokens::new(&secret),
            assertions: Mutex::default(),
            began_at: at,
            polling: Mutex::default(),
            seats: Seats::default(),
        }
    }

    /// The second since 1970 at which it was begun to remember assertions, as the clock by which they are
    /// judged has it now: one that was wrong then may have been put right.
    fn began_at(&self, (now, moment): (i64, Timestamp)) -> i64 {
        let passed = moment.duration_since(self.began_at).as_secs();
        now.saturating_sub(passed.max(0))
    }

    /// Whether an assertion is used for the first time.
    fn remember(&self, agent: hidps_wire::AgentId, id: &str, (now, until): (u64, u64)) -> Verdict {
        let mut assertions = self
            .assertions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        assertions.insert(agent, id, now, until)
    }
}

/// Answers a way that is closed as if it were not there, but says who can open it.
fn closed(setting: &str) -> Response {
    let message =
        format!("this daemon serves no agents here; its operator can switch that on by {setting}");
    refuse(StatusCode::NOT_FOUND, &message)
}

/// Who asks with a token of ours, if its agent may still connect.
async fn admit(
    gateway: &Gateway,
    (client, certificate): (Client, PeerCertificate),
    headers: &HeaderMap,
) -> Result<OwnedAgent, Response> {
    let limits = &gateway.limits;
    limits.http(client.address).map_err(refuse_for_a_while)?;
    if timeout(gateway.open_within, gateway.health.opened())
        .await
        .is_err()
    {
        return Err(refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is starting; try again",
        ));
    }
    let token = headers.get(header::AUTHORIZATION);
    let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| unauthorized("a token is wanted, as a bearer", "missing"))?;
    let now = Timestamp::now().as_second();
    let claims = gateway.ways.tokens.verify(token, now).map_err(|fault| {
        let message = if fault == TokenFault::Expired {
            "the token has expired; ask for another one"
        } else {
            "this is no token of this daemon for agents; ask for one"
        };
        unauthorized(message, fault.word())
    })?;
    let agent = hidps_wire::AgentId::new(claims.agent);
    limits.http_with_token(agent).map_err(refuse_for_a_while)?;
    if let Some(refusal) = certificate.refusal(Some(agent)) {
        return Err(refusal);
    }
    let credential = gateway.auth.credential(agent).await;
    let credential = credential.map_err(|error| refuse_connect(&error))?;
    let credential = judge(credential.as_ref()).map_err(|error| refuse_connect(&error))?;
    if key_text(credential) != claims.public_key {
        return Err(unauthorized(
            "the agent has another key since; ask for another token",
            "old_key",
        ));
    }
    let owned = OwnedAgent {
        agent,
        org: credential.org,
        key: credential.public_key,
    };
    note_heard(gateway, owned).map_err(refuse_place)?;
    Ok(owned)
}

/// Remembers that an agent asked, and has it recorded.
fn note_heard(gateway: &Gateway, owned: OwnedAgent) -> Result<(), Full> {
    let (agent, at) = (owned.agent, steady_now());
    let open = || gateway.links.sessions.open(agent);
    let heard = gateway.ways.hear(owned, Instant::now(), open)?;
    if gateway.links.presence.on_asked(agent, heard, at) {
        // It was told something by a connection meanwhile.
        gateway.ways.on_polling(agent, |polling| {
            polling.session = gateway.links.sessions.open(agent);
            polling.held = None;
        });
    }
    Ok(())
}

fn refuse_place(full: Full) -> Response {
    let by = full.word();
    metrics::counter!(telemetry::RATE_LIMITED, "route" => "place", "by" => by).increment(1);
    let message = "too many agents ask over HTTP just now; try again";
    refuse(StatusCode::SERVICE_UNAVAILABLE, message)
}

/// The key as tokens name it.
fn key_text(credential: &AgentCredential) -> String {
    STANDARD.encode(credential.public_key)
}

/// A refusal that says by which scheme to come back.
fn unauthorized(message: &str, kind: &'static str) -> Response {
    metrics::counter!(telemetry::AUTH_FAILURES, "kind" => kind).increment(1);
    let mut response = refuse(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer error=\"invalid_token\""),
    );
    response
}

/// Refuses a body that is not of this type, or that is packed: nothing is ever unpacked here, so that
/// no small body can become a large one.
fn check_body(headers: &HeaderMap, wanted: &str) -> Result<(), String> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let encoding = text(header::CONTENT_ENCODING).unwrap_or("identity");
    if !encoding.trim().eq_ignore_ascii_case("identity") {
        return Err("the body is packed; send it as it is".to_owned());
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(wanted) {
        return Err(format!("the body has to be {wanted}, as Content-Type says"));
    }
    Ok(())
}

/// Tells those apart that could not be asked about from those that were refused.
fn is_judged(error: &ConnectError) -> bool {
    !matches!(error, ConnectError::Unavailable(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_put_right_does_not_move_what_may_have_been_used_before() {
        let began = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(10);
        let ways = HttpWays::begun(AgentHttp::default(), began);
        let after = |seconds| began + jiff::SignedDuration::from_secs(seconds);
        let second = began.as_second();

        assert_eq!(ways.began_at((second + 30, after(30))), second);
        // It was an hour ahead, or behind.
        for step in [-3_600, 3_600] {
            assert_eq!(
                ways.began_at((second + step + 30, after(30))),
                second + step
            );
        }
    }
}
