//! An agent that somebody brings to a host by hand, beside a copy of the installer, and what a host
//! with an older systemd gets. It leaves the host as it was.

use hidps_lab::world::{ORGANIZATION, World};
use serde_json::json;

use super::place::{Place, Programs, difference};
use super::{on_fresh_host, wait_online};

/// Where things are brought to.
const FOLDER: &str = "/root/brought";

#[test]
fn what_was_brought_is_installed_for_an_older_systemd_as_well() {
    let test = "what_was_brought_is_installed_for_an_older_systemd_as_well";
    on_fresh_host(test, async |world, place, programs| {
        let before = place.look();

        bring(world, place, programs).await;
        refuse_what_is_wrong(place);
        install_for_the_next_boot(place);
        run_in_words_of_219(world, place).await;
        run_in_words_of_246(world, place).await;

        let ran = place.run(&format!("sh {FOLDER}/install.sh --uninstall --purge"));
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        assert_eq!(difference(&before, &place.look()), Vec::<String>::new());
    });
}

/// The installer, a program and a token in one folder.
async fn bring(world: &mut World, place: &Place, programs: &Programs) {
    let token = make_token(world, place).await;
    let url = place.front.url();
    place.ask(&format!(
        "mkdir {FOLDER}; cd {FOLDER}; curl --cacert /root/ca.pem -fsS {url}/install.sh -o install.sh
         chmod +x install.sh"
    ));
    std::fs::write(place.host.path(&format!("{FOLDER}/token")), token).expect("written");
    let program = format!("{FOLDER}/hidps-agent");
    std::fs::copy(programs.program(), place.host.path(&program)).expect("copied");
    // What the daemon has is another one, so that nothing can come from there.
    programs.silence();
}

async fn make_token(world: &mut World, place: &Place) -> String {
    let arguments = json!({"org": ORGANIZATION, "name": "brought", "agent": place.agent_id});
    let token = world.admin.rpc("create_agent_token", arguments).await;
    let token = token.expect("the admin may");
    token.as_str().expect("a token").to_owned()
}

/// The line of somebody who has the installer and the program in one folder.
fn install(place: &Place, systemd: u32, arguments: &str) -> hidps_lab::fresh_host::Ran {
    let path = pretend_systemd(place, systemd);
    let url = place.front.url();
    place.run(&format!(
        "cd {FOLDER}; {path} HIDPS_BACKEND_URL={url} ./install.sh --agent-id {} {arguments} \
         --ca-file /root/ca.pem <token",
        place.agent_id
    ))
}

/// A stand-in for `systemctl` that gives another version of systemd.
fn pretend_systemd(place: &Place, version: u32) -> String {
    place.ask(&format!(
        "mkdir -p older; printf '#!/bin/sh\n[ \"$*\" = --version ] && exec echo systemd {version}\n\
         exec /usr/bin/systemctl \"$@\"\n' >older/systemctl; chmod +x older/systemctl"
    ));
    "PATH=/root/older:$PATH".to_owned()
}

fn refuse_what_is_wrong(place: &Place) {
    let before = place.look();
    let wrong = "0".repeat(64);

    let ran = install(place, 219, &format!("--bin ./hidps-agent --sha256 {wrong}"));

    assert_eq!(ran.code, Some(7), "{}", ran.said);
    let ran = install(place, 218, "");
    assert_eq!(ran.code, Some(4), "{}", ran.said);
    assert!(ran.said.contains("219 is the oldest"), "{}", ran.said);
    assert_eq!(difference(&before, &place.look()), Vec::<String>::new());
}

fn install_for_the_next_boot(place: &Place) {
    let sum = place.ask(&format!("sha256sum {FOLDER}/hidps-agent | cut -d ' ' -f 1"));

    let ran = install(
        place,
        219,
        &format!(
            "--bin ./hidps-agent --sha256 {} --token-file - --no-start --no-enable",
            sum.trim()
        ),
    );

    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(!ran.said.contains("downloading"), "{}", ran.said);
    place.ask(&format!(
        "cmp {FOLDER}/hidps-agent /usr/local/bin/hidps-agent"
    ));
    let state = place.run("systemctl is-enabled hidps-agent; systemctl is-active hidps-agent");
    assert_eq!(state.said, "disabled\ninactive\n");
    place.ask(&format!("cmp {FOLDER}/token /etc/hidps/token"));
}

/// As root, with no right that the agent has not elsewhere, and with a token that it reads by itself.
async fn run_in_words_of_219(world: &World, place: &Place) {
    place.ask("systemctl daemon-reload; systemctl start hidps-agent");

    wait_online(world, place).await;
    let shown = place.ask("systemctl show -p User,ProtectSystem,AmbientCapabilities hidps-agent");
    for words in [
        "User=root\n",
        "ProtectSystem=full\n",
        "AmbientCapabilities=\n",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let status = format!("/proc/{}/status", place.process().trim());
    let rights = place.ask(&format!("grep -E '^(Uid|CapPrm|CapBnd)' {status}"));
    let rights: Vec<_> = rights
        .lines()
        .map(|line| line.split('\t').next_back())
        .collect();
    assert_eq!(rights[0], Some("0"), "{rights:?}");
    assert_eq!(rights[1], rights[2], "{rights:?}");
    let configuration = place.ask("cat /etc/hidps/agent.toml");
    let token = "token_file = \"/etc/hidps/token\"";
    assert!(configuration.contains(token), "{configuration}");
}

/// Without arguments but its id: the program beside the script is taken by itself. It is the same, and
/// the unit is another one; the state is the agent's own user's again.
async fn run_in_words_of_246(world: &World, place: &Place) {
    let ran = install(place, 246, "");

    assert_eq!(ran.code, Some(0), "{}{}", ran.said, place.log());
    assert!(ran.said.contains("installed already"), "{}", ran.said);
    wait_online(world, place).await;
    let shown = place.ask("systemctl show -p User,LoadCredential hidps-agent");
    let is_its_own = shown.contains("User=hidps-agent\n") && !shown.contains("token");
    assert!(is_its_own, "{shown}");
    place.ask("hidps-agent status --check; systemctl is-enabled hidps-agent");
}
