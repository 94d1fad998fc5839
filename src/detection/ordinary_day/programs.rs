//! Programs at work: monitoring, containers, the web application, deployments, builds and backups.
//! They start many processes, and all of them for a reason.

use super::people::log_in;
use super::story::{HOUR, MINUTE, SECOND, Story, text};
use hidps_wire::EventKind;

/// Writes what programs do in a day.
pub(super) fn tell(story: &mut Story) {
    monitor(story);
    containers(story);
    web(story);
    for hour in [9, 11, 14, 16] {
        let at = hour * HOUR + 41 * MINUTE;
        deploy(story, at);
    }
    for minute in [570, 690, 870, 980] {
        build(story, minute * MINUTE);
    }
    backup(story, 2 * HOUR);
    let fields = [("event", "started")].map(text);
    story.event(7 * HOUR, (EventKind::AgentInfo, "agent"), &fields);
}

/// Every minute the monitor asks.
fn monitor(story: &mut Story) {
    let parent = "/usr/sbin/nrpe";
    for minute in 0..1_440 {
        let at = minute * MINUTE + 30 * SECOND;
        for (image, arguments) in [
            ("/usr/lib/nagios/plugins/check_disk", "-w 20% -c 10% -p /"),
            ("/usr/lib/nagios/plugins/check_load", "-w 8,6,4 -c 12,9,6"),
            ("/usr/lib/nagios/plugins/check_procs", "-c 1: -C nginx"),
            (
                "/usr/bin/ps",
                "axwwo stat uid pid ppid vsz rss pcpu etime comm args",
            ),
        ] {
            story.run(at, "nagios", parent, image, arguments);
        }
        if minute % 5 == 0 {
            let from = format!("10.20.0.5 port {}", story.dice.port());
            story.sshd(at, &format!("Connection closed by {from} [preauth]"));
        }
    }
}

/// Health checks and short-lived containers.
fn containers(story: &mut Story) {
    let shim = "/usr/bin/containerd-shim-runc-v2";
    for minute in 0..720 {
        let at = minute * 2 * MINUTE;
        let memory = "/memfd:runc_cloned:/proc/self/exe (deleted)";
        story.run(at, "root", shim, memory, "init");
        let check = "-c curl -f http://localhost:8080/health || exit 1";
        story.run(at + 50, "root", shim, "/usr/bin/dash", check);
        let arguments = "-f http://localhost:8080/health";
        story.run(at + 60, "root", "/usr/bin/dash", "/usr/bin/curl", arguments);
    }
}

/// The shop shells out for pictures and mail; the database archives.
fn web(story: &mut Story) {
    let parent = "/usr/sbin/php-fpm8.2";
    for _ in 0..300 {
        let at = 7 * HOUR + story.dice.below(15 * HOUR);
        let picture = "-c /usr/bin/convert /srv/shop/uploads/in.jpg -resize 800 out.jpg";
        story.run(at, "www-data", parent, "/usr/bin/dash", picture);
        let shell = "/usr/bin/dash";
        story.run(
            at + 20,
            "www-data",
            shell,
            "/usr/bin/convert",
            "in.jpg -resize 800 out.jpg",
        );
        if story.dice.happens(40) {
            story.run(
                at + 900,
                "www-data",
                parent,
                "/usr/bin/dash",
                "-c /usr/sbin/sendmail -t -i",
            );
        }
    }
    let server = "/usr/lib/postgresql/16/bin/postgres";
    for ten in 0..144 {
        let at = ten * 10 * MINUTE + 3 * SECOND;
        let archive = "-c pgbackrest --stanza=main archive-push pg_wal/000000010000000A000000B1";
        story.run(at, "postgres", server, "/usr/bin/dash", archive);
    }
}

/// A new release: fetched, built into an image, started.
fn deploy(story: &mut Story, at: i64) {
    log_in(story, at, "deploy", "publickey");
    let shell = "/usr/bin/bash";
    for (number, (image, arguments)) in [
        ("/usr/bin/git", "fetch --tags origin"),
        ("/usr/bin/git", "checkout v2.41.0"),
        ("/usr/bin/docker", "build -t shop:2.41.0 ."),
        (
            "/usr/bin/docker",
            "run --rm -v /srv/shop/config:/config shop:2.41.0 migrate",
        ),
        ("/usr/bin/docker", "compose up -d"),
        ("/usr/bin/curl", "-fsS http://localhost:8080/health"),
        ("/usr/bin/npm", "ci --omit=dev"),
        ("/usr/bin/tar", "xzf /home/deploy/release.tgz -C /srv/shop"),
        ("/usr/bin/rsync", "-a --delete build/ /srv/shop/public/"),
        (
            "/usr/bin/bash",
            "-c until echo > /dev/tcp/localhost/8080; do sleep 1; done",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let when = at + 2 * MINUTE + i64::try_from(number).expect("it is small") * 9 * SECOND;
        story.run(when, "deploy", shell, image, arguments);
    }
    let restart = at + 5 * MINUTE;
    story.sudo(restart, "deploy", "/usr/bin/systemctl restart shop.service");
    story.line(
        restart + 100,
        "systemd",
        "Stopping shop.service - The shop...",
    );
    story.line(restart + 900, "systemd", "Stopped shop.service - The shop.");
    story.line(restart + 950, "systemd", "Started shop.service - The shop.");
    story.port_opened(restart + SECOND, 8080, "/srv/shop/bin/shop");
}

/// Seven minutes of compilers; tests run from where they were built.
fn build(story: &mut Story, begin: i64) {
    for number in 0..180 {
        let at = begin + number * 2 * SECOND;
        let make = "/usr/bin/make";
        let source = format!("-O2 -c src/file{number}.c -o build/file{number}.o");
        story.run(at, "builder", make, "/usr/bin/gcc", &source);
        let assembler = format!("-o build/file{number}.o /tmp/ccAbC{:03}.s", number % 1_000);
        story.run(
            at + 90,
            "builder",
            "/usr/bin/gcc",
            "/usr/bin/as",
            &assembler,
        );
        if number % 20 == 0 {
            let test = format!("/tmp/go-build{number}77/b001/exe/shop.test");
            story.run(
                at + 200,
                "builder",
                "/usr/local/go/bin/go",
                &test,
                "-test.v",
            );
            let rust = "/home/builder/shop/target/debug/deps/shop-1a2b";
            story.run(
                at + 300,
                "builder",
                "/home/builder/.cargo/bin/cargo",
                rust,
                "--quiet",
            );
        }
    }
    for probe in 0..40 {
        let at = begin + probe * SECOND;
        story.run(at, "builder", "/usr/bin/dash", "/tmp/build.x/conftest", "");
    }
}

/// The nightly backup, pulled by another host with a key of root.
fn backup(story: &mut Story, at: i64) {
    log_in(story, at, "root", "publickey");
    let shell = "/usr/bin/bash";
    for (image, arguments) in [
        ("/usr/bin/pg_dump", "-Fc -f /srv/backup/shop.dump shop"),
        (
            "/usr/bin/borg",
            "create /srv/backup/repo::2026-11-20 /etc /home /srv",
        ),
        ("/usr/bin/tar", "czf /srv/backup/etc.tgz /etc"),
        (
            "/usr/bin/rsync",
            "--server --sender -logDtpre.iLsfxCIvu . /srv/backup",
        ),
        ("/usr/bin/find", "/srv/backup -mtime +30 -delete"),
        ("/usr/bin/sha256sum", "/srv/backup/shop.dump"),
    ] {
        story.run(at + 5 * SECOND, "root", shell, image, arguments);
    }
}
