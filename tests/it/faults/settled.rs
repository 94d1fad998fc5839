//! What must be true once faults are over: the host is what the rows say, seen in its packet filter
//! and its inotify watches, and the rows that report it claim exactly that. It never reads a log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hidps_lab::world::observed::{is_watched, read_ledger_generation};
use hidps_lab::world::outside::IntentRows;
use hidps_lab::world::person::PersonError;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, World};
use serde_json::{Value, json};

/// Far beyond every backoff, and beyond the minute after which a firewall whose trial was cut short
/// is tried again; a wait ends as soon as all is so.
const PATIENCE: Duration = Duration::from_secs(150);

/// Files that a test may want watched: each watch of one is an inode of its own.
const N_FILES: usize = 8;

/// The table of the agent in the packet filter.
const TABLE: &str = "table inet hidps";

/// A file that a test may want watched, by its number.
pub(super) fn file(world: &World, number: usize) -> PathBuf {
    assert!(number < N_FILES, "only {N_FILES} files are looked at");
    let path = world.directory().join(format!("watched-{number}"));
    if !path.exists() {
        std::fs::write(&path, "x").expect("a file can be made");
    }
    path
}

/// Times that a person presses a button that does nothing.
const ATTEMPTS: usize = 3;

/// Has a file watched or not, as the admin.
pub(super) async fn want_watched(world: &mut World, number: usize, watched: bool) {
    let path = file(world, number).display().to_string();
    for attempt in 0..ATTEMPTS {
        if read_intent(world).await.paths.contains(&path) == watched {
            return;
        }
        let row = json!({"agent_id": AGENT, "file_path": path});
        let written = if watched {
            let mut row = row;
            row["added_by"] = json!(world.admin.user_id());
            world.admin.insert("monitored_files", row).await
        } else {
            world.admin.delete("monitored_files", row).await
        };
        if is_answered(attempt, written) {
            return;
        }
    }
}

/// Whether a write was answered; a REST server whose connections just died may leave one waiting
/// forever, and then a person presses again.
fn is_answered(attempt: usize, written: Result<Value, PersonError>) -> bool {
    let gave_up = matches!(&written, Err(PersonError::Deadline { .. }));
    if gave_up && attempt + 1 < ATTEMPTS {
        return false;
    }
    written.expect("the admin may write");
    true
}

/// Sets the firewall as the admin.
pub(super) async fn want_firewall(world: &mut World, enabled: bool) {
    for attempt in 0..ATTEMPTS {
        let written = world.admin.update(
            "agent_stats",
            json!({"firewall_enabled": enabled}),
            json!({"agent_id": AGENT}),
        );
        if is_answered(attempt, written.await) {
            return;
        }
    }
}

/// Changes what is desired, so that neither the firewall nor the watches may stay as they are.
pub(super) async fn change_everything(world: &mut World) {
    let intent = read_intent(world).await;
    let path = file(world, 0).display().to_string();
    want_watched(world, 0, !intent.paths.contains(&path)).await;
    want_firewall(world, intent.firewall != Some(true)).await;
}

/// What the rows want.
pub(super) async fn read_intent(world: &World) -> IntentRows {
    let intent = world.outside().read_intent(AGENT).await;
    intent.expect("something is desired")
}

/// Waits until the host is what the rows say and the rows say so.
pub(crate) async fn wait_settled(world: &World) {
    let settled = wait_until("the host being as its rows say", PATIENCE, async || {
        unsettled(world).await.map_or(Ok(()), Err)
    });
    if let Err(error) = settled.await {
        let (agent, daemon) = (world.agent.log(), world.daemon.log());
        panic!(
            "{error}\nagent:\n{}\ndaemon:\n{}",
            tail(&agent),
            tail(&daemon)
        );
    }
}

/// In what the host differs from rows; none when it does not.
pub(super) fn host_differs(world: &World, intent: &IntentRows) -> Option<String> {
    firewall_differs(world, intent).or_else(|| watches_differ(world, intent))
}

fn firewall_differs(world: &World, intent: &IntentRows) -> Option<String> {
    // Without a namespace of its own the host only observes its firewall.
    world.host.namespace()?;
    let is_loaded = match world.host.list_firewall() {
        Ok(text) => text.contains(TABLE),
        Err(error) => return Some(error.to_string()),
    };
    let wanted = intent.firewall?;
    (is_loaded != wanted).then(|| format!("the firewall is loaded: {is_loaded}, wanted: {wanted}"))
}

fn watches_differ(world: &World, intent: &IntentRows) -> Option<String> {
    let ours = (0..N_FILES).map(|number| file(world, number));
    let paths: BTreeSet<PathBuf> = intent.paths.iter().map(PathBuf::from).chain(ours).collect();
    paths.into_iter().find_map(|path| {
        let wanted = intent.paths.contains(&path.display().to_string());
        watch_differs(world.agent.id(), &path, wanted)
    })
}

fn watch_differs(agent: u32, path: &Path, wanted: bool) -> Option<String> {
    let path_name = path.display();
    match is_watched(agent, path) {
        Ok(watched) if watched == wanted => None,
        Ok(watched) => Some(format!(
            "{path_name} is watched: {watched}, wanted: {wanted}"
        )),
        // What is not there cannot be watched, and its condition says so.
        Err(_) if !path.exists() => None,
        Err(error) => Some(format!("{path_name}: {error}")),
    }
}

/// What is not yet as it has to be; none when all is.
async fn unsettled(world: &World) -> Option<String> {
    let outside = world.outside();
    let intent = match outside.read_intent(AGENT).await {
        Ok(intent) => intent,
        Err(error) => return Some(format!("{error:?}")),
    };
    if let Some(difference) = host_differs(world, &intent) {
        return Some(difference);
    }
    let ledger = read_ledger_generation(&world.agent.ledger());
    if !matches!(ledger, Ok(Some(accepted)) if accepted == intent.generation) {
        return Some(format!(
            "the ledger has {ledger:?}, not {}",
            intent.generation
        ));
    }
    let is_there = |path: &String| Path::new(path).exists();
    let all_there = intent.paths.iter().all(is_there);
    let expected = [
        ("FirewallSynced", "true", true),
        (
            "FilesWatched",
            if all_there { "true" } else { "false" },
            true,
        ),
        ("Held", "false", false),
        ("Connected", "true", false),
    ];
    for (kind, status, is_of_generation) in expected {
        let row = match outside.read_condition(AGENT, kind).await {
            Ok(Some(row)) => row,
            other => return Some(format!("{kind}: {other:?}")),
        };
        let is_observed = row.observed_generation == Some(intent.generation);
        let only_observes = row.reason == "ObserveOnly" && world.host.namespace().is_none();
        if row.status != status && !only_observes || is_of_generation && !is_observed {
            return Some(format!("{kind} at {}: {row:?}", intent.generation));
        }
    }
    match outside.is_online(AGENT).await {
        Ok(true) => None,
        other => Some(format!("online: {other:?}")),
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
