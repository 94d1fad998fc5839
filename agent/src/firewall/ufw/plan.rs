//! The way from what ufw has to what it should have, one step at a time.
//! It is pure: each step follows from what is so now, so that a way broken off is taken up anywhere.
//!
//! ufw changes one rule at a time. The order of the steps keeps one law: a packet that passes on the
//! way passed before or passes in the end. So guards come first; allowing rules go before denying
//! ones come, and come before denying ones go; defaults change where they open nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hidps_wire::{Direction, FirewallAction, IpNetwork, Service};

use super::rule::{Family, Intent, Owner, UfwRule, Verdict};

/// How much it is worth to leave a rule where it is: a denying one outweighs every other, for while
/// it is moved something else has to deny.
const DENYING: u32 = 10_000;

/// How often every address is split for a shield at most: into 16 networks.
const MOST_SPLITS: u8 = 4;

/// What ufw has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UfwState {
    /// Of IPv4 and of IPv6, in order.
    pub(super) rules: [Vec<UfwRule>; 2],
    /// Whether ufw filters IPv6; otherwise it lets nothing of it through.
    pub(super) has_ipv6: bool,
    pub(super) defaults: Defaults,
    pub(super) is_enabled: bool,
    pub(super) log_level: String,
}

/// What becomes of packets that no rule decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Defaults {
    pub(super) incoming: FirewallAction,
    pub(super) outgoing: FirewallAction,
}

/// What ufw should have of the agent's, whole; all of it before the rules of others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UfwGoal {
    /// Of IPv4 and of IPv6, in order; guards first, and no two that match the same.
    pub(super) rules: [Vec<UfwRule>; 2],
    pub(super) defaults: Defaults,
    pub(super) is_enabled: bool,
    pub(super) log_level: String,
}

/// One call of ufw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A new rule, at this place among all of its family; none is the end.
    Insert {
        family: Family,
        at: Option<usize>,
        rule: UfwRule,
    },
    /// The rule that matches the same does something else from now on, where it is.
    Update(UfwRule),
    Delete(UfwRule),
    Default(Direction, FirewallAction),
    Log(String),
    Enable,
    Disable,
}

/// How the rules that are there relate to those that should be.
struct Alignment<'r> {
    family: Family,
    there: &'r [UfwRule],
    wanted: &'r [UfwRule],
    /// For each wanted rule the place of the one that stays for it.
    kept: Vec<Option<usize>>,
}

impl Defaults {
    const fn of(self, direction: Direction) -> FirewallAction {
        match direction {
            Direction::In => self.incoming,
            Direction::Out => self.outgoing,
        }
    }
}

impl UfwState {
    /// Whether anything in it is the agent's.
    pub(super) fn has_ours(&self) -> bool {
        self.rules.iter().flatten().any(UfwRule::is_ours)
    }

    /// The number of rules of IPv4 as ufw counts them: those of one application are one.
    fn n_numbered(&self) -> usize {
        let mut applications = std::collections::BTreeSet::new();
        let [four, _] = &self.rules;
        four.iter()
            .filter(|rule| {
                let words: Vec<_> = rule.matches.split(' ').collect();
                let [.., _, to_port, to, from_port, from, to_name, from_name, way] =
                    words.as_slice()
                else {
                    return true;
                };
                // Where one end is no application, its port is told instead.
                let to_end = if *to_name == "-" { to_port } else { to_name };
                let from_end = if *from_name == "-" {
                    from_port
                } else {
                    from_name
                };
                applications.insert([*to_end, to, from_end, from, way].join(" "))
            })
            .count()
    }

    /// The agent's share in lines for people.
    pub(super) fn text(&self) -> String {
        let ours = self.rules.iter().flatten().filter(|it| it.is_ours());
        write_text(ours, self.defaults, self.is_enabled)
    }
}

impl UfwGoal {
    /// What is wanted in lines for people.
    pub(super) fn text(&self) -> String {
        write_text(self.rules.iter().flatten(), self.defaults, self.is_enabled)
    }

