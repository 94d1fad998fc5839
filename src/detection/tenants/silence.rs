//! Suppressions: which matches each keeps quiet about, and until when.
//! It never counts them.

use std::collections::HashMap;
use std::net::IpAddr;

use hidps_rules::{Network, Value};
use hidps_wire::AgentId;
use jiff::Timestamp;
use uuid::Uuid;

use crate::model::{SilenceMatch, Suppression};

/// A suppression, ready to be asked.
#[derive(Debug, Clone)]
pub(in crate::detection) struct Silence {
    /// The row that wants it.
    pub(in crate::detection) id: Uuid,
    rule_id: Option<String>,
    agent: Option<AgentId>,
    field: Option<(String, Wanted)>,
    until: Option<Timestamp>,
}

/// The suppressions of one organization, found by rule and agent.
#[derive(Debug, Default)]
pub(in crate::detection) struct Silences {
    /// In the order of their rows.
    all: Vec<Silence>,
    by_rule: HashMap<String, ByAgent>,
    of_every_rule: ByAgent,
}

/// Places of suppressions of one agent, or, under none, of every agent.
type ByAgent = HashMap<Option<AgentId>, Vec<usize>>;

impl Silences {
    /// Adds one behind the others.
    pub(in crate::detection) fn add(&mut self, silence: Silence) {
        let by_agent = match &silence.rule_id {
            Some(rule) => self.by_rule.entry(rule.clone()).or_default(),
            None => &mut self.of_every_rule,
        };
        let places = by_agent.entry(silence.agent).or_default();
        places.push(self.all.len());
        self.all.push(silence);
    }

