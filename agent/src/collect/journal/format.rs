//! The bytes of journald's files as values: header, entries, arrays of entries, data.
//! It trusts no number in them and reads nothing itself.

/// Every feature this reader understands: the three compressions, keyed hashes, compact form.
const KNOWN_FEATURES: u32 = 0b1_1111;
const COMPACT: u32 = 1 << 4;

/// As much of a header as is needed, and no more than the oldest form has.
pub(super) const HEADER_BYTES: usize = 208;

/// Where a header counts the entries.
pub(super) const N_ENTRIES_AT: u64 = 152;

/// The part of every object that says what it is.
pub(super) const OBJECT_BYTES: usize = 16;

/// An entry without its items.
pub(super) const ENTRY_BYTES: usize = 64;

/// An array of entries without its slots.
pub(super) const ARRAY_BYTES: usize = 24;

/// An identifier.
pub(super) type Id = [u8; 16];

/// Why a file, or a part of it, is not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// It cannot be read.
    #[error("could not read it")]
    Read(#[source] std::io::Error),
    /// It is something else.
    #[error("it is not a journal")]
    NotAJournal,
    /// It was written by a newer journald.
    #[error("it uses features {0:#x} that this agent does not know")]
    UnknownFeatures(u32),
    /// A number in it points to nothing.
    #[error("it is damaged: no {what} at {offset}")]
    Damaged {
        /// What should be there.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// A value is packed in a way that cannot be undone.
    #[error("a value at {offset} cannot be unpacked: {why}")]
    NotUnpacked {
        /// Where.
        offset: u64,
        /// Why.
        why: String,
    },
}

/// What a file says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) is_compact: bool,
    /// Nobody writes to it any more.
    pub(super) is_archived: bool,
    pub(super) seqnum_id: Id,
    pub(super) n_entries: u64,
    pub(super) tail_seqnum: u64,
    pub(super) entry_array: u64,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        let read = || {
            let features = u32_at(bytes, 12)?;
            let header = Self {
                is_compact: features & COMPACT != 0,
                is_archived: *bytes.get(16)? == 2,
                seqnum_id: id_at(bytes, 72)?,
                n_entries: u64_at(bytes, N_ENTRIES_AT as usize)?,
                tail_seqnum: u64_at(bytes, 160)?,
                entry_array: u64_at(bytes, 176)?,
            };
            Some((features, header))
        };
        if !bytes.starts_with(b"LPKSHHRH") {
            return Err(JournalError::NotAJournal);
        }
        let (features, header) = read().ok_or(JournalError::NotAJournal)?;
        match features & !KNOWN_FEATURES {
            0 => Ok(header),
            unknown => Err(JournalError::UnknownFeatures(unknown)),
        }
    }

    /// Bytes of one slot of an array of entries.
    pub(super) const fn slot_bytes(&self) -> usize {
        if self.is_compact { 4 } else { 8 }
    }

    /// Bytes of one item of an entry.
    pub(super) const fn item_bytes(&self) -> usize {
        if self.is_compact { 4 } else { 16 }
    }

    /// Where the payload of a datum begins.
    pub(super) const fn payload_at(&self) -> usize {
        if self.is_compact { 72 } else { 64 }
    }

    /// The offset in a slot or an item.
    pub(super) fn offset_in(&self, bytes: &[u8]) -> u64 {
        let offset = if self.is_compact {
            u32_at(bytes, 0).map(u64::from)
        } else {
            u64_at(bytes, 0)
        };
        offset.unwrap_or(0)
    }
}

/// The kinds of objects that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Data = 1,
    Entry = 3,
    EntryArray = 6,
}

/// How a datum is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packing {
    None,
    Xz,
    Lz4,
    Zstd,
}

/// The beginning of an object: its whole size and its packing; none if it is of another kind.
pub(super) fn parse_object(bytes: &[u8], kind: Kind) -> Option<(u64, Packing)> {
    if *bytes.first()? != kind as u8 {
        return None;
    }
    let packing = match *bytes.get(1)? & 0b111 {
        0 => Packing::None,
        1 => Packing::Xz,
        2 => Packing::Lz4,
        4 => Packing::Zstd,
        _ => return None,
    };
    let size = u64_at(bytes, 8)?;
    (size >= OBJECT_BYTES as u64).then_some((size, packing))
}

/// Which entry it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct EntryHead {
    pub(super) seqnum: u64,
    /// Microseconds since 1970.
    pub(super) realtime: u64,
    /// Microseconds since the boot.
    pub(super) monotonic: u64,
    pub(super) boot_id: Id,
}

impl EntryHead {
    /// Reads the fixed part of an entry.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            seqnum: u64_at(bytes, 16)?,
            realtime: u64_at(bytes, 24)?,
            monotonic: u64_at(bytes, 32)?,
            boot_id: id_at(bytes, 40)?,
        })
    }
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn id_at(bytes: &[u8], at: usize) -> Option<Id> {
    bytes.get(at..at.checked_add(16)?)?.try_into().ok()
}
