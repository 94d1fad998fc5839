//! Attacks to be woven into the day, each with the alerts it must raise and no others.
//! It never repeats the day; each attack brings only its own events, here those from outside.

use super::story::{HOUR, MINUTE, SECOND, Story};

/// An attack, and the rules by which people hear of it.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// When it begins, in milliseconds since midnight.
    pub(super) at: i64,
    pub(super) weave: fn(&mut Story, i64),
    pub(super) raises: &'static [&'static str],
}

/// Where most attacks come from.
pub(super) const ATTACKER: &str = "192.0.2.66";

/// Short for an attack.
pub(super) const fn attack(
    name: &'static str,
    at: i64,
    weave: fn(&mut Story, i64),
    raises: &'static [&'static str],
) -> Attack {
    Attack {
        name,
        at,
        weave,
        raises,
    }
}

/// Attacks from outside.
pub(super) static FROM_OUTSIDE: [Attack; 17] = [
    attack("a fast burst", 3 * HOUR, burst, &["ssh_brute_force"]),
    attack(
        "a burst that ends in a login",
        5 * HOUR,
        burst_and_login,
        &[
            "ssh_brute_force",
            "SSH login accepted after brute force",
            "Root logged in with a password",
            "ssh_key_user_with_password",
        ],
    ),
    attack(
        "a slow burst",
        6 * HOUR,
        slow_burst,
        &["ssh_slow_brute_force"],
    ),
    attack(
        "one user from many sources",
        20 * HOUR,
        many_sources,
        &["ssh_distributed_guessing"],
    ),
    attack(
        "root from many sources",
        4 * HOUR,
        root_from_many,
        &["ssh_distributed_guessing_at_root"],
    ),
    attack(
        "one password, many users",
        15 * HOUR,
        spray,
        &["ssh_password_spraying"],
    ),
    attack("names tried", 9 * HOUR, names, &["ssh_user_enumeration"]),
    attack(
        "a stolen password",
        19 * HOUR,
        stolen_password,
        &["ssh_key_user_with_password"],
    ),
    attack(
        "a probed server",
        2 * HOUR,
        probes,
        &["ssh_protocol_probing"],
    ),
    attack("a port scan", 10 * HOUR, scan, &["firewall_port_scan"]),
    attack("a slow scan", 11 * HOUR, slow_scan, &["firewall_slow_scan"]),
    attack("a host sweep", 11 * HOUR, sweep, &["firewall_host_sweep"]),
    attack(
        "a stealth scan",
        11 * HOUR,
        stealth,
        &["firewall_stealth_scan"],
    ),
    attack(
        "a neighbour that probes",
        HOUR,
        neighbour,
        &["neighbour_probing"],
    ),
    attack(
        "a beacon",
        18 * HOUR,
        beacon,
        &["outgoing_blocked_repeatedly"],
    ),
    attack("a worm on this host", 18 * HOUR, worm, &["outgoing_sweep"]),
    attack(
        "names that imitate the log",
        17 * HOUR,
        forge,
        &["Log line that can be read in two ways"],
    ),
];

fn refuse(story: &mut Story, at: i64, user: &str, address: &str) {
    let port = story.dice.port();
    let from = format!("{address} port {port} ssh2");
    story.sshd(at, &format!("Failed password for {user} from {from}"));
}

fn burst(story: &mut Story, at: i64) {
    for number in 0..9 {
        refuse(story, at + number * 3 * SECOND, "root", ATTACKER);
    }
}

fn burst_and_login(story: &mut Story, at: i64) {
    burst(story, at);
    let message = format!("Accepted password for root from {ATTACKER} port 4711 ssh2");
    story.sshd(at + MINUTE, &message);
}

fn slow_burst(story: &mut Story, at: i64) {
    for number in 0..13 {
        refuse(story, at + number * 17 * MINUTE, "root", ATTACKER);
    }
}

fn many_sources(story: &mut Story, at: i64) {
    for number in 0..14 {
        let address = format!("192.0.2.{}", number + 100);
        refuse(story, at + number * 30 * SECOND, "carol", &address);
    }
}

fn root_from_many(story: &mut Story, at: i64) {
    for number in 0..28 {
        let address = format!("192.0.2.{}", number + 100);
        refuse(story, at + number * 15 * SECOND, "root", &address);
    }
}

