//! What happens on a host in a day: lines that programs log and events that the agent sees.
//! It never reads a clock and never draws a number but from its seed, so a story is always the same.

use hidps_wire::{EventKind, FieldValue, Fields, LogEvent};
use jiff::{SignedDuration, Timestamp};

/// When the day begins: a Friday, midnight.
pub(super) const DAY: &str = "2026-11-20T00:00:00Z";

/// Milliseconds of a second, a minute and an hour.
pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// The time of a moment of the day.
pub(super) fn clock(at: i64) -> Timestamp {
    let day: Timestamp = DAY.parse().expect("the day is a time");
    day + SignedDuration::from_millis(at)
}

/// Something that happened, at milliseconds since midnight.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: i64,
    pub(super) what: Happening,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Happening {
    /// A line in the system's log, with its header.
    Line(String),
    /// An event that is no line.
    Event(Box<LogEvent<'static>>),
}

/// A day, as far as it is written.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) entries: Vec<Entry>,
    pub(super) dice: Dice,
}

impl Story {
    /// A day in which nothing happened yet.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            dice: Dice(seed),
        }
    }

    /// A line that a program logs.
    pub(super) fn line(&mut self, at: i64, program: &str, message: &str) {
        let pid = self.dice.below(60_000) + 300;
        let tag = match program {
            "kernel" => "kernel".to_owned(),
            "systemd" => "systemd[1]".to_owned(),
            program => format!("{program}[{pid}]"),
        };
        let text = format!("{:.3} web-01 {tag}: {message}", clock(at));
        let what = Happening::Line(text);
        self.entries.push(Entry { at, what });
    }

    /// A line of sshd.
    pub(super) fn sshd(&mut self, at: i64, message: &str) {
        self.line(at, "sshd-session", message);
    }

    /// A line of sudo: a command that ran as root.
    pub(super) fn sudo(&mut self, at: i64, user: &str, command: &str) {
        let message =
            format!("{user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={command}");
        self.line(at, "sudo", &message);
        let session = format!("session opened for user root(uid=0) by {user}(uid=1000)");
        self.line(
            at + 5,
            "sudo",
            &format!("pam_unix(sudo:session): {session}"),
        );
        let session = "pam_unix(sudo:session): session closed for user root";
        self.line(at + 900, "sudo", session);
    }

    /// The start of a process: its program, its arguments and its parent's program.
    pub(super) fn run(&mut self, at: i64, user: &str, parent: &str, image: &str, arguments: &str) {
        let name = match image.rsplit('/').next().unwrap_or(image) {
            "dash" => "sh",
            name => name,
        };
        let command = format!("{name} {arguments}");
        let fields = [
            ("Image", image),
            ("CommandLine", command.trim_end()),
            ("CurrentDirectory", "/"),
            ("User", user),
            ("ParentImage", parent),
        ];
        self.event(at, (EventKind::Process, "process"), &fields.map(text));
    }

    /// A change of a watched file.
    pub(super) fn file(&mut self, at: i64, path: &str, action: &str) {
        let fields = [
            ("TargetFilename", path),
            ("action", action),
            ("watched", path),
        ];
        self.event(
            at,
            (EventKind::FileMonitoring, "inotify"),
            &fields.map(text),
        );
    }

    /// A report on the host's resources.
    pub(super) fn usage(&mut self, at: i64, [cpu, ram, storage]: [f64; 3]) {
        let fields = [("cpu", cpu), ("ram", ram), ("storage", storage)];
        let fields = fields.map(|(name, share)| (name, FieldValue::Number(share)));
        self.event(at, (EventKind::SystemUsage, "usage"), &fields);
    }

    /// A port that is listened on from now on.
    pub(super) fn port_opened(&mut self, at: i64, port: i64, image: &str) {
        let name = image.rsplit('/').next().unwrap_or(image);
        let texts = [
            ("event", "listening_port_opened"),
            ("proto", "tcp"),
            ("address", "0.0.0.0"),
        ];
        let mut fields = texts.map(text).to_vec();
        fields.extend([("process", name), ("Image", image), ("User", "root")].map(text));
        fields.push(("port", FieldValue::Integer(port)));
        self.event(at, (EventKind::Process, "network"), &fields);
    }

    /// Any other event.
    pub(super) fn event(
        &mut self,
        at: i64,
        (kind, service): (EventKind, &'static str),
        values: &[(&'static str, FieldValue<'static>)],
    ) {
        let mut fields = Fields::default();
        for (name, value) in values {
            fields.push(*name, value.clone());
        }
        let event = LogEvent {
            timestamp: clock(at).to_string().into(),
            kind,
            service: service.into(),
            message: format!("{service} {}", self.entries.len()).into(),
            fields,
        };
        let what = Happening::Event(Box::new(event));
        self.entries.push(Entry { at, what });
    }
}

/// A field of text.
pub(super) fn text((name, value): (&'static str, &str)) -> (&'static str, FieldValue<'static>) {
    (name, FieldValue::Text(value.to_owned().into()))
}

/// Numbers that look like chance and depend on the seed alone.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The next number: SplitMix64.
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from zero to below `limit`.
    pub(super) fn below(&mut self, limit: i64) -> i64 {
        let limit = u64::try_from(limit).unwrap_or(1).max(1);
        i64::try_from(self.roll() % limit).unwrap_or(0)
    }

    /// One of several.
    pub(super) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let limit = i64::try_from(from.len()).unwrap_or(1);
        let number = usize::try_from(self.below(limit)).unwrap_or(0);
        from.get(number).copied().unwrap_or("")
    }

    /// Whether something that happens so many times in a hundred happens now.
    pub(super) fn happens(&mut self, in_a_hundred: i64) -> bool {
        self.below(100) < in_a_hundred
    }

    /// An address somewhere in the internet.
    pub(super) fn stranger(&mut self) -> String {
        let (a, b, c, d) = (
            self.below(150),
            self.below(256),
            self.below(256),
            self.below(254),
        );
        format!("{}.{b}.{c}.{}", a + 20, d + 1)
    }

    /// A port that clients use.
    pub(super) fn port(&mut self) -> i64 {
        self.below(28_000) + 32_768
    }
}
