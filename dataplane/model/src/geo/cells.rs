//! The finest prefixes that are told apart: a /24 of IPv4, a /56 of IPv6.
//!
//! They are what public resolvers send of a client's address (RFC 7871 §11.1), so nothing finer
//! is ever decided. A cell is one of them, by its number: the bits of its prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Bits that all v4-mapped addresses share (RFC 4291 §2.5.5.2).
pub(super) const MAPPED_BITS: u8 = 96;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// Bits of a cell's number.
    pub(super) const fn cell_bits(self) -> u8 {
        match self {
            Family::V4 => 24,
            Family::V6 => 56,
        }
    }

    /// Bits of an address.
    pub(super) const fn address_bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// How many cells there are.
    pub(super) const fn cells(self) -> u64 {
        1 << self.cell_bits()
    }

    /// The prefix of `length` bits that begins at `cell`.
    pub(super) fn network(self, cell: u64, length: u8) -> IpNet {
        match self {
            Family::V4 => {
                let address = Ipv4Addr::from((cell as u32) << 8);
                let network = Ipv4Net::new(address, length.min(32));
                IpNet::V4(network.expect("at most 32 bits").trunc())
            }
            Family::V6 => {
                let address = Ipv6Addr::from(u128::from(cell) << 72);
                let network = Ipv6Net::new(address, length.min(128));
                IpNet::V6(network.expect("at most 128 bits").trunc())
            }
        }
    }
}

/// The cell of an address. A v4-mapped address is one of IPv6 here.
pub(super) fn cell_of(address: IpAddr) -> (Family, u64) {
    match address {
        IpAddr::V4(address) => (Family::V4, u64::from(u32::from(address) >> 8)),
        IpAddr::V6(address) => (Family::V6, (u128::from(address) >> 72) as u64),
    }
}

/// A prefix as it is looked up: without the bits behind its length, and a v4-mapped one as what it
/// stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) family: Family,
    /// The cell that it begins in.
    pub(super) cell: u64,
    /// Its length, at most that of an address.
    pub(super) length: u8,
    /// It came v4-mapped: lengths are told with [`MAPPED_BITS`] more.
    pub(super) is_mapped: bool,
}

impl Prefix {
    /// The first `bits` of `address`; more than it has are all.
    pub(super) fn new(address: IpAddr, bits: u8) -> Prefix {
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
            && bits >= MAPPED_BITS
        {
            let mapped = Prefix::new(IpAddr::V4(v4), bits - MAPPED_BITS);
            return Prefix {
                is_mapped: true,
                ..mapped
            };
        }
        let (family, cell) = cell_of(address);
        let length = bits.min(family.address_bits());
        let behind = family.cell_bits().saturating_sub(length);
        Prefix {
            family,
            cell: cell >> behind << behind,
            length,
            is_mapped: false,
        }
    }

    /// The same of a network.
    pub(super) fn of(network: IpNet) -> Prefix {
        Prefix::new(network.addr(), network.prefix_len())
    }

    /// The cell behind its last one.
    pub(super) fn end(self) -> u64 {
        let behind = self.family.cell_bits().saturating_sub(self.length);
        self.cell + (1 << behind)
    }

    /// The prefix of `length` bits of its family, at `cell`, as whoever asked would write it.
    pub(super) fn written(self, cell: u64, length: u8) -> IpNet {
        let IpNet::V4(v4) = self.family.network(cell, length) else {
            return self.family.network(cell, length);
        };
        if !self.is_mapped {
            return IpNet::V4(v4);
        }
        let network = Ipv6Net::new(v4.addr().to_ipv6_mapped(), MAPPED_BITS + v4.prefix_len());
        IpNet::V6(network.expect("at most 128 bits"))
    }
}

/// The length of the longest prefix that two cells of a family share.
pub(super) fn shared_bits(family: Family, one: u64, other: u64) -> u8 {
    let unused = u64::BITS - u32::from(family.cell_bits());
    ((one ^ other).leading_zeros() - unused) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn a_cell_is_the_first_bits_of_an_address() {
        assert_eq!(
            cell_of("192.0.2.7".parse().unwrap()),
            (Family::V4, 0xc0_0002)
        );
        let v6 = cell_of("2001:db8:1:ff02::1".parse().unwrap());
        assert_eq!(v6, (Family::V6, 0x20_010d_b800_01ff));
        assert_eq!(
            Family::V4.network(0xc0_0002, 24).to_string(),
            "192.0.2.0/24"
        );
        let network = Family::V6.network(0x20_010d_b800_01ff, 48);
        assert_eq!(network.to_string(), "2001:db8:1::/48");
    }

    #[test]
    fn bits_behind_the_length_do_not_count() {
        let short = Prefix::new("10.255.255.255".parse().unwrap(), 9);
        assert_eq!((short.cell, short.end()), (0x0a_8000, 0x0b_0000));
        let long = Prefix::new("10.1.2.3".parse().unwrap(), 32);
        assert_eq!((long.cell, long.end()), (0x0a_0102, 0x0a_0103));
        let all = Prefix::new("255.0.0.0".parse().unwrap(), 0);
        assert_eq!((all.cell, all.end()), (0, Family::V4.cells()));
        let too_many = Prefix::new("10.1.2.3".parse().unwrap(), 200);
        assert_eq!(too_many.length, 32);
    }

    #[test]
    fn a_mapped_prefix_is_one_of_ipv4() {
        let mapped = prefix("::ffff:10.1.0.0/112");
        assert!(mapped.is_mapped);
        assert_eq!(
            (mapped.family, mapped.cell, mapped.length),
            (Family::V4, 0x0a_0100, 16)
        );
        assert_eq!(
            mapped.written(0x0a_0000, 8).to_string(),
            "::ffff:10.0.0.0/104"
        );
        // What is shorter stands for more than IPv4.
        let short = prefix("::ffff:10.1.0.0/95");
        assert!(!short.is_mapped);
        assert_eq!(
            (short.family, short.cell, short.length),
            (Family::V6, 0, 95)
        );
    }

    #[test]
    fn shared_bits_are_counted_from_the_front() {
        assert_eq!(shared_bits(Family::V4, 0, 0x80_0000), 0);
        assert_eq!(shared_bits(Family::V4, 0x0a_0000, 0x0a_0001), 23);
        assert_eq!(shared_bits(Family::V4, 7, 7), 24);
        assert_eq!(shared_bits(Family::V6, 0, 1), 55);
    }
}