    /// More steps than any way takes.
    pub(super) fn most_steps(&self, state: &UfwState) -> usize {
        let n_rules: usize = self.rules.iter().chain(&state.rules).map(Vec::len).sum();
        3 * n_rules + 20
    }
}

fn write_text<'r>(
    rules: impl Iterator<Item = &'r UfwRule>,
    defaults: Defaults,
    is_enabled: bool,
) -> String {
    let state = if is_enabled { "enabled" } else { "disabled" };
    let mut text = format!(
        "ufw is {state}\ndefault {} incoming\ndefault {} outgoing\n",
        defaults.incoming, defaults.outgoing
    );
    for rule in rules {
        text.push_str(&format!("{rule}\n"));
    }
    text
}

/// The next step; none when all is as it should be.
pub(super) fn next_step(state: &UfwState, goal: &UfwGoal) -> Option<Step> {
    if state.is_enabled && !goal.is_enabled {
        return Some(Step::Disable);
    }
    // What is written from here on is written for these defaults, and nothing is filtered.
    if !goal.is_enabled
        && let Some(step) =
            change_default(state, goal, true).or_else(|| change_default(state, goal, false))
    {
        return Some(step);
    }
    let [four, six] = &state.rules;
    let [wanted_four, wanted_six] = &goal.rules;
    let families = [
        Alignment::align(Family::Four, four, wanted_four),
        Alignment::align(Family::Six, six, wanted_six),
    ];
    let either = || families.iter();
    either()
        .find_map(Alignment::open_guards)
        .or_else(|| either().find_map(Alignment::close))
        .or_else(|| either().find_map(Alignment::open))
        .or_else(|| change_default(state, goal, true))
        .or_else(|| either().find_map(Alignment::drop_denying))
        .or_else(|| change_default(state, goal, false))
        .or_else(|| {
            let is_otherwise = state.log_level != goal.log_level;
            is_otherwise.then(|| Step::Log(goal.log_level.clone()))
        })
        .or_else(|| (goal.is_enabled && !state.is_enabled).then_some(Step::Enable))
        .or_else(|| either().find_map(Alignment::drop_guards))
}

/// A default that is otherwise, where it closes or where it does not.
fn change_default(state: &UfwState, goal: &UfwGoal, closes: bool) -> Option<Step> {
    let ways = [Direction::In, Direction::Out];
    ways.into_iter().find_map(|direction| {
        let (now, wanted) = (state.defaults.of(direction), goal.defaults.of(direction));
        let is_next = now != wanted && (wanted != FirewallAction::Allow) == closes;
        is_next.then_some(Step::Default(direction, wanted))
    })
}

impl<'r> Alignment<'r> {
    fn align(family: Family, there: &'r [UfwRule], wanted: &'r [UfwRule]) -> Self {
        // Ours that stand behind a rule of somebody else decide too late.
        let n_ahead = there.iter().take_while(|it| it.is_ours()).count();
        let ahead = there.get(..n_ahead).unwrap_or_default();
        Self {
            family,
            there,
            wanted,
            kept: keep_most(ahead, wanted),
        }
    }

    fn is_kept(&self, place: usize) -> bool {
        self.kept.contains(&Some(place))
    }

