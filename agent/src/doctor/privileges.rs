//! Checks what the agent may do: of the running agent if there is one, otherwise of whoever asks.
//! It never takes or drops a privilege.

use std::fs;

use super::Finding;
use crate::config::{Config, FirewallMode};
use crate::report::read_status;

/// What the agent cannot do without a capability, by its number in `linux/capability.h`.
const WANTED: [(u32, &str, &str); 5] = [
    (12, "CAP_NET_ADMIN", "change the firewall"),
    (
        2,
        "CAP_DAC_READ_SEARCH",
        "read logs and watched files of others",
    ),
    (19, "CAP_SYS_PTRACE", "tell whose process holds a socket"),
    (34, "CAP_SYSLOG", "read the kernel's log"),
    (37, "CAP_AUDIT_READ", "read audit records"),
];

/// What the drop-ins add: for the iptables of ufw, and for fanotify.
const OF_DROP_INS: [(u32, &str); 2] = [(13, "CAP_NET_RAW"), (21, "CAP_SYS_ADMIN")];

/// The only one that an agent does without when it only observes.
const NET_ADMIN: u32 = 12;

pub(super) fn check_privileges(config: &Config) -> Finding {
    let name = "privileges";
    let process = read_status(config).ok().and_then(|status| status.process);
    let (file, whose) = match process {
        Some(id) => (format!("/proc/{id}/status"), "the running agent"),
        None => (
            "/proc/self/status".to_owned(),
            "an agent started by this user",
        ),
    };
    let text = fs::read_to_string(&file).unwrap_or_default();
    let Some(effective) = parse_effective(&text) else {
        let found = format!("{file} does not say what {whose} may do");
        return Finding::wrong(name, found, "run this as root");
    };
    let missing = missing(effective, config.firewall);
    if missing.is_empty() && needs_less(effective) {
        let found = format!(
            "{whose} has every capability it needs and others besides, which it does not drop; its \
             unit runs it with no more than it needs"
        );
        return Finding::well(name, found);
    }
    if missing.is_empty() {
        let mut found = format!("{whose} has every capability it needs");
        for (_, added) in of_drop_ins(effective) {
            found = format!("{found}, and {added} by a drop-in");
        }
        return Finding::well(name, found);
    }
    Finding::wrong(
        name,
        format!("{whose} cannot {}", missing.join(", ")),
        "start it by its unit: systemctl start hidps-agent",
    )
}

fn missing(effective: u64, firewall: FirewallMode) -> Vec<String> {
    WANTED
        .iter()
        .filter(|(number, _, _)| *number != NET_ADMIN || firewall != FirewallMode::Observe)
        .filter(|(number, _, _)| effective & (1 << number) == 0)
        .map(|(_, name, purpose)| format!("{purpose} ({name})"))
        .collect()
}

fn of_drop_ins(effective: u64) -> impl Iterator<Item = &'static (u32, &'static str)> {
    OF_DROP_INS
        .iter()
        .filter(move |(number, _)| effective & (1 << number) != 0)
}

/// Whether there is a capability that nothing here is done with, as root has them all.
fn needs_less(effective: u64) -> bool {
    let wanted = WANTED
        .iter()
        .fold(0, |set, (number, _, _)| set | 1 << number);
    let wanted = of_drop_ins(effective).fold(wanted, |set, (number, _)| set | 1 << number);
    effective & !wanted != 0
}

/// The effective capabilities in the text of a process's status.
fn parse_effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_a_status() {
        let status = "Name:\tx\nCapPrm:\tffff\nCapEff:\t0000002400081004\nCapBnd:\t0\n";

        let effective = parse_effective(status).unwrap();

        assert_eq!(
            missing(effective, FirewallMode::Nftables),
            Vec::<String>::new()
        );
        assert!(!needs_less(effective));
        assert!(needs_less(0x01ff_ffff_ffff), "root");
        let with_both = effective | 1 << 13 | 1 << 21;
        assert!(!needs_less(with_both));
        assert_eq!(of_drop_ins(with_both).count(), 2);
        assert_eq!(of_drop_ins(effective).count(), 0);
        assert_eq!(parse_effective("Name:\tx\n"), None);
    }

    #[test]
    fn what_is_missing_is_told_with_what_it_is_for() {
        let told = missing(0, FirewallMode::Nftables);

        assert_eq!(told.len(), WANTED.len());
        assert!(told[0].contains("firewall") && told[0].contains("CAP_NET_ADMIN"));
        assert_eq!(missing(0, FirewallMode::Observe).len(), WANTED.len() - 1);
    }
}
