//! A client certificate that the installer puts into place for the agent: copied, shown in the
//! configuration, readable by the agent alone, renewed, and taken along by a purge.

use super::place::Place;

/// The agent's copies.
const CERTIFICATE: &str = "/etc/hidps/agent.crt";
const KEY: &str = "/etc/hidps/agent.crt.key";

/// Gives the agent a certificate, the same again, and a newer one.
pub(super) fn show_certificate(place: &Place) {
    issue(place);
    let arguments = format!(
        "--agent-id {} --client-cert own.crt --client-key own.key",
        place.agent_id
    );
    let configuration = place.ask("cat /etc/hidps/agent.toml");
    let planned = place.install("", &format!("{arguments} --dry-run"));
    let plan = format!("would install its key as {KEY}");
    assert!(planned.said.contains(&plan), "{}", planned.said);
    assert!(!place.host.path(KEY).exists(), "{}", planned.said);
    let install = |process: &str, is_new: bool| {
        let ran = place.install("", &arguments);

        assert_eq!(ran.code, Some(0), "{}{}", ran.said, place.log());
        assert_eq!(place.process() != process, is_new, "{}", ran.said);
        place.ask(&format!("cmp own.crt {CERTIFICATE}; cmp own.key {KEY}"));
        let modes = place.ask(&format!("stat -c '%a %U:%G' {CERTIFICATE} {KEY}"));
        assert_eq!(modes, "644 root:root\n640 root:hidps-agent\n");
    };

    install(&place.process(), true);
    install(&place.process(), false);
    issue(place);
    install(&place.process(), true);

    place.ask(&format!(
        "runuser -u hidps-agent -- cat {KEY}; ! runuser -u nobody -- cat {KEY}"
    ));
    let shown = format!("client_cert = \"{CERTIFICATE}\"\nclient_key = \"{KEY}\"\n");
    let written = place.ask("cat /etc/hidps/agent.toml");
    assert_eq!(written, format!("{shown}\n{configuration}"));
    refuse_where_another_is_configured(place, &arguments);
}

fn refuse_where_another_is_configured(place: &Place, arguments: &str) {
    place.ask("sed -i.own 's,agent.crt\",house.crt\",' /etc/hidps/agent.toml");

    let ran = place.install("", arguments);

    assert_eq!(ran.code, Some(8), "{}", ran.said);
    assert!(ran.said.contains("/etc/hidps/house.crt"), "{}", ran.said);
    place.ask("mv /etc/hidps/agent.toml.own /etc/hidps/agent.toml");
}

/// Makes a certificate for the agent with its key, as somebody would bring them.
fn issue(place: &Place) {
    let made = rcgen::generate_simple_self_signed([place.agent_id.clone()]).expect("a certificate");
    for (name, text) in [
        ("own.crt", made.cert.pem()),
        ("own.key", made.signing_key.serialize_pem()),
    ] {
        let path = place.host.path(&format!("/root/{name}"));
        std::fs::write(path, text).expect("written");
    }
}
