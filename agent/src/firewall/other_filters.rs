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

/// The filters that are active now, given the tables and the chains that nft lists.
pub(super) fn find_other_filters(tables: &Value, chains: &Value) -> Vec<OtherFilter> {
    let ufw = fs::read_to_string(UFW_CONFIG).unwrap_or_default();
    let legacy = LEGACY_TABLES.map(|path| fs::read_to_string(Path::new(path)).unwrap_or_default());
    judge_filters(&ufw, &legacy.concat(), has_firewalld(tables, chains))
}

/// Whether firewalld has a table of its own, or chains in those of iptables, through which it filters
/// where its settings say so.
pub(super) fn has_firewalld(tables: &Value, chains: &Value) -> bool {
    objects(tables, "table").any(|table| table["name"] == "firewalld")
        || objects(chains, "chain").any(|it| it["table"] == "filter" && it["name"] == "INPUT_ZONES")
}

pub(super) fn judge_filters(
    ufw_config: &str,
    legacy_tables: &str,
    has_firewalld: bool,
) -> Vec<OtherFilter> {
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
    fn firewalld_is_known_by_its_table_or_by_its_chains_in_those_of_iptables() {
        let table = |name: &str| json!({"nftables": [{"table": {"family": "inet", "name": name}}]});
        let chain = |table: &str, name: &str| json!({"nftables": [{"chain": {"family": "ip", "table": table, "name": name}}]});
        let nothing = json!({});

        assert!(has_firewalld(&table("firewalld"), &nothing));
        assert!(has_firewalld(
            &table("filter"),
            &chain("filter", "INPUT_ZONES")
        ));
        assert!(!has_firewalld(&table("filter"), &chain("filter", "INPUT")));
        assert!(!has_firewalld(&table("own"), &chain("own", "INPUT_ZONES")));
        assert!(!has_firewalld(&nothing, &nothing));
    }

    #[test]
    fn filters_of_others_are_told_apart() {
        let check = |ufw: &str, legacy: &str, has_firewalld, wanted: &[OtherFilter]| {
            let found = judge_filters(ufw, legacy, has_firewalld);
            assert_eq!(found, wanted, "{ufw} {legacy}");
        };

        check("", "", false, &[]);
        check("# ENABLED=yes\nENABLED=no\n", "nat\n", false, &[]);
        check(
            "LOGLEVEL=low\nENABLED=yes\n",
            "",
            false,
            &[OtherFilter::Ufw],
        );
        check("ENABLED=\"Yes\"\n", "", false, &[OtherFilter::Ufw]);
        check("ENABLED=yes\nENABLED=no\n", "", false, &[]);
        check("", "", true, &[OtherFilter::Firewalld]);
        check(
            "",
            "mangle\nfilter\n",
            false,
            &[OtherFilter::IptablesLegacy],
        );
    }
}
