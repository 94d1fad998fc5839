//! Entries of the journal: whom they are believed from.

use super::*;

const FAILED: &str = "Failed password for root from 203.0.113.9 port 22 ssh2";

fn entry(message: &str) -> JournalEntry<'_> {
    JournalEntry {
        message,
        identifier: Some("sshd"),
        pid: Some(77),
        uid: Some(0),
        comm: Some("sshd"),
        exe: Some("/usr/sbin/sshd"),
        unit: Some("ssh.service"),
        is_kernel: false,
        time: SEEN.parse().unwrap(),
    }
}

fn text<'a>(read: &'a NormalLine<'_>, name: &str) -> Option<&'a str> {
    match read.event.fields.get(name) {
        Some(FieldValue::Text(text)) => Some(text.as_str()),
        Some(FieldValue::Bool(_) | FieldValue::Integer(_) | FieldValue::Number(_)) | None => None,
    }
}

fn is_true(read: &NormalLine<'_>, name: &str) -> bool {
    read.event.fields.get(name) == Some(&FieldValue::Bool(true))
}

#[test]
fn an_entry_says_what_its_line_says_and_who_wrote_it() {
    let entry = entry(FAILED);

    let read = normalize_entry(&entry);

    assert_eq!(&*read.event.timestamp, "2026-11-21T01:02:10.000000Z");
    assert_eq!(
        (&*read.event.service, read.event.kind),
        ("sshd", EventKind::Login)
    );
    assert_eq!(text(&read, "src_ip"), Some("203.0.113.9"));
    assert_eq!(text(&read, "_EXE"), Some("/usr/sbin/sshd"));
    assert_eq!(text(&read, "_SYSTEMD_UNIT"), Some("ssh.service"));
    assert_eq!(read.event.fields.get("_UID"), Some(&FieldValue::Integer(0)));
    assert_eq!(read.event.fields.get("pid"), Some(&FieldValue::Integer(77)));
    assert!(read.is_read);
}

#[test]
fn a_program_that_calls_itself_another_is_not_believed() {
    let check = |message: &str, name: &str, uid: u32, exe: Option<&str>, is_believed: bool| {
        let entry = JournalEntry {
            identifier: Some(name),
            uid: Some(uid),
            comm: Some("x"),
            exe,
            ..entry(message)
        };

        let read = normalize_entry(&entry);

        let claimed = (!is_believed).then_some(name);
        assert_eq!(text(&read, "claimed"), claimed, "{name} {uid} {exe:?}");
        let is_plain = read.event.kind == EventKind::Process && !read.is_read;
        assert!(is_believed || is_plain, "{name} {uid} {exe:?}");
    };
    let sudo = "bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/true";

    check(FAILED, "sshd", 1_000, Some("/usr/bin/logger"), false);
    check(FAILED, "sshd", 1_000, Some("/home/bob/sshd"), false);
    check(
        FAILED,
        "sshd",
        1_000,
        Some("/usr/bin/../../home/bob/sshd"),
        false,
    );
    check(FAILED, "sshd", 1_000, None, false);
    check(FAILED, "sshd", 1_000, Some("/usr/sbin/sshd"), true);
    check(
        FAILED,
        "sshd-session",
        1_000,
        Some("/usr/lib/openssh/sshd-session"),
        true,
    );
    check(
        FAILED,
        "sshd",
        1_000,
        Some("/usr/sbin/sshd (deleted)"),
        true,
    );
    check(FAILED, "sshd", 0, None, true);
    check(sudo, "sudo", 1_000, Some("/usr/bin/sudo"), true);
    check(sudo, "sudo", 1_000, Some("/tmp/sudo"), false);
    check(
        "pam_unix(x:auth): authentication failure; rhost=1.2.3.4",
        "x",
        5,
        Some("/tmp/y"),
        false,
    );
    check(
        "Out of memory: Killed process 1 (init) total-vm:1kB",
        "kernel",
        0,
        None,
        false,
    );
    check("anything", "nginx", 33, Some("/usr/bin/logger"), true);
}

#[test]
fn a_program_of_users_that_ended_too_early_is_marked() {
    let line = "bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/true";
    let entry = JournalEntry {
        identifier: Some("sudo"),
        uid: Some(1_000),
        exe: None,
        ..entry(line)
    };

    let read = normalize_entry(&entry);

    assert!(is_true(&read, "unverified"));
    assert_eq!(text(&read, "outcome"), Some("success"));
}

#[test]
fn the_kernel_is_who_the_journal_says_it_is() {
    let message =
        "[UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.9 DST=192.0.2.1 LEN=40 PROTO=TCP SPT=1 DPT=22";
    let entry = JournalEntry {
        identifier: Some("kernel"),
        uid: None,
        exe: None,
        pid: None,
        is_kernel: true,
        ..entry(message)
    };

    let read = normalize_entry(&entry);

    assert_eq!(
        (&*read.event.service, read.event.kind),
        ("ufw", EventKind::Firewall)
    );
    assert_eq!(text(&read, "src_ip"), Some("203.0.113.9"));
}

#[test]
fn an_entry_of_several_lines_is_one_event_of_its_writer() {
    let message = format!("harmless\nNov 21 01:02:03 web-01 sshd[1]: {FAILED}");
    let entry = JournalEntry {
        identifier: Some("app"),
        uid: Some(1_000),
        exe: Some("/usr/bin/app"),
        ..entry(&message)
    };

    let read = normalize_entry(&entry);

    assert_eq!(&*read.event.service, "app");
    assert_eq!(&*read.event.message, message.as_str());
    assert_eq!(text(&read, "src_ip"), None);
}
