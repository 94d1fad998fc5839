//! The only file that speaks to PostgREST: calls by name, and failures sorted into kinds.
//! It never decides whether to try again.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hidps_wire::{AgentId, EnrollRequest, Enrollment};
use postgrest::{Builder, Postgrest};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use crate::config::Supabase;
use crate::model::{
    AgentAccess, AgentCredential, AgentRefusal, Alert, ChangeReport, ConditionReport,
    DeliveryOutcome, DesiredState, DesiredVersion, DetectionIntent, DetectionReports, FactsReport,
    HealthReport, Notification, OrgId, OwnedAgent, PresenceReport, ProcessesReport, PublicKey,
    Unheard, UsageReport,
};
use crate::persistence::detection_rows::{
    IndexDocument, IntentDocument, RiskRow, ShadowRow, SuppressedRow, VerdictRow,
};
use crate::persistence::host_rows::{FactsRow, Kept, ProcessesRow, UsageRow};
use crate::persistence::rows::{
    AccessRow, AlertRow, ChangeRow, ConditionRow, CredentialRow, DesiredRow, GenerationRow,
    HealthRow, KeyRow, NotificationRow, PresenceRow, UnheardRow,
};
use crate::ports::{
    Access, DesiredReader, DetectionReader, Directory, FeedProbe, HealthWriter, NotificationQueue,
    RecordWriter, Said, StoreError, StoreErrorKind, StoreResult,
};

/// Longest wait for one answer; PostgREST's own statement limit is 8 s on hosted projects.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Header in which the database is told from where an agent asked; only the daemon's is believed.
const REPORTED_ADDRESS: &str = "x-hidps-reported-ip";

/// Unheard agents in one answer; the database gives no more.
const UNHEARD_PAGE: usize = 1_000;

/// Supabase's REST interface, once as the daemon and once as a person.
#[derive(Debug, Clone)]
pub struct Rest {
    service: Postgrest,
    person: Postgrest,
}

impl Rest {
    /// Prepares both; nothing is connected yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up or a key does not fit a header.
    pub fn new(supabase: &Supabase) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let base = supabase.url.join("rest/v1")?;
        let with_key = |key: &str| {
            Postgrest::new_with_client(&base, http.clone())?.insert_header("apikey", key)
        };
        let mut service = with_key(supabase.secret_key.expose_secret())?;
        if !supabase.secret_key.expose_secret().starts_with("sb_") {
            service = service.auth(supabase.secret_key.expose_secret())?;
        }
        let person = with_key(supabase.publishable_key.expose_secret())?;
        Ok(Self { service, person })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        function: &str,
        body: &impl Serialize,
    ) -> Result<T, StoreError> {
        fetch(operation, self.service.rpc_json(function, body)).await
    }

    /// Calls a function for an agent that asked from there.
    async fn call_for_agent<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        function: &str,
        body: &impl Serialize,
        from: Option<IpAddr>,
    ) -> Result<T, StoreError> {
        fetch(operation, self.for_agent(function, body, from)).await
    }

    /// The call of a function for an agent that asked from there.
    fn for_agent(&self, function: &str, body: &impl Serialize, from: Option<IpAddr>) -> Builder {
        let request = self.service.rpc_json(function, body);
        match from {
            Some(from) => request.insert_header(REPORTED_ADDRESS, from.to_string()),
            None => request,
        }
    }

    /// Marks every agent offline; called once at start, before any agent can connect.
    ///
    /// # Errors
    /// When Supabase did not do it.
    pub async fn reset_presence(&self) -> Result<(), StoreError> {
        let _changed: i64 = self
            .call("reset presence", "reset_presence", &json!({}))
            .await?;
        Ok(())
    }

    /// The agents that were connected when the last daemon stopped or died and have not been heard of
    /// since; never a part of them.
    ///
    /// # Errors
    /// When Supabase did not answer.
    pub async fn list_unheard(&self) -> Result<Vec<Unheard>, StoreError> {
        let mut unheard: Vec<Unheard> = Vec::new();
        loop {
            let after = unheard.last().map(|last| last.agent);
            let body = json!({ "after": after, "max_rows": UNHEARD_PAGE });
            let page: Vec<UnheardRow> = self
                .call("list unheard agents", "unheard_agents", &body)
                .await?;
            let n_rows = page.len();
            unheard.extend(page.into_iter().map(UnheardRow::into_unheard));
            if n_rows < UNHEARD_PAGE {
                return Ok(unheard);
            }
        }
    }

    /// Marks agents offline of whom nothing was heard for longer than the lease; gives how many.
    ///
    /// # Errors
    /// When Supabase did not do it.
    pub async fn expire_presence(&self) -> Result<i64, StoreError> {
        self.call("expire presence", "expire_presence", &json!({}))
            .await
    }

    /// Removes one bounded portion of what is past its retention; gives the rows removed.
    ///
    /// # Errors
    /// When Supabase did not do it.
    pub async fn purge(&self) -> Result<i64, StoreError> {
        self.call("purge old rows", "purge", &json!({})).await
    }
}

