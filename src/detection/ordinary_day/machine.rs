//! The machine by itself: timers, cron, rotation, upgrades, containers, the kernel and its load.
//! No person takes part.

use super::story::{HOUR, MINUTE, SECOND, Story};

/// Writes what the machine does in a day.
pub(super) fn tell(story: &mut Story) {
    jobs(story);
    timers(story);
    rotate(story, 20 * SECOND);
    upgrade(story, 6 * HOUR + 25 * MINUTE);
    kernel(story);
    load(story);
}

/// One job of cron, with its session and its process.
pub(super) fn job(story: &mut Story, at: i64, user: &str, command: &str) {
    let opened = format!("session opened for user {user}(uid=0) by {user}(uid=0)");
    story.line(at, "CRON", &format!("pam_unix(cron:session): {opened}"));
    story.line(at + 2, "CRON", &format!("({user}) CMD ({command})"));
    story.run(
        at + 5,
        user,
        "/usr/sbin/cron",
        "/usr/bin/dash",
        &format!("-c {command}"),
    );
    let closed = format!("pam_unix(cron:session): session closed for user {user}");
    story.line(at + 700, "CRON", &closed);
}

fn jobs(story: &mut Story) {
    for ten in 0..144 {
        let at = ten * 10 * MINUTE;
        let command = "command -v debian-sa1 > /dev/null && debian-sa1 1 1";
        job(story, at + SECOND, "root", command);
        job(
            story,
            at + 2 * SECOND,
            "www-data",
            "/usr/bin/php /srv/shop/bin/console tick",
        );
    }
    for hour in 0..24 {
        let at = hour * HOUR + 17 * MINUTE;
        job(
            story,
            at,
            "root",
            "cd / && run-parts --report /etc/cron.hourly",
        );
        let ping = "curl -fsS -m 10 https://hc.example.org/ping/abc > /dev/null";
        job(story, at + MINUTE, "backup", ping);
        let clean = "[ -x /usr/lib/php/sessionclean ] && /usr/lib/php/sessionclean";
        job(story, at + 9 * MINUTE, "root", clean);
        job(
            story,
            at + 20 * MINUTE,
            "root",
            "/opt/report/run.sh > /tmp/report.log 2>&1",
        );
    }
}

/// A unit that a timer starts.
fn timer(story: &mut Story, at: i64, unit: &str, name: &str) {
    story.line(at, "systemd", &format!("Starting {unit} - {name}..."));
    story.line(
        at + 800,
        "systemd",
        &format!("{unit}: Deactivated successfully."),
    );
    story.line(at + 801, "systemd", &format!("Finished {unit} - {name}."));
}

fn timers(story: &mut Story) {
    for hour in 0..24 {
        let at = hour * HOUR + story.dice.below(20 * MINUTE);
        timer(
            story,
            at,
            "sysstat-collect.service",
            "system activity accounting tool",
        );
        timer(
            story,
            at + MINUTE,
            "phpsessionclean.service",
            "Clean php session files",
        );
    }
    timer(
        story,
        HOUR,
        "fstrim.service",
        "Discard unused blocks on filesystems",
    );
    timer(
        story,
        2 * HOUR,
        "man-db.service",
        "Daily man-db regeneration",
    );
    timer(story, 3 * HOUR, "certbot.service", "Certbot");
    // One that fails now and then.
    for hour in [4, 16] {
        let at = hour * HOUR;
        story.line(
            at,
            "systemd",
            "Starting motd-news.service - Message of the Day...",
        );
        let failed = "motd-news.service: Failed with result 'exit-code'.";
        story.line(at + 900, "systemd", failed);
    }
}

fn rotate(story: &mut Story, at: i64) {
    timer(story, at, "logrotate.service", "Rotate log files");
    let parent = "/usr/sbin/logrotate";
    let hook = "-c /usr/lib/rsyslog/rsyslog-rotate";
    story.run(at + 100, "root", parent, "/usr/bin/dash", hook);
    for name in ["syslog", "auth.log", "kern.log", "nginx/access.log"] {
        story.run(
            at + 200,
            "root",
            parent,
            "/usr/bin/gzip",
            &format!("-9 {name}.2"),
        );
    }
    let shell = "/usr/bin/dash";
    story.run(
        at + 300,
        "root",
        shell,
        "/usr/bin/systemctl",
        "kill -s HUP rsyslog.service",
    );
    // The daily copies of who is who.
    for name in ["passwd", "shadow", "group", "gshadow"] {
        let arguments = format!("-p /etc/{name} /var/backups/{name}.bak");
        story.run(at + MINUTE, "root", shell, "/usr/bin/cp", &arguments);
    }
}

