//! Runs of the installer that somebody or something ends in their middle, and what the next one makes
//! of that. The runs that end by themselves are in `mod.rs`.

use super::place::{Place, Programs};
use super::{assert_removed, leftovers};

/// A first installation that was killed once the agent had started is one for good: a later program
/// that does not start takes nothing with it, whether the agent ran until then or not.
pub(super) fn keep_what_has_started(place: &Place, programs: &Programs) {
    let killed = "sed -i 's/^  drop_previous$/  kill -KILL $$/' install.sh;";
    let arguments = format!("--agent-id {}", place.agent_id);
    programs.restore();
    for meanwhile in ["true", "systemctl stop hidps-agent"] {
        place.ask("sh install.sh --uninstall");
        let ran = place.install(killed, &arguments);
        assert_ne!(ran.code, Some(0), "{}", ran.said);
        let left = leftovers(place);
        let is_left = left.contains("/hidps-agent.hidps-absent");
        assert!(is_left, "{left}: {}", ran.said);
        place.ask(
            "for n in $(seq 60); do hidps-agent status --check && exit 0; sleep 1; done; exit 1",
        );
        place.ask(meanwhile);
        programs.ruin();

        let ran = place.install("", "--upgrade");

        assert_eq!(ran.code, Some(11), "{}", ran.said);
        assert!(ran.said.contains("the old one is put back"), "{}", ran.said);
        place.ask("systemctl is-active hidps-agent && hidps-agent status");
        assert_eq!(leftovers(place), "");
        programs.restore();
    }
}

/// An upgrade is killed before anything is started with the new program, and the old agent goes on and
/// tells its status; when that one is gone, because somebody ended it or the host, the new one does not
/// start. Only what has started takes the place of what was there.
pub(super) fn put_back_what_has_never_started(place: &Place, programs: &Programs) {
    let before = place.ask("sha256sum /usr/local/bin/hidps-agent");
    let killed = "sed -i 's/^start_agent() {/&\\n  kill -KILL $$/' install.sh;";
    // The old one is gone and the new one tried in vain: once more and more, or until somebody ends it.
    let in_vain = "systemctl restart hidps-agent && exit 1;";
    for meanwhile in [in_vain, &format!("{in_vain} systemctl stop hidps-agent")] {
        programs.ruin();
        let ran = place.install(killed, "--upgrade");
        assert_ne!(ran.code, Some(0), "{}", ran.said);
        assert_ne!(place.ask("sha256sum /usr/local/bin/hidps-agent"), before);
        // As the agent does whenever it has something new to say.
        place.ask("touch /var/lib/hidps-agent/status.json");
        place.run(meanwhile);
        assert_ne!(place.run("systemctl is-active hidps-agent").code, Some(0));

        let ran = place.install("", "--upgrade");

        assert_eq!(ran.code, Some(11), "{}", ran.said);
        assert!(ran.said.contains("the old one is put back"), "{}", ran.said);
        assert_eq!(place.ask("sha256sum /usr/local/bin/hidps-agent"), before);
        place.ask("systemctl is-active hidps-agent");
        assert_eq!(leftovers(place), "");
    }
    programs.restore();
}

/// Somebody ends a first run when the agent is to start at every boot and nothing has started it.
pub(super) fn take_back_a_first_one(place: &Place) {
    let ended = "sed -i 's/^  systemctl daemon-reload$/  kill -TERM $$/' install.sh;";

    let ran = place.install(ended, &format!("--agent-id {}", place.agent_id));

    assert_eq!(ran.code, Some(143), "{}", ran.said);
    let unit = "put back: /usr/local/bin/hidps-agent /etc/systemd/system/hidps-agent.service";
    assert!(ran.said.contains(unit), "{}", ran.said);
    assert_removed(place);
}