async fn fetch<T: DeserializeOwned>(
    operation: &'static str,
    request: Builder,
) -> Result<T, StoreError> {
    request
        .fetch()
        .await
        .map_err(|source| store_error(operation, source))
}

/// Asks without reading what is answered.
async fn run(operation: &'static str, request: Builder) -> Result<(), StoreError> {
    let answered = request.execute_checked().await;
    answered.map_err(|source| store_error(operation, source))?;
    Ok(())
}

fn store_error(operation: &'static str, source: postgrest::Error) -> StoreError {
    let code = source
        .postgrest_body()
        .map(|body| body.code.as_str().to_owned());
    let status = source.server_response().map(|(status, _)| status.as_u16());
    let unanswered = matches!(
        source,
        postgrest::Error::Request(_) | postgrest::Error::ResponseBody { .. }
    );
    let kind = match status {
        Some(status) => failure_kind(status, code.as_deref().unwrap_or_default()),
        None if unanswered => StoreErrorKind::Unavailable,
        None => StoreErrorKind::Malformed,
    };
    let sentence = source.postgrest_body().map(|body| body.message.clone());
    let cause = Box::new(source);
    StoreError {
        operation,
        kind,
        source: match sentence {
            Some(sentence) => Box::new(Said { sentence, cause }),
            None => cause,
        },
    }
}

/// Sorts an HTTP status and PostgREST's or Postgres' code. Only what speaks of the row or value
/// itself (SQLSTATE classes 22 and 23, PostgREST's request errors) is final: a schema that is not
/// migrated yet, a read-only database or a failing function pass, and what waits must survive them.
fn failure_kind(status: u16, code: &str) -> StoreErrorKind {
    match (status, code) {
        (_, "P0002") => StoreErrorKind::NotFound,
        (_, "28000" | "42501") | (401 | 403, _) => StoreErrorKind::Unauthorized,
        (429, _) => StoreErrorKind::RateLimited,
        (_, code) if code.starts_with("22") || code.starts_with("23") => StoreErrorKind::Rejected,
        (_, code) if code.starts_with("PGRST1") => StoreErrorKind::Rejected,
        (500.., _) => StoreErrorKind::Unavailable,
        (_, _) => StoreErrorKind::Malformed,
    }
}

fn rows<R, T: From<R>>(rows: Vec<R>) -> Vec<T> {
    rows.into_iter().map(T::from).collect()
}

impl DesiredReader for Rest {
    fn list_versions(
        &self,
        after: Option<AgentId>,
        limit: usize,
    ) -> StoreResult<'_, Vec<DesiredVersion>> {
        Box::pin(async move {
            let mut query = self
                .service
                .from("desired_generations")
                .select("agent_id,generation,changed_at")
                .order("agent_id.asc")
                .limit(limit);
            if let Some(after) = after {
                query = query.gt("agent_id", after.to_string());
            }
            let page: Vec<GenerationRow> = fetch("list desired_generations", query).await?;
            Ok(rows(page))
        })
    }

    fn read_desired(&self, agents: Vec<AgentId>) -> StoreResult<'_, Vec<(AgentId, DesiredState)>> {
        Box::pin(async move {
            let body = json!({ "agent_ids": agents });
            let found: Vec<DesiredRow> = self
                .call("read desired_state", "desired_state", &body)
                .await?;
            Ok(rows(found))
        })
    }
}

