//! Events as JSON text, read straight into the scratch: no tree in between.
//! It never keeps a value that no rule could look at, and never takes what is not JSON.

use crate::event::Value;
use crate::search::json_names::Names;
use crate::search::json_text::{Cursor, JsonProblem, Text};
use crate::search::view::{FieldTable, Scratch, Slot};
use crate::values::number::Number;

/// What the reader keeps from one event to the next.
#[derive(Default, Debug)]
pub(crate) struct Buffers {
    name: String,
    decoded: String,
    names: Names,
}

/// Why the text of an event was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the event is not a JSON object: {problem} at byte {at}; hand over one object per event")]
pub struct EventError {
    problem: &'static str,
    at: usize,
}

/// Deepest nesting of objects and lists: events have one or two levels.
const MAX_DEPTH: usize = 127;

/// Longest joined name: without a bound, deep nesting would make names of quadratic length.
const MAX_NAME_BYTES: usize = 4_096;

/// Lays out an event; `whole` also keeps texts that no rule mentions, for keywords.
///
/// Nested objects have their names joined by dots, an array is several values of one name, and a
/// field that is null, an empty array or an object is there without a value.
pub(crate) fn load_json(
    scratch: &mut Scratch,
    json: &str,
    fields: &FieldTable,
    whole: bool,
) -> Result<(), EventError> {
    scratch.clear(fields);
    let mut buffers = scratch.buffers.take().unwrap_or_default();
    buffers.name.clear();
    buffers.names.begin();
    let decoded = std::mem::take(&mut buffers.decoded);
    let mut reader = Reader {
        cursor: Cursor::new(json, decoded),
        scratch,
        fields,
        whole,
        name: &mut buffers.name,
        names: &mut buffers.names,
    };
    let outcome = reader.read_root();
    let (at, decoded) = reader.cursor.end();
    buffers.decoded = decoded;
    scratch.buffers = Some(buffers);
    outcome.map_err(|problem| EventError { problem, at })?;
    scratch.fold();
    Ok(())
}

/// Reads one event.
struct Reader<'r, 'j> {
    cursor: Cursor<'j>,
    scratch: &'r mut Scratch,
    fields: &'r FieldTable,
    whole: bool,
    /// The name of the value at hand, behind those of the objects around it.
    name: &'r mut String,
    names: &'r mut Names,
}

impl Reader<'_, '_> {
    /// Reads the whole text.
    fn read_root(&mut self) -> Result<(), JsonProblem> {
        match self.cursor.next_token()? {
            b'{' => self.read_object(1, true)?,
            _ => return Err("an object is needed"),
        }
        self.cursor.finish()
    }

