//! Lines of sudo, su and PAM.

use super::*;

#[test]
fn lines_of_sudo_are_read() {
    check(
        "sudo",
        &[
            (
                "     bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/ls -l ; echo",
                "outcome=success|method=sudo|user=bob|TTY=pts/0|PWD=/home/bob|USER=root|COMMAND=/bin/ls -l ; echo",
            ),
            (
                "     bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/true",
                "outcome=success|method=sudo|user=bob|PWD=/|USER=root|COMMAND=/usr/bin/true",
            ),
            (
                " mallory : HOST=vm ; PWD=/ ; USER=root ; COMMAND=/bin/true",
                "outcome=success|method=sudo|user=mallory|HOST=vm|PWD=/|USER=root|COMMAND=/bin/true",
            ),
            (
                "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
                "outcome=failure|method=sudo|user=bob|TTY=pts/0|PWD=/|USER=root|COMMAND=/bin/sh|reason=3 incorrect password attempts|action=incorrect_password|attempts=3",
            ),
            (
                "     bob : 1 incorrect password attempt ; PWD=/ ; USER=root ; COMMAND=/usr/bin/true",
                "outcome=failure|method=sudo|user=bob|PWD=/|USER=root|COMMAND=/usr/bin/true|reason=1 incorrect password attempt|action=incorrect_password|attempts=1",
            ),
            (
                "     bob : a password is required ; PWD=/ ; USER=root ; COMMAND=/usr/bin/true",
                "outcome=failure|method=sudo|user=bob|PWD=/|USER=root|COMMAND=/usr/bin/true|reason=a password is required|action=password_required",
            ),
            (
                " mallory : user NOT in sudoers ; PWD=/ ; USER=root ; COMMAND=/usr/bin/true",
                "outcome=failure|method=sudo|user=mallory|PWD=/|USER=root|COMMAND=/usr/bin/true|reason=user NOT in sudoers|action=not_in_sudoers",
            ),
            (
                " mallory : command not allowed ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
                "outcome=failure|method=sudo|user=mallory|PWD=/|USER=root|COMMAND=/bin/ls|reason=command not allowed|action=command_not_allowed",
            ),
            (
                " mallory : no tty ; HOST=vm ; PWD=/ ; USER=root ; COMMAND=/bin/true",
                "outcome=failure|method=sudo|user=mallory|HOST=vm|PWD=/|USER=root|COMMAND=/bin/true|reason=no tty|action=no_tty",
            ),
            (
                " mallory : (command continued) aaaa",
                "action=command_continued|user=mallory|COMMAND=aaaa",
            ),
        ],
    );
    check_unread(
        "sudo",
        &["sudo: unable to resolve host vm", "two words : x"],
    );
}

#[test]
fn a_line_about_how_a_command_ended_is_no_second_command() {
    check(
        "sudo",
        &[
            (
                "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/false ; EXIT=1",
                "action=command_ended|user=bob|TTY=pts/0|PWD=/|USER=root|COMMAND=/bin/false|exit=1",
            ),
            (
                "bob : PWD=/ ; USER=root ; COMMAND=/bin/sleep 9 ; SIGNAL=TERM ; EXIT=143",
                "action=command_ended|user=bob|PWD=/|USER=root|COMMAND=/bin/sleep 9|exit=143|signal=TERM",
            ),
            (
                "bob : PWD=/ ; USER=root ; COMMAND=/bin/echo ; EXIT=no",
                "outcome=success|method=sudo|user=bob|PWD=/|USER=root|COMMAND=/bin/echo ; EXIT=no",
            ),
        ],
    );
}

#[test]
fn lines_of_su_are_read() {
    check(
        "su",
        &[
            (
                "FAILED SU (to root) bob on pts/0",
                "outcome=failure|method=su|user=bob|USER=root|TTY=pts/0",
            ),
            (
                "(to bob) root on none",
                "outcome=success|method=su|user=root|USER=bob|TTY=none",
            ),
            (
                "Successful su for root by bob",
                "outcome=success|method=su|user=bob|USER=root",
            ),
            (
                "FAILED su for root by bob",
                "outcome=failure|method=su|user=bob|USER=root",
            ),
            (
                "+ pts/0 bob:root",
                "outcome=attempt|method=su|user=bob|USER=root|TTY=pts/0",
            ),
            (
                "- /dev/pts/1 bob-root",
                "outcome=attempt|method=su|user=bob|USER=root|TTY=/dev/pts/1",
            ),
        ],
    );
}

/// What sshd writes by PAM.
const SSHD_PAM: &[(&str, &str)] = &[
    (
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1  user=root",
        "outcome=attempt|user=root|src_ip=127.0.0.1|pam_module=pam_unix|pam_service=sshd",
    ),
    (
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1 ",
        "outcome=attempt|src_ip=127.0.0.1|pam_module=pam_unix|pam_service=sshd",
    ),
    (
        "pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=2001:db8::7 user=bob",
        "outcome=attempt|user=bob|src_ip=2001:db8::7|pam_module=pam_sss|pam_service=sshd",
    ),
    (
        "pam_sss(sshd:auth): received for user bob: 7 (Authentication failure)",
        "action=password_check_failed|user=bob|reason=Authentication failure|pam_module=pam_sss|pam_service=sshd",
    ),
    (
        "pam_unix(sshd:auth): check pass; user unknown",
        "action=password_check_failed|pam_module=pam_unix|pam_service=sshd",
    ),
    (
        "pam_unix(sshd:session): session opened for user bob(uid=1001) by (uid=0)",
        "action=session_opened|user=bob|uid=1001|by_uid=0|pam_module=pam_unix|pam_service=sshd",
    ),
    (
        "pam_unix(sshd:session): session opened for user bob by (uid=0)",
        "action=session_opened|user=bob|by_uid=0|pam_module=pam_unix|pam_service=sshd",
    ),
    (
        "pam_unix(sshd:session): session closed for user bob",
        "action=session_closed|user=bob|pam_module=pam_unix|pam_service=sshd",
    ),
    (
        "pam_faillock(sshd:auth): Consecutive login failures for user bob account temporarily locked",
        "action=account_locked|user=bob|pam_module=pam_faillock|pam_service=sshd",
    ),
    (
        "pam_tally2(sshd:auth): user bob (1001) tally 6, deny 5",
        "action=account_locked|user=bob|pam_module=pam_tally2|pam_service=sshd",
    ),
    (
        "PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=198.51.100.7  user=root",
        "outcome=attempt|user=root|src_ip=198.51.100.7",
    ),
];

