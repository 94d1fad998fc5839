//! What the agent reads on a host: files, processes, journals, kernel records, lines of logs.
//! It never reads the machine it runs on.

use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use hidps_agent::collect::fuzzing::{
    compare_versions, read_auditd_config, read_disks, read_host_file, read_package_list,
    read_process, read_time_answer, read_users, split_lines,
};
use hidps_agent::collect::process::{parse_arguments, parse_notices, parse_stat, parse_users};
use hidps_agent::collect::sockets::{Transport, parse_line, read_answer};
use hidps_agent::collect::{journal, kernel_log};
use hidps_agent::dial::{ProxyAnswer, parse_answer};
use hidps_agent::file_watch::fuzzing::read_mounts;
use hidps_agent::firewall::fuzzing::{
    read_connections, read_other_filters, read_session, read_tracking,
};
use hidps_agent::firewall::{DaemonPlace, read_ufw_files};
use hidps_agent::normalize::audit;
use hidps_agent::normalize::{JournalEntry, LineSource, normalize, normalize_entry};
use hidps_agent::redact::{MASK, redact_arguments, redact_command, redact_each};
use hidps_wire::FieldValue;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What a host's files say of it: read or passed over, and what is told of a process may be shown.
pub fn host_files(data: &[u8]) {
    let (name, command) = read_process(data);
    let told = [
        name.as_deref().map(str::to_owned),
        command.as_deref().map(str::to_owned),
    ];
    for text in told.into_iter().flatten() {
        assert!(text.len() <= hidps_wire::MAX_COMMAND_BYTES, "it is bounded");
        assert!(!text.contains(char::is_control), "it can be shown");
    }
    let _ = read_package_list(data);
    read_time_answer(data);
    let text = String::from_utf8_lossy(data);
    read_host_file(&text);
    let (one, other) = text.split_once('\n').unwrap_or((&text, ""));
    let ordering = compare_versions(one, other);
    let reversed = compare_versions(other, one).map(std::cmp::Ordering::reverse);
    assert_eq!(
        ordering, reversed,
        "the order of versions does not depend on who asks"
    );
}

/// What ufw has written down, as somebody else may have left it: a rule is at least a line.
pub fn ufw_rules(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(read_ufw_files(&text) <= text.lines().count());
}

/// Command lines, as one text and as arguments: bounded, and nothing new after a second look, where no
/// quote that is masked with a secret was the other one's pair.
pub fn command_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let once = redact_command(&text);
    if !text.contains(['"', '\'']) {
        assert_eq!(redact_command(&once), once, "a second look changes nothing");
    }
    assert!(once.len() <= 3 * text.len() + MASK.len(), "it stays short");
    let arguments = redact_arguments(text.split('\0'));
    assert!(
        arguments.len() <= 3 * text.len() + MASK.len(),
        "it stays short"
    );
}

/// What the kernel says of who changes files is read to its end, and no more than there is.
pub fn file_actors(data: &[u8]) {
    let (n_events, n_placed) = hidps_agent::file_watch::fuzzing::read_who(data);
    assert!(n_events <= data.len() / 24, "an event has a fixed part");
    assert!(n_placed <= n_events, "no place without an event");
    let text = String::from_utf8_lossy(data);
    let is_named = hidps_agent::file_watch::fuzzing::read_watch(&text);
    assert!(
        !is_named || text.contains("f_handle:"),
        "nothing is made up"
    );
}

/// What was known of watched files is read whole or not at all, and written as it was read.
pub fn file_memory(data: &[u8]) {
    if let Some((n_files, again)) = hidps_agent::file_watch::fuzzing::read_memory(data) {
        assert!(n_files <= data.len(), "nothing is made up");
        assert_eq!(again, Some(n_files), "it is read as it was written");
    }
}

/// What the kernel tells of processes and sockets: read or nothing, and never more than there is.
pub fn process_sources(data: &[u8]) {
    let n_notices = parse_notices(data).count();
    assert!(n_notices <= data.len() / 36, "a notice has headers");
    let line = parse_arguments(data);
    assert!(line.len() <= 8 * 1024, "a command line is bounded");
    let text = String::from_utf8_lossy(data);
    if let Some(entry) = parse_stat(&text) {
        assert!(text.contains(&entry.name), "a name is in the text");
    }
    let _ = parse_users(&text);
    for line in text.lines() {
        let row = parse_line(line, Transport::Tcp);
        assert!(row.is_none_or(|row| row.transport == Transport::Tcp));
    }
    let mut n_rows = 0;
    // An answer that is cut off is an error.
    read_answer(data, (1, Transport::Tcp), |_| n_rows += 1).ok();
    assert!(n_rows <= data.len() / 72, "a socket has its bytes");
}

