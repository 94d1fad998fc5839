//! What hostile hosts and those who write to their logs say, from its source to everybody who reads it:
//! it ends as text in the alert, the mail and the viewer's frame, and nowhere in metrics and logs.

mod looks;
mod payloads;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use hidps_lab::say_skipped;
use hidps_lab::world::viewer::Viewer;
use hidps_lab::world::{AGENT, World};
use hidps_wire::{AgentId, FieldValue, MAX_EVENT_TEXT_BYTES};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use self::looks::{assert_tame, check_alert, check_mails, check_metrics_and_logs, strings, title};
use self::payloads::{Payload, payloads};
use crate::faults::shared::with_world;
use crate::raw_agent::{RawAgent, say};

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A rule for each payload, in a directory of their own.
fn write_rules(payloads: &[Payload]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (number, payload) in payloads.iter().enumerate() {
        let (title, marker) = (title(payload), &payload.marker);
        let rule = format!(
            "title: {title}\nid: {}\nstatus: test\nlogsource: {{product: linux}}\n\
             detection:\n  who: {{user|contains: {marker}}}\n  said: [{marker}]\n\
             \x20 condition: who or said\nlevel: high\n",
            Uuid::new_v4()
        );
        let proof = format!(
            "logsource: {{product: linux, service: sshd}}\ncases:\n\
             \x20 - {{name: it, events: [{{message: a {marker} b}}], match: 1}}\n\
             \x20 - {{name: not, events: [{{message: a b}}], match: none}}\n"
        );
        for (end, text) in [("test.yml", proof), ("yml", rule)] {
            let path = folder.path().join(format!("r{number}.{end}"));
            fs::write(path, text).expect("the rule can be written");
        }
    }
    folder
}

/// Runs a test in a world whose rules look for the payloads.
fn with_payloads(test: impl AsyncFnOnce(&mut World, &[Payload])) {
    let payloads = payloads();
    let rules = write_rules(&payloads);
    let path = rules.path().display().to_string();
    with_world(&[("HIDPS_RULES_DIR", &path)], async |world| {
        // What other tests had mailed about this host is not to make a storm of these.
        let forget = world.stack.sql("delete from public.alert_notifications");
        forget.await.expect("the owner of the database may");
        test(world, &payloads).await;
    });
}

/// A viewer that watches an agent as the admin.
async fn watch(world: &World, agent: &str) -> Viewer {
    let viewer = Viewer::connect(world.daemon.address(), world.admin.access_token()).await;
    let mut viewer = viewer.expect("let in");
    let agent: AgentId = agent.parse().expect("a UUID");
    viewer.subscribe(agent).await.expect("the admin may");
    viewer
}

#[test]
fn hostile_lines_end_as_text_in_the_alert_the_mail_the_viewers_frame_and_no_metric() {
    with_payloads(async |world, payloads| {
        let Some(ssh) = world.host.ssh() else {
            return say_skipped("hostile lines", &"this host has no sshd");
        };
        let mut viewer = watch(world, AGENT).await;

        let mut log = OpenOptions::new()
            .append(true)
            .open(ssh.log_path())
            .expect("it is ours");
        for payload in payloads {
            let line = [
                b"Invalid user ",
                &*payload.marked(),
                b" from 203.0.113.9 port 4711\n",
            ];
            log.write_all(&line.concat()).expect("it is written");
        }

        for payload in payloads {
            check_line(&mut viewer, payload).await;
        }
        for payload in payloads {
            check_alert(world, AGENT, payload).await;
            check_mails(world, payload).await;
        }
        check_metrics_and_logs(world, payloads).await;
    });
}

/// What the viewer sees of a line: all of it as it was written, but for what is no text.
async fn check_line(viewer: &mut Viewer, payload: &Payload) {
    let seen = viewer.next_event(payload.name, PATIENCE, |event| {
        event.message.contains(&payload.marker)
    });
    let event = seen.await.expect("the viewer sees the line");
    let written = String::from_utf8_lossy(&payload.marked()).into_owned();
    let message = event.message.as_str();
    if payload.is_endless() {
        assert_eq!(message.len(), MAX_EVENT_TEXT_BYTES);
        let cut = event.fields.get("truncated");
        assert_eq!(cut, Some(&FieldValue::Bool(true)));
    } else {
        let whole = format!("Invalid user {written} from 203.0.113.9 port 4711");
        assert_eq!(message, whole, "{}", payload.name);
    }
}

#[test]
fn what_a_hostile_agent_says_of_itself_and_its_events_ends_as_text_too() {
    with_payloads(async |world, payloads| {
        let agent = RawAgent::admit(world).await;
        let mut viewer = watch(world, &agent.id).await;

        let words = payloads.iter().filter(|payload| !payload.is_endless());
        // Without their markers: what an agent claims to be is in the daemon's log, and may be.
        let words: Vec<u8> = words.flat_map(|payload| payload.bytes.clone()).collect();
        let words = String::from_utf8_lossy(&words);
        let mut socket = agent.greet(world, &words).await;
        let events: Vec<Value> = payloads.iter().map(event_of).collect();
        let batch = json!({"type": "events", "seq": 1, "dropped": 0, "events": events});
        say(&mut socket, &batch).await;

        for payload in payloads {
            let seen = viewer.next_event(payload.name, PATIENCE, |event| {
                event.message.contains(&payload.marker)
            });
            let event = seen.await.expect("the viewer sees the event");
            assert_eq!(
                event.message.as_str(),
                message_of(payload),
                "{}",
                payload.name
            );
        }
        for payload in payloads {
            check_alert(world, &agent.id, payload).await;
            check_mails(world, payload).await;
        }
        check_metrics_and_logs(world, payloads).await;
        check_rows_of(world, &agent.id).await;
        agent.dismiss(world).await;
    });
}

fn message_of(payload: &Payload) -> String {
    format!("one line\r\nanother: {}\r\n.\r\n", payload.text())
}

/// An event that has a payload in every place.
fn event_of(payload: &Payload) -> Value {
    let text = payload.text();
    let mut event = json!({
        "timestamp": text, "type": "login", "service": text, "message": message_of(payload),
        "fields": {"user": text, "outcome": "failure"},
    });
    event["fields"][&text] = json!(text);
    event
}

/// The rows about the agent itself: nothing in them deceives a reader.
async fn check_rows_of(world: &World, agent: &str) {
    let query = format!(
        "select jsonb_build_object('agent', to_jsonb(a)) || coalesce((select jsonb_build_object(\
         'conditions', jsonb_agg(to_jsonb(c))) from public.agent_conditions c \
         where c.agent_id = a.id), '{{}}') as rows from public.agents a where a.id = '{agent}'"
    );
    let rows = world.stack.sql(&query).await.expect("readable");
    let rows = rows.first().and_then(|row| row["rows"].clone());
    let rows: Value = serde_json::from_str(&rows.expect("a row")).expect("JSON");
    for text in strings(&rows) {
        assert_tame("a row of the agent", &text);
    }
}
