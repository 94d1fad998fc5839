//! One file of journald, read entry by entry while it grows.
//! It holds a bounded number of values that many entries share, and no entry.

use std::collections::HashMap;

use super::bytes::{Bytes, Section};
use super::format::{
    ARRAY_BYTES, ENTRY_BYTES, EntryHead, HEADER_BYTES, Header, JournalError, Kind, N_ENTRIES_AT,
    Packing, parse_object, u64_at,
};
use super::record::{Field, MAX_VALUE_BYTES, Record, Value, split_field};
use super::unpack::unpack;

/// How many slots of an array are read at once.
const WINDOW_SLOTS: usize = 64;

/// Most fields of an entry that are looked at; journald itself takes no more than 1,024.
const MAX_ITEMS: usize = 1_024;

/// What is read of an entry or a datum at once: most are not longer.
const GLANCE_BYTES: usize = 640;

/// Most lists of entries in a row: each is twice as long as the one before, so a file as large as
/// can be has some forty.
const MAX_ARRAYS: usize = 512;

/// Most values that are remembered; when there are more, all are read anew.
const MAX_KNOWN: usize = 512;

/// An open file.
#[derive(Debug)]
pub(super) struct JournalFile<B> {
    bytes: B,
    header: Header,
    arrays: Vec<EntryArray>,
    /// Offsets of entries from a number on.
    window: (u64, Vec<u64>),
    /// Values that more than one entry has, by their offsets.
    known: HashMap<u64, Value>,
}

/// A part of the list of entries.
#[derive(Clone, Copy, Debug)]
struct EntryArray {
    offset: u64,
    next: u64,
    /// The number of its first entry.
    first: u64,
    n_slots: u64,
}

/// An entry: which one, and where its fields are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) head: EntryHead,
    items: Vec<u64>,
}

