//! The prefixes that tell nothing of where a visitor is: private, reserved, or never a source.
//!
//! From the IANA registries of special-purpose addresses (RFC 6890) and of the address space of
//! IPv6 (RFC 4291 §2.4): in IPv6 everything but 2000::/3 is reserved. A query for one of these
//! is decided by its resolver's own address, and its scope is the length given here, so that the
//! answer is not kept for everybody (DNS.md).

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// None of these is within another, nor finer than a cell.
const V4: &[([u8; 4], u8)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// The first 32 bits of each, and its length. 6to4 (2002::/16) is not here: it is a visitor's
/// address like others, for which databases have places.
const V6: &[(u32, u8)] = &[
    (0x0000_0000, 8),
    (0x0100_0000, 8),
    (0x0200_0000, 7),
    (0x0400_0000, 6),
    (0x0800_0000, 5),
    (0x1000_0000, 4),
    // Within 2000::/3: protocol assignments with Teredo, documentation twice.
    (0x2001_0000, 23),
    (0x2001_0db8, 32),
    (0x3fff_0000, 20),
    (0x4000_0000, 3),
    (0x6000_0000, 3),
    (0x8000_0000, 3),
    (0xa000_0000, 3),
    (0xc000_0000, 3),
    (0xe000_0000, 4),
    (0xf000_0000, 5),
    (0xf800_0000, 6),
    (0xfc00_0000, 7),
    (0xfe00_0000, 9),
    (0xfe80_0000, 10),
    (0xfec0_0000, 10),
    (0xff00_0000, 8),
];

/// How many there are in all.
pub(super) const COUNT: u32 = (V4.len() + V6.len()) as u32;

/// Each of them.
pub(super) fn networks() -> impl Iterator<Item = IpNet> {
    let v4 = V4.iter().map(|&(address, length)| {
        let network = Ipv4Net::new(Ipv4Addr::from(address), length);
        IpNet::V4(network.expect("at most 32 bits"))
    });
    let v6 = V6.iter().map(|&(first, length)| {
        let address = Ipv6Addr::from(u128::from(first) << 96);
        let network = Ipv6Net::new(address, length);
        IpNet::V6(network.expect("at most 128 bits"))
    });
    v4.chain(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_within_another_and_each_is_a_prefix() {
        let all: Vec<IpNet> = networks().collect();
        assert_eq!(all.len(), COUNT as usize);
        for one in &all {
            assert_eq!(*one, one.trunc());
            for other in all.iter().filter(|it| *it != one) {
                assert!(!one.contains(other), "{other} is within {one}");
            }
        }
    }

    #[test]
    fn public_addresses_are_in_none() {
        let public = [
            "8.8.8.8",
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
        ];
        let public_v6 = [
            "2001:4860:4860::8888",
            "2606:4700::1",
            "2a00::1",
            "2002::1",
            "2001:200::1",
        ];
        for address in public.iter().chain(&public_v6) {
            let address: std::net::IpAddr = address.parse().unwrap();
            assert!(!networks().any(|it| it.contains(&address)), "{address}");
        }
        // Of IPv6, an eighth is for the public.
        let reserved: u128 = networks()
            .filter(|it| matches!(it, IpNet::V6(_)) && it.prefix_len() < 20)
            .map(|it| 1_u128 << (127 - it.prefix_len()))
            .sum();
        assert_eq!(reserved, (1_u128 << 127) / 8 * 7);
    }
}
