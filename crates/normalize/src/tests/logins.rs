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
