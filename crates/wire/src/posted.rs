//! What a host may post over HTTP: frames of the socket, and lines and reports as older agents write them.
//! It gives nothing a meaning, and passes over what older agents say beside: they never agreed on it.

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

use crate::agent_frame::{AgentFrame, EventBatch};
use crate::decode::{DecodeError, decode};
use crate::limits::{MAX_AGENT_FRAME_BYTES, MAX_EVENT_TEXT_BYTES, MAX_EVENTS_PER_BATCH};
use crate::text::Text;
use crate::usage::{Usage, parse_within};

/// What was posted.
#[derive(Clone, PartialEq, Debug)]
pub enum Posted<'a> {
    /// A batch of events in the socket's own form; whoever takes batches reads it.
    Batch,
    /// Another frame of the socket.
    Frame(AgentFrame),
    /// Lines as older agents write them, at most [`MAX_EVENTS_PER_BATCH`].
    Lines(Vec<PostedLine<'a>>),
    /// A report as older agents write it.
    Report(PostedReport<'a>),
}

/// One line of an older agent.
#[derive(Clone, PartialEq, Debug)]
pub struct PostedLine<'a> {
    /// The agent that the line says it is from; the connection decides.
    pub agent: Option<Text<'a>>,
    /// When, as the line says.
    pub timestamp: Option<Text<'a>>,
    /// The program.
    pub service: Text<'a>,
    /// The class it claims, such as `login`; none for a message between two parties.
    pub kind: Option<Text<'a>>,
    /// The text.
    pub message: Text<'a>,
    /// Who told whom in which context, where the line says that.
    pub parties: Option<Parties<'a>>,
}

/// A message's sender, receiver and context.
#[derive(Clone, PartialEq, Debug)]
pub struct Parties<'a> {
    /// Who sent it.
    pub sender: Text<'a>,
    /// Whom it was for.
    pub receiver: Text<'a>,
    /// What it was about.
    pub context: Text<'a>,
}

/// A report of an older agent.
#[derive(Clone, PartialEq, Debug)]
pub struct PostedReport<'a> {
    /// The agent that the report says it is from.
    pub agent: Option<Text<'a>>,
    /// How busy the host is.
    pub usage: Usage,
    /// Whether its firewall is on, where it says so.
    pub firewall_active: Option<bool>,
}

/// Reads what was posted; of a batch only that it is one.
///
/// # Errors
/// Says whether it was too large, not JSON, or nothing that may be posted.
pub fn read_posted(text: &str) -> Result<Posted<'_>, DecodeError> {
    if text.trim_ascii_start().starts_with('[') {
        let lines: Lines<'_> = decode(text, MAX_AGENT_FRAME_BYTES)?;
        return Ok(Posted::Lines(lines.0));
    }
    let shape: Shape<'_> = decode(text, MAX_AGENT_FRAME_BYTES)?;
    match shape.name.as_deref() {
        Some(EventBatch::TYPE) => Ok(Posted::Batch),
        Some("hello" | "status" | "usage" | "processes" | "facts" | "answer") => {
            decode(text, MAX_AGENT_FRAME_BYTES).map(Posted::Frame)
        }
        Some("agent_report" | "agent_stats") => {
            let report: Report<'_> = decode(text, MAX_AGENT_FRAME_BYTES)?;
            Ok(Posted::Report(report.into()))
        }
        _ => {
            let line: PostedLine<'_> = decode(text, MAX_AGENT_FRAME_BYTES)?;
            Ok(Posted::Lines(vec![line]))
        }
    }
}

/// As much as tells what something is.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "type", borrow, default)]
    name: Option<Text<'a>>,
}

struct Lines<'a>(Vec<PostedLine<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Lines<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LinesVisitor;
        impl<'de> Visitor<'de> for LinesVisitor {
            type Value = Lines<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_EVENTS_PER_BATCH} lines")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut lines = Vec::new();
                while let Some(line) = list.next_element()? {
                    if lines.len() >= MAX_EVENTS_PER_BATCH {
                        return Err(A::Error::invalid_length(lines.len() + 1, &self));
                    }
                    lines.push(line);
                }
                Ok(Lines(lines))
            }
        }
        deserializer.deserialize_seq(LinesVisitor)
    }
}

