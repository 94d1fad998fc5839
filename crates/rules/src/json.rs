//! Events as JSON text, read straight into the scratch: no tree in between.
//! It never keeps a value that no rule could look at.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::event::Value;
use crate::view::{FieldTable, Scratch};

/// Why the text of an event was refused.
#[derive(Debug, thiserror::Error)]
#[error("the event is not a JSON object: {0}; hand over one object per event")]
pub struct EventError(#[from] serde_json::Error);

/// Lays out an event; `whole` also keeps texts that no rule mentions, for keywords.
///
/// Nested objects have their names joined by dots, an array is several values of one name, and
/// null is an absent value.
pub(crate) fn load_json(
    scratch: &mut Scratch,
    json: &str,
    fields: &FieldTable,
    whole: bool,
) -> Result<(), EventError> {
    scratch.clear(fields);
    let mut path = String::new();
    let reader = Reader {
        scratch,
        fields,
        whole,
        path: &mut path,
        name: "",
        is_root: true,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    scratch.fold();
    Ok(())
}

/// Reads one value of a name.
struct Reader<'r> {
    scratch: &'r mut Scratch,
    fields: &'r FieldTable,
    whole: bool,
    /// The names of the objects around, each with a dot behind it, where there are any.
    path: &'r mut String,
    /// The name of the value, without the path.
    name: &'r str,
    is_root: bool,
}

impl Reader<'_> {
    /// The same place for another value.
    fn again(&mut self) -> Reader<'_> {
        Reader {
            scratch: self.scratch,
            fields: self.fields,
            whole: self.whole,
            path: self.path,
            name: self.name,
            is_root: self.is_root,
        }
    }

    /// Adds a value under the present name.
    fn add(self, value: Value<'_>) {
        let name = if self.path.is_empty() {
            self.name
        } else {
            self.path.push_str(self.name);
            self.path.as_str()
        };
        let slot = self.fields.find(name);
        let is_text = matches!(value, Value::Str(_));
        if slot.is_some() || (self.whole && is_text) {
            self.scratch.add(name, slot, value);
        }
        let outer = self.path.len().saturating_sub(self.name.len());
        self.path.truncate(outer);
    }

    /// Whether something below `name` could be looked at.
    fn is_wanted(&self, name: &str) -> bool {
        self.whole || self.fields.has_dots() || self.fields.find(name).is_some()
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_root {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.add(Value::Bool(flag));
        Ok(())
    }

    fn visit_i64<E>(self, whole: i64) -> Result<(), E> {
        self.add(Value::Int(whole));
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JSON numbers beyond 64 bits with sign are fractions here"
    )]
    fn visit_u64<E>(self, whole: u64) -> Result<(), E> {
        let value = i64::try_from(whole).map_or(Value::Float(whole as f64), Value::Int);
        self.add(value);
        Ok(())
    }

    fn visit_f64<E>(self, fraction: f64) -> Result<(), E> {
        self.add(Value::Float(fraction));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.add(Value::Str(text));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let outer = self.path.len();
        if !self.is_root {
            self.path.push_str(self.name);
            self.path.push('.');
        }
        while let Some(name) = entries.next_key_seed(Name)? {
            if !self.is_wanted(&name) {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            if self.path.len() > MAX_PATH_BYTES {
                return Err(A::Error::custom("names of nested objects are too long"));
            }
            entries.next_value_seed(Reader {
                scratch: self.scratch,
                fields: self.fields,
                whole: self.whole,
                path: self.path,
                name: &name,
                is_root: false,
            })?;
        }
        self.path.truncate(outer);
        Ok(())
    }
}

/// Longest joined name: without a bound, deep nesting would make names of quadratic length.
const MAX_PATH_BYTES: usize = 4_096;

/// Reads a name, borrowed from the text unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