/// Programs whose lines are understood, each by a reader of its own.
const PROGRAMS: [&str; 13] = [
    "sshd",
    "sudo",
    "su",
    "kernel",
    "CRON",
    "crontab",
    "login",
    "useradd",
    "gpasswd",
    "unix_chkpwd",
    "systemd",
    "systemd-modules-load",
    "sshd(pam_unix)",
];

/// Fields in words of ours or in canonical form; every other text stands in the line.
const OUR_WORDS: [&str; 8] = [
    "action", "outcome", "method", "proto", "flags", "src_ip", "dst_ip", "address",
];

/// A file of journald, as a failing disk or whoever can write to it leaves it: read to an end.
pub fn journal_file(data: &[u8]) {
    assert!(
        journal::read_any(data) <= data.len(),
        "an entry is no less than a byte"
    );
}

/// A record of the kernel's log: refused, or a text no longer than its bytes could make it.
pub fn kernel_record(data: &[u8]) {
    if let Some(text) = kernel_log::read_any(data) {
        // What is not UTF-8 takes three bytes for one.
        assert!(text.len() <= 3 * data.len(), "nothing is made up");
    }
}

/// Records of the audit, a line each, as auditd writes and as the kernel tells them: events within
/// the limits, none of them twice, and nothing of what somebody typed.
pub fn audit_record(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let kind = u16::from_le_bytes([data.first().copied().unwrap_or(0), 5]);
    let records = text
        .lines()
        .filter_map(|line| audit::parse_line(line).or_else(|| audit::parse_message(kind, line)));
    let (mut joiner, mut ended, mut n_records) = (audit::Joiner::default(), Vec::new(), 0);
    for record in records {
        n_records += 1;
        joiner.push(record, Instant::now(), |event| ended.push(event));
    }
    joiner.end_all(|event| ended.push(event));
    assert!(joiner.is_empty(), "nothing is kept back");
    let naming = audit::Naming {
        redact_arguments: &|words| redact_each(words.iter().map(String::as_str)),
        redact_command: &redact_command,
        user_name: &|user| (user == 0).then(|| "root".to_owned()),
    };
    let mut n_events = 0;
    for event in ended
        .into_iter()
        .flat_map(|event| event.into_events(&naming))
    {
        n_events += 1;
        assert_eq!(event.service.as_str(), "auditd");
        assert!(
            event.fields.get("type").is_some(),
            "a rule can tell its kind"
        );
        assert!(event.fields.get("data").is_none(), "what was typed stays");
    }
    assert!(n_events <= n_records, "a record is one event at most");
}

/// An entry of the journal, its fields one a line: never more than an event of its writer.
pub fn journal_entry(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(5, '\n');
    let mut next = || lines.next().filter(|line| !line.is_empty());
    let (identifier, comm, exe, uid) = (next(), next(), next(), next());
    let message = lines.next().unwrap_or("");
    let entry = JournalEntry {
        message,
        identifier,
        comm,
        exe,
        uid: uid.and_then(|uid| uid.parse().ok()),
        ..JournalEntry::default()
    };
    let read = normalize_entry(&entry);
    assert!(message.contains(read.event.message.as_str()));
    if read.event.fields.get("claimed").is_some() {
        assert!(!read.is_read, "what is not believed is not read");
        let stated = read.event.fields.get("src_ip");
        assert!(stated.is_none(), "what is not believed states nothing");
    }
}

/// A line of any program, as an attacker may shape it: an event within the limits, whose claims
/// are in the line, with addresses that are addresses.
pub fn log_line(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    for program in PROGRAMS {
        let source = LineSource {
            program,
            seen: Timestamp::UNIX_EPOCH,
            zone: TimeZone::UTC,
        };
        let read = normalize(&line, &source);
        assert!(read.count >= 1, "a line is at least one event");
        assert!(
            line.contains(read.event.message.as_str()),
            "the message is the line's"
        );
        let is_ambiguous = read.event.fields.get("ambiguous").is_some();
        for (name, value) in read.event.fields.iter() {
            let is_open = ["ambiguous", "program", "pid"].contains(&name);
            assert!(!is_ambiguous || is_open, "{name} beside ambiguous");
            check_field(&line, program, name, value);
        }
    }
}

