//! Real programs on a host with a real journald, seen as events.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use hidps_lab::command::{Running, run, wait_for};
use hidps_lab::journal_host::JournalHost;
use hidps_lab::ports::free_port;
use hidps_lab::say_skipped;
use hidps_wire::{EventKind, FieldValue, LogEvent, MAX_EVENT_TEXT_BYTES, Question};

use crate::harness::AgentHome;
use crate::scripted_daemon::{Connection, DEADLINE, ScriptedDaemon};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Answers a question for a password with a wrong one.
const GUESS: &str = "printf '#!/bin/sh\\necho wrong\\n' > /run/askpass; chmod +x /run/askpass
export SSH_ASKPASS=/run/askpass SSH_ASKPASS_REQUIRE=force
ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
  -o NumberOfPasswordPrompts=1 -o PubkeyAuthentication=no -p ";

struct World {
    host: JournalHost,
    home: AgentHome,
    daemon: ScriptedDaemon,
    ssh_port: u16,
}

impl World {
    fn make(test: &str) -> Option<Self> {
        Self::make_with(test, "journal = \"auto\"", false)
    }

    /// One whose agent has further settings, and whose journald reads the kernel's log or leaves it.
    fn make_with(test: &str, settings: &str, reads_kernel_log: bool) -> Option<Self> {
        let ssh_port = free_port(LOOPBACK).unwrap();
        let daemon = ScriptedDaemon::start(LOOPBACK);
        // Before the host: it sees the machine as it is when it starts.
        let settings = format!("firewall = \"observe\"\n{settings}");
        let home = AgentHome::new(daemon.address(), &settings);
        match JournalHost::start(Some(ssh_port), reads_kernel_log) {
            Ok(host) => Some(Self {
                host,
                home,
                daemon,
                ssh_port,
            }),
            Err(missing) => {
                say_skipped(test, &missing);
                None
            }
        }
    }

    /// What the agent says of itself.
    fn status(&self) -> String {
        let command = self.host.exec(&self.home.command("status"));
        String::from_utf8(run(command, DEADLINE).unwrap().stdout).unwrap()
    }

    fn start_agent(&self) -> Running {
        let command = self.host.exec(&self.home.command("run"));
        Running::start("hidps-agent", command).unwrap()
    }
}

fn text(event: &LogEvent<'_>, field: &str) -> Option<String> {
    match event.fields.get(field)? {
        FieldValue::Text(text) => Some(text.to_string()),
        FieldValue::Integer(number) => Some(number.to_string()),
        FieldValue::Bool(value) => Some(value.to_string()),
        FieldValue::Number(_) => None,
    }
}

