//! Lines as real programs wrote them, and lines that somebody forged.

use super::*;
use proptest::prelude::*;
use std::net::IpAddr;

const SEEN: &str = "2026-11-21T01:02:10Z";

fn read<'a>(program: &'a str, line: &'a str) -> NormalLine<'a> {
    let source = LineSource {
        program,
        seen: SEEN.parse().unwrap(),
        zone: TimeZone::UTC,
    };
    normalize(line, &source)
}

/// The fields as `name=value`, in order.
fn fields(program: &str, line: &str) -> String {
    let printed: Vec<_> = read(program, line)
        .event
        .fields
        .iter()
        .map(|(name, value)| match value {
            FieldValue::Bool(value) => format!("{name}={value}"),
            FieldValue::Integer(value) => format!("{name}={value}"),
            FieldValue::Number(value) => format!("{name}={value}"),
            FieldValue::Text(value) => format!("{name}={}", &**value),
        })
        .collect();
    printed.join("|")
}

#[test]
fn lines_of_sshd_are_read() {
    let check = |line: &str, expected: &str| assert_eq!(fields("sshd", line), expected, "{line}");

    check(
        "Failed password for root from 127.0.0.1 port 48056 ssh2\r",
        "outcome=failure|method=password|user=root|src_ip=127.0.0.1|src_port=48056|invalid_user=false",
    );
    check(
        "Failed password for invalid user x y from 127.0.0.1 port 48062 ssh2",
        "outcome=failure|method=password|user=x y|src_ip=127.0.0.1|src_port=48062|invalid_user=true",
    );
    check(
        "Accepted publickey for bob from 2001:db8::7 port 22 ssh2: ED25519 SHA256:aBc/+9",
        "outcome=success|method=publickey|user=bob|src_ip=2001:db8::7|src_port=22|invalid_user=false",
    );
    check(
        "Accepted keyboard-interactive/pam for bob from fe80::1%eth0 port 22 ssh2",
        "outcome=success|method=keyboard-interactive/pam|user=bob|src_ip=fe80::1|src_port=22|invalid_user=false",
    );
    check(
        "Failed none for invalid user a from 10.0.0.1 port 5 ssh2",
        "outcome=attempt|method=none|user=a|src_ip=10.0.0.1|src_port=5|invalid_user=true",
    );
    check(
        "Invalid user x y from 127.0.0.1 port 48062",
        "outcome=attempt|user=x y|src_ip=127.0.0.1|src_port=48062|invalid_user=true",
    );
    check(
        "Invalid user  from 127.0.0.1 port 48062",
        "outcome=attempt|user=|src_ip=127.0.0.1|src_port=48062|invalid_user=true",
    );
    check(
        "Connection closed by authenticating user root 127.0.0.1 port 48056 [preauth]",
        "outcome=aborted|user=root|src_ip=127.0.0.1|src_port=48056|invalid_user=false",
    );
    check(
        "Connection closed by invalid user x y 127.0.0.1 port 48062 [preauth]",
        "outcome=aborted|user=x y|src_ip=127.0.0.1|src_port=48062|invalid_user=true",
    );
    check(
        "Connection closed by 127.0.0.1 port 48062 [preauth]",
        "outcome=aborted|src_ip=127.0.0.1|src_port=48062",
    );
    check(
        "error: maximum authentication attempts exceeded for root from 10.0.0.1 port 5 ssh2 [preauth]",
        "outcome=aborted|user=root|src_ip=10.0.0.1|src_port=5|invalid_user=false",
    );
    check(
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=10.0.0.1  user=root",
        "outcome=attempt|user=root|src_ip=10.0.0.1",
    );
    check("Server listening on 127.0.0.1 port 12299.", "");
    check("Failed password for root from nowhere port 1 ssh2", "");
    check("Failed password for root from 10.0.0.1 port 99999 ssh2", "");
}

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
        "outcome=aborted|user=root 1.2.3.4 port 22|src_ip=5.6.7.8|src_port=1|invalid_user=true",
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

#[test]
fn lines_of_sudo_are_read() {
    let check = |line: &str, expected: &str| assert_eq!(fields("sudo", line), expected, "{line}");

    check(
        "     bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/ls -l ; echo",
        "outcome=success|method=sudo|user=bob|TTY=pts/0|PWD=/home/bob|USER=root|COMMAND=/bin/ls -l ; echo",
    );
    check(
        "bob : PWD=/ ; USER=root ; COMMAND=/bin/sh",
        "outcome=success|method=sudo|user=bob|PWD=/|USER=root|COMMAND=/bin/sh",
    );
    check(
        "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
        "outcome=failure|method=sudo|user=bob|TTY=pts/0|PWD=/|USER=root|COMMAND=/bin/sh|reason=3 incorrect password attempts",
    );
    check(
        "eve : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
        "outcome=failure|method=sudo|user=eve|TTY=pts/1|PWD=/|USER=root|COMMAND=/bin/sh|reason=user NOT in sudoers",
    );
    check(
        "pam_unix(sudo:session): session opened for user root(uid=0) by (uid=0)",
        "",
    );
}

#[test]
fn lines_of_su_are_read() {
    let check = |line: &str, expected: &str| assert_eq!(fields("su", line), expected, "{line}");

    check(
        "FAILED SU (to root) bob on pts/0",
        "outcome=failure|method=su|user=bob|USER=root|TTY=pts/0",
    );
    check(
        "(to root) bob on none",
        "outcome=success|method=su|user=bob|USER=root|TTY=none",
    );
    check(
        "Successful su for root by bob",
        "outcome=success|method=su|user=bob|USER=root",
    );
    check(
        "FAILED su for root by bob",
        "outcome=failure|method=su|user=bob|USER=root",
    );
    check("pam_unix(su:session): session closed for user root", "");
}

#[test]
fn a_header_gives_time_program_and_process() {
    let line = "Nov 21 01:02:03 web-01 sshd-session[77]: Failed password for root from 10.0.0.1 port 5 ssh2";

    let read = read("unknown", line);

    assert_eq!(&*read.event.timestamp, "2026-11-21T01:02:03.000000Z");
    assert_eq!(&*read.event.service, "sshd");
    assert_eq!(read.event.kind, EventKind::Login);
    assert_eq!(
        &*read.event.message,
        "Failed password for root from 10.0.0.1 port 5 ssh2"
    );
    assert!(fields("unknown", line).starts_with("program=sshd-session|pid=77|outcome=failure"));
}

#[test]
fn anything_else_is_an_event_with_its_message_intact() {
    let line = "Nov 21 01:02:03 web-01 nginx[9]: GET / \"weird\\ text\"  200";

    let read = read("unknown", line);

    assert_eq!(read.event.kind, EventKind::Process);
    assert_eq!(&*read.event.service, "nginx");
    assert_eq!(&*read.event.message, "GET / \"weird\\ text\"  200");
}

#[test]
fn repeats_are_told_one_by_one_within_reason() {
    let line = |count: &str| {
        format!(
            "message repeated {count} times: [ Failed password for root from 10.0.0.1 port 5 ssh2]"
        )
    };

    assert_eq!(read("sshd", &line("3")).count, 3);
    assert_eq!(read("sshd", &line("4000000000")).count, MAX_REPEATS);
    assert_eq!(read("sshd", &line("x")).count, 1);
    assert!(fields("sshd", &line("3")).contains("src_ip=10.0.0.1"));
}

proptest! {
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
