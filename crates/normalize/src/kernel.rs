//! Messages of the kernel beside those of its packet filter.
//! Names of programs in them are chosen by users: what fits twice is left unread.

use super::address::parse_number;
use super::reading::{Facts, Reading, is_name, split_only};

/// Longest name of a program as the kernel keeps it.
const MAX_NAME_BYTES: usize = 15;

/// Takes the kernel's own time off: `[12345.678901] `.
pub(super) fn strip_uptime(message: &str) -> &str {
    let strip = || {
        let (inside, rest) = message.strip_prefix('[')?.split_once("] ")?;
        let (seconds, micros) = inside.trim_start().split_once('.')?;
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (is_digits(seconds) && is_digits(micros) && !micros.is_empty()).then_some(rest)
    };
    strip().unwrap_or(message)
}

/// Reads a message, the kernel's own time already taken off.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let message = message.trim_end();
    let reading = parse_process(message);
    if reading != Reading::Other {
        return reading;
    }
    parse_device(message)
        .or_else(|| parse_module(message))
        .or_else(|| parse_audit(message))
        .into()
}

/// `NAME[PID]: segfault at …`, `Out of memory: Killed process PID (NAME) total-vm:…`
fn parse_process(message: &str) -> Reading<'_> {
    if let Some(rest) = killed(message) {
        return parse_kill(rest);
    }
    if !message.contains("]: segfault at ") {
        return Reading::Other;
    }
    let Some((head, rest)) = split_only(message, "]: segfault at ") else {
        return Reading::Ambiguous;
    };
    let read = || {
        let (process, pid) = head.rsplit_once('[')?;
        let is_whole = rest.contains(" ip ") && rest.contains(" error ");
        let is_possible = !process.is_empty() && process.len() <= MAX_NAME_BYTES && is_whole;
        let facts = || Facts::action("segfault").text("process", process);
        let pid: u32 = parse_number(pid)?;
        is_possible.then(|| facts().number("pid", pid))
    };
    read().into()
}

/// What follows the announcement that a process was killed for its memory.
fn killed(message: &str) -> Option<&str> {
    let beginnings = ["Out of memory: ", "Memory cgroup out of memory: ", ""];
    beginnings.iter().find_map(|beginning| {
        message
            .strip_prefix(beginning)?
            .strip_prefix("Killed process ")
    })
}

/// `PID (NAME) total-vm:…`, or with a comma
fn parse_kill(rest: &str) -> Reading<'_> {
    let read = || {
        let (pid, rest) = rest.split_once(" (")?;
        Some((parse_number::<u32>(pid)?, rest))
    };
    let Some((pid, rest)) = read() else {
        return Reading::Other;
    };
    let ends: Vec<usize> = rest.match_indices(')').map(|(at, _)| at).collect();
    let mut names = ends.into_iter().filter_map(|at| {
        let (name, tail) = (rest.get(..at)?, rest.get(at + 1..)?);
        let is_end = tail.starts_with(" total-vm:") || tail.starts_with(", ");
        is_end.then_some(name)
    });
    let Some(process) = names.next() else {
        return Reading::Other;
    };
    if names.next().is_some() || process.len() > MAX_NAME_BYTES {
        return Reading::Ambiguous;
    }
    let facts = Facts::action("oom_kill").text("process", process);
    facts.number("pid", pid).into()
}

/// `[device ]D entered promiscuous mode`, `usb 1-1: new high-speed USB device number N using …`
fn parse_device(message: &str) -> Option<Facts<'_>> {
    let modes = [
        (" entered promiscuous mode", "promiscuous_on"),
        (" left promiscuous mode", "promiscuous_off"),
    ];
    for (end, action) in modes {
        if let Some(rest) = message.strip_suffix(end) {
            // The driver and its bus may stand before the device's name.
            let device = rest.rsplit_once(' ').map_or(rest, |(_, device)| device);
            let device = device.strip_suffix(':').unwrap_or(device);
            return is_device(device).then(|| Facts::action(action).text("device", device));
        }
    }
    let (device, rest) = message.strip_prefix("usb ")?.split_once(": new ")?;
    let (_, number) = rest.split_once(" USB device number ")?;
    parse_number::<u32>(number.split(' ').next()?)?;
    is_device(device).then(|| Facts::action("usb_attached").text("device", device))
}

/// Devices may have colons in their names, but no space.
fn is_device(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// `M: loading out-of-tree module taints kernel.` and its relatives
fn parse_module(message: &str) -> Option<Facts<'_>> {
    let (module, rest) = message.split_once(": ")?;
    let action = match rest {
        "loading out-of-tree module taints kernel." => "module_out_of_tree",
        rest if rest.starts_with("module verification failed: ") => "module_unsigned",
        rest if rest.starts_with("module license '") && rest.ends_with("' taints kernel.") => {
            "module_loaded"
        }
        _ => return None,
    };
    is_name(module).then(|| Facts::action(action).text("module", module))
}

/// `Inserted module 'M'`, of systemd's loader of modules.
pub(super) fn parse_inserted(message: &str) -> Option<Facts<'_>> {
    let module = message
        .strip_prefix("Inserted module '")?
        .strip_suffix('\'')?;
    is_name(module).then(|| Facts::action("module_loaded").text("module", module))
}

/// `audit: … audit_enabled=0 old=1 …`: somebody switched the kernel's audit off.
fn parse_audit(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("audit: ")?;
    let words = || rest.split(' ');
    let is_off = words().any(|word| word == "audit_enabled=0")
        && words().any(|word| matches!(word, "old=1" | "old=2"));
    // Only this type of record is the kernel's word on its own configuration.
    let is_own = rest.starts_with("type=1305 ") || rest.starts_with("audit_enabled=0 ");
    (is_off && is_own).then(|| Facts::action("audit_disabled"))
}
