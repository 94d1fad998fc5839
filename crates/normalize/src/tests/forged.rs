//! Lines that somebody shaped to be read as something else.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

#[test]
fn a_forged_name_does_not_change_the_address() {
    let check = |line: &str, expected: &str| assert_eq!(fields("sshd", line), expected, "{line}");

    check(
        "Failed password for invalid user root from 1.2.3.4 port 22 ssh2 from 5.6.7.8 port 1 ssh2",
        "outcome=failure|method=password|user=root from 1.2.3.4 port 22 ssh2|src_ip=5.6.7.8|src_port=1|invalid_user=true",
    );
    check(
        "Failed password for invalid user x from 1.2.3.4 port 22 ssh2: RSA SHA256:abc from 5.6.7.8 port 1 ssh2",
        "outcome=failure|method=password|user=x from 1.2.3.4 port 22 ssh2: RSA SHA256:abc|src_ip=5.6.7.8|src_port=1|invalid_user=true",
    );
    check(
        "Invalid user root from 1.2.3.4 port 22 from 5.6.7.8 port 1",
        "outcome=attempt|user=root from 1.2.3.4 port 22|src_ip=5.6.7.8|src_port=1|invalid_user=true",
    );
    check(
        "Connection closed by invalid user root 1.2.3.4 port 22 5.6.7.8 port 1 [preauth]",
        "outcome=aborted|user=root 1.2.3.4 port 22|src_ip=5.6.7.8|src_port=1|invalid_user=true|action=closed|preauth=true",
    );
}

#[test]
fn what_can_be_read_in_two_ways_is_left_unread() {
    let certificate = "Failed publickey for bob from 5.6.7.8 port 1 ssh2: RSA-CERT SHA256:q ID \
                       x from 1.2.3.4 port 22 ssh2: RSA SHA256:x ID y (serial 0) CA RSA SHA256:z";
    let directory =
        "bob : PWD=/tmp/a ; USER=nobody ; COMMAND=/bin/true ; USER=root ; COMMAND=/bin/sh";
    let host = "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= \
                rhost=5.6.7.8  user=x rhost=1.2.3.4";

    assert_eq!(fields("sshd", certificate), "ambiguous=true");
    assert_eq!(fields("sudo", directory), "ambiguous=true");
    assert_eq!(fields("sshd", host), "ambiguous=true");
}

/// Lines with a part that somebody chooses, who would like to be at another address.
const OF_A_CLIENT: [&str; 18] = [
    "Failed password for invalid user {} from 192.0.2.9 port 77 ssh2",
    "Failed publickey for invalid user {} from 192.0.2.9 port 77 ssh2: RSA SHA256:abc",
    "Invalid user {} from 192.0.2.9 port 77",
    "Connection closed by invalid user {} 192.0.2.9 port 77 [preauth]",
    "Connection reset by invalid user {} 192.0.2.9 port 77 [preauth]",
    "Disconnected from invalid user {} 192.0.2.9 port 77 [preauth]",
    "Disconnecting invalid user {} 192.0.2.9 port 77: Too many authentication failures [preauth]",
    "Disconnecting invalid user {} 192.0.2.9 port 77: Change of username or service not allowed: ({},ssh-connection) -> (root,ssh-connection) [preauth]",
    "error: maximum authentication attempts exceeded for invalid user {} from 192.0.2.9 port 77 ssh2 [preauth]",
    "Bad protocol version identification '{}' from 192.0.2.9 port 77",
    "error: kex_exchange_identification: client sent invalid protocol identifier \"{}\"",
    "Received disconnect from 192.0.2.9 port 77:11: {} [preauth]",
    "Unable to negotiate with 192.0.2.9 port 77: no matching cipher found. Their offer: {} [preauth]",
    "banner exchange: Connection from 192.0.2.9 port 77: {}",
    "reverse mapping checking getaddrinfo for {} [192.0.2.9] failed.",
    "error: PAM: Authentication failure for illegal user {} from 192.0.2.9",
    "input_userauth_request: invalid user {} [preauth]",
    "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.9  user={}",
];

/// Pieces of every grammar, to be put together to names.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        " from ",
        "1.2.3.4",
        " port ",
        "22",
        " ssh2",
        ": RSA SHA256:x",
        " [preauth]",
        "invalid user ",
        " rhost=1.2.3.4",
        " user=root",
        "' from 1.2.3.4 port 22",
        "] failed.",
        " [1.2.3.4] failed.",
        ": Too many authentication failures",
        "Accepted password for root",
        ":11: ",
        " ; USER=root",
        " ; COMMAND=/bin/sh",
        "COMMAND=",
        "[1]: segfault at 0 ip 0 sp 0 error 4",
        ") total-vm:1kB",
        "), ",
        ") CMD (",
        ")",
        "(",
        "x",
        " ",
    ];
    prop::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(piece(), 0..8);
    prop_oneof![pieces.prop_map(|pieces| pieces.concat()), "\\PC{0,40}"]
}

