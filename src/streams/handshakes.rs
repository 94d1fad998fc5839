//! Whose TLS handshake is worked at: so many at once, and of one address only a share of them.
//! It never closes a connection; who waits too long is let go by whoever asked for the seat.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::streams::rate_limits::block;

/// Handshakes that may be under way at once.
const MAX_AT_ONCE: usize = 256;

/// Of these, those of one address: slow ones then keep back their own kind and nobody else.
const MAX_OF_ADDRESS: usize = 32;

/// The seats.
#[derive(Debug)]
pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    /// Only addresses that have a seat or wait for one.
    of_address: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            of_address: Mutex::default(),
        }
    }
}

/// The place of one connection; it ends when it is dropped, as does waiting for one.
#[derive(Debug)]
pub(super) struct Seat {
    place: Place,
    permits: Vec<OwnedSemaphorePermit>,
}

/// An address that has a seat or waits for one.
#[derive(Debug)]
struct Place {
    handshakes: Arc<Handshakes>,
    /// None for this machine's own programs, of which one may be a proxy that all the world shares.
    address: Option<IpAddr>,
    semaphore: Option<Arc<Semaphore>>,
}

impl Handshakes {
    /// Waits for a seat.
    pub(super) async fn enter(self: &Arc<Self>, peer: IpAddr) -> Seat {
        let place = self.place(peer);
        let mut seat = Seat {
            place,
            permits: Vec::with_capacity(2),
        };
        let own = seat.place.semaphore.clone();
        for semaphore in own.into_iter().chain([Arc::clone(&self.all)]) {
            let permit = semaphore.acquire_owned().await;
            seat.permits.push(permit.expect("it is never closed"));
        }
        seat
    }

    fn place(self: &Arc<Self>, peer: IpAddr) -> Place {
        let peer = peer.to_canonical();
        let address = (!peer.is_loopback()).then(|| block(peer));
        let semaphore = address.map(|address| {
            let mut known = self.known();
            let one = known.entry(address);
            Arc::clone(one.or_insert_with(|| Arc::new(Semaphore::new(MAX_OF_ADDRESS))))
        });
        Place {
            handshakes: Arc::clone(self),
            address,
            semaphore,
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.of_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Before the place looks whether anybody else of its address is there.
        self.permits.clear();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut known = self.handshakes.known();
        self.semaphore = None;
        // Others are counted only under the lock, so nobody comes in between.
        if known
            .get(&address)
            .is_some_and(|one| Arc::strong_count(one) == 1)
        {
            known.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_leaves_seats_to_others_and_this_machine_may_have_all() {
        let handshakes = Arc::new(Handshakes::default());
        let hostile = address("203.0.113.1");
        let mut seats = Vec::new();
        for _ in 0..MAX_OF_ADDRESS {
            seats.push(handshakes.enter(hostile).now_or_never().expect("a seat"));
        }

        assert!(handshakes.enter(hostile).now_or_never().is_none());
        assert!(
            handshakes
                .enter(address("203.0.113.2"))
                .now_or_never()
                .is_some()
        );
        seats.pop();
        assert!(handshakes.enter(hostile).now_or_never().is_some());
        let own = address("127.0.0.1");
        for _ in MAX_OF_ADDRESS..MAX_AT_ONCE {
            seats.push(handshakes.enter(own).now_or_never().expect("a seat"));
        }
        assert_eq!(seats.len(), MAX_AT_ONCE - 1);
    }

    #[test]
    fn addresses_of_one_customer_of_ipv6_share_their_seats() {
        let handshakes = Arc::new(Handshakes::default());
        let mut seats = Vec::new();
        for number in 0..MAX_OF_ADDRESS {
            let one = address(&format!("2001:db8::{number:x}"));
            seats.push(handshakes.enter(one).now_or_never().expect("a seat"));
        }

        let next = handshakes.enter(address("2001:db8::ffff")).now_or_never();

        assert!(next.is_none());
    }

    #[test]
    fn an_address_without_a_seat_is_forgotten_also_by_whoever_stopped_waiting() {
        let handshakes = Arc::new(Handshakes::default());
        let hostile = address("203.0.113.1");
        let mut seats = Vec::new();
        for _ in 0..MAX_OF_ADDRESS {
            seats.push(handshakes.enter(hostile).now_or_never().expect("a seat"));
        }
        assert!(handshakes.enter(hostile).now_or_never().is_none());
        assert_eq!(handshakes.known().len(), 1);

        drop(seats);

        assert!(handshakes.known().is_empty());
    }
}
