//! Which program wrote a line, under the name rules know, and which reader understands it.
//! It never looks for meaning in a message.

use hidps_wire::EventKind;

use super::reading::Reading;
use super::{cron, firewall, kernel, login_program, pam, sshd, su, sudo, systemd, users};

/// What a message was found to be.
#[derive(Debug)]
pub(super) struct Understood<'a> {
    /// The program, under the name rules know.
    pub(super) service: &'a str,
    /// The class of its event.
    pub(super) kind: EventKind,
    /// What it says.
    pub(super) reading: Reading<'a>,
}

/// The name rules know a program by.
pub(super) fn service_of(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    // `sshd(pam_unix)`, as PAM named itself long ago.
    let name = match name.split_once('(') {
        Some((name, module)) if !name.is_empty() && module.starts_with("pam_") => name,
        _ => name,
    };
    match name {
        // OpenSSH is several programs since version 9.8.
        "sshd-session" | "sshd-auth" => "sshd",
        "CRON" | "crond" | "CROND" => "cron",
        _ => name,
    }
}

/// Whether a message would be read as more than its text, so that it matters who wrote it.
pub(super) fn understands(service: &str, message: &str) -> bool {
    let understood = understand(service, None, message);
    understood.kind != EventKind::Process || understood.reading != Reading::Other
}

/// Finds out what a message says.
pub(super) fn understand<'a>(
    program: &'a str,
    pid: Option<u32>,
    message: &'a str,
) -> Understood<'a> {
    let service = service_of(program);
    if let Some((speaker, text)) = pam::split_speaker(program, message) {
        return Understood {
            service,
            kind: EventKind::Login,
            reading: pam::parse(speaker, text),
        };
    }
    if service == "kernel" {
        return understand_kernel(service, message);
    }
    let (kind, reading) = match service {
        "sshd" => {
            let more = pam::parse_more(message);
            let reading = more.unwrap_or_else(|| sshd::parse(message));
            (EventKind::Login, reading)
        }
        "sudo" => (EventKind::Login, sudo::parse(message)),
        "su" => (EventKind::Login, su::parse(message)),
        "login" => (EventKind::Login, login_program::parse(message)),
        "unix_chkpwd" => (EventKind::Login, pam::parse_check(message)),
        "cron" | "crontab" => (EventKind::Process, cron::parse(message)),
        "systemd" => (EventKind::Process, systemd::parse(message, pid)),
        "systemd-modules-load" => {
            let inserted = kernel::parse_inserted(message);
            (EventKind::Process, inserted.into())
        }
        name if users::PROGRAMS.contains(&name) => (EventKind::Login, users::parse(message)),
        _ => (EventKind::Process, Reading::Other),
    };
    Understood {
        service,
        kind,
        reading,
    }
}

/// The kernel speaks for its packet filter and for itself.
fn understand_kernel<'a>(service: &'a str, message: &'a str) -> Understood<'a> {
    let text = kernel::strip_uptime(message);
    let packet = firewall::parse(text);
    if packet == Reading::Other {
        return Understood {
            service,
            kind: EventKind::Process,
            reading: kernel::parse(text),
        };
    }
    Understood {
        service: if text.starts_with("[UFW ") {
            "ufw"
        } else {
            service
        },
        kind: EventKind::Firewall,
        reading: packet,
    }
}
