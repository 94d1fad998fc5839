//! The messages of Postgres' own logical decoding plugin, protocol version 1.
//! Never asks the database anything and never interprets a value.

use bytes::{Buf, TryGetError};

/// One message of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogMessage {
    /// A transaction begins; the time is in microseconds since 2000.
    Begin {
        /// When it committed.
        committed_at: i64,
    },
    /// How a table looks that the next messages speak of.
    Relation(Relation),
    /// A new row.
    Insert {
        /// Its table.
        table: u32,
        /// Its values.
        new: Vec<Cell>,
    },
    /// A changed row.
    Update {
        /// Its table.
        table: u32,
        /// The old key or, with full replica identity, the old row.
        old: Option<Vec<Cell>>,
        /// The new values.
        new: Vec<Cell>,
    },
    /// A removed row.
    Delete {
        /// Its table.
        table: u32,
        /// The old key or the old row.
        old: Vec<Cell>,
    },
    /// Something that changes no row one could name.
    Other,
}

/// A table as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// Object id.
    pub(crate) oid: u32,
    /// Schema.
    pub(crate) schema: String,
    /// Name.
    pub(crate) table: String,
    /// Whether old rows are logged whole.
    pub(crate) has_full_identity: bool,
    /// Names of the columns, in the order of the cells.
    pub(crate) columns: Vec<String>,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Null, or not part of an old key.
    Null,
    /// A large value that did not change and is therefore not in the log.
    Unchanged,
    /// The value as Postgres writes it.
    Text(String),
}

/// A message that ends too early or says something unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<TryGetError> for Malformed {
    fn from(_: TryGetError) -> Self {
        Self
    }
}

/// Reads one message.
pub(crate) fn parse_message(mut data: &[u8]) -> Result<LogMessage, Malformed> {
    match data.try_get_u8()? {
        b'B' => {
            data.try_get_u64()?;
            Ok(LogMessage::Begin {
                committed_at: data.try_get_i64()?,
            })
        }
        b'R' => parse_relation(&mut data).map(LogMessage::Relation),
        b'I' => {
            let table = data.try_get_u32()?;
            data.try_get_u8()?;
            Ok(LogMessage::Insert {
                table,
                new: parse_row(&mut data)?,
            })
        }
        b'U' => parse_update(&mut data),
        b'D' => {
            let table = data.try_get_u32()?;
            data.try_get_u8()?;
            Ok(LogMessage::Delete {
                table,
                old: parse_row(&mut data)?,
            })
        }
        _ => Ok(LogMessage::Other),
    }
}

fn parse_relation(data: &mut &[u8]) -> Result<Relation, Malformed> {
    let oid = data.try_get_u32()?;
    let schema = parse_string(data)?;
    let table = parse_string(data)?;
    let has_full_identity = data.try_get_u8()? == b'f';
    let count = data.try_get_u16()?;
    // A count is only a claim, so nothing is set aside for it.
    let mut columns = Vec::new();
    for _ in 0..count {
        data.try_get_u8()?;
        columns.push(parse_string(data)?);
        data.try_get_u64()?;
    }
    Ok(Relation {
        oid,
        schema,
        table,
        has_full_identity,
        columns,
    })
}

fn parse_update(data: &mut &[u8]) -> Result<LogMessage, Malformed> {
    let table = data.try_get_u32()?;
    let mut old = None;
    if data.try_get_u8()? != b'N' {
        old = Some(parse_row(data)?);
        data.try_get_u8()?;
    }
    Ok(LogMessage::Update {
        table,
        old,
        new: parse_row(data)?,
    })
}

fn parse_row(data: &mut &[u8]) -> Result<Vec<Cell>, Malformed> {
    let count = data.try_get_u16()?;
    (0..count).map(|_| parse_cell(data)).collect()
}

fn parse_cell(data: &mut &[u8]) -> Result<Cell, Malformed> {
    match data.try_get_u8()? {
        b'n' => Ok(Cell::Null),
        b'u' => Ok(Cell::Unchanged),
        b't' => {
            let length = usize::try_from(data.try_get_u32()?).map_err(|_| Malformed)?;
            let (text, rest) = data.split_at_checked(length).ok_or(Malformed)?;
            *data = rest;
            String::from_utf8(text.to_vec())
                .map(Cell::Text)
                .map_err(|_| Malformed)
        }
        _ => Err(Malformed),
    }
}

fn parse_string(data: &mut &[u8]) -> Result<String, Malformed> {
    let end = data.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
    let (text, rest) = data.split_at_checked(end).ok_or(Malformed)?;
    *data = rest.get(1..).ok_or(Malformed)?;
    String::from_utf8(text.to_vec()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &[u8] = b"U\0\0\0\x07K\0\x02t\0\0\0\x01anN\0\x03t\0\0\0\x02bcnu";

    #[test]
    fn an_update_with_its_old_key_is_read() {
        let message = parse_message(UPDATE);

        let old = Some(vec![Cell::Text("a".into()), Cell::Null]);
        let new = vec![Cell::Text("bc".into()), Cell::Null, Cell::Unchanged];
        assert_eq!(message, Ok(LogMessage::Update { table: 7, old, new }));
    }

    #[test]
    fn a_relation_is_read() {
        let mut data = b"R\0\0\0\x07public\0agents\0d\0\x01\x01id\0".to_vec();
        data.extend_from_slice(&[0; 8]);

        let relation = Relation {
            oid: 7,
            schema: "public".into(),
            table: "agents".into(),
            has_full_identity: false,
            columns: vec!["id".into()],
        };
        assert_eq!(parse_message(&data), Ok(LogMessage::Relation(relation)));
    }

    #[test]
    fn every_truncation_is_refused() {
        for length in 0..UPDATE.len() {
            assert_eq!(parse_message(&UPDATE[..length]), Err(Malformed), "{length}");
        }
    }

    #[test]
    fn messages_that_change_no_row_are_passed_over() {
        for data in [&b"C"[..], b"T", b"Y", b"O", b"M"] {
            assert_eq!(parse_message(data), Ok(LogMessage::Other));
        }
    }
}
