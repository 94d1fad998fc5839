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
