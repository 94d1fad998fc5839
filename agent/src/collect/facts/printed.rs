//! The facts for people, a line each.
//! Programs get them as JSON, which is the value itself.

use hidps_wire::{
    Antivirus, Facts, Interface, OpenPort, PendingUpdates, Shown, TimeSync, Transport,
};

use super::CANNOT_SEE;

/// The text of `hidps-agent facts`.
#[must_use]
pub fn print_facts(facts: &Facts) -> String {
    let known = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    let found = |text: Option<String>| text.unwrap_or_else(|| "none found".to_owned());
    let mut lines = vec![
        ("hostname", facts.hostname.to_string()),
        ("os", known(facts.os.as_deref())),
        ("kernel", facts.kernel.to_string()),
        ("arch", facts.arch.to_string()),
        ("booted", print_time(facts.booted_at)),
        (
            "virtualization",
            found(facts.virtualization.as_deref().map(str::to_owned)),
        ),
        ("updates", print_updates(facts)),
        (
            "antivirus",
            found(facts.antivirus.as_ref().map(print_antivirus)),
        ),
        ("time", found(facts.time_sync.as_ref().map(print_time_sync))),
    ];
    let interfaces = facts.interfaces.iter().map(print_interface);
    lines.extend(interfaces.map(|line| ("interface", line)));
    let ports = facts.open_ports.iter().flat_map(|ports| &ports.0);
    lines.extend(ports.map(|port| ("listens", print_port(port))));
    lines.push(("not seen", CANNOT_SEE.to_owned()));
    let print = |(name, value): (&str, String)| format!("{name:<14} {value}\n");
    lines.into_iter().map(print).collect()
}

fn print_time(seconds: Option<i64>) -> String {
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "unknown".to_owned(), |time| time.to_string())
}

fn print_updates(facts: &Facts) -> String {
    match (facts.updates, &facts.updates_unknown) {
        (
            Some(PendingUpdates {
                total, security, ..
            }),
            _,
        ) => format!("{total}, of them {security} for security"),
        (None, Some(why)) => format!("unknown: {why}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn print_antivirus(found: &Antivirus) -> String {
    let runs = if found.running {
        "runs"
    } else {
        "does not run"
    };
    let signatures = print_time(found.signatures_at);
    format!("{}, {runs}, signatures of {signatures}", found.name)
}

fn print_time_sync(sync: &TimeSync) -> String {
    let state = match sync.synchronized {
        Some(true) => "has set the clock",
        Some(false) => "has NOT set the clock",
        None => "does not say whether it has set the clock",
    };
    format!("{} {state}", sync.source)
}

fn print_interface(interface: &Interface) -> String {
    let addresses: Vec<&str> = interface.addresses.iter().map(Shown::as_str).collect();
    let state = if interface.up { "up" } else { "down" };
    let line = format!("{} {state} {}", interface.name, addresses.join(" "));
    line.trim_end().to_owned()
}

fn print_port(port: &OpenPort) -> String {
    let protocol = match port.protocol {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let process = port.process.as_deref().unwrap_or("unknown");
    format!("{}/{protocol} on {} ({process})", port.port, port.address)
}
