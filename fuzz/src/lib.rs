//! The bodies of the fuzz targets: each takes any bytes and panics only if a promise is broken.
//! They never touch a file or a socket; `tests/replay.rs` runs them over the committed corpora.

use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use hidps_agent::collect::fuzzing::{
    compare_versions, read_host_file, read_package_list, read_process,
};
use hidps_agent::collect::process::{parse_arguments, parse_notices, parse_stat, parse_users};
use hidps_agent::collect::sockets::{Transport, parse_line};
use hidps_agent::collect::{journal, kernel_log};
use hidps_agent::normalize::{JournalEntry, LineSource, normalize, normalize_entry};
use hidps_agent::redact::{MASK, redact_arguments, redact_command};
use hidps_local_supabase::fuzzing::{read_client_frame, weigh_log_message};
use hidps_realtime::fuzzing::{TOKEN, receive};
use hidps_rules::tests::TestFile;
use hidps_rules::{
    Engine, Event, Limits, LogSource, Options, Pipeline, RuleFile, RuleSet, Scope, Value, lint,
    parse_placeholders,
};
use hidps_wire::{
    AgentFrame, DaemonFrame, EventBatch, FieldValue, MAX_AGENT_FRAME_BYTES, MAX_DAEMON_FRAME_BYTES,
    MAX_VIEWER_FRAME_BYTES, StreamFrame, ViewerFrame, WatchPath, decode, encode, frame_type,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A fuzz target by name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a file in `fuzz_targets` and a directory in `corpus`.
pub const TARGETS: [Target; 20] = [
    ("host_files", host_files),
    ("journal_entry", journal_entry),
    ("journal_file", journal_file),
    ("kernel_record", kernel_record),
    ("command_line", command_line),
    ("log_line", log_line),
    ("log_message", log_message),
    ("process_sources", process_sources),
    ("realtime_client_frame", realtime_client_frame),
    ("realtime_frames", realtime_frames),
    ("rule_condition", rule_condition),
    ("rule_event", rule_event),
    ("rule_file", rule_file),
    ("rule_pipeline", rule_pipeline),
    ("rule_placeholders", rule_placeholders),
    ("watch_path", watch_path),
    ("wire_agent_frame", wire_agent_frame),
    ("wire_daemon_frame", wire_daemon_frame),
    ("wire_event_batch", wire_event_batch),
    ("wire_viewer_frame", wire_viewer_frame),
];

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

/// Frames of agents: refused or stable.
pub fn wire_agent_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    is_stable::<AgentFrame>(text, MAX_AGENT_FRAME_BYTES);
    let _ = frame_type(text);
}

/// Frames of the daemon to agents: refused or stable.
pub fn wire_daemon_frame(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        is_stable::<DaemonFrame>(text, MAX_DAEMON_FRAME_BYTES);
    }
}

/// Batches of events, which borrow from their text: refused or stable, as batch and for viewers.
pub fn wire_event_batch(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(batch) = decode::<EventBatch<'_>>(text, MAX_AGENT_FRAME_BYTES) else {
        return;
    };
    let once = encode(&batch);
    let again: EventBatch<'_> = decode(&once, usize::MAX).expect("our own text is read");
    assert_eq!(encode(&again), once, "the text form is stable");
    for event in batch.events {
        let within = event.is_within_limits();
        let owned = event.into_owned();
        assert_eq!(owned.is_within_limits(), within, "owning changes no length");
    }
}

/// Frames between viewers and the daemon: refused or stable.
pub fn wire_viewer_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    is_stable::<ViewerFrame>(text, MAX_VIEWER_FRAME_BYTES);
    if let Ok(frame) = decode::<StreamFrame<'_>>(text, MAX_DAEMON_FRAME_BYTES) {
        let once = encode(&frame);
        let again: StreamFrame<'_> = decode(&once, usize::MAX).expect("our own text is read");
        assert_eq!(encode(&again), once, "the text form is stable");
    }
}

