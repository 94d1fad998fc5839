//! What is desired in rules of ufw, and what of it ufw cannot do.
//! It is pure: nothing is read or run.

use std::collections::BTreeSet;

use hidps_wire::{Direction, FilterRule, FirewallAction, FirewallPolicy, IpNetwork, Service};

use super::found::Found;
use super::plan::{Defaults, UfwGoal, UfwState};
use super::rule::{Family, Intent, UfwRule, Verdict, service_of};
use crate::config::{Port, Transport};
use crate::firewall::UnsupportedRule;
use crate::firewall::guard::Guards;
use crate::firewall::ruleset::filters_outgoing;

/// Each rule is a call of ufw for each version of IP, and each call takes a third of a second: this
/// many take a minute.
const MAX_RULES: usize = 100;

/// Where names are looked up.
const NAME_SERVICE: u16 = 53;

/// What is wanted, and what of it is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wishes {
    pub(super) goal: UfwGoal,
    pub(super) unsupported: Vec<UnsupportedRule>,
}

/// The rules of both versions of IP, as they are gathered.
struct Gathered {
    four: Vec<UfwRule>,
    six: Vec<UfwRule>,
    has_ipv6: bool,
}

impl Wishes {
    /// What a policy asks of ufw as it is now.
    pub(super) fn new(
        policy: &FirewallPolicy,
        keep_open: &BTreeSet<Port>,
        guards: &Guards,
        state: &UfwState,
        found: &Found,
    ) -> Self {
        let mut gathered = Gathered {
            four: Vec::new(),
            six: Vec::new(),
            has_ipv6: state.has_ipv6,
        };
        gathered.guard(policy, guards);
        let mut unsupported = Vec::new();
        let mut n_taken = 0;
        for rule in &policy.rules {
            let why = why_not(rule, state).or((n_taken == MAX_RULES)
                .then_some("is beyond the first 100, and ufw takes a third of a second for each"));
            if let Some(why) = why {
                unsupported.push(UnsupportedRule { id: rule.id, why });
            } else {
                n_taken += 1;
                gathered.add_row(rule, policy.logging);
            }
        }
        if policy.incoming != FirewallAction::Allow {
            gathered.keep_open(keep_open);
        }
        let is_log_off = found.log_level == "off";
        let log_level = if policy.logging && is_log_off {
            "low"
        } else {
            &found.log_level
        };
        let goal = UfwGoal {
            rules: [gathered.four, gathered.six],
            defaults: Defaults {
                incoming: policy.incoming,
                outgoing: policy.outgoing,
            },
            is_enabled: true,
            log_level: log_level.to_owned(),
        };
        Self { goal, unsupported }
    }
}

/// Why ufw cannot do what a rule says, for a sentence about it.
fn why_not(rule: &FilterRule, state: &UfwState) -> Option<&'static str> {
    let is_six = rule
        .peer
        .is_some_and(|peer| Family::of(peer.address()) == Family::Six);
    if rule.service == Service::Icmp {
        Some("is for icmp, which ufw cannot filter; it lets in what IP needs, and ping")
    } else if is_six && !state.has_ipv6 {
        Some("is for IPv6, and ufw lets nothing of it through as /etc/default/ufw has IPV6=no")
    } else {
        None
    }
}

impl Gathered {
    fn add(&mut self, intent: &Intent<'_>) {
        for family in Family::BOTH {
            let is_of_it = intent
                .peer
                .is_none_or(|peer| Family::of(peer.address()) == family);
            if !is_of_it || (family == Family::Six && !self.has_ipv6) {
                continue;
            }
            let rules = match family {
                Family::Four => &mut self.four,
                Family::Six => &mut self.six,
            };
            let rule = UfwRule::new(intent, family);
            // The first one decides, and for ufw both would be one.
            if rules.iter().all(|it| it.matches != rule.matches) {
                rules.push(rule);
            }
        }
    }

    fn add_row(&mut self, rule: &FilterRule, logging: bool) {
        self.add(&Intent {
            verdict: Verdict::from(rule.action),
            direction: rule.direction,
            service: rule.service,
            peer: rule.peer,
            is_logged: logging && rule.action != FirewallAction::Allow,
            comment: &format!("rule {}", rule.id),
        });
    }

