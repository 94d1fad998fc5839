//! What the operator of a host writes for the agent, and what a daemon has it wait for.
//! It never reads the environment it runs in.

use std::time::Duration;

use hidps_agent::backend::Backend;
use hidps_agent::backoff::parse_retry_after;
use hidps_agent::clock::parse_http_date;
use hidps_agent::config::fuzzing::{can_be_asked, is_excepted};
use hidps_agent::config::{Config, Port};
use hidps_agent::dial::{Pin, Proxy};
use hidps_wire::is_misleading;

/// The longest pause that a daemon can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// A password that no word may repeat.
const PASSWORD: &str = "swordfish";

/// The agent's configuration, and after the first NUL its variables, a line each: taken, or refused
/// with faults that can be shown. Its first line is read as each kind of value as well.
pub fn agent_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (file, variables) = text.split_once('\0').unwrap_or((&text, ""));
    let variable = |name: &str| {
        let mut set = variables.lines().filter_map(|line| line.split_once('='));
        let found = set.find(|(known, _)| *known == name);
        found.map(|(_, value)| value.to_owned())
    };
    match Config::parse(file, variable) {
        Ok(config) => check_backend(&config.backend, None),
        Err(faults) => {
            assert!(!faults.0.is_empty(), "it says what is wrong");
            for fault in faults.0 {
                assert!(!fault.contains(is_misleading), "it can be shown: {fault:?}");
            }
        }
    }
    for value in text.lines().take(4) {
        check_value(value);
    }
}

fn check_value(value: &str) {
    if let Ok(pin) = value.parse::<Pin>() {
        assert_eq!(pin.to_string(), value, "a pin is written as it was read");
    }
    if let Ok(port) = value.parse::<Port>() {
        assert_eq!(
            port.to_string().parse(),
            Ok(port),
            "it is read as it is written"
        );
    }
    if let Ok(backend) = Backend::parse(value, true) {
        check_backend(&backend, Some(value));
    }
    check_proxy(value);
    let (list, date) = value.split_once(';').unwrap_or((value, value));
    let sent = parse_http_date(date);
    let pause = parse_retry_after(list, sent);
    assert!(
        pause.is_none_or(|pause| pause <= LONGEST_PAUSE),
        "it is bounded"
    );
    // Any list and any host; its own name is always on a list that has it.
    let _ = is_excepted(list, date, 443);
    assert!(is_excepted(
        &format!("{list},hub.example"),
        "hub.example",
        443
    ));
}

fn check_backend(backend: &Backend, text: Option<&str>) {
    let written = backend.to_string();
    let again = Backend::parse(&written, true);
    assert_eq!(again.as_ref(), Ok(backend), "it is read as it is written");
    assert!(can_be_asked(backend), "a request can be made to {written}");
    let Some(port) = text.and_then(stated_port) else {
        return;
    };
    assert_eq!(
        port.parse(),
        Ok(backend.port()),
        "the port is the one that is stated"
    );
}

/// The port that an address states, whatever it is.
fn stated_port(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (_, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (_, port) = place.rsplit_once(':')?;
    let port = port.trim();
    (!port.is_empty() && !port.contains(']')).then_some(port)
}

fn check_proxy(value: &str) {
    if value.to_ascii_lowercase().contains(PASSWORD) {
        return;
    }
    let said = match format!("http://user:{PASSWORD}@{value}").parse::<Proxy>() {
        Ok(proxy) => format!("{proxy:?} {}", proxy.hop()),
        Err(error) => error.to_string(),
    };
    assert!(!said.contains(PASSWORD), "nobody hears the password");
    if let Ok(proxy) = value.parse::<Proxy>() {
        let written = proxy.hop().to_string();
        let again: Proxy = written.parse().expect("it is read as it is written");
        assert_eq!(again.hop(), proxy.hop());
        if let Some(port) = stated_port(&format!("http://{}", value.trim_start_matches("http://")))
        {
            assert_eq!(
                port.parse(),
                Ok(proxy.hop().port),
                "the port is the stated one"
            );
        }
    }
}
