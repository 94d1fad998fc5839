//! How the daemon is reached, from the file and the environment: pinned keys, certificate and proxy.
//! It never repeats the address of a proxy in a fault, for it may hold a password.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::table::SettingsTable;
use crate::backend::Backend;
use crate::dial::{ClientFiles, Pin, Proxy};

/// The word for no proxy, whatever the environment says.
const NO_PROXY_AT_ALL: &str = "none";

/// Variables that name the proxy for encrypted connections, the first one that is set.
const PROXY_VARIABLES: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];

/// Variables that list where no proxy is used, the first one that is set.
const EXCEPTION_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Reads the pins.
pub(super) fn read_pins(
    settings: &mut SettingsTable<'_>,
    backend: Option<&Backend>,
) -> BTreeSet<Pin> {
    let mut pins = BTreeSet::new();
    let texts = settings.texts("pinned_keys").unwrap_or_default();
    if !texts.is_empty() && backend.is_some_and(|backend| !backend.tls()) {
        settings.fault("pinned_keys needs a backend_url that begins with https://".to_owned());
    }
    for text in texts {
        match text.parse() {
            Ok(pin) => {
                pins.insert(pin);
            }
            Err(error) => settings.fault(format!("pinned_keys has {text:?}, which {error}")),
        }
    }
    pins
}

/// Reads which certificate the agent shows.
pub(super) fn read_client(
    settings: &mut SettingsTable<'_>,
    backend: Option<&Backend>,
) -> Option<ClientFiles> {
    let certificate = settings.path("client_cert", "");
    let key = settings.path("client_key", "");
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            if backend.is_some_and(|backend| !backend.tls()) {
                let fault = "client_cert needs a backend_url that begins with https://";
                settings.fault(fault.to_owned());
            }
            Some(ClientFiles { certificate, key })
        }
        (None, None) => None,
        (Some(_), None) => {
            settings.fault("client_key is missing beside client_cert".to_owned());
            None
        }
        (None, Some(_)) => {
            settings.fault("client_cert is missing beside client_key".to_owned());
            None
        }
    }
}

/// Reads which proxy is used, if any; the setting goes before the environment.
pub(super) fn read_proxy(
    settings: &mut SettingsTable<'_>,
    backend: Option<&Backend>,
) -> Option<Proxy> {
    let configured = settings.text("proxy", "");
    let credentials = settings.path("proxy_credentials_file", "");
    let proxy = match configured.as_deref() {
        Some(NO_PROXY_AT_ALL) => None,
        Some(text) => parse_proxy(settings, "proxy", text).filter(|proxy| {
            let is_open = proxy.has_credentials();
            if is_open {
                settings.fault(
                    "proxy has a user; write user:password into a file and name it in \
                     proxy_credentials_file"
                        .to_owned(),
                );
            }
            !is_open
        }),
        None => read_environment(settings, backend?),
    };
    match (proxy, credentials) {
        (Some(proxy), Some(file)) => Some(proxy.with_credentials_file(file)),
        (proxy, _) => proxy,
    }
}

/// The proxy the environment names for encrypted connections, unless it excepts the daemon.
fn read_environment(settings: &mut SettingsTable<'_>, backend: &Backend) -> Option<Proxy> {
    let first = |settings: &SettingsTable<'_>, names: [&'static str; 2]| {
        let mut values = names
            .map(|name| (name, settings.variable(name)))
            .into_iter();
        values.find_map(|(name, value)| Some((name, value?)))
    };
    let (name, text) = first(settings, PROXY_VARIABLES).filter(|_| backend.tls())?;
    let exceptions = first(settings, EXCEPTION_VARIABLES).map(|(_, list)| list);
    if exceptions.is_some_and(|list| is_excepted(&list, backend.host(), backend.port())) {
        return None;
    }
    parse_proxy(settings, name, &text)
}

fn parse_proxy(settings: &mut SettingsTable<'_>, name: &str, text: &str) -> Option<Proxy> {
    let proxy = text.parse();
    if let Err(error) = &proxy {
        settings.fault(format!("{name} {error}"));
    }
    proxy.ok()
}

/// Whether a list such as `localhost,.example.org,10.0.0.0/8` names a host.
pub(super) fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|entry| entry == "*" || excepts(&entry.to_ascii_lowercase(), host, port))
}

fn excepts(entry: &str, host: &str, port: u16) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        let entry = entry.trim_start_matches('[').trim_end_matches(']');
        return holds(entry, address);
    }
    let (name, wanted_port) = match entry.rsplit_once(':') {
        Some((name, digits)) => (name, digits.parse::<u16>().ok()),
        None => (entry, Some(port)),
    };
    let name = name.trim_start_matches('.');
    let is_within = host == name
        || host
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'));
    !name.is_empty() && wanted_port == Some(port) && is_within
}

/// Whether an address, or a network such as `10.0.0.0/8`, holds an address.
fn holds(entry: &str, address: IpAddr) -> bool {
    let (base, bits) = match entry.split_once('/') {
        Some((base, bits)) => (base, bits.parse::<u32>().ok()),
        None => (entry, Some(u32::MAX)),
    };
    let (Ok(base), Some(bits)) = (base.parse::<IpAddr>(), bits) else {
        return false;
    };
    let (base, address, width) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => (
            u128::from(base.to_bits()) << 96,
            u128::from(address.to_bits()) << 96,
            32,
        ),
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let differing = (base ^ address).leading_zeros();
    differing >= bits.min(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_names_with_what_is_below_them_addresses_and_networks() {
        let check = |list: &str, host: &str, expected: bool| {
            assert_eq!(is_excepted(list, host, 8443), expected, "{list:?} {host}");
        };

        check("", "hub.example", false);
        check("*", "hub.example", true);
        check("other, hub.example", "hub.example", true);
        check("HUB.example", "hub.example", true);
        check("example", "hub.example", true);
        check(".example", "hub.example", true);
        check("b.example", "hub.example", false);
        check("hub.example:8443", "hub.example", true);
        check("hub.example:443", "hub.example", false);
        check("hub.example:https", "hub.example", false);
        check("10.0.0.0/8", "10.9.9.9", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/x", "10.0.0.0", false);
        check("10.9.9.9", "10.9.9.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8::1", true);
        check("[2001:db8::1]", "2001:db8::1", true);
        check("::/999", "2001:db8::1", false);
    }
}
