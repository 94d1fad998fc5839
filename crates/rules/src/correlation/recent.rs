//! Entries by key in the order of their last use, in room that is used again.
//! It never gives an entry up by itself; whoever holds it knows the bounds.

use hashbrown::HashTable;

use crate::correlation::key::{KeptKey, Key};

/// Most entries that are looked through one by one: most windows hold fewer, and a table of their
/// own would cost each of them more than it saves.
const FEW: usize = 8;

/// No entry.
const NONE: u32 = u32::MAX;

/// Entries by key, from the one used last to the longest unused.
#[derive(Clone, Debug)]
pub(crate) struct Recent<V> {
    slots: Vec<Slot<V>>,
    /// Where all entries are, once there were more than a few of them.
    table: Option<Box<HashTable<u32>>>,
    newest: u32,
    oldest: u32,
    /// The first slot without an entry; the others follow by `older`.
    free: u32,
    len: u32,
}

/// An entry and its neighbours, or room for one with the buffers of the one before.
#[derive(Clone, Debug)]
struct Slot<V> {
    hash: u64,
    key: KeptKey,
    value: V,
    newer: u32,
    older: u32,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            table: None,
            newest: NONE,
            oldest: NONE,
            free: NONE,
            len: 0,
        }
    }
}

impl<V> Recent<V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub(crate) fn peek(&self, key: Key<'_>) -> Option<&V> {
        let at = self.find(key)?;
        self.slots.get(at as usize).map(|slot| &slot.value)
    }

    /// The value of a key, which becomes the one used last.
    pub(crate) fn touch(&mut self, key: Key<'_>) -> Option<&mut V> {
        let at = self.find(key)?;
        if at != self.newest {
            self.unlink(at);
            self.link(at);
        }
        self.slots.get_mut(at as usize).map(|slot| &mut slot.value)
    }

    /// The longest unused value.
    pub(crate) fn oldest(&self) -> Option<&V> {
        self.slots.get(self.oldest as usize).map(|slot| &slot.value)
    }

    /// Gives up the longest unused entry and answers what its value was, to be counted and emptied.
    pub(crate) fn pop_oldest(&mut self) -> Option<&mut V> {
        if self.slots.len() - self.len() > self.len().max(FEW) {
            self.compact();
        }
        let at = self.oldest;
        let hash = self.slots.get(at as usize)?.hash;
        let entry = |table| HashTable::find_entry(table, hash, |other| *other == at).ok();
        if let Some(entry) = self.table.as_deref_mut().and_then(entry) {
            entry.remove();
        }
        self.unlink(at);
        self.len -= 1;
        if self.is_empty() {
            self.table = None;
        }
        let slot = self.slots.get_mut(at as usize)?;
        slot.older = std::mem::replace(&mut self.free, at);
        Some(&mut slot.value)
    }

    /// Adds an entry whose key is not there yet, made anew or of a value that was given up.
    pub(crate) fn insert(
        &mut self,
        key: Key<'_>,
        make: impl FnOnce() -> V,
        renew: impl FnOnce(&mut V),
    ) {
        let at = self.free;
        match self.slots.get_mut(at as usize) {
            Some(slot) => {
                self.free = slot.older;
                slot.hash = key.hash;
                slot.key = KeptKey::new(key.text);
                renew(&mut slot.value);
                self.settle(at);
            }
            None => self.push(key.hash, KeptKey::new(key.text), make()),
        }
    }

    /// Adds an entry in new room.
    fn push(&mut self, hash: u64, key: KeptKey, value: V) {
        let at = u32::try_from(self.slots.len()).unwrap_or(NONE);
        self.slots.push(Slot {
            hash,
            key,
            value,
            newer: NONE,
            older: NONE,
        });
        self.settle(at);
    }

    /// Makes the entry of a slot known, as the one used last.
    fn settle(&mut self, at: u32) {
        self.link(at);
        self.len += 1;
        let slots = &self.slots;
        let hash = |at: &u32| slots.get(*at as usize).map_or(0, |slot| slot.hash);
        match &mut self.table {
            Some(table) => drop(table.insert_unique(hash(&at), at, hash)),
            None if self.len as usize > FEW => {
                let mut table = HashTable::new();
                let mut next = self.newest;
                while let Some(slot) = slots.get(next as usize) {
                    table.insert_unique(slot.hash, next, hash);
                    next = slot.older;
                }
                self.table = Some(Box::new(table));
            }
            None => {}
        }
    }

    /// Where the entry of a key is.
    fn find(&self, key: Key<'_>) -> Option<u32> {
        let has_key = |slot: &Slot<V>| slot.hash == key.hash && slot.key.is(key.text);
        if let Some(table) = &self.table {
            let is_it = |at: &u32| self.slots.get(*at as usize).is_some_and(has_key);
            return table.find(key.hash, is_it).copied();
        }
        let mut at = self.newest;
        loop {
            let slot = self.slots.get(at as usize)?;
            if has_key(slot) {
                return Some(at);
            }
            at = slot.older;
        }
    }

    /// Makes a slot the newest.
    fn link(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.newest, at);
        if let Some(slot) = self.slots.get_mut(at as usize) {
            (slot.newer, slot.older) = (NONE, older);
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
    }

    /// Takes a slot out of the order.
    fn unlink(&mut self, at: u32) {
        let Some(slot) = self.slots.get(at as usize) else {
            return;
        };
        let (newer, older) = (slot.newer, slot.older);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Gives back the room that is without entries.
    fn compact(&mut self) {
        let old = std::mem::take(self);
        let mut slots: Vec<Option<Slot<V>>> = old.slots.into_iter().map(Some).collect();
        let mut at = old.oldest;
        while let Some(slot) = slots.get_mut(at as usize).and_then(Option::take) {
            at = slot.newer;
            self.push(slot.hash, slot.key, slot.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_oneof, proptest};

    use super::Recent;
    use crate::correlation::key::Key;

    /// What may be done to a table.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Touch(u8),
        Add(u8),
        Pop,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..40_u8).prop_map(Step::Add),
            2 => (0..40_u8).prop_map(Step::Touch),
            2 => proptest::strategy::Just(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_list_that_is_kept_in_order(
            steps in proptest::collection::vec(any_step(), 0..200),
            n_hashes in 1..50_u64,
        ) {
            let mut recent = Recent::default();
            // From the longest unused to the one used last.
            let mut list: Vec<(u8, usize)> = Vec::new();
            for (time, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Touch(name) => {
                        let text = name.to_string();
                        let key = Key { text: &text, hash: u64::from(name) % n_hashes };
                        let place = list.iter().position(|(known, _)| *known == name);
                        let moved = place.map(|place| list.remove(place));
                        list.extend(moved);
                        assert_eq!(recent.peek(key).copied(), moved.map(|(_, value)| value));
                        assert_eq!(recent.touch(key).copied(), moved.map(|(_, value)| value));
                    }
                    Step::Add(name) if list.iter().all(|(known, _)| *known != name) => {
                        let text = name.to_string();
                        let key = Key { text: &text, hash: u64::from(name) % n_hashes };
                        recent.insert(key, || time, |value| *value = time);
                        list.push((name, time));
                    }
                    Step::Add(_) => {}
                    Step::Pop => {
                        let first = (!list.is_empty()).then(|| list.remove(0).1);
                        assert_eq!(recent.oldest().copied(), first);
                        assert_eq!(recent.pop_oldest().copied(), first);
                    }
                }
                assert_eq!((recent.len(), recent.is_empty()), (list.len(), list.is_empty()));
            }
        }
    }

    #[test]
    fn room_is_used_again_and_given_back() {
        let mut recent = Recent::default();
        let names: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let key = |number: usize| Key {
            text: &names[number],
            hash: number as u64,
        };

        for number in 0..1_000 {
            recent.insert(key(number), || number, |value| *value = number);
            if number >= 10 {
                recent.pop_oldest();
            }
        }
        assert_eq!((recent.len(), recent.slots.len()), (10, 11));

        for number in 0..900 {
            recent.insert(key(number), || number, |value| *value = number);
        }
        while recent.len() > 1 {
            recent.pop_oldest();
        }
        assert!(recent.slots.len() <= 20, "{}", recent.slots.len());
    }
}
