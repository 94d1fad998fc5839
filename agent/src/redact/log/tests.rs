//! Lines in the words of the programs that write them.

use hidps_wire::{FieldValue, LogEvent};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::normalize::{JournalEntry, LineSource, normalize, normalize_entry};

fn read(program: &str, line: &str) -> LogEvent<'static> {
    let source = LineSource {
        program,
        seen: Timestamp::UNIX_EPOCH,
        zone: TimeZone::UTC,
    };
    normalize(line, &source).event.into_owned()
}

fn redacted(program: &str, line: &str) -> LogEvent<'static> {
    LoggedCommands::default().redact(read(program, line))
}

#[track_caller]
fn becomes(program: &str, line: &str, expected: &str) {
    assert_eq!(&*redacted(program, line).message, expected);
}

#[test]
fn a_command_of_sudo_or_cron_loses_its_secrets_in_text_and_fields() {
    let sudo = "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/mysql -phunter2 db";
    let sudo = redacted("sudo", sudo);
    let cron = redacted("CRON", "(root) CMD (PGPASSWORD=hunter2 pg_dump x)");
    let ambiguous = "bob : PWD=/ ; USER=root ; COMMAND=/x --token hunter2 ; USER=root";
    let ambiguous = redacted("sudo", ambiguous);

    let masked = FieldValue::from("/usr/bin/mysql -p*** db");
    assert_eq!(sudo.fields.get("COMMAND"), Some(&masked));
    assert!(sudo.message.ends_with("COMMAND=/usr/bin/mysql -p*** db"));
    assert_eq!(&*cron.message, "(root) CMD (PGPASSWORD=*** pg_dump x)");
    let masked = FieldValue::from("PGPASSWORD=*** pg_dump x");
    assert_eq!(cron.fields.get("command"), Some(&masked));
    assert!(!ambiguous.message.contains("hunter2"), "{ambiguous:?}");
}

#[test]
fn quotes_in_a_command_of_sudo_are_letters_as_any() {
    becomes(
        "sudo",
        "bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/notify Bob's --token hunter2 Ann's",
        "bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/notify Bob's --token *** Ann's",
    );
    becomes(
        "sudo",
        "bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/curl https://h/?a=1&b=2 -u bob:hunter2",
        "bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/curl https://h/?a=1&b=2 -u bob:***",
    );
}

#[test]
fn variables_of_sudo_lose_their_secrets_and_keep_their_names() {
    let line = "bob : TTY=pts/0 ; PWD=/ ; USER=root ; ENV=LD_PRELOAD=/tmp/x.so \
                PGPASSWORD=hunter2 ; COMMAND=/usr/bin/psql";

    let event = redacted("sudo", line);

    assert_eq!(&*event.message, line.replace("hunter2", "***"));
    let masked = FieldValue::from("LD_PRELOAD=/tmp/x.so PGPASSWORD=***");
    assert_eq!(event.fields.get("ENV"), Some(&masked));
    let command = FieldValue::from("/usr/bin/psql");
    assert_eq!(event.fields.get("COMMAND"), Some(&command));
}

#[test]
fn a_directory_that_looks_like_a_command_hides_neither_secrets_nor_the_command() {
    for directory in [
        "/tmp/COMMAND=x",
        "/tmp/ENV=x",
        "/tmp/ENV=TOKEN='",
        "/COMMAND=a --token",
    ] {
        let line = format!(
            "bob : TTY=pts/0 ; PWD={directory} ; USER=root ; ENV=PGPASSWORD=hunter2 ; \
             COMMAND=/usr/bin/mysql -phunter2 /etc/shadow"
        );

        let event = redacted("sudo", &line);

        let text = format!("{event:?}");
        assert!(!text.contains("hunter2"), "{text}");
        let end = "ENV=PGPASSWORD=*** ; COMMAND=/usr/bin/mysql -p*** /etc/shadow";
        assert!(event.message.ends_with(end), "{text}");
    }
}

#[test]
fn sudo_is_known_by_what_it_calls_itself() {
    let entry = JournalEntry {
        message: "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/mysql -phunter2 db",
        identifier: Some("sudo"),
        uid: Some(1_000),
        exe: Some("/usr/bin/sudo-rs"),
        ..JournalEntry::default()
    };
    let event = normalize_entry(&entry).event;
    let before = event.service.clone();

    let event = LoggedCommands::default().redact(event);

    assert_eq!((&*before, &*event.service), ("sudo-rs", "sudo-rs"));
    assert!(!event.message.contains("hunter2"), "{event:?}");
}

