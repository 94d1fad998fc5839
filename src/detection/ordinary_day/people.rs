//! People at work: administrators who log in, mistype and use sudo, and a developer's shell.
//! Nobody here does what needs an explanation.

use super::story::{HOUR, MINUTE, SECOND, Story};

/// Where the office is.
const OFFICE: &str = "198.51.100.10";

/// Everyday commands of administrators by sudo.
const COMMANDS: [&str; 22] = [
    "/usr/bin/apt update",
    "/usr/bin/apt list --upgradable",
    "/usr/bin/systemctl status nginx",
    "/usr/bin/systemctl restart shop.service",
    "/usr/bin/systemctl reload nginx",
    "/usr/bin/journalctl -u shop.service -n 200",
    "/usr/bin/journalctl --vacuum-time=30d",
    "/usr/bin/tail -f /var/log/nginx/error.log",
    "/usr/bin/less /var/log/syslog",
    "/usr/bin/vim /etc/nginx/sites-available/shop",
    "/usr/bin/cp /etc/nginx/nginx.conf /root/nginx.conf.bak",
    "/usr/sbin/ufw status numbered",
    "/usr/sbin/ufw allow 9100/tcp",
    "/usr/bin/docker ps",
    "/usr/bin/docker logs --tail 100 shop",
    "/usr/bin/du -xsh /var",
    "/usr/bin/find /var/tmp -mtime +7 -delete",
    "/usr/bin/rm /var/log/shop/debug.log.3.gz",
    "/usr/bin/chown -R www-data:www-data /srv/shop/uploads",
    "/usr/bin/ss -tlnp",
    "/bin/bash",
    "/usr/bin/su - postgres",
];

/// What people run in their shells.
const PROGRAMS: [(&str, &str); 20] = [
    ("/usr/bin/ls", "-la"),
    ("/usr/bin/vim", "notes.txt"),
    ("/usr/bin/git", "status"),
    ("/usr/bin/git", "pull --rebase"),
    ("/usr/bin/ps", "aux"),
    ("/usr/bin/grep", "-rn TODO ."),
    ("/usr/bin/top", ""),
    ("/usr/bin/df", "-h"),
    ("/usr/bin/id", ""),
    ("/usr/bin/cat", "config.toml"),
    (
        "/usr/bin/curl",
        "-fsS -o report.json https://example.org/report.json",
    ),
    ("/usr/bin/curl", "-I http://localhost:8080/health"),
    ("/usr/bin/psql", "-h db -U shop -c select"),
    ("/usr/bin/ssh", "db-01"),
    ("/usr/bin/scp", "report.pdf files-01:/srv/reports/"),
    ("/usr/bin/less", "README.md"),
    ("/usr/bin/man", "systemd.timer"),
    ("/usr/bin/tmux", "attach"),
    ("/usr/bin/find", ". -name *.rs"),
    ("/usr/bin/python3.12", "report.py"),
];

/// Writes what people do in a day.
pub(super) fn tell(story: &mut Story) {
    for user in [
        "alice", "bob", "alice", "bob", "dave", "alice", "dave", "bob",
    ] {
        let at = 8 * HOUR + story.dice.below(9 * HOUR);
        log_in(story, at, user, "publickey");
        work(story, at + MINUTE, user);
    }
    for begin in [8 * HOUR + 12 * MINUTE, 13 * HOUR + 3 * MINUTE] {
        mistype(story, begin);
        log_in(story, begin + 20 * SECOND, "carol", "password");
        work(story, begin + 2 * MINUTE, "carol");
    }
    mistype_locally(story);
    housekeeping(story);
}

/// Somebody comes in over SSH and goes an hour later.
pub(super) fn log_in(story: &mut Story, at: i64, user: &str, method: &str) {
    let from = format!("{OFFICE} port {}", story.dice.port());
    let key = match method {
        "publickey" => ": ED25519 SHA256:Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6",
        _ => "",
    };
    story.sshd(
        at,
        &format!("Accepted {method} for {user} from {from} ssh2{key}"),
    );
    let session = format!("session opened for user {user}(uid=1000) by {user}(uid=0)");
    story.sshd(at + 50, &format!("pam_unix(sshd:session): {session}"));
    story.line(
        at + 60,
        "systemd-logind",
        &format!("New session 41 of user {user}."),
    );
    let motd = "/usr/bin/run-parts";
    for (number, name) in ["uname", "who", "df", "ps", "uptime", "nproc"]
        .iter()
        .enumerate()
    {
        let when = at + 100 + i64::try_from(number).expect("it is small") * 40;
        story.run(when, "root", motd, &format!("/usr/bin/{name}"), "");
    }
    story.run(at + 500, user, "/usr/sbin/sshd", "/usr/bin/bash", "-l");
    let end = at + HOUR;
    story.sshd(
        end,
        &format!("Received disconnect from {from}:11: disconnected by user"),
    );
    story.sshd(end + 1, &format!("Disconnected from user {user} {from}"));
    let session = format!("pam_unix(sshd:session): session closed for user {user}");
    story.sshd(end + 5, &session);
}

/// Half an hour of commands, a few of them as root.
fn work(story: &mut Story, begin: i64, user: &str) {
    let mut at = begin;
    while at < begin + 40 * MINUTE {
        let number = usize::try_from(story.dice.below(20)).expect("it is small");
        let (image, arguments) = PROGRAMS[number];
        story.run(at, user, "/usr/bin/bash", image, arguments);
        if story.dice.happens(12) {
            let command = story.dice.pick(&COMMANDS);
            story.sudo(at + 5 * SECOND, user, command);
        }
        at += 12 * SECOND + story.dice.below(50 * SECOND);
    }
}

/// A wrong password, twice, by somebody who then gets it right.
fn mistype(story: &mut Story, at: i64) {
    for second in [0, 7] {
        let from = format!("{OFFICE} port 50111 ssh2");
        let facts = format!("logname= uid=0 euid=0 tty=ssh ruser= rhost={OFFICE}  user=carol");
        let message = format!("pam_unix(sshd:auth): authentication failure; {facts}");
        story.sshd(at + second * SECOND, &message);
        let message = format!("Failed password for carol from {from}");
        story.sshd(at + second * SECOND + 1_800, &message);
    }
}

/// Wrong passwords for sudo and su.
fn mistype_locally(story: &mut Story) {
    let at = 10 * HOUR + 17 * MINUTE;
    let facts = "logname=bob uid=1001 euid=0 tty=/dev/pts/1 ruser=bob rhost=  user=bob";
    let message = format!("pam_unix(sudo:auth): authentication failure; {facts}");
    story.line(at, "sudo", &message);
    let rest = "TTY=pts/1 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/apt update";
    story.line(
        at + 9_000,
        "sudo",
        &format!("bob : 3 incorrect password attempts ; {rest}"),
    );
    story.sudo(at + 40 * SECOND, "bob", "/usr/bin/apt update");
    let at = 15 * HOUR;
    story.line(at, "su", "FAILED SU (to postgres) bob on pts/1");
    story.line(at + 9_000, "su", "(to postgres) bob on pts/1");
}

/// What a person changes now and then.
fn housekeeping(story: &mut Story) {
    let at = 14 * HOUR + 5 * MINUTE;
    for (second, what) in [
        (0, "BEGIN EDIT"),
        (40, "REPLACE"),
        (41, "END EDIT"),
        (50, "LIST"),
    ] {
        story.line(
            at + second * SECOND,
            "crontab",
            &format!("(bob) {what} (bob)"),
        );
    }
    let changed = "pam_unix(passwd:chauthtok): password changed for carol";
    story.line(9 * HOUR, "passwd", changed);
}
