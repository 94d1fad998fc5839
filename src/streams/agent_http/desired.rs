//! `GET /v1/agent/desired`: the document a host should apply, for hosts that can only ask; and what
//! such a host says it has applied. The session that decides is the socket's; it never sends by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hidps_wire::{
    AgentId, Applied, ConditionStatus, ContentHash, DaemonFrame, Generation, Hello,
    PROTOCOL_VERSION, Status, encode,
};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use crate::model::{ConditionKind, ConditionReport, DesiredState, Milestone};
use crate::steady_clock::steady_now;
use crate::streams::agent_http::polling::Polling;
use crate::streams::agent_http::{admit, closed};
use crate::streams::agent_link::AgentLinks;
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::peer::Client;
use crate::streams::routes::{Gateway, refuse};

/// Longest wait for what is desired to be read.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Longest hash taken, in bytes; the database's has 64.
const MAX_HASH: usize = 128;

/// Says what is to be applied, that nothing is, or why it is held back.
pub(in crate::streams) async fn serve_desired(
    State(gateway): State<Gateway>,
    caller: (Client, PeerCertificate),
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    if !gateway.ways.open.desired {
        return closed("HIDPS_HTTP_DESIRED");
    }
    let owned = match admit(&gateway, caller, &headers).await {
        Ok(owned) => owned,
        Err(refusal) => return refusal,
    };
    let presence = &gateway.links.presence;
    presence.on_beat(owned.agent, steady_now());
    let applied = match parse_applied(query.as_deref().unwrap_or_default()) {
        Ok(applied) => applied,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
    };
    match read_desired(&gateway.links, owned.agent).await {
        Some(desired) => answer(&gateway, owned.agent, (applied, desired)),
        None => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "what is desired of this agent is not known just now; try again",
        ),
    }
}

fn answer(
    gateway: &Gateway,
    agent: AgentId,
    said: (Option<Applied>, Arc<DesiredState>),
) -> Response {
    let (links, now) = (&gateway.links, Instant::now());
    let decided = gateway
        .ways
        .on_polling(agent, |polling| decide(polling, said, now));
    let Some(Some(decided)) = decided else {
        return refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "this host says too often that it has applied something else; try again",
        );
    };
    if !decided.conditions.is_empty() {
        links.records.conditions(decided.conditions);
    }
    links.record_milestones(agent, decided.milestones);
    match (decided.frame, decided.held) {
        (Some(frame), _) => (json_kind(), encode(&frame)).into_response(),
        (None, Some(sentence)) => refuse(StatusCode::CONFLICT, &sentence),
        (None, None) => StatusCode::NOT_MODIFIED.into_response(),
    }
}

/// What a host is told, and what of that is to be recorded.
struct Decided {
    frame: Option<DaemonFrame>,
    /// Why nothing is sent.
    held: Option<String>,
    conditions: Vec<ConditionReport>,
    milestones: Vec<(Generation, Timestamp, Milestone)>,
}

/// Decides what a host is told; nothing if it says something else too often, for that becomes rows.
fn decide(
    polling: &mut Polling,
    (applied, desired): (Option<Applied>, Arc<DesiredState>),
    now: Instant,
) -> Option<Decided> {
    if polling.claimed.as_ref() != Some(&applied) {
        if !polling.statuses.try_take(now) {
            return None;
        }
        polling.claimed = Some(applied.clone());
    }
    let session = &mut polling.session;
    session.begin_anew();
    session.on_hello(&hello(applied), now.into_std());
    session.on_desired(desired, now.into_std());
    let conditions = session.poll_conditions();
    let of_holding = conditions
        .iter()
        .rfind(|condition| condition.kind == ConditionKind::Held);
    if let Some(condition) = of_holding {
        let is_held = condition.status == ConditionStatus::True;
        polling.held = is_held.then(|| condition.message.clone());
    }
    Some(Decided {
        frame: session.poll_frame(),
        held: polling.held.clone(),
        conditions,
        milestones: session.poll_milestones(),
    })
}

