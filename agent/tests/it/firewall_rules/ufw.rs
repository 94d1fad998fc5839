//! What is ufw's alone: how it is chosen, how it is left, and what it says of rules.
//! Nothing outside of a namespace is changed.

use hidps_lab::command::{run, wait_for};

use super::back_end::ufw;
use super::*;
use crate::scripted_daemon::DEADLINE;
use crate::world::PORT;

#[test]
fn rules_in_ufw_are_listed_with_their_rows_and_leave_no_table_of_the_agent() {
    let test = "rules_in_ufw_are_listed_with_their_rows_and_leave_no_table_of_the_agent";
    let Some(world) = BackEnd::Ufw.world(test) else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    let status = author.send(on(&[tcp(1, "allow", 80, 90)]));

    let message = &status.conditions[0].message;
    assert!(message.contains("ufw is active with 1 rule"), "{message}");
    assert!(message.contains("changes one rule at a time"), "{message}");
    assert!(!world.has_table());
    let rules = author.list();
    let of_ufw: Vec<_> = rules.iter().filter(|it| it.table == "ufw").collect();
    let managed: Vec<_> = of_ufw.iter().map(|it| it.managed).collect();
    // A rule and SSH of ours before somebody's one, for each version of IP.
    assert_eq!(
        managed,
        [true, true, false, true, true, false],
        "{of_ufw:#?}"
    );
}

#[test]
fn an_uninstalled_agent_leaves_ufw_as_it_was() {
    let Some(world) = BackEnd::Ufw.world("an_uninstalled_agent_leaves_ufw_as_it_was") else {
        return;
    };
    let before = BackEnd::Ufw.snapshot(&world);
    let home = world.home();
    let mut agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    author.enforce(with_defaults("reject", "deny", &[tcp(1, "deny", 80, 80)]));
    assert_ne!(BackEnd::Ufw.snapshot(&world), before);
    agent.kill().unwrap();

    let withdraw = world.host.exec(&home.command("withdraw"));
    let said = run(withdraw, DEADLINE).unwrap().stdout;

    assert!(String::from_utf8_lossy(&said).contains("are removed"));
    assert_eq!(BackEnd::Ufw.snapshot(&world), before);
}

#[test]
fn a_host_on_which_ufw_takes_over_is_filtered_by_ufw_alone() {
    let test = "a_host_on_which_ufw_takes_over_is_filtered_by_ufw_alone";
    let Some(world) = BackEnd::Ufw.world(test) else {
        return;
    };
    ufw(&world, "disable");
    let _listener = world.listen(PORT);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let port = u32::from(PORT);
    author.enforce(on(&[tcp(1, "reject", port, port)]));
    assert!(world.has_table(), "ufw does not rule this host");

    ufw(&world, "--force enable");

    world.wait_for_table(false);
    let is_shut = || (author.doors([PORT]) == [Door::Refused]).then_some(());
    wait_for("ufw to refuse", DEADLINE, is_shut).unwrap();
    author.enforce(document(Some(false), &[]));
    assert_eq!(author.doors([PORT]), [Door::Open]);
    let snapshot = BackEnd::Ufw.snapshot(&world);
    assert!(snapshot.contains("ENABLED=yes"), "it goes on as it was");
}

#[test]
fn a_ufw_that_the_agent_is_told_to_use_is_enabled_and_put_back() {
    let test = "a_ufw_that_the_agent_is_told_to_use_is_enabled_and_put_back";
    let Some(world) = BackEnd::Ufw.world(test) else {
        return;
    };
    ufw(&world, "disable");
    let before = BackEnd::Ufw.snapshot(&world);
    let _listener = world.listen(PORT);
    let home = world.home_with("firewall = \"ufw\"");
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    author.enforce(on(&[]));
    assert_eq!(author.doors([PORT]), [Door::Silent]);
    author.enforce(document(Some(false), &[]));

    assert_eq!(author.doors([PORT]), [Door::Open]);
    assert_eq!(BackEnd::Ufw.snapshot(&world), before);
}
