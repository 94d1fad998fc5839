//! `POST /v1/agent/events`: what a host says of itself, on its way to where the frames of the socket go.
//! It never takes a body before it knows who sends it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hidps_wire::{
    AgentFrame, AgentId, DecodeError, MAX_EVENTS_PER_BATCH, Posted, PostedLine, Usage, read_posted,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::model::{FactsReport, Observation, OwnedAgent, ProcessesReport, UsageReport};
use crate::ports::RawBatch;
use crate::steady_clock::steady_now;
use crate::streams::agent_http::batches::batches_of;
use crate::streams::agent_http::desired::take_status;
use crate::streams::agent_http::outcome::{PostProgress, RuleHit};
use crate::streams::agent_http::seats::Full;
use crate::streams::agent_http::{admit, check_body, closed};
use crate::streams::agent_link::{USAGE_EVERY, observed_usage};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::peer::Client;
use crate::streams::routes::{Gateway, refuse};
use crate::telemetry;

/// Pause before detection is asked again whether it has room.
const STALL: Duration = Duration::from_millis(20);

/// Longest time a body may take to arrive.
const ARRIVED_WITHIN: Duration = Duration::from_secs(15);

/// Longest wait for detection; its queue holds some milliseconds of work.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// Takes a batch, a frame or lines of a host.
pub(in crate::streams) async fn take_events(
    State(gateway): State<Gateway>,
    caller: (Client, PeerCertificate),
    request: Request,
) -> Response {
    if !gateway.ways.open.events {
        return closed("HIDPS_HTTP_EVENTS");
    }
    match receive(&gateway, caller, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refusal,
    }
}

async fn receive(
    gateway: &Gateway,
    caller: (Client, PeerCertificate),
    request: Request,
) -> Result<Value, Response> {
    let owned = admit(gateway, caller, request.headers()).await?;
    check_body(request.headers(), "application/json")
        .map_err(|message| refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message))?;
    let _seat = gateway.ways.seats.take(owned).map_err(refuse_seat)?;
    let body = receive_body(request).await?;
    let text = Utf8Bytes::try_from(body).map_err(|_| bad_body("the body is not UTF-8"))?;
    match read_posted(&text) {
        Ok(Posted::Batch) => {
            let submitted = submit(gateway, owned, text.clone(), Duration::ZERO).await;
            let hits = submitted.map_err(|untaken| untaken.answer(0))?;
            Ok(accepted(&hits))
        }
        Ok(Posted::Lines(lines)) => take_lines(gateway, owned, &lines).await,
        Ok(Posted::Frame(frame)) => take_frame(gateway, owned, frame).await,
        Ok(Posted::Report(report)) => {
            if !is_own(owned.agent, report.agent.as_deref()) {
                return Err(names_another());
            }
            gateway.links.presence.on_beat(owned.agent, steady_now());
            let firewall = report.firewall_active;
            take_usage(gateway, owned.agent, report.usage, firewall);
            Ok(accepted(&[]))
        }
        Err(error @ DecodeError::TooLarge { .. }) => Err(refuse_body(
            StatusCode::PAYLOAD_TOO_LARGE,
            &error.to_string(),
        )),
        Err(error) => Err(bad_body(&error.to_string())),
    }
}

/// A body that comes drop by drop must not hold its seat.
async fn receive_body(request: Request) -> Result<Bytes, Response> {
    let arriving = timeout(ARRIVED_WITHIN, Bytes::from_request(request, &()));
    let Ok(body) = arriving.await else {
        metrics::counter!(telemetry::SLOW_PEERS, "owed" => "body").increment(1);
        let message = "the body did not arrive within 15 s; nothing of it was taken";
        return Err(refuse(StatusCode::REQUEST_TIMEOUT, message));
    };
    body.map_err(|rejection| refuse_body(rejection.status(), &rejection.body_text()))
}

