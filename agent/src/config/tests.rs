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
    assert_eq!(config.firewall, FirewallMode::Auto);
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
    check(r#"firewall is "on"; it must be "auto" or "nftables" or "ufw" or "observe""#);
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
fn a_fault_moves_no_cursor_whatever_it_quotes() {
    let faults = faults("\"a\\u001bb\" = 1\nproxy = \"\\u202e\"");

    assert!(
        faults.iter().any(|fault| fault.starts_with("a\u{fffd}b")),
        "{faults:?}"
    );
    let has_misleading = |fault: &String| fault.contains(hidps_wire::is_misleading);
    assert!(!faults.iter().any(has_misleading), "{faults:?}");
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

/// The proxy of a daemon at this address.
fn proxy_of(url: &str, settings: &str, env: &[(&str, &str)]) -> Option<String> {
    let text = format!("agent_id = \"{ID}\"\nbackend_url = \"{url}\"\n{settings}");
    let read = |wanted: &str| {
        let found = env.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::parse(&text, read).unwrap();
    config.proxy.map(|proxy| proxy.hop().to_string())
}

#[test]
fn the_proxy_of_the_environment_is_used_unless_the_file_or_an_exception_says_otherwise() {
    let check = |settings: &str, env: &[(&str, &str)], expected: Option<&str>| {
        let found = proxy_of("https://hub.example:8443", settings, env);

        assert_eq!(found.as_deref(), expected, "{settings} {env:?}");
    };
    let named = ("HTTPS_PROXY", "http://me:secret@upper.example:3128");

    check("", &[], None);
    check("", &[named], Some("upper.example:3128"));
    check(
        "",
        &[named, ("https_proxy", "lower.example")],
        Some("lower.example:80"),
    );
    check("", &[named, ("NO_PROXY", "localhost,.example")], None);
    check(
        "",
        &[named, ("no_proxy", "a"), ("NO_PROXY", "*")],
        Some("upper.example:3128"),
    );
    check("proxy = \"none\"", &[named], None);
    check(
        "proxy = \"own.example:1\"",
        &[named, ("NO_PROXY", "*")],
        Some("own.example:1"),
    );
    check("", &[("HTTP_PROXY", "http://plain.example")], None);
}

#[test]
fn a_proxy_of_the_environment_is_for_encrypted_connections() {
    let env = [("HTTPS_PROXY", "http://upper.example:3128")];

    assert_eq!(proxy_of("http://127.0.0.1:1", "", &env), None);
    let own = proxy_of("http://127.0.0.1:1", "proxy = \"own.example:1\"", &env);
    assert_eq!(own.as_deref(), Some("own.example:1"));
}

#[test]
fn faults_of_pins_and_proxies_are_told_without_a_password() {
    let text = format!(
        "agent_id = \"{ID}\"\nbackend_url = \"http://127.0.0.1\"\n\
         pinned_keys = [\"sha256//short\"]\nproxy = \"http://me:hunter2@proxy.example\""
    );
    let in_file = faults(&text).join("\n");
    let text = format!("agent_id = \"{ID}\"\nbackend_url = \"https://hub.example\"");
    let env = |name: &str| (name == "https_proxy").then(|| "socks5://me:hunter2@x".to_owned());
    let in_environment = Config::parse(&text, env).unwrap_err().0.join("\n");

    for words in [
        "pinned_keys has \"sha256//short\", which is not sha256//",
        "pinned_keys needs a backend_url that begins with https://",
        "name it in proxy_credentials_file",
    ] {
        assert!(in_file.contains(words), "{words}: {in_file}");
    }
    assert!(
        in_environment.contains("https_proxy begins with socks5://"),
        "{in_environment}"
    );
    assert!(!in_file.contains("hunter2") && !in_environment.contains("hunter2"));
}

#[test]
fn a_client_certificate_has_two_files_and_needs_tls() {
    let with = |url: &str, more: &str| {
        let text = format!("agent_id = \"{ID}\"\nbackend_url = \"{url}\"\n{more}");
        Config::parse(&text, |_| None)
    };
    let said = |url: &str, more: &str| with(url, more).unwrap_err().0.join("\n");
    let both = "client_cert = \"/c.pem\"\nclient_key = \"/k.pem\"";

    let client = with("https://hub.example", both).unwrap().way().client;

    assert_eq!(client.unwrap().key, Path::new("/k.pem"));
    assert!(said("http://127.0.0.1", both).contains("client_cert needs a backend_url"));
    let alone = said("https://hub.example", "client_cert = \"/c.pem\"");
    assert!(alone.contains("client_key is missing"), "{alone}");
    let alone = said("https://hub.example", "client_key = \"/k.pem\"");
    assert!(alone.contains("client_cert is missing"), "{alone}");
}