/// A line as it is written: a log event, or a message between two parties.
#[derive(Deserialize)]
struct WrittenLine<'a> {
    #[serde(borrow, default)]
    agent_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    timestamp: Option<Text<'a>>,
    #[serde(rename = "type", borrow, default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    service: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    sender: Option<Text<'a>>,
    #[serde(borrow, default)]
    receiver: Option<Text<'a>>,
    #[serde(borrow, default)]
    context: Option<Text<'a>>,
    #[serde(borrow, default)]
    payload: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for PostedLine<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = WrittenLine::deserialize(deserializer)?;
        let (agent, timestamp) = (written.agent_id, written.timestamp);
        match (written.message, written.payload, written.sender) {
            (Some(Message(message)), None, None) => {
                let is_there = written.kind.is_some() && written.service.is_some();
                let service = written.service.filter(|_| is_there);
                Ok(Self {
                    agent,
                    timestamp,
                    service: service
                        .ok_or_else(|| D::Error::custom("a line has a type and a service"))?,
                    kind: written.kind,
                    message,
                    parties: None,
                })
            }
            (None, Some(message), Some(sender)) => Ok(Self {
                agent,
                timestamp,
                service: sender.clone(),
                kind: None,
                message,
                parties: Some(Parties {
                    sender,
                    receiver: written.receiver.unwrap_or_default(),
                    context: written.context.unwrap_or_default(),
                }),
            }),
            _ => Err(D::Error::custom(
                "a line has a message, or a sender and a payload",
            )),
        }
    }
}

/// A message; journald gives one that is no text as a list of its bytes.
struct Message<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MessageVisitor;
        impl<'de> Visitor<'de> for MessageVisitor {
            type Value = Message<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of bytes")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Message(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Message(text.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut bytes: Vec<u8> = Vec::new();
                while let Some(byte) = list.next_element()? {
                    if bytes.len() >= MAX_EVENT_TEXT_BYTES {
                        return Err(A::Error::invalid_length(bytes.len() + 1, &self));
                    }
                    bytes.push(byte);
                }
                // A replacement character is longer than the byte it stands for.
                let mut text = String::from_utf8_lossy(&bytes).into_owned();
                let end = text.floor_char_boundary(MAX_EVENT_TEXT_BYTES);
                text.truncate(end);
                Ok(Message(text.into()))
            }
        }
        deserializer.deserialize_any(MessageVisitor)
    }
}

/// A report as it is written.
#[derive(Deserialize)]
struct Report<'a> {
    #[serde(borrow, default)]
    agent_id: Option<Text<'a>>,
    data: ReportData,
    /// Named so that a second one is a fault.
    #[serde(rename = "type")]
    _name: IgnoredAny,
}

#[derive(Deserialize)]
struct ReportData {
    #[serde(deserialize_with = "parse_within::<_, 100>")]
    cpu_usage: f32,
    #[serde(deserialize_with = "parse_within::<_, 100>")]
    ram_usage: f32,
    #[serde(deserialize_with = "parse_within::<_, 100>")]
    disk_usage: f32,
    #[serde(default)]
    firewall_enabled: Option<bool>,
}

