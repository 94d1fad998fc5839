//! Lines of sshd, as versions from 5 to 9.9 write them.

use super::*;

/// Its lines about attempts.
const RESULTS: &[(&str, &str)] = &[
    (
        "Failed password for root from 127.0.0.1 port 48056 ssh2\r",
        "outcome=failure|method=password|user=root|src_ip=127.0.0.1|src_port=48056|invalid_user=false",
    ),
    (
        "Failed password for invalid user x y from 127.0.0.1 port 48062 ssh2",
        "outcome=failure|method=password|user=x y|src_ip=127.0.0.1|src_port=48062|invalid_user=true",
    ),
    (
        "Accepted publickey for bob from 2001:db8:0::7 port 22 ssh2: ED25519 SHA256:aBc/+9",
        "outcome=success|method=publickey|user=bob|src_ip=2001:db8::7|src_port=22|invalid_user=false",
    ),
    (
        "Accepted keyboard-interactive/pam for bob from fe80::1%eth0 port 22 ssh2",
        "outcome=success|method=keyboard-interactive/pam|user=bob|src_ip=fe80::1|src_port=22|invalid_user=false",
    ),
    (
        "Accepted password for bob from ::ffff:192.0.2.7 port 22 ssh2",
        "outcome=success|method=password|user=bob|src_ip=192.0.2.7|src_port=22|invalid_user=false",
    ),
    (
        "Failed none for invalid user a from 10.0.0.1 port 5 ssh2",
        "outcome=attempt|method=none|user=a|src_ip=10.0.0.1|src_port=5|invalid_user=true",
    ),
    (
        "Postponed publickey for bob from 10.0.0.1 port 5 ssh2 [preauth]",
        "outcome=attempt|method=publickey|user=bob|src_ip=10.0.0.1|src_port=5|invalid_user=false|preauth=true",
    ),
    (
        "Invalid user x y from 127.0.0.1 port 48062",
        "outcome=attempt|user=x y|src_ip=127.0.0.1|src_port=48062|invalid_user=true",
    ),
    (
        "Invalid user  from 127.0.0.1 port 48062",
        "outcome=attempt|user=|src_ip=127.0.0.1|src_port=48062|invalid_user=true",
    ),
    (
        "Illegal user guest from 198.51.100.7",
        "outcome=attempt|user=guest|src_ip=198.51.100.7|invalid_user=true",
    ),
    (
        "input_userauth_request: invalid user admin [preauth]",
        "outcome=attempt|user=admin|invalid_user=true|preauth=true",
    ),
    (
        "error: PAM: Authentication failure for root from 198.51.100.7",
        "outcome=attempt|user=root|src_ip=198.51.100.7|invalid_user=false",
    ),
    (
        "error: PAM: User not known to the underlying authentication module for illegal user adm from 198.51.100.7",
        "outcome=attempt|user=adm|src_ip=198.51.100.7|invalid_user=true",
    ),
    (
        "error: maximum authentication attempts exceeded for root from 10.0.0.1 port 5 ssh2 [preauth]",
        "outcome=aborted|user=root|src_ip=10.0.0.1|src_port=5|invalid_user=false|action=too_many_failures|preauth=true",
    ),
];

#[test]
fn results_of_attempts_are_read() {
    check("sshd", RESULTS);
}

