//! Handshakes that have begun and have not ended, and whether one more may begin.
//!
//! Of what a worker has room for, a network may have as many as it leaves free: with its own the half
//! when it is alone, and when many fill it, each less than is left. So there is room for a newcomer
//! whatever they do, as with connections (docs/decisions/0041).

use meridian_model::limits::{TLS_HANDSHAKES_PER_CLIENT_MAX, TLS_HANDSHAKES_PER_WORKER_MAX};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
    by_network: HashMap<IpAddr, usize>,
}

/// A handshake under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Entered<'t> {
    under_way: &'t RefCell<UnderWay>,
    client: IpAddr,
    network: IpAddr,
}

impl UnderWay {
    /// One of a client at `address` begins; none where there may be no more of its own or its network's.
    pub(super) fn enter(under_way: &RefCell<UnderWay>, address: IpAddr) -> Option<Entered<'_>> {
        let (client, network) = (one_client(address), one_network(address));
        let mut all = under_way.borrow_mut();
        let of = |counts: &HashMap<IpAddr, usize>, whose| counts.get(&whose).copied().unwrap_or(0);
        let left = TLS_HANDSHAKES_PER_WORKER_MAX - all.all;
        if of(&all.by_client, client) >= TLS_HANDSHAKES_PER_CLIENT_MAX
            || of(&all.by_network, network) >= left
        {
            return None;
        }
        all.all += 1;
        *all.by_client.entry(client).or_default() += 1;
        *all.by_network.entry(network).or_default() += 1;
        Some(Entered {
            under_way,
            client,
            network,
        })
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut all = self.under_way.borrow_mut();
        all.all -= 1;
        take_one(&mut all.by_client, self.client);
        take_one(&mut all.by_network, self.network);
    }
}

/// What nobody has any more is forgotten.
fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    let left = counts.get_mut(&key).map(|count| {
        *count -= 1;
        *count
    });
    if left == Some(0) {
        counts.remove(&key);
    }
}

/// Whom an address stands for: whoever has one of IPv6 has as many as he likes of its /64.
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(first_bits(address, 64)),
        address => address,
    }
}

/// What somebody may have addresses of by the hundred: a /24, or with IPv6 a /48.
fn one_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() >> 8 << 8).into()),
        IpAddr::V6(address) => IpAddr::V6(first_bits(address, 48)),
    }
}

fn first_bits(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    let rest = 128 - bits;
    (address.to_bits() >> rest << rest).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("it is an address")
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let client = |text: &str| one_client(address(text));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:0:0:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        let network = |text: &str| one_network(address(text));
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:1::1"));
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
    }

    #[test]
    fn what_ended_leaves_nothing_behind() {
        let under_way = RefCell::default();
        let enter = |client: &str| UnderWay::enter(&under_way, address(client));
        let (first, second) = (enter("192.0.2.1"), enter("192.0.2.1"));
        let other = enter("192.0.2.2");
        assert!(first.is_some() && second.is_some() && other.is_some());
        drop(first);
        assert_eq!(under_way.borrow().by_client.len(), 2);
        assert_eq!(under_way.borrow().by_network.len(), 1);
        drop((second, other));
        let left = under_way.borrow();
        assert!(left.all == 0 && left.by_client.is_empty() && left.by_network.is_empty());
    }

    #[test]
    fn whoever_fills_it_leaves_room_for_others() {
        for networks in [1_u32, 16, 1000] {
            let under_way = RefCell::default();
            let mut held = Vec::new();
            loop {
                let before = held.len();
                // Of each network as many clients as it takes.
                for network in 0..networks {
                    let client = (network << 8) + (held.len() as u32 & 0xff);
                    let client = IpAddr::V4((0x0a00_0000 + client).into());
                    held.extend(UnderWay::enter(&under_way, client));
                }
                if held.len() == before {
                    break;
                }
            }
            let share = TLS_HANDSHAKES_PER_WORKER_MAX / (networks as usize + 1);
            let of_each = held.len() / networks as usize;
            assert!(
                of_each.abs_diff(share) <= 1,
                "{networks}: {of_each} of {share}"
            );
            assert!(UnderWay::enter(&under_way, address("192.0.2.1")).is_some());
        }
    }

    #[test]
    fn one_client_has_no_more_than_its_part() {
        let under_way = RefCell::default();
        let enter = || UnderWay::enter(&under_way, address("192.0.2.1"));
        let held: Vec<_> = std::iter::from_fn(enter).collect();
        assert_eq!(held.len(), TLS_HANDSHAKES_PER_CLIENT_MAX);
        assert!(UnderWay::enter(&under_way, address("192.0.2.2")).is_some());
    }
}
