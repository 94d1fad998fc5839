//! What went wrong with a connection of sshd, or was refused, before anybody logged in.
//! It never says that a credential was wrong.

use crate::address::{Endpoint, parse_ip};
use crate::reading::{Facts, Reading, is_name};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    parse_identification(message)
        .or_else(|| parse_version(message))
        .or_else(|| parse_negotiation(message))
        .or_else(|| parse_refusal(message))
        .or_else(|| parse_timeout(message))
        .or_else(|| parse_reverse_mapping(message))
        .or_else(|| parse_key_exchange(message))
        .into()
}

/// A connection that said nothing, or not what SSH begins with.
fn parse_identification(message: &str) -> Option<Facts<'_>> {
    if let Some(rest) = message.strip_prefix("Did not receive identification string from ") {
        let facts = Facts::action("no_identification");
        return Some(match rest {
            "UNKNOWN" | "UNKNOWN port 65535" => facts,
            rest => facts.source(Endpoint::parse_words(rest)?),
        });
    }
    let kex = [
        "kex_exchange_identification: ",
        "ssh_exchange_identification: ",
    ];
    if let Some(rest) = kex.iter().find_map(|name| message.strip_prefix(name)) {
        return match rest {
            "Connection closed by remote host" | "read: Connection reset by peer" => {
                Some(Facts::action("no_identification"))
            }
            rest if rest.starts_with("client sent invalid protocol identifier ")
                || rest.starts_with("banner line contains invalid characters")
                || rest.starts_with("No SSH identification string") =>
            {
                Some(Facts::action("bad_protocol"))
            }
            _ => None,
        };
    }
    let rest = message.strip_prefix("banner exchange: Connection from ")?;
    let (peer, reason) = rest
        .split_once(": ")
        .filter(|(peer, _)| peer.contains(" port "))?;
    let facts = Facts::action("banner_error").source(Endpoint::parse_words(peer)?);
    Some(facts.text("reason", reason))
}

/// `Bad protocol version identification 'ANYTHING' from A port N`: the address is the last.
fn parse_version(message: &str) -> Option<Facts<'_>> {
    if message.starts_with("Protocol major versions differ: ") {
        return Some(Facts::action("bad_protocol"));
    }
    if let Some(rest) = message.strip_prefix("Protocol major versions differ for ") {
        let (peer, _) = rest.split_once(": ")?;
        return Some(Facts::action("bad_protocol").source(Endpoint::parse_words(peer)?));
    }
    let rest = message.strip_prefix("Bad protocol version identification '")?;
    let (_, peer) = rest.rsplit_once("' from ")?;
    Some(Facts::action("bad_protocol").source(Endpoint::parse_words(peer)?))
}

/// `Unable to negotiate with A port N: REASON`
fn parse_negotiation(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("Unable to negotiate with ")?;
    let (peer, reason) = rest.split_once(" port ").and_then(|(address, rest)| {
        let (port, reason) = rest.split_once(": ")?;
        Some((Endpoint::parse(address, port)?, reason))
    })?;
    let facts = Facts::action("negotiation_failed").source(peer);
    Some(facts.text("reason", reason))
}

/// `User U from A not allowed because REASON`, `ROOT LOGIN REFUSED FROM A port N`
fn parse_refusal(message: &str) -> Option<Facts<'_>> {
    if let Some(peer) = message.strip_prefix("ROOT LOGIN REFUSED FROM ") {
        let facts = Facts::action("not_allowed").text("user", "root");
        return Some(facts.source(Endpoint::parse_words(peer)?));
    }
    let rest = message.strip_prefix("User ")?;
    let (who, reason) = rest.split_once(" not allowed because ")?;
    let (user, host) = match who.split_once(" from ") {
        Some((user, host)) => (user, Some(host)),
        None => (who, None),
    };
    if !is_name(user) {
        return None;
    }
    // With UseDNS it is a name, which whoever owns the address may choose.
    let source = host.and_then(Endpoint::parse_host);
    let facts = Facts::action("not_allowed").text("user", user);
    Some(facts.source_if(source).text("reason", reason))
}

/// `Timeout before authentication for A port N`, since 9.8 `for connection from A to A, pid = N`
fn parse_timeout(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("Timeout before authentication for ")?;
    let source = match rest.strip_prefix("connection from ") {
        Some(rest) => Endpoint::parse_host(rest.split_once(" to ")?.0)?,
        None => Endpoint::parse_words(rest.strip_suffix('.').unwrap_or(rest))?,
    };
    Some(Facts::action("timeout").source(source))
}

/// `reverse mapping checking getaddrinfo for HOST [A] failed[…]` and its relatives; the name is
/// chosen by the owner of the address.
fn parse_reverse_mapping(message: &str) -> Option<Facts<'_>> {
    let message = message
        .strip_suffix(" - POSSIBLE BREAK-IN ATTEMPT!")
        .unwrap_or(message);
    let address =
        if let Some(rest) = message.strip_prefix("reverse mapping checking getaddrinfo for ") {
            let (_, address) = rest
                .strip_suffix("] failed.")
                .or_else(|| rest.strip_suffix("] failed"))?
                .rsplit_once(" [")?;
            address
        } else if let Some(rest) = message.strip_prefix("Nasty PTR record \"") {
            let (_, address) = rest
                .strip_suffix(", ignoring")?
                .rsplit_once("\" is set up for ")?;
            address
        } else {
            let rest = message.strip_prefix("Address ")?;
            let (address, rest) = rest.split_once(" maps to ")?;
            if !rest.contains(", but this does not map back to the address") {
                return None;
            }
            address
        };
    let facts = Facts::action("reverse_mapping_failed");
    Some(facts.text("src_ip", parse_ip(address)?))
}

/// A key exchange that broke.
fn parse_key_exchange(message: &str) -> Option<Facts<'_>> {
    let failed = || Facts::action("key_exchange_failed");
    if let Some(rest) = message.strip_prefix("ssh_dispatch_run_fatal: Connection from ") {
        let (peer, reason) = rest.split_once(" port ").and_then(|(address, rest)| {
            let (port, reason) = rest.split_once(": ")?;
            Some((Endpoint::parse(address, port)?, reason))
        })?;
        return Some(failed().source(peer).text("reason", reason));
    }
    let beginnings = ["kex protocol error: ", "Hm, kex protocol error: "];
    let reason = beginnings
        .iter()
        .find_map(|name| message.strip_prefix(name))?;
    Some(failed().text("reason", reason))
}