    /// Reads the names and values of an object whose brace is read; `wanted` if some of it counts.
    fn read_object(&mut self, depth: usize, wanted: bool) -> Result<(), JsonProblem> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deep");
        }
        let outer = self.name.len();
        let mut token = self.cursor.next_token()?;
        if token == b'}' {
            return Ok(());
        }
        loop {
            if token != b'"' {
                return Err("a name is needed");
            }
            let slot = self.read_name(outer, wanted)?;
            if self.cursor.next_token()? != b':' {
                return Err("a colon is needed");
            }
            let token_of_value = self.cursor.next_token()?;
            self.read_value(token_of_value, slot, depth, wanted)?;
            match self.cursor.next_token()? {
                b',' => token = self.cursor.next_token()?,
                b'}' => break,
                _ => return Err("a comma or the end of the object is needed"),
            }
        }
        self.name.truncate(outer);
        Ok(())
    }

    /// Reads the value that begins with a token.
    fn read_value(
        &mut self,
        token: u8,
        slot: Option<Slot>,
        depth: usize,
        wanted: bool,
    ) -> Result<(), JsonProblem> {
        match token {
            b'"' => {
                let text = self.cursor.read_text()?;
                if slot.is_some() || (wanted && self.whole) {
                    let text = self.cursor.text(text);
                    self.scratch.add(self.name, slot, Value::Str(text));
                }
            }
            b'{' => {
                if let Some(slot) = slot {
                    self.scratch.add_null(slot);
                }
                let below = wanted && (self.whole || self.fields.has_dots());
                let own = self.name.len();
                if below {
                    self.name.push('.');
                }
                self.read_object(depth + 1, below)?;
                self.name.truncate(own);
            }
            b'[' => self.read_list(slot, depth + 1, wanted)?,
            b't' => self.read_word("rue", slot, Some(true))?,
            b'f' => self.read_word("alse", slot, Some(false))?,
            b'n' => self.read_word("ull", slot, None)?,
            b'-' | b'0'..=b'9' => self.read_number(slot)?,
            _ => return Err("a value is needed"),
        }
        Ok(())
    }

    /// Reads the values of a list whose bracket is read.
    fn read_list(
        &mut self,
        slot: Option<Slot>,
        depth: usize,
        wanted: bool,
    ) -> Result<(), JsonProblem> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deep");
        }
        let mut token = self.cursor.next_token()?;
        if token == b']' {
            if let Some(slot) = slot {
                self.scratch.add_null(slot);
            }
            return Ok(());
        }
        loop {
            self.read_value(token, slot, depth, wanted)?;
            match self.cursor.next_token()? {
                b',' => token = self.cursor.next_token()?,
                b']' => return Ok(()),
                _ => return Err("a comma or the end of the list is needed"),
            }
        }
    }

    /// Reads the rest of a word.
    fn read_word(
        &mut self,
        rest: &str,
        slot: Option<Slot>,
        flag: Option<bool>,
    ) -> Result<(), JsonProblem> {
        self.cursor.read_word(rest)?;
        match (slot, flag) {
            (Some(slot), Some(flag)) => self.scratch.add("", Some(slot), Value::Bool(flag)),
            (Some(slot), None) => self.scratch.add_null(slot),
            (None, _) => {}
        }
        Ok(())
    }

    /// Reads the rest of a number; a whole one keeps its digits as they are.
    fn read_number(&mut self, slot: Option<Slot>) -> Result<(), JsonProblem> {
        let (digits, is_whole) = self.cursor.read_number()?;
        let whole = is_whole.then(|| digits.parse::<i64>().ok()).flatten();
        match whole.filter(|_| digits != "-0") {
            Some(number) => {
                if let Some(slot) = slot {
                    self.scratch.add_written(slot, digits, Number::Int(number));
                }
            }
            None => {
                let fraction = digits
                    .parse::<f64>()
                    .ok()
                    .filter(|fraction| fraction.is_finite());
                let fraction = fraction.ok_or("a number is out of range")?;
                if let Some(slot) = slot {
                    self.scratch.add("", Some(slot), Value::Float(fraction));
                }
            }
        }
        Ok(())
    }

    /// Reads a name whose first quote is read, behind those around it, and answers its field if some
    /// rule mentions it.
    fn read_name(&mut self, outer: usize, wanted: bool) -> Result<Option<Slot>, JsonProblem> {
        self.name.truncate(outer);
        if !wanted {
            self.cursor.read_text()?;
            return Ok(None);
        }
        let expected = self.names.expected();
        if let Some(expected) = expected.filter(|_| outer == 0)
            && self.cursor.skip_text(expected)
        {
            self.name.push_str(expected);
            return Ok(self.names.take_expected());
        }
        let name = self.cursor.read_text()?;
        self.name.push_str(self.cursor.text(name));
        if self.name.len() > MAX_NAME_BYTES {
            return Err("the names of nested objects are too long");
        }
        if self.names.expects(self.name) {
            return Ok(self.names.take_expected());
        }
        let is_plain = matches!(name, Text::Plain(_)) && self.name.len() <= MAX_KNOWN_BYTES;
        Ok(self.names.take(self.name, is_plain, self.fields))
    }
}

/// Longest name that is remembered from one event to the next.
const MAX_KNOWN_BYTES: usize = 128;
