//! What `doctor` and `desired` say as programs, of hosts that lack what the agent needs.
//! Each host is a namespace of mounts that ends with its test.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use hidps_lab::command::{CommandError, run};
use hidps_lab::say_skipped;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;

use crate::harness::{AGENT_ID, AgentHome, document};
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon};

/// A host without nft, watches, a journal it may read, or privileges.
const AILING_HOST: &str = include_str!("ailing_host.sh");

/// What such a host is configured to have.
const INSISTING: &str = "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
     backend_url = \"http://127.0.0.1:9\"\nallow_plaintext = true\nfirewall = \"nftables\"\n\
     processes = \"connector\"\naudit = \"on\"\n";

/// What a doctor says as JSON, who ends with 1 when something is wrong.
fn diagnose(command: Command) -> Result<Value, CommandError> {
    match run(command, DEADLINE) {
        Ok(well) => {
            let shown: Value = serde_json::from_slice(&well.stdout).unwrap();
            assert_eq!(shown["well"], true, "{shown}");
            Ok(shown)
        }
        Err(CommandError::Failed { status, stdout, .. }) if stdout.starts_with('{') => {
            let shown: Value = serde_json::from_str(&stdout).unwrap();
            assert_eq!((status.code(), &shown["well"]), (Some(1), &false.into()));
            Ok(shown)
        }
        Err(error) => Err(error),
    }
}

/// What a doctor finds on a host that ails, whose state is on such a disk.
fn diagnose_ailing(disk: &str, place: &Path) -> Result<Value, CommandError> {
    let config = place.join("agent.toml");
    let text = format!("{INSISTING}state_dir = {:?}\n", place.join("state"));
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private"]);
    command.args(["sh", "-c", AILING_HOST]).arg(place).arg(disk);
    command.arg(env!("CARGO_BIN_EXE_hidps-agent"));
    command.args(["doctor", "--json", "--config"]).arg(config);
    diagnose(command)
}

/// Asserts that a check failed, with these words, and this cure.
fn assert_ails(shown: &Value, name: &str, words: &str, fix: &str) {
    let finding = find(shown, name);
    assert_eq!(finding["ok"], false, "{finding}");
    let found = finding["found"].as_str().unwrap();
    assert!(found.contains(words), "{words}: {finding}");
    assert_eq!(finding["fix"], fix, "{finding}");
}

fn find<'s>(shown: &'s Value, name: &str) -> &'s Value {
    let mut checks = shown["checks"].as_array().unwrap().iter();
    let found = checks.find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("{name} was not looked at: {shown}"))
}

/// The names of a JSON object.
fn names(object: &Value) -> Vec<&String> {
    object.as_object().unwrap().keys().collect()
}

#[test]
fn each_thing_a_host_lacks_is_told_with_its_own_cure() {
    let test = "each_thing_a_host_lacks_is_told_with_its_own_cure";
    let place = tempfile::tempdir().unwrap();
    let shown = match diagnose_ailing("size=1m", place.path()) {
        Err(missing) if missing.tells_of_missing() => return say_skipped(test, &missing),
        shown => shown.unwrap(),
    };

    let state = place.path().join("state");
    let free = format!("MiB are free for {}", state.display());
    for (name, words, fix) in [
        (
            "firewall",
            "nft",
            "install nftables, or set firewall = \"observe\"",
        ),
        (
            "inotify",
            "fs.inotify.max_user_watches is 7, which is not enough",
            "run: sysctl fs.inotify.max_user_watches=8192",
        ),
        (
            "instances",
            "fs.inotify.max_user_instances is 7, which is not enough",
            "run: sysctl fs.inotify.max_user_instances=16",
        ),
        (
            "disk",
            &free,
            "free some space, or the last state is not kept",
        ),
        (
            "journal",
            "it cannot be read: Permission denied",
            "log files take its place; give the agent CAP_DAC_READ_SEARCH, as its unit does",
        ),
        (
            "audit",
            "audit",
            "start the agent by its unit, which gives it CAP_AUDIT_READ, or set audit = \"auto\"",
        ),
        (
            "processes",
            "the process connector",
            "or set processes = \"auto\"",
        ),
        (
            "privileges",
            "change the firewall (CAP_NET_ADMIN)",
            "start it by its unit: systemctl start hidps-agent",
        ),
        (
            "backend",
            "could not connect to 127.0.0.1:9",
            "check backend_url, whether the daemon runs, and firewalls on the way",
        ),
    ] {
        assert_ails(&shown, name, words, fix);
    }
    let golden: Value = serde_json::from_str(include_str!("../golden/doctor.json")).unwrap();
    assert_eq!(names(&shown), names(&golden));
    assert_eq!(names(find(&shown, "disk")), names(&golden["checks"][0]));
}

