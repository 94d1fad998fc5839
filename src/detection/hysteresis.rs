//! Which rules wait for another one before they are raised again, per agent and group.
//! It never keeps quiet about anything longer than it remembers why.

use std::collections::{BTreeMap, HashMap};

use hidps_rules::{RuleInfo, RuleSet};
use hidps_wire::AgentId;

/// Most rules and groups of one agent that wait. The one that waits longest is raised again too
/// early rather than never.
const MAX_WAITING: usize = 256;

/// Which rules a match arms again.
#[derive(Debug, Default)]
pub(super) struct Rearming {
    armed_by: HashMap<String, Vec<String>>,
}

impl Rearming {
    /// What the rules of a set say.
    pub(super) fn of(set: &RuleSet) -> Self {
        let mut rearming = Self::default();
        for rule in set.rules() {
            if let Some(by) = &rule.rearm {
                let armed = rearming.armed_by.entry(by.clone()).or_default();
                armed.push(rule.id.clone());
            }
        }
        rearming
    }
}

/// What waits, of one worker.
#[derive(Debug, Default)]
pub(super) struct Hysteresis {
    waiting: HashMap<AgentId, Waiting>,
}

/// What waits, of one agent: rule and group, and since which match.
#[derive(Debug, Default)]
struct Waiting {
    since: BTreeMap<(String, String), u64>,
    n_matches: u64,
}

impl Hysteresis {
    /// Arms again what waits for this match, whatever becomes of the match itself: that nobody wants
    /// to hear of it does not make it untrue.
    pub(super) fn rearm(
        &mut self,
        agent: AgentId,
        rule: &RuleInfo,
        group: &str,
        rearming: &[&Rearming],
    ) {
        for armed in rearming
            .iter()
            .filter_map(|rearming| rearming.armed_by.get(&rule.id))
            .flatten()
        {
            if let Some(waiting) = self.waiting.get_mut(&agent) {
                waiting.since.remove(&(armed.clone(), group.to_owned()));
            }
        }
    }

    /// Whether a rule that matched may be raised; if so, it waits from now on if it is one that does.
    pub(super) fn may_raise(&mut self, agent: AgentId, rule: &RuleInfo, group: &str) -> bool {
        rule.rearm.is_none()
            || self
                .waiting
                .entry(agent)
                .or_default()
                .begin(&rule.id, group)
    }

    /// Forgets agents for which nothing waits.
    pub(super) fn tidy(&mut self) {
        self.waiting.retain(|_, waiting| !waiting.since.is_empty());
    }
}

impl Waiting {
    /// Lets a rule and group wait; answers whether they did not yet.
    fn begin(&mut self, rule: &str, group: &str) -> bool {
        self.n_matches += 1;
        let key = (rule.to_owned(), group.to_owned());
        if self.since.contains_key(&key) {
            return false;
        }
        if self.since.len() >= MAX_WAITING {
            let oldest = self.since.iter().min_by_key(|(_, since)| **since);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.since.remove(&oldest);
            }
        }
        self.since.insert(key, self.n_matches);
        true
    }
}

#[cfg(test)]
mod tests {
    use hidps_rules::RuleFile;
    use uuid::Uuid;

    use super::*;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
    const OTHER: AgentId = AgentId::new(Uuid::from_u128(2));

    const RULES: &str = "\
title: Full
id: full
logsource: {product: hidps}
detection: {s: {disk|gte: 90}, condition: s}
hidps: {group-by: [mount], rearm: room}
---
title: Room
id: room
logsource: {product: hidps}
detection: {s: {disk|lt: 80}, condition: s}
hidps: {group-by: [mount]}
";

    fn set() -> RuleSet {
        let file = RuleFile {
            name: "r.yml",
            text: RULES,
        };
        RuleSet::compile(&[file]).expect("it compiles")
    }

    /// Whether each match in turn may be raised.
    fn raised(matches: &[(AgentId, &str, &str)]) -> Vec<bool> {
        let set = set();
        let rearming = Rearming::of(&set);
        let mut hysteresis = Hysteresis::default();
        let may = |(agent, rule, group): &(AgentId, &str, &str)| {
            let rule = set.rule(rule).expect("it is there");
            hysteresis.rearm(*agent, rule, group, &[&rearming]);
            hysteresis.may_raise(*agent, rule, group)
        };
        matches.iter().map(may).collect()
    }

    #[test]
    fn a_rule_is_raised_once_until_the_named_one_matched_for_the_same_group() {
        let matches = [
            (AGENT, "full", "/"),
            (AGENT, "full", "/"),
            (AGENT, "room", "/var"),
            (AGENT, "full", "/"),
            (OTHER, "room", "/"),
            (AGENT, "full", "/"),
            (AGENT, "room", "/"),
            (AGENT, "full", "/"),
        ];

        let expected = [true, false, true, false, true, false, true, true];
        assert_eq!(raised(&matches), expected);
    }

    #[test]
    fn past_the_bound_the_oldest_is_raised_again() {
        let groups: Vec<String> = (0..=MAX_WAITING).map(|n| n.to_string()).collect();
        let mut matches: Vec<_> = groups
            .iter()
            .map(|group| (AGENT, "full", group.as_str()))
            .collect();
        matches.extend([(AGENT, "full", "2"), (AGENT, "full", "0")]);

        let raised = raised(&matches);

        assert_eq!(raised.last_chunk(), Some(&[false, true]));
    }
}