/// What sudo writes by PAM.
const SUDO_PAM: &[(&str, &str)] = &[
    (
        "pam_unix(sudo:session): session opened for user root(uid=0) by bob(uid=1001)",
        "action=session_opened|user=root|uid=0|by=bob|by_uid=1001|pam_module=pam_unix|pam_service=sudo",
    ),
    (
        "pam_unix(sudo:auth): auth could not identify password for [bob]",
        "action=password_check_failed|user=bob|pam_module=pam_unix|pam_service=sudo",
    ),
];

/// What passwd writes by PAM.
const PASSWD_PAM: &[(&str, &str)] = &[(
    "pam_unix(passwd:chauthtok): password changed for bob",
    "action=password_changed|user=bob|pam_module=pam_unix|pam_service=passwd",
)];

/// What unix_chkpwd writes by PAM.
const UNIX_CHKPWD_PAM: &[(&str, &str)] = &[(
    "password check failed for user (bob)",
    "action=password_check_failed|user=bob",
)];

#[test]
fn lines_of_pam_are_read_in_any_program() {
    check("sshd", SSHD_PAM);
    check("sudo", SUDO_PAM);
    check("passwd", PASSWD_PAM);
    check("unix_chkpwd", UNIX_CHKPWD_PAM);
    check_unread(
        "sudo",
        &[
            "pam_unix(sudo:auth): conversation failed",
            "pam_systemd(su:session): Failed to connect to system bus: No such file or directory",
        ],
    );
}

#[test]
fn the_old_form_of_pam_names_the_module_in_the_program() {
    let failure = "Nov 21 01:02:03 web-01 sshd(pam_unix)[19939]: authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=198.51.100.7  user=root";
    let session =
        "Nov 21 01:02:03 web-01 su(pam_unix)[21416]: session opened for user cyrus by (uid=0)";

    assert_eq!(
        fields("unknown", failure),
        "outcome=attempt|user=root|src_ip=198.51.100.7|pam_module=pam_unix|program=sshd(pam_unix)|pid=19939"
    );
    assert_eq!(&*read("unknown", failure).event.service, "sshd");
    assert_eq!(
        fields("unknown", session),
        "action=session_opened|user=cyrus|by_uid=0|pam_module=pam_unix|program=su(pam_unix)|pid=21416"
    );
}

#[test]
fn lines_of_login_are_read_in_the_words_of_both_of_its_makers() {
    check(
        "login",
        &[
            (
                "FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Authentication failure",
                "outcome=failure|method=login|user=root|reason=Authentication failure|TTY=tty1",
            ),
            (
                "FAILED LOGIN (2) on '/dev/pts/0' from '192.0.2.9' FOR 'UNKNOWN', User not known to the underlying authentication module",
                "outcome=failure|method=login|src_ip=192.0.2.9|invalid_user=true|reason=User not known to the underlying authentication module|TTY=pts/0",
            ),
            (
                "FAILED LOGIN 1 FROM tty1 FOR root, Authentication failure",
                "outcome=failure|method=login|user=root|reason=Authentication failure|TTY=tty1",
            ),
            (
                "FAILED LOGIN SESSION FROM tty2 FOR (unknown), User not known",
                "outcome=failure|method=login|reason=User not known|TTY=tty2",
            ),
            (
                "TOO MANY LOGIN TRIES (3) FROM tty1 FOR root, Authentication failure",
                "action=too_many_tries|TTY=tty1",
            ),
            (
                "TOO MANY LOGIN TRIES (5) on '/dev/tty1' FOR 'root'",
                "action=too_many_tries|TTY=tty1",
            ),
            (
                "ROOT LOGIN ON tty1",
                "outcome=success|method=login|user=root|TTY=tty1",
            ),
            (
                "ROOT LOGIN  on '/dev/tty1'",
                "outcome=success|method=login|user=root|TTY=tty1",
            ),
            (
                "ROOT LOGIN ON pts/1 FROM 192.0.2.9",
                "outcome=success|method=login|user=root|src_ip=192.0.2.9|TTY=pts/1",
            ),
            (
                "LOGIN ON tty1 BY bob",
                "outcome=success|method=login|user=bob|TTY=tty1",
            ),
            ("DIALUP AT ttyS0 BY bob", "action=dialup|user=bob|TTY=ttyS0"),
        ],
    );
    check_unread(
        "login",
        &[
            "ROOT LOGIN somewhere",
            "LOGIN ON tty1 BY bob or so",
            "FAILED LOGIN (x) on '/dev/tty1' FOR 'root', Authentication failure",
            "pam_start failed",
        ],
    );
}

#[test]
fn a_name_that_holds_a_reason_makes_a_line_of_login_ambiguous() {
    let line = "FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Success', Authentication failure";

    assert_eq!(fields("login", line), "ambiguous=true");
}