#[test]
fn the_rest_of_a_long_command_is_read_with_its_beginning() {
    let head = "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=";
    let long = "x".repeat(900);
    let rest = |text: &str| format!("     bob : (command continued) {text}");
    let mut commands = LoggedCommands::default();
    let mut next = |line: &str| commands.redact(read("sudo", line));

    next(&format!("{head}/usr/bin/mysql {long}"));
    let attached = next(&rest("-phunter2 /etc/shadow"));
    next(&format!("{head}/usr/bin/app {long} --token"));
    let separate = next(&rest("hunter2 /etc/shadow"));
    next(&format!("{head}/usr/bin/app --password={long}"));
    next(&rest(&format!("--password={long}")));
    let within = next(&rest("hunter2 -v"));
    let foreign = next("ann : (command continued) hunter2 -phunter2 -v /etc/shadow");

    let shown = |event: &LogEvent<'_>| match event.fields.get("COMMAND") {
        Some(FieldValue::Text(text)) => text.as_str().to_owned(),
        _ => String::new(),
    };
    assert_eq!(shown(&attached), "-p*** /etc/shadow");
    assert!(attached.message.ends_with("continued) -p*** /etc/shadow"));
    assert_eq!(shown(&separate), "*** /etc/shadow");
    assert_eq!(shown(&within), "-v");
    assert_eq!(shown(&foreign), "*** -p*** -v /etc/shadow");
}

#[test]
fn commands_that_others_log_lose_their_secrets() {
    let checked = [
        ("CROND", "(root) CMDEND (PGPASSWORD=hunter2 pg_dump x)"),
        ("crond", "USER root pid  77 cmd mysql -phunter2 db"),
        ("incrond", "(root) CMD (/usr/bin/mysql -phunter2 db)"),
        (
            "fcron",
            "Job mysql -phunter2 db started for user root (pid 77)",
        ),
        (
            "systemd",
            "Started run-u7.service - /usr/bin/mysql -phunter2 db.",
        ),
        (
            "systemd",
            "Starting run-u7.service - [systemd-run] /usr/bin/mysql -phunter2 db...",
        ),
        ("systemd", "Started /usr/bin/mysql -phunter2 db."),
        (
            "pkexec",
            "bob: Executing command [USER=root] [TTY=unknown] [CWD=/home/bob] \
             [COMMAND=/usr/bin/mysql -phunter2 db]",
        ),
        (
            "polkitd",
            "Operator of unix-session:1 successfully authenticated as unix-user:bob to gain \
             ONE-SHOT authorization for action org.x for unix-process:7:8 \
             [/usr/bin/mysql -phunter2 db] (owned by unix-user:bob)",
        ),
        ("doas", "bob ran command mysql -phunter2 db as root from /"),
        ("doas", "command not permitted for bob: mysql -phunter2 db"),
        (
            "sshd",
            "Starting session: forced-command (key-option) '/usr/bin/x --token hunter2' for bob \
             from 192.0.2.7 port 5 id 0",
        ),
        (
            "dbus-daemon",
            "[system] Activating via systemd: service name='org.x' requested by ':1.5' (uid=0 \
             pid=7 comm=\"mysql -phunter2 db \" label=\"unconfined\")",
        ),
        (
            "snoopy",
            "[login:bob ssh:((undefined)) sid:7 tty:/dev/pts/0 (0/root) uid:root(0)/root(0) \
             cwd:/]: mysql -phunter2 db",
        ),
        ("bash", "HISTORY: PID=77 UID=0 mysql -phunter2 db"),
        (
            "ansible-command",
            "Invoked with warn=True _raw_params=mysql -phunter2 db _uses_shell=False",
        ),
        (
            "python3",
            "ansible-mysql_user Invoked with name=bob login_password=hunter2 state=present",
        ),
    ];
    for (program, line) in checked {
        becomes(program, line, &line.replace("hunter2", "***"));
    }
}

#[test]
fn other_lines_are_left_as_they_are() {
    for (program, line) in [
        ("sshd", "Failed password for root from 10.0.0.1 port 5 ssh2"),
        (
            "systemd",
            "Started systemd-ask-password-wall.path - Forward Password Requests to Wall.",
        ),
        ("cron", "(bob) RELOAD (crontabs/bob)"),
        (
            "polkitd",
            "Loading rules from directory /etc/polkit-1/rules.d",
        ),
    ] {
        becomes(program, line, line);
    }
}
