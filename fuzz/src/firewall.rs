//! What the agent reads of a host's packet filter: listings of nft, the kernel's word of changes, and
//! who is connected by SSH.
//! It never asks the machine it runs on.

use std::collections::BTreeSet;

use hidps_agent::collect::fuzzing::read_audit_message;
use hidps_agent::firewall::fuzzing::{
    ReadListing, describe_difference, read_changes, read_listing, read_nft_version,
};
use hidps_agent::firewall::{RuleList, SshPeer, TABLE_NAME};
use hidps_wire::{AgentFrame, Answer, MAX_AGENT_FRAME_BYTES};
use serde_json::Value;
use uuid::Uuid;

/// Longest sentence about somebody else's rules, in characters; it quotes a few names of them.
const MAX_SENTENCE: usize = 1_000;

/// A listing of nft, with whatever other programs have in it: an answer that the daemon can read,
/// with no rule that is not there, and a form for comparing that stays as it is.
pub fn nft_listing(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (before, after) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let said = describe_difference(before, after);
    check_sentence(&said);
    let version = read_nft_version(&text);
    assert!(
        version.is_none() || text.contains('v'),
        "nothing is made up"
    );
    let Ok(listing) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let ReadListing {
        rules,
        beside_ufw,
        compared,
        compared_again,
        without_peers,
        without_peers_again,
        faults: [fault, fault_compared],
        cut_off: (_, why),
        others,
    } = read_listing(&listing, peers());
    check_rules(rules, &listing);
    check_frame(beside_ufw);
    assert_eq!(compared, compared_again, "it compares with itself");
    assert_eq!(without_peers, without_peers_again, "peers go once");
    assert_eq!(fault, fault_compared, "what is compared has the same shape");
    check_sentence(&why);
    assert!(others.len() <= 1, "a listing names firewalld alone");
}

/// Those who may come back in the listings of the corpus.
fn peers() -> BTreeSet<SshPeer> {
    let peer = |address: &str| SshPeer {
        address: address.parse().expect("it is an address"),
        port: 22,
    };
    ["10.0.0.1", "fd77::3"].map(peer).into()
}

fn check_sentence(said: &str) {
    assert!(!said.contains(char::is_control), "it can be shown");
    let n_chars = said.chars().count();
    assert!(n_chars <= MAX_SENTENCE, "it is bounded: {n_chars}");
}

fn check_rules(list: RuleList, listing: &Value) {
    let listed = listing.to_string();
    for rule in &list.rules {
        assert_eq!(
            rule.managed,
            rule.family == "inet" && rule.table == TABLE_NAME,
            "whose it is"
        );
        assert!(rule.managed || rule.rule.is_none(), "others have no row");
        let counted = [rule.packets, rule.bytes].into_iter().flatten();
        for number in counted {
            assert!(listed.contains(&number.to_string()), "nothing is made up");
        }
    }
    check_frame(list);
}

fn check_frame(RuleList { rules, truncated }: RuleList) {
    let frame = AgentFrame::Answer {
        id: Uuid::nil(),
        answer: Answer::FirewallRules { rules, truncated },
    };
    let text = hidps_wire::encode(&frame);
    let read: Result<AgentFrame, _> = hidps_wire::decode(&text, MAX_AGENT_FRAME_BYTES);
    assert!(read.is_ok(), "the daemon can read it: {read:?}");
}

/// Datagrams of the kernel, each with its length before it: a change only where a table's name is in
/// what was told, and a record no longer than its bytes.
pub fn netlink_messages(data: &[u8]) {
    let datagrams = split_datagrams(data);
    let drifts = read_changes(&datagrams);
    assert!(drifts.len() <= datagrams.len(), "one for each at most");
    let names = [b"hidps".as_slice(), b"filter"];
    let is_named = |name: &[u8]| data.windows(name.len()).any(|it| it == name);
    assert!(
        drifts.is_empty() || names.into_iter().any(is_named),
        "nothing is made up"
    );
    for actor in drifts.into_iter().filter_map(|drift| drift.actor) {
        let name = actor.name.as_bytes();
        assert!(
            actor.name == "unknown" || name.is_empty() || is_named(name),
            "a name is told"
        );
    }
    for datagram in datagrams {
        let Some((kind, text)) = read_audit_message(datagram) else {
            assert!(datagram.len() < 16, "a whole message is read");
            continue;
        };
        assert_eq!(kind.to_ne_bytes(), datagram[4..6], "the kind is told");
        assert!(
            text.len() <= 3 * (datagram.len() - 16),
            "nothing is made up"
        );
    }
}

/// Two bytes of length before each datagram; what is left is the last one.
fn split_datagrams(mut data: &[u8]) -> Vec<&[u8]> {
    let mut datagrams = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        datagrams.push(datagram);
        data = rest;
    }
    datagrams
}
