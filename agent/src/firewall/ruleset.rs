//! The agent's table as data and as the text that loads it.
//! Nothing from the network enters the text as it came: it is made of fixed words, of addresses and
//! numbers that were parsed, and of the ids of rows.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hidps_wire::{Direction, FirewallAction, FirewallPolicy};
use serde_json::Value;
use uuid::Uuid;

use super::counts::{Count, Counts};
use super::guard::Guards;
use super::nft::objects;
use super::{TABLE_FAMILY, TABLE_NAME};
use crate::config::Port;

mod fixed;
mod policy;
mod sets;

pub(super) use sets::{ElementSet, is_of_peers};

/// Removes the table in the same transaction, whether it is there or not.
const RESET: &str = "table inet hidps\ndelete table inet hidps\n";

/// What a log line of the kernel begins with.
const LOG_PREFIX: &str = "hidps denied: ";

/// How much the kernel log gets of what is denied: a scan must not fill the disk.
const LOG_LIMIT: &str = "limit rate 5/second burst 20 packets";

/// One rule of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    matches: String,
    /// What it counts for; none counts nothing.
    counted: Counted,
    verdict: &'static str,
    comment: String,
}

/// What the counter of a line is kept under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counted {
    /// It has none.
    No,
    /// It begins anew with each table.
    Anew,
    /// It goes on for as long as the row is desired.
    For(Uuid),
}

/// One chain of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Chain {
    name: &'static str,
    /// Where packets come from, and what becomes of those no rule decides; none where rules send
    /// packets here.
    base: Option<Base>,
    lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Base {
    hook: &'static str,
    policy: &'static str,
}

/// The whole table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RuleSet {
    sets: Vec<ElementSet>,
    chains: Vec<Chain>,
}

impl Line {
    fn accept(matches: impl Into<String>, comment: impl Into<String>) -> Self {
        Self {
            matches: matches.into(),
            counted: Counted::No,
            verdict: "accept",
            comment: comment.into(),
        }
    }

    fn write(&self, text: &mut String, counts: &Counts) {
        let counter = match self.counted {
            Counted::No => String::new(),
            Counted::Anew => "counter".to_owned(),
            Counted::For(id) => counts.statement(id),
        };
        let words = [&self.matches, &counter, self.verdict];
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            text.push_str(word);
            text.push(' ');
        }
        writeln!(text, "comment \"{}\"", self.comment).expect("a string takes any text");
    }
}

impl RuleSet {
    /// The table that lets through what the policy says, and what is guarded or kept open.
    pub(super) fn new(
        policy: &FirewallPolicy,
        keep_open: &BTreeSet<Port>,
        guards: &Guards,
    ) -> Self {
        let mut sets = sets::of_peers(&guards.peers);
        let mut chains = Vec::new();
        if policy.logging {
            chains.extend(fixed::logging_chains());
        }
        let mut incoming = fixed::incoming(&sets);
        incoming.extend(policy::lines(policy, Direction::In, &mut sets));
        if policy.incoming != FirewallAction::Allow {
            incoming.extend(fixed::undecided(keep_open));
            incoming.extend(fixed::ending(policy.incoming, policy.logging));
        }
        chains.push(base("input", policy.incoming, incoming));
        if filters_outgoing(policy) {
            let mut outgoing = fixed::outgoing(guards);
            outgoing.extend(policy::lines(policy, Direction::Out, &mut sets));
            outgoing.extend(fixed::ending(policy.outgoing, policy.logging));
            chains.push(base("output", policy.outgoing, outgoing));
        }
        Self { sets, chains }
    }

    /// The transaction that replaces whatever is under our name by this table, whose counters go on
    /// from these.
    pub(super) fn load_script(&self, counts: &Counts) -> String {
        format!("{RESET}{}", self.table_text(counts))
    }

    /// The table alone.
    pub(super) fn table_text(&self, counts: &Counts) -> String {
        // Statements end with the line: nft 1.0 refuses `; }` on one line.
        let mut text = format!("table {TABLE_FAMILY} {TABLE_NAME} {{\n");
        for set in &self.sets {
            set.write(&mut text, counts);
        }
        for chain in &self.chains {
            writeln!(text, "\tchain {} {{", chain.name).expect("a string takes any text");
            if let Some(Base { hook, policy }) = chain.base {
                writeln!(
                    text,
                    "\t\ttype filter hook {hook} priority filter; policy {policy};"
                )
                .expect("a string takes any text");
            }
            for line in &chain.lines {
                text.push_str("\t\t");
                line.write(&mut text, counts);
            }
            text.push_str("\t}\n");
        }
        text.push_str("}\n");
        text
    }

