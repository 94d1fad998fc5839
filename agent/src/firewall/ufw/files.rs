//! What ufw has written down, and whether the kernel does what is written there.
//! It only reads; a file that cannot be read is never taken for an empty one.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hidps_wire::FirewallAction;

use super::UfwError;
use super::plan::{Defaults, UfwState};
use super::rule::parse_rules;
use super::tally::{Place, parse_places};

/// Where ufw says whether it is on, and how much it logs.
const CONFIG: &str = "etc/ufw/ufw.conf";

/// Where ufw keeps what becomes of packets that no rule decides.
const DEFAULTS: &str = "etc/default/ufw";

/// Where ufw keeps the rules of people, and where it did before 0.34.
const RULES: [[&str; 2]; 2] = [
    ["etc/ufw/user.rules", "etc/ufw/user6.rules"],
    ["lib/ufw/user.rules", "lib/ufw/user6.rules"],
];

/// A file that is being written is whole a moment later.
const PAUSE: Duration = Duration::from_millis(50);

/// A file that is not whole after two seconds is damaged.
const MOST_LOOKS: usize = 40;

/// Rules beyond this are those of no people.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The directory below which ufw's files are: that of the host.
#[derive(Clone, Debug)]
pub(super) struct UfwPlace {
    root: PathBuf,
}

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

impl UfwPlace {
    /// This host's.
    pub(super) fn of_host() -> Self {
        Self::below("/")
    }

    /// That of a host whose files are below a directory.
    pub(super) fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where ufw keeps its rules, and root alone writes.
    pub(super) fn directory(&self) -> PathBuf {
        self.root.join("etc/ufw")
    }

