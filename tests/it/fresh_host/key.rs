//! The key of an installed agent, replaced by root while the agent runs as a user of its own.
//! Everything in the state directory stays that user's.

use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;

use super::PATIENCE;
use super::place::Place;

/// The agent's files.
const STATE: &str = "/var/lib/hidps-agent";

pub(super) async fn replace_key(world: &World, place: &Place) {
    let process = place.process();
    let n_connected = count_connects(place);
    let known = format!(
        "select public_key as value from agent_keys where agent_id = '{}'",
        place.agent_id
    );

    let ran = place.run("hidps-agent rotate-key");

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let rows = world.stack.sql(&known).await.expect("the superuser may");
    let key = rows[0]["value"].clone().expect("there is a key");
    assert!(ran.said.contains(&format!("is {key}")), "{}", ran.said);
    let back = wait_until("the agent being back", PATIENCE, async || {
        if count_connects(place) > n_connected {
            Ok(())
        } else {
            Err(place.log())
        }
    });
    back.await.expect("it reads its key again");
    assert_eq!(place.process(), process, "it was not restarted");
    let owners = place.ask(&format!(
        "stat -c '%a %U:%G' {STATE}/agent.key {STATE}/key.lock; ls {STATE}"
    ));
    let expected = "600 hidps-agent:hidps-agent\n600 hidps-agent:hidps-agent\n";
    assert!(owners.starts_with(expected), "{owners}");
    assert!(!owners.contains("agent.key.next"), "{owners}");
}

fn count_connects(place: &Place) -> usize {
    place.log().matches("connected to the daemon").count()
}