    /// Whether a listing of the table has this shape: the chains with what they do at their ends, our
    /// rules in order, and all members of the sets.
    pub(super) fn check_shape(&self, table: &Value) -> Result<(), String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for chain in &self.chains {
            let found = objects(table, "chain").find(|it| it["name"] == chain.name);
            let is_so = found.is_some_and(|found| match chain.base {
                Some(base) => found["hook"] == base.hook && found["policy"] == base.policy,
                None => true,
            });
            if !is_so {
                return Err(format!("its chain {} is not as it was loaded", chain.name));
            }
            let found: Vec<_> = objects(table, "rule")
                .filter(|rule| rule["chain"] == chain.name)
                .map(|rule| text(&rule["comment"]))
                .collect();
            let wanted: Vec<_> = chain.lines.iter().map(|line| &line.comment).collect();
            if found.iter().ne(wanted.iter().copied()) {
                return Err(format!(
                    "the rules of its chain {} are {} and not {}",
                    chain.name,
                    some(&found),
                    some(&wanted)
                ));
            }
        }
        if objects(table, "chain").count() != self.chains.len() {
            return Err("it has other chains".to_owned());
        }
        self.sets.iter().try_for_each(|set| set.check_shape(table))
    }
}

/// A few of many comments.
fn some(comments: &[impl std::fmt::Debug]) -> String {
    const MAX_NAMED: usize = 12;
    let named = &comments[..comments.len().min(MAX_NAMED)];
    format!("{named:?} ({} in all)", comments.len())
}

/// Whether anything that leaves the host can be stopped; without it there is no chain for that.
pub(super) fn filters_outgoing(policy: &FirewallPolicy) -> bool {
    let is_outgoing = |rule: &hidps_wire::FilterRule| rule.direction == Direction::Out;
    policy.outgoing != FirewallAction::Allow || policy.rules.iter().any(is_outgoing)
}

const fn base(hook: &'static str, default: FirewallAction, lines: Vec<Line>) -> Chain {
    let policy = match default {
        FirewallAction::Allow => "accept",
        FirewallAction::Deny | FirewallAction::Reject => "drop",
    };
    Chain {
        name: hook,
        base: Some(Base { hook, policy }),
        lines,
    }
}

/// The transaction that removes the table.
pub(super) const fn remove_script() -> &'static str {
    RESET
}

/// A listing without what the kernel numbers, counts and lets expire, so that equal tables compare
/// equal. Members of a set have no order.
pub(super) fn normalize(listing: &Value) -> Value {
    match listing {
        Value::Array(items) => Value::Array(
            items
                .iter()
                .filter(|item| item.get("metainfo").is_none())
                .map(normalize)
                .collect(),
        ),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .filter(|(key, _)| {
                    !matches!(key.as_str(), "handle" | "packets" | "bytes" | "expires")
                })
                .map(|(key, value)| (key.clone(), normalize_entry(key, value)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => listing.clone(),
    }
}

fn normalize_entry(key: &str, value: &Value) -> Value {
    let mut value = normalize(value);
    if key == "elem"
        && let Value::Array(members) = &mut value
    {
        members.sort_by_cached_key(ToString::to_string);
    }
    value
}

/// Takes those who may come back for a while out of a normalized listing: they go by themselves. Who
/// is not among them stays, for somebody else has let them in.
pub(super) fn forget_peers(table: &mut Value, loaded: &RuleSet) {
    let known: BTreeSet<String> = loaded
        .sets
        .iter()
        .filter(|set| is_of_peers(&set.name))
        .flat_map(ElementSet::member_words)
        .collect();
    let Some(entries) = table.get_mut("nftables").and_then(Value::as_array_mut) else {
        return;
    };
    for entry in entries {
        let Some(set) = entry.get_mut("set").and_then(Value::as_object_mut) else {
            continue;
        };
        if !set
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(is_of_peers)
        {
            continue;
        }
        let mut is_empty = true;
        if let Some(members) = set.get_mut("elem").and_then(Value::as_array_mut) {
            members.retain(|member| {
                !sets::words_of(member).is_some_and(|words| known.contains(&words))
            });
            is_empty = members.is_empty();
        }
        if is_empty {
            set.remove("elem");
        }
    }
}

impl Counts {
    fn statement(&self, id: Uuid) -> String {
        match self.of(id) {
            None => "counter".to_owned(),
            Some(Count { packets, bytes }) => format!("counter packets {packets} bytes {bytes}"),
        }
    }
}

#[cfg(test)]
mod tests;