impl RecordWriter for Rest {
    fn write_alert(&self, alert: Alert) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "alert": AlertRow::from(alert) });
            let _row: serde_json::Value = self.call("write alert", "upsert_alert", &body).await?;
            Ok(())
        })
    }

    fn write_conditions(&self, reports: Vec<ConditionReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "reports": rows::<_, ConditionRow>(reports) });
            let _changed: i64 = self
                .call("write conditions", "report_conditions", &body)
                .await?;
            Ok(())
        })
    }

    fn write_presence(&self, reports: Vec<PresenceReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "reports": rows::<_, PresenceRow>(reports) });
            let _changed: i64 = self
                .call("write presence", "record_presence", &body)
                .await?;
            Ok(())
        })
    }

    fn write_changes(&self, reports: Vec<ChangeReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "reports": rows::<_, ChangeRow>(reports) });
            let _changed: i64 = self.call("write changes", "record_changes", &body).await?;
            Ok(())
        })
    }

    fn write_usage(&self, reports: Vec<UsageReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "reports": rows::<_, UsageRow>(reports) });
            let _changed: i64 = self.call("write usage", "record_usage", &body).await?;
            Ok(())
        })
    }

    fn write_processes(&self, reports: Vec<ProcessesReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "reports": rows::<_, ProcessesRow>(reports) });
            let kept: Kept = self
                .call("write processes", "record_processes", &body)
                .await?;
            kept.tell("processes");
            Ok(())
        })
    }

    fn write_facts(&self, reports: Vec<FactsReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "reports": rows::<_, FactsRow>(reports) });
            let kept: Kept = self.call("write facts", "record_facts", &body).await?;
            kept.tell("facts");
            Ok(())
        })
    }

    fn write_detection(&self, reports: DetectionReports) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let (operation, function, body) = match reports {
                DetectionReports::Verdicts(verdicts) => (
                    "write detection verdicts",
                    "report_detection",
                    json!({ "reports": rows::<_, VerdictRow>(verdicts) }),
                ),
                DetectionReports::Shadow(reports) => (
                    "write shadow_matches",
                    "record_shadow_matches",
                    json!({ "reports": rows::<_, ShadowRow>(reports) }),
                ),
                DetectionReports::Suppressed(reports) => (
                    "write suppressed",
                    "record_suppressed",
                    json!({ "reports": rows::<_, SuppressedRow>(reports) }),
                ),
                DetectionReports::Risk(reports) => (
                    "write agent_risk",
                    "record_risk",
                    json!({ "reports": rows::<_, RiskRow>(reports) }),
                ),
            };
            let _changed: i64 = self.call(operation, function, &body).await?;
            Ok(())
        })
    }
}

impl DetectionReader for Rest {
    fn list_detection(&self) -> StoreResult<'_, Vec<(OrgId, u64)>> {
        const OPERATION: &str = "list detection_index";
        Box::pin(async move {
            let index: IndexDocument = self.call(OPERATION, "detection_index", &json!({})).await?;
            index.entries().map_err(|source| StoreError {
                operation: OPERATION,
                kind: StoreErrorKind::Malformed,
                source: Box::new(source),
            })
        })
    }

    fn read_detection(&self, org: OrgId) -> StoreResult<'_, Option<DetectionIntent>> {
        Box::pin(async move {
            let document: Option<IntentDocument> = self
                .call(
                    "read detection_intent",
                    "detection_intent",
                    &json!({ "p_org": org.0 }),
                )
                .await?;
            Ok(document.map(DetectionIntent::from))
        })
    }
}

impl FeedProbe for Rest {
    fn beat(&self, daemon: Uuid, beat: u64) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "p_daemon": daemon, "p_beat": beat });
            let request = self.service.rpc_json("beat_canary", &body);
            run("write canary", request).await
        })
    }
}

impl HealthWriter for Rest {
    fn report_health(&self, reports: Vec<HealthReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "reports": rows::<_, HealthRow>(reports) });
            let request = self.service.rpc_json("report_health", &body);
            run("write system_health", request).await
        })
    }
}

impl Directory for Rest {
    fn credentials(
        &self,
        agents: Vec<AgentId>,
    ) -> StoreResult<'_, Vec<(AgentId, AgentCredential)>> {
        Box::pin(async move {
            let body = json!({ "agent_ids": agents });
            let found: Vec<CredentialRow> = self
                .call("read agent keys", "agent_credentials", &body)
                .await?;
            Ok(found.iter().filter_map(CredentialRow::credential).collect())
        })
    }

    fn admitted(&self, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentId>> {
        Box::pin(async move {
            let query = self
                .service
                .from("agent_keys")
                .select("agent_id")
                .eq("status", "admitted")
                .in_("agent_id", agents.iter().map(ToString::to_string));
            let found: Vec<KeyRow> = fetch("list admitted keys", query).await?;
            Ok(found.into_iter().map(|row| row.agent_id).collect())
        })
    }

    fn enroll(
        &self,
        agent: AgentId,
        token: Option<String>,
        request: EnrollRequest,
        from: Option<IpAddr>,
    ) -> StoreResult<'_, Enrollment> {
        Box::pin(async move {
            let body = json!({
                "p_agent_id": agent, "p_token": token, "p_public_key": request.public_key,
                "p_hostname": request.hostname, "p_os": request.os, "p_arch": request.arch,
                "p_agent_version": request.agent_version,
            });
            self.call_for_agent("enroll agent", "enroll_agent", &body, from)
                .await
        })
    }

    fn use_token(
        &self,
        agent: AgentId,
        token: String,
        from: Option<IpAddr>,
    ) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({ "p_agent_id": agent, "p_token": token });
            let _uses_left: i64 = self
                .call_for_agent("use agent token", "use_agent_token", &body, from)
                .await?;
            Ok(())
        })
    }

    fn record_refusal(&self, refusal: AgentRefusal) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({
                "p_agent_id": refusal.agent, "p_prefix": refusal.token_prefix,
                "p_reason": refusal.reason,
            });
            let function = "record_refusal";
            let _is_told: bool = self
                .call_for_agent("record refusal", function, &body, refusal.from)
                .await?;
            Ok(())
        })
    }

    fn rotate(
        &self,
        signer: OwnedAgent,
        successor: PublicKey,
        from: Option<IpAddr>,
    ) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let body = json!({
                "p_agent_id": signer.agent,
                "p_present_key": STANDARD.encode(signer.key),
                "p_new_key": STANDARD.encode(successor),
            });
            let request = self.for_agent("rotate_agent_key", &body, from);
            run("rotate agent key", request).await
        })
    }
}

