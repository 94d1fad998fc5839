//! Certificates of agents through the whole product: the real daemon that wants them, and real agents
//! with their own, with none, and with another agent's.
//! What each route of the daemon answers is the business of its own tests.

mod house;

use std::time::Duration;

use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::agent_http::{Host, make_agent};
use crate::faults::shared::with_world;
use house::{Agent, House};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on a world whose daemon speaks TLS and wants certificates of agents.
fn with_certificates(story: impl AsyncFnOnce(&mut World, &House)) {
    with_world(&[], async |world| {
        let house = House::new(world.daemon.address().port());
        let files = ["daemon.pem", "daemon.key", "agents.pem"];
        let [certificate, key, authority] = files.map(|name| house.path(name));
        world.daemon.stop().expect("it drains");
        world.daemon.configure(&[
            ("HIDPS_TLS_CERT", &certificate),
            ("HIDPS_TLS_KEY", &key),
            ("HIDPS_AGENT_CLIENT_CA", &authority),
            ("HIDPS_HTTP_TOKEN", "true"),
            ("HIDPS_HTTP_EVENTS", "true"),
            ("HIDPS_HTTP_DESIRED", "true"),
        ]);
        world.daemon.respawn().expect("it starts");
        wait_ready(world, &house).await;
        story(world, &house).await;
    });
}

async fn wait_ready(world: &World, house: &House) {
    let client = house.client(None);
    let ready = wait_until("the daemon's readiness", PATIENCE, async || {
        let asked = client.get(format!("{}/readyz", house.url())).send().await;
        let status = asked.map_err(|error| format!("{error:?}"))?.status();
        (status == StatusCode::OK)
            .then_some(())
            .ok_or_else(|| status.to_string())
    });
    let ready = ready.await;
    ready.unwrap_or_else(|error| panic!("{error}: {}", world.daemon.log()));
}

#[test]
fn an_agent_is_let_in_by_its_own_certificate_and_by_no_other() {
    with_certificates(async |world, house| {
        let own = make_agent(world).await;
        let certificate = house.issue(&own.0);
        let good = Agent::start(house, &own, Some(&certificate));
        let refused = [
            Agent::start(house, &make_agent(world).await, None),
            Agent::start(house, &make_agent(world).await, Some(&certificate)),
        ];

        converge(world, &good).await;

        for agent in refused {
            let said = wait_until("the refusal", PATIENCE, async || {
                let (code, said) = agent.ask(&["status", "--check"]);
                let wants = said.contains("agents show a client certificate here");
                (code == Some(6) && wants).then_some(()).ok_or(said)
            });
            said.await.expect("the agent says why");
            let (code, said) = agent.ask(&["doctor"]);
            assert_eq!(code, Some(1), "{said}");
            let finding = "FAIL link         down: the daemon refused the enrollment";
            assert!(said.contains(finding), "{said}");
            assert!(said.contains("set client_cert and client_key"), "{said}");
            let keys = json!({"agent_id": agent.id});
            let keys = world.admin.select("agent_keys", keys).await;
            assert_eq!(keys.expect("the admin may"), json!([]), "nobody enrolled");
        }
        let (code, said) = good.ask(&["status", "--check"]);
        assert_eq!(code, Some(0), "it goes on: {said}");
    });
}

/// What the admin writes is what the agent says it watches.
async fn converge(world: &mut World, agent: &Agent) {
    let row = json!({
        "agent_id": agent.id, "file_path": "/etc/hostname", "added_by": world.admin.user_id(),
    });
    let inserted = world.admin.insert("monitored_files", row).await;
    inserted.expect("the admin may write");
    let converged = wait_until("the watched file", PATIENCE, async || {
        let outside = world.outside();
        let wanted = outside.read_generation(&agent.id).await;
        let wanted = wanted.map_err(|error| error.to_string())?;
        let row = outside.read_condition(&agent.id, "FilesWatched").await;
        match row.map_err(|error| error.to_string())? {
            Some(row) if row.observed_generation == Some(wanted) && row.status == "true" => Ok(()),
            other => Err(format!("{other:?}, not {wanted}: {}", agent.log())),
        }
    });
    converged.await.expect("the host converges");
    let (_, said) = agent.ask(&["desired"]);
    assert!(said.contains("watch      /etc/hostname"), "{said}");
}

#[test]
fn a_token_for_plain_http_is_worth_nothing_with_another_agents_certificate() {
    with_certificates(async |world, house| {
        let (id, secret) = make_agent(world).await;
        let (neighbour, _) = make_agent(world).await;
        let (own, neighbours) = (house.issue(&id), house.issue(&neighbour));
        let way = (house.url(), house.client(Some(&own)));
        let mut host = Host::enroll_as(id, &secret, way).await;
        let (status, granted) = host.ask_token(&secret).await;
        assert_eq!(status, StatusCode::OK, "{granted}");
        host.bearer = granted["access_token"].as_str().expect("text").to_owned();
        let ask = async |host: &Host| {
            let (desired, _) = host.desired("").await;
            let (posted, _) = host.post(event(&host.id)).await;
            let (granted, _) = host.ask_token(&secret).await;
            [desired, posted, granted]
        };
        assert_eq!(ask(&host).await, [StatusCode::OK; 3]);

        for shown in [Some(&neighbours), None] {
            host.client = house.client(shown);
            assert_eq!(ask(&host).await, [StatusCode::FORBIDDEN; 3]);
        }
    });
}

/// One thing that happened, as older agents tell it.
fn event(agent: &str) -> Value {
    json!([{
        "timestamp": "2026-11-21T00:00:00.000000Z", "agent_id": agent, "type": "login",
        "service": "sshd", "message": "Accepted password for bob from 203.0.113.7 port 4 ssh2",
    }])
}
