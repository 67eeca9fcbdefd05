//! A set of networks that an address is looked up in: trusted peers, denied clients.
//!
//! Ranges that do not touch, in order, so that a look-up among thousands of networks is a binary
//! search over one array, and one among none is a test of a length. A trie would find the
//! longest prefix, which nobody asks for here: a set has no answers to choose among.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// See the module.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NetworkSet {
    /// First and last address of each range.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl NetworkSet {
    /// The set of all addresses of `networks`, which may overlap. A network of v4-mapped
    /// addresses (RFC 4291 §2.5.5.2) is that of the IPv4 addresses that it stands for.
    pub fn new(networks: &[IpNet]) -> NetworkSet {
        let mut v4: Vec<(u32, u32)> = Vec::new();
        let mut v6: Vec<(u128, u128)> = Vec::new();
        for network in networks {
            match unmapped(network) {
                IpNet::V4(network) => {
                    v4.push((u32::from(network.network()), u32::from(network.broadcast())))
                }
                IpNet::V6(network) => v6.push((
                    u128::from(network.network()),
                    u128::from(network.broadcast()),
                )),
            }
        }
        let touches_v4 = |last: u32, first: u32| last.checked_add(1).is_none_or(|it| first <= it);
        let touches_v6 = |last: u128, first: u128| last.checked_add(1).is_none_or(|it| first <= it);
        NetworkSet {
            v4: merged(v4, touches_v4),
            v6: merged(v6, touches_v6),
        }
    }

    /// Whether there is no network in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether `address` is in one of the networks. A v4-mapped address is the IPv4 address that
    /// it stands for.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        // Every request asks, and most sites name nobody.
        !self.is_empty() && self.finds(address)
    }

    fn finds(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_within(&self.v4, u32::from(address)),
            IpAddr::V6(address) => is_within(&self.v6, u128::from(address)),
        }
    }
}

impl fmt::Debug for NetworkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 = self.v4.iter().map(|&(first, last)| {
            let ends = [first, last].map(|end| IpAddr::V4(Ipv4Addr::from(end)));
            ends[0]..=ends[1]
        });
        let v6 = self.v6.iter().map(|&(first, last)| {
            let ends = [first, last].map(|end| IpAddr::V6(Ipv6Addr::from(end)));
            ends[0]..=ends[1]
        });
        f.debug_list().entries(v4.chain(v6)).finish()
    }
}

fn is_within<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|&(first, _)| first <= address);
    match behind.checked_sub(1) {
        Some(place) => address <= ranges[place].1,
        None => false,
    }
}

fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>, touches: impl Fn(T, T) -> bool) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if touches(before.1, first) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn unmapped(network: &IpNet) -> IpNet {
    /// The bits that all v4-mapped addresses share.
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = network else {
        return *network;
    };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len()) {
        (Some(address), length @ MAPPED_BITS..) => {
            let network = Ipv4Net::new(address, length - MAPPED_BITS);
            IpNet::V4(network.expect("at most 128 less 96 bits"))
        }
        _ => *network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        let networks: Vec<IpNet> = networks.iter().map(|it| it.parse().unwrap()).collect();
        NetworkSet::new(&networks)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_set_has_nobody() {
        let none = NetworkSet::default();
        assert!(none.is_empty() && set(&[]) == none);
        assert!(!none.contains(address("0.0.0.0")) && !none.contains(address("::")));
    }

    #[test]
    fn the_ends_of_a_network_are_in_it_and_their_neighbours_are_not() {
        let set = set(&["10.1.0.0/16", "192.0.2.7/32", "2001:db8::/33"]);
        for inside in ["10.1.0.0", "10.1.255.255", "192.0.2.7", "2001:db8::"] {
            assert!(set.contains(address(inside)), "{inside}");
        }
        assert!(set.contains(address("2001:db8:7fff:ffff:ffff:ffff:ffff:ffff")));
        for outside in ["10.0.255.255", "10.2.0.0", "192.0.2.6", "192.0.2.8", "::"] {
            assert!(!set.contains(address(outside)), "{outside}");
        }
        assert!(!set.contains(address("2001:db8:8000::")));
    }

    #[test]
    fn all_addresses_are_a_network_too() {
        let all = set(&["0.0.0.0/0", "10.0.0.0/8", "::/0"]);
        for any in ["0.0.0.0", "255.255.255.255", "::", "ffff::"] {
            assert!(all.contains(address(any)), "{any}");
        }
        let last = IpAddr::V6(Ipv6Addr::from(u128::MAX));
        assert!(all.contains(last));
    }

    #[test]
    fn mapped_networks_and_addresses_are_those_of_ipv4() {
        let mapped = set(&["::ffff:10.0.0.0/104"]);
        assert_eq!(mapped, set(&["10.0.0.0/8"]));
        assert!(mapped.contains(address("10.9.8.7")));
        assert!(set(&["10.0.0.0/8"]).contains(address("::ffff:10.9.8.7")));
        assert!(!set(&["::/0"]).contains(address("10.9.8.7")));
    }

    #[test]
    fn what_touches_or_overlaps_becomes_one_range() {
        let joined = set(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "10.0.3.0/24"]);
        assert_eq!(joined.v4.len(), 2);
        assert!(!joined.contains(address("10.0.2.0")));
    }

    #[test]
    fn it_says_what_a_look_at_each_network_says() {
        // A fixed sequence: a failure is the same every time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..50 {
            let count = 1 + next() % 200;
            let networks: Vec<IpNet> = (0..count)
                .map(|_| {
                    let bits = next();
                    // Few bits differ, so that networks overlap and touch.
                    let v4 = Ipv4Addr::from(0x0a00_0000 | (bits as u32 & 0xffff));
                    let v6 = Ipv6Addr::from(0x2001 << 112 | u128::from(bits & 0xffff));
                    let network = match bits >> 60 {
                        0..8 => IpNet::new(v4.into(), 16 + (bits >> 32) as u8 % 17),
                        _ => IpNet::new(v6.into(), 112 + (bits >> 32) as u8 % 17),
                    };
                    network.unwrap().trunc()
                })
                .collect();
            let set = NetworkSet::new(&networks);
            for _ in 0..2000 {
                let bits = next();
                let v4 = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | (bits as u32 & 0x1_ffff)));
                let v6 = Ipv6Addr::from(0x2001 << 112 | u128::from(bits & 0x1_ffff));
                for address in [v4, v6.into()] {
                    let expected = networks.iter().any(|it| it.contains(&address));
                    assert_eq!(set.contains(address), expected, "{address} in {networks:?}");
                }
            }
        }
    }
}
