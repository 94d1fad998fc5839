//! A host with nothing but an HTTP client, through the whole product: it enrolls, fetches a token,
//! posts what it saw, asks what it should be, and says what it became.

use std::time::Duration;

use hidps_lab::world::probe::wait_until;
use hidps_lab::world::viewer::Viewer;
use hidps_lab::world::{ORGANIZATION, STRANGER, World};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::faults::shared::with_world;

const PATIENCE: Duration = Duration::from_secs(60);

const OPEN: [(&str, &str); 3] = [
    ("HIDPS_HTTP_TOKEN", "true"),
    ("HIDPS_HTTP_EVENTS", "true"),
    ("HIDPS_HTTP_DESIRED", "true"),
];

/// What such a host has: an id, a token of an admin, and where the daemon is.
pub(crate) struct Host {
    pub(crate) id: String,
    base: String,
    pub(crate) client: Client,
    pub(crate) bearer: String,
}

impl Host {
    /// A host whose agent the admin makes, with a token for it alone.
    async fn enroll(world: &mut World) -> (Self, String) {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let (id, token) = make_agent(world).await;
        let base = format!("http://{}", world.daemon.address());
        let host = Self::enroll_as(id, &token, (base, Client::new())).await;
        (host, token)
    }

    /// The host of a row that speaks with a daemon at an address, by a client.
    pub(crate) async fn enroll_as(
        id: String,
        token: &str,
        (base, client): (String, Client),
    ) -> Self {
        let host = Self {
            id,
            base,
            client,
            bearer: String::new(),
        };
        let key = json!({
            "public_key": "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=", "hostname": "poller",
            "os": "linux", "arch": "x86_64", "agent_version": "curl",
        });
        let url = format!("{}/v1/agents/{}/enroll", host.base, host.id);
        let request = host.client.post(url).header("x-api-key", token).json(&key);
        let enrolled = request.send().await.expect("it answers");
        assert_eq!(enrolled.status(), StatusCode::OK);
        host
    }

