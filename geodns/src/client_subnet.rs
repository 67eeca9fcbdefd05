//! EDNS Client Subnet (RFC 7871).

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of an option's family and its two lengths.
const FIXED_BYTES: usize = 4;

/// FAMILY of IPv4 and of IPv6 (IANA "Address Family Numbers").
const FAMILY_V4: u16 = 1;
const FAMILY_V6: u16 = 2;

/// The subnet of a client, as a query has it: right in every way that RFC 7871 §6 and §7.2.1 name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientSubnet {
    family: u16,
    source_bits: u8,
    octets: [u8; 16],
}

impl ClientSubnet {
    /// Reads an option's data. `None` when it is malformed: FORMERR.
    pub(crate) fn parse(data: &[u8]) -> Option<ClientSubnet> {
        let (&[family_high, family_low, source_bits, scope_bits], address) =
            data.split_first_chunk::<FIXED_BYTES>()?;
        let family = u16::from_be_bytes([family_high, family_low]);
        let bits_max = match family {
            FAMILY_V4 => 32,
            FAMILY_V6 => 128,
            // "No address" is how some resolvers say that nothing is to be told (§7.1.2).
            0 => 0,
            _ => return None,
        };
        let is_right = scope_bits == 0
            && source_bits <= bits_max
            && address.len() == usize::from(source_bits).div_ceil(8);
        if !is_right {
            return None;
        }
        let beyond = address.len() * 8 - usize::from(source_bits);
        if address
            .last()
            .is_some_and(|last| last & !(0xff << beyond) != 0)
        {
            return None;
        }
        let mut octets = [0; 16];
        octets[..address.len()].copy_from_slice(address);
        Some(ClientSubnet {
            family,
            source_bits,
            octets,
        })
    }

    /// As a resolver writes it that tells this prefix.
    pub(crate) fn of(prefix: IpNet) -> ClientSubnet {
        let mut octets = [0; 16];
        let family = match prefix.network() {
            IpAddr::V4(v4) => {
                octets[..4].copy_from_slice(&v4.octets());
                FAMILY_V4
            }
            IpAddr::V6(v6) => {
                octets = v6.octets();
                FAMILY_V6
            }
        };
        ClientSubnet {
            family,
            source_bits: prefix.prefix_len(),
            octets,
        }
    }

    /// The prefix; none: the client does not want to be located, or says nothing.
    pub(crate) fn prefix(&self) -> Option<(IpAddr, u8)> {
        if self.source_bits == 0 {
            return None;
        }
        let address = match self.family {
            FAMILY_V4 => {
                let [a, b, c, d, ..] = self.octets;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => IpAddr::V6(Ipv6Addr::from(self.octets)),
        };
        Some((address, self.source_bits))
    }

    /// The data of the option in a response, and how many octets of it count: what came, with a
    /// scope (§7.2.1).
    pub(crate) fn echo(&self, scope_bits: u8) -> ([u8; FIXED_BYTES + 16], usize) {
        let mut data = [0; FIXED_BYTES + 16];
        data[..2].copy_from_slice(&self.family.to_be_bytes());
        data[2] = self.source_bits;
        data[3] = scope_bits;
        data[FIXED_BYTES..].copy_from_slice(&self.octets);
        (
            data,
            FIXED_BYTES + usize::from(self.source_bits).div_ceil(8),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_subnets_are_refused() {
        for (wrong, why) in [
            (&b""[..], "under 4 octets"),
            (b"\0\x01\x18", "under 4 octets"),
            (b"\0\x03\x08\0\x01", "another family"),
            (b"\x01\x01\x08\0\x01", "another family"),
            (b"\0\x01\x21\0\x01\x02\x03\x04\x05", "over 32"),
            (
                b"\0\x02\x81\0\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                "over 128",
            ),
            (b"\0\x01\x18\0\x01\x02", "octets too few"),
            (b"\0\x01\x18\0\x01\x02\x03\x04", "octets too many"),
            (b"\0\x01\0\0\0", "octets too many"),
            (b"\0\x01\x17\0\x01\x02\x03", "bits beyond"),
            (b"\0\x01\x18\x01\x01\x02\x03", "a scope"),
            (b"\0\0\x08\0\x01", "no family and a prefix"),
            (b"\0\0\0\0\0", "no family and an address"),
        ] {
            assert_eq!(ClientSubnet::parse(wrong), None, "{why}: {wrong:?}");
        }
    }

    #[test]
    fn prefixes_are_read() {
        let prefix = |data: &[u8]| ClientSubnet::parse(data).expect("it is right").prefix();
        let v4 = |text: &str, bits| Some((text.parse().expect("an address"), bits));
        assert_eq!(prefix(b"\0\x01\x18\0\xc0\0\x02"), v4("192.0.2.0", 24));
        assert_eq!(prefix(b"\0\x01\x11\0\xc0\0\x80"), v4("192.0.128.0", 17));
        assert_eq!(
            prefix(b"\0\x02\x30\0\x20\x01\x0d\xb8\0\x01"),
            v4("2001:db8:1::", 48)
        );
        assert_eq!(prefix(b"\0\x01\0\0"), None);
        assert_eq!(prefix(b"\0\x02\0\0"), None);
        assert_eq!(prefix(b"\0\0\0\0"), None);
    }

    #[test]
    fn a_prefix_is_told_as_a_resolver_tells_it() {
        for (prefix, data) in [
            ("192.0.130.7/17", &b"\0\x01\x11\0\xc0\0\x80"[..]),
            ("2001:db8:1::9/48", b"\0\x02\x30\0\x20\x01\x0d\xb8\0\x01"),
        ] {
            let prefix = prefix.parse().expect("a prefix");
            assert_eq!(Some(ClientSubnet::of(prefix)), ClientSubnet::parse(data));
        }
    }

    proptest! {
        /// What is taken is echoed exactly, but for the scope.
        #[test]
        fn what_came_is_echoed(data in proptest::collection::vec(any::<u8>(), 0..24), scope: u8) {
            if let Some(subnet) = ClientSubnet::parse(&data) {
                let (echo, length) = subnet.echo(scope);
                let mut expected = data.clone();
                expected[3] = scope;
                prop_assert_eq!(&echo[..length], &expected[..]);
            }
        }
    }
}
