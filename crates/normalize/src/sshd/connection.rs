//! Connections of sshd: how they began and how they ended.
//! It never says whether somebody was let in.

use crate::address::{Endpoint, parse_ip, parse_number};
use crate::login::{Login, Outcome};
use crate::reading::{Facts, Reading, is_name};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let departures = [
        ("Connection closed by ", "closed"),
        ("Connection reset by ", "reset"),
        ("Disconnected from ", "disconnected"),
    ];
    for (beginning, action) in departures {
        if let Some(rest) = message.strip_prefix(beginning) {
            return parse_departure(rest, action).into();
        }
    }
    parse_disconnecting(message)
        .or_else(|| Some(parse_listening(message)?.into()))
        .or_else(|| Some(parse_subsystem(message)?.into()))
        .or_else(|| Some(parse_drop(message)?.into()))
        .unwrap_or(Reading::Other)
}

/// The other end of a connection, as sshd names it.
struct Peer<'a> {
    /// Who it said it was; none before it said so.
    user: Option<&'a str>,
    /// None when the server itself did not know.
    source: Option<Endpoint<'a>>,
    invalid_user: Option<bool>,
    /// Whether it was let in.
    is_in: bool,
}

impl<'a> Peer<'a> {
    /// `[authenticating user U |invalid user U |user U ]A[ port N]`
    fn parse(text: &'a str) -> Option<Self> {
        let kinds = [
            ("invalid user ", Some(true), false),
            ("authenticating user ", Some(false), false),
            ("user ", Some(false), true),
        ];
        let (mut user, mut invalid_user, mut is_in) = (None, None, false);
        let mut place = text;
        for (kind, invalid, inside) in kinds {
            if let Some(rest) = text.strip_prefix(kind) {
                // The server writes the address last.
                let (before, _) = rest.rsplit_once(" port ")?;
                let (name, _) = before.rsplit_once(' ')?;
                place = rest.get(name.len() + 1..)?;
                (user, invalid_user, is_in) = (Some(name), invalid, inside);
                break;
            }
        }
        let source = match place {
            "UNKNOWN" | "UNKNOWN port 65535" => None,
            place => Some(Endpoint::parse_words(place)?),
        };
        Some(Self {
            user,
            source,
            invalid_user,
            is_in,
        })
    }

    fn into_facts(self, action: &'static str) -> Facts<'a> {
        if self.is_in {
            return Facts::action(action)
                .text_if("user", self.user)
                .source_if(self.source);
        }
        let login = Login {
            user: self.user,
            source: self.source,
            invalid_user: self.invalid_user,
            ..Login::new(Outcome::Aborted)
        };
        login.into_facts().text("action", action)
    }
}

fn parse_departure<'a>(rest: &'a str, action: &'static str) -> Option<Facts<'a>> {
    Some(Peer::parse(rest)?.into_facts(action))
}

/// `Disconnecting PEER: Too many authentication failures`, the one reason in which nothing is
/// chosen by the peer.
fn parse_disconnecting(message: &str) -> Option<Reading<'_>> {
    let rest = message.strip_prefix("Disconnecting")?;
    let reason = "Too many authentication failures";
    let Some(peer) = rest
        .strip_prefix(' ')
        .and_then(|rest| rest.strip_suffix(reason)?.strip_suffix(": "))
    else {
        let rest = rest.strip_prefix(": ")?.strip_prefix(reason)?;
        let user = match rest.strip_prefix(" for ") {
            Some(user) => Some(user),
            None if rest.is_empty() => None,
            None => return None,
        };
        let facts = Facts::none().text("outcome", "aborted");
        let facts = facts.text_if("user", user);
        return Some(facts.text("action", "too_many_failures").into());
    };
    Some(Peer::parse(peer)?.into_facts("too_many_failures").into())
}

/// `Received disconnect from A port N:CODE: TEXT`, in old versions `A: CODE: TEXT`, and
/// `Disconnecting PEER: TEXT`.
pub(super) fn parse_farewell(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("Received disconnect from ")?;
    let (source, rest) = match rest.split_once(" port ") {
        // The text of an old line may hold the word, an address cannot.
        Some((address, rest)) if !address.contains(' ') => {
            let (port, rest) = rest.split_once(':')?;
            let is_known = address != "UNKNOWN";
            let source = is_known.then(|| Endpoint::parse(address, port));
            (source, rest)
        }
        _ => {
            let (address, rest) = rest.split_once(": ")?;
            (Some(Endpoint::parse_host(address)), rest)
        }
    };
    let source = match source {
        Some(source) => Some(source?),
        None => None,
    };
    let (code, reason) = rest.split_once(": ")?;
    parse_number::<u32>(code.trim_start())?;
    let facts = Facts::action("disconnected").source_if(source);
    Some(facts.text("reason", reason))
}

/// `Server listening on A port N.`
fn parse_listening(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("Server listening on ")?;
    let (address, port) = rest.strip_suffix('.')?.split_once(" port ")?;
    let facts = Facts::action("listening").text("address", parse_ip(address)?);
    Some(facts.number("port", parse_number::<u16>(port)?))
}

/// `subsystem request for NAME[ by user U]`
fn parse_subsystem(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("subsystem request for ")?;
    let (name, user) = match rest.split_once(" by user ") {
        Some((name, user)) => (name, Some(user)),
        None => (rest, None),
    };
    let are_names = is_name(name) && user.is_none_or(is_name);
    let facts = || Facts::action("subsystem").text("subsystem", name);
    are_names.then(|| facts().text_if("user", user))
}

/// `drop connection #N from [A]:N on [A]:N REASON`: too many at once, or a penalty.
fn parse_drop(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("drop connection #")?;
    let (_, rest) = rest.split_once(" from [")?;
    let (address, rest) = rest.split_once("]:")?;
    let (port, rest) = rest.split_once(" on [")?;
    let (_, reason) = rest.split_once("]:")?.1.split_once(' ')?;
    let facts = Facts::action("dropped").source(Endpoint::parse(address, port)?);
    Some(facts.text("reason", reason))
}
