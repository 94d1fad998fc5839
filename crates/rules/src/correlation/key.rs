//! Keys of windows and counted values: with their hash while they are looked for, packed when kept.
//! It never takes two texts for one because their hashes are the same.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

/// A key with its hash, which is computed once and serves several tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'k> {
    /// The key itself.
    pub(crate) text: &'k str,
    /// Its hash.
    pub(crate) hash: u64,
}

impl<'k> Key<'k> {
    /// A key for tables that are asked with keys of the same hasher only.
    pub(crate) fn new(text: &'k str, hasher: &DefaultHashBuilder) -> Self {
        let hash = hasher.hash_one(text);
        Self { text, hash }
    }
}

/// Longest key that is kept in place: an address or a name fits.
const SHORT: usize = 22;

/// A key as it is kept: a short one where it is looked at, without a way through memory.
#[derive(Clone, Debug)]
pub(crate) enum KeptKey {
    /// So many bytes of these.
    Short(u8, [u8; SHORT]),
    /// A text of its own.
    Long(Box<str>),
}

impl KeptKey {
    /// Keeps a text.
    pub(crate) fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(text.as_bytes());
                Self::Short(length, bytes)
            }
            _ => Self::Long(text.into()),
        }
    }

    /// Whether it is this text.
    pub(crate) fn is(&self, text: &str) -> bool {
        match self {
            Self::Short(length, bytes) => {
                bytes.get(..usize::from(*length)) == Some(text.as_bytes())
            }
            Self::Long(kept) => **kept == *text,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::KeptKey;

    proptest! {
        #[test]
        fn a_kept_key_is_its_text_and_no_other(text in "[ab\0é]{0,30}", other in "[ab\0é]{0,30}") {
            assert!(KeptKey::new(&text).is(&text));
            assert_eq!(KeptKey::new(&text).is(&other), text == other);
        }
    }

    #[test]
    fn a_kept_key_is_no_larger_than_a_text_of_its_own() {
        assert_eq!(size_of::<KeptKey>(), size_of::<String>());
    }
}
