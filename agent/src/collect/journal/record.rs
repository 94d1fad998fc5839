//! What an entry of the journal says, as far as an event needs it.
//! It keeps a message's bytes, and of the other fields no more than names have.

use std::sync::Arc;

use hidps_wire::MAX_EVENT_TEXT_BYTES;

/// Longest value that is read, with its field's name.
pub(super) const MAX_VALUE_BYTES: usize = MAX_EVENT_TEXT_BYTES + 64;

/// Longest value of a field beside the message: a path has no more.
const MAX_NAME_BYTES: usize = 4_096;

/// The fields that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Message,
    Identifier,
    Pid,
    Uid,
    Comm,
    Exe,
    Transport,
    Unit,
    AuditKind,
    AuditSerial,
    SourceTime,
}

/// Splits `NAME=value`; none for a field that nobody needs.
pub(super) fn split_field(payload: &[u8]) -> Option<(Field, &[u8])> {
    let longest = "_SOURCE_REALTIME_TIMESTAMP=".len();
    let at = payload
        .iter()
        .take(longest)
        .position(|byte| *byte == b'=')?;
    let (name, value) = (payload.get(..at)?, payload.get(at + 1..)?);
    let field = match name {
        b"MESSAGE" => Field::Message,
        b"SYSLOG_IDENTIFIER" => Field::Identifier,
        b"_PID" => Field::Pid,
        b"_UID" => Field::Uid,
        b"_COMM" => Field::Comm,
        b"_EXE" => Field::Exe,
        b"_TRANSPORT" => Field::Transport,
        b"_SYSTEMD_UNIT" => Field::Unit,
        b"_AUDIT_TYPE" => Field::AuditKind,
        b"_AUDIT_ID" => Field::AuditSerial,
        b"_SOURCE_REALTIME_TIMESTAMP" => Field::SourceTime,
        _ => return None,
    };
    Some((field, value))
}

/// A field of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// One that nobody needs.
    Unwanted,
    /// The message.
    Message { bytes: Arc<[u8]>, is_cut: bool },
    /// A number; most entries have one, and each its own.
    Number(Field, u64),
    /// Another one.
    Text(Field, Arc<str>),
}

impl Value {
    /// Keeps as much of a value as is needed.
    pub(super) fn new(field: Field, value: &[u8], is_cut: bool) -> Self {
        if field == Field::Message {
            let whole = value.len() <= MAX_EVENT_TEXT_BYTES;
            let bytes = value.get(..MAX_EVENT_TEXT_BYTES).unwrap_or(value).into();
            let is_cut = is_cut || !whole;
            return Self::Message { bytes, is_cut };
        }
        if matches!(
            field,
            Field::AuditKind | Field::AuditSerial | Field::SourceTime
        ) {
            let number = std::str::from_utf8(value).ok().and_then(|n| n.parse().ok());
            return number.map_or(Self::Unwanted, |number| Self::Number(field, number));
        }
        let value = value.get(..MAX_NAME_BYTES).unwrap_or(value);
        Self::Text(field, String::from_utf8_lossy(value).into())
    }
}

/// The fields of one entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    pub(super) message: Option<Arc<[u8]>>,
    pub(super) is_cut: bool,
    pub(super) identifier: Option<Arc<str>>,
    pub(super) pid: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) comm: Option<Arc<str>>,
    pub(super) exe: Option<Arc<str>>,
    pub(super) is_kernel: bool,
    /// Whether it is a record of the kernel's audit.
    pub(super) is_audit: bool,
    /// The number of its kind.
    pub(super) audit_kind: Option<u64>,
    /// The number of its event.
    pub(super) audit_serial: Option<u64>,
    /// When its writer says that it happened, in microseconds.
    pub(super) source_time: Option<u64>,
    pub(super) unit: Option<Arc<str>>,
}

impl Record {
    /// Takes a field in; what is said twice is said by its first.
    pub(super) fn take(&mut self, value: &Value) {
        match value {
            Value::Unwanted => {}
            Value::Message { bytes, is_cut } => {
                if self.message.is_none() {
                    self.message = Some(Arc::clone(bytes));
                    self.is_cut = *is_cut;
                }
            }
            Value::Number(field, number) => self.take_number(*field, *number),
            Value::Text(field, text) => self.take_text(*field, text),
        }
    }

    fn take_number(&mut self, field: Field, number: u64) {
        let slot = match field {
            Field::AuditKind => &mut self.audit_kind,
            Field::AuditSerial => &mut self.audit_serial,
            Field::SourceTime => &mut self.source_time,
            Field::Message
            | Field::Identifier
            | Field::Pid
            | Field::Uid
            | Field::Comm
            | Field::Exe
            | Field::Transport
            | Field::Unit => return,
        };
        slot.get_or_insert(number);
    }

    fn take_text(&mut self, field: Field, text: &Arc<str>) {
        let own = |slot: &mut Option<Arc<str>>| {
            slot.get_or_insert_with(|| Arc::clone(text));
        };
        match field {
            Field::Message | Field::AuditKind | Field::AuditSerial | Field::SourceTime => {}
            Field::Identifier => own(&mut self.identifier),
            Field::Comm => own(&mut self.comm),
            Field::Exe => own(&mut self.exe),
            Field::Unit => own(&mut self.unit),
            Field::Pid => self.pid = self.pid.or(text.parse().ok()),
            Field::Uid => self.uid = self.uid.or(text.parse().ok()),
            Field::Transport => {
                self.is_kernel |= &**text == "kernel";
                self.is_audit |= &**text == "audit";
            }
        }
    }
}
