//! What the daemon observed about an agent, as an event for rules.
//! It never looks at anything an agent sent; that is why rules can trust these events.

use hidps_rules::{Event, LogSource, Value};

use crate::detection::log_source::{AGENT, USAGE, ours};
use crate::model::Observation;

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
            Observation::Twin => about_agent(
                "twin",
                "two holders of the agent's key are alive at once".to_owned(),
                &[],
            ),
            Observation::ClockSkew { seconds } => about_agent(
                "clock_skew",
                format!("the host's clock differs by {seconds} s from the daemon's"),
                &[("seconds", Value::Int(seconds))],
            ),
            Observation::Usage { cpu, ram, storage } => Self {
                source: ours(USAGE),
                message: format!("cpu {cpu} %, ram {ram} %, storage {storage} %"),
                fields: [("cpu", cpu), ("ram", ram), ("storage", storage)]
                    .map(|(name, share)| (name, Value::Float(f64::from(share))))
                    .to_vec(),
            },
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

fn whole(number: u64) -> Value<'static> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
