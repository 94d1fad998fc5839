//! Keys of groups: the values that keep the windows of a correlation apart.
//! It never holds a long value whole, and never gives two lists of values one key.

use hashbrown::DefaultHashBuilder;

use crate::correlation::FieldName;
use crate::correlation::correlate::Origin;
use crate::correlation::key::Key;
use crate::found::write_bounded;
use crate::search::view::Slot;

/// The key of the group at hand. Correlations that read the same fields share it, so that an event
/// that many of them count is read and hashed once.
#[derive(Default, Debug)]
pub(crate) struct GroupKey {
    text: String,
    hash: u64,
    /// The fields of the event at hand that it was read from.
    fields: Vec<Slot>,
    /// Whether it was.
    is_of_event: bool,
}

impl GroupKey {
    /// Forgets the event before.
    pub(crate) fn begin_event(&mut self) {
        self.is_of_event = false;
    }

    /// Reads the key of a match; answers false when one of its fields is absent.
    pub(crate) fn read(
        &mut self,
        fields: &[FieldName],
        origin: Origin<'_>,
        hasher: &DefaultHashBuilder,
    ) -> bool {
        let is_of_event = matches!(origin, Origin::Event(_));
        let slots = fields.iter().map(|field| field.slot);
        if is_of_event && self.is_of_event && self.fields.iter().copied().eq(slots.clone()) {
            return true;
        }
        self.is_of_event = false;
        if !write_key(fields, origin, &mut self.text) {
            return false;
        }
        self.hash = Key::new(&self.text, hasher).hash;
        self.is_of_event = is_of_event;
        self.fields.clear();
        self.fields.extend(slots);
        true
    }

    /// The key that was read last.
    pub(crate) fn key(&self) -> Key<'_> {
        Key {
            text: &self.text,
            hash: self.hash,
        }
    }
}

/// Writes the key of a group; answers false when one of its fields is absent.
pub(crate) fn write_key(fields: &[FieldName], origin: Origin<'_>, key: &mut String) -> bool {
    key.clear();
    for field in fields {
        let Some(value) = origin.text(field) else {
            return false;
        };
        write_bounded(value, key);
        // No value ends so: quotes in values are escaped.
        key.push('"');
    }
    true
}