/// Waits for an event that says something, and passes over the others.
fn find(connection: &mut Connection, wanted: impl Fn(&LogEvent<'_>) -> bool) -> LogEvent<'static> {
    connection.next_event(wanted)
}

#[test]
fn what_real_programs_log_arrives_with_what_journald_vouches_for() {
    let test = "what_real_programs_log_arrives_with_what_journald_vouches_for";
    let Some(world) = World::make(test) else {
        return;
    };
    let _agent = world.start_agent();
    let (mut connection, _) = world.daemon.admit();
    connection.greet(64, 15);
    find(&mut connection, |event| event.message.ends_with("started"));

    world
        .host
        .shell(&format!("{GUESS}{} root@127.0.0.1 true", world.ssh_port));
    let failed = find(&mut connection, |event| {
        text(event, "outcome").as_deref() == Some("failure") && &*event.service == "sshd"
    });
    world.host.shell("useradd -m carol");
    let added = find(&mut connection, |event| {
        event.message.starts_with("new user:")
    });
    world.host.shell("su bob -c true");
    let became = find(&mut connection, |event| {
        event.message.starts_with("(to bob) ")
    });
    let forged = "Failed password for root from 203.0.113.9 port 22 ssh2";
    world
        .host
        .shell(&format!("su bob -c 'logger -t sshd \"{forged}\"'"));
    let forgery = find(&mut connection, |event| &*event.message == forged);
    world
        .host
        .shell("head -c 1048576 /dev/zero | tr '\\0' x | systemd-cat -t long");
    let long = find(&mut connection, |event| &*event.service == "long");

    assert_eq!(failed.kind, EventKind::Login);
    assert_eq!(text(&failed, "src_ip").as_deref(), Some("127.0.0.1"));
    assert_eq!(text(&failed, "user").as_deref(), Some("root"));
    assert_eq!(text(&failed, "_UID").as_deref(), Some("0"));
    assert!(text(&failed, "pid").is_some());
    assert_eq!(&*added.service, "useradd");
    assert_eq!(text(&added, "user").as_deref(), Some("carol"));
    assert_eq!(text(&became, "USER").as_deref(), Some("bob"));
    assert_eq!(text(&forgery, "claimed").as_deref(), Some("sshd"));
    assert_ne!(&*forgery.service, "sshd");
    assert_eq!(
        (forgery.kind, text(&forgery, "src_ip")),
        (EventKind::Process, None)
    );
    assert_eq!(long.message.len(), MAX_EVENT_TEXT_BYTES);
    assert_eq!(text(&long, "truncated").as_deref(), Some("true"));
}

#[test]
fn a_restarted_agent_goes_on_in_a_rotated_journal() {
    let test = "a_restarted_agent_goes_on_in_a_rotated_journal";
    let Some(mut world) = World::make(test) else {
        return;
    };
    let mut agent = world.start_agent();
    let (mut connection, key) = world.daemon.admit();
    connection.greet(64, 15);
    find(&mut connection, |event| event.message.ends_with("started"));
    world.host.shell("logger -t numbered 1");
    find(&mut connection, |event| &*event.service == "numbered");
    // Its answer says that the acknowledgement before it was read.
    connection.ask(Question::FirewallStatus);

    let address = world.daemon.address();
    world.daemon.stop();
    connection.cut();
    world.host.shell("logger -t numbered 2");
    agent.terminate(DEADLINE).unwrap();
    world
        .host
        .shell("logger -t numbered 3; journalctl --rotate; logger -t numbered 4");
    world.daemon = ScriptedDaemon::start_at(address);
    let _agent = world.start_agent();
    let mut connection = world.daemon.accept(&key);
    connection.greet(64, 15);
    let (mut numbers, mut is_last_logged) = (Vec::new(), false);
    while numbers.last().is_none_or(|last| last != "5") {
        let (seq, events) = connection.next_batch();
        connection.acknowledge(seq);
        let numbered = events.iter().filter(|event| &*event.service == "numbered");
        numbers.extend(numbered.map(|event| event.message.to_string()));
        let lost = events
            .iter()
            .find(|event| text(event, "event").as_deref() == Some("source_lost"));
        assert_eq!(lost, None);
        if numbers.len() == 3 && !is_last_logged {
            is_last_logged = true;
            world.host.shell("logger -t numbered 5");
        }
    }

    assert_eq!(numbers, ["2", "3", "4", "5"]);
}

#[test]
fn the_kernels_lines_come_once_whether_journald_reads_them_or_not() {
    let test = "the_kernels_lines_come_once_whether_journald_reads_them_or_not";
    if !Path::new("/dev/kmsg").exists() {
        return say_skipped(
            test,
            &"/dev/kmsg is missing: this machine shows no kernel log",
        );
    }
    for (reads, words) in [
        (true, "the journal tells it, for journald reads /dev/kmsg"),
        (false, "from /dev/kmsg, which journald does not read"),
    ] {
        let settings = "journal = \"auto\"\nkernel_log = \"auto\"";
        let Some(world) = World::make_with(test, settings, reads) else {
            return;
        };
        let _agent = world.start_agent();
        let (mut connection, _) = world.daemon.admit();
        connection.greet(64, 15);
        find(&mut connection, |event| event.message.ends_with("started"));
        let mark = format!("hidps-kernel-{}-{reads}", std::process::id());

        world.host.shell(&format!(
            "echo {mark} one >/dev/kmsg; logger -t marked one
             echo {mark} two >/dev/kmsg; logger -t marked two"
        ));
        let mut told = Vec::new();
        let marked = |event: &LogEvent<'_>| {
            let is_end = &*event.service == "marked" || event.message.contains(&mark);
            is_end.then(|| event.message.to_string())
        };
        while !(told.contains(&"two".to_owned()) && told.contains(&format!("{mark} two"))) {
            let (seq, events) = connection.next_batch();
            connection.acknowledge(seq);
            told.extend(events.iter().filter_map(marked));
        }

        told.sort();
        let expected = [format!("{mark} one"), format!("{mark} two")];
        assert_eq!(told.split_off(told.len() - 2), ["one", "two"]);
        assert_eq!(told, expected, "journald reads: {reads}");
        let says_so = || world.status().contains(words).then_some(());
        wait_for("the status to say so", DEADLINE, says_so).unwrap();
    }
}
