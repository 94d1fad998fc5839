//! Files in journald's form, made by tests; real ones are megabytes of nothing.
//! It knows no more of the form than a writer has to.

use std::collections::HashMap;

use super::format::{ARRAY_BYTES, ENTRY_BYTES};

/// How many slots each list of entries has; journald doubles them.
const SLOTS: [usize; 4] = [2, 3, 8, 64];

/// A file while it is made.
#[derive(Clone, Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
    is_compact: bool,
    values: HashMap<Vec<u8>, u64>,
    /// Lists of entries: where each is, and how many slots it has.
    arrays: Vec<(usize, usize)>,
    n_entries: u64,
}

/// An entry to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewEntry {
    pub(super) seqnum: u64,
    pub(super) realtime: u64,
    pub(super) monotonic: u64,
    pub(super) boot: u8,
}

impl NewEntry {
    /// One whose clocks go with its number.
    pub(super) const fn numbered(seqnum: u64) -> Self {
        Self {
            seqnum,
            realtime: 1_000_000 + seqnum,
            monotonic: seqnum,
            boot: 7,
        }
    }
}

impl Image {
    pub(super) fn new(is_compact: bool, series: u8) -> Self {
        let mut bytes = vec![0; 272];
        bytes[..8].copy_from_slice(b"LPKSHHRH");
        bytes[12] = if is_compact { 0b1_1100 } else { 0b0_1100 };
        bytes[16] = 1;
        bytes[72..88].fill(series);
        Self {
            bytes,
            is_compact,
            values: HashMap::new(),
            arrays: Vec::new(),
            n_entries: 0,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn archive(&mut self) {
        self.bytes[16] = 2;
    }

    /// Writes an entry the way journald does: what it points to first, its number last.
    pub(super) fn append(&mut self, entry: NewEntry, fields: &[&[u8]]) {
        let items: Vec<u64> = fields.iter().map(|field| self.value(field, 0)).collect();
        self.append_items(entry, &items);
    }

    pub(super) fn append_items(&mut self, entry: NewEntry, items: &[u64]) {
        let item_bytes = if self.is_compact { 4 } else { 16 };
        let at = self.object(3, 0, ENTRY_BYTES + items.len() * item_bytes);
        self.put(at + 16, entry.seqnum);
        self.put(at + 24, entry.realtime);
        self.put(at + 32, entry.monotonic);
        self.bytes[at + 40..at + 56].fill(entry.boot);
        for (number, item) in items.iter().enumerate() {
            self.put_offset(at + ENTRY_BYTES + number * item_bytes, *item);
        }
        self.link(at as u64);
        self.n_entries += 1;
        self.put(152, self.n_entries);
        self.put(160, entry.seqnum);
    }

    /// A value, packed or not; the same is written once.
    pub(super) fn value(&mut self, payload: &[u8], packing: u8) -> u64 {
        if let Some(at) = self.values.get(payload) {
            let at = *at;
            let n_entries = super::format::u64_at(&self.bytes, at as usize + 56).unwrap();
            self.put(at as usize + 56, n_entries + 1);
            return at;
        }
        let payload_at = if self.is_compact { 72 } else { 64 };
        let at = self.object(1, packing, payload_at + payload.len());
        self.put(at + 56, 1);
        self.bytes[at + payload_at..][..payload.len()].copy_from_slice(payload);
        self.values.insert(payload.to_owned(), at as u64);
        at as u64
    }

    /// Says another highest number than the last entry has.
    pub(super) fn claim_tail(&mut self, seqnum: u64) {
        self.put(160, seqnum);
    }

    /// Makes the first list one of one slot, with a chain of such lists behind it.
    pub(super) fn chain(&mut self, n_lists: usize) {
        let entry = self.arrays[0].0;
        self.put(entry + 8, ARRAY_BYTES as u64 + 8);
        let mut last = entry;
        for _ in 0..n_lists {
            let next = self.object(6, 0, ARRAY_BYTES + 8);
            self.put(last + 16, next as u64);
            last = next;
        }
        self.put(152, n_lists as u64);
    }

    /// Overwrites a byte, as a failing disk does.
    pub(super) fn damage(&mut self, at: usize, byte: u8) {
        self.bytes[at] = byte;
    }

    fn link(&mut self, entry: u64) {
        let slot_bytes = if self.is_compact { 4 } else { 8 };
        let mut before = 0;
        for (number, n_slots) in SLOTS.into_iter().enumerate() {
            if self.arrays.len() == number {
                let at = self.object(6, 0, ARRAY_BYTES + n_slots * slot_bytes);
                match self.arrays.last() {
                    None => self.put(176, at as u64),
                    Some((last, _)) => self.put(last + 16, at as u64),
                }
                self.arrays.push((at, n_slots));
            }
            let (at, n_slots) = self.arrays[number];
            let slot = self.n_entries as usize - before;
            if slot < n_slots {
                return self.put_offset(at + ARRAY_BYTES + slot * slot_bytes, entry);
            }
            before += n_slots;
        }
        panic!("an image has room for few entries");
    }

    fn object(&mut self, kind: u8, flags: u8, size: usize) -> usize {
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at + size, 0);
        self.bytes[at] = kind;
        self.bytes[at + 1] = flags;
        self.put(at + 8, size as u64);
        at
    }

    fn put(&mut self, at: usize, number: u64) {
        self.bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }

    fn put_offset(&mut self, at: usize, offset: u64) {
        if self.is_compact {
            let offset = u32::try_from(offset).unwrap();
            self.bytes[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        } else {
            self.put(at, offset);
        }
    }
}