    /// Rules of ours that are in the wrong place or should not be at all, which are so.
    fn astray(&self, is_so: impl Fn(&UfwRule) -> bool) -> Option<&'r UfwRule> {
        let mut places = self.there.iter().enumerate();
        let found = places.find(|(place, it)| it.is_ours() && !self.is_kept(*place) && is_so(it));
        found.map(|(_, rule)| rule)
    }

    fn wanted_like(&self, rule: &UfwRule) -> Option<&'r UfwRule> {
        self.wanted.iter().find(|it| it.matches == rule.matches)
    }

    /// The first wanted rule that is so and not there at all, with its place.
    fn missing(&self, is_so: impl Fn(&UfwRule) -> bool) -> Option<Step> {
        let mut after = 0;
        for (rule, kept) in self.wanted.iter().zip(&self.kept) {
            if let Some(place) = kept {
                after = place + 1;
            } else if is_so(rule) && !self.there.iter().any(|it| it.matches == rule.matches) {
                return Some(self.insert(after, rule.clone()));
            }
        }
        None
    }

    fn insert(&self, place: usize, rule: UfwRule) -> Step {
        Step::Insert {
            family: self.family,
            at: (place < self.there.len()).then_some(place),
            rule,
        }
    }

    /// The first kept rule that does not do yet what one does that is so.
    fn outdated(&self, is_so: impl Fn(&UfwRule) -> bool) -> Option<Step> {
        let mut pairs = self.wanted.iter().zip(&self.kept);
        pairs.find_map(|(rule, kept)| {
            let there = self.there.get((*kept)?)?;
            (there != rule && is_so(rule)).then(|| Step::Update(rule.clone()))
        })
    }

    /// Guards are open in the end, so they may be first.
    fn open_guards(&self) -> Option<Step> {
        let is_guard = |rule: &UfwRule| rule.owner == Owner::Guard;
        let in_the_way = self
            .astray(|it| !it.verdict.is_closing() && self.wanted_like(it).is_some_and(is_guard));
        in_the_way
            .map(|rule| Step::Delete(rule.clone()))
            .or_else(|| self.missing(is_guard))
    }

    /// What closes: allowing rules go, denying ones come. Those that only change their places are
    /// stood in for meanwhile.
    fn close(&self) -> Option<Step> {
        let moves = |it: &UfwRule| {
            let wanted = self.wanted_like(it);
            it.verdict.is_closing() && wanted.is_some_and(|it| it.verdict.is_closing())
        };
        let moving = self.astray(moves);
        let shield = moving.and_then(|rule| self.raise_shield(rule));
        let stale = || {
            self.astray(|it| {
                !it.verdict.is_closing()
                    && (it.owner != Owner::Guard || self.wanted_like(it).is_some())
            })
        };
        let delete = |rule: &UfwRule| Step::Delete(rule.clone());
        shield
            .or_else(|| stale().map(delete))
            .or_else(|| self.outdated(|it| it.verdict.is_closing()))
            .or_else(|| moving.map(delete))
            .or_else(|| self.missing(|it| it.verdict.is_closing()))
            .or_else(|| self.astray(|it| it.owner == Owner::Shield).map(delete))
    }

    /// Denies everybody, behind the guards, the way that a rule looks.
    fn raise_shield(&self, rule: &UfwRule) -> Option<Step> {
        let direction = if rule.is_incoming() {
            Direction::In
        } else {
            Direction::Out
        };
        let after = self
            .there
            .iter()
            .take_while(|it| it.owner == Owner::Guard)
            .count();
        let shields = |n_splits| {
            let networks = split_everybody(self.family, n_splits);
            let of_network = move |network| {
                let intent = Intent {
                    verdict: Verdict::Deny,
                    direction,
                    service: Service::Any,
                    peer: Some(network),
                    is_logged: false,
                    comment: "shield",
                };
                UfwRule::new(&intent, self.family)
            };
            networks.map(of_network)
        };
        // One that matches what another rule matches would be that rule for ufw.
        let others = || self.there.iter().chain(self.wanted);
        let is_free = |shield: UfwRule| {
            !others().any(|it| it.owner != Owner::Shield && it.matches == shield.matches)
        };
        let n_splits = (1..MOST_SPLITS).find(|n| shields(*n).all(is_free));
        let missing = shields(n_splits.unwrap_or(MOST_SPLITS))
            .find(|shield| self.there.iter().all(|it| it.matches != shield.matches));
        missing.map(|shield| self.insert(after, shield))
    }

    /// What opens what may pass in the end: every denying rule is in its place by now.
    fn open(&self) -> Option<Step> {
        self.outdated(|_| true).or_else(|| self.missing(|_| true))
    }

    fn drop_denying(&self) -> Option<Step> {
        let stale = self.astray(|it| it.verdict.is_closing());
        stale.map(|rule| Step::Delete(rule.clone()))
    }

    fn drop_guards(&self) -> Option<Step> {
        let stale = self.astray(|_| true);
        stale.map(|rule| Step::Delete(rule.clone()))
    }
}

