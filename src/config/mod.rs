//! Every setting of the daemon: its name, default and check, from the environment or a TOML file.
//! It never reports one fault at a time and never prints a secret.

mod agent_hosts;
mod settings;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

pub use agent_hosts::AgentHosts;
pub use settings::{SETTINGS, Setting};
pub use source::{Fault, Source};

/// The whole configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// The Supabase project.
    pub supabase: Supabase,
    /// What people's access tokens have to say.
    pub tokens: Tokens,
    /// Addresses to listen on, each for agents, viewers and health alike.
    pub listen: Vec<SocketAddr>,
    /// Certificate and key; plaintext without them.
    pub tls: Option<Tls>,
    /// Networks of proxies that are believed about who asks.
    pub trusted_proxies: Vec<IpNet>,
    /// The address by which hosts reach the daemon, without a slash at its end.
    pub public_url: Option<String>,
    /// The names by which agents may sign that they reach it.
    pub agent_hosts: AgentHosts,
    /// Directory of agent programs for new hosts.
    pub agent_dir: Option<PathBuf>,
    /// Directory for the alert spool.
    pub state_dir: PathBuf,
    /// Directory of Sigma rules and their tests.
    pub rules_dir: PathBuf,
    /// Directory of pipelines that rules are compiled with.
    pub rule_pipelines_dir: Option<PathBuf>,
    /// File that says what placeholders in rules stand for.
    pub rule_placeholders: Option<PathBuf>,
    /// Where alert mail goes; none means that no mail is sent.
    pub mail: Option<Mail>,
    /// How logs are written.
    pub log: Log,
    /// Time between full comparisons with the database.
    pub resync: Duration,
    /// Time between two canaries through the feed.
    pub canary: Duration,
    /// Time between two checks that people may still see what they watch.
    pub access_recheck: Duration,
    /// Origins whose pages may use the daemon.
    pub allowed_origins: Vec<String>,
    /// Whether hosts are only observed and no command is sent.
    pub read_only: bool,
    /// Which of the older ways are open to agents.
    pub agent_http: AgentHttp,
}

/// The older ways of agents, each open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentHttp {
    /// Tokens are given out, which the others ask for.
    pub token: bool,
    /// Events and states are taken.
    pub events: bool,
    /// What is desired is told.
    pub desired: bool,
}

/// Shortest shared secret of tokens, in bytes; Auth and PostgREST ask for as many.
const MIN_JWT_SECRET: usize = 32;

/// How to reach the Supabase project.
#[derive(Debug)]
pub struct Supabase {
    /// Base address, without a path.
    pub url: Url,
    /// `sb_secret_…` or a legacy service-role key.
    pub secret_key: SecretString,
    /// `sb_publishable_…` or a legacy anon key, sent along with a person's own token.
    pub publishable_key: SecretString,
}

/// What people's access tokens have to say.
#[derive(Debug)]
pub struct Tokens {
    /// Who issues them, without a slash at its end.
    pub issuer: String,
    /// For whom they are.
    pub audience: String,
    /// The shared secret that signs them in projects without signing keys.
    pub secret: Option<SecretString>,
}

/// Files of the TLS identity.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// PEM authorities that vouch for the certificates agents have to show; they show none without.
    pub client_ca: Option<PathBuf>,
}

/// How alert mail is sent.
#[derive(Debug)]
pub struct Mail {
    /// `smtp://` or `smtps://`, with user and password if the server wants them.
    pub smtp_url: SecretString,
    /// The sender, such as `HIDPS <hidps@example.com>`.
    pub from: String,
}

/// How logs are written.
#[derive(Debug, Clone)]
pub struct Log {
    /// One JSON object per line instead of text.
    pub json: bool,
    /// Filter in the syntax of `tracing`'s environment filter.
    pub filter: String,
}