fn refuse_seat(full: Full) -> Response {
    let by = full.word();
    metrics::counter!(telemetry::RATE_LIMITED, "route" => "body", "by" => by).increment(1);
    match full {
        Full::Agent => refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "this agent posts too much at once; wait for an answer before the next post",
        ),
        Full::Organization | Full::All => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many hosts post at once; try again",
        ),
    }
}

/// Hands lines of an older agent to detection as one batch, and answers in its own words.
async fn take_lines(
    gateway: &Gateway,
    owned: OwnedAgent,
    lines: &[PostedLine<'_>],
) -> Result<Value, Response> {
    let of_own = |line: &PostedLine<'_>| is_own(owned.agent, line.agent.as_deref());
    if !lines.iter().all(of_own) {
        return Err(names_another());
    }
    let (mut hits, mut patience, mut n_taken) = (Vec::new(), Duration::ZERO, 0);
    for (n_lines, batch) in batches_of(lines, Timestamp::now()) {
        let submitted = submit(gateway, owned, batch.into(), patience).await;
        hits.extend(submitted.map_err(|untaken| untaken.answer(n_taken))?);
        // What was taken in would count twice if the rest were refused.
        patience = TAKEN_WITHIN;
        n_taken += n_lines;
    }
    hits.truncate(MAX_EVENTS_PER_BATCH);
    let mut answer = accepted(&hits);
    if lines.iter().any(|line| line.parties.is_some()) {
        answer["message"] = json!("taken in");
        // Names the post in the sender's own log; nothing of it is kept here.
        answer["log_id"] = json!(Uuid::new_v4());
    }
    Ok(answer)
}

async fn take_frame(
    gateway: &Gateway,
    owned: OwnedAgent,
    frame: AgentFrame,
) -> Result<Value, Response> {
    let (ways, records) = (&gateway.ways, &gateway.links.records);
    let (agent, now) = (owned.agent, Instant::now());
    gateway.links.presence.on_beat(agent, steady_now());
    match frame {
        AgentFrame::Usage(usage) => take_usage(gateway, agent, usage, None),
        AgentFrame::Processes(processes) => {
            let is_news = ways.on_polling(agent, |polling| {
                polling.signs.are_processes_news(&processes, now)
            });
            if is_news == Some(true) {
                records.processes(ProcessesReport {
                    agent_id: agent,
                    org: owned.org,
                    at: steady_now(),
                    processes,
                });
            }
        }
        AgentFrame::Facts(facts) => {
            let due = ways.on_polling(agent, |polling| {
                polling.signs.on_facts(facts);
                polling.signs.take_facts(now)
            });
            if let Some(facts) = due.flatten() {
                records.facts(FactsReport {
                    agent_id: agent,
                    facts,
                });
            }
        }
        AgentFrame::Status(status) => take_status(gateway, agent, status).await?,
        AgentFrame::Hello(_) | AgentFrame::Answer { .. } => {
            return Err(bad_body("this frame belongs to the socket alone"));
        }
    }
    Ok(accepted(&[]))
}

/// Records usage, and shows it to rules, as a connection does.
fn take_usage(gateway: &Gateway, agent: AgentId, usage: Usage, firewall_active: Option<bool>) {
    let now = Instant::now();
    let observed: Observation = observed_usage(&usage);
    let decided = gateway.ways.on_polling(agent, |polling| {
        polling.firewall_active = firewall_active.or(polling.firewall_active);
        let is_shown = now >= polling.usage_at;
        if is_shown {
            polling.usage_at = now + USAGE_EVERY;
        }
        let report = UsageReport::of(agent, usage, polling.firewall_active);
        let is_news = polling.signs.is_news(&report, now);
        (is_shown, is_news.then_some(report))
    });
    let Some((is_shown, report)) = decided else {
        return;
    };
    if is_shown {
        gateway.links.presence.observe(agent, observed);
    }
    if let Some(report) = report {
        gateway.links.records.usage(report);
    }
}

/// Hands a batch to detection, which may have no room for it for so long, and waits until it was taken in.
async fn submit(
    gateway: &Gateway,
    OwnedAgent { agent, org, .. }: OwnedAgent,
    text: Utf8Bytes,
    patience: Duration,
) -> Result<Vec<RuleHit>, Untaken> {
    let (progress, outcome) = PostProgress::new();
    let mut batch = RawBatch {
        agent_id: agent,
        org,
        text,
        progress: Arc::new(progress),
    };
    let give_up_at = Instant::now() + patience;
    while let Err(refused) = gateway.links.intake.submit(batch) {
        if Instant::now() >= give_up_at {
            metrics::counter!(telemetry::STALLS).increment(1);
            return Err(Untaken::NoRoom);
        }
        batch = refused;
        sleep(STALL).await;
    }
    match timeout(TAKEN_WITHIN, outcome).await {
        Ok(Ok(Ok(hits))) => Ok(hits),
        Ok(Ok(Err(reason))) => Err(Untaken::Refused(reason)),
        Ok(Err(_)) | Err(_) => Err(Untaken::Unknown),
    }
}

/// Why a batch was not taken in.
enum Untaken {
    /// Detection has no room for it.
    NoRoom,
    /// Detection refused it.
    Refused(String),
    /// Nobody has said; it may have been.
    Unknown,
}

impl Untaken {
    /// What is said when so many lines of the same post were taken in before it.
    fn answer(self, n_taken: usize) -> Response {
        let is_behind = matches!(self, Self::NoRoom);
        let (status, message) = match self {
            Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "detection is behind".to_owned()),
            Self::Refused(reason) => (StatusCode::BAD_REQUEST, reason),
            Self::Unknown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "detection did not say that it took the events in, which may count twice when posted \
                 again"
                    .to_owned(),
            ),
        };
        match n_taken {
            0 if is_behind => refuse(status, "detection is behind; post the same again"),
            0 => refuse(status, &message),
            n => refuse(
                status,
                &format!(
                    "{message}; the first {n} lines of this post were taken in, post the others"
                ),
            ),
        }
    }
}

