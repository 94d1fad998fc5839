//! One event laid out for matching: fields by number, text folded once.
//! It never allocates for an event once its buffers have grown to the usual size.

use std::fmt::Write as _;

use hashbrown::HashMap;

use crate::event::{Event, Value};
use crate::fold::fold_into;
use crate::number::Number;

/// The number of a field name, the same for all rules of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(usize);

/// The field names that the rules of a set mention.
#[derive(Clone, Default, Debug)]
pub(crate) struct FieldTable {
    slots: HashMap<Box<str>, usize>,
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
        let next = self.slots.len();
        Slot(*self.slots.entry(name.into()).or_insert(next))
    }

    /// The number of `name`, if it was mentioned.
    pub(crate) fn find(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied().map(Slot)
    }
}

/// A range of the scratch text.
type Range = (usize, usize);

/// Where the text of one value lies.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// As written, for numbers and booleans only: strings are in the event.
    rendered: Option<Range>,
    /// In caseless form, when some rule may ask for it.
    folded: Option<Range>,
    /// The slot of its field, when some rule mentions it.
    slot: Option<usize>,
    /// The next value of the same field, as an index behind one.
    next: usize,
}

/// Buffers reused from event to event.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    text: String,
    cells: Vec<Cell>,
    /// Per slot the first value, as an index behind one; zero is none.
    heads: Vec<usize>,
    touched: Vec<usize>,
}

impl Scratch {
    /// Lays out an event; `whole` also folds values that no rule mentions, for keywords.
    pub(crate) fn load(&mut self, event: &Event<'_>, fields: &FieldTable, whole: bool) {
        self.clear(fields.slots.len());
        for (name, value) in event.fields {
            let slot = fields.slots.get(*name).copied();
            self.add(*value, slot, whole);
        }
        let slot = fields.slots.get("message").copied();
        let free = slot.filter(|slot| self.heads.get(*slot) == Some(&0));
        self.add(Value::Str(event.message), free, whole);
    }

    /// Forgets the event before.
    fn clear(&mut self, n_slots: usize) {
        self.text.clear();
        self.cells.clear();
        for slot in self.touched.drain(..) {
            if let Some(head) = self.heads.get_mut(slot) {
                *head = 0;
            }
        }
        self.heads.resize(n_slots, 0);
    }

    /// Adds one value.
    fn add(&mut self, value: Value<'_>, slot: Option<usize>, whole: bool) {
        let wanted = whole || slot.is_some();
        let (rendered, folded) = match value {
            Value::Str(text) => (None, wanted.then(|| fold_into(text, &mut self.text))),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) if wanted => {
                let rendered = Some(self.render(value));
                (rendered, rendered)
            }
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => (Some((0, 0)), None),
        };
        let cell = Cell {
            rendered,
            folded,
            slot,
            next: 0,
        };
        self.cells.push(cell);
        if let Some(slot) = slot {
            self.link(slot);
        }
    }

    /// Chains the newest cell behind the others of its slot.
    fn link(&mut self, slot: usize) {
        let newest = self.cells.len();
        let Some(head) = self.heads.get_mut(slot) else {
            return;
        };
        if *head == 0 {
            *head = newest;
            self.touched.push(slot);
            return;
        }
        let mut at = *head;
        while let Some(cell) = self.cells.get_mut(at - 1) {
            if cell.next == 0 {
                cell.next = newest;
                return;
            }
            at = cell.next;
        }
    }

    /// Writes a number or boolean as text.
    fn render(&mut self, value: Value<'_>) -> Range {
        let start = self.text.len();
        let written = match value {
            Value::Int(whole) => write!(self.text, "{whole}"),
            Value::Float(fraction) => write!(self.text, "{fraction}"),
            Value::Bool(flag) => write!(self.text, "{flag}"),
            Value::Str(text) => self.text.write_str(text),
        };
        written.expect("writing to a String cannot fail");
        (start, self.text.len())
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

/// A laid out event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'v> {
    event: &'v Event<'v>,
    scratch: &'v Scratch,
}

impl<'v> View<'v> {
    /// Joins an event and the scratch it was loaded into.
    pub(crate) fn new(event: &'v Event<'v>, scratch: &'v Scratch) -> Self {
        Self { event, scratch }
    }

    /// The values of a field, in the order of the event.
    pub(crate) fn values(self, slot: Slot) -> impl Iterator<Item = Seen<'v>> {
        let mut at = self.scratch.heads.get(slot.0).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let index = at.checked_sub(1)?;
            let cell = self.scratch.cells.get(index)?;
            at = cell.next;
            Some(self.seen(index, cell))
        })
    }

    /// Every value of a field that rules mention, in caseless form.
    pub(crate) fn folded_fields(self) -> impl Iterator<Item = (Slot, &'v str)> {
        let cells = self.scratch.cells.iter();
        cells.filter_map(move |cell| Some((Slot(cell.slot?), self.slice(cell.folded?)?)))
    }

    /// The first value of a field.
    pub(crate) fn first(self, slot: Slot) -> Option<Seen<'v>> {
        self.values(slot).next()
    }

    /// What keyword rules search: the message and every field that holds a string.
    pub(crate) fn texts(self) -> impl Iterator<Item = (&'v str, Seen<'v>)> {
        let cells = self.scratch.cells.iter().enumerate();
        cells
            .filter(|(_, cell)| cell.rendered.is_none())
            .map(move |(index, cell)| {
                let name = self
                    .event
                    .fields
                    .get(index)
                    .map_or("message", |(name, _)| *name);
                (name, self.seen(index, cell))
            })
    }

    /// The value at an index.
    fn seen(self, index: usize, cell: &Cell) -> Seen<'v> {
        let value = self
            .event
            .fields
            .get(index)
            .map_or(Value::Str(self.event.message), |(_, value)| *value);
        let rendered = || {
            cell.rendered
                .and_then(|range| self.slice(range))
                .unwrap_or("")
        };
        let (plain, stored) = match value {
            Value::Str(text) => (text, None),
            Value::Int(whole) => (rendered(), Some(Number::Int(whole))),
            Value::Float(fraction) => (rendered(), Some(Number::Float(fraction))),
            Value::Bool(_) => (rendered(), None),
        };
        let folded = cell
            .folded
            .and_then(|range| self.slice(range))
            .unwrap_or(plain);
        Seen {
            plain,
            folded,
            stored,
        }
    }

    /// A piece of the scratch text.
    fn slice(self, (start, end): Range) -> Option<&'v str> {
        self.scratch.text.get(start..end)
    }
}
