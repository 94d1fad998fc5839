//! What became of a hostile text, looked at from outside: in rows, mails, metrics and logs.
//! It only reads.

use std::collections::BTreeSet;
use std::time::Duration;

use hidps_lab::world::probe::{http_get, wait_until};
use hidps_lab::world::{ADMIN, Mail, VIEWER, World};
use hidps_wire::is_misleading;
use serde_json::Value;

use super::payloads::Payload;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest excerpt of a line in an alert, in characters.
const MAX_EXCERPT: usize = 256;

/// Every header a mail about an alert has.
const HEADERS: [&str; 13] = [
    "auto-submitted",
    "content-type",
    "date",
    "from",
    "in-reply-to",
    "message-id",
    "mime-version",
    "references",
    "subject",
    "to",
    "x-auto-response-suppress",
    "x-hidps-agent",
    "x-hidps-severity",
];

/// Every beginning of a tag in the HTML of such a mail.
const TAGS: [&str; 17] = [
    "!doctype", "html", "body", "h3", "/h3", "table", "/table", "tr", "/tr", "th", "/th", "td",
    "/td", "p", "/p", "/body", "/html",
];

/// All strings anywhere in a value, keys among them.
pub(super) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| [vec![name.clone()], strings(field)].concat())
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Fails if something in a text deceives its reader.
pub(super) fn assert_tame(what: &str, text: &str) {
    let found = text.chars().find(|c| is_misleading(*c));
    assert!(found.is_none(), "{what} has {found:?}: {text:.300}");
}

/// The alert of a payload: it is there, short and tame, and quotes what can be quoted.
pub(super) async fn check_alert(world: &World, agent: &str, payload: &Payload) {
    let title = title(payload);
    let query = format!(
        "select to_jsonb(a)::text as alert from public.alerts a \
         where a.agent_id = '{agent}' and a.title = '{title}'"
    );
    let alert = wait_until("the alert", PATIENCE, async || {
        let rows = world.stack.sql(&query).await;
        let rows = rows.map_err(|error| error.to_string())?;
        match rows.as_slice() {
            [row] => Ok(row["alert"].clone().unwrap_or_default()),
            rows => Err(format!("{} rows", rows.len())),
        }
    });
    let (alert, _) = alert.await.unwrap_or_else(|error| {
        panic!("{}: {error}\ndaemon:\n{}", payload.name, world.daemon.log());
    });
    let alert: Value = serde_json::from_str(&alert).expect("Postgres writes JSON");
    for text in strings(&alert) {
        assert_tame(payload.name, &text);
    }
    let evidence = alert["evidence"][0].as_str().expect("a rule quotes");
    assert!(evidence.chars().count() <= MAX_EXCERPT, "{evidence}");
    assert!(
        evidence.contains(payload.kept),
        "{}: {evidence}",
        payload.name
    );
}

/// The mails of a payload: one to each member and nobody else, with our headers and our markup alone.
pub(super) async fn check_mails(world: &World, payload: &Payload) {
    let title = title(payload);
    let mails = wait_until("both mails", PATIENCE, async || {
        let mut mails = world
            .stack
            .mails()
            .await
            .map_err(|error| error.to_string())?;
        mails.retain(|mail| mail.subject.contains(&title));
        match mails.len() {
            2 => Ok(mails),
            n_mails => Err(format!("{n_mails} mails")),
        }
    });
    let (mails, _) = mails
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", payload.name));
    let to: BTreeSet<&str> = mails
        .iter()
        .flat_map(|mail| mail.to.iter().map(String::as_str))
        .collect();
    assert_eq!(to, BTreeSet::from([ADMIN, VIEWER]), "{}", payload.name);
    for mail in &mails {
        check_mail(mail, payload);
    }
}

fn check_mail(mail: &Mail, payload: &Payload) {
    let name = payload.name;
    let headers: BTreeSet<&str> = mail.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(headers, BTreeSet::from(HEADERS), "{name}");
    assert_eq!(mail.headers.len(), HEADERS.len(), "{name}: one of each");
    assert_eq!(mail.to.len(), 1, "{name}");
    assert_tame(name, &mail.subject);
    for line in mail.text.lines() {
        assert_tame(name, line.trim_end_matches('\r'));
    }
    let kept = payload.kept.replace("://", "[:]//");
    assert!(mail.text.contains(&kept), "{name}: {}", mail.text);
    assert!(!mail.text.contains("://"), "{name}: {}", mail.text);

    let html = mail.html.as_deref().expect("it has both forms");
    let known = |tag: &str| {
        let word = tag.split([' ', '>', '\n']).next().unwrap_or_default();
        TAGS.contains(&word) || ["pre", "/pre"].contains(&word)
    };
    let strange: Vec<&str> = html.split('<').skip(1).filter(|tag| !known(tag)).collect();
    assert!(strange.is_empty(), "{name}: {strange:?}");
    assert!(!html.contains("://"), "{name}: {html}");
}

/// Metrics and logs: neither holds a word of it, and both keep their form.
pub(super) async fn check_metrics_and_logs(world: &World, payloads: &[Payload]) {
    let (status, metrics) = http_get(world.daemon.address(), "/metrics")
        .await
        .expect("it answers");
    assert_eq!(status, 200);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert_tame("a metric", line);
        let value = line.rsplit(' ').next().unwrap_or_default();
        let is_sample =
            line.is_empty() || (line.starts_with("hidps_") && value.parse::<f64>().is_ok());
        assert!(is_sample, "{line}");
    }
    let logs = [world.daemon.log(), world.agent.log()];
    for payload in payloads {
        assert!(!metrics.contains(&payload.marker), "{}", payload.name);
        for log in &logs {
            assert!(!log.contains(&payload.marker), "{}:\n{log}", payload.name);
        }
    }
    for line in logs.iter().flat_map(|log| log.lines()) {
        assert_tame("a log", line);
    }
}

/// The title of the rule that looks for a payload.
pub(super) fn title(payload: &Payload) -> String {
    format!("Hostile {}", payload.marker)
}
