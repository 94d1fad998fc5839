//! The agent on a fresh Debian host with systemd: installed, again, upgraded, broken, removed; the
//! daemon it reaches is the real one, behind a proxy with TLS.

mod brought;
mod certificate;
mod deeds;
mod extras;
mod front;
mod interrupted;
mod key;
mod package;
mod place;
mod privileges;

use std::path::Path;
use std::time::Duration;

use hidps_lab::fresh_host;
use hidps_lab::say_skipped;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{ORGANIZATION, World};
use serde_json::json;

use crate::faults::shared::with_world;
use place::{Place, Programs, difference};

/// A package of a program that was built for debugging takes some of it to pack.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a test on a world whose daemon serves programs, or says why not.
fn on_fresh_host(test: &str, story: impl AsyncFnOnce(&mut World, &mut Place, &Programs)) {
    if let Err(missing) = fresh_host::check() {
        return say_skipped(test, &missing);
    }
    let programs = Programs::new();
    let folder = programs.path().display().to_string();
    with_world(&[("HIDPS_AGENT_DIR", &folder)], async |world| {
        let mut place = Place::make(world).await;
        // The proxy's address is known only now.
        let url = place.front.url();
        world
            .daemon
            .configure(&[("HIDPS_AGENT_DIR", &folder), ("HIDPS_PUBLIC_URL", &url)]);
        world.daemon.stop().expect("it drains");
        world.daemon.restart().await.expect("it comes back");
        story(world, &mut place, &programs).await;
        // The next test that has this world counts its agents.
        let gone = world
            .admin
            .delete("agents", json!({"id": place.agent_id}))
            .await;
        gone.expect("the admin may");
    });
}

#[test]
fn one_line_installs_and_another_leaves_the_host_as_it_was() {
    let test = "one_line_installs_and_another_leaves_the_host_as_it_was";
    on_fresh_host(test, async |world, place, programs| {
        let before = place.look();

        install_by_one_line(world, place).await;
        let installed = place.look();
        run_again(place, &installed);
        certificate::show_certificate(place);
        key::replace_key(world, place).await;
        restart_when_stuck(place).await;
        enable_firewall(world, place).await;
        upgrade(place, programs);
        upgrade_for_the_next_boot(place, programs);
        take_what_is_for_this_machine(place, programs);
        refuse_what_is_wrong(place, programs);
        put_back_what_does_not_start(place, programs);
        interrupted::put_back_what_has_never_started(place, programs);
        interrupted::keep_what_has_started(place, programs);
        extras::undo_what_it_does_not_start_with(place, programs);
        uninstall(place, &before);
    });
}

