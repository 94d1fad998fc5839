//! What a configuration may say and how its faults are told.

use super::*;

const ID: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

fn no_env(_: &str) -> Option<String> {
    None
}

fn faults(text: &str) -> Vec<String> {
    Config::parse(text, no_env).unwrap_err().0
}

#[test]
fn two_settings_are_enough() {
    let text = format!("agent_id = \"{ID}\"\nbackend_url = \"https://hub.example\"");

    let config = Config::parse(&text, no_env).unwrap();

    assert_eq!(config.agent_id.to_string(), ID);
    assert_eq!(config.firewall, FirewallMode::Nftables);
    assert_eq!(config.keep_open, BTreeSet::from([Port::SSH]));
    assert_eq!(config.cadence.usage, Duration::from_secs(30));
    assert_eq!(config.confirm_within, Some(Duration::from_secs(30)));
    assert_eq!(config.state_dir, Path::new(DEFAULT_STATE_DIR));
}

#[test]
fn the_environment_goes_before_the_file() {
    let env = |name: &str| match name {
        "HIDPS_AGENT_ID" => Some(ID.to_owned()),
        "HIDPS_BACKEND_URL" => Some("http://127.0.0.1:9".to_owned()),
        "HIDPS_STATE_DIR" => Some("/tmp/state".to_owned()),
        "HIDPS_TOKEN" => Some(" secret\n".to_owned()),
        _ => None,
    };

    let config = Config::parse("backend_url = \"https://other.example\"", env).unwrap();

    assert_eq!(config.backend.to_string(), "http://127.0.0.1:9");
    assert_eq!(config.state_dir, Path::new("/tmp/state"));
    assert_eq!(
        config.token.value.as_ref().map(Token::expose),
        Some("secret")
    );
}

#[test]
fn a_token_is_never_printed() {
    let token = Token::new("very-secret");

    assert!(!format!("{token:?}").contains("very-secret"));
}

#[test]
fn every_fault_is_told_at_once() {
    let text = r#"
        agent_id = "seven"
        backend_url = "http://hub.example"
        firewall = "on"
        keep_open = ["22/tcp", "ssh"]
        usage_interval_secs = 0
        confirm_secs = 1
        log_format = 7
        colour = "blue"
        [[log_file]]
        program = "sshd"
        [[log_file]]
        path = "relative.log"
        pat = "typo"
    "#;

    let faults = faults(text);

    let check = |wanted: &str| {
        assert!(
            faults.iter().any(|f| f.contains(wanted)),
            "{wanted}: {faults:#?}"
        );
    };
    check("agent_id is \"seven\"");
    check("backend_url speaks plaintext to hub.example");
    check("firewall is \"on\"; it must be \"nftables\" or \"observe\"");
    check("keep_open has \"ssh\"");
    check("usage_interval_secs is 0; it must be a whole number from 1 to 3600");
    check("confirm_secs is 1; it must be a whole number from 5 to 600");
    check("log_format is 7");
    check("colour is not a setting");
    check("log_file number 1: path is missing");
    check("log_file number 2: path relative.log must begin with /");
    check("log_file number 2: pat is not a setting");
    assert_eq!(faults.len(), 11, "{faults:#?}");
}

#[test]
fn missing_settings_name_their_variable() {
    let faults = faults("");

    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults.iter().any(|f| f.contains("HIDPS_AGENT_ID")));
    assert!(faults.iter().any(|f| f.contains("HIDPS_BACKEND_URL")));
}

#[test]
fn a_fault_of_syntax_names_its_line() {
    let faults = faults("agent_id = \"x\"\nbackend_url = ");

    assert!(
        faults.iter().any(|f| f.starts_with("line 2 is not TOML")),
        "{faults:?}"
    );
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let error = Config::load(Path::new("/nonexistent/agent.toml"), no_env).unwrap_err();

    assert!(
        error
            .to_string()
            .contains("/nonexistent/agent.toml cannot be read")
    );
}

#[test]
fn the_example_shows_the_defaults() {
    let example = Config::parse(include_str!("../../agent.example.toml"), no_env).unwrap();

    let id = example.agent_id;
    let text = format!("agent_id = \"{id}\"\nbackend_url = \"{}\"", example.backend);
    let default = Config::parse(&text, no_env).unwrap();
    assert_eq!(example.logs.files.len(), 2);
    let shown = Config {
        logs: LogSettings {
            files: Vec::new(),
            ..example.logs
        },
        ..example
    };
    assert_eq!(format!("{shown:?}"), format!("{default:?}"));
}
