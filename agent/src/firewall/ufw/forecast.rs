//! What making ufw as desired would change, found out without changing anything, and its rules as data.
//! It runs nothing that could change a rule.

use hidps_wire::{CutOff, FirewallPolicy, FirewallRule, PlannedChange};
use serde_json::json;

use super::found::Found;
use super::plan::{UfwGoal, UfwState, next_step};
use super::rule::{Family, UfwRule};
use super::wishes::Wishes;
use super::{Ufw, UfwError};
use crate::firewall::counts::Count;
use crate::firewall::difference::Difference;
use crate::firewall::forecast::{foretell_peers, plan};
use crate::firewall::goal::FirewallGoal;
use crate::firewall::guard::Guards;
use crate::firewall::ruleset::filters_outgoing;
use crate::firewall::{DaemonPlace, Forecast};

/// The tables of a listing in which ufw's rules are told.
const TABLE: &str = "ufw";

impl Ufw {
    /// Foretells what [`Ufw::ensure`] would do; whether it would cut the host off is not judged.
    pub(in crate::firewall) async fn forecast(
        &self,
        goal: &FirewallGoal,
        place: &DaemonPlace,
    ) -> Result<Forecast, UfwError> {
        let state = self.place.read_settled().await?.state;
        let found = self.found.read()?;
        let is_taken = found.is_some() || state.has_ours();
        let found = found.unwrap_or_else(|| Found::of(&state));
        match goal {
            FirewallGoal::Unmanaged => Ok(Forecast::unchanged("the firewall would be left alone")),
            FirewallGoal::Off if !is_taken => Ok(Forecast::unchanged(
                "ufw has no rule of the agent's, as it would be",
            )),
            FirewallGoal::Off => {
                let why = "the agent's rules leave ufw, which goes on as it was found";
                Ok(foretell(
                    &state,
                    &found.as_goal(),
                    PlannedChange::Remove,
                    why,
                ))
            }
            FirewallGoal::On(policy) => {
                let wanted = self.foresee(policy, &state, &found, place);
                let change = if is_taken {
                    PlannedChange::Repair
                } else {
                    PlannedChange::Load
                };
                let forecast = if next_step(&state, &wanted).is_none() {
                    Forecast::unchanged("ufw has these very rules")
                } else {
                    foretell(&state, &wanted, change, "")
                };
                Ok(foretell_peers(forecast, policy, &self.keep_open).await)
            }
        }
    }

    /// What would be wanted, without what is let through for a while only.
    fn foresee(
        &self,
        policy: &FirewallPolicy,
        state: &UfwState,
        found: &Found,
        place: &DaemonPlace,
    ) -> UfwGoal {
        let daemon = if filters_outgoing(policy) {
            place.clone()
        } else {
            DaemonPlace::default()
        };
        let guards = Guards {
            daemon,
            is_daemon_named: self.is_daemon_named(),
            ..Guards::default()
        };
        let wishes = Wishes::new(policy, &self.keep_open, &guards, state, found);
        wishes.goal
    }

    /// The rules of ufw in its own order, with what they have counted where that can be read.
    pub(in crate::firewall) async fn list_rules(&self) -> Result<Vec<FirewallRule>, UfwError> {
        let files = self.place.read_settled().await?;
        self.count(&files).await;
        // In the middle of a change a rule may be away for a moment.
        if let Ok(_idle) = self.memory.try_lock() {
            self.tally(|tally| tally.keep_only(&files));
        }
        let list = |family: Family| {
            let rules = files.state.rules[family as usize].iter();
            rules.zip(1_u64..).map(move |(rule, number)| {
                let count = self.tally(|tally| tally.of(family, rule));
                show(rule, family, number, count)
            })
        };
        Ok(Family::BOTH.into_iter().flat_map(list).collect())
    }
}

fn foretell(state: &UfwState, goal: &UfwGoal, change: PlannedChange, why: &str) -> Forecast {
    let (now, wanted) = (state.text(), goal.text());
    Forecast {
        plan: plan(change, &Difference::between(&now, &wanted)),
        cuts_off: CutOff::No,
        why: why.to_owned(),
        ssh_peers: Vec::new(),
        n_peers_left_out: 0,
    }
}

/// A rule as an entry of a listing.
fn show(rule: &UfwRule, family: Family, number: u64, count: Option<Count>) -> FirewallRule {
    let way = if rule.is_incoming() { "in" } else { "out" };
    FirewallRule {
        managed: rule.is_ours(),
        family: match family {
            Family::Four => "ip",
            Family::Six => "ip6",
        }
        .to_owned(),
        table: TABLE.to_owned(),
        chain: format!("ufw-user-{way}put"),
        handle: number,
        expression: json!([{ "ufw": rule.to_string() }]),
        comment: (!rule.comment.is_empty()).then(|| rule.comment.clone()),
        rule: rule.row(),
        packets: count.map(|count| count.packets),
        bytes: count.map(|count| count.bytes),
    }
}
