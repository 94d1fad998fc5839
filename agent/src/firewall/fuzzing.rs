//! Entrances for fuzzing: what reads listings of nft, the kernel's word of changes, and who is
//! connected by SSH, from any bytes.
//! Nothing here is used by the agent itself.

use std::collections::{BTreeMap, BTreeSet};

use hidps_wire::{CutOff, FirewallPolicy};
use serde_json::Value;

use super::counts::Counts;
use super::cut_off::{Tracking, judge_cut_off};
use super::difference::Difference;
use super::drift::Transaction;
use super::guard::Guards;
use super::listing::{parse_rules, with_ufw};
use super::ruleset::{RuleSet, forget_peers, normalize};
use super::ssh_peers::Possible;
use super::{
    DaemonPlace, Drift, OtherFilter, RuleList, SshPeer, nft, other_filters, ssh_sessions, ufw,
};
use crate::config::Port;

/// What is read from a listing of nft.
#[derive(Debug)]
pub struct ReadListing {
    /// Its rules.
    pub rules: RuleList,
    /// Its rules beside those of people in ufw.
    pub beside_ufw: RuleList,
    /// The listing as it is compared.
    pub compared: Value,
    /// The same, made comparable once more.
    pub compared_again: Value,
    /// The same without those who may come back.
    pub without_peers: Value,
    /// The same, with them taken out once more.
    pub without_peers_again: Value,
    /// What is wrong with it as the table of a policy, and with the form that is compared.
    pub faults: [Option<String>; 2],
    /// Whether it would cut the daemon off, and why.
    pub cut_off: (CutOff, String),
    /// Filters of others.
    pub others: Vec<OtherFilter>,
}

/// Reads a listing in every way the agent does, with these who may come back.
#[must_use]
pub fn read_listing(listing: &Value, peers: BTreeSet<SshPeer>) -> ReadListing {
    let guards = Guards {
        peers,
        ..Guards::default()
    };
    let ports = BTreeSet::from([Port::SSH]);
    let loaded = RuleSet::new(&FirewallPolicy::default(), &ports, &guards);
    let without_peers = |table: &Value| {
        let mut table = table.clone();
        forget_peers(&mut table, &loaded);
        table
    };
    let rules = parse_rules(listing);
    let compared = normalize(listing);
    let without = without_peers(&compared);
    // Goes on from whatever is counted.
    loaded.load_script(&Counts::read(listing));
    ReadListing {
        beside_ufw: with_ufw(listing, rules.rules.clone()),
        rules,
        compared_again: normalize(&compared),
        without_peers_again: without_peers(&without),
        without_peers: without,
        faults: [listing, &compared].map(|table| loaded.check_shape(table).err()),
        cut_off: judge_cut_off(listing, Tracking::default(), &DaemonPlace::default()),
        others: other_filters::judge_filters(
            "",
            "",
            other_filters::has_firewalld(listing, listing),
        ),
        compared,
    }
}

/// Reads two texts as the table before and after somebody's doing; gives the sentence about it.
#[must_use]
pub fn describe_difference(before: &str, after: &str) -> String {
    Difference::between(before, after).describe()
}

/// Reads a text as what nft says of its version.
#[must_use]
pub fn read_nft_version(text: &str) -> Option<[u32; 3]> {
    nft::parse_version(text)
}

/// Reads a text as the table of tracked connections; gives whether the link to the daemon is doubted.
#[must_use]
pub fn read_tracking(text: &str, place: &DaemonPlace) -> (CutOff, String) {
    let tracking = Tracking {
        connections: Some(text),
        legacy_tables: Some(text),
    };
    judge_cut_off(&Value::Null, tracking, place)
}

/// Reads datagrams of the kernel, one after the other, as changes of the firewall.
#[must_use]
pub fn read_changes(datagrams: &[&[u8]]) -> Vec<Drift> {
    let mut transaction = Transaction::default();
    let drifts = datagrams.iter();
    drifts
        .filter_map(|datagram| transaction.on_datagram(datagram, || true))
        .collect()
}

/// Reads a text as the kernel's table of connections; gives those with a session, and how many more
/// there are.
#[must_use]
pub fn read_connections(text: &str) -> (BTreeSet<SshPeer>, usize) {
    let (mut possible, sessions) = (Possible::default(), BTreeMap::new());
    possible.keep(text.lines().map(str::to_owned), &sessions);
    let found = possible.find(&sessions);
    (found.peers, found.n_left_out)
}

/// Reads bytes as what the kernel and the SSH server say of a process of that server; gives who
/// logged in, the socket that a link names, and whether its title is that of a login.
#[must_use]
pub fn read_session(bytes: &[u8]) -> (Option<u32>, Option<u64>, bool) {
    let text = String::from_utf8_lossy(bytes);
    (
        ssh_sessions::parse_login(bytes),
        ssh_sessions::parse_socket(&text),
        ssh_sessions::is_title_of_login(&text),
    )
}

/// Reads a text as ufw's setting and as the names of older tables.
#[must_use]
pub fn read_other_filters(text: &str) -> Vec<OtherFilter> {
    other_filters::judge_filters(text, text, false)
}

/// Reads bytes as how ufw was before the agent; gives whether they are read again as written.
#[must_use]
pub fn read_found(bytes: &[u8]) -> Option<bool> {
    ufw::read_found(bytes)
}

/// Whether what is found of a file is what a write that was broken off would leave of it.
#[must_use]
pub fn is_broken_off(whole: &str, found: &str) -> bool {
    ufw::is_broken_off(whole, found)
}
