//! The list of settings: names, defaults and what each is for.
//! It never reads a value.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Name in the environment; in the TOML file the same in lower case without `HIDPS_`.
    pub name: &'static str,
    /// An older name in the environment that is still read.
    pub alias: Option<&'static str>,
    /// The value when nothing is set.
    pub default: Option<&'static str>,
    /// Whether its value is masked and may come from a file named by `<NAME>_FILE`.
    pub secret: bool,
    /// What it is for, and the reason for its default.
    pub purpose: &'static str,
}

impl Setting {
    /// The key in the TOML file.
    #[must_use]
    pub fn file_key(&self) -> String {
        self.name.trim_start_matches("HIDPS_").to_ascii_lowercase()
    }
}

const fn setting(name: &'static str, purpose: &'static str) -> Setting {
    Setting {
        name,
        alias: None,
        default: None,
        secret: false,
        purpose,
    }
}

/// Every setting the daemon knows.
pub const SETTINGS: &[Setting] = &[
    setting(
        "SUPABASE_URL",
        "base address of the project, such as https://ref.supabase.co",
    ),
    Setting {
        alias: Some("SUPABASE_SERVICE_ROLE_KEY"),
        secret: true,
        ..setting(
            "SUPABASE_SECRET_KEY",
            "the project's secret key (sb_secret_…)",
        )
    },
    Setting {
        alias: Some("SUPABASE_ANON_KEY"),
        secret: true,
        ..setting(
            "SUPABASE_PUBLISHABLE_KEY",
            "the project's publishable key; goes along when a viewer's access is checked",
        )
    },
    Setting {
        secret: true,
        ..setting(
            "SUPABASE_JWT_SECRET",
            "the shared secret that signs access tokens in projects without signing keys",
        )
    },
    setting(
        "HIDPS_JWT_ISSUER",
        "issuer of access tokens where it is not <SUPABASE_URL>/auth/v1",
    ),
    Setting {
        // What Supabase Auth writes for everybody who signed in.
        default: Some("authenticated"),
        ..setting("HIDPS_JWT_AUDIENCE", "audience of access tokens")
    },
    Setting {
        // Loopback, because without a certificate nothing else is safe.
        default: Some("127.0.0.1:8443"),
        ..setting(
            "HIDPS_LISTEN",
            "addresses to listen on, separated by commas",
        )
    },
    Setting {
        default: Some("false"),
        ..setting(
            "HIDPS_ALLOW_PLAINTEXT",
            "true where a proxy in front of the daemon speaks TLS",
        )
    },
    setting(
        "HIDPS_TRUSTED_PROXIES",
        "networks of proxies that are believed about who asks (X-Forwarded-For), such as 10.0.0.0/8",
    ),
    setting(
        "HIDPS_PUBLIC_URL",
        "address by which hosts reach the daemon, such as https://hidps.example.org; for install.sh",
    ),
    setting(
        "HIDPS_AGENT_HOSTS",
        "further names by which agents reach the daemon, separated by commas; what is signed for others is refused",
    ),
    setting(
        "HIDPS_AGENT_DIR",
        "directory of agent programs for new hosts, as cargo x dist makes it",
    ),
    setting("HIDPS_TLS_CERT", "PEM file with the certificate chain"),
    setting("HIDPS_TLS_KEY", "PEM file with the private key"),
    setting(
        "HIDPS_AGENT_CLIENT_CA",
        "PEM file with the authorities for the certificates that agents have to show; none without it",
    ),
    Setting {
        default: Some("/var/lib/hidps"),
        ..setting("HIDPS_STATE_DIR", "directory for the alert spool")
    },
    Setting {
        default: Some("/etc/hidps/detection-rules"),
        ..setting(
            "HIDPS_RULES_DIR",
            "directory of Sigma rules with their tests",
        )
    },
    setting(
        "HIDPS_RULE_PIPELINES_DIR",
        "directory of pySigma pipelines that rules are compiled with",
    ),
    setting(
        "HIDPS_RULE_PLACEHOLDERS",
        "YAML file that says what placeholders in rules (expand) stand for",
    ),
    Setting {
        secret: true,
        ..setting(
            "HIDPS_SMTP_URL",
            "mail server, such as smtps://user:password@mail.example.com",
        )
    },
    setting(
        "HIDPS_MAIL_FROM",
        "sender of alert mail, such as HIDPS <hidps@example.com>",
    ),
    Setting {
        default: Some("text"),
        ..setting("HIDPS_LOG_FORMAT", "text or json")
    },
    Setting {
        default: Some("info"),
        ..setting("HIDPS_LOG", "log filter, such as info,hidps=debug")
    },
    Setting {
        // Within the 30 to 60 s a lost hint may go unnoticed.
        default: Some("45"),
        ..setting(
            "HIDPS_RESYNC_SECS",
            "seconds between full comparisons with the database",
        )
    },
    Setting {
        // A feed that is silently dead is noticed within two of them.
        default: Some("5"),
        ..setting(
            "HIDPS_CANARY_SECS",
            "seconds between two canaries through the Realtime feed",
        )
    },
    Setting {
        // Every change that matters is heard at once; this is for the day it is not.
        default: Some("10"),
        ..setting(
            "HIDPS_ACCESS_RECHECK_SECS",
            "seconds between two checks that people may still see what they watch",
        )
    },
    setting(
        "HIDPS_ALLOWED_ORIGINS",
        "origins whose pages may use the daemon, separated by commas, such as https://console.example.org",
    ),
    Setting {
        default: Some("false"),
        ..setting(
            "HIDPS_READ_ONLY",
            "true where hosts are observed and alerted on, but sent no command",
        )
    },
    Setting {
        // Another way in is another way to attack; most fleets need none of the three.
        default: Some("false"),
        ..setting(
            "HIDPS_HTTP_TOKEN",
            "true where agents may fetch a short token (OAuth client credentials) for plain HTTP",
        )
    },
    Setting {
        default: Some("false"),
        ..setting(
            "HIDPS_HTTP_EVENTS",
            "true where agents without a WebSocket may post events and states",
        )
    },
    Setting {
        default: Some("false"),
        ..setting(
            "HIDPS_HTTP_DESIRED",
            "true where agents without a WebSocket may ask what is desired of them",
        )
    },
];
