//! Lines per second through the normalizer on one core, over the mix a server's logs hold.
//! Prints one JSON array; rates are this machine's, ratios are what may be compared.

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use hidps_agent::normalize::{LineSource, normalize};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

/// How long each figure is measured; the best of three is kept, as noise only slows down.
const MEASURE: Duration = Duration::from_millis(700);

/// A kind of line and some of it.
type Mix = (&'static str, &'static [&'static str]);

const MIXES: [Mix; 6] = [
    (
        "sshd",
        &[
            "Nov 21 01:02:03 web-01 sshd[901]: Failed password for invalid user admin from 198.51.100.7 port 40022 ssh2",
            "Nov 21 01:02:03 web-01 sshd[901]: Invalid user admin from 198.51.100.7 port 40022",
            "Nov 21 01:02:04 web-01 sshd[901]: Connection closed by invalid user admin 198.51.100.7 port 40022 [preauth]",
            "Nov 21 01:02:05 web-01 sshd[902]: Received disconnect from 198.51.100.7 port 40023:11: Bye Bye [preauth]",
        ],
    ),
    (
        "sudo, pam",
        &[
            "Nov 21 01:02:03 web-01 sudo:      bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/apt update",
            "Nov 21 01:02:03 web-01 sudo: pam_unix(sudo:session): session opened for user root(uid=0) by bob(uid=1000)",
            "Nov 21 01:02:04 web-01 sudo: pam_unix(sudo:session): session closed for user root",
            "Nov 21 01:02:04 web-01 sshd[3]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=198.51.100.7  user=root",
        ],
    ),
    (
        "cron",
        &[
            "Nov 21 01:02:01 web-01 CRON[7001]: (root) CMD (   cd / && run-parts --report /etc/cron.hourly)",
            "Nov 21 01:02:01 web-01 CRON[7000]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
        ],
    ),
    (
        "firewall",
        &[
            "Nov 21 01:02:03 web-01 kernel: [12345.678901] [UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:12:34:56:52:54:00:ab:cd:ef:08:00 SRC=198.51.100.7 DST=192.0.2.1 LEN=40 TOS=0x00 PREC=0x00 TTL=244 ID=54321 PROTO=TCP SPT=51000 DPT=23 WINDOW=1024 RES=0x00 SYN URGP=0",
        ],
    ),
    (
        "kernel, systemd",
        &[
            "Nov 21 01:02:03 web-01 kernel: [12345.678901] device eth0 entered promiscuous mode",
            "Nov 21 01:02:03 web-01 systemd[1]: Started nginx.service - A high performance web server.",
            "Nov 21 01:02:03 web-01 systemd[1]: nginx.service: Failed with result 'exit-code'.",
        ],
    ),
    (
        "not interpreted",
        &[
            "Nov 21 01:02:03 web-01 nginx[9]: 198.51.100.7 - - \"GET /index.html HTTP/1.1\" 200 612 \"-\" \"curl/8\"",
            "2026-11-21T01:02:03.123456+00:00 web-01 dhclient[10]: DHCPACK of 192.0.2.1 from 192.0.2.254",
        ],
    ),
];

/// The best of three rates over these lines.
fn lines_per_second(lines: &[&str], source: &LineSource<'_>) -> f64 {
    let rate = || {
        let begin = Instant::now();
        let mut n_lines = 0_u32;
        while begin.elapsed() < MEASURE {
            for _ in 0..100 {
                for line in lines {
                    black_box(normalize(black_box(line), source));
                    n_lines += 1;
                }
            }
        }
        f64::from(n_lines) / begin.elapsed().as_secs_f64()
    };
    (0..3).map(|_| rate()).fold(0.0, f64::max)
}

fn main() {
    let source = LineSource {
        program: "unknown",
        seen: "2026-11-21T01:02:10Z".parse::<Timestamp>().expect("a time"),
        zone: TimeZone::UTC,
    };
    let all: Vec<&str> = MIXES
        .iter()
        .flat_map(|(_, lines)| *lines)
        .copied()
        .collect();
    let mut rows = Vec::new();
    for (name, lines) in MIXES.into_iter().chain([("all", &*all.leak())]) {
        let rate = lines_per_second(lines, &source);
        rows.push(json!({"lines": name, "lines_per_second": rate.round()}));
    }
    writeln!(std::io::stdout(), "{}", json!(rows)).expect("somebody reads");
}