    pub(crate) async fn ask_token(&self, secret: &str) -> (StatusCode, Value) {
        let url = format!("{}/v1/agent/token", self.base);
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={secret}",
            self.id
        );
        let kind = "application/x-www-form-urlencoded";
        let request = self
            .client
            .post(url)
            .header("content-type", kind)
            .body(form);
        let answer = request.send().await.expect("it answers");
        let status = answer.status();
        (status, answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn post(&self, body: Value) -> (StatusCode, Value) {
        let url = format!("{}/v1/agent/events", self.base);
        let request = self.client.post(url).bearer_auth(&self.bearer).json(&body);
        let answer = request.send().await.expect("it answers");
        let status = answer.status();
        (status, answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn desired(&self, query: &str) -> (StatusCode, Value) {
        let url = format!("{}/v1/agent/desired{query}", self.base);
        let request = self.client.get(url).bearer_auth(&self.bearer);
        let answer = request.send().await.expect("it answers");
        let status = answer.status();
        (status, answer.json().await.unwrap_or_default())
    }
}

/// The id of an agent that the admin makes, and a token for it alone.
pub(crate) async fn make_agent(world: &mut World) -> (String, String) {
    let made = json!({"name": "poller", "org": ORGANIZATION});
    let id = world.admin.rpc("create_agent", made).await.expect("made");
    let id = id.as_str().expect("an id").to_owned();
    let wanted = json!({
        "org": ORGANIZATION, "name": "poller", "agent": id, "max_uses": 5,
    });
    let token = world.admin.rpc("create_agent_token", wanted).await;
    let token = token.expect("made").as_str().expect("text").to_owned();
    (id, token)
}

/// Guesses of a password, in the form of older agents.
fn guesses(agent: &str) -> Value {
    let line = |n: u32| {
        json!({
            "timestamp": "2026-11-21T00:00:00.000000Z", "agent_id": agent, "type": "login",
            "service": "sshd",
            "message": format!("Failed password for root from 203.0.113.77 port {} ssh2", 40_000 + n),
        })
    };
    (0..30).map(line).collect()
}

#[test]
fn a_host_that_speaks_http_alone_is_watched_and_told_like_any_other() {
    with_world(&OPEN, async |world| {
        let (mut host, secret) = Host::enroll(world).await;
        let (status, granted) = host.ask_token(&secret).await;
        assert_eq!(status, StatusCode::OK, "{granted}");
        let token = granted["access_token"].as_str().expect("text");
        host.bearer = token.to_owned();

        watch_and_raise(world, &host).await;
        converge(world, &host).await;
        end_with_the_key(world, &host, &secret).await;
    });
}

/// What is posted is seen by whoever watches, and becomes an alert.
async fn watch_and_raise(world: &World, host: &Host) {
    let agent = host.id.parse().expect("an id");
    let address = world.daemon.address();
    let mut viewer = Viewer::connect(address, world.admin.access_token())
        .await
        .expect("let in");
    viewer.subscribe(agent).await.expect("the admin may watch");

    let (status, answer) = host.post(guesses(&host.id)).await;

    assert_eq!(status, StatusCode::OK, "{answer}");
    let title = "SSH brute force from one source";
    let told = answer["alerts"].as_array().expect("a list");
    assert!(
        told.iter().any(|alert| alert["message"] == title),
        "{answer}"
    );
    let seen = viewer.next_event("a posted line", PATIENCE, |event| {
        event.message.contains("203.0.113.77")
    });
    seen.await.expect("the viewer sees it");
    let raised = wait_until("the alert", PATIENCE, async || {
        let alerts = world.outside().list_alerts(&host.id, title).await;
        let alerts = alerts.map_err(|error| error.to_string())?;
        if alerts.len() == 1 {
            Ok(())
        } else {
            Err(format!("{alerts:?}"))
        }
    });
    raised.await.expect("it is a row, once");
    let online = world.outside().is_online(&host.id).await;
    assert!(online.expect("there is a row"));
}

/// What the admin writes reaches the host by asking, and what the host says reaches the rows.
async fn converge(world: &mut World, host: &Host) {
    let user_id = world.admin.user_id().to_owned();
    let row = json!({"agent_id": host.id, "file_path": "/etc/hostname", "added_by": user_id});
    world
        .admin
        .insert("monitored_files", row)
        .await
        .expect("written");
    let told = wait_until("the document", PATIENCE, async || {
        let (status, body) = host.desired("").await;
        let paths = &body["document"]["monitored_files"];
        if status == StatusCode::OK && *paths == json!(["/etc/hostname"]) {
            return Ok(body);
        }
        Err(format!("{status} {body}"))
    });
    let (document, _) = told.await.expect("the host is told");
    let (generation, hash) = (&document["generation"], document["hash"].as_str());
    let applied = json!({"generation": generation, "hash": hash, "entries": 1});
    let watched = json!({
        "type": "FilesWatched", "status": "true", "reason": "Watched", "message": "by hand",
    });
    let report = json!({
        "type": "status", "applied": applied, "conditions": [watched], "firewall_active": null,
    });
    assert_eq!(host.post(report).await.0, StatusCode::OK);

    let query = format!(
        "?generation={generation}&hash={}&entries=1",
        hash.expect("text")
    );
    assert_eq!(host.desired(&query).await.0, StatusCode::NOT_MODIFIED);
    let recorded = wait_until("the condition", PATIENCE, async || {
        let row = world
            .outside()
            .read_condition(&host.id, "FilesWatched")
            .await;
        match row.map_err(|error| error.to_string())? {
            Some(row) if row.observed_generation == generation.as_i64() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    recorded.await.expect("the host's word is a row");
}

/// Another tenant's token gets nothing, and with the key everything ends at once.
async fn end_with_the_key(world: &mut World, host: &Host, secret: &str) {
    let mut stranger = world.sign_in(STRANGER).await.expect("signed in");
    let theirs = "select o.id::text as org from organizations o join organization_members m \
                  on m.org_id = o.id join auth.users u on u.id = m.user_id \
                  where u.email = 'admin@other.test' and m.role = 'owner' limit 1";
    let rows = world.stack.sql(theirs).await.expect("readable");
    let org = rows[0].get("org").cloned().flatten();
    let wanted = json!({"org": org, "name": "theirs"});
    let foreign = stranger.rpc("create_agent_token", wanted).await;
    let foreign = foreign.expect("made").as_str().expect("text").to_owned();
    let (status, _) = host.ask_token(&foreign).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    let revoked = json!({"status": "revoked"});
    let whose = json!({"agent_id": host.id});
    let change = world.admin.update("agent_keys", revoked, whose).await;
    change.expect("the admin may revoke");
    assert_eq!(host.desired("").await.0, StatusCode::FORBIDDEN);
    assert_eq!(host.post(guesses(&host.id)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(host.ask_token(secret).await.0, StatusCode::UNAUTHORIZED);
}