fn spray(story: &mut Story, at: i64) {
    for (number, user) in ["alice", "bob", "carol", "dave", "deploy", "git"]
        .iter()
        .enumerate()
    {
        let minute = i64::try_from(number).expect("it is small") * 4 * MINUTE;
        refuse(story, at + minute, user, ATTACKER);
    }
}

fn names(story: &mut Story, at: i64) {
    for (number, user) in ["app", "web", "crm", "erp", "vpn", "mail2"]
        .iter()
        .enumerate()
    {
        let second = i64::try_from(number).expect("it is small") * 20 * SECOND;
        let message = format!("Invalid user {user} from {ATTACKER} port 4711");
        story.sshd(at + second, &message);
    }
}

fn stolen_password(story: &mut Story, at: i64) {
    let message = format!("Accepted password for alice from {ATTACKER} port 4711 ssh2");
    story.sshd(at, &message);
}

fn probes(story: &mut Story, at: i64) {
    for number in 0..12 {
        let port = 5_000 + number;
        let message =
            format!("Bad protocol version identification 'x' from {ATTACKER} port {port}");
        story.sshd(at + number * 20 * SECOND, &message);
    }
}

/// A packet that the firewall blocks.
fn block(story: &mut Story, at: i64, way: &str, ends: [&str; 2], rest: &str) {
    let [source, target] = ends;
    let message = format!("[UFW BLOCK] {way} SRC={source} DST={target} LEN=44 TTL=60 {rest}");
    story.line(at, "kernel", &message);
}

const IN: &str = "IN=eth0 OUT= MAC=52:54:00:12:34:56:fe:54:00:65:43:21:08:00";
const OUT: &str = "IN= OUT=eth0";
const HOST: &str = "203.0.113.80";

fn syn(port: i64) -> String {
    format!("PROTO=TCP SPT=40000 DPT={port} WINDOW=1024 RES=0x00 SYN URGP=0")
}

fn scan(story: &mut Story, at: i64) {
    for number in 0..12 {
        block(
            story,
            at + number * 2 * SECOND,
            IN,
            [ATTACKER, HOST],
            &syn(1_000 + number),
        );
    }
}

fn slow_scan(story: &mut Story, at: i64) {
    for number in 0..17 {
        block(
            story,
            at + number * 13 * MINUTE,
            IN,
            [ATTACKER, HOST],
            &syn(2_000 + number),
        );
    }
}

fn sweep(story: &mut Story, at: i64) {
    for number in 0..14 {
        let target = format!("203.0.113.{}", number + 100);
        block(
            story,
            at + number * 5 * SECOND,
            IN,
            [ATTACKER, &target],
            &syn(22),
        );
    }
}

fn stealth(story: &mut Story, at: i64) {
    for number in 0..4 {
        let rest = "PROTO=TCP SPT=40000 DPT=22 WINDOW=1024 RES=0x00 URG PSH FIN URGP=0";
        block(story, at + number * SECOND, IN, [ATTACKER, HOST], rest);
    }
}

fn neighbour(story: &mut Story, at: i64) {
    for (number, port) in [22, 445, 3306, 6379].into_iter().enumerate() {
        let minute = i64::try_from(number).expect("it is small") * MINUTE;
        block(
            story,
            at + minute,
            IN,
            ["10.20.0.15", "10.20.0.80"],
            &syn(port),
        );
    }
}

fn beacon(story: &mut Story, at: i64) {
    for number in 0..12 {
        block(
            story,
            at + number * 45 * SECOND,
            OUT,
            [HOST, ATTACKER],
            &syn(8_443),
        );
    }
}

fn worm(story: &mut Story, at: i64) {
    for number in 0..20 {
        let target = format!("10.20.0.{}", number + 100);
        block(story, at + number * SECOND, OUT, [HOST, &target], &syn(22));
    }
}

fn forge(story: &mut Story, at: i64) {
    let name = "x from 198.51.100.10 port 1 ssh2: RSA SHA256:a ID b (serial 1) CA RSA";
    let message = format!("Failed password for invalid user {name} from {ATTACKER} port 9 ssh2");
    for number in 0..4 {
        story.sshd(at + number * 20 * SECOND, &message);
    }
}
