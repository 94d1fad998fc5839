//! Names of events as they came before: events of a kind have the same names in the same order.
//! It never grows past its bound, and holds only as long as rules mention the same names.

use hashbrown::HashMap;

use crate::search::view::{FieldTable, Slot};

/// Most names that are known: some kinds of events have dozens.
const MAX_NAMES: usize = 1_024;

/// The names of the events before.
#[derive(Default, Debug)]
pub(crate) struct Names {
    known: Vec<Known>,
    places: HashMap<Box<str>, usize>,
    /// Where the first name of an event was last time, if there was one.
    first: Option<usize>,
    /// Where the last name of the event at hand is.
    last: Option<usize>,
}

/// A name that events have.
#[derive(Debug)]
struct Known {
    /// The name, behind those of the objects around it.
    name: Box<str>,
    /// Its field, if some rule mentions it.
    slot: Option<Slot>,
    /// Where the name is that came behind it last time.
    next: Option<usize>,
}

impl Names {
    /// Begins an event.
    pub(crate) fn begin(&mut self) {
        self.last = None;
    }

    /// Where the name is that comes now, if the event is like one before.
    fn next(&self) -> Option<usize> {
        match self.last {
            None => self.first,
            Some(last) => self.known.get(last)?.next,
        }
    }

    /// The name that comes now, if the event is like one before.
    pub(crate) fn expected(&self) -> Option<&str> {
        self.known.get(self.next()?).map(|known| &*known.name)
    }

    /// Whether this is the name that comes now, if the event is like one before.
    pub(crate) fn expects(&self, name: &str) -> bool {
        self.expected() == Some(name)
    }

    /// Takes the name that was expected, and answers its field.
    pub(crate) fn take_expected(&mut self) -> Option<Slot> {
        self.last = self.next();
        self.known.get(self.last?)?.slot
    }

    /// Takes another name, and answers its field; `is_plain` says that JSON writes it as it is.
    pub(crate) fn take(&mut self, name: &str, is_plain: bool, fields: &FieldTable) -> Option<Slot> {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                let slot = fields.find(name);
                if !is_plain || self.known.len() >= MAX_NAMES {
                    return slot;
                }
                self.know(name, slot)
            }
        };
        match self.last.and_then(|last| self.known.get_mut(last)) {
            Some(last) => last.next = Some(place),
            None => self.first = Some(place),
        }
        self.last = Some(place);
        self.known.get(place)?.slot
    }

    /// Adds a name and answers where it is.
    fn know(&mut self, name: &str, slot: Option<Slot>) -> usize {
        let place = self.known.len();
        self.places.insert(name.into(), place);
        self.known.push(Known {
            name: name.into(),
            slot,
            next: None,
        });
        place
    }
}
