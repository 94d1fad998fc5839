//! What ufw has written down, and whether the kernel does what is written there.
//! It only reads; a file that cannot be read is never taken for an empty one.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use hidps_wire::FirewallAction;

use super::UfwError;
use super::plan::{Defaults, UfwState};
use super::rule::parse_rules;
use super::tally::{Place, parse_places};

/// Where ufw says whether it is on, and how much it logs.
pub(super) const CONFIG: &str = "/etc/ufw/ufw.conf";

/// Where ufw keeps what becomes of packets that no rule decides.
const DEFAULTS: &str = "/etc/default/ufw";

/// Where ufw keeps the rules of people, and where it did before 0.34.
const RULES: [[&str; 2]; 2] = [
    ["/etc/ufw/user.rules", "/etc/ufw/user6.rules"],
    ["/lib/ufw/user.rules", "/lib/ufw/user6.rules"],
];

/// A file that is being written is whole a moment later.
const PAUSE: Duration = Duration::from_millis(50);

/// A file that is not whole after two seconds is damaged.
const MOST_LOOKS: usize = 40;

/// Rules beyond this are those of no people.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// What ufw has written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UfwFiles {
    pub(super) state: UfwState,
    /// What the kernel has to have of it, for IPv4 and IPv6.
    pub(super) chains: [Vec<ChainRule>; 2],
    /// Which lines of it decide for each rule, for IPv4 and IPv6.
    pub(super) places: [Vec<Vec<Place>>; 2],
}

/// A rule of a chain, as far as it is the same in a file and in a listing: the chain, and what
/// becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ChainRule {
    chain: String,
    target: String,
}

/// Reads all of it, as soon as nobody is writing it: ufw writes its files in place.
pub(super) async fn read_settled() -> Result<UfwFiles, UfwError> {
    let mut read = read_files();
    for _ in 0..MOST_LOOKS {
        if !matches!(read, Err(UfwError::NotWhole { .. })) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        read = read_files();
    }
    read
}

/// Reads all of it as it is now.
pub(super) fn read_files() -> Result<UfwFiles, UfwError> {
    let [new, old] = RULES;
    let is_old = !Path::new(new[0]).exists() && Path::new(old[0]).exists();
    let [four, six] = if is_old { old } else { new };
    let defaults = read_whole(DEFAULTS, |text| text.contains("DEFAULT_OUTPUT_POLICY="))?;
    let config = read_whole(CONFIG, |text| text.contains("ENABLED="))?;
    let has_ipv6 = is_yes(&setting(&defaults, "IPV6"));
    let is_closed = |text: &str| text.trim_end().ends_with("COMMIT");
    let four = read_whole(four, is_closed)?;
    // Without IPv6 ufw leaves what it has of it where it is.
    let six = if has_ipv6 {
        read_whole(six, is_closed)?
    } else {
        String::new()
    };
    Ok(UfwFiles {
        state: UfwState {
            rules: [parse_rules(&four), parse_rules(&six)],
            has_ipv6,
            defaults: Defaults {
                incoming: parse_policy(&setting(&defaults, "DEFAULT_INPUT_POLICY")),
                outgoing: parse_policy(&setting(&defaults, "DEFAULT_OUTPUT_POLICY")),
            },
            is_enabled: is_yes(&setting(&config, "ENABLED")),
            log_level: parse_level(&setting(&config, "LOGLEVEL")),
        },
        chains: [parse_chains(&four), parse_chains(&six)],
        places: [parse_places(&four), parse_places(&six)],
    })
}

/// Whether ufw says that it is on; one that cannot be read is not.
pub(super) fn is_enabled() -> bool {
    read(CONFIG).is_ok_and(|text| is_yes(&setting(&text, "ENABLED")))
}

fn read_whole(path: &str, is_whole: impl Fn(&str) -> bool) -> Result<String, UfwError> {
    let text = read(path)?;
    if is_whole(&text) {
        return Ok(text);
    }
    Err(UfwError::NotWhole {
        path: path.to_owned(),
    })
}