/// Lines of frames from a Realtime server: told or failed, never both after one another, and never
/// with the token in an error.
pub fn realtime_frames(data: &[u8]) {
    let frames = data.split(|byte| *byte == b'\n');
    let told = receive(frames);
    let n_failures = told.iter().filter(|told| told.is_err()).count();
    assert!(n_failures <= 1, "a session fails once");
    assert!(
        told.iter().take(told.len() - n_failures).all(Result::is_ok),
        "nothing is told after a failure"
    );
    for error in told.iter().filter_map(|told| told.as_ref().err()) {
        let words = format!("{error} {error:?}");
        assert!(!words.contains(TOKEN), "an error keeps the token");
        assert!(words.chars().count() < 2_000, "an error is short");
        let _ = error.remedy();
    }
}

/// Frames of Realtime clients, as the stand-in reads them: refused or relayed unchanged.
pub fn realtime_client_frame(data: &[u8]) {
    read_client_frame(data);
}

/// Messages of Postgres' log: refused, or no larger than what they were read from.
pub fn log_message(data: &[u8]) {
    if let Some(weight) = weigh_log_message(data) {
        assert!(weight <= data.len(), "nothing is made up");
    }
}

/// Command lines, as one text and as arguments: bounded, and nothing new after a second look.
pub fn command_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let once = redact_command(&text);
    assert_eq!(redact_command(&once), once, "a second look changes nothing");
    assert!(once.len() <= 3 * text.len() + MASK.len(), "it stays short");
    let arguments = redact_arguments(text.split('\0'));
    assert!(
        arguments.len() <= 3 * text.len() + MASK.len(),
        "it stays short"
    );
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
}

/// Paths to watch: refused, or absolute, normal and unchanged by a second look.
pub fn watch_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(path) = WatchPath::parse(text) else {
        return;
    };
    assert!(path.as_str().starts_with('/'), "it is absolute");
    assert!(!path.as_str().contains('\0'), "it has no NUL");
    let mut parts = path.as_str().split('/').skip(1);
    assert!(
        parts.all(|part| !matches!(part, "" | "." | "..")),
        "it is normal"
    );
    assert_eq!(
        WatchPath::parse(path.as_str()).as_ref(),
        Ok(&path),
        "it stays"
    );
}

/// Rules and the tests beside them: refused with a place, or able to look at any event.
pub fn rule_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // A first line of dashes parts the event's message from the rules.
    let (message, text) = text.split_once("\n---\n").unwrap_or(("", text));
    drop(TestFile::parse("fuzz.test.yml", text));
    let file = RuleFile {
        name: "fuzz.yml",
        text,
    };
    drop(format!("{:?}", lint(&[file])));
    let rules = match RuleSet::compile(&[file]) {
        Ok(rules) => rules,
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal says why");
            return;
        }
    };
    let mut engine = Engine::new(rules, Limits::default());
    for (service, at) in [
        ("sshd", 0),
        ("sudo", 1_000),
        ("sshd", -5),
        ("sshd", i64::MAX),
    ] {
        let logsource = LogSource {
            category: Some("file_event"),
            product: Some("linux"),
            service: Some(service),
            also: &[],
        };
        let fields = [
            ("outcome", Value::Str(message)),
            ("src_port", Value::Int(at)),
        ];
        let event = Event {
            logsource,
            message,
            fields: &fields,
        };
        engine.observe(Scope(1), &event, at, &mut |found| {
            drop(format!("{found:?}"))
        });
    }
}