    /// Whether there is none.
    pub(in crate::detection) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The first one that covers a match.
    pub(in crate::detection) fn find(
        &self,
        agent: AgentId,
        rule_id: &str,
        fields: &[(&str, Value<'_>)],
        now: Timestamp,
    ) -> Option<Uuid> {
        let candidates = self.candidates(agent, rule_id);
        let covers = |place: &usize| {
            let silence = self.all.get(*place);
            silence.is_some_and(|silence| silence.covers(agent, rule_id, fields, now))
        };
        let first = candidates.filter(covers).min()?;
        self.all.get(first).map(|silence| silence.id)
    }

    /// Those that name this rule or none, and this agent or none.
    fn candidates(&self, agent: AgentId, rule_id: &str) -> impl Iterator<Item = usize> {
        let by_agent = self.by_rule.get(rule_id).into_iter();
        let by_agent = by_agent.chain(std::iter::once(&self.of_every_rule));
        by_agent
            .flat_map(move |by_agent| [by_agent.get(&Some(agent)), by_agent.get(&None)])
            .flatten()
            .flatten()
            .copied()
    }
}

/// What a field's value must be.
#[derive(Debug, Clone)]
enum Wanted {
    Value(String),
    Network(Network),
    Below(String),
}

impl Silence {
    /// The suppression of a row, or why it cannot be honoured.
    pub(in crate::detection) fn new(row: &Suppression) -> Result<Self, String> {
        let field = match &row.field {
            None => None,
            Some((name, wanted)) => Some((name.clone(), Wanted::new(wanted)?)),
        };
        Ok(Self {
            id: row.row.id,
            rule_id: row.rule_id.clone(),
            agent: row.agent,
            field,
            until: row.until,
        })
    }

    /// Whether it keeps quiet about a match of this rule, whose event has these fields.
    pub(in crate::detection) fn covers(
        &self,
        agent: AgentId,
        rule_id: &str,
        fields: &[(&str, Value<'_>)],
        now: Timestamp,
    ) -> bool {
        let names_it = self.until.is_none_or(|until| now < until)
            && self.agent.is_none_or(|own| own == agent)
            && self.rule_id.as_deref().is_none_or(|own| own == rule_id);
        names_it
            && self.field.as_ref().is_none_or(|(name, wanted)| {
                let values = fields.iter().filter(|(field, _)| field == name);
                let mut values = values.map(|(_, value)| value);
                values.any(|value| wanted.is(value))
            })
    }
}

impl Wanted {
    fn new(wanted: &SilenceMatch) -> Result<Self, String> {
        match wanted {
            SilenceMatch::Value(value) => Ok(Self::Value(value.clone())),
            SilenceMatch::Cidr(network) => {
                Network::parse(network).map(Self::Network).ok_or_else(|| {
                    format!(
                        "'{network}' is no network; write an address and the length of its prefix, \
                         such as 192.0.2.0/24"
                    )
                })
            }
            SilenceMatch::Prefix(path) if path.starts_with('/') => {
                Ok(Self::Below(path.trim_end_matches('/').to_owned()))
            }
            SilenceMatch::Prefix(path) => Err(format!(
                "'{path}' is no absolute path; write one that begins with /"
            )),
            SilenceMatch::Unknown(kind) => Err(format!(
                "this daemon does not know the match '{kind}'; update it, or use value, cidr or prefix"
            )),
        }
    }

    fn is(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Value(own), Value::Str(text)) => own == text || is_same_address(own, text),
            (Self::Value(own), Value::Int(number)) => own.parse() == Ok(*number),
            (Self::Value(own), Value::Bool(truth)) => own.parse() == Ok(*truth),
            (Self::Network(network), Value::Str(text)) => network.contains(text),
            (Self::Below(path), Value::Str(text)) => is_below(text, path),
            _ => false,
        }
    }
}

/// Whether a path is another one or below it. One that goes up again may lead anywhere, and whoever
/// attacks chooses it.
fn is_below(path: &str, other: &str) -> bool {
    let rest = path.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && path.split('/').all(|step| step != "..")
}

/// Whether both are one address, in whatever spelling.
fn is_same_address(one: &str, other: &str) -> bool {
    let read = |text: &str| text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    read(one).is_some_and(|address| Some(address) == read(other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::IntentRow;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
    const OTHER: AgentId = AgentId::new(Uuid::from_u128(2));

    fn row(field: Option<(&str, SilenceMatch)>) -> Suppression {
        Suppression {
            row: IntentRow {
                id: Uuid::nil(),
                version: 1,
            },
            rule_id: None,
            agent: None,
            field: field.map(|(name, wanted)| (name.to_owned(), wanted)),
            until: None,
        }
    }

    fn covers(row: &Suppression, value: &str) -> bool {
        let silence = Silence::new(row).expect("it can be honoured");
        let fields = [("other", Value::Str("x")), ("src_ip", Value::Str(value))];
        silence.covers(AGENT, "rule", &fields, Timestamp::UNIX_EPOCH)
    }

    fn check(wanted: &SilenceMatch, value: &str, expected: bool) {
        let row = row(Some(("src_ip", wanted.clone())));

        assert_eq!(covers(&row, value), expected, "{wanted:?} {value}");
    }

    #[test]
    fn a_value_a_network_and_a_path_are_told_from_their_neighbours() {
        let value = |text: &str| SilenceMatch::Value(text.into());
        let cidr = |text: &str| SilenceMatch::Cidr(text.into());
        let prefix = |text: &str| SilenceMatch::Prefix(text.into());

        check(&value("192.0.2.7"), "192.0.2.7", true);
        check(&value("192.0.2.7"), "192.0.2.70", false);
        check(&value("::ffff:192.0.2.7"), "192.0.2.7", true);
        check(&value("root"), "Root", false);
        check(&cidr("192.0.2.0/29"), "192.0.2.7", true);
        check(&cidr("192.0.2.0/29"), "192.0.2.8", false);
        check(&cidr("2001:db8::/32"), "2001:db8::1", true);
        check(&prefix("/srv/www/"), "/srv/www/index", true);
        check(&prefix("/srv/www"), "/srv/www", true);
        check(&prefix("/srv/www"), "/srv/www2", false);
        check(&prefix("/"), "/etc/passwd", true);
        check(&prefix("/srv/www"), "/srv/www/../../etc/passwd", false);
        check(&prefix("/srv/www"), "/srv/www/..a/b..", true);
    }

    #[test]
    fn an_event_without_the_field_is_not_covered() {
        let named = row(Some(("user", SilenceMatch::Value("root".into()))));

        assert!(!covers(&named, "192.0.2.7"));
    }

    #[test]
    fn it_ends_at_its_time_and_holds_for_its_rule_and_agent_only() {
        let mut named = row(None);
        named.rule_id = Some("rule".into());
        named.agent = Some(AGENT);
        named.until = Some(Timestamp::UNIX_EPOCH);
        let silence = Silence::new(&named).expect("it can be honoured");
        let before = Timestamp::from_millisecond(-1).expect("it is a time");
        let asked = |agent, rule, now| silence.covers(agent, rule, &[], now);

        assert!(asked(AGENT, "rule", before));
        assert!(!asked(AGENT, "rule", Timestamp::UNIX_EPOCH));
        assert!(!asked(AGENT, "other", before));
        assert!(!asked(OTHER, "rule", before));
    }

    /// A suppression of this rule, agent and value, where there is one.
    fn silence(id: u128, (rule, agent, value): (u8, u8, u8)) -> Silence {
        let named = |n: u8| (n > 0).then(|| format!("v{n}"));
        let field = named(value).map(|value| ("f", SilenceMatch::Value(value)));
        let mut row = row(field);
        row.row.id = Uuid::from_u128(id);
        row.rule_id = named(rule);
        row.agent = (agent > 0).then(|| AgentId::new(Uuid::from_u128(agent.into())));
        Silence::new(&row).expect("it can be honoured")
    }

    proptest! {
        #[test]
        fn the_first_in_order_that_covers_is_found(
            rows in prop::collection::vec((0..4_u8, 0..4_u8, 0..4_u8), 0..40),
            (rule, agent, value) in (1..4_u8, 1..4_u8, 1..4_u8),
        ) {
            let list: Vec<Silence> = (1..).zip(&rows).map(|(id, row)| silence(id, *row)).collect();
            let mut silences = Silences::default();
            list.iter().for_each(|one| silences.add(one.clone()));
            let (rule, value) = (format!("v{rule}"), format!("v{value}"));
            let agent = AgentId::new(Uuid::from_u128(agent.into()));
            let (fields, now) = ([("f", Value::Str(&value))], Timestamp::UNIX_EPOCH);

            let first = list.iter().find(|one| one.covers(agent, &rule, &fields, now));

            let found = silences.find(agent, &rule, &fields, now);
            prop_assert_eq!(found, first.map(|one| one.id));
        }
    }

    #[test]
    fn those_of_other_rules_and_agents_are_not_even_looked_at() {
        let mut silences = Silences::default();
        for n in 1..=200 {
            silences.add(silence(n.into(), (n, 0, 1)));
            silences.add(silence(n.into(), (0, n, 1)));
            silences.add(silence(n.into(), (n, n, 1)));
        }

        let agent = AgentId::new(Uuid::from_u128(7));
        assert_eq!(silences.candidates(agent, "v7").count(), 3);
    }

    #[test]
    fn what_cannot_be_honoured_says_why() {
        for (wanted, reason) in [
            (SilenceMatch::Cidr("192.0.2.0/33".into()), "no network"),
            (SilenceMatch::Prefix("srv".into()), "no absolute path"),
            (SilenceMatch::Unknown("regex".into()), "does not know"),
        ] {
            let error = Silence::new(&row(Some(("f", wanted)))).expect_err("it is refused");

            assert!(error.contains(reason), "{error}");
        }
    }
}
