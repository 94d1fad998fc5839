//! Every fault of a configuration is named at once, and secrets stay out of what is printed.

use super::{AgentHttp, Config, Fault, Source};

const GOOD: &[(&str, &str)] = &[
    ("SUPABASE_URL", "https://ref.supabase.co"),
    ("SUPABASE_SECRET_KEY", "sb_secret_abc"),
    ("SUPABASE_PUBLISHABLE_KEY", "sb_publishable_abc"),
];

fn load(changes: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
    let pairs = GOOD.iter().chain(changes);
    let environment = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(&Source::new(environment, None).expect("no file is read"))
}

fn check(changes: &[(&str, &str)], expected: &[&str]) {
    let faults = load(changes).expect_err("the configuration is faulty");

    let found: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (fault, expected) in found.iter().zip(expected) {
        assert!(
            fault.contains(expected),
            "{fault:?} does not say {expected:?}"
        );
    }
}

#[test]
fn three_settings_are_enough() {
    let config = load(&[]).expect("the defaults cover the rest");

    assert_eq!(config.listen.len(), 1);
    assert!(config.mail.is_none());
}

#[test]
fn every_fault_is_reported_at_once() {
    check(
        &[
            ("SUPABASE_URL", "ref.supabase.co"),
            ("SUPABASE_SECRET_KEY", ""),
            ("HIDPS_LISTEN", "localhost"),
            ("HIDPS_LOG_FORMAT", "xml"),
        ],
        &[
            "SUPABASE_URL",
            "SUPABASE_SECRET_KEY is missing",
            "HIDPS_LISTEN",
            "HIDPS_LOG_FORMAT",
        ],
    );
}

#[test]
fn a_publishable_key_is_refused_where_the_secret_one_belongs() {
    check(
        &[("SUPABASE_SECRET_KEY", "sb_publishable_abc")],
        &["SUPABASE_SECRET_KEY is a publishable key; the daemon needs the project's secret key"],
    );
}

#[test]
fn a_legacy_anon_key_is_refused_where_the_secret_one_belongs() {
    // {"role":"anon"} between two other parts
    check(
        &[("SUPABASE_SECRET_KEY", "e30.eyJyb2xlIjoiYW5vbiJ9.c2ln")],
        &["is a publishable key"],
    );
}

#[test]
fn a_misspelt_setting_is_named() {
    check(
        &[("HIDPS_LISTN", "127.0.0.1:1")],
        &["HIDPS_LISTN is not a setting"],
    );
}

#[test]
fn half_a_tls_identity_is_refused() {
    check(
        &[("HIDPS_TLS_CERT", "/c.pem")],
        &["HIDPS_TLS_KEY is missing beside"],
    );
}

#[test]
fn certificates_of_agents_are_asked_for_only_where_tls_ends() {
    check(
        &[("HIDPS_AGENT_CLIENT_CA", "/agents.pem")],
        &["HIDPS_AGENT_CLIENT_CA needs HIDPS_TLS_CERT"],
    );
}

#[test]
fn a_mail_server_needs_a_sender() {
    check(
        &[("HIDPS_SMTP_URL", "smtp://127.0.0.1:25")],
        &["HIDPS_MAIL_FROM is missing"],
    );
}

#[test]
fn secrets_are_masked_and_may_come_from_files() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("key");
    std::fs::write(&path, "sb_secret_from_file\n").expect("the file can be written");
    let environment = [(
        "SUPABASE_SECRET_KEY_FILE".to_owned(),
        path.display().to_string(),
    )];

    let source = Source::new(environment, None).expect("no TOML file is read");

    let key = source
        .get("SUPABASE_SECRET_KEY")
        .expect("the file can be read");
    assert_eq!(key.as_deref(), Some("sb_secret_from_file"));
    let printed = format!("{:?}", source.effective());
    assert!(!printed.contains("sb_secret_from_file"), "{printed}");
}

#[test]
fn a_file_gives_what_the_environment_leaves_open() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("hidps.toml");
    std::fs::write(
        &path,
        "resync_secs = 30\nlisten = \"127.0.0.1:1\"\ncolour = \"red\"\n",
    )
    .expect("the file can be written");
    let environment = [("HIDPS_LISTEN".to_owned(), "127.0.0.1:2".to_owned())];

    let source = Source::new(environment, Some(&path)).expect("the file is TOML");

    assert_eq!(
        source.get("HIDPS_LISTEN").expect("set").as_deref(),
        Some("127.0.0.1:2")
    );
    assert_eq!(
        source.get("HIDPS_RESYNC_SECS").expect("set").as_deref(),
        Some("30")
    );
    assert!(
        source
            .unknown()
            .iter()
            .any(|fault| fault.problem.contains("colour"))
    );
}

#[test]
fn plaintext_that_others_can_reach_needs_to_be_allowed() {
    check(
        &[("HIDPS_LISTEN", "0.0.0.0:8443")],
        &["HIDPS_LISTEN has 0.0.0.0:8443"],
    );
    load(&[
        ("HIDPS_LISTEN", "0.0.0.0:8443"),
        ("HIDPS_ALLOW_PLAINTEXT", "true"),
    ])
    .expect("somebody said that they know");
}