/// Conditions of rules: refused with a place, or true where their opposite is false.
pub fn rule_condition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let quoted = |condition: &str| condition.replace('\'', "''");
    let rule = |id: &str, condition: &str| {
        format!(
            "title: {id}\nid: {id}\nlogsource: {{product: linux}}\ndetection:\n  \
             sel_a: {{a: '1'}}\n  sel_b: {{b: '1'}}\n  filter: {{c: '1'}}\n  _hidden: {{d: '1'}}\n  \
             condition: '{}'\n",
            quoted(condition)
        )
    };
    // YAML folds line ends, so that the second text would not be the first in parentheses.
    if text.chars().any(char::is_control) {
        return;
    }
    let (one, other) = (rule("one", text), rule("other", &format!("not ({text})")));
    let files = [
        RuleFile {
            name: "one.yml",
            text: &one,
        },
        RuleFile {
            name: "other.yml",
            text: &other,
        },
    ];
    let Ok(rules) = RuleSet::compile(&files) else {
        return;
    };
    let mut engine = Engine::new(rules, Limits::default());
    for bits in 0..16_u8 {
        let names = ["a", "b", "c", "d"].iter().enumerate();
        let fields: Vec<(&str, Value<'_>)> = names
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| (*name, Value::Str("1")))
            .collect();
        let mut found = Vec::new();
        let event = linux_event("", &fields);
        engine.observe(Scope(1), &event, 0, &mut |one| {
            found.push(one.rule.id.clone())
        });
        assert_eq!(found.len(), 1, "{text:?} or its opposite holds: {found:?}");
    }
}

/// Events as JSON text: refused, or judged as the same event in parts.
pub fn rule_event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let source = linux_event("", &[]).logsource;
    let mut engine = Engine::new(FOR_EVENTS.clone(), Limits::default());
    let mut as_text = Vec::new();
    let outcome = engine.observe_json(Scope(1), source, text, 0, &mut |one| {
        as_text.push((one.rule.id.clone(), one.group_key.clone()));
    });
    let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
    if outcome.is_err() {
        assert!(as_text.is_empty(), "what is refused matches nothing");
        return;
    }
    let Ok(read) = read else { return };
    let Some(fields) = read_flat(&read) else {
        return;
    };
    let mut in_parts = Vec::new();
    let message = read.get("message").and_then(serde_json::Value::as_str);
    let event = linux_event(message.unwrap_or(""), &fields);
    let mut engine = Engine::new(FOR_EVENTS.clone(), Limits::default());
    engine.observe(Scope(1), &event, 0, &mut |one| {
        in_parts.push((one.rule.id.clone(), one.group_key.clone()));
    });
    let entries = serde_json::from_str::<Entries>(text).map(|entries| entries.0);
    // A name that stands twice is two values to us, and the last of them to the reader here.
    if entries.is_ok_and(|entries| entries == read.len()) {
        assert_eq!(as_text, in_parts, "both entrances judge alike");
    }
}

/// How many names an object has, equal ones counted each time.
struct Entries(usize);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Counter)
    }
}

/// Counts the names of an object.
struct Counter;

impl<'de> Visitor<'de> for Counter {
    type Value = Entries;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = 0;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            entries += 1;
        }
        Ok(Entries(entries))
    }
}

/// The rules for events, compiled once.
static FOR_EVENTS: LazyLock<RuleSet> = LazyLock::new(|| {
    let file = RuleFile {
        name: "fuzz.yml",
        text: EVENT_RULES,
    };
    RuleSet::compile(&[file]).expect("the rules of this target compile")
});