/// Its lines about ends of connections.
const ENDS: &[(&str, &str)] = &[
    (
        "Connection closed by authenticating user root 127.0.0.1 port 48056 [preauth]",
        "outcome=aborted|user=root|src_ip=127.0.0.1|src_port=48056|invalid_user=false|action=closed|preauth=true",
    ),
    (
        "Connection closed by invalid user x y 127.0.0.1 port 48062 [preauth]",
        "outcome=aborted|user=x y|src_ip=127.0.0.1|src_port=48062|invalid_user=true|action=closed|preauth=true",
    ),
    (
        "Connection closed by 127.0.0.1 port 48062 [preauth]",
        "outcome=aborted|src_ip=127.0.0.1|src_port=48062|action=closed|preauth=true",
    ),
    (
        "Connection closed by 198.51.100.7 [preauth]",
        "outcome=aborted|src_ip=198.51.100.7|action=closed|preauth=true",
    ),
    (
        "Connection closed by UNKNOWN port 65535 [preauth]",
        "outcome=aborted|action=closed|preauth=true",
    ),
    (
        "Connection reset by ::1 port 42024",
        "outcome=aborted|src_ip=::1|src_port=42024|action=reset",
    ),
    (
        "Disconnected from invalid user admin 198.51.100.7 port 5 [preauth]",
        "outcome=aborted|user=admin|src_ip=198.51.100.7|src_port=5|invalid_user=true|action=disconnected|preauth=true",
    ),
    (
        "Disconnected from user bob 127.0.0.1 port 38960",
        "action=disconnected|user=bob|src_ip=127.0.0.1|src_port=38960",
    ),
    (
        "Received disconnect from 127.0.0.1 port 38960:11: disconnected by user",
        "action=disconnected|src_ip=127.0.0.1|src_port=38960|reason=disconnected by user",
    ),
    (
        "Received disconnect from 2001:db8::7: 11: Bye Bye [preauth]",
        "action=disconnected|src_ip=2001:db8::7|reason=Bye Bye",
    ),
    (
        "error: Received disconnect from 198.51.100.7: 3: com.jcraft.jsch.JSchException: Auth fail [preauth]",
        "action=disconnected|src_ip=198.51.100.7|reason=com.jcraft.jsch.JSchException: Auth fail",
    ),
    (
        "Disconnecting authenticating user root 198.51.100.7 port 5: Too many authentication failures [preauth]",
        "outcome=aborted|user=root|src_ip=198.51.100.7|src_port=5|invalid_user=false|action=too_many_failures|preauth=true",
    ),
    (
        "Disconnecting: Too many authentication failures for root [preauth]",
        "outcome=aborted|user=root|action=too_many_failures|preauth=true",
    ),
    (
        "drop connection #10 from [198.51.100.7]:40022 on [192.0.2.1]:22 past MaxStartups",
        "action=dropped|src_ip=198.51.100.7|src_port=40022|reason=past MaxStartups",
    ),
    (
        "drop connection #0 from [198.51.100.7]:40022 on [192.0.2.1]:22 penalty: failed authentication",
        "action=dropped|src_ip=198.51.100.7|src_port=40022|reason=penalty: failed authentication",
    ),
];

#[test]
fn ends_of_connections_are_read() {
    check("sshd", ENDS);
}

