//! One event laid out for matching: fields by number, text folded once.
//! It never allocates for an event once its buffers have grown to the usual size.

use std::fmt::Write as _;

use hashbrown::HashMap;

use crate::event::{Event, Value};
use crate::search::json::Buffers;
use crate::values::fold::fold_into;
use crate::values::number::Number;
use crate::values::regular::MAX_REGEX_BYTES;

/// The number of a field name, the same for all rules of a set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Slot(usize);

/// The field names that the rules of a set mention.
#[derive(Clone, Default, Debug)]
pub(crate) struct FieldTable {
    slots: HashMap<Box<str>, usize>,
    names: Vec<Box<str>>,
    /// Whether a name has a dot, so that nested objects have to be looked into.
    has_dots: bool,
}

impl Slot {
    /// Its number.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl FieldTable {
    /// The number of `name`, given at its first mention.
    pub(crate) fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return Slot(*slot);
        }
        let next = self.names.len();
        self.slots.insert(name.into(), next);
        self.names.push(name.into());
        self.has_dots |= name.contains('.');
        Slot(next)
    }

    /// The number of `name`, if it was mentioned.
    pub(crate) fn find(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied().map(Slot)
    }

    /// Whether a name has a dot.
    pub(crate) fn has_dots(&self) -> bool {
        self.has_dots
    }
}

/// A range of a text.
type Range = (usize, usize);

/// What a value is besides its text.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Text,
    Number(Number),
    Flag,
    /// None at all: the field is there and has no value.
    Null,
}

/// One value.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// As written.
    plain: Range,
    /// In caseless form.
    folded: Range,
    kind: Kind,
    /// The slot of its field, when some rule mentions it.
    slot: Option<Slot>,
    /// Its name, when no rule mentions it.
    name: Range,
    /// The next value of the same field, as an index behind one.
    next: usize,
}

/// Buffers reused from event to event.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    plain: String,
    folded: String,
    /// Names that no rule mentions.
    names: String,
    cells: Vec<Cell>,
    /// Per slot the first value, as an index behind one; zero is none.
    heads: Vec<usize>,
    /// Per slot that has a value the last one, likewise.
    tails: Vec<usize>,
    touched: Vec<usize>,
    /// What the reader of JSON keeps.
    pub(crate) buffers: Option<Box<Buffers>>,
}

/// Texts grown beyond this by one event are given back after it.
const MAX_KEPT_BYTES: usize = 256 * 1024;

impl Scratch {
    /// Lays out an event; `whole` also keeps texts that no rule mentions, for keywords.
    pub(crate) fn load(&mut self, event: &Event<'_>, fields: &FieldTable, whole: bool) {
        self.clear(fields);
        for (name, value) in event.fields {
            let slot = fields.find(name);
            if slot.is_some() || (whole && matches!(value, Value::Str(_))) {
                self.add(name, slot, *value);
            }
        }
        let slot = fields.find("message").filter(|slot| self.is_free(*slot));
        if whole || slot.is_some() {
            self.add("message", slot, Value::Str(event.message));
        }
        self.fold();
    }

    /// How many values are longer than a regular expression reads whole.
    pub(crate) fn n_long_values(&self) -> u64 {
        if self.plain.len() <= MAX_REGEX_BYTES {
            return 0;
        }
        let is_long = |cell: &&Cell| cell.plain.1 - cell.plain.0 > MAX_REGEX_BYTES;
        self.cells.iter().filter(is_long).count() as u64
    }

    /// Forgets the event before.
    pub(crate) fn clear(&mut self, fields: &FieldTable) {
        for text in [&mut self.plain, &mut self.folded, &mut self.names] {
            text.clear();
            text.shrink_to(MAX_KEPT_BYTES);
        }
        self.cells.clear();
        for slot in self.touched.drain(..) {
            if let Some(head) = self.heads.get_mut(slot) {
                *head = 0;
            }
        }
        self.heads.resize(fields.names.len(), 0);
        self.tails.resize(fields.names.len(), 0);
    }

    /// Whether no value of a field was added.
    fn is_free(&self, slot: Slot) -> bool {
        self.heads.get(slot.0) == Some(&0)
    }

    /// Adds one value.
    pub(crate) fn add(&mut self, name: &str, slot: Option<Slot>, value: Value<'_>) {
        let start = self.plain.len();
        let kind = match value {
            Value::Str(text) => {
                self.plain.push_str(text);
                Kind::Text
            }
            Value::Int(whole) => {
                write!(self.plain, "{whole}").expect("writing to a String cannot fail");
                Kind::Number(Number::Int(whole))
            }
            Value::Float(fraction) => {
                write!(self.plain, "{fraction}").expect("writing to a String cannot fail");
                Kind::Number(Number::Float(fraction))
            }
            Value::Bool(flag) => {
                self.plain.push_str(if flag { "true" } else { "false" });
                Kind::Flag
            }
        };
        self.push((start, self.plain.len()), kind, slot, name);
    }

    /// Adds a number as it was written.
    pub(crate) fn add_written(&mut self, slot: Slot, text: &str, number: Number) {
        let start = self.plain.len();
        self.plain.push_str(text);
        self.push(
            (start, self.plain.len()),
            Kind::Number(number),
            Some(slot),
            "",
        );
    }

    /// Notes that a field is there without a value.
    pub(crate) fn add_null(&mut self, slot: Slot) {
        let at = self.plain.len();
        self.push((at, at), Kind::Null, Some(slot), "");
    }