#[test]
fn a_public_address_that_a_script_could_run_is_refused() {
    for text in [
        "hidps.example.org",
        "http://hidps.example.org",
        "https://x/';reboot;'",
        "https://x/$(reboot)",
        "https://me@x",
    ] {
        check(
            &[("HIDPS_PUBLIC_URL", text)],
            &["HIDPS_PUBLIC_URL is not a plain"],
        );
    }
    let config = load(&[("HIDPS_PUBLIC_URL", "https://hidps.example.org/x/")]).expect("plain");
    assert_eq!(
        config.public_url.as_deref(),
        Some("https://hidps.example.org/x")
    );
}

#[test]
fn the_public_address_and_the_names_that_are_listed_are_the_daemons_own() {
    let anybodys = load(&[]).expect("the defaults cover the rest").agent_hosts;
    assert!(anybodys.is_anybodys());
    let config = load(&[
        ("HIDPS_PUBLIC_URL", "https://hidps.example.org:8443/x/"),
        ("HIDPS_AGENT_HOSTS", "hidps.internal, 10.0.0.5:8443"),
    ]);
    let hosts = config.expect("they are names").agent_hosts;
    for own in ["hidps.example.org:8443", "hidps.internal", "10.0.0.5:8443"] {
        assert!(hosts.takes(own, None), "{own}");
    }
    assert!(!hosts.takes("hidps.example.org", None));
    check(
        &[("HIDPS_AGENT_HOSTS", "hidps.internal,https://x")],
        &["HIDPS_AGENT_HOSTS has \"https://x\""],
    );
}

#[test]
fn a_key_in_the_place_of_another_is_refused_at_start() {
    // {"role":"service_role"} between two other parts
    let legacy_secret = "e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln";
    for (name, value, why) in [
        (
            "SUPABASE_PUBLISHABLE_KEY",
            "sb_secret_abc",
            "is a secret key",
        ),
        ("SUPABASE_PUBLISHABLE_KEY", legacy_secret, "is a secret key"),
        ("SUPABASE_SECRET_KEY", "hidps_abc_def", "is neither an sb_"),
        (
            "SUPABASE_JWT_SECRET",
            "sb_secret_abcdefghijklmnopqrstuvwxyz",
            "is an API key",
        ),
        ("SUPABASE_JWT_SECRET", legacy_secret, "is an API key"),
        ("SUPABASE_JWT_SECRET", "short", "is shorter than 32 bytes"),
    ] {
        check(&[(name, value)], &[&format!("{name} {why}")]);
    }
}

#[test]
fn legacy_keys_are_taken_each_in_its_place() {
    // {"role":"anon"} and {"role":"service_role"}
    load(&[
        ("SUPABASE_PUBLISHABLE_KEY", "e30.eyJyb2xlIjoiYW5vbiJ9.c2ln"),
        (
            "SUPABASE_SECRET_KEY",
            "e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln",
        ),
    ])
    .expect("they are what they should be");
}

#[test]
fn tokens_are_those_of_the_project_unless_somebody_says_otherwise() {
    let tokens = load(&[]).expect("the defaults cover it").tokens;
    assert_eq!(tokens.issuer, "https://ref.supabase.co/auth/v1");
    assert_eq!(tokens.audience, "authenticated");
    assert!(tokens.secret.is_none());

    let tokens = load(&[
        ("HIDPS_JWT_ISSUER", "https://auth.acme.test/auth/v1/"),
        ("HIDPS_JWT_AUDIENCE", "acme"),
        ("SUPABASE_JWT_SECRET", "a secret that is long enough for it"),
    ])
    .expect("all is well")
    .tokens;
    assert_eq!(tokens.issuer, "https://auth.acme.test/auth/v1");
    assert_eq!(tokens.audience, "acme");
    assert!(tokens.secret.is_some());
}

#[test]
fn only_origins_as_browsers_write_them_are_taken() {
    let listed = "https://console.acme.test, http://localhost:5173/";
    let config = load(&[("HIDPS_ALLOWED_ORIGINS", listed)]).expect("two origins");
    let expected = ["https://console.acme.test", "http://localhost:5173"];
    assert_eq!(config.allowed_origins, expected);
    assert!(
        load(&[])
            .expect("none is needed")
            .allowed_origins
            .is_empty()
    );

    for bad in [
        "*",
        "null",
        "console.acme.test",
        "https://acme.test/app",
        "https://*.acme.test",
        "ftp://acme.test",
        "https://me@acme.test",
    ] {
        check(
            &[("HIDPS_ALLOWED_ORIGINS", bad)],
            &["is not an origin such as"],
        );
    }
}

#[test]
fn the_older_ways_are_closed_and_none_opens_without_tokens() {
    let closed = load(&[]).expect("the defaults cover it").agent_http;
    assert_eq!(closed, AgentHttp::default());
    let open = load(&[("HIDPS_HTTP_TOKEN", "true"), ("HIDPS_HTTP_DESIRED", "true")]);
    let open = open.expect("two of them").agent_http;
    assert!(open.token && open.desired && !open.events);

    for alone in ["HIDPS_HTTP_EVENTS", "HIDPS_HTTP_DESIRED"] {
        check(&[(alone, "true")], &["HIDPS_HTTP_TOKEN must be true"]);
    }
}