    /// What stays open whatever the rules say.
    fn guard(&mut self, policy: &FirewallPolicy, guards: &Guards) {
        let tcp = |number| Port {
            transport: Transport::Tcp,
            number,
        };
        let mut open = |direction, port, peer, comment| {
            self.add(&Intent {
                verdict: Verdict::Allow,
                direction,
                service: service_of(port),
                peer,
                is_logged: false,
                comment,
            });
        };
        if filters_outgoing(policy) {
            let port = tcp(guards.daemon.port);
            for address in &guards.daemon.addresses {
                let daemon = Some(IpNetwork::host(*address));
                open(Direction::Out, port, daemon, "guard daemon");
            }
            if guards.is_daemon_named {
                let udp = Port {
                    transport: Transport::Udp,
                    number: NAME_SERVICE,
                };
                for port in [udp, tcp(NAME_SERVICE)] {
                    open(Direction::Out, port, None, "guard name of the daemon");
                }
            }
        }
        for peer in &guards.peers {
            let from = Some(IpNetwork::host(peer.address));
            open(Direction::In, tcp(peer.port), from, "guard SSH session");
        }
    }

    fn keep_open(&mut self, ports: &BTreeSet<Port>) {
        for port in ports {
            self.add(&Intent {
                verdict: Verdict::Allow,
                direction: Direction::In,
                service: service_of(*port),
                peer: None,
                is_logged: false,
                comment: &format!("open {port}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::FirewallRuleEntry;
    use uuid::Uuid;

    fn entry(number: u128, protocol: &str, source: Option<&str>) -> FirewallRuleEntry {
        FirewallRuleEntry {
            id: Uuid::from_u128(number),
            action: "deny".to_owned(),
            direction: "in".to_owned(),
            protocol: protocol.to_owned(),
            port_from: None,
            port_to: None,
            source: source.map(str::to_owned),
            destination: None,
        }
    }

    fn state(has_ipv6: bool) -> UfwState {
        UfwState {
            rules: [Vec::new(), Vec::new()],
            has_ipv6,
            defaults: Defaults {
                incoming: FirewallAction::Allow,
                outgoing: FirewallAction::Allow,
            },
            is_enabled: true,
            log_level: "off".to_owned(),
        }
    }

    fn wishes(entries: &[FirewallRuleEntry], logging: bool, has_ipv6: bool) -> Wishes {
        let (mut policy, refused) = FirewallPolicy::from_entries(entries, None);
        assert_eq!(refused, []);
        policy.logging = logging;
        let state = state(has_ipv6);
        let found = Found::of(&state);
        let guards = Guards::default();
        Wishes::new(
            &policy,
            &BTreeSet::from([Port::SSH]),
            &guards,
            &state,
            &found,
        )
    }

    #[test]
    fn what_ufw_cannot_do_is_left_out_and_named() {
        let check = |entry: FirewallRuleEntry, has_ipv6, why: Option<&str>| {
            let wishes = wishes(&[entry], false, has_ipv6);

            let said = wishes.unsupported.first().map(|it| it.why);
            assert_eq!(said.is_some(), why.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(why.unwrap_or_default()));
            let n_rules = wishes.goal.rules.iter().flatten().count();
            let n_kept_open = 1 + usize::from(has_ipv6);
            assert_eq!(n_rules == n_kept_open, why.is_some());
        };

        check(entry(1, "tcp", None), true, None);
        check(entry(1, "any", Some("2001:db8::/32")), true, None);
        check(entry(1, "any", Some("10.0.0.0/8")), false, None);
        check(entry(1, "icmp", None), true, Some("icmp"));
        check(
            entry(1, "any", Some("2001:db8::/32")),
            false,
            Some("IPV6=no"),
        );
    }

    #[test]
    fn rules_beyond_the_hundredth_are_named_and_the_first_are_in_force() {
        let entries: Vec<_> = (0..103_u8)
            .map(|n| entry(u128::from(n), "any", Some(&format!("10.0.0.{n}"))))
            .collect();

        let wishes = wishes(&entries, false, true);

        let ids: Vec<_> = wishes
            .unsupported
            .iter()
            .map(|it| it.id.as_u128())
            .collect();
        assert_eq!(ids, [100, 101, 102]);
        let [four, six] = &wishes.goal.rules;
        assert_eq!((four.len(), six.len()), (101, 1));
    }

    #[test]
    fn logging_raises_a_level_that_is_off_and_marks_what_is_denied() {
        let logged = wishes(&[entry(1, "tcp", None)], true, false);
        let quiet = wishes(&[entry(1, "tcp", None)], false, false);

        assert_eq!(logged.goal.log_level, "low");
        assert_eq!(logged.goal.rules[0][0].log, "log");
        assert_eq!(logged.goal.rules[0][1].log, "", "what is let in");
        assert_eq!(quiet.goal.log_level, "off");
        assert_eq!(quiet.goal.rules[0][0].log, "");
    }
}
