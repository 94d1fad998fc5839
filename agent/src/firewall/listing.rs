//! The host's rules as data for people: from nft's JSON, without interpreting it.
//! A rule of another program is passed on in nft's own vocabulary, however exotic.

use hidps_wire::{FirewallRule, MAX_AGENT_FRAME_BYTES};
use serde_json::Value;
use uuid::Uuid;

use super::counts::{count_of, rule_of};
use super::nft::objects;
use super::{RuleList, TABLE_FAMILY, TABLE_NAME};

/// Most rules of one answer.
const MAX_RULES: usize = 5_000;

/// Most bytes of one answer: a frame with room for its envelope.
const MAX_BYTES: usize = MAX_AGENT_FRAME_BYTES - 1_024;

/// The rules of a listing, as many as fit one answer.
pub(super) fn parse_rules(listing: &Value) -> RuleList {
    let rules = objects(listing, "rule").flat_map(|rule| parse_rule(listing, rule));
    fit(rules)
}

/// The same, with the rules of people in ufw as ufw knows them.
pub(super) fn with_ufw(listing: &Value, ufw: Vec<FirewallRule>) -> RuleList {
    let is_of_ufw = |rule: &Value| {
        let chain = rule["chain"].as_str().unwrap_or_default();
        chain.starts_with("ufw-user-") || chain.starts_with("ufw6-user-")
    };
    let others = objects(listing, "rule").filter(|rule| !is_of_ufw(rule));
    let others = others.flat_map(|rule| parse_rule(listing, rule));
    fit(ufw.into_iter().chain(others))
}

fn fit(rules: impl Iterator<Item = FirewallRule>) -> RuleList {
    let mut list = RuleList::default();
    let mut room = MAX_BYTES;
    for rule in rules {
        let size = hidps_wire::encode(&rule).len() + 1;
        if list.rules.len() == MAX_RULES || size > room {
            list.truncated = true;
            break;
        }
        room -= size;
        list.rules.push(rule);
    }
    list
}

/// One rule, or as many as the members of the set that our table keeps for it.
fn parse_rule(listing: &Value, rule: &Value) -> Vec<FirewallRule> {
    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let (family, table) = (text("family"), text("table"));
    let managed = family == TABLE_FAMILY && table == TABLE_NAME;
    let whole = FirewallRule {
        managed,
        family,
        table,
        chain: text("chain"),
        handle: rule["handle"].as_u64().unwrap_or_default(),
        expression: rule["expr"].clone(),
        comment: rule["comment"].as_str().map(str::to_owned),
        rule: rule_of(rule).filter(|_| managed),
        packets: count_of(rule).map(|count| count.packets),
        bytes: count_of(rule).map(|count| count.bytes),
    };
    let members = if managed {
        members_of(listing, rule)
    } else {
        Vec::new()
    };
    if members.is_empty() {
        return vec![whole];
    }
    let of_member = |(member, id): (&Value, Uuid)| FirewallRule {
        expression: with_member(&whole.expression, &member["val"]),
        comment: member["comment"].as_str().map(str::to_owned),
        rule: Some(id),
        packets: count_of(member).map(|count| count.packets),
        bytes: count_of(member).map(|count| count.bytes),
        ..whole.clone()
    };
    members.into_iter().map(of_member).collect()
}

/// The members, each with its row, of the set that a rule of our table looks into.
fn members_of<'l>(listing: &'l Value, rule: &Value) -> Vec<(&'l Value, Uuid)> {
    let statements = rule["expr"].as_array().into_iter().flatten();
    let name = statements
        .filter_map(|statement| statement["match"]["right"].as_str()?.strip_prefix('@'))
        .next();
    let set = name.and_then(|name| {
        objects(listing, "set").find(|set| {
            set["family"] == TABLE_FAMILY && set["table"] == TABLE_NAME && set["name"] == name
        })
    });
    let members = set.and_then(|set| set["elem"].as_array());
    members
        .into_iter()
        .flatten()
        .filter_map(|member| {
            let member = member.get("elem")?;
            Some((member, rule_of(member)?))
        })
        .collect()
}

/// An expression with a member in the place of its set.
fn with_member(expression: &Value, member: &Value) -> Value {
    let mut expression = expression.clone();
    for statement in expression.as_array_mut().into_iter().flatten() {
        let right = statement.pointer_mut("/match/right");
        if let Some(right) = right.filter(|it| it.as_str().is_some_and(|it| it.starts_with('@'))) {
            *right = member.clone();
        }
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{AgentFrame, Answer};
    use serde_json::json;

    fn rule(table: &str, handle: u64) -> Value {
        json!({"rule": {
            "family": "inet", "table": table, "chain": "input", "handle": handle,
            "comment": "why", "expr": [{"xt": {"type": "match", "name": "owner"}}, {"accept": null}]
        }})
    }

    #[test]
    fn rules_of_all_programs_are_listed_and_ours_are_marked() {
        let listing = json!({"nftables": [
            {"metainfo": {"json_schema_version": 1}},
            {"table": {"family": "inet", "name": "filter"}},
            rule("filter", 4),
            rule("hidps", 5),
        ]});

        let list = parse_rules(&listing);

        assert!(!list.truncated);
        let seen: Vec<_> = list
            .rules
            .iter()
            .map(|r| (r.table.as_str(), r.handle, r.managed))
            .collect();
        assert_eq!(seen, [("filter", 4, false), ("hidps", 5, true)]);
        assert_eq!(list.rules[0].expression[1], json!({"accept": null}));
        assert_eq!(list.rules[0].comment.as_deref(), Some("why"));
    }

    #[test]
    fn a_long_list_is_cut_to_what_a_frame_holds() {
        let rules: Vec<_> = (0..6_000).map(|handle| rule("filter", handle)).collect();

        let list = parse_rules(&json!({ "nftables": rules }));

        assert!(list.truncated);
        let frame = AgentFrame::Answer {
            id: uuid::Uuid::nil(),
            answer: Answer::FirewallRules {
                rules: list.rules,
                truncated: true,
            },
        };
        assert!(hidps_wire::encode(&frame).len() <= MAX_AGENT_FRAME_BYTES);
    }

    #[test]
    fn a_strange_listing_is_no_rule_and_no_crash() {
        for listing in [
            json!(null),
            json!([]),
            json!({"nftables": 3}),
            json!({"nftables": [1]}),
        ] {
            assert_eq!(parse_rules(&listing), RuleList::default());
        }
    }
}
