//! What people do on a host by its own programs, told by the journal: the fields that rules see, and
//! the alerts that our own rules raise. No line here is made up; every program is Debian's.

use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::viewer::Viewer;
use hidps_wire::{FieldValue, LogEvent};
use serde_json::json;

use super::PATIENCE;
use super::place::Place;

/// An intruder's quarter of an hour within seconds; what waits for a refusal's delay goes on at once.
/// The port it opens stays open until the last of it.
const DEEDS: &str = r#"
exec </dev/null
options='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o NumberOfPasswordPrompts=1
  -o PubkeyAuthentication=no -o LogLevel=ERROR'
useradd -m -s /bin/bash mallory
echo mallory:s3cret | chpasswd
for n in 1 2 3 4 5 6; do sshpass -p wrong ssh $options root@127.0.0.1 true & done
python3 console.py &
for n in 1 2 3 4 5; do runuser -u mallory -- sh -c 'echo wrong | su root -c true' & done
wait
sshpass -p s3cret ssh $options mallory@127.0.0.1 true
runuser -u mallory -- sh -c 'echo s3cret | sudo -S -p "" true' && exit 1
usermod -aG sudo mallory
runuser -u mallory -- sh -c 'echo s3cret | sudo -S -p "" /bin/true deed'
echo '@reboot root /tmp/deed' >/etc/cron.d/deed
rm -f /run/crond.reboot
systemctl restart cron
/usr/sbin/sshd -p 31337 -o PidFile=/run/deed.pid
"#;

/// Somebody at the console, who types when asked and goes when refused.
const CONSOLE: &str = r#"
import os, pty, select, signal
process, console = pty.fork()
if not process:
    os.execvp("login", ["login"])
for prompt, answer in (b"login:", b"mallory\n"), (b"assword:", b"wrong\n"), (b"incorrect", b""):
    shown = b""
    while prompt not in shown:
        if not select.select([console], [], [], 60)[0]:
            raise SystemExit(f"no {prompt} in {shown}")
        shown += os.read(console, 1024)
    os.write(console, answer)
os.kill(process, signal.SIGKILL)
"#;

/// The end of it, once it was seen.
const LAST_DEEDS: &str = "
kill $(cat /run/deed.pid)
loginctl kill-user mallory 2>/dev/null || true
userdel -f -r mallory
";

/// What is seen of it, in the order of the deeds: service, and fields by name.
const SEEN: [(&str, &[(&str, &str)]); 12] = [
    (
        "useradd",
        &[
            ("action", "user_added"),
            ("user", "mallory"),
            ("shell", "/bin/bash"),
        ],
    ),
    (
        "sshd",
        &[
            ("outcome", "failure"),
            ("method", "password"),
            ("user", "root"),
            ("src_ip", "127.0.0.1"),
        ],
    ),
    ("login", &[("outcome", "failure"), ("user", "mallory")]),
    (
        "su",
        &[
            ("outcome", "failure"),
            ("user", "mallory"),
            ("USER", "root"),
        ],
    ),
    (
        "sshd",
        &[
            ("outcome", "success"),
            ("method", "password"),
            ("user", "mallory"),
            ("src_ip", "127.0.0.1"),
        ],
    ),
    (
        "sudo",
        &[
            ("outcome", "failure"),
            ("action", "not_in_sudoers"),
            ("user", "mallory"),
        ],
    ),
    (
        "usermod",
        &[
            ("action", "member_added"),
            ("user", "mallory"),
            ("group", "sudo"),
        ],
    ),
    (
        "sudo",
        &[
            ("outcome", "success"),
            ("user", "mallory"),
            ("USER", "root"),
            ("COMMAND", "/bin/true deed"),
        ],
    ),
    (
        "cron",
        &[
            ("action", "command"),
            ("user", "root"),
            ("command", "/tmp/deed"),
        ],
    ),
    (
        "network",
        &[
            ("event", "listening_port_opened"),
            ("port", "31337"),
            ("process", "sshd"),
        ],
    ),
    ("systemd", &[("action", "unit_started")]),
    (
        "userdel",
        &[("action", "user_deleted"), ("user", "mallory")],
    ),
];

/// The port that was opened, of these.
const PORT: usize = 9;

/// Titles of the alerts that it raises.
const ALERTS: [&str; 8] = [
    "SSH brute force from one source",
    "SSH login accepted after brute force",
    "su refused one user several times",
    "sudo used by somebody who may not",
    "User added to an administrators group",
    "Scheduled command that loads or hides code",
    "Port opened that backdoors use",
    "User account added and deleted again",
];

/// Does it all on a host whose agent is connected, and looks for what becomes of it.
pub(super) async fn do_and_see(world: &mut World, place: &Place) {
    let agent = place.agent_id.parse().expect("a row's id");
    let token = world.admin.access_token();
    let mut viewer = Viewer::connect(world.daemon.address(), token)
        .await
        .expect("let in");
    viewer.subscribe(agent).await.expect("the admin may");

    std::fs::write(place.host.path("/root/console.py"), CONSOLE).expect("written");

    let mut said = place.ask(DEEDS);

    see(&mut viewer, SEEN[PORT], &said, place).await;
    said += &place.ask(LAST_DEEDS);
    // Each source has a pace of its own: what was done last may be told first.
    for wanted in SEEN {
        see(&mut viewer, wanted, &said, place).await;
    }
    for title in ALERTS {
        let raised = wait_until("an alert", PATIENCE, async || {
            let whose = json!({"agent_id": place.agent_id});
            let rows = world.admin.select("alerts", whose).await;
            let rows = rows.map_err(|error| error.to_string())?;
            let rows = rows.as_array().cloned().unwrap_or_default();
            let titles: Vec<_> = rows.iter().map(|row| row["title"].to_string()).collect();
            if titles.iter().any(|told| told.contains(title)) {
                Ok(())
            } else {
                Err(format!("{title} is not among {titles:?}"))
            }
        });
        raised.await.expect("our rules see it");
    }
}

/// Waits for an event, unless it came already.
async fn see(viewer: &mut Viewer, wanted: (&str, &[(&str, &str)]), said: &str, place: &Place) {
    if viewer.events().iter().any(|event| is(event, wanted)) {
        return;
    }
    let is_wanted = |event: &LogEvent<'_>| is(event, wanted);
    if let Err(error) = viewer.next_event("a deed", PATIENCE, is_wanted).await {
        let of_service = |event: &&LogEvent<'_>| &*event.service == wanted.0;
        let of_service: Vec<_> = viewer.events().iter().filter(of_service).collect();
        panic!(
            "{error}: {wanted:?} is not among {of_service:#?}; {said}{}",
            place.log()
        );
    }
}

fn is(event: &LogEvent<'_>, (service, fields): (&str, &[(&str, &str)])) -> bool {
    let has = |(name, wanted): &(&str, &str)| match event.fields.get(name) {
        Some(FieldValue::Text(text)) => text.as_str() == *wanted,
        Some(FieldValue::Integer(number)) => number.to_string() == *wanted,
        _ => false,
    };
    &*event.service == service && fields.iter().all(has)
}
