//! What the daemon observed about an agent, as an event for rules.
//! It never looks at anything an agent sent; that is why rules can trust these events.

use std::net::IpAddr;

use hidps_rules::{Event, LogSource, Value};

use crate::detection::log_source::{AGENT, USAGE, ours};
use crate::model::{Observation, TwinSign};

/// An observation as rules see it.
#[derive(Debug)]
pub(super) struct ObservedEvent {
    source: LogSource<'static>,
    message: String,
    fields: Vec<(&'static str, Value<'static>)>,
}

impl ObservedEvent {
    /// The event of an observation.
    #[must_use]
    pub(super) fn of(observation: Observation) -> Self {
        let about_agent = |name, message, more: &[(&'static str, Value<'static>)]| {
            let mut fields = vec![("event", Value::Str(name))];
            fields.extend_from_slice(more);
            Self {
                source: ours(AGENT),
                message,
                fields,
            }
        };
        match observation {
            Observation::Silent { seconds } => about_agent(
                "silent",
                format!("the agent has not been heard of for {seconds} s"),
                &[("seconds", whole(seconds))],
            ),
            Observation::Back { seconds } => about_agent(
                "back",
                format!("the agent is heard of again after {seconds} s"),
                &[("seconds", whole(seconds))],
            ),
            Observation::Twin { sign, addresses } => {
                about_agent("twin", describe_twins(sign, addresses), &[])
            }
            Observation::ClockSkew { seconds } => about_agent(
                "clock_skew",
                format!("the host's clock differs by {seconds} s from the daemon's"),
                &[("seconds", Value::Int(seconds))],
            ),
            Observation::Usage {
                cpu,
                ram,
                storage,
                load,
                celsius,
            } => {
                let shares = [("cpu", cpu), ("ram", ram), ("storage", storage)];
                let load = load.map(|[one, five, fifteen]| {
                    [("load1", one), ("load5", five), ("load15", fifteen)]
                });
                let warmth = celsius.map(|celsius| ("temperature", celsius));
                let measured = load.into_iter().flatten().chain(warmth);
                Self {
                    source: ours(USAGE),
                    message: format!("cpu {cpu} %, ram {ram} %, storage {storage} %"),
                    fields: shares
                        .into_iter()
                        .chain(measured)
                        .map(|(name, number)| (name, Value::Float(f64::from(number))))
                        .collect(),
                }
            }
        }
    }

    /// The event for the engine.
    #[must_use]
    pub(super) fn event(&self) -> Event<'_> {
        Event {
            logsource: self.source,
            message: &self.message,
            fields: &self.fields,
        }
    }
}

fn describe_twins(sign: TwinSign, addresses: [Option<IpAddr>; 2]) -> String {
    let how = match sign {
        TwinSign::Alive => "are alive at once",
        TwinSign::Turns => "take turns",
    };
    let [newer, older] = addresses.map(|address| {
        address.map_or_else(|| "this machine".to_owned(), |address| address.to_string())
    });
    format!("two holders of the agent's key {how}: one at {newer}, one at {older}")
}

fn whole(number: u64) -> Value<'static> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_see_load_and_the_warmest_sensor_where_a_host_has_them() {
        let usage = |load, celsius| {
            ObservedEvent::of(Observation::Usage {
                cpu: 1.0,
                ram: 2.0,
                storage: 3.0,
                load,
                celsius,
            })
        };
        let names = |event: &ObservedEvent| {
            let names: Vec<_> = event.fields.iter().map(|(name, _)| *name).collect();
            names.join(" ")
        };

        let whole = usage(Some([8.0, 4.0, 2.0]), Some(97.5));

        assert_eq!(
            names(&whole),
            "cpu ram storage load1 load5 load15 temperature"
        );
        assert_eq!(whole.fields[4], ("load5", Value::Float(4.0)));
        assert_eq!(whole.fields[6], ("temperature", Value::Float(97.5)));
        assert_eq!(names(&usage(None, None)), "cpu ram storage");
    }
}
