//! Whose TLS handshake is worked at: so many at once, and of one address only a share of them.
//! It never closes a connection; who waits too long is let go by whoever asked for the seat.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::streams::peer::TrustedProxies;
use crate::streams::rate_limits::{block, site};

/// Handshakes that may be under way at once.
const MAX_AT_ONCE: usize = 256;

/// Of these, those of one address: slow ones then keep back their own kind and nobody else.
const MAX_OF_ADDRESS: usize = 32;

/// Of these, those of one /48 of IPv6, which is given to one site and has 65,536 of what is counted as
/// an address.
const MAX_OF_SITE: usize = 64;

/// Of these, those of one proxy that is named: it speaks for many, and a network of proxies may hold
/// other machines too.
const MAX_OF_PROXY: usize = MAX_AT_ONCE / 2;

/// What shares seats: an address, or a site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Crowd {
    Address(IpAddr),
    Site(IpAddr),
}

/// The seats.
#[derive(Debug)]
pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    /// Only those who have a seat or wait for one.
    of_crowd: Mutex<HashMap<Crowd, Arc<Semaphore>>>,
    proxies: Arc<TrustedProxies>,
}

/// The place of one connection; it ends when it is dropped, as does waiting for one.
#[derive(Debug)]
pub(super) struct Seat {
    places: Vec<Place>,
    permits: Vec<OwnedSemaphorePermit>,
}

/// Somebody who has a seat or waits for one, among those of the same crowd.
#[derive(Debug)]
struct Place {
    handshakes: Arc<Handshakes>,
    crowd: Crowd,
    semaphore: Option<Arc<Semaphore>>,
}

impl Handshakes {
    /// Seats of which these proxies may have many.
    pub(super) fn new(proxies: Arc<TrustedProxies>) -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            of_crowd: Mutex::default(),
            proxies,
        }
    }

    /// Waits for a seat.
    pub(super) async fn enter(self: &Arc<Self>, peer: IpAddr) -> Seat {
        let mut seat = Seat {
            places: self.places(peer),
            permits: Vec::with_capacity(3),
        };
        let own = seat
            .places
            .iter()
            .filter_map(|place| place.semaphore.clone());
        for semaphore in own.chain([Arc::clone(&self.all)]) {
            let permit = semaphore.acquire_owned().await;
            seat.permits.push(permit.expect("it is never closed"));
        }
        seat
    }

    /// The crowds of a peer, the smaller one first. This machine's own programs have none, because one
    /// of them may be a proxy that all the world shares.
    fn places(self: &Arc<Self>, peer: IpAddr) -> Vec<Place> {
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return Vec::new();
        }
        if self.proxies.contains(peer) {
            return vec![self.place(Crowd::Address(peer), MAX_OF_PROXY)];
        }
        let site = site(peer).map(|site| (Crowd::Site(site), MAX_OF_SITE));
        let address = (Crowd::Address(block(peer)), MAX_OF_ADDRESS);
        [address]
            .into_iter()
            .chain(site)
            .map(|(crowd, seats)| self.place(crowd, seats))
            .collect()
    }

    fn place(self: &Arc<Self>, crowd: Crowd, seats: usize) -> Place {
        let mut known = self.known();
        let one = known.entry(crowd);
        let semaphore = Arc::clone(one.or_insert_with(|| Arc::new(Semaphore::new(seats))));
        Place {
            handshakes: Arc::clone(self),
            crowd,
            semaphore: Some(semaphore),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Crowd, Arc<Semaphore>>> {
        self.of_crowd.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut known = self.handshakes.known();
        self.semaphore = None;
        // Others are counted only under the lock, so nobody comes in between.
        if known
            .get(&self.crowd)
            .is_some_and(|one| Arc::strong_count(one) == 1)
        {
            known.remove(&self.crowd);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Seats with a proxy among those who want them.
    fn seats() -> Arc<Handshakes> {
        let proxies = TrustedProxies::new(vec!["198.51.100.0/24".parse().expect("a network")]);
        Arc::new(Handshakes::new(Arc::new(proxies)))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_leaves_seats_to_others_and_this_machine_may_have_all() {
        let handshakes = seats();
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
    fn a_proxy_that_is_trusted_has_many_seats_and_never_all() {
        let handshakes = seats();
        let proxy = address("198.51.100.7");

        let enter = |_| handshakes.enter(proxy).now_or_never();
        let seats: Vec<Seat> = (0..MAX_AT_ONCE).map_while(enter).collect();

        assert_eq!(seats.len(), MAX_OF_PROXY);
        let other = address("198.51.100.8");
        assert!(handshakes.enter(other).now_or_never().is_some());
        drop(seats);
        assert!(handshakes.known().is_empty());
    }

    #[test]
    fn a_site_of_ipv6_with_its_thousands_of_addresses_leaves_seats_to_others() {
        let handshakes = seats();
        let of_number = |n: usize| address(&format!("2001:db8:1:{n:x}::1"));

        let enter = |n| handshakes.enter(of_number(n)).now_or_never();
        let mut held: Vec<Seat> = (0..MAX_AT_ONCE).map_while(enter).collect();

        assert_eq!(held.len(), MAX_OF_SITE);
        let other = handshakes.enter(address("2001:db8:2::1")).now_or_never();
        assert!(other.is_some());
        held.pop();
        assert!(enter(MAX_AT_ONCE).is_some(), "a seat is free again");
        drop((held, other));
        assert!(handshakes.known().is_empty());
    }

    #[test]
    fn addresses_of_one_customer_of_ipv6_share_their_seats() {
        let handshakes = seats();
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
        let handshakes = seats();
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
