//! Which people watch now: a change of somebody's rights rings at their sockets, and nobody has too many.
//! It never knows what anybody may see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::ports::AccessChanges;

/// Most viewers of one person at once: tabs, a console on a wall, a script.
const MAX_PER_PERSON: usize = 32;

/// Most sockets at once that have not shown a good token yet.
const MAX_UNKNOWN: usize = 1_024;

/// Everybody who watches.
#[derive(Debug)]
pub struct Watchers {
    by_person: Mutex<HashMap<Uuid, Vec<Arc<Notify>>>>,
    unknown: Arc<Semaphore>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            by_person: Mutex::default(),
            unknown: Arc::new(Semaphore::new(MAX_UNKNOWN)),
        }
    }
}

/// A viewer's place among those of its person, free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    watchers: Arc<Watchers>,
    person: Uuid,
    bell: Arc<Notify>,
}

impl Watchers {
    /// Room for one more socket of nobody known, or none when there are too many.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.unknown).try_acquire_owned().ok()
    }

    /// A place for one more viewer of this person, or none when they have too many.
    pub(super) fn seat(self: &Arc<Self>, person: Uuid) -> Option<Seat> {
        let bell = Arc::new(Notify::new());
        let mut by_person = self.lock();
        let bells = by_person.entry(person).or_default();
        if bells.len() >= MAX_PER_PERSON {
            return None;
        }
        bells.push(Arc::clone(&bell));
        drop(by_person);
        Some(Seat {
            watchers: Arc::clone(self),
            person,
            bell,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Vec<Arc<Notify>>>> {
        self.by_person
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessChanges for Watchers {
    fn changed(&self, persons: Option<&[Uuid]>) {
        let by_person = self.lock();
        match persons {
            None => by_person
                .values()
                .flatten()
                .for_each(|bell| bell.notify_one()),
            Some(persons) => {
                let bells = persons.iter().filter_map(|person| by_person.get(person));
                bells.flatten().for_each(|bell| bell.notify_one());
            }
        }
    }
}

impl Seat {
    pub(super) fn is_of(&self, person: Uuid) -> bool {
        self.person == person
    }

    /// Waits until the person's rights may have changed.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_person = self.watchers.lock();
        if let Some(bells) = by_person.get_mut(&self.person) {
            bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            if bells.is_empty() {
                by_person.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const ANNA: Uuid = Uuid::from_u128(1);
    const BORIS: Uuid = Uuid::from_u128(2);

    fn is_rung(seat: &Seat) -> bool {
        seat.rung().now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_change_rings_at_those_it_is_about_and_a_change_for_everybody_at_all() {
        let watchers = Arc::new(Watchers::default());
        let seats = [ANNA, ANNA, BORIS].map(|person| watchers.seat(person).expect("room"));

        watchers.changed(Some(&[ANNA, Uuid::from_u128(3)]));
        assert_eq!(seats.each_ref().map(is_rung), [true, true, false]);

        watchers.changed(None);
        assert_eq!(seats.each_ref().map(is_rung), [true, true, true]);
        assert_eq!(seats.each_ref().map(is_rung), [false, false, false]);
    }

    #[test]
    fn one_person_has_so_many_viewers_and_no_more_until_one_ends() {
        let watchers = Arc::new(Watchers::default());
        let mut seats: Vec<Seat> = (0..MAX_PER_PERSON)
            .map(|_| watchers.seat(ANNA).expect("room"))
            .collect();

        assert!(watchers.seat(ANNA).is_none());
        assert!(watchers.seat(BORIS).is_some());
        seats.pop();

        assert!(watchers.seat(ANNA).is_some());
        drop(seats);
        assert!(watchers.lock().is_empty(), "nobody is remembered");
    }

    #[test]
    fn sockets_of_nobody_known_are_bounded() {
        let watchers = Watchers::default();
        let mut admitted: Vec<_> = (0..MAX_UNKNOWN).map(|_| watchers.admit()).collect();
        assert!(admitted.iter().all(Option::is_some));

        assert!(watchers.admit().is_none());
        admitted.pop();

        assert!(watchers.admit().is_some());
    }
}