impl<B: Bytes> JournalFile<B> {
    pub(super) fn open(bytes: B) -> Result<Self, JournalError> {
        let header = read_header(&bytes)?;
        Ok(Self {
            bytes,
            header,
            arrays: Vec::new(),
            window: (0, Vec::new()),
            known: HashMap::new(),
        })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Looks how far the file has grown.
    pub(super) fn refresh(&mut self) -> Result<(), JournalError> {
        let header = read_header(&self.bytes)?;
        if header.entry_array != self.header.entry_array {
            // Made when the first entry was; nothing else may move it.
            self.arrays.clear();
        }
        self.header = header;
        Ok(())
    }

    /// Whether its header counts more entries than when it was last looked at.
    pub(super) fn has_grown(&self) -> bool {
        let mut count = [0; 8];
        let read = self.bytes.read_at(N_ENTRIES_AT, &mut count);
        read.is_ok_and(|n_read| n_read == 8) && u64::from_le_bytes(count) != self.header.n_entries
    }

    /// The number of the first entry that is behind a place, in a file whose entries are in order.
    pub(super) fn find_first(
        &mut self,
        is_behind: impl Fn(&EntryHead) -> bool,
    ) -> Result<u64, JournalError> {
        let (mut low, mut high) = (0, self.header.n_entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_behind(&self.read_head(middle)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// Which entry has a number.
    pub(super) fn read_head(&mut self, number: u64) -> Result<EntryHead, JournalError> {
        let offset = self.offset_of(number)?;
        let mut buffer = [0; ENTRY_BYTES];
        let read = read(&self.bytes, offset, &mut buffer)?;
        let is_entry = parse_object(read, Kind::Entry).is_some();
        let head = EntryHead::parse(read).filter(|_| is_entry);
        head.ok_or(JournalError::Damaged {
            what: "entry",
            offset,
        })
    }

    /// The entry of a number.
    pub(super) fn read_entry(&mut self, number: u64) -> Result<Entry, JournalError> {
        let offset = self.offset_of(number)?;
        let damaged = || JournalError::Damaged {
            what: "entry",
            offset,
        };
        let mut glance = [0; GLANCE_BYTES];
        let glance = read(&self.bytes, offset, &mut glance)?;
        let (size, _) = parse_object(glance, Kind::Entry).ok_or_else(damaged)?;
        let head = EntryHead::parse(glance).ok_or_else(damaged)?;
        let most = ENTRY_BYTES + MAX_ITEMS * self.header.item_bytes();
        let size = usize::try_from(size).unwrap_or(most).min(most);
        let items = match glance.get(ENTRY_BYTES..size) {
            Some(items) => self.parse_items(items),
            None => {
                let mut all = vec![0; size];
                let all = read(&self.bytes, offset, &mut all)?;
                self.parse_items(all.get(ENTRY_BYTES..).unwrap_or_default())
            }
        };
        Ok(Entry { head, items })
    }

    /// The entry at a place in the list, if its own number is one the file has given: journald says
    /// its highest before it lists the entry, so a header that is read now has it.
    pub(super) fn read_numbered(&mut self, number: u64) -> Result<Entry, JournalError> {
        let entry = self.read_entry(number)?;
        if entry.head.seqnum <= self.header.tail_seqnum {
            return Ok(entry);
        }
        let header = read_header(&self.bytes)?;
        if entry.head.seqnum <= header.tail_seqnum {
            return Ok(entry);
        }
        let (what, offset) = ("entry", self.offset_of(number)?);
        Err(JournalError::Damaged { what, offset })
    }

    fn parse_items(&self, items: &[u8]) -> Vec<u64> {
        let items = items.chunks_exact(self.header.item_bytes());
        items.map(|item| self.header.offset_in(item)).collect()
    }

    /// What an entry says.
    pub(super) fn read_record(&mut self, entry: &Entry) -> Result<Record, JournalError> {
        let mut record = Record::default();
        for offset in &entry.items {
            if let Some(value) = self.known.get(offset) {
                record.take(value);
            } else {
                let value = self.read_value(*offset)?;
                record.take(&value);
            }
        }
        Ok(record)
    }

    fn read_value(&mut self, offset: u64) -> Result<Value, JournalError> {
        let mut glance = [0; GLANCE_BYTES];
        let glance = read(&self.bytes, offset, &mut glance)?;
        let object = parse_object(glance, Kind::Data);
        let payload_at = self.header.payload_at();
        let length = object.and_then(|(size, _)| size.checked_sub(payload_at as u64));
        let (Some((_, packing)), Some(length)) = (object, length) else {
            return Err(JournalError::Damaged {
                what: "value",
                offset,
            });
        };
        let n_entries = u64_at(glance, 56).unwrap_or(0);
        let begin = glance.get(payload_at..).unwrap_or_default();
        let value = if packing == Packing::None {
            self.read_plain(offset + payload_at as u64, length, begin)?
        } else {
            let section = Section::new(&self.bytes, offset + payload_at as u64, length);
            let (bytes, is_cut) = unpack(packing, section, MAX_VALUE_BYTES)
                .map_err(|why| JournalError::NotUnpacked { offset, why })?;
            split_field(&bytes).map_or(Value::Unwanted, |(field, text)| {
                Value::of(field, text, is_cut)
            })
        };
        // A message is seldom told twice, and a value of one entry never again.
        if n_entries > 1 && !value.is_message() {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(offset, value.clone());
        }
        Ok(value)
    }

    fn read_plain(&self, at: u64, length: u64, begin: &[u8]) -> Result<Value, JournalError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let begin = begin.get(..length).unwrap_or(begin);
        let Some((field, text)) = split_field(begin) else {
            return Ok(Value::Unwanted);
        };
        if begin.len() == length {
            return Ok(Value::of(field, text, false));
        }
        let mut all = vec![0; length.min(MAX_VALUE_BYTES)];
        let all = read(&self.bytes, at, &mut all)?;
        let is_cut = length > all.len();
        let text = split_field(all).map_or(&b""[..], |(_, text)| text);
        Ok(Value::of(field, text, is_cut))
    }

    /// Where the entry of a number is.
    fn offset_of(&mut self, number: u64) -> Result<u64, JournalError> {
        let (begin, offsets) = &self.window;
        let known = number.checked_sub(*begin).and_then(|at| {
            let at = usize::try_from(at).ok()?;
            offsets.get(at).copied()
        });
        if let Some(offset) = known {
            return Ok(offset);
        }
        let array = self.array_of(number)?;
        let slot_bytes = self.header.slot_bytes();
        let at = array.offset + ARRAY_BYTES as u64 + (number - array.first) * slot_bytes as u64;
        // Slots behind the last entry are not written yet.
        let n_left = self.header.n_entries.min(array.first + array.n_slots) - number;
        let n_left = usize::try_from(n_left).unwrap_or(WINDOW_SLOTS);
        let mut buffer = [0; WINDOW_SLOTS * 8];
        let n_wanted = n_left.min(WINDOW_SLOTS) * slot_bytes;
        let buffer = buffer.get_mut(..n_wanted).unwrap_or_default();
        let slots = read(&self.bytes, at, buffer)?;
        let slots = slots.chunks_exact(slot_bytes);
        let offsets: Vec<_> = slots.map(|slot| self.header.offset_in(slot)).collect();
        let offset = offsets.first().copied().filter(|offset| *offset > 0);
        self.window = (number, offsets);
        offset.ok_or(JournalError::Damaged {
            what: "slot",
            offset: at,
        })
    }

    /// The array that the entry of a number is in.
    fn array_of(&mut self, number: u64) -> Result<EntryArray, JournalError> {
        let missing = JournalError::Damaged {
            what: "list of entries",
            offset: self.header.entry_array,
        };
        if number >= self.header.n_entries {
            return Err(missing);
        }
        let is_of = |array: &EntryArray| number < array.first + array.n_slots;
        if let Some(array) = self.arrays.iter().find(|array| is_of(array)) {
            return Ok(*array);
        }
        loop {
            let (offset, first) = match self.arrays.last_mut() {
                None => (self.header.entry_array, 0),
                Some(last) => {
                    // It was the last one when it was read.
                    *last = read_array(&self.bytes, last.offset, last.first, &self.header)?;
                    (last.next, last.first + last.n_slots)
                }
            };
            // Files only grow: an array that stands before another one is a loop.
            let is_ahead = self.arrays.last().is_none_or(|last| offset > last.offset);
            if offset == 0 || !is_ahead || self.arrays.len() >= MAX_ARRAYS {
                return Err(missing);
            }
            let array = read_array(&self.bytes, offset, first, &self.header)?;
            self.arrays.push(array);
            if is_of(&array) {
                return Ok(array);
            }
        }
    }
}

fn read_array<B: Bytes>(
    bytes: &B,
    offset: u64,
    first: u64,
    header: &Header,
) -> Result<EntryArray, JournalError> {
    let mut buffer = [0; ARRAY_BYTES];
    let array = read(bytes, offset, &mut buffer)?;
    let size = parse_object(array, Kind::EntryArray).map(|(size, _)| size);
    let size = size.and_then(|size| size.checked_sub(ARRAY_BYTES as u64));
    let n_slots = size.map(|size| size / header.slot_bytes() as u64);
    // More slots than bytes can be: nothing may overflow behind it.
    let n_slots = n_slots.filter(|n_slots| (1..1 << 40).contains(n_slots) && first < 1 << 50);
    match (n_slots, u64_at(array, 16)) {
        (Some(n_slots), Some(next)) => Ok(EntryArray {
            offset,
            next,
            first,
            n_slots,
        }),
        _ => Err(JournalError::Damaged {
            what: "list of entries",
            offset,
        }),
    }
}

fn read_header<B: Bytes>(bytes: &B) -> Result<Header, JournalError> {
    let mut buffer = [0; HEADER_BYTES];
    Header::parse(read(bytes, 0, &mut buffer)?)
}

fn read<'b, B: Bytes>(
    bytes: &B,
    offset: u64,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], JournalError> {
    // Beyond what an offset of a file can be, the kernel would refuse the read.
    if offset > i64::MAX as u64 / 2 {
        return Err(JournalError::Damaged {
            what: "byte",
            offset,
        });
    }
    let n_read = bytes.read_at(offset, buffer).map_err(JournalError::Read)?;
    Ok(buffer.get(..n_read).unwrap_or_default())
}

impl Value {
    fn is_message(&self) -> bool {
        matches!(self, Self::Message { .. })
    }

    fn of(field: Field, text: &[u8], is_cut: bool) -> Self {
        Self::new(field, text, is_cut)
    }
}

#[cfg(test)]
mod tests;