impl Config {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// All faults at once, in the order of [`SETTINGS`].
    pub fn load(source: &Source) -> Result<Self, Vec<Fault>> {
        let mut faults = source.unknown();
        let mut read = Reader {
            source,
            faults: &mut faults,
        };
        let url = read.url("SUPABASE_URL");
        let secret_key = read.key("SUPABASE_SECRET_KEY", KeyKind::Secret);
        let publishable_key = read.key("SUPABASE_PUBLISHABLE_KEY", KeyKind::Publishable);
        let tokens = read.tokens(url.as_ref());
        let listen = read.addresses("HIDPS_LISTEN");
        let tls = read.tls();
        read.check_plaintext(listen.as_deref().unwrap_or_default(), tls.as_ref());
        let trusted_proxies = read.networks("HIDPS_TRUSTED_PROXIES");
        let mail = read.mail();
        let public_url = read.public_url();
        let agent_hosts = read.agent_hosts(public_url.as_deref());
        let agent_dir = read.optional("HIDPS_AGENT_DIR").map(PathBuf::from);
        let state_dir = read.text("HIDPS_STATE_DIR").map(PathBuf::from);
        let rules_dir = read.text("HIDPS_RULES_DIR").map(PathBuf::from);
        let pipelines = read.optional("HIDPS_RULE_PIPELINES_DIR");
        let placeholders = read.optional("HIDPS_RULE_PLACEHOLDERS");
        let log = read.log();
        let resync = read.seconds("HIDPS_RESYNC_SECS", 5..=3600);
        let canary = read.seconds("HIDPS_CANARY_SECS", 1..=60);
        let access_recheck = read.seconds("HIDPS_ACCESS_RECHECK_SECS", 1..=300);
        let allowed_origins = read.origins();
        let read_only = read.flag("HIDPS_READ_ONLY");
        let agent_http = read.agent_http();
        let complete = (|| {
            Some(Self {
                supabase: Supabase {
                    url: url?,
                    secret_key: secret_key?,
                    publishable_key: publishable_key?,
                },
                tokens: tokens?,
                listen: listen?,
                tls,
                trusted_proxies: trusted_proxies?,
                public_url,
                agent_hosts: agent_hosts?,
                agent_dir,
                state_dir: state_dir?,
                rules_dir: rules_dir?,
                rule_pipelines_dir: pipelines.map(PathBuf::from),
                rule_placeholders: placeholders.map(PathBuf::from),
                mail,
                log: log?,
                resync: resync?,
                canary: canary?,
                access_recheck: access_recheck?,
                allowed_origins: allowed_origins?,
                read_only: read_only?,
                agent_http: agent_http?,
            })
        })();
        complete.filter(|_| faults.is_empty()).ok_or(faults)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Secret,
    Publishable,
}

struct Reader<'a> {
    source: &'a Source,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn fault<T>(&mut self, name: &'static str, problem: impl Into<String>) -> Option<T> {
        self.faults.push(Fault {
            name: name.into(),
            problem: problem.into(),
        });
        None
    }

    fn optional(&mut self, name: &'static str) -> Option<String> {
        match self.source.get(name) {
            Ok(value) => value,
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        let before = self.faults.len();
        let value = self.optional(name);
        if value.is_none() && self.faults.len() == before {
            return self.fault(name, "is missing; set it in the environment or the file");
        }
        value
    }

    fn url(&mut self, name: &'static str) -> Option<Url> {
        let text = self.text(name)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            Ok(_) => self.fault(name, "must begin with http:// or https:// and name a host"),
            Err(error) => self.fault(name, format!("is not a URL: {error}")),
        }
    }

    fn key(&mut self, name: &'static str, wanted: KeyKind) -> Option<SecretString> {
        let text = self.text(name)?;
        let kind = match text.as_str() {
            key if key.starts_with("sb_secret_") => Some(KeyKind::Secret),
            key if key.starts_with("sb_publishable_") => Some(KeyKind::Publishable),
            key => legacy_role(key),
        };
        match (wanted, kind) {
            (_, None) => self.fault(name, "is neither an sb_… key nor a legacy JWT key"),
            (KeyKind::Secret, Some(KeyKind::Publishable)) => self.fault(
                name,
                "is a publishable key; the daemon needs the project's secret key (sb_secret_…)",
            ),
            (KeyKind::Publishable, Some(KeyKind::Secret)) => self.fault(
                name,
                "is a secret key; put the publishable key (sb_publishable_…) here",
            ),
            (KeyKind::Secret | KeyKind::Publishable, Some(_)) => Some(text.into()),
        }
    }

    /// The issuer is the project's Auth unless a self-hosted one has another name outside.
    fn tokens(&mut self, project: Option<&Url>) -> Option<Tokens> {
        let secret = self.jwt_secret();
        let audience = self.text("HIDPS_JWT_AUDIENCE")?;
        let issuer = self.optional("HIDPS_JWT_ISSUER");
        let of_project = || Some(project?.join("auth/v1").ok()?.to_string());
        Some(Tokens {
            issuer: issuer.or_else(of_project)?.trim_end_matches('/').to_owned(),
            audience,
            secret,
        })
    }

    fn jwt_secret(&mut self) -> Option<SecretString> {
        let name = "SUPABASE_JWT_SECRET";
        let text = self.optional(name)?;
        if text.starts_with("sb_") || legacy_role(&text).is_some() {
            let problem = "is an API key; it must be the project's JWT secret, or be left out where \
                           the project has signing keys";
            return self.fault(name, problem);
        }
        if text.len() < MIN_JWT_SECRET {
            let problem = "is shorter than 32 bytes; whoever guesses it can sign tokens";
            return self.fault(name, problem);
        }
        Some(text.into())
    }

    fn addresses(&mut self, name: &'static str) -> Option<Vec<SocketAddr>> {
        let text = self.text(name)?;
        let mut addresses = Vec::new();
        for part in text.split(',') {
            match part.trim().parse() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let problem =
                        format!("has {part:?}, which is not an address such as 0.0.0.0:8443");
                    return self.fault(name, problem);
                }
            }
        }
        Some(addresses)
    }

    fn networks(&mut self, name: &'static str) -> Option<Vec<IpNet>> {
        let text = self.optional(name).unwrap_or_default();
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let mut networks = Vec::new();
        for part in parts {
            let network = part.parse().ok();
            let address = || part.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            match network.or_else(address) {
                Some(network) => networks.push(network),
                None => {
                    let problem =
                        format!("has {part:?}, which is not a network such as 10.0.0.0/8");
                    return self.fault(name, problem);
                }
            }
        }
        Some(networks)
    }

    /// Written as browsers write them, so that they can be compared as text.
    fn origins(&mut self) -> Option<Vec<String>> {
        let name = "HIDPS_ALLOWED_ORIGINS";
        let text = self.optional(name).unwrap_or_default();
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let mut origins = Vec::new();
        for part in parts {
            let url = Url::parse(part).ok();
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            let origin = url.map(|url| url.origin().ascii_serialization());
            match origin
                .filter(|origin| origin == part.trim_end_matches('/') && !part.contains('*'))
            {
                Some(origin) => origins.push(origin),
                None => {
                    let problem = format!(
                        "has {part:?}, which is not an origin such as https://console.example.org"
                    );
                    return self.fault(name, problem);
                }
            }
        }
        Some(origins)
    }

    fn tls(&mut self) -> Option<Tls> {
        let client_ca = self.optional("HIDPS_AGENT_CLIENT_CA").map(PathBuf::from);
        let (certificate, key) = (
            self.optional("HIDPS_TLS_CERT"),
            self.optional("HIDPS_TLS_KEY"),
        );
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Tls {
                certificate: certificate.into(),
                key: key.into(),
                client_ca,
            }),
            (None, None) if client_ca.is_some() => self.fault(
                "HIDPS_AGENT_CLIENT_CA",
                "needs HIDPS_TLS_CERT and HIDPS_TLS_KEY: certificates are shown where TLS ends",
            ),
            (None, None) => None,
            (Some(_), None) => self.fault("HIDPS_TLS_KEY", "is missing beside HIDPS_TLS_CERT"),
            (None, Some(_)) => self.fault("HIDPS_TLS_CERT", "is missing beside HIDPS_TLS_KEY"),
        }
    }

    /// Without a certificate only this machine may connect, unless somebody says that they know.
    fn check_plaintext(&mut self, listen: &[SocketAddr], tls: Option<&Tls>) {
        let name = "HIDPS_ALLOW_PLAINTEXT";
        let Some(allowed) = self.flag(name) else {
            return;
        };
        let open = listen.iter().find(|address| !address.ip().is_loopback());
        if let (Some(open), None, false) = (open, tls, allowed) {
            let problem = format!(
                "has {open}, which others can reach, without TLS; set HIDPS_TLS_CERT and \
                 HIDPS_TLS_KEY, or {name}=true behind a proxy that speaks TLS"
            );
            self.fault::<()>("HIDPS_LISTEN", problem);
        }
    }

    /// It goes between quotes of a script that root runs, so only plain addresses are taken.
    fn public_url(&mut self) -> Option<String> {
        let name = "HIDPS_PUBLIC_URL";
        let text = self.optional(name)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:/_[]".contains(c);
        let is_good = Url::parse(&text).is_ok_and(|url| {
            let host = url.host_str().unwrap_or_default();
            let is_loopback = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
            url.has_host() && (url.scheme() == "https" || url.scheme() == "http" && is_loopback)
        });
        if is_good && text.chars().all(is_plain) {
            return Some(text.trim_end_matches('/').to_owned());
        }
        let problem = "is not a plain address such as https://hidps.example.org";
        self.fault(name, problem)
    }

    /// The name of the public address is one of them without being listed.
    fn agent_hosts(&mut self, public_url: Option<&str>) -> Option<AgentHosts> {
        let name = "HIDPS_AGENT_HOSTS";
        let text = self.optional(name).unwrap_or_default();
        let mut hosts = AgentHosts::default();
        public_url.inspect(|address| hosts.add_of(address));
        for part in text.split(',').map(str::trim) {
            if !part.is_empty() && !hosts.add(part) {
                let problem =
                    format!("has {part:?}, which is not a name such as hidps.example.org:8443");
                return self.fault(name, problem);
            }
        }
        Some(hosts)
    }

    fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.fault(name, "must be true or false"),
        }
    }

    /// Whoever asks shows a token, so that without tokens the others would be closed to everybody.
    fn agent_http(&mut self) -> Option<AgentHttp> {
        let token = self.flag("HIDPS_HTTP_TOKEN");
        let events = self.flag("HIDPS_HTTP_EVENTS");
        let desired = self.flag("HIDPS_HTTP_DESIRED");
        let open = AgentHttp {
            token: token?,
            events: events?,
            desired: desired?,
        };
        if (open.events || open.desired) && !open.token {
            let problem = "must be true beside HIDPS_HTTP_EVENTS or HIDPS_HTTP_DESIRED, which ask \
                           for a token";
            return self.fault("HIDPS_HTTP_TOKEN", problem);
        }
        Some(open)
    }

    fn mail(&mut self) -> Option<Mail> {
        let smtp_url = self.optional("HIDPS_SMTP_URL")?;
        let from = self.text("HIDPS_MAIL_FROM");
        if !smtp_url.starts_with("smtp://") && !smtp_url.starts_with("smtps://") {
            return self.fault("HIDPS_SMTP_URL", "must begin with smtp:// or smtps://");
        }
        let from = from?;
        if let Err(error) = from.parse::<lettre::message::Mailbox>() {
            return self.fault("HIDPS_MAIL_FROM", format!("is not a mail address: {error}"));
        }
        Some(Mail {
            smtp_url: smtp_url.into(),
            from,
        })
    }

    fn log(&mut self) -> Option<Log> {
        let format = self.text("HIDPS_LOG_FORMAT")?;
        let filter = self.text("HIDPS_LOG")?;
        if let Err(error) = filter.parse::<tracing_subscriber::filter::Targets>() {
            return self.fault("HIDPS_LOG", format!("is not a log filter: {error}"));
        }
        match format.as_str() {
            "json" => Some(Log { json: true, filter }),
            "text" => Some(Log {
                json: false,
                filter,
            }),
            _ => self.fault("HIDPS_LOG_FORMAT", "must be text or json"),
        }
    }

    fn seconds(
        &mut self,
        name: &'static str,
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Option<Duration> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(seconds) if allowed.contains(&seconds) => Some(Duration::from_secs(seconds)),
            _ => {
                let (low, high) = (allowed.start(), allowed.end());
                self.fault(
                    name,
                    format!("must be a whole number of seconds from {low} to {high}"),
                )
            }
        }
    }
}

/// The kind of a legacy key, read from its claims without trusting them: only to catch a mix-up.
fn legacy_role(key: &str) -> Option<KeyKind> {
    use base64::Engine as _;
    let claims = key
        .split('.')
        .nth(1)
        .filter(|_| key.split('.').count() == 3)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&json).ok()?;
    match claims.get("role")?.as_str()? {
        "service_role" => Some(KeyKind::Secret),
        "anon" => Some(KeyKind::Publishable),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