/// The row is fresh, so its id is enough.
async fn install_by_one_line(world: &World, place: &Place) {
    let ran = place.install("", &format!("--agent-id {}", place.agent_id));

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let said = format!("registered: the agent {} is connected", place.agent_id);
    assert!(ran.said.contains(&said), "{}", ran.said);
    assert!(
        ran.said.contains("next: hidps-agent status"),
        "{}",
        ran.said
    );
    wait_online(world, place).await;
    let unit = "systemctl show -p Type,User,StatusText,NRestarts hidps-agent";
    let shown = place.ask(&format!("{unit}; systemctl is-enabled hidps-agent"));
    for words in [
        "Type=notify",
        "User=hidps-agent",
        "connected to https://",
        "enabled",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let doctor = place.run("hidps-agent doctor");
    assert_eq!(doctor.code, Some(0), "{}", doctor.said);
    let modes = place.ask("stat -c '%a %U' /etc/hidps/token /var/lib/hidps-agent");
    assert_eq!(modes, "600 root\n700 hidps-agent\n");
}

async fn wait_online(world: &World, place: &Place) {
    let online = wait_until("the host being online", PATIENCE, async || {
        match world.outside().is_online(&place.agent_id).await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    online.await.expect("it is");
}

fn run_again(place: &Place, installed: &[String]) {
    let process = place.process();

    let ran = place.install("", &format!("--agent-id {}", place.agent_id));

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(
        ran.said.contains("the program is installed already"),
        "{}",
        ran.said
    );
    assert!(ran.said.contains("nothing changed"), "{}", ran.said);
    assert_eq!(place.process(), process, "it was not restarted");
    assert_eq!(
        settled(&difference(installed, &place.look())),
        Vec::<String>::new()
    );
}

/// Without the agent's own state, which it may change whenever it runs.
fn settled(difference: &[String]) -> Vec<String> {
    let of_agent = |line: &&String| !line.contains("/var/lib/hidps-agent/");
    difference.iter().filter(of_agent).cloned().collect()
}

/// A loop that does not turn is noticed by its silence.
async fn restart_when_stuck(place: &Place) {
    let drop_in = "/etc/systemd/system/hidps-agent.service.d";
    place.ask(&format!(
        "mkdir {drop_in}; printf '[Service]\\nWatchdogSec=10\\nRestartSec=0\\n' >{drop_in}/quick.conf\n\
         systemctl daemon-reload; systemctl restart hidps-agent"
    ));
    let process = place.process();

    place.ask(&format!("kill -STOP {process}"));

    let restarted = wait_until("another process", PATIENCE, async || {
        let now = place.process();
        if now != process && now.trim() != "0" {
            Ok(())
        } else {
            Err(now)
        }
    });
    restarted.await.expect("the watchdog sees it");
    let journal = place.ask("journalctl -u hidps-agent --no-pager | grep -c watchdog");
    assert!(journal.trim() != "0");
    place.ask(&format!(
        "rm -r {drop_in}; systemctl daemon-reload; systemctl restart hidps-agent"
    ));
}

/// So that there is something to take back.
async fn enable_firewall(world: &mut World, place: &Place) {
    let (change, whose) = (
        json!({"firewall_enabled": true}),
        json!({"agent_id": place.agent_id}),
    );
    let changed = world.admin.update("agent_stats", change, whose).await;
    changed.expect("the admin may");
    let loaded = wait_until("the firewall", PATIENCE, async || {
        let tables = place.ask("nft list tables");
        if tables.contains("table inet hidps") {
            Ok(())
        } else {
            Err(tables + &place.ask("hidps-agent status"))
        }
    });
    loaded.await.expect("an agent that is not root may do that");
}

fn upgrade(place: &Place, programs: &Programs) {
    let process = place.process();
    let configuration = place.ask("cat /etc/hidps/agent.toml");
    programs.renew();
    // What a run leaves that is killed while it writes; the others are somebody's.
    place.ask(
        "touch /usr/local/bin/hidps-agent.hidps-new /etc/hidps/token.hidps-new \
         /etc/systemd/system/hidps-agent.service.hidps-copy",
    );
    let somebodys = "/etc/hidps/ca.pem.new /etc/hidps/agent.toml.previous";
    place.ask(&format!("touch {somebodys}"));

    let ran = place.install("", "--upgrade");

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.said.contains("downloading"), "{}", ran.said);
    assert_ne!(place.process(), process, "the new one runs");
    let installed = std::fs::read(place.host.path("/usr/local/bin/hidps-agent")).expect("read");
    assert!(installed == std::fs::read(programs.program()).expect("read"));
    assert_eq!(place.ask("cat /etc/hidps/agent.toml"), configuration);
    assert_eq!(leftovers(place), "");
    place.ask(&format!("rm {somebodys}"));
}

/// Files that only an unfinished run has, wherever the script writes.
fn leftovers(place: &Place) -> String {
    place
        .run("find /usr/local/bin /etc/systemd/system /etc/hidps -name '*.hidps-*'")
        .said
}

/// Nobody waits for that boot, so nothing is kept for putting back.
fn upgrade_for_the_next_boot(place: &Place, programs: &Programs) {
    let process = place.process();
    programs.renew();

    let ran = place.install("", "--upgrade --no-start");

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(place.process(), process, "the old one goes on");
    let installed = std::fs::read(place.host.path("/usr/local/bin/hidps-agent")).expect("read");
    assert!(installed == std::fs::read(programs.program()).expect("read"));
    assert_eq!(leftovers(place), "");
    place.ask("systemctl restart hidps-agent");
}

fn take_what_is_for_this_machine(place: &Place, programs: &Programs) {
    let program = programs.publish_for_other_machine();
    let pretending = place::pretend_other_machine(place);

    let ran = place.install(&pretending, "--upgrade");

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let installed = std::fs::read(place.host.path("/usr/local/bin/hidps-agent")).expect("read");
    assert!(
        installed == std::fs::read(&program).expect("read"),
        "{}",
        ran.said
    );
    // One that is really for another machine is found out before anything changes.
    std::fs::write(programs.program(), b"\x7fELF\x02\x01\x01 of no machine").expect("written");
    programs.publish();
    let ran = place.install("", "--upgrade");
    assert_eq!(ran.code, Some(4), "{}", ran.said);
    assert!(
        ran.said.contains("does not run on this host"),
        "{}",
        ran.said
    );
    programs.restore();
}

/// Each is refused by its own exit code, and the agent that runs goes on.
fn refuse_what_is_wrong(place: &Place, programs: &Programs) {
    let (process, before) = (place.process(), place.look());
    let check = |arguments: &str, code: i32, words: &str| {
        let ran = place.install("", arguments);

        assert_eq!(ran.code, Some(code), "{arguments}: {}", ran.said);
        assert!(ran.said.contains(words), "{arguments}: {}", ran.said);
        assert_eq!(place.process(), process, "{arguments}");
        assert_eq!(
            settled(&difference(&before, &place.look())),
            Vec::<String>::new()
        );
    };

    check(
        "--agent-id 0190a000-0000-7000-8000-00000000f0f0",
        8,
        "already",
    );
    check(
        "--upgrade --backend-url https://other.example",
        8,
        "change it there",
    );
    programs.renew();
    check("--upgrade --version 9.9.9", 5, "not the version 9.9.9");
    place.front.cut_after(1_000_000);
    check("--upgrade", 6, "could not be fetched whole");
    place.front.cut_after(usize::MAX);
    programs.write_checksum(format!("{}  hidps-agent\n", "0".repeat(64)).as_bytes());
    check("--upgrade", 7, "nothing was changed");
    programs.silence();
    check("--upgrade", 1, "put back: /usr/local/bin/hidps-agent");
    programs.restore();
    let nobody = place.run("setpriv --reuid=65534 --clear-groups sh <install.sh -s -- --upgrade");
    assert_eq!(nobody.code, Some(3), "{}", nobody.said);
}

fn put_back_what_does_not_start(place: &Place, programs: &Programs) {
    let before = place.ask("sha256sum /usr/local/bin/hidps-agent");
    programs.ruin();
    // A first run is killed when the new program is in its place and nothing is started yet.
    let killed = "sed -i 's/^start_agent() {/&\\n  kill -KILL $$/' install.sh;";
    let ran = place.install(killed, "--upgrade");
    assert_ne!(ran.code, Some(0), "{}", ran.said);
    assert_ne!(place.ask("sha256sum /usr/local/bin/hidps-agent"), before);
    place.ask("systemctl is-active hidps-agent");

    let ran = place.install("", "--upgrade");

    assert_eq!(ran.code, Some(11), "{}", ran.said);
    assert!(ran.said.contains("the old one is put back"), "{}", ran.said);
    assert_eq!(place.ask("sha256sum /usr/local/bin/hidps-agent"), before);
    place.ask("systemctl is-active hidps-agent");
    assert_eq!(leftovers(place), "");
}

fn uninstall(place: &Place, before: &[String]) {
    let planned = place.run("sh install.sh --uninstall --purge --dry-run");
    assert_eq!(planned.code, Some(0), "{}", planned.said);
    place.ask("systemctl is-active hidps-agent");

    // What the agent cannot put back, because it does not understand how it was.
    place.ask("echo {} >/etc/ufw/hidps-found.json");
    let ran = place.run("sh install.sh --uninstall");
    assert_eq!(ran.code, Some(12), "{}", ran.said);
    let said = "ufw is not as it was before the agent; the agent is stopped, and its program stays";
    assert!(ran.said.contains(said), "{}", ran.said);
    place.ask("hidps-agent version; rm /etc/ufw/hidps-found.json");

    let ran = place.run("sh install.sh --uninstall");

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let is_left = ran.said.contains("had no firewall rules here");
    assert!(is_left, "the first time took them: {}", ran.said);
    assert!(ran.said.contains("left: /etc/hidps"), "{}", ran.said);
    assert!(!place.ask("nft list ruleset").contains("hidps"));
    assert!(!Path::new(&place.host.path("/usr/local/bin/hidps-agent")).exists());
    let ran = place.run("sh install.sh --uninstall --purge && sh install.sh --uninstall --purge");
    assert_eq!(
        ran.code,
        Some(0),
        "a second time is no mistake: {}",
        ran.said
    );
    assert_eq!(difference(before, &place.look()), Vec::<String>::new());
}

#[test]
fn what_keeps_an_agent_from_being_registered_is_said_with_what_to_do() {
    let test = "what_keeps_an_agent_from_being_registered_is_said_with_what_to_do";
    on_fresh_host(test, async |world, place, programs| {
        let before = place.look();
        change_nothing_where_nothing_can_be_done(place);
        assert_eq!(difference(&before, &place.look()), Vec::<String>::new());
        take_back_a_first_one_that_does_not_start(place, programs);
        interrupted::take_back_a_first_one(place);
        let settings = json!({"settings": {"first_use_minutes": 0}});
        let whose = json!({"id": ORGANIZATION});
        let changed = world
            .admin
            .update("organizations", settings, whose.clone())
            .await;
        changed.expect("the admin may");

        wait_for_approval(place);
        refuse_a_wrong_token(place);
        admit_by_token(world, place).await;
        privileges::check_status(place);
        privileges::check_mounts(place);
        privileges::check_collectors(world, place).await;
        deeds::do_and_see(world, place).await;

        let restored = json!({"settings": {}});
        let changed = world.admin.update("organizations", restored, whose).await;
        changed.expect("the admin may");
    });
}

fn change_nothing_where_nothing_can_be_done(place: &Place) {
    let id = &place.agent_id;
    // The proxy does not speak for this name, and nobody listens on that port.
    let ran = place.install(
        "",
        &format!("--agent-id {id} --backend-url https://127.0.0.1:9"),
    );
    assert_eq!(ran.code, Some(6), "{}", ran.said);

    let read_only = "mount -t tmpfs -o ro tmpfs /usr/local/bin";
    let ran = place.install(&format!("{read_only};"), &format!("--agent-id {id}"));

    assert_eq!(ran.code, Some(12), "{}", ran.said);
    assert!(
        ran.said
            .contains("could not write beside /usr/local/bin/hidps-agent"),
        "{}",
        ran.said
    );
    place.ask("umount /usr/local/bin");
    let noexec = "mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp";
    let ran = place.install(&format!("{noexec};"), &format!("--agent-id {id}"));

    assert_eq!(ran.code, Some(12), "{}", ran.said);
    assert!(
        ran.said.contains("noexec") && ran.said.contains("TMPDIR=/root"),
        "{}",
        ran.said
    );
    place.ask("umount /tmp");
}

/// Whether the run was whole or follows one that was killed before it started anything.
fn take_back_a_first_one_that_does_not_start(place: &Place, programs: &Programs) {
    programs.ruin();
    let killed = "sed -i 's/^start_agent() {/&\\n  kill -KILL $$/' install.sh;";
    let arguments = format!("--agent-id {}", place.agent_id);
    for before in [killed, "", ""] {
        let ran = place.install(before, &arguments);

        if !before.is_empty() {
            assert_ne!(ran.code, Some(0), "{}", ran.said);
            continue;
        }
        assert_eq!(ran.code, Some(11), "{}", ran.said);
        assert!(ran.said.contains("removed again"), "{}", ran.said);
        assert_removed(place);
    }
    programs.restore();
}

/// Neither a file nor a link is left, nor anything that systemd would still know.
fn assert_removed(place: &Place) {
    let left = place.ask(
        "ls /etc /usr/local/bin /etc/systemd/system /etc/systemd/system/*.wants; \
         systemctl list-units -a --no-pager",
    );
    assert!(!left.contains("hidps"), "{left}");
}

fn wait_for_approval(place: &Place) {
    let ran = place.install("", &format!("--agent-id {}", place.agent_id));

    assert_eq!(ran.code, Some(10), "{}", ran.said);
    assert!(ran.said.contains("an admin has to approve"), "{}", ran.said);
    let status = place.run("hidps-agent status --check --json");
    assert_eq!(status.code, Some(5), "{}", status.said);
    assert!(
        status.said.contains("\"waiting_for_approval\""),
        "{}",
        status.said
    );
}

fn refuse_a_wrong_token(place: &Place) {
    // Longer than anything here takes: the refusal itself is what ends the waiting.
    let patient = "sed -i s/^WAIT_SECONDS=30/WAIT_SECONDS=150/ install.sh;";
    let before = format!("{patient} HIDPS_TOKEN=hidps_0000_wrong");

    let ran = place.install(&before, &format!("--agent-id {}", place.agent_id));

    assert_eq!(ran.code, Some(9), "{}{}", ran.said, place.log());
    assert!(ran.said.contains("use a valid token"), "{}", ran.said);
    assert!(
        ran.said.contains("next: hidps-agent doctor"),
        "{}",
        ran.said
    );
    let check = place.run("hidps-agent status --check");
    assert_eq!(check.code, Some(6), "{}", check.said);
}

/// The right token comes in a file, and does not stay.
async fn admit_by_token(world: &mut World, place: &Place) {
    let arguments = json!({"org": ORGANIZATION, "name": "fresh", "agent": place.agent_id});
    let token = world.admin.rpc("create_agent_token", arguments).await;
    let token = token
        .expect("the admin may")
        .as_str()
        .expect("a token")
        .to_owned();
    std::fs::write(place.host.path("/root/token"), format!("{token}\n")).expect("written");

    let arguments = format!("--agent-id {} --token-file token", place.agent_id);
    let ran = place.install("", &arguments);

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    wait_online(world, place).await;
    assert_eq!(place.ask("stat -c '%a %s' /etc/hidps/token"), "600 0\n");
    let prefix: String = token.chars().take(12).collect();
    let found = place.run(&format!(
        "grep -rl {prefix} /etc /var/lib /var/log /run/log 2>/dev/null; journalctl | grep {prefix}"
    ));
    assert_eq!(found.said, "", "the token is kept nowhere");
}
