//! Checks of the way to the daemon: its name, the connection, TLS, and how far the clocks differ.
//! It sends one request that says nothing of who the agent is.

use std::io;
use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{DATE, HOST};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::Finding;
use crate::clock::{ClockOffset, parse_http_date};
use crate::config::Config;
use crate::dial::{DialError, Dialer, FirstHop, Stream};
use crate::error_chain::chain;

/// A name service that takes longer is as good as none.
const NAME_DEADLINE: Duration = Duration::from_secs(10);

/// The daemon answers at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The agent signs by the daemon's clock when its own is wrong; but the times of its events are the
/// host's.
const MAX_CLOCK_SECONDS: u64 = 30;

/// Every check of the way, as far as it leads.
pub(super) async fn check_backend(config: &Config) -> Vec<Finding> {
    let name = check_name(config).await;
    let mut findings = vec![name];
    let dialed = match Dialer::new(config.way()) {
        Ok(dialer) => dialer.dial().await,
        Err(error) => Err(error),
    };
    match dialed {
        Ok(stream) => {
            let through = config
                .proxy
                .as_ref()
                .map(|proxy| format!(" through {}", proxy.hop()));
            let through = through.unwrap_or_default();
            let found = format!("{} is reachable{through}", config.backend);
            findings.push(Finding::well("backend", found));
            findings.push(describe_tls(config));
            findings.push(check_clock(config, stream).await);
        }
        Err(error) => findings.push(describe_failure(&error)),
    }
    findings
}

async fn check_name(config: &Config) -> Finding {
    let name = "name";
    // A proxy looks up the daemon's name itself.
    let FirstHop { host, port } = config.way().first_hop();
    let setting = config.proxy.as_ref().map_or("backend_url", |_| "proxy");
    let fix = format!("check the name in {setting}, /etc/resolv.conf and /etc/hosts");
    let looked_up = tokio::net::lookup_host((host.as_str(), port));
    let looked_up = tokio::time::timeout(NAME_DEADLINE, looked_up);
    match looked_up.await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.map(|address| address.ip().to_string()).collect();
            Finding::well(name, format!("{host} is {}", addresses.join(", ")))
        }
        Ok(Err(error)) => Finding::wrong(name, format!("{host} has no address: {error}"), fix),
        Err(_) => {
            let seconds = NAME_DEADLINE.as_secs();
            let found = format!("nobody said within {seconds} s what address {host} has");
            Finding::wrong(name, found, fix)
        }
    }
}

fn describe_tls(config: &Config) -> Finding {
    if config.backend.tls() && !config.pins.is_empty() {
        Finding::well(
            "tls",
            "the daemon's certificate is trusted and its key is pinned",
        )
    } else if config.backend.tls() {
        Finding::well("tls", "the daemon's certificate is trusted")
    } else {
        Finding::well("tls", "not used: backend_url asks for plaintext")
    }
}

fn describe_failure(error: &DialError) -> Finding {
    let found = chain(error);
    match error {
        DialError::Tls { source, .. } => describe_tls_failure(found, source),
        DialError::NotPinned { .. } => Finding::wrong(
            "tls",
            found,
            "if the daemon's key was changed on purpose, put the new pin into pinned_keys beside \
             the old one",
        ),
        DialError::ClientFile { .. } | DialError::ClientIdentity(_) => Finding::wrong(
            "tls",
            found,
            "check that client_cert and client_key name PEM files that belong together and that the \
             agent's user can read",
        ),
        DialError::TlsDeadline { .. } => Finding::wrong(
            "tls",
            found,
            "check that backend_url leads to hidpsd with TLS",
        ),
        DialError::Proxy(_) => Finding::wrong(
            "proxy",
            found,
            "check proxy, proxy_credentials_file and HTTPS_PROXY, and whether the proxy lets \
             CONNECT through to the daemon's port",
        ),
        DialError::Name { .. } | DialError::NameDeadline { .. } => Finding::wrong(
            "backend",
            found,
            "check the name, /etc/resolv.conf and /etc/hosts",
        ),
        DialError::AuthorityFile { .. }
        | DialError::Authority { .. }
        | DialError::Authorities(_)
        | DialError::NoAuthority
        | DialError::ServerName { .. }
        | DialError::Setup(_) => Finding::wrong(
            "tls",
            found,
            "check ca_file and the package ca-certificates",
        ),
        DialError::Connect { .. } => Finding::wrong(
            "backend",
            found,
            "check backend_url, whether the daemon runs, and firewalls on the way",
        ),
        DialError::NoAnswer { .. } => Finding::wrong(
            "backend",
            found,
            "check firewalls on the way, and whether this network leads there; where only a proxy \
             does, set proxy",
        ),
    }
}

/// What mends a certificate mends no port that speaks no TLS.
fn describe_tls_failure(found: String, error: &io::Error) -> Finding {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let fix = match cause {
        Some(rustls::Error::InvalidMessage(_)) => "check that backend_url leads to hidpsd with TLS",
        _ => {
            "if the certificate is from an authority of your own, name its file in ca_file; check \
             that it is for the name in backend_url and not expired"
        }
    };
    Finding::wrong("tls", found, fix)
}

async fn check_clock(config: &Config, stream: Box<dyn Stream>) -> Finding {
    let name = "clock";
    let asked = tokio::time::timeout(ANSWER_DEADLINE, ask_time(config, stream));
    let Ok(Some(daemon)) = asked.await else {
        let found = "the daemon did not say what time it is";
        let fix = "check that backend_url leads to hidpsd and that no proxy removes Date";
        return Finding::wrong(name, found, fix);
    };
    let seconds = ClockOffset::between(daemon, Timestamp::now()).seconds();
    let found = match seconds {
        0 => "as the daemon's".to_owned(),
        behind @ 1.. => format!("{behind} s behind the daemon's"),
        ahead => format!("{} s ahead of the daemon's", ahead.unsigned_abs()),
    };
    if seconds.unsigned_abs() <= MAX_CLOCK_SECONDS {
        return Finding::well(name, found);
    }
    Finding::wrong(
        name,
        found,
        "turn on time synchronization: timedatectl set-ntp true",
    )
}

async fn ask_time(config: &Config, stream: Box<dyn Stream>) -> Option<Timestamp> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.ok()?;
    // The answer comes only while the connection is driven; dropping the set ends it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(config.backend.target("/"))
        .header(HOST, config.backend.host_header())
        .body(Empty::<Bytes>::new())
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    response
        .headers()
        .get(DATE)?
        .to_str()
        .ok()
        .and_then(parse_http_date)
}
