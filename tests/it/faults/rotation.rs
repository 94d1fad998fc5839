//! An agent's key is replaced while it works: it comes back with the new one, and the old one is
//! worth nothing to whoever copied it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::{CommandError, run};
use hidps_lab::world::binaries::find_agent;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, World};

use super::settled::{change_everything, wait_settled};
use super::shared::with_world;

const PATIENCE: Duration = Duration::from_secs(60);

/// Replaces the key as somebody on the host does, and gives what is said of it.
fn rotate(world: &World, config: &Path) -> Result<String, CommandError> {
    let mut command = Command::new(find_agent().expect("it is built"));
    command.arg("rotate-key").arg("--config").arg(config);
    let command = match world.host.namespace() {
        Some(place) => place.exec(&command),
        None => command,
    };
    let output = run(command, PATIENCE)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The key that the database has of the agent.
pub(super) async fn known_key(world: &World) -> String {
    let query = format!("select public_key as value from agent_keys where agent_id = '{AGENT}'");
    let rows = world.stack.sql(&query).await.expect("the superuser may");
    rows[0]["value"].clone().expect("the agent has a key")
}

/// How often the audit log tells that the agent put the one key in the place of the other.
async fn times_told(world: &World, before: &str, after: &str) -> String {
    let query = format!(
        "select count(*)::text as value from audit_log where agent_id = '{AGENT}' \
           and resource = 'agent_keys' and actor_kind = 'agent' \
           and details -> 'old' ->> 'public_key' = '{before}' \
           and details -> 'new' ->> 'public_key' = '{after}'"
    );
    let rows = world.stack.sql(&query).await.expect("the superuser may");
    rows[0]["value"].clone().expect("a count")
}

#[test]
fn a_key_is_replaced_while_its_agent_works_and_a_copy_of_the_old_one_is_worth_nothing() {
    with_world(&[], async |world| {
        let before = known_key(world).await;
        let stolen = world.directory().join("stolen");
        fs::create_dir_all(&stolen).expect("a folder can be made");
        let state = world.agent.state_dir();
        fs::copy(state.join("agent.key"), stolen.join("agent.key")).expect("a key is there");
        fs::set_permissions(&stolen, Permissions::from_mode(0o700)).expect("it is ours");

        let said = rotate(world, world.agent.config()).expect("it is replaced");

        let after = known_key(world).await;
        assert!(said.contains(&before) && said.contains(&after), "{said}");
        assert_ne!(before, after);
        assert_eq!(times_told(world, &before, &after).await, "1");
        let log = wait_until("the agent coming back", PATIENCE, async || {
            let log = world.agent.log();
            let n_connects = log.matches("connected to the daemon").count();
            if n_connects > 1 { Ok(log) } else { Err(log) }
        });
        let (log, _) = log.await.expect("it does");
        assert!(log.contains("key was replaced"), "{log}");
        let config = fs::read_to_string(world.agent.config()).expect("it is there");
        let thiefs = world.directory().join("thief.toml");
        let (ours, theirs) = (state.display().to_string(), stolen.display().to_string());
        fs::write(&thiefs, config.replace(&ours, &theirs)).expect("a file can be made");
        let refused = rotate(world, &thiefs).expect_err("the old key is worth nothing");
        assert!(refused.to_string().contains("401"), "{refused}");
        change_everything(world).await;
        wait_settled(world).await;
        assert_eq!(known_key(world).await, after);
    });
}