    /// Adds a cell for a text already written.
    fn push(&mut self, plain: Range, kind: Kind, slot: Option<Slot>, name: &str) {
        let name_start = self.names.len();
        if slot.is_none() {
            self.names.push_str(name);
        }
        self.cells.push(Cell {
            plain,
            folded: plain,
            kind,
            slot,
            name: (name_start, self.names.len()),
            next: 0,
        });
        if let Some(slot) = slot {
            self.link(slot.0);
        }
    }

    /// Chains the newest cell behind the others of its slot.
    fn link(&mut self, slot: usize) {
        let newest = self.cells.len();
        let (Some(head), Some(tail)) = (self.heads.get_mut(slot), self.tails.get_mut(slot)) else {
            return;
        };
        let last = std::mem::replace(tail, newest);
        if *head == 0 {
            *head = newest;
            self.touched.push(slot);
        } else if let Some(cell) = self.cells.get_mut(last - 1) {
            cell.next = newest;
        }
    }

    /// Writes the caseless form of everything: of ASCII in one go, else value by value.
    pub(crate) fn fold(&mut self) {
        if self.plain.is_ascii() {
            self.folded.push_str(&self.plain);
            self.folded.make_ascii_lowercase();
            return;
        }
        for cell in &mut self.cells {
            let (start, end) = cell.plain;
            let text = self.plain.get(start..end).unwrap_or_default();
            cell.folded = fold_into(text, &mut self.folded);
        }
    }
}

/// One value as matchers see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'v> {
    /// Its text as written.
    pub(crate) plain: &'v str,
    /// Its text in caseless form.
    pub(crate) folded: &'v str,
    /// Its number, when it is stored as one.
    pub(crate) stored: Option<Number>,
}

impl Seen<'_> {
    /// Its number, stored or written out.
    pub(crate) fn number(&self) -> Option<Number> {
        self.stored.or_else(|| Number::parse(self.plain))
    }
}

/// One value as the prefilter sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'v> {
    /// Its field, when some rule mentions it.
    pub(crate) slot: Option<Slot>,
    /// Whether keywords search it.
    pub(crate) is_text: bool,
    /// Its text in caseless form.
    pub(crate) folded: &'v str,
}

/// A laid out event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'v> {
    scratch: &'v Scratch,
    fields: &'v FieldTable,
}

impl<'v> View<'v> {
    /// Joins the scratch an event was loaded into and the names it was loaded by.
    pub(crate) fn new(scratch: &'v Scratch, fields: &'v FieldTable) -> Self {
        Self { scratch, fields }
    }

    /// Whether a value is longer than a regular expression reads whole.
    pub(crate) fn has_long_values(self) -> bool {
        self.scratch.n_long_values() > 0
    }

    /// The values of a field, in the order of the event.
    pub(crate) fn values(self, slot: Slot) -> impl Iterator<Item = Seen<'v>> {
        let mut at = self.scratch.heads.get(slot.0).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            loop {
                let cell = self.scratch.cells.get(at.checked_sub(1)?)?;
                at = cell.next;
                if cell.kind != Kind::Null {
                    return Some(self.seen(cell));
                }
            }
        })
    }

    /// Whether a field is there, with a value or without.
    pub(crate) fn has(self, slot: Slot) -> bool {
        self.scratch.heads.get(slot.0).is_some_and(|head| *head > 0)
    }

    /// Every value, in caseless form.
    pub(crate) fn shown(self) -> impl Iterator<Item = Shown<'v>> {
        self.scratch.cells.iter().map(move |cell| self.show(cell))
    }

    /// A value as the prefilter sees it.
    fn show(self, cell: &Cell) -> Shown<'v> {
        Shown {
            slot: cell.slot,
            is_text: cell.kind == Kind::Text,
            folded: slice(&self.scratch.folded, cell.folded),
        }
    }

    /// All values in caseless form, one behind the other.
    pub(crate) fn folded(self) -> &'v str {
        &self.scratch.folded
    }

    /// The value that holds a part of [`Self::folded`], unless that goes over the end of one.
    pub(crate) fn shown_at(self, start: usize, end: usize) -> Option<Shown<'v>> {
        let has = |cell: &&Cell| cell.folded.0 <= start && end <= cell.folded.1;
        let cells = &self.scratch.cells;
        let behind = cells.partition_point(|cell| cell.folded.0 <= start);
        let cell = cells.get(behind.checked_sub(1)?);
        cell.filter(has).map(|cell| self.show(cell))
    }

    /// The first value of a field.
    pub(crate) fn first(self, slot: Slot) -> Option<Seen<'v>> {
        self.values(slot).next()
    }

    /// What keyword rules search: the message and every field that holds a string.
    pub(crate) fn texts(self) -> impl Iterator<Item = (&'v str, Seen<'v>)> {
        let texts = self.scratch.cells.iter();
        texts
            .filter(|cell| cell.kind == Kind::Text)
            .map(move |cell| (self.name(cell), self.seen(cell)))
    }

    /// The name of a value's field.
    fn name(self, cell: &Cell) -> &'v str {
        let known = cell.slot.and_then(|slot| self.fields.names.get(slot.0));
        match known {
            Some(name) => name,
            None => slice(&self.scratch.names, cell.name),
        }
    }

    /// A value as matchers see it.
    fn seen(self, cell: &Cell) -> Seen<'v> {
        Seen {
            plain: slice(&self.scratch.plain, cell.plain),
            folded: slice(&self.scratch.folded, cell.folded),
            stored: match cell.kind {
                Kind::Number(number) => Some(number),
                Kind::Text | Kind::Flag | Kind::Null => None,
            },
        }
    }
}

/// A piece of a text.
fn slice(text: &str, (start, end): Range) -> &str {
    text.get(start..end).unwrap_or_default()
}