    /// What ufw locks as long as it works.
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("run/ufw.lock")
    }

    /// The files that ufw writes what it is told into; all are there where ufw is.
    pub(super) fn written(&self) -> [PathBuf; 4] {
        let [four, six] = self.rules();
        [CONFIG, DEFAULTS, four, six].map(|path| self.root.join(path))
    }

    fn rules(&self) -> [&'static str; 2] {
        let [new, old] = RULES;
        let is_there = |path: &str| self.root.join(path).exists();
        let is_old = !is_there(new[0]) && is_there(old[0]);
        if is_old { old } else { new }
    }

    /// Reads all of it, as soon as nobody is writing it: ufw writes its files in place.
    pub(super) async fn read_settled(&self) -> Result<UfwFiles, UfwError> {
        let mut read = self.read_files();
        for _ in 0..MOST_LOOKS {
            if !matches!(read, Err(UfwError::NotWhole { .. })) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            read = self.read_files();
        }
        read
    }

    /// Reads all of it as it is now.
    pub(super) fn read_files(&self) -> Result<UfwFiles, UfwError> {
        let [four, six] = self.rules();
        let defaults = self.read_whole(DEFAULTS, |text| text.contains("DEFAULT_OUTPUT_POLICY="))?;
        let config = self.read_whole(CONFIG, |text| text.contains("ENABLED="))?;
        let has_ipv6 = is_yes(&setting(&defaults, "IPV6"));
        let four = self.read_whole(four, is_closed)?;
        // Without IPv6 ufw leaves what it has of it where it is.
        let six = if has_ipv6 {
            self.read_whole(six, is_closed)?
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
    pub(super) fn is_enabled(&self) -> bool {
        read(&self.root.join(CONFIG)).is_ok_and(|text| is_yes(&setting(&text, "ENABLED")))
    }

    fn read_whole(&self, path: &str, is_whole: impl Fn(&str) -> bool) -> Result<String, UfwError> {
        let path = self.root.join(path);
        let text = read(&path)?;
        if is_whole(&text) {
            return Ok(text);
        }
        Err(UfwError::NotWhole {
            path: path.display().to_string(),
        })
    }
}

/// Whether a file of rules ends as ufw ends it.
fn is_closed(text: &str) -> bool {
    text.trim_end().ends_with("COMMIT")
}

/// Whether a file is what is left of one like `whole` when a write of it was broken off. A file of
/// rules says so itself. One of settings is empty, or ends in the middle of a line, and the lines it
/// still has are those of the whole one, some with other values: whoever takes lines out of it by
/// hand leaves whole ones.
pub(super) fn is_broken_off(whole: &str, found: &str) -> bool {
    if is_closed(whole) {
        return !is_closed(found);
    }
    if found.is_empty() {
        return !whole.is_empty();
    }
    let is_cut = whole.ends_with('\n') && !found.ends_with('\n');
    if !is_cut || found.lines().count() > whole.lines().count() {
        return false;
    }
    let n_complete = found.matches('\n').count();
    let mut pairs = whole.lines().zip(found.lines()).take(n_complete);
    pairs.all(|(old, new)| old == new || is_same_setting(old, new))
}

fn is_same_setting(one: &str, other: &str) -> bool {
    let name = |line: &str| line.split_once('=').map(|(name, _)| name.trim().to_owned());
    name(one).is_some() && name(one) == name(other)
}

fn read(path: &Path) -> Result<String, UfwError> {
    let bytes = read_bytes(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The content of one of ufw's files, which is text of any encoding.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, UfwError> {
    let failed = |source: io::Error| UfwError::Read {
        path: path.display().to_string(),
        source,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 == MAX_FILE_BYTES {
        return Err(failed(io::Error::other("it is too long")));
    }
    Ok(bytes)
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

/// Why the kernel does otherwise than is written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KernelFault {
    pub(super) why: String,
    /// Whether the kernel's own chains lead to those of ufw; ufw takes for granted that they do.
    pub(super) is_led: bool,
}

impl KernelFault {
    const fn new(why: String) -> Self {
        Self { why, is_led: true }
    }
}

/// Whether the kernel has what is written down, given what iptables lists.
pub(super) fn check_kernel(
    listing: &str,
    chains: &[ChainRule],
    defaults: Defaults,
) -> Result<(), KernelFault> {
    for chain in ["INPUT", "OUTPUT"] {
        let first = format!("-A {chain} -j ufw");
        if !listing.lines().any(|line| line.starts_with(&first)) {
            return Err(KernelFault {
                why: format!("the chain {chain} does not lead to those of ufw"),
                is_led: false,
            });
        }
    }
    for (chain, action) in [("INPUT", defaults.incoming), ("OUTPUT", defaults.outgoing)] {
        let policy = match action {
            FirewallAction::Allow => "ACCEPT",
            FirewallAction::Deny | FirewallAction::Reject => "DROP",
        };
        let wanted = format!("-P {chain} {policy}");
        if !listing.lines().any(|line| line.trim() == wanted) {
            let why = format!("the chain {chain} does not {policy} by default");
            return Err(KernelFault::new(why));
        }
    }
    let found = parse_chains(listing);
    if found == chains {
        Ok(())
    } else {
        Err(KernelFault::new(format!(
            "the kernel has {} rules of ufw's for people and not these {}",
            found.len(),
            chains.len()
        )))
    }
}

/// What iptables has to be told so that ufw makes its chains anew: what leads to them goes, and with it
/// the one by which ufw sees that they are there.
pub(super) fn plan_clearing(listing: &str) -> Vec<Vec<String>> {
    let own = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
    let mut orders = Vec::new();
    for line in listing.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        if let ["-A", chain @ ("INPUT" | "OUTPUT" | "FORWARD"), "-j", target] = words.as_slice()
            && target.starts_with("ufw")
        {
            orders.push(own(&["-D", chain, "-j", target]));
        }
    }
    for chain in ["ufw-before-logging-input", "ufw6-before-logging-input"] {
        if listing.lines().any(|line| line == format!("-N {chain}")) {
            orders.push(own(&["-F", chain]));
            orders.push(own(&["-X", chain]));
        }
    }
    orders
}

/// Reads any text as a file and as a listing.
pub(super) fn read_any(text: &str) {
    let defaults = Defaults {
        incoming: parse_policy(&setting(text, "DEFAULT_INPUT_POLICY")),
        outgoing: parse_policy(&setting(text, "DEFAULT_OUTPUT_POLICY")),
    };
    // What is wrong with it is of no interest here.
    check_kernel(text, &parse_chains(text), defaults).ok();
    plan_clearing(text);
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
    fn chains_that_nothing_leads_to_are_made_anew_and_those_of_others_stay() {
        let flushed = "-P INPUT ACCEPT\n-N ufw-before-logging-input\n-N docker\n-N ufw-user-input\n\
                       -A INPUT -j docker\n-A INPUT -s 10.0.0.1/32 -j ufw-user-input\n\
                       -A OUTPUT -j ufw-before-output\n";

        let fault = check_kernel(flushed, &[], DEFAULTS).unwrap_err();
        let orders: Vec<_> = plan_clearing(flushed)
            .iter()
            .map(|words| words.join(" "))
            .collect();

        assert!(!fault.is_led, "{fault:?}");
        assert_eq!(
            orders,
            [
                "-D OUTPUT -j ufw-before-output",
                "-F ufw-before-logging-input",
                "-X ufw-before-logging-input"
            ]
        );
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