/// A field states no more than its line.
fn check_field(line: &str, program: &str, name: &str, value: &FieldValue<'_>) {
    match value {
        FieldValue::Text(text) if ["src_ip", "dst_ip", "address"].contains(&name) => {
            let address: IpAddr = text.parse().expect("an address is one");
            assert_eq!(address.to_canonical().to_string(), text.as_str());
        }
        FieldValue::Text(text) => {
            let is_stated = line.contains(text.as_str()) || program.contains(text.as_str());
            // login writes who it is in capitals.
            let is_root = name == "user" && text.as_str() == "root" && line.contains("ROOT LOGIN");
            let is_ours = OUR_WORDS.contains(&name) || is_root;
            assert!(is_stated || is_ours, "{name} is invented");
        }
        FieldValue::Integer(number) if name.ends_with("port") => {
            assert!((0..=65_535).contains(number), "{name} is a port");
        }
        FieldValue::Integer(_) | FieldValue::Bool(_) | FieldValue::Number(_) => {}
    }
}

/// What a proxy answers: all of it lies within what came, and what came later changes nothing.
pub fn proxy_answer(data: &[u8]) {
    let answer = parse_answer(data);
    let ProxyAnswer::Whole { reason, length, .. } = &answer else {
        return;
    };
    assert!(*length <= data.len(), "nothing is made up");
    assert!(!reason.contains(char::is_control), "it can be printed");
    assert_eq!(parse_answer(&data[..*length]), answer, "it ends there");
}

/// Tables of the kernel and small files of the host: no more in them than their lines say, and
/// nothing that is not there.
pub fn host_tables(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let n_lines = text.lines().count();
    let is_told = |path: &Path| {
        let path = path.as_os_str().as_encoded_bytes();
        let is_escaped = data.contains(&b'\\');
        is_escaped || path.is_empty() || data.windows(path.len()).any(|part| part == path)
    };
    let mounts = read_mounts(data);
    assert!(mounts.len() <= data.split(|byte| *byte == b'\n').count());
    assert!(
        mounts.iter().all(|(at, _)| is_told(at)),
        "nothing is made up"
    );
    assert!(read_disks(&text).len() <= hidps_wire::MAX_USAGE_ENTRIES);
    let (peers, n_more) = read_connections(&text);
    assert!(peers.len() <= 64 && peers.len() + n_more <= n_lines);
    assert!(peers.iter().all(|peer| !peer.address.is_loopback()));
    for name in read_users(&text, &[0, 1_000]).into_iter().flatten() {
        assert!(text.contains(&name), "a name is in the list");
    }
    if let Some(log) = read_auditd_config(&text) {
        assert!(log.is_absolute());
        let is_usual = log == Path::new("/var/log/audit/audit.log");
        assert!(is_usual || text.contains(&*log.to_string_lossy()));
    }
    let (login, socket, _) = read_session(data);
    let numbers = [login.map(u64::from), socket];
    for number in numbers.into_iter().flatten() {
        assert!(text.contains(&number.to_string()), "nothing is made up");
    }
    let _ = read_other_filters(&text);
    let (_, why) = read_tracking(&text, &DaemonPlace::default());
    assert!(!why.contains(char::is_control), "it can be shown");
}

/// A log in pieces, of a size that its first byte says: the same lines as in one piece, each within
/// what an event carries.
pub fn log_pieces(data: &[u8]) {
    let Some((size, log)) = data.split_first() else {
        return;
    };
    let whole = split_lines([log]);
    let in_pieces = split_lines(log.chunks(usize::from(*size) + 1));
    assert_eq!(whole, in_pieces, "it does not matter when they came");
    let expected = log.split(|byte| *byte == b'\n');
    let expected = expected.take(whole.len());
    for ((line, is_cut), told) in whole.iter().zip(expected) {
        assert!(line.len() <= hidps_wire::MAX_EVENT_TEXT_BYTES);
        assert!(told.starts_with(line) && *is_cut == (line.len() < told.len()));
    }
    let n_ends = log.iter().filter(|byte| **byte == b'\n').count();
    let has_rest = log.last().is_some_and(|byte| *byte != b'\n');
    assert_eq!(
        whole.len(),
        n_ends + usize::from(has_rest),
        "no line is lost"
    );
}
