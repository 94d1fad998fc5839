//! Lines of the tools for users and groups, and of cron.

use super::*;

/// What useradd writes.
const USERADD: &[(&str, &str)] = &[
    (
        "new user: name=bob, UID=1001, GID=1002, home=/home/bob, shell=/bin/bash, from=/dev/pts/0",
        "action=user_added|user=bob|uid=1001|gid=1002|home=/home/bob|shell=/bin/bash",
    ),
    (
        "new user: name=bob, UID=1001, GID=1002, home=/home/bob, shell=/bin/bash",
        "action=user_added|user=bob|uid=1001|gid=1002|home=/home/bob|shell=/bin/bash",
    ),
    (
        "new user: name=bob, UID=1001, GID=1002, home=/x, shell=/bin/sh, shell=/bin/bash, from=none",
        "ambiguous=true",
    ),
];

/// What userdel writes.
const USERDEL: &[(&str, &str)] = &[("delete user 'bob'", "action=user_deleted|user=bob")];

/// What usermod writes.
const USERMOD: &[(&str, &str)] = &[
    (
        "change user 'eve' home from '/home/eve' to '/home/x'",
        "action=user_changed|user=eve|home=/home/x",
    ),
    (
        "change user 'eve' GID from '1003' to '0'",
        "action=user_changed|user=eve|gid=0",
    ),
    (
        "change user 'evil' UID from '1002' to '0'",
        "action=user_changed|user=evil|uid=0",
    ),
    (
        "change user 'eve' shell from '/bin/sh' to '/bin/bash'",
        "action=user_changed|user=eve|shell=/bin/bash",
    ),
    (
        "change user 'eve' expiration from 'never' to '2027-01-01'",
        "action=aging_changed|user=eve",
    ),
    (
        "change user name 'eve' to 'evil'",
        "action=user_changed|user=eve|new_user=evil",
    ),
    (
        "change user 'eve' password",
        "action=password_changed|user=eve",
    ),
    ("lock user 'eve' password", "action=account_locked|user=eve"),
    (
        "unlock user 'eve' password",
        "action=account_unlocked|user=eve",
    ),
];

/// What passwd writes.
const PASSWD: &[(&str, &str)] = &[(
    "password for 'bob' changed by 'root'",
    "action=password_changed|user=bob|by=root",
)];

/// What chage writes.
const CHAGE: &[(&str, &str)] = &[(
    "changed password expiry for bob",
    "action=aging_changed|user=bob",
)];

/// What chfn writes.
const CHFN: &[(&str, &str)] = &[(
    "changed user 'bob' information",
    "action=info_changed|user=bob",
)];

/// What chsh writes.
const CHSH: &[(&str, &str)] = &[(
    "changed user 'bob' shell to '/bin/sh'",
    "action=user_changed|user=bob|shell=/bin/sh",
)];

#[test]
fn changes_of_users_are_read() {
    check("useradd", USERADD);
    check("userdel", USERDEL);
    check("usermod", USERMOD);
    check("passwd", PASSWD);
    check("chage", CHAGE);
    check("chfn", CHFN);
    check("chsh", CHSH);
    check_unread("useradd", &["failed adding user 'bob', exit code: 9"]);
}

/// What usermod writes.
const USERMOD_GROUPS: &[(&str, &str)] = &[
    (
        "add 'eve' to group 'sudo'",
        "action=member_added|user=eve|group=sudo",
    ),
    (
        "delete 'eve' from group 'sudo'",
        "action=member_removed|user=eve|group=sudo",
    ),
];

/// What gpasswd writes.
const GPASSWD: &[(&str, &str)] = &[
    (
        "user bob added by root to group ops2",
        "action=member_added|user=bob|group=ops2|by=root",
    ),
    (
        "user bob removed by root from group ops2",
        "action=member_removed|user=bob|group=ops2|by=root",
    ),
    (
        "members of group ops2 set by root to bob,evil",
        "action=group_changed|group=ops2|by=root|members=bob,evil",
    ),
    (
        "administrators of group ops2 set by root to bob",
        "action=group_changed|group=ops2|by=root|members=bob",
    ),
    (
        "password of group ops2 removed by root",
        "action=group_changed|group=ops2|by=root",
    ),
];

/// What groupadd writes.
const GROUPADD: &[(&str, &str)] = &[(
    "new group: name=ops, GID=1001",
    "action=group_added|group=ops|gid=1001",
)];

/// What groupdel writes.
const GROUPDEL: &[(&str, &str)] = &[
    ("group 'ops2' removed", "action=group_deleted|group=ops2"),
    (
        "removed group 'bob' owned by 'bob'",
        "action=group_deleted|group=bob",
    ),
];

/// What groupmod writes.
const GROUPMOD: &[(&str, &str)] = &[
    (
        "group changed in /etc/group (group ops/1001, new name: ops2)",
        "action=group_changed|group=ops",
    ),
    (
        "group changed in /etc/group (group ops2/1001, new gid: 4444)",
        "action=group_changed|group=ops2|gid=4444",
    ),
];

#[test]
fn changes_of_groups_are_read_once() {
    check("usermod", USERMOD_GROUPS);
    check("gpasswd", GPASSWD);
    check("groupadd", GROUPADD);
    check("groupdel", GROUPDEL);
    check("groupmod", GROUPMOD);
    check_companions(
        "usermod",
        &[
            "add 'eve' to shadow group 'ops'",
            "delete 'evil' from shadow group 'ops2'",
            "change 'eve' to 'evil' in group 'ops'",
            "group added to /etc/group: name=ops, GID=1001",
            "group added to /etc/gshadow: name=ops",
            "group 'ops2' removed from /etc/gshadow",
            "removed shadow group 'bob' owned by 'bob'",
            "group changed in /etc/passwd (group ops2/1001, new gid: 4444)",
        ],
    );
}

#[test]
fn lines_of_cron_are_read() {
    check(
        "CRON",
        &[(
            "(root) CMD (   cd / && run-parts --report /etc/cron.hourly)",
            "action=command|user=root|command=cd / && run-parts --report /etc/cron.hourly|program=CRON",
        )],
    );
    check(
        "crontab",
        &[
            (
                "(root) REPLACE (bob)",
                "action=crontab_replaced|user=root|target_user=bob",
            ),
            (
                "(root) BEGIN EDIT (bob)",
                "action=crontab_edited|user=root|target_user=bob",
            ),
            (
                "(root) LIST (bob)",
                "action=crontab_listed|user=root|target_user=bob",
            ),
            (
                "(root) DELETE (bob)",
                "action=crontab_deleted|user=root|target_user=bob",
            ),
            (
                "(mallory) AUTH (crontab command not allowed)",
                "action=crontab_refused|user=mallory|reason=crontab command not allowed",
            ),
        ],
    );
    check_companions(
        "cron",
        &[
            "(CRON) INFO (Running @reboot jobs)",
            "(root) END EDIT (bob)",
            "(root) RELOAD (crontabs/root)",
        ],
    );
    check_unread("cron", &["Authentication failure", "(root) CMD no bracket"]);
}
