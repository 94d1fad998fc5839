//! The Debian package on a fresh host: installed, configured, upgraded, removed, purged.
//! The program in it is the one that was built for the tests.

use std::fs;

use hidps_lab::command::find_program;
use hidps_lab::say_skipped;

use super::place::{Place, Programs, difference};
use super::{extras, on_fresh_host};

#[test]
fn a_package_starts_nothing_until_it_is_configured_and_a_purge_leaves_nothing() {
    let test = "a_package_starts_nothing_until_it_is_configured_and_a_purge_leaves_nothing";
    if find_program("dpkg-deb").is_none() {
        return say_skipped(
            test,
            &"dpkg-deb is missing: only Debian and Ubuntu have packages",
        );
    }
    on_fresh_host(test, async |world, place, programs| {
        place.ask("ufw allow 22/tcp; ufw --force enable");
        let before = place.look();

        install_package(place, programs);
        configure(place);
        extras::filter_by_ufw(world, place).await;
        extras::tell_file_actors(place).await;
        upgrade_package(place, programs);
        remove_and_purge(place, &before);
    });
}

fn install_package(place: &Place, programs: &Programs) {
    programs.pack(&place.host.path("/root/agent.deb"));

    let said = place.ask("dpkg -i agent.deb");

    assert!(said.contains("is not configured"), "{said}");
    let state = place.run("systemctl is-enabled hidps-agent; systemctl is-active hidps-agent");
    assert_eq!(state.said, "enabled\ninactive\n");
    assert_eq!(
        place.ask("stat -c '%a %U %s' /etc/hidps/token"),
        "600 root 0\n"
    );
    // Somebody who starts it all the same is told, once.
    let started = place.run("systemctl start hidps-agent; systemctl show -p NRestarts,ExecMainStatus hidps-agent; systemctl reset-failed hidps-agent");
    assert!(started.said.contains("NRestarts=0"), "{}", started.said);
    assert!(
        started.said.contains("ExecMainStatus=78"),
        "{}",
        started.said
    );
}

fn configure(place: &Place) {
    let ran = place.install("", &format!("--agent-id {}", place.agent_id));

    assert_eq!(ran.code, Some(0), "{}{}", ran.said, place.log());
    assert!(!place.host.path("/usr/local/bin/hidps-agent").exists());
    assert!(
        !place
            .host
            .path("/etc/systemd/system/hidps-agent.service")
            .exists()
    );
    assert!(
        ran.said.contains("the agent filters by it, as root"),
        "{}",
        ran.said
    );
    let again = place.install("", &format!("--agent-id {}", place.agent_id));
    assert!(again.said.contains("nothing changed"), "{}", again.said);
    for wrong in ["--uninstall", "--upgrade"] {
        let refused = place.install("", wrong);
        assert_eq!(refused.code, Some(8), "{}", refused.said);
        assert!(refused.said.contains("apt-get"), "{}", refused.said);
    }
}

fn upgrade_package(place: &Place, programs: &Programs) {
    let (process, configuration) = (place.process(), place.ask("cat /etc/hidps/agent.toml"));
    programs.renew();
    programs.pack(&place.host.path("/root/agent.deb"));

    place.ask("dpkg -i agent.deb");

    assert_ne!(place.process(), process, "the new one runs");
    place.ask("systemctl is-active hidps-agent");
    assert_eq!(place.ask("cat /etc/hidps/agent.toml"), configuration);
    let installed = fs::read(place.host.path("/usr/bin/hidps-agent")).expect("read");
    assert!(installed == fs::read(programs.program()).expect("read"));
}

fn remove_and_purge(place: &Place, before: &[String]) {
    // As dpkg calls it, of what the agent cannot put back because it does not understand how it was.
    let said = place.ask(
        "cd /etc/ufw; cp -p hidps-found.json /root; echo {} >hidps-found.json
         /var/lib/dpkg/info/hidps-agent.prerm remove; cp -p /root/hidps-found.json .",
    );
    assert!(said.contains("ufw is not as it was before it"), "{said}");

    let said = place.ask("dpkg -r hidps-agent");

    assert!(!said.contains("ufw is not as it was"), "{said}");

    assert!(!place.host.path("/usr/bin/hidps-agent").exists());
    assert!(place.host.path("/etc/hidps/agent.toml").exists());
    assert!(place.host.path("/var/lib/hidps-agent/agent.key").exists());
    // As `install.sh --client-cert` puts them there, and what a run of it that was ended leaves.
    place.ask(
        "drop_ins=/etc/systemd/system/hidps-agent.service.d; mkdir -p $drop_ins
         touch /etc/hidps/agent.crt /etc/hidps/agent.crt.key /etc/hidps/agent.crt.key.hidps-previous
         touch /etc/hidps/agent.toml.hidps-absent /etc/hidps/token.hidps-new
         touch /etc/hidps/ca.pem.hidps-copy $drop_ins/ufw.conf.hidps-absent
         touch /etc/systemd/system/hidps-agent.hidps-begun; dpkg -P hidps-agent",
    );
    assert_eq!(difference(before, &place.look()), Vec::<String>::new());
}
