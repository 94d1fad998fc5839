//! What the agent says of itself in the stream of events.
//! Each note has a name that rules know; none carries a text of the daemon or of a log.

use hidps_wire::{EventKind, Fields, LogEvent};

use crate::clock;
use crate::collect::process::Held;
use crate::event_queue::Losses;
use crate::host_facts::AGENT_VERSION;
use crate::text::printable;

/// The service of these events.
const SERVICE: &str = "agent";

/// Something the agent says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentNote {
    /// It began.
    Started,
    /// Its queue was full; so many are gone since it last said so.
    EventsLost(Losses),
    /// The kernel's queue of file events was full; how many are gone is not known.
    FileEventsLost,
    /// Lines of logs were passed on without being understood.
    LinesUnread {
        /// How many since it last said so.
        new: u64,
        /// How many of which program since it began.
        sentence: String,
    },
    /// Lines of logs were left out because fewer are wanted.
    LinesSampled {
        /// How many since it last said so.
        new: u64,
        /// How many of which source since it began.
        sentence: String,
    },
    /// A source of events lost some before they could be read.
    LinesLost {
        /// Which one.
        source: &'static str,
        /// How many, where that can be known.
        lost: Option<u64>,
        /// How that came, as the end of a sentence.
        why: String,
    },
    /// So much went on that events of processes were counted and not sent one by one.
    EventsHeld(Held),
    /// A desired document was not accepted.
    DocumentRefused {
        /// Why.
        reason: String,
    },
}

impl AgentNote {
    const fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::EventsLost(_) => "events_lost",
            Self::FileEventsLost => "file_events_lost",
            Self::LinesUnread { .. } => "lines_unread",
            Self::LinesSampled { .. } => "lines_sampled",
            Self::LinesLost { .. } => "source_lost",
            Self::EventsHeld(_) => "events_held",
            Self::DocumentRefused { .. } => "document_refused",
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Started => format!("hidps-agent {AGENT_VERSION} started"),
            Self::EventsLost(losses) => format!(
                "{} event(s) were lost, {} of them about logins, the firewall or watched files{}, \
                 {} about programs and connections: more came than the daemon took",
                losses.total(),
                losses.security,
                losses.of_security(),
                losses.activity
            ),
            Self::FileEventsLost => "the kernel dropped file events; changes below watched \
                                     directories may be missing, and every watched path was \
                                     compared again"
                .to_owned(),
            Self::LinesUnread { new, sentence } => format!(
                "{new} line(s) of logs were passed on without being understood; since the agent \
                 started: {sentence}"
            ),
            Self::LinesSampled { new, sentence } => format!(
                "{new} ordinary line(s) of logs were left out, as is desired (sampling); since the \
                 agent started: {sentence}"
            ),
            Self::LinesLost { source, lost, why } => {
                let count = lost.map_or_else(|| "some".to_owned(), |lost| lost.to_string());
                format!("{count} event(s) of the source {source} were lost: {why}")
            }
            Self::EventsHeld(held) => {
                let most = held.most.as_ref().map(|(image, count)| {
                    format!("; most of them of {} ({count})", printable(image, 200))
                });
                format!(
                    "{} beginning(s) and {} end(s) of processes were counted and not sent one by \
                     one{}",
                    held.executions,
                    held.exits,
                    most.unwrap_or_default()
                )
            }
            Self::DocumentRefused { reason } => {
                format!("a desired document was not accepted: {reason}")
            }
        }
    }

    /// The event.
    #[must_use]
    pub fn into_event(self) -> LogEvent<'static> {
        let mut fields = Fields::default();
        fields.push("event", self.name());
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        match &self {
            Self::EventsLost(losses) => {
                fields.push("lost", number(losses.total()));
                fields.push("lost_security", number(losses.security));
                fields.push("lost_activity", number(losses.activity));
                fields.push("lost_telemetry", number(losses.telemetry));
                fields.push("lost_files", number(losses.files));
                fields.push("lost_firewall", number(losses.firewall));
                fields.push("lost_remote_logins", number(losses.remote_logins));
                fields.push("lost_logins", number(losses.logins));
            }
            Self::LinesUnread { new, .. } => {
                fields.push("unread", number(*new));
            }
            Self::LinesSampled { new, .. } => {
                fields.push("sampled", number(*new));
            }
            Self::EventsHeld(held) => {
                fields.push("executions", number(held.executions));
                fields.push("exits", number(held.exits));
            }
            Self::LinesLost { source, lost, .. } => {
                fields.push("source", *source);
                if let Some(lost) = lost {
                    fields.push("lost", number(*lost));
                }
            }
            Self::Started | Self::FileEventsLost | Self::DocumentRefused { .. } => {}
        }
        LogEvent {
            timestamp: clock::now().into(),
            kind: EventKind::AgentInfo,
            service: SERVICE.into(),
            message: self.sentence().into(),
            fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::FieldValue;

    #[test]
    fn a_loss_is_a_number_that_rules_can_read() {
        let losses = Losses {
            telemetry: 4,
            activity: 1,
            security: 2,
            files: 2,
            ..Losses::default()
        };

        let event = AgentNote::EventsLost(losses).into_event();

        assert_eq!(&*event.service, "agent");
        assert_eq!(
            event.fields.get("event"),
            Some(&FieldValue::from("events_lost"))
        );
        assert_eq!(event.fields.get("lost"), Some(&FieldValue::Integer(7)));
        for (name, count) in [
            ("lost_security", 2),
            ("lost_activity", 1),
            ("lost_telemetry", 4),
            ("lost_files", 2),
            ("lost_logins", 0),
        ] {
            let field = event.fields.get(name);
            assert_eq!(field, Some(&FieldValue::Integer(count)), "{name}");
        }
    }
}