fn json_kind() -> [(header::HeaderName, HeaderValue); 2] {
    [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

/// Takes what a host read back, as its connection would.
///
/// # Errors
/// With the answer to a host that says it too often.
pub(super) async fn take_status(
    gateway: &Gateway,
    agent: AgentId,
    status: Status,
) -> Result<(), Response> {
    let (links, now) = (&gateway.links, Instant::now());
    let desired = read_desired(links, agent).await;
    let taken = gateway.ways.on_polling(agent, |polling| {
        polling.statuses.try_take(now).then(|| {
            polling.firewall_active = status.firewall_active;
            let session = &mut polling.session;
            session.begin_anew();
            session.on_hello(&hello(status.applied.clone()), now.into_std());
            // Of another document nothing is sent here, so that nothing may be said of having sent it.
            if let Some(desired) = desired.filter(|desired| is_applied(&status, desired)) {
                polling.held = None;
                session.on_desired(desired, now.into_std());
            }
            session.on_status(status, now.into_std());
            (session.poll_conditions(), session.poll_milestones())
        })
    });
    let Some((conditions, milestones)) = taken.flatten() else {
        let message = "this host says how it is too often; try again";
        return Err(refuse(StatusCode::TOO_MANY_REQUESTS, message));
    };
    links.records.conditions(conditions);
    links.record_milestones(agent, milestones);
    Ok(())
}

fn is_applied(status: &Status, desired: &DesiredState) -> bool {
    let applied = status.applied.as_ref();
    applied.is_some_and(|applied| {
        applied.generation == desired.generation && applied.hash == desired.hash
    })
}

async fn read_desired(links: &AgentLinks, agent: AgentId) -> Option<Arc<DesiredState>> {
    let mut following = links.desired.follow(agent);
    let known = timeout(READ_WITHIN, following.wait_for(Option::is_some)).await;
    known.ok()?.ok()?.clone()
}

/// The greeting of a host that says of itself only what it has applied.
fn hello(applied: Option<Applied>) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        agent_version: String::new(),
        hostname: String::new(),
        os: String::new(),
        arch: String::new(),
        boot: None,
        retires_keys: false,
        applied,
    }
}

/// What a host says it has applied: `generation`, `hash` and `entries`, or nothing at all.
fn parse_applied(query: &str) -> Result<Option<Applied>, &'static str> {
    const WANTED: &str = "generation, hash and entries come together, each once, or not at all";
    let (mut generation, mut hash, mut entries) = (None, None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let before = match name.as_ref() {
            "generation" => generation
                .replace(value.parse().map_err(|_| WANTED)?)
                .is_some(),
            "entries" => entries
                .replace(value.parse().map_err(|_| WANTED)?)
                .is_some(),
            "hash" if value.len() <= MAX_HASH => hash.replace(value.into_owned()).is_some(),
            _ => true,
        };
        if before {
            return Err(WANTED);
        }
    }
    match (generation, hash, entries) {
        (None, None, None) => Ok(None),
        (Some(generation), Some(hash), Some(entries)) => Ok(Some(Applied {
            generation: Generation(generation),
            hash: ContentHash(hash),
            entries,
        })),
        _ => Err(WANTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_is_said_whole_or_not_at_all() {
        assert_eq!(parse_applied(""), Ok(None));
        let whole = parse_applied("generation=7&hash=9f2c&entries=2");
        let applied = whole.expect("it is whole").expect("it is said");
        assert_eq!((applied.generation, applied.entries), (Generation(7), 2));
        assert_eq!(applied.hash, ContentHash("9f2c".into()));
        for bad in [
            "generation=7".to_owned(),
            "generation=7&hash=9f2c".to_owned(),
            "generation=-1&hash=a&entries=2".to_owned(),
            "generation=7&hash=a&entries=2&entries=2".to_owned(),
            "generation=7&hash=a&entries=2&more=1".to_owned(),
            "generation=18446744073709551616&hash=a&entries=2".to_owned(),
            format!("generation=7&hash={}&entries=2", "a".repeat(129)),
        ] {
            assert!(parse_applied(&bad).is_err(), "{bad}");
        }
    }
}
