//! Packet filters of others that are active beside the agent's table: which one, and what that means.
//! It reads files and listings, changes nothing, and fights with nobody.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::nft::objects;

/// Where ufw says whether it is on.
const UFW_CONFIG: &str = "/etc/ufw/ufw.conf";

/// Where the kernel lists the tables of iptables' older kind.
const LEGACY_TABLES: [&str; 2] = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];

/// A packet filter of somebody else that is active.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OtherFilter {
    /// The Uncomplicated Firewall.
    Ufw,
    /// The firewall daemon of Fedora and its kin.
    Firewalld,
    /// Rules of iptables' older kind, which nft does not show.
    IptablesLegacy,
}

impl OtherFilter {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ufw => "ufw",
            Self::Firewalld => "firewalld",
            Self::IptablesLegacy => "iptables-legacy",
        }
    }

    /// How to let through there what is let through here.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Ufw => {
                "allow the same with ufw, let the agent use it (install.sh --with-ufw), or disable it \
                 with: ufw disable"
            }
            Self::Firewalld => {
                "allow the same with firewall-cmd, or stop it with: systemctl disable --now \
                 firewalld"
            }
            Self::IptablesLegacy => "look at iptables-legacy-save, and take out what stops it",
        }
    }
}

/// The filters that are active now, given the tables that nft lists.
pub(super) fn find_other_filters(tables: &Value) -> Vec<OtherFilter> {
    let ufw = fs::read_to_string(UFW_CONFIG).unwrap_or_default();
    let legacy = LEGACY_TABLES.map(|path| fs::read_to_string(Path::new(path)).unwrap_or_default());
    judge_filters(&ufw, &legacy.concat(), tables)
}

pub(super) fn judge_filters(
    ufw_config: &str,
    legacy_tables: &str,
    tables: &Value,
) -> Vec<OtherFilter> {
    let has_firewalld = objects(tables, "table").any(|table| table["name"] == "firewalld");
    let found = [
        (OtherFilter::Ufw, is_ufw_enabled(ufw_config)),
        (OtherFilter::Firewalld, has_firewalld),
        // The tables that a kernel makes for filtering; nat alone stops nobody.
        (
            OtherFilter::IptablesLegacy,
            legacy_tables.lines().any(|table| table == "filter"),
        ),
    ];
    let active = found.into_iter().filter(|(_, is_active)| *is_active);
    active.map(|(filter, _)| filter).collect()
}

/// Whether the last setting says so, as a shell would read it.
fn is_ufw_enabled(config: &str) -> bool {
    let mut values = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ENABLED="));
    let last = values.next_back().unwrap_or_default();
    last.trim_matches(['"', '\'']).eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_of_others_are_told_apart() {
        let none = json!({"nftables": [{"table": {"family": "ip", "name": "filter"}}]});
        let fedora = json!({"nftables": [{"table": {"family": "inet", "name": "firewalld"}}]});
        let check = |ufw: &str, legacy: &str, tables: &Value, wanted: &[OtherFilter]| {
            assert_eq!(judge_filters(ufw, legacy, tables), wanted, "{ufw} {legacy}");
        };

        check("", "", &none, &[]);
        check("# ENABLED=yes\nENABLED=no\n", "nat\n", &none, &[]);
        check(
            "LOGLEVEL=low\nENABLED=yes\n",
            "",
            &none,
            &[OtherFilter::Ufw],
        );
        check("ENABLED=\"Yes\"\n", "", &none, &[OtherFilter::Ufw]);
        check("ENABLED=yes\nENABLED=no\n", "", &none, &[]);
        check("", "", &fedora, &[OtherFilter::Firewalld]);
        check(
            "",
            "mangle\nfilter\n",
            &none,
            &[OtherFilter::IptablesLegacy],
        );
    }
}