impl<'a> From<Report<'a>> for PostedReport<'a> {
    fn from(report: Report<'a>) -> Self {
        Self {
            agent: report.agent_id,
            usage: Usage {
                cpu: report.data.cpu_usage,
                ram: report.data.ram_usage,
                storage: report.data.disk_usage,
                ..Usage::default()
            },
            firewall_active: report.data.firewall_enabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<PostedLine<'_>> {
        match read_posted(text) {
            Ok(Posted::Lines(lines)) => lines,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_and_the_other_frames_of_the_socket_are_told_apart() {
        let batch = r#"{"type":"events","seq":1,"events":[]}"#;
        let usage = r#"{"type":"usage","cpu":1.0,"ram":2.0,"storage":3.0}"#;

        assert_eq!(read_posted(batch).unwrap(), Posted::Batch);
        assert!(matches!(
            read_posted(usage),
            Ok(Posted::Frame(AgentFrame::Usage(_)))
        ));
        read_posted(r#"{"type":"usage","cpu":1.0,"ram":2.0,"storage":3.0,"agent_id":"x"}"#)
            .expect_err("frames of the socket know no further fields");
    }

    #[test]
    fn a_line_of_an_older_agent_is_read_with_whatever_stands_beside() {
        let line = r#"{"timestamp":"2026-11-20T23:59:55.496614Z","agent_id":"a","service":"sshd",
            "message":"Failed \"x\"","type":"login","severity":4,"mitre_tactic":{"a":[1]}}"#;

        let read = lines(line);

        assert_eq!(read[0].agent.as_deref(), Some("a"));
        assert_eq!(read[0].kind.as_deref(), Some("login"));
        assert_eq!(read[0].service.as_str(), "sshd");
        assert_eq!(read[0].message.as_str(), "Failed \"x\"");
        assert_eq!(lines(&format!("[{line},{line}]")).len(), 2);
    }

    #[test]
    fn a_message_of_bytes_is_text_and_ends_at_the_bound() {
        let bytes = r#"{"type":"login","service":"sshd","message":[72,105,255]}"#;
        let of = |n: usize| {
            let list = vec!["255"; n].join(",");
            format!(r#"{{"type":"login","service":"s","message":[{list}]}}"#)
        };
        let (longest, longer) = (of(MAX_EVENT_TEXT_BYTES), of(MAX_EVENT_TEXT_BYTES + 1));

        assert_eq!(lines(bytes)[0].message.as_str(), "Hi\u{fffd}");
        assert!(lines(&longest)[0].message.len() <= MAX_EVENT_TEXT_BYTES);
        read_posted(&longer).expect_err("longer than any line");
        read_posted(r#"{"type":"login","service":"s","message":[256]}"#).expect_err("no byte");
    }

    #[test]
    fn a_message_between_two_parties_keeps_them() {
        let text = r#"{"sender":"a","receiver":"b","context":"login","payload":"p","risk":99}"#;

        let read = lines(text);

        let parties = read[0].parties.as_ref().unwrap();
        assert_eq!(
            (parties.sender.as_str(), parties.receiver.as_str()),
            ("a", "b")
        );
        assert_eq!(read[0].message.as_str(), "p");
        assert_eq!(read[0].kind, None);
    }

    #[test]
    fn a_report_is_usage_within_its_bounds() {
        let report = |cpu: &str| {
            format!(
                r#"{{"type":"agent_report","agent_id":"a","data":{{"cpu_usage":{cpu},
                "ram_usage":5.7,"disk_usage":21.4,"firewall_enabled":true,"firewall_rules":[]}}}}"#
            )
        };
        let good = report("98.6");
        let Ok(Posted::Report(read)) = read_posted(&good) else {
            panic!("it is a report");
        };

        assert_eq!((read.usage.cpu, read.firewall_active), (98.6, Some(true)));
        read_posted(&report("101")).expect_err("more than all");
        read_posted(&report("null")).expect_err("no number");
    }

    #[test]
    fn nonsense_and_too_much_are_refused() {
        for text in [
            "",
            "null",
            "1",
            "{}",
            "[1]",
            "[[]]",
            "{\"message\":\"x\"}",
            r#"{"type":"login","message":"x"}"#,
            r#"{"type":"login","service":"s"}"#,
            r#"{"type":1,"service":"s","message":"x"}"#,
            r#"{"type":"login","service":"s","message":"x","message":"y"}"#,
            r#"{"type":"login","service":"s","message":"x","payload":"y"}"#,
            r#"{"sender":"a","receiver":"b"}"#,
        ] {
            assert!(read_posted(text).is_err(), "{text}");
        }
        let line = r#"{"type":"login","service":"s","message":"x"}"#;
        let many = format!("[{}]", vec![line; MAX_EVENTS_PER_BATCH + 1].join(","));
        read_posted(&many).expect_err("more than a batch");
        let deep = "[".repeat(100_000);
        read_posted(&deep).expect_err("deeper than anybody needs");
        let deep = format!(r#"{{"type":"login","x":{}"#, "[".repeat(100_000));
        read_posted(&deep).expect_err("deeper than anybody needs");
    }
}
