//! The risk of an agent: what was seen on it within a window, weighed together.
//! It never counts the same trouble twice, and never depends on the order of what was seen.
//!
//! Each rule and group is one independent hint with a probability of risk / 100 that something is
//! wrong; the score is the probability that not all of them are harmless:
//! `100 * (1 - product of (1 - risk / 100))`, rounded. More hints never lower it, it stays within
//! 0 and 100, and a repeat only makes its hint last longer.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hidps_wire::AgentId;
use jiff::Timestamp;

use crate::model::{Contribution, RiskReport};

/// How far the score looks back: an attack takes minutes to hours, and yesterday's is an alert.
pub(super) const WINDOW: Duration = Duration::from_secs(3600);

/// Most hints of one agent. The lightest go first; with this many heavier ones, a score does not
/// change any more by what went.
const MAX_HINTS: usize = 64;

/// Contributions told of; an explanation, not a list of everything.
const MAX_TOLD: usize = 5;

/// A score that lasts is told of again when it lasts this much longer.
const REFRESH: Duration = Duration::from_secs(WINDOW.as_secs() / 8);

/// One hint at trouble: a rule, and the group it matched for.
type Hint = (String, String);

/// What one hint weighs.
#[derive(Debug, Clone)]
struct Weight {
    risk: u8,
    title: String,
    last_ms: i64,
}

/// The hints of one agent.
#[derive(Debug, Default)]
pub(super) struct RiskWindow {
    hints: BTreeMap<Hint, Weight>,
    newest_ms: i64,
}

impl RiskWindow {
    /// Adds what was seen at a time.
    pub(super) fn add(&mut self, rule_id: &str, group: &str, title: &str, risk: u8, now_ms: i64) {
        self.newest_ms = match self.hints.is_empty() {
            true => now_ms,
            false => self.newest_ms.max(now_ms),
        };
        let hint = (rule_id.to_owned(), group.to_owned());
        let weight = self.hints.entry(hint).or_insert_with(|| Weight {
            risk: 0,
            title: title.to_owned(),
            last_ms: now_ms,
        });
        weight.risk = weight.risk.max(risk.min(100));
        weight.last_ms = weight.last_ms.max(now_ms);
        if self.hints.len() > MAX_HINTS {
            let lightest = self.hints.iter();
            let lightest = lightest.min_by_key(|(hint, weight)| (weight.risk, (*hint).clone()));
            if let Some(hint) = lightest.map(|(hint, _)| hint.clone()) {
                self.hints.remove(&hint);
            }
        }
    }

    /// Forgets what lies before the window that ends now.
    fn forget(&mut self, now_ms: i64) {
        let begin = now_ms.saturating_sub(window_ms());
        self.hints.retain(|_, weight| weight.last_ms > begin);
    }

    /// The score, 0 to 100.
    pub(super) fn score(&self) -> u8 {
        // Sorted, so that equal hints give the same number to the last digit.
        let mut risks: Vec<u8> = self.hints.values().map(|weight| weight.risk).collect();
        risks.sort_unstable();
        let harmless: f64 = risks
            .iter()
            .map(|risk| 1.0 - f64::from(*risk) / 100.0)
            .product();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it lies between 0 and 100"
        )]
        let score = ((1.0 - harmless) * 100.0).round() as u8;
        score.min(100)
    }

    /// When the score would be zero if nothing more were seen.
    fn valid_until_ms(&self) -> i64 {
        self.newest_ms.saturating_add(window_ms())
    }

    /// What weighs most, one entry per rule, heaviest first.
    fn contributions(&self) -> Vec<Contribution> {
        let mut rules: BTreeMap<&str, &Weight> = BTreeMap::new();
        for ((rule, _), weight) in &self.hints {
            let heaviest = rules.entry(rule).or_insert(weight);
            if weight.risk > heaviest.risk {
                *heaviest = weight;
            }
        }
        let told = rules.into_iter().map(|(rule_id, weight)| Contribution {
            rule_id: rule_id.to_owned(),
            title: weight.title.clone(),
            risk: weight.risk,
        });
        let mut told: Vec<Contribution> = told.collect();
        told.sort_by_key(|part| std::cmp::Reverse(part.risk));
        told.truncate(MAX_TOLD);
        told
    }
}

fn window_ms() -> i64 {
    i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX)
}

/// The risk of every agent of one worker, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct RiskBook {
    agents: HashMap<AgentId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    window: RiskWindow,
    told: Option<(u8, i64)>,
}

impl RiskBook {
    /// Adds what was seen on an agent.
    pub(super) fn add(&mut self, agent: AgentId, seen: &Seen<'_>, now_ms: i64) {
        let entry = self.agents.entry(agent).or_default();
        let Seen {
            rule_id,
            group,
            title,
            risk,
        } = seen;
        entry.window.add(rule_id, group, title, *risk, now_ms);
    }

    /// The scores that changed since they were last told of; an agent without any hint left is told
    /// of once more and then forgotten.
    pub(super) fn poll_changed(&mut self, now_ms: i64) -> Vec<RiskReport> {
        let refresh_ms = i64::try_from(REFRESH.as_millis()).unwrap_or(i64::MAX);
        let mut changed = Vec::new();
        self.agents.retain(|agent, entry| {
            entry.window.forget(now_ms);
            let (score, until) = (entry.window.score(), entry.window.valid_until_ms());
            let is_news = match entry.told {
                None => score > 0,
                Some((told, told_until)) => {
                    told != score || (score > 0 && until > told_until + refresh_ms)
                }
            };
            if is_news {
                entry.told = Some((score, until));
                changed.push(RiskReport {
                    agent_id: *agent,
                    score,
                    window_secs: u32::try_from(WINDOW.as_secs()).unwrap_or(u32::MAX),
                    valid_until: Timestamp::from_millisecond(until).unwrap_or(Timestamp::MAX),
                    contributions: entry.window.contributions(),
                });
            }
            !entry.window.hints.is_empty()
        });
        changed
    }
}

/// One thing that was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The rule.
    pub(super) rule_id: &'a str,
    /// What tells it from others of the same rule.
    pub(super) group: &'a str,
    /// The rule's title.
    pub(super) title: &'a str,
    /// What it says against the agent, 0 to 100.
    pub(super) risk: u8,
}

#[cfg(test)]
mod tests;