/// What is said of events that were taken in: the rules they matched, and the highest risk of these.
fn accepted(hits: &[RuleHit]) -> Value {
    let alerts: Vec<Value> = hits
        .iter()
        .map(|hit| json!({ "rule_id": hit.rule_id, "message": hit.title, "risk": hit.risk }))
        .collect();
    let risk = hits.iter().map(|hit| hit.risk).max().unwrap_or(0);
    json!({ "accepted": true, "risk": risk, "alerts": alerts })
}

/// A body may name its agent, but no other.
fn is_own(agent: AgentId, claimed: Option<&str>) -> bool {
    claimed.is_none_or(|id| id.parse() == Ok(agent))
}

fn names_another() -> Response {
    let message = "agent_id is not that of the token; nothing of this post was taken";
    refuse_body(StatusCode::FORBIDDEN, message)
}

fn bad_body(message: &str) -> Response {
    refuse_body(StatusCode::BAD_REQUEST, message)
}

/// Counts what cannot be read, as the socket does.
fn refuse_body(status: StatusCode, message: &str) -> Response {
    metrics::counter!(telemetry::FRAMES_REFUSED, "peer" => "agent").increment(1);
    refuse(status, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_post_of_which_only_the_first_lines_were_taken_in_says_how_many() {
        for (untaken, n_taken, expected, words) in [
            (Untaken::NoRoom, 0, 503, "post the same again"),
            (Untaken::NoRoom, 40, 503, "the first 40 lines"),
            (Untaken::Unknown, 40, 503, "the first 40 lines"),
            (
                Untaken::Refused("too long".into()),
                40,
                400,
                "the first 40 lines",
            ),
            (Untaken::Refused("too long".into()), 0, 400, "too long"),
        ] {
            let response = untaken.answer(n_taken);
            assert_eq!(response.status(), expected);
            let body = axum::body::to_bytes(response.into_body(), 1_000).await;
            let body = String::from_utf8(body.expect("short").to_vec()).expect("text");
            assert!(body.contains(words), "{body}");
            assert_eq!(body.contains("lines of this post"), n_taken > 0, "{body}");
        }
    }
}