fn read(path: &str) -> Result<String, UfwError> {
    let failed = |source: io::Error| UfwError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 == MAX_FILE_BYTES {
        return Err(failed(io::Error::other("it is too long")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last value of a setting, as a shell would read it.
fn setting(text: &str, name: &str) -> String {
    let mut values = text.lines().filter_map(|line| {
        let value = line.trim().strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim().trim_matches(['"', '\'']))
    });
    values.next_back().unwrap_or_default().to_owned()
}

fn is_yes(value: &str) -> bool {
    value.eq_ignore_ascii_case("yes")
}

/// A word that is none of ufw's closes, as it does for the kernel.
fn parse_policy(value: &str) -> FirewallAction {
    match value.to_ascii_uppercase().as_str() {
        "ACCEPT" => FirewallAction::Allow,
        "REJECT" => FirewallAction::Reject,
        _ => FirewallAction::Deny,
    }
}

/// One of ufw's levels; it takes every other word for none.
fn parse_level(value: &str) -> String {
    let value = value.to_ascii_lowercase();
    let is_known = matches!(value.as_str(), "low" | "medium" | "high" | "full");
    if is_known { value } else { "off".to_owned() }
}

/// The rules of ufw's chains for people, from its files or from what iptables lists.
fn parse_chains(text: &str) -> Vec<ChainRule> {
    let parse = |line: &str| {
        let mut words = line.strip_prefix("-A ")?.split_ascii_whitespace();
        let chain = words.next()?;
        let is_one = chain.ends_with("-user-input") || chain.ends_with("-user-output");
        let target = words.skip_while(|word| *word != "-j").nth(1)?;
        is_one.then(|| ChainRule {
            chain: chain.to_owned(),
            target: target.to_owned(),
        })
    };
    let mut rules: Vec<_> = text.lines().filter_map(parse).collect();
    // A file has the rules of both ways in one row, a listing chain by chain.
    rules.sort_by(|one, other| one.chain.cmp(&other.chain));
    rules
}

/// Whether the kernel has what is written down, given what iptables lists.
pub(super) fn check_kernel(
    listing: &str,
    chains: &[ChainRule],
    defaults: Defaults,
) -> Result<(), String> {
    for (chain, action) in [("INPUT", defaults.incoming), ("OUTPUT", defaults.outgoing)] {
        let policy = match action {
            FirewallAction::Allow => "ACCEPT",
            FirewallAction::Deny | FirewallAction::Reject => "DROP",
        };
        let wanted = format!("-P {chain} {policy}");
        if !listing.lines().any(|line| line.trim() == wanted) {
            return Err(format!("the chain {chain} does not {policy} by default"));
        }
        let first = format!("-A {chain} -j ufw");
        if !listing.lines().any(|line| line.starts_with(&first)) {
            return Err(format!("the chain {chain} does not lead to those of ufw"));
        }
    }
    let found = parse_chains(listing);
    if found == chains {
        Ok(())
    } else {
        Err(format!(
            "the kernel has {} rules of ufw's for people and not these {}",
            found.len(),
            chains.len()
        ))
    }
}

/// Reads any text as a file and as a listing.
pub(super) fn read_any(text: &str) {
    let defaults = Defaults {
        incoming: parse_policy(&setting(text, "DEFAULT_INPUT_POLICY")),
        outgoing: parse_policy(&setting(text, "DEFAULT_OUTPUT_POLICY")),
    };
    // What is wrong with it is of no interest here.
    check_kernel(text, &parse_chains(text), defaults).ok();
    parse_level(&setting(text, "LOGLEVEL"));
    parse_places(text);
}

/// What is so where ufw has written this of IPv4, and nothing of IPv6.
#[cfg(test)]
pub(super) fn of_text(four: &str) -> UfwFiles {
    UfwFiles {
        state: UfwState {
            rules: [parse_rules(four), Vec::new()],
            has_ipv6: false,
            defaults: Defaults {
                incoming: FirewallAction::Deny,
                outgoing: FirewallAction::Allow,
            },
            is_enabled: true,
            log_level: "off".to_owned(),
        },
        chains: [parse_chains(four), Vec::new()],
        places: [parse_places(four), Vec::new()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "\
### tuple ### reject out_+
-A ufw-user-output -o + -j REJECT
### tuple ### deny
-A ufw-user-logging-input -i + -j RETURN
-A ufw-user-input -i + -s 10.0.0.0/8 -j DROP
-A ufw-user-input -p tcp --dport 22 -j ACCEPT -m comment --comment 'dapp_OpenSSH'
";

    const LISTING: &str = "\
-P INPUT DROP
-P FORWARD DROP
-P OUTPUT ACCEPT
-N ufw-user-input
-A INPUT -j ufw-before-logging-input
-A OUTPUT -j ufw-before-logging-output
-A ufw-user-input -s 10.0.0.0/8 -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -m comment --comment dapp_OpenSSH -j ACCEPT
-A ufw-user-output -j REJECT --reject-with icmp-port-unreachable
";

    const DEFAULTS: Defaults = Defaults {
        incoming: FirewallAction::Reject,
        outgoing: FirewallAction::Allow,
    };

    #[test]
    fn a_kernel_that_does_otherwise_than_is_written_is_found_out() {
        let chains = parse_chains(FILE);
        let check = |listing: &str| check_kernel(listing, &chains, DEFAULTS);

        assert_eq!(check(LISTING), Ok(()));
        for line in LISTING.lines() {
            let is_needed = !line.contains("FORWARD") && !line.starts_with("-N");
            let without = LISTING.replace(&format!("{line}\n"), "");
            assert_eq!(check(&without).is_err(), is_needed, "without {line}");
        }
        assert!(check(&LISTING.replace("-j REJECT", "-j ACCEPT")).is_err());
    }

    #[test]
    fn settings_are_read_as_a_shell_reads_them() {
        let text =
            "# IPV6=yes\nIPV6=no\nIPV6='Yes'\nLOGLEVEL=Full\nDEFAULT_INPUT_POLICY=\"ACCEPT\"\n";

        assert!(is_yes(&setting(text, "IPV6")));
        assert_eq!(parse_level(&setting(text, "LOGLEVEL")), "full");
        assert_eq!(parse_level(&setting(text, "ABSENT")), "off");
        let policy = parse_policy(&setting(text, "DEFAULT_INPUT_POLICY"));
        assert_eq!(policy, FirewallAction::Allow);
        assert_eq!(parse_policy(""), FirewallAction::Deny);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_passed_over(text in "(-A ufw-user-input )?[ -~é\n]{0,200}") {
            let chains = parse_chains(&text);
            check_kernel(&text, &chains, DEFAULTS).ok();
            setting(&text, "IPV6");
        }
    }
}
