//! The names by which agents reach the daemon, as they sign them in the `Host` header.
//! It never decides who an agent is.

use std::net::IpAddr;

use url::Url;

/// The names that are this daemon's own; without any, every name is taken for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentHosts(Vec<String>);

impl AgentHosts {
    /// Adds a name or an address, with a port if it has one; `false` when it is neither.
    pub(super) fn add(&mut self, text: &str) -> bool {
        let name = parse_name(text);
        let is_name = name.is_some();
        self.0.extend(name);
        is_name
    }

    /// These names alone.
    #[cfg(test)]
    pub(crate) fn of(names: &[&str]) -> Self {
        let mut hosts = Self::default();
        for name in names {
            assert!(hosts.add(name), "{name}");
        }
        hosts
    }

    /// Adds the name in an address that was checked already.
    pub(super) fn add_of(&mut self, address: &str) {
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        self.add(rest.split('/').next().unwrap_or_default());
    }

    /// Whether every name is taken for this daemon's.
    #[must_use]
    pub const fn is_anybodys(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what was signed for this `Host` header was meant for this daemon. This machine's own
    /// programs may name it as they like to call their own.
    #[must_use]
    pub fn takes(&self, host: &str, from: Option<IpAddr>) -> bool {
        let host = host.to_ascii_lowercase();
        let host = without_default_port(&host);
        let is_own = || from.is_some_and(|from| from.is_loopback()) && is_loopback_name(host);
        self.is_anybodys() || self.0.iter().any(|name| name == host) || is_own()
    }
}

/// A name as a `Host` header has it.
fn parse_name(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:_[]".contains(c);
    if !text.chars().all(is_plain) {
        return None;
    }
    let url = Url::parse(&format!("https://{text}")).ok()?;
    let host = url.host_str()?;
    let name = url.port().map(|port| format!("{host}:{port}"));
    let name = name.as_deref().unwrap_or(host);
    Some(without_default_port(name).to_owned())
}

/// Clients leave the usual port out, or do not.
fn without_default_port(host: &str) -> &str {
    let plain = host.strip_suffix(":443").or(host.strip_suffix(":80"));
    plain.unwrap_or(host)
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    name == "localhost" || is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELSEWHERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)));

    #[test]
    fn a_name_is_taken_as_it_is_listed_and_no_other() {
        let hosts = AgentHosts::of(&["HIDPS.example", "10.0.0.5:8443", "[FD00:0::1]:8443"]);

        for own in [
            "hidps.example",
            "Hidps.Example",
            "hidps.example:443",
            "10.0.0.5:8443",
            "[fd00::1]:8443",
        ] {
            assert!(hosts.takes(own, ELSEWHERE), "{own}");
        }
        for other in [
            "evil.example",
            "hidps.example:8443",
            "hidps.example.evil.example",
            "10.0.0.5",
            "",
        ] {
            assert!(!hosts.takes(other, ELSEWHERE), "{other}");
        }
    }

    #[test]
    fn this_machine_may_call_it_by_loopback_and_nobody_else() {
        let hosts = AgentHosts::of(&["hidps.example"]);
        let own = "127.0.0.1".parse().ok();

        for name in ["127.0.0.1:8443", "localhost:8443", "[::1]:8443", "[::1]"] {
            assert!(hosts.takes(name, own), "{name}");
            assert!(!hosts.takes(name, ELSEWHERE), "{name}");
            assert!(!hosts.takes(name, None), "{name}");
        }
        assert!(!hosts.takes("evil.example", own));
    }

    #[test]
    fn without_a_name_every_one_is_taken() {
        let hosts = AgentHosts::default();

        assert!(hosts.is_anybodys() && hosts.takes("evil.example", ELSEWHERE));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "https://x", "a/b", "me@x", "*.example", "x:port", "a b"] {
            assert!(!AgentHosts::default().add(text), "{text}");
        }
    }
}
