//! How many connections each client has, for all workers: a table of fixed length without a lock.
//!
//! Each client counts in two places, which are chosen by two hashes, and has as many connections as
//! the lesser says (a count-min sketch). Who shares both places with others seems to have theirs too;
//! with the connections that there can be, hardly anybody does.

use meridian_model::limits::CLIENT_PLACES;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Clients {
    places: Box<[AtomicU32]>,
    hash_keys: RandomState,
}

/// A connection of a client, as long as it is kept.
#[derive(Debug)]
pub(crate) struct Seat {
    clients: Arc<Clients>,
    places: [usize; 2],
}

impl Clients {
    pub(crate) fn new() -> Arc<Clients> {
        Arc::new(Clients {
            places: (0..CLIENT_PLACES).map(|_| AtomicU32::new(0)).collect(),
            hash_keys: RandomState::new(),
        })
    }

    /// A connection more for `client`; `None` when it has `most` already. Of IPv6 a client is a /64,
    /// of which it has every address.
    pub(crate) fn enter(self: &Arc<Clients>, client: IpAddr, most: u32) -> Option<Seat> {
        let key = match client.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        let hash = self.hash_keys.hash_one(key);
        let half = CLIENT_PLACES / 2;
        let seat = Seat {
            clients: Arc::clone(self),
            places: [
                hash as u32 as usize % half,
                half + (hash >> 32) as usize % half,
            ],
        };
        let counts = seat
            .places
            .map(|place| self.places[place].fetch_add(1, Ordering::Relaxed));
        // Dropped, it is not counted any more.
        (counts.into_iter().min() < Some(most)).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for place in self.places {
            self.clients.places[place].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_and_no_more() {
        let clients = Clients::new();
        let one: IpAddr = "192.0.2.1".parse().expect("an address");
        let mut seats: Vec<Seat> = (0..3)
            .map(|_| clients.enter(one, 3).expect("it has room"))
            .collect();
        assert!(clients.enter(one, 3).is_none());
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        assert!(clients.enter(mapped, 3).is_none());
        seats.pop();
        seats.push(clients.enter(one, 3).expect("one has gone"));
        assert!(clients.enter(one, 3).is_none());
        let other = "192.0.2.2".parse().expect("an address");
        assert!(clients.enter(other, 3).is_some());
        drop(seats);
        let counts = clients.places.iter().map(|it| it.load(Ordering::Relaxed));
        assert_eq!(counts.sum::<u32>(), 0);
    }

    #[test]
    fn addresses_of_one_64_are_one_client() {
        let clients = Clients::new();
        let seat = clients.enter("2001:db8::1".parse().expect("one"), 1);
        assert!(seat.is_some());
        assert!(
            clients
                .enter("2001:db8::2".parse().expect("one"), 1)
                .is_none()
        );
        let other = clients.enter("2001:db8:0:1::1".parse().expect("one"), 1);
        assert!(other.is_some());
    }

    #[test]
    fn a_full_house_counts_nearly_everybody_rightly() {
        let clients = Clients::new();
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        let seats: Vec<Seat> = (0..100_000)
            .map(|n| clients.enter(address(n / 10), 100).expect("it has room"))
            .collect();
        let wrong = (0..10_000)
            .filter(|&n| clients.enter(address(n), 30).is_none())
            .count();
        assert!(wrong < 100, "{wrong} of 10,000 seem to have 30 of 10");
        drop(seats);
    }
}
