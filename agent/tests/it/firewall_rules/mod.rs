//! What desired rules do to real packets: the contract of every back end of the firewall.
//! Each test sees traffic from outside, and never the words of a packet filter.

mod back_end;
mod decisions;
mod lifetime;
mod logged;
mod told;
mod ufw;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use hidps_lab::netns::Link;
use hidps_wire::{
    Answer, ConditionStatus, DesiredDocument, FacetCondition, FirewallRule, FirewallRuleEntry,
    FirewallSettingsEntry, Question, Status,
};
use uuid::Uuid;

use crate::harness::document;
use crate::scripted_daemon::{Connection, condition};
use crate::world::{KNOCK, REACH, World};
use back_end::BackEnd;

/// Makes a test of each function for each back end that is named.
macro_rules! contract {
    ($module:ident of $back_end:ident: $($test:ident),+ $(,)?) => {
        mod $module {
            use super::super::BackEnd;
            $(
                #[test]
                fn $test() {
                    super::$test(BackEnd::$back_end);
                }
            )+
        }
    };
}
use contract;

/// What an outsider meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    Open,
    /// Nobody answers.
    Silent,
    /// Somebody says no.
    Refused,
}

impl Door {
    /// How long to knock where this is wanted: nobody can wait to hear nothing.
    fn patience(self) -> Duration {
        match self {
            Self::Open | Self::Refused => REACH,
            Self::Silent => KNOCK,
        }
    }
}

fn door(answer: &io::Result<TcpStream>) -> Door {
    match answer {
        Ok(_) => Door::Open,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Door::Refused,
        Err(_) => Door::Silent,
    }
}

fn rule(number: u128, action: &str) -> FirewallRuleEntry {
    FirewallRuleEntry {
        id: Uuid::from_u128(number),
        action: action.to_owned(),
        direction: "in".to_owned(),
        protocol: "any".to_owned(),
        port_from: None,
        port_to: None,
        source: None,
        destination: None,
    }
}

fn tcp(number: u128, action: &str, from: u32, to: u32) -> FirewallRuleEntry {
    FirewallRuleEntry {
        protocol: "tcp".to_owned(),
        port_from: Some(from),
        port_to: Some(to),
        ..rule(number, action)
    }
}

fn from(entry: FirewallRuleEntry, source: impl ToString) -> FirewallRuleEntry {
    FirewallRuleEntry {
        source: Some(source.to_string()),
        ..entry
    }
}

fn on(rules: &[FirewallRuleEntry]) -> DesiredDocument {
    DesiredDocument {
        firewall_rules: rules.to_vec(),
        ..document(Some(true), &[])
    }
}

fn with_defaults(incoming: &str, outgoing: &str, rules: &[FirewallRuleEntry]) -> DesiredDocument {
    DesiredDocument {
        firewall_settings: Some(FirewallSettingsEntry {
            default_incoming: incoming.to_owned(),
            default_outgoing: outgoing.to_owned(),
            logging: false,
        }),
        ..on(rules)
    }
}

/// A daemon that counts its documents.
struct Author<'w> {
    daemon: Connection,
    generation: u64,
    world: &'w World,
}

impl<'w> Author<'w> {
    fn greet(world: &'w World) -> Self {
        let (mut daemon, _) = world.daemon.admit();
        daemon.greet(64, 15);
        daemon.next_status(|status| status.applied.is_none());
        Self {
            daemon,
            generation: 0,
            world,
        }
    }

    fn send(&mut self, document: DesiredDocument) -> Status {
        self.generation += 1;
        let hash = format!("hash {}", self.generation);
        self.daemon.apply(self.generation, &hash, document);
        self.daemon.status_of(self.generation)
    }

    /// Makes it so, or the test fails.
    fn enforce(&mut self, document: DesiredDocument) {
        let status = self.send(document);
        let synced = condition(&status, FacetCondition::FirewallSynced);
        assert_eq!(synced.0, ConditionStatus::True, "{status:#?}");
    }

    fn doors<const N: usize>(&self, ports: [u16; N]) -> [Door; N] {
        ports.map(|port| door(&self.world.knock(port)))
    }

    /// Knocks with as much patience as what is wanted takes.
    #[track_caller]
    fn expect_doors<const N: usize>(&self, ports: [u16; N], wanted: [Door; N]) {
        for (port, wanted) in ports.into_iter().zip(wanted) {
            let address = SocketAddr::from((self.world.inside.near, port));
            let found = door(&self.world.knock_at(address, wanted.patience()));
            assert_eq!(found, wanted, "port {port}");
        }
    }

    fn list(&mut self) -> Vec<FirewallRule> {
        match self.daemon.ask(Question::FirewallRules) {
            Answer::FirewallRules { rules, .. } => rules,
            other @ (Answer::FirewallStatus { .. } | Answer::Plan(_) | Answer::Failed { .. }) => {
                panic!("{other:?}")
            }
        }
    }

    /// How many packets the rule of a row has counted.
    fn packets_of(&mut self, number: u128) -> Option<u64> {
        let rules = self.list();
        let found = rules
            .iter()
            .find(|it| it.rule == Some(Uuid::from_u128(number)));
        found
            .unwrap_or_else(|| panic!("{number} is not in {rules:#?}"))
            .packets
    }
}

fn far(link: &Link) -> IpAddr {
    IpAddr::V4(link.far)
}
