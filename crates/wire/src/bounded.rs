//! Lists of a frame that end at a bound while they are read.
//! It never cuts a list: a longer one is refused whole, before it takes its place in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::MAX_DOCUMENT_ENTRIES;

/// Reads a list of a document; an element of a few bytes may become one of a hundred.
pub(crate) fn entries<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(Entries(PhantomData))
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_DOCUMENT_ENTRIES} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            if entries.len() >= MAX_DOCUMENT_ENTRIES {
                return Err(A::Error::invalid_length(entries.len() + 1, &self));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DesiredDocument, decode};

    fn read(n_paths: usize) -> Option<DesiredDocument> {
        let paths = vec!["\"\""; n_paths].join(",");
        let text = format!(r#"{{"firewall_enabled":null,"monitored_files":[{paths}]}}"#);
        decode(&text, usize::MAX).ok()
    }

    #[test]
    fn a_list_of_the_greatest_length_is_read_and_a_longer_one_refused() {
        let longest = read(MAX_DOCUMENT_ENTRIES).unwrap();

        assert_eq!(longest.monitored_files.len(), MAX_DOCUMENT_ENTRIES);
        assert_eq!(read(MAX_DOCUMENT_ENTRIES + 1), None);
    }
}