/// Its lines about connections that stayed without a session.
const BEGINNINGS: &[(&str, &str)] = &[
    (
        "Did not receive identification string from 198.51.100.7 port 40022",
        "action=no_identification|src_ip=198.51.100.7|src_port=40022",
    ),
    (
        "Did not receive identification string from 198.51.100.7",
        "action=no_identification|src_ip=198.51.100.7",
    ),
    (
        "error: kex_exchange_identification: Connection closed by remote host",
        "action=no_identification",
    ),
    (
        "error: kex_exchange_identification: read: Connection reset by peer",
        "action=no_identification",
    ),
    (
        "error: kex_exchange_identification: client sent invalid protocol identifier \"GET / HTTP/1.1\"",
        "action=bad_protocol",
    ),
    (
        "Bad protocol version identification 'GET / HTTP/1.1' from 198.51.100.7 port 40022",
        "action=bad_protocol|src_ip=198.51.100.7|src_port=40022",
    ),
    (
        "error: Protocol major versions differ: 2 vs. 1",
        "action=bad_protocol",
    ),
    (
        "banner exchange: Connection from 127.0.0.1 port 42018: invalid format",
        "action=banner_error|src_ip=127.0.0.1|src_port=42018|reason=invalid format",
    ),
    (
        "Unable to negotiate with 127.0.0.1 port 37386: no matching cipher found. Their offer: aes128-cbc [preauth]",
        "action=negotiation_failed|src_ip=127.0.0.1|src_port=37386|reason=no matching cipher found. Their offer: aes128-cbc|preauth=true",
    ),
    (
        "fatal: Unable to negotiate with 198.51.100.7 port 5: no matching host key type found. Their offer: ssh-dss [preauth]",
        "action=negotiation_failed|src_ip=198.51.100.7|src_port=5|reason=no matching host key type found. Their offer: ssh-dss|preauth=true",
    ),
    (
        "fatal: Timeout before authentication for 198.51.100.7 port 40022",
        "action=timeout|src_ip=198.51.100.7|src_port=40022",
    ),
    (
        "Timeout before authentication for connection from 198.51.100.7 to 192.0.2.1, pid = 4711",
        "action=timeout|src_ip=198.51.100.7",
    ),
    (
        "ssh_dispatch_run_fatal: Connection from 127.0.0.1 port 42058: incomplete message [preauth]",
        "action=key_exchange_failed|src_ip=127.0.0.1|src_port=42058|reason=incomplete message|preauth=true",
    ),
    (
        "error: kex protocol error: type 30 seq 1 [preauth]",
        "action=key_exchange_failed|reason=type 30 seq 1|preauth=true",
    ),
];

#[test]
fn connections_that_never_became_sessions_are_read() {
    check("sshd", BEGINNINGS);
}

#[test]
fn refusals_and_oddities_are_read() {
    check(
        "sshd",
        &[
            (
                "User mallory from 127.0.0.1 not allowed because listed in DenyUsers",
                "action=not_allowed|user=mallory|src_ip=127.0.0.1|reason=listed in DenyUsers",
            ),
            (
                "User bob from host.example not allowed because not listed in AllowUsers",
                "action=not_allowed|user=bob|reason=not listed in AllowUsers",
            ),
            (
                "ROOT LOGIN REFUSED FROM 198.51.100.7 port 5",
                "action=not_allowed|user=root|src_ip=198.51.100.7|src_port=5",
            ),
            (
                "reverse mapping checking getaddrinfo for host.example [198.51.100.7] failed.",
                "action=reverse_mapping_failed|src_ip=198.51.100.7",
            ),
            (
                "reverse mapping checking getaddrinfo for host.example [198.51.100.7] failed - POSSIBLE BREAK-IN ATTEMPT!",
                "action=reverse_mapping_failed|src_ip=198.51.100.7",
            ),
            (
                "Address 198.51.100.7 maps to host.example, but this does not map back to the address - POSSIBLE BREAK-IN ATTEMPT!",
                "action=reverse_mapping_failed|src_ip=198.51.100.7",
            ),
            (
                "Nasty PTR record \"192.0.2.1\" is set up for 198.51.100.7, ignoring",
                "action=reverse_mapping_failed|src_ip=198.51.100.7",
            ),
            (
                "subsystem request for sftp by user bob",
                "action=subsystem|subsystem=sftp|user=bob",
            ),
            (
                "subsystem request for sftp",
                "action=subsystem|subsystem=sftp",
            ),
            (
                "Server listening on :: port 22.",
                "action=listening|address=::|port=22",
            ),
        ],
    );
}

#[test]
fn what_does_not_hold_is_left_unread() {
    check_unread(
        "sshd",
        &[
            "Failed password for root from nowhere port 1 ssh2",
            "Failed password for root from 10.0.0.1 port 99999 ssh2",
            "Failed password for root from 10.0.0.1 port +22 ssh2",
            "Failed password for root from 010.0.0.1 port 22 ssh2",
            "Server listening on 0.0.0.0 port 65536.",
            "Connection closed by nobody port 5",
            "User bob not from here",
            "drop connection #10 from [nowhere]:40022 on [192.0.2.1]:22 past MaxStartups",
        ],
    );
}
