//! The background noise of the internet against a public server, as far as it is ordinary.
//! Ordinary are patient strangers in great number; whoever hammers stands out and is no part of it.
//!
//! Some two thousand refused passwords a day are what a server with an open port 22 sees today:
//! botnets send each address for one to three tries, because bans of five in ten minutes are
//! everywhere. Scanners of the whole internet touch one to three ports per address and move on.

use super::story::{HOUR, SECOND, Story};

/// Names that dictionaries hold and this host does not.
const STRANGE_NAMES: [&str; 24] = [
    "admin",
    "test",
    "oracle",
    "ubuntu",
    "user",
    "postgres1",
    "ftpuser",
    "guest",
    "pi",
    "hadoop",
    "minecraft",
    "steam",
    "jenkins1",
    "dev",
    "es",
    "nagios1",
    "tomcat1",
    "zabbix1",
    "ansible",
    "vagrant",
    "teamspeak",
    "odoo",
    "solana",
    "validator",
];

/// Ports that scanners look for.
const WANTED_PORTS: [&str; 22] = [
    "23", "2323", "445", "3389", "8080", "8443", "5900", "6379", "1433", "3306", "5432", "27017",
    "9200", "81", "8000", "5060", "25", "110", "21", "5555", "2375", "8728",
];

/// Addresses that come once, and those that come back every six hours, as patient ones do: some
/// two thousand refusals together.
const STRANGERS: usize = 810;
const REGULARS: usize = 60;

/// When the last visits begin.
const DAY_END: i64 = 24 * HOUR - 120 * SECOND;

/// Packets that the firewall logs: ufw's own limit is three a minute.
const PACKETS: usize = 3_900;

/// Writes the noise of a day.
pub(super) fn tell(story: &mut Story) {
    for _ in 0..STRANGERS {
        let (address, at) = (story.dice.stranger(), story.dice.below(DAY_END));
        visit(story, &address, at);
    }
    for _ in 0..REGULARS {
        let (address, first) = (story.dice.stranger(), story.dice.below(5 * HOUR));
        for time in 0..4 {
            visit(story, &address, first + time * 6 * HOUR);
        }
    }
    for _ in 0..170 {
        probe(story);
    }
    for _ in 0..PACKETS {
        packet(story);
    }
    for _ in 0..140 {
        neighbour(story);
    }
}

/// A stranger tries one to three passwords and goes.
fn visit(story: &mut Story, address: &str, begin: i64) {
    let mut at = begin;
    for _ in 0..=story.dice.below(3) {
        let port = story.dice.port();
        let user = match story.dice.below(100) {
            0..40 => "root",
            40..44 => story.dice.pick(&["git", "backup", "carol"]),
            _ => story.dice.pick(&STRANGE_NAMES),
        };
        refuse(story, at, user, &format!("{address} port {port}"));
        at += 15 * SECOND + story.dice.below(25 * SECOND);
    }
}

/// What sshd and PAM write about one refused password.
fn refuse(story: &mut Story, at: i64, user: &str, from: &str) {
    let address = from.split(' ').next().unwrap_or(from);
    let known = !STRANGE_NAMES.contains(&user);
    let facts = format!("logname= uid=0 euid=0 tty=ssh ruser= rhost={address}");
    if known {
        let message = format!("pam_unix(sshd:auth): authentication failure; {facts}  user={user}");
        story.sshd(at, &message);
        story.sshd(
            at + 1_900,
            &format!("Failed password for {user} from {from} ssh2"),
        );
        let end = format!("Connection closed by authenticating user {user} {from} [preauth]");
        story.sshd(at + 2_300, &end);
    } else {
        story.sshd(at, &format!("Invalid user {user} from {from}"));
        story.sshd(at + 20, "pam_unix(sshd:auth): check pass; user unknown");
        story.sshd(
            at + 21,
            &format!("pam_unix(sshd:auth): authentication failure; {facts}"),
        );
        let refused = format!("Failed password for invalid user {user} from {from} ssh2");
        story.sshd(at + 2_100, &refused);
        story.sshd(
            at + 2_300,
            &format!("Received disconnect from {from}:11: Bye Bye [preauth]"),
        );
        let end = format!("Disconnected from invalid user {user} {from} [preauth]");
        story.sshd(at + 2_301, &end);
    }
}

/// Something connects that does not want to log in.
fn probe(story: &mut Story) {
    let at = story.dice.below(24 * HOUR);
    let from = format!("{} port {}", story.dice.stranger(), story.dice.port());
    let offer = "no matching key exchange method found. Their offer: diffie-hellman-group1-sha1";
    let message = match story.dice.below(5) {
        0 => format!("banner exchange: Connection from {from}: invalid format"),
        1 => format!("Connection closed by {from} [preauth]"),
        2 => format!("Unable to negotiate with {from}: {offer} [preauth]"),
        3 => format!("Bad protocol version identification 'GET / HTTP/1.1' from {from}"),
        _ => format!("Connection reset by {from} [preauth]"),
    };
    story.sshd(at, &message);
}

/// A packet that the firewall blocks.
fn packet(story: &mut Story) {
    let at = story.dice.below(24 * HOUR);
    let (source, from) = (story.dice.stranger(), story.dice.port());
    let port = story.dice.pick(&WANTED_PORTS);
    let head = "IN=eth0 OUT= MAC=52:54:00:12:34:56:fe:54:00:65:43:21:08:00";
    let ends = format!("SRC={source} DST=203.0.113.80");
    let uptime = at / SECOND + 80_000;
    let rest = match story.dice.below(20) {
        0 => format!(
            "{ends} LEN=56 TOS=0x00 PREC=0x00 TTL=50 ID=0 PROTO=ICMP TYPE=3 CODE=3 \
             [SRC=203.0.113.80 DST={source} LEN=28 PROTO=UDP SPT=53 DPT={from} LEN=8 ]"
        ),
        1..4 => {
            format!("{ends} LEN=78 TOS=0x00 TTL=51 ID=9 PROTO=UDP SPT={from} DPT={port} LEN=58")
        }
        _ => format!(
            "{ends} LEN=44 TOS=0x00 PREC=0x00 TTL=240 ID=54321 PROTO=TCP SPT={from} DPT={port} \
             WINDOW=65535 RES=0x00 SYN URGP=0"
        ),
    };
    let message = format!("[{uptime:>6}.123456] [UFW BLOCK] {head} {rest} ");
    story.line(at, "kernel", &message);
}

/// Neighbours in the own network talk to everybody.
fn neighbour(story: &mut Story) {
    let at = story.dice.below(24 * HOUR);
    let source = format!("10.20.0.{}", story.dice.below(20) + 10);
    let port = story.dice.pick(&["137", "138", "5353", "1900", "67"]);
    let message = format!(
        "[UFW BLOCK] IN=eth1 OUT= MAC=ff:ff:ff:ff:ff:ff:52:54:00:00:00:01:08:00 SRC={source} \
         DST=10.20.0.255 LEN=229 TOS=0x00 TTL=64 ID=7 PROTO=UDP SPT={port} DPT={port} LEN=209"
    );
    story.line(at, "kernel", &message);
}
