//! An agent that is killed while it takes documents: whatever it was doing, it starts with one whole.
//! No moment is chosen; there are enough of them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{ScriptedDaemon, applied_generation};

/// How often it is killed.
const KILLS: u64 = 12;

/// Documents it is offered each time.
const OFFERED: u64 = 40;

#[test]
fn an_agent_killed_at_any_moment_starts_with_a_document_no_older_than_it_said() {
    let daemon = ScriptedDaemon::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(8, 15);
    connection.apply(1, "h", document(None, &[home.path()]));
    connection.status_of(1);
    let (mut said, mut offered) = (1, 1);

    for kill in 0..KILLS {
        for _ in 0..OFFERED {
            offered += 1;
            connection.apply(offered, "h", document(None, &[home.path()]));
        }
        // Another moment each time, as far as the machine makes them different.
        let moment = Duration::from_millis(kill * 3);
        connection.poll_status(moment, |status| {
            said = applied_generation(status).unwrap_or(0).max(said);
            false
        });
        agent.kill().unwrap();
        drop(connection);
        agent = home.start(None);
        connection = daemon.accept(&key);
        let hello = connection.greet(8, 15);

        let held = hello
            .applied
            .expect("it starts with a document")
            .generation
            .0;
        assert!((said..=offered).contains(&held), "{said} {held} {offered}");
        said = held;
        connection.status_of(held);
    }
}
