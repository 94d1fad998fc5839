//! A normalized log event: what a host saw, in the shape agents stream and viewers receive.
//! It never becomes a row: nothing that writes to Supabase or to disk accepts this type.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{MAX_EVENT_FIELDS, MAX_EVENT_TEXT_BYTES};
use crate::text::Text;

/// One normalized log event, borrowed from the frame it arrived in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEvent<'a> {
    /// When the host saw it, RFC 3339 in UTC; claimed by the agent.
    #[serde(borrow)]
    pub timestamp: Text<'a>,
    /// The class of the event.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The program or kernel facility it is about, such as `sshd` or `inotify`.
    #[serde(borrow)]
    pub service: Text<'a>,
    /// The original line, or one sentence for events that had none.
    #[serde(borrow)]
    pub message: Text<'a>,
    /// What was extracted from it, under the names that Sigma rules use.
    #[serde(borrow, default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields<'a>,
}

impl LogEvent<'_> {
    /// Whether every text keeps to [`MAX_EVENT_TEXT_BYTES`].
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let short = |text: &str| text.len() <= MAX_EVENT_TEXT_BYTES;
        short(&self.timestamp)
            && short(&self.service)
            && short(&self.message)
            && self.fields.iter().all(|(name, value)| {
                short(name) && !matches!(value, FieldValue::Text(text) if !short(text))
            })
    }

    /// The same event, owned, free of the frame's lifetime.
    #[must_use]
    pub fn into_owned(self) -> LogEvent<'static> {
        LogEvent {
            timestamp: self.timestamp.into_owned(),
            kind: self.kind,
            service: self.service.into_owned(),
            message: self.message.into_owned(),
            fields: self.fields.into_owned(),
        }
    }
}

/// The class of a log event; the six of the seed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Processor, memory and disk use.
    SystemUsage,
    /// A process started, ended or was seen.
    Process,
    /// The packet filter matched or changed.
    Firewall,
    /// Somebody tried to become somebody: sshd, sudo, su, login.
    Login,
    /// A watched file changed.
    FileMonitoring,
    /// The agent speaks of itself, losses included.
    AgentInfo,
}

impl EventKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SystemUsage => "system_usage",
            Self::Process => "process",
            Self::Firewall => "firewall",
            Self::Login => "login",
            Self::FileMonitoring => "file_monitoring",
            Self::AgentInfo => "agent_info",
        }
    }
}

/// The value of a named field.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum FieldValue<'a> {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, or beyond the whole ones.
    Number(f64),
    /// A string.
    Text(Text<'a>),
}

// By hand, because serde's untagged form copies every value into a buffer first: it took more
// time than all other parsing together.
impl<'de: 'a, 'a> Deserialize<'de> for FieldValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = FieldValue<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a truth value")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(FieldValue::Bool(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(FieldValue::Integer(value))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "JSON numbers are doubles by the book"
            )]
            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                let whole = i64::try_from(value).map(FieldValue::Integer);
                Ok(whole.unwrap_or(FieldValue::Number(value as f64)))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
                Ok(FieldValue::Number(value))
            }

            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(FieldValue::Text(value.into()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(FieldValue::Text(value.to_owned().into()))
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for FieldValue<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for FieldValue<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// The named fields of an event, in the order sent, at most [`MAX_EVENT_FIELDS`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fields<'a>(Vec<(Text<'a>, FieldValue<'a>)>);

impl<'a> Fields<'a> {
    /// No fields, and room for some.
    #[must_use]
    pub fn with_capacity(n_fields: usize) -> Self {
        Self(Vec::with_capacity(n_fields.min(MAX_EVENT_FIELDS)))
    }

    /// Adds a field; beyond [`MAX_EVENT_FIELDS`] it is left out and `false` is returned.
    pub fn push(&mut self, name: impl Into<Text<'a>>, value: impl Into<FieldValue<'a>>) -> bool {
        let fits = self.0.len() < MAX_EVENT_FIELDS;
        if fits {
            self.0.push((name.into(), value.into()));
        }
        fits
    }

    /// The value of the first field of this exact name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FieldValue<'a>> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FieldValue<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn into_owned(self) -> Fields<'static> {
        let own = |value| match value {
            FieldValue::Bool(value) => FieldValue::Bool(value),
            FieldValue::Integer(value) => FieldValue::Integer(value),
            FieldValue::Number(value) => FieldValue::Number(value),
            FieldValue::Text(value) => FieldValue::Text(value.into_owned()),
        };
        Fields(
            self.0
                .into_iter()
                .map(|(name, value)| (name.into_owned(), own(value)))
                .collect(),
        )
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {MAX_EVENT_FIELDS} fields")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Fields::default();
                while let Some((name, value)) = map.next_entry::<Text<'de>, FieldValue<'de>>()? {
                    if !fields.push(name, value) {
                        return Err(M::Error::custom(format_args!(
                            "an event has more than {MAX_EVENT_FIELDS} fields"
                        )));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