/// Rules of every kind of test, for events.
const EVENT_RULES: &str = "\
title: A\nid: text\nlogsource: {product: linux}\ndetection: {s: {Image|endswith: [/nc, /sh]}, condition: s}\n---\n\
title: B\nid: number\nlogsource: {product: linux}\ndetection: {s: {Port: 22}, f: {User: null}, condition: s and not f}\n---\n\
title: C\nid: keyword\nlogsource: {product: linux}\ndetection: {k: [failed, 'ro*t'], condition: k}\n---\n\
title: D\nid: regex\nlogsource: {product: linux}\ndetection: {s: {CommandLine|re: 'a.*b'}, condition: s}\n---\n\
title: E\nid: range\nlogsource: {product: linux}\ndetection: {s: {Count|gte: 3, Count|lt: 9.5}, condition: s}\n---\n\
title: F\nid: network\nlogsource: {product: linux}\ndetection: {s: {src_ip|cidr: 10.0.0.0/8}, condition: s}\n---\n\
title: G\nid: field\nlogsource: {product: linux}\ndetection: {s: {Image|fieldref|endswith: User}, condition: s}\n---\n\
title: H\nid: flag\nlogsource: {product: linux}\ndetection: {s: {Initiated: true}, t: {a.b|contains: x}, condition: s or t}\n---\n\
title: I\nid: many\ncorrelation: {type: event_count, rules: [text], group-by: [User], timespan: 1m, condition: {gte: 1}, generate: true}\n";

/// The fields of an object without lists and objects in it.
fn read_flat(read: &serde_json::Map<String, serde_json::Value>) -> Option<Vec<(&str, Value<'_>)>> {
    let mut fields = Vec::new();
    for (name, value) in read {
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Bool(flag) => Value::Bool(*flag),
            serde_json::Value::String(text) => Value::Str(text),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64()?),
            },
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => return None,
        };
        fields.push((name.as_str(), value));
    }
    Some(fields)
}

/// An event of some program of Linux.
fn linux_event<'e>(message: &'e str, fields: &'e [(&'e str, Value<'e>)]) -> Event<'e> {
    Event {
        logsource: LogSource {
            category: None,
            product: Some("linux"),
            service: None,
            also: &[],
        },
        message,
        fields,
    }
}

/// Placeholders: refused with a place, or able to stand in any rule.
pub fn rule_placeholders(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(placeholders) = parse_placeholders("fuzz.yml", text) else {
        return;
    };
    let names = placeholders.keys().take(8);
    let values: Vec<String> = names
        .map(|name| format!("{:?}", format!("%{name}%")))
        .collect();
    let rule = format!(
        "title: Fuzz\nid: fuzz\nlogsource: {{product: linux}}\ndetection:\n  \
         s: {{a|expand: [{}]}}\n  condition: s\n",
        values.join(", ")
    );
    let options = Options {
        placeholders,
        ..Options::default()
    };
    let file = RuleFile {
        name: "rules.yml",
        text: &rule,
    };
    let _ = RuleSet::compile_with(&[file], &options);
}

/// Pipelines: refused with a place, or able to be applied to any rule.
pub fn rule_pipeline(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(pipeline) = Pipeline::parse("fuzz.yml", text) else {
        return;
    };
    let options = Options {
        pipelines: vec![pipeline],
        ..Options::default()
    };
    let file = RuleFile {
        name: "rules.yml",
        text: EVENT_RULES,
    };
    let compile = || RuleSet::compile_with(&[file], &options);
    match (compile(), compile()) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.hash(), other.hash(), "the same pipeline does the same");
            let mut engine = Engine::new(one, Limits::default());
            let fields = [("Image", Value::Str("/bin/sh")), ("Port", Value::Int(22))];
            let event = linux_event("failed", &fields);
            engine.observe(Scope(1), &event, 0, &mut |found| drop(format!("{found:?}")));
        }
        (Err(errors), Err(again)) => {
            assert!(!errors.is_empty(), "a refusal says why");
            assert_eq!(errors, again, "the same pipeline is refused alike");
        }
        _ => panic!("the same pipeline is taken once and refused once"),
    }
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

/// A frame that is read has a text form that is read as the same frame.
fn is_stable<T: DeserializeOwned + Serialize>(text: &str, limit: usize) {
    let Ok(frame) = decode::<T>(text, limit) else {
        return;
    };
    let once = encode(&frame);
    let again: T = decode(&once, usize::MAX).expect("our own text is read");
    assert_eq!(encode(&again), once, "the text form is stable");
}