/// An upgrade by itself, with a package that brings its user and services that restart.
fn upgrade(story: &mut Story, at: i64) {
    timer(
        story,
        at,
        "apt-daily-upgrade.service",
        "Daily apt upgrade and clean activities",
    );
    let apt = "/usr/bin/unattended-upgrade";
    story.run(at, "root", "/usr/lib/systemd/systemd", apt, "");
    for package in [
        "libc6",
        "openssl",
        "nginx",
        "rsyslog",
        "chrony",
        "openssh-server",
        "cron",
    ] {
        let deb = format!("--unpack /var/cache/apt/archives/{package}_1_amd64.deb");
        story.run(at + 10 * SECOND, "root", apt, "/usr/bin/dpkg", &deb);
        let script = format!("/var/lib/dpkg/info/{package}.postinst");
        let arguments = format!("-e {script} configure 1");
        story.run(
            at + 12 * SECOND,
            "root",
            "/usr/bin/dpkg",
            "/usr/bin/dash",
            &arguments,
        );
        story.run(at + 13 * SECOND, "root", &script, "/usr/sbin/ldconfig", "");
    }
    account(story, at + 20 * SECOND);
    restart(story, at + 30 * SECOND);
}

/// The user of a new package.
fn account(story: &mut Story, at: i64) {
    let group = "new group: name=_chrony, GID=118";
    story.line(at, "groupadd", group);
    let user = "new user: name=_chrony, UID=112, GID=118, home=/var/lib/chrony, \
                shell=/usr/sbin/nologin, from=none";
    story.line(at + SECOND, "useradd", user);
    let aging = "changed password expiry for _chrony";
    story.line(at + 2 * SECOND, "chage", aging);
}

/// Services whose programs are new.
fn restart(story: &mut Story, begin: i64) {
    for unit in [
        "nginx.service",
        "rsyslog.service",
        "chrony.service",
        "ssh.service",
        "cron.service",
    ] {
        let parent = "/usr/bin/deb-systemd-invoke";
        story.run(
            begin,
            "root",
            parent,
            "/usr/bin/systemctl",
            &format!("restart {unit}"),
        );
        story.line(
            begin + 100,
            "systemd",
            &format!("Stopping {unit} - A service..."),
        );
        story.line(
            begin + 900,
            "systemd",
            &format!("{unit}: Deactivated successfully."),
        );
        story.line(
            begin + 901,
            "systemd",
            &format!("Stopped {unit} - A service."),
        );
        story.line(
            begin + 950,
            "systemd",
            &format!("Started {unit} - A service."),
        );
    }
    story.line(
        begin + SECOND,
        "sshd",
        "Server listening on 0.0.0.0 port 22.",
    );
    story.port_opened(begin + SECOND, 22, "/usr/sbin/sshd");
    story.port_opened(begin + SECOND, 443, "/usr/sbin/nginx");
}

fn kernel(story: &mut Story) {
    for minute in 0..30 {
        let at = 5 * HOUR + minute * 37 * MINUTE;
        let device = format!("veth{minute:06x}");
        for state in ["blocking", "disabled", "forwarding"] {
            let message = format!("docker0: port 2({device}) entered {state} state");
            story.line(at, "kernel", &message);
        }
        story.line(
            at + 5,
            "kernel",
            &format!("{device}: entered promiscuous mode"),
        );
        story.line(
            at + MINUTE,
            "kernel",
            &format!("{device}: left promiscuous mode"),
        );
    }
    let crash = "convert[4711]: segfault at 0 ip 00007f0000001000 sp 00007fff00001000 error 4 \
                 in libc.so.6[7f0000000000+1000]";
    story.line(11 * HOUR, "kernel", crash);
    let killed = "Memory cgroup out of memory: Killed process 812 (node) total-vm:912kB, \
                  anon-rss:512kB, file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:1kB oom_score_adj:0";
    story.line(13 * HOUR, "kernel", killed);
}

/// Two reports a minute: a busy day, a backup at night, builds at full power, a disk that fills.
fn load(story: &mut Story) {
    for half in 0..2_880_i32 {
        let at = i64::from(half) * 30 * SECOND;
        let minute = half / 2;
        let is_build = [570, 690, 870, 980]
            .iter()
            .any(|begin| (0..7).contains(&(minute - begin)));
        let spread = f64::from(i32::try_from(story.dice.below(1_200)).unwrap_or(0)) / 100.0;
        let cpu = match minute {
            _ if is_build => 99.0 + spread / 12.0,
            120..150 => 75.0 + spread,
            480..1_080 => 35.0 + spread * 2.0,
            _ => 6.0 + spread,
        };
        let ram = if is_build { 78.0 } else { 52.0 } + spread / 2.0;
        story.usage(at, [cpu.min(100.0), ram, 61.0 + f64::from(half) / 1_440.0]);
    }
}