impl Access for Rest {
    fn readable(&self, token: String, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentAccess>> {
        Box::pin(async move {
            let body = json!({ "agent_ids": agents });
            let request = self.person.rpc_json("agent_access", &body).auth(token);
            let found: Vec<AccessRow> = fetch("check access", request).await?;
            Ok(rows(found))
        })
    }
}

impl NotificationQueue for Rest {
    fn claim(&self, max: u32, lease_secs: u32) -> StoreResult<'_, Vec<Notification>> {
        Box::pin(async move {
            let body = json!({ "max": max, "lease_seconds": lease_secs });
            let found: Vec<NotificationRow> = self
                .call("claim notifications", "claim_notifications", &body)
                .await?;
            Ok(rows(found))
        })
    }

    fn finish(&self, id: Uuid, outcome: DeliveryOutcome) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let (name, error, retry) = match outcome {
                DeliveryOutcome::Sent => ("sent", None, None),
                DeliveryOutcome::Retry { error, after_secs } => {
                    ("retry", Some(error), Some(after_secs))
                }
                DeliveryOutcome::Failed { error } => ("failed", Some(error), None),
            };
            let body = json!({
                "p_id": id, "p_outcome": name, "p_error": error, "p_retry_seconds": retry,
            });
            let request = self.service.rpc_json("finish_notification", &body);
            run("finish notification", request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Retry;

    fn check(status: u16, code: &str, expected: Retry) {
        let kind = failure_kind(status, code);

        let error = StoreError {
            operation: "test",
            kind,
            source: "scripted".into(),
        };
        assert_eq!(error.retry(), expected, "{status} {code}");
    }

    #[test]
    fn only_a_refused_row_or_value_is_final() {
        check(400, "22023", Retry::Never);
        check(409, "23503", Retry::Never);
        check(400, "PGRST102", Retry::Never);
        check(404, "P0002", Retry::Never);
    }

    #[test]
    fn what_passes_when_somebody_acts_is_tried_again() {
        check(404, "PGRST202", Retry::Slowly);
        check(405, "25006", Retry::Slowly);
        check(404, "42883", Retry::Slowly);
        check(400, "42703", Retry::Slowly);
        check(401, "PGRST301", Retry::Slowly);
        check(403, "42501", Retry::Slowly);
        check(429, "", Retry::Slowly);
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_soon() {
        check(500, "XX000", Retry::Soon);
        check(503, "", Retry::Soon);
        check(504, "PGRST003", Retry::Soon);
    }

    /// The head of the request that a daemon with this key makes.
    async fn head_with(secret_key: &str) -> String {
        use tokio::io::AsyncReadExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback can be bound");
        let address = listener.local_addr().expect("it is bound");
        let rest = Rest::new(&Supabase {
            url: format!("http://{address}").parse().expect("a URL"),
            secret_key: secret_key.to_owned().into(),
            publishable_key: "sb_publishable_x".to_owned().into(),
        });
        let rest = rest.expect("the keys fit headers");
        let mut asking = tokio::task::JoinSet::new();
        asking.spawn(async move { rest.purge().await.is_ok() });
        let (mut stream, _) = listener.accept().await.expect("it asks");
        let mut head = vec![0; 4096];
        let n_read = stream.read(&mut head).await.expect("it asks");
        String::from_utf8_lossy(&head[..n_read]).to_lowercase()
    }

    #[tokio::test]
    async fn a_new_secret_key_is_no_bearer_and_a_legacy_one_is() {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let new = head_with("sb_secret_abc").await;
        let legacy = head_with("e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln").await;

        assert!(new.contains("apikey: sb_secret_abc"), "{new}");
        assert!(!new.contains("authorization:"), "{new}");
        assert!(legacy.contains("apikey: e30."), "{legacy}");
        assert!(legacy.contains("authorization: bearer e30."), "{legacy}");
    }
}