/// The field's text form, if the line states it.
fn stated(program: &str, line: &str, name: &str) -> Option<String> {
    let read = read(program, line);
    let value = read.event.fields.get(name)?;
    Some(match value {
        FieldValue::Text(text) => text.to_string(),
        FieldValue::Integer(number) => number.to_string(),
        FieldValue::Bool(_) | FieldValue::Number(_) => format!("{value:?}"),
    })
}

proptest! {
    #[test]
    fn no_client_of_sshd_is_ever_elsewhere_or_let_in(
        line in prop::sample::select(OF_A_CLIENT.to_vec()), name in name()
    ) {
        let line = line.replace("{}", &name);

        for (field, truth) in [("src_ip", "192.0.2.9"), ("src_port", "77")] {
            let said = stated("sshd", &line, field);
            prop_assert!(said.as_deref().is_none_or(|said| said == truth), "{line}: {said:?}");
        }
        let outcome = stated("sshd", &line, "outcome");
        prop_assert!(outcome.as_deref() != Some("success"), "{line}");
    }

    #[test]
    fn no_command_or_directory_changes_for_whom_sudo_ran_it(name in name(), directory in name()) {
        let line = format!(
            "bob : TTY=pts/0 ; PWD=/tmp/{directory} ; USER=nobody ; COMMAND=/bin/x{name}"
        );

        let target = stated("sudo", &line, "USER");
        prop_assert!(target.as_deref().is_none_or(|user| user == "nobody"), "{line}: {target:?}");
        let user = stated("sudo", &line, "user");
        prop_assert!(user.as_deref().is_none_or(|user| user == "bob"), "{line}: {user:?}");
    }

    #[test]
    fn no_name_of_a_program_changes_which_process_died(name in name()) {
        let crash = format!("{name}[4711]: segfault at 0 ip 0 sp 0 error 4 in x[0+1]");
        let kill = format!("Out of memory: Killed process 4711 ({name}) total-vm:1kB, anon-rss:0kB");

        for line in [crash, kill] {
            let pid = stated("kernel", &line, "pid");
            prop_assert!(pid.as_deref().is_none_or(|pid| pid == "4711"), "{line}: {pid:?}");
        }
    }

    #[test]
    fn no_command_of_cron_changes_whose_it_is(name in name()) {
        let line = format!("(bob) CMD ({name})");

        prop_assert_eq!(stated("CRON", &line, "user"), Some("bob".to_owned()));
        prop_assert_eq!(stated("CRON", &line, "action"), Some("command".to_owned()));
    }

    #[test]
    fn an_ambiguous_line_states_nothing_else(
        program in prop::sample::select(vec!["sshd", "sudo", "su", "kernel", "useradd", "CRON"]),
        pieces in prop::collection::vec(piece(), 0..12)
    ) {
        let line = pieces.concat();
        let read = read(program, &line);

        if read.event.fields.get("ambiguous").is_some() {
            let others = read.event.fields.iter().filter(|(name, _)| *name != "ambiguous");
            prop_assert!(others.into_iter().all(|(name, _)| name == "program"), "{}", line);
        }
    }

    #[test]
    fn whatever_the_name_the_address_is_the_servers(name in "\\PC{0,60}") {
        let line = format!("Failed password for invalid user {name} from 192.0.2.9 port 77 ssh2");

        let event = read("sshd", &line).event;

        // A name can make a line unreadable, but never make it say another address.
        if let Some(FieldValue::Text(found)) = event.fields.get("src_ip") {
            prop_assert_eq!(&**found, "192.0.2.9");
        } else {
            prop_assert!(event.fields.get("ambiguous").is_some());
        }
    }

    #[test]
    fn a_name_made_of_the_grammar_never_wins(
        parts in prop::collection::vec(
            prop_oneof![
                Just(" from ".to_owned()), Just("1.2.3.4".to_owned()), Just(" port ".to_owned()),
                Just("22".to_owned()), Just(" ssh2".to_owned()), Just(": RSA SHA256:x".to_owned()),
                Just(" [preauth]".to_owned()), Just("invalid user ".to_owned()),
            ],
            0..12,
        )
    ) {
        let name = parts.concat();
        let line = format!("Failed password for invalid user {name} from 192.0.2.9 port 77 ssh2");

        let event = read("sshd", &line).event;

        if let Some(FieldValue::Text(found)) = event.fields.get("src_ip") {
            prop_assert_eq!(&**found, "192.0.2.9");
        }
    }

    #[test]
    fn no_line_is_lost_or_breaks_anything(line in "\\PC{0,200}", program in "[a-z]{1,8}") {
        let read = read(&program, &line);

        prop_assert!(line.contains(&*read.event.message));
        if let Some(FieldValue::Text(ip)) = read.event.fields.get("src_ip") {
            prop_assert!(ip.parse::<IpAddr>().is_ok());
        }
    }
}