#[test]
fn a_disk_that_takes_nothing_is_told_with_its_cure() {
    let test = "a_disk_that_takes_nothing_is_told_with_its_cure";
    let place = tempfile::tempdir().unwrap();
    let shown = match diagnose_ailing("ro", place.path()) {
        Err(missing) if missing.tells_of_missing() => return say_skipped(test, &missing),
        shown => shown.unwrap(),
    };

    let fix = "mount it writable; dmesg says why it is not";
    assert_ails(&shown, "disk", "is mounted read-only", fix);
}

/// A server of TLS on a port of loopback, whose certificate nobody vouches for.
fn serve_unknown_authority() -> u16 {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Whoever does not trust it ends the handshake.
            session.complete_io(&mut stream.unwrap()).ok();
        }
    });
    port
}

/// A server of HTTP that knows no TLS, on a port of loopback.
fn serve_plaintext() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1_000];
            let _n = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
        }
    });
    port
}

/// What a doctor finds on the way to a daemon at this port, which is to speak TLS.
fn diagnose_tls(port: u16) -> Value {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("agent.toml");
    let text = format!(
        "agent_id = \"{AGENT_ID}\"\nbackend_url = \"https://localhost:{port}\"\n\
         firewall = \"observe\"\nstate_dir = {:?}\n",
        place.path().join("state"),
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hidps-agent"));
    command.args(["doctor", "--json", "--config"]).arg(config);
    diagnose(command).unwrap()
}

#[test]
fn a_certificate_of_an_unknown_authority_and_a_server_without_tls_have_cures_of_their_own() {
    let unknown = diagnose_tls(serve_unknown_authority());
    let plaintext = diagnose_tls(serve_plaintext());

    let fix = "if the certificate is from an authority of your own, name its file in ca_file; \
               check that it is for the name in backend_url and not expired";
    assert_ails(&unknown, "tls", "invalid peer certificate", fix);
    let fix = "check that backend_url leads to hidpsd with TLS";
    assert_ails(&plaintext, "tls", "could not agree on TLS", fix);
}

#[test]
fn desired_as_json_is_what_was_accepted() {
    let daemon = ScriptedDaemon::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let home = AgentHome::observing(daemon.address());
    let desired = || -> Value {
        let mut command = home.command("desired");
        command.arg("--json");
        serde_json::from_slice(&run(command, DEADLINE).unwrap().stdout).unwrap()
    };
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);

    let before = desired();
    let paths = [home.path(), Path::new("../x")];
    connection.apply(4, "four", document(None, &paths));
    connection.status_of(4);
    let after = desired();

    assert_eq!(before["agent_id"], AGENT_ID);
    assert!(before["accepted"].is_null() && before["missing"].is_string());
    assert!(after["missing"].is_null(), "{after}");
    let accepted = &after["accepted"];
    assert_eq!(accepted["generation"], 4);
    assert_eq!(accepted["hash"], "four");
    let watched = &accepted["document"]["monitored_files"];
    assert_eq!(watched[0], home.path().to_str().unwrap());
    assert_eq!(accepted["refused"][0]["path"], "../x");
    assert_eq!(accepted["firewall"], "unmanaged");
    assert_eq!(accepted["on_trial"], false);
    let golden: Value = serde_json::from_str(include_str!("../golden/desired.json")).unwrap();
    assert_eq!(names(&after), names(&golden));
    assert_eq!(names(accepted), names(&golden["accepted"]));
}