/// Every address, in networks of this length: for ufw other rules than one for everybody.
fn split_everybody(family: Family, length: u8) -> impl Iterator<Item = IpNetwork> {
    (0..1_u32 << length).filter_map(move |number| {
        let bits = number << (u32::BITS - u32::from(length));
        let address: IpAddr = match family {
            Family::Four => Ipv4Addr::from(bits).into(),
            Family::Six => Ipv6Addr::from(u128::from(bits) << 96).into(),
        };
        IpNetwork::parse(&format!("{address}/{length}")).ok()
    })
}

/// For each wanted rule the place of one that matches the same and may stay, so that the most stay
/// and the order is right.
fn keep_most(there: &[UfwRule], wanted: &[UfwRule]) -> Vec<Option<usize>> {
    let worth = |place: usize, at: usize| {
        let (rule, wanted) = (&there[place], &wanted[at]);
        let is_denying = rule.verdict.is_closing() && wanted.verdict.is_closing();
        let is_same = rule.matches == wanted.matches;
        is_same.then_some(if is_denying { DENYING } else { 1 })
    };
    // The most that can stay of the rules from a place on, for the wanted ones from a place on.
    let mut best = vec![vec![0_u32; wanted.len() + 1]; there.len() + 1];
    for place in (0..there.len()).rev() {
        for at in (0..wanted.len()).rev() {
            let both = worth(place, at).map_or(0, |worth| worth + best[place + 1][at + 1]);
            best[place][at] = both.max(best[place + 1][at]).max(best[place][at + 1]);
        }
    }
    let mut kept = vec![None; wanted.len()];
    let (mut place, mut at) = (0, 0);
    while place < there.len() && at < wanted.len() {
        let both = worth(place, at).map(|worth| worth + best[place + 1][at + 1]);
        if both == Some(best[place][at]) {
            kept[at] = Some(place);
            (place, at) = (place + 1, at + 1);
        } else if best[place + 1][at] == best[place][at] {
            place += 1;
        } else {
            at += 1;
        }
    }
    kept
}

impl Step {
    /// The call of ufw.
    pub(super) fn arguments(&self, state: &UfwState) -> Vec<String> {
        let own = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        match self {
            Self::Insert { family, at, rule } => {
                let before = match family {
                    Family::Four => 0,
                    Family::Six => state.n_numbered(),
                };
                let place = at.map(|at| (before + at + 1).to_string());
                let mut arguments = place.map_or_else(Vec::new, |at| own(&["insert", &at]));
                arguments.extend(own(&rule.arguments()));
                arguments
            }
            Self::Update(rule) => own(&rule.arguments()),
            Self::Delete(rule) => [own(&["delete"]), own(&rule.arguments())].concat(),
            Self::Default(direction, action) => {
                let way = match direction {
                    Direction::In => "incoming",
                    Direction::Out => "outgoing",
                };
                own(&["default", &action.to_string(), way])
            }
            Self::Log(level) => own(&["logging", level]),
            Self::Enable => own(&["--force", "enable"]),
            Self::Disable => own(&["disable"]),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insert { rule, .. } | Self::Update(rule) => write!(f, "{rule}"),
            Self::Delete(rule) => write!(f, "delete {rule}"),
            Self::Default(Direction::In, action) => write!(f, "default {action} incoming"),
            Self::Default(Direction::Out, action) => write!(f, "default {action} outgoing"),
            Self::Log(level) => write!(f, "logging {level}"),
            Self::Enable => f.write_str("enable"),
            Self::Disable => f.write_str("disable"),
        }
    }
}

#[cfg(test)]
mod tests;
