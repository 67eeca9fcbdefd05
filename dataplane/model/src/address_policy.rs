//! Where a backend may be (HTTP.md "Where a backend may be").
//!
//! Tenants name backends, so without this rule a tenant could turn the proxy and
//! its health checks against the provider's own network. The same check runs when
//! a backend is configured and again at every connect, so it allocates nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What no backend may be on one host: the services of the fleet itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    own_ports: Vec<u16>,
    own_addresses: Vec<IpAddr>,
    own_services: Vec<SocketAddr>,
}

impl AddressPolicy {
    /// A policy that keeps backends off this fleet's services.
    ///
    /// `own_listeners` are the host's listeners of every kind; each is refused by its
    /// port under any address of ours, since a listener of `0.0.0.0` answers on all
    /// of them. `own_addresses` are the addresses of the fleet's hosts, as far as
    /// they are known; the listeners' own and every loopback address are added.
    /// `own_services` are refused exactly: control servers, stores, peers' probes.
    pub fn new(
        own_listeners: &[SocketAddr],
        own_addresses: &[IpAddr],
        own_services: &[SocketAddr],
    ) -> AddressPolicy {
        let listener_addresses = own_listeners.iter().map(|listener| listener.ip());
        let mut addresses: Vec<IpAddr> = own_addresses.to_vec();
        addresses.extend(listener_addresses.filter(|address| !address.is_unspecified()));
        let mut policy = AddressPolicy {
            own_ports: own_listeners.iter().map(SocketAddr::port).collect(),
            own_addresses: addresses,
            own_services: own_services.to_vec(),
        };
        policy.own_ports.sort_unstable();
        policy.own_ports.dedup();
        policy.own_addresses.sort_unstable();
        policy.own_addresses.dedup();
        policy.own_services.sort_unstable();
        policy.own_services.dedup();
        policy
    }

    /// The same policy with more addresses known to be this host's, such as those of
    /// its interfaces, which a manifest need not list.
    pub fn with_own_addresses(&self, more: &[IpAddr]) -> AddressPolicy {
        let mut policy = self.clone();
        policy.own_addresses.extend_from_slice(more);
        policy.own_addresses.sort_unstable();
        policy.own_addresses.dedup();
        policy
    }

    /// Whether a tenant whose private networks are `allowed_networks` may have a
    /// backend at `address`. The address that was checked must be the one that is
    /// connected to.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] says why not. It never depends on what answers there, so
    /// trying again is no use.
    pub fn check(&self, allowed_networks: &[IpNet], address: SocketAddr) -> Result<(), Refusal> {
        if address.port() == 0 {
            return Err(Refusal::NoPort);
        }
        let class = match address.ip() {
            IpAddr::V4(ip) => class_of_v4(ip),
            IpAddr::V6(ip) => class_of_v6(ip),
        };
        // The forms that hide another address come first: what they hide could be ours.
        if let Class::Never(refusal) = class {
            return Err(refusal);
        }
        if self.is_own(address) {
            return Err(Refusal::OwnService);
        }
        match class {
            Class::Private(network) => {
                let ip = address.ip();
                let allowed = allowed_networks.iter().any(|allowed| allowed.contains(&ip));
                if allowed {
                    Ok(())
                } else {
                    Err(Refusal::Private(network))
                }
            }
            Class::Public | Class::Never(_) => Ok(()),
        }
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let ip = address.ip();
        let of_a_listener = self.own_ports.binary_search(&address.port()).is_ok()
            && (ip.is_loopback() || self.own_addresses.binary_search(&ip).is_ok());
        of_a_listener
            || self
                .own_services
                .iter()
                .any(|own| own.ip() == ip && own.port() == address.port())
    }
}

/// Why a backend may not be at an address. Always the fault of who configured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The port is 0.
    NoPort,
    /// A listener of the fleet, its store or its control server.
    OwnService,
    /// A private network that neither the host nor the tenant lists; its name.
    Private(&'static str),
    /// 0.0.0.0/8 or `::`: "this host", which the kernel takes for loopback.
    Unspecified,
    /// 169.254.0.0/16, fe80::/10 or the old fec0::/10.
    LinkLocal,
    /// Where clouds hand out credentials to the machine that asks.
    Metadata,
    /// 224.0.0.0/4 or ff00::/8.
    Multicast,
    /// 240.0.0.0/4 without broadcast.
    Reserved,
    /// 255.255.255.255.
    Broadcast,
    /// An IPv6 address that stands for an IPv4 address; the name of its form.
    Embedded(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoPort => f.write_str("port 0 can not be connected to"),
            Refusal::OwnService => f.write_str("this is one of Meridian's own services"),
            Refusal::Private(network) => {
                write!(f, "{network} is private and not listed in backend_networks")
            }
            Refusal::Unspecified => f.write_str("an unspecified address is never a backend"),
            Refusal::LinkLocal => f.write_str("a link-local address is never a backend"),
            Refusal::Metadata => f.write_str("a cloud's metadata address is never a backend"),
            Refusal::Multicast => f.write_str("a multicast address is never a backend"),
            Refusal::Reserved => f.write_str("240.0.0.0/4 is reserved and never a backend"),
            Refusal::Broadcast => f.write_str("the broadcast address is never a backend"),
            Refusal::Embedded(form) => {
                write!(f, "{form} address hides an IPv4 address; name that one")
            }
        }
    }
}

impl std::error::Error for Refusal {}

#[derive(Clone, Copy)]
enum Class {
    Public,
    Private(&'static str),
    Never(Refusal),
}

fn class_of_v4(ip: Ipv4Addr) -> Class {
    let [a, b, c, d] = ip.octets();
    match (a, b, c, d) {
        // Alibaba, Azure and Oracle; the others stand in link-local.
        (100, 100, 100, 200) | (168, 63, 129, 16) | (192, 0, 0, 192) => {
            Class::Never(Refusal::Metadata)
        }
        (0, ..) => Class::Never(Refusal::Unspecified),
        (169, 254, ..) => Class::Never(Refusal::LinkLocal),
        (224..=239, ..) => Class::Never(Refusal::Multicast),
        (255, 255, 255, 255) => Class::Never(Refusal::Broadcast),
        (240..=255, ..) => Class::Never(Refusal::Reserved),
        (127, ..) => Class::Private("127.0.0.0/8"),
        (10, ..) => Class::Private("10.0.0.0/8"),
        (172, 16..=31, ..) => Class::Private("172.16.0.0/12"),
        (192, 168, ..) => Class::Private("192.168.0.0/16"),
        (100, 64..=127, ..) => Class::Private("100.64.0.0/10"),
        (198, 18..=19, ..) => Class::Private("198.18.0.0/15"),
        (192, 0, 0, _) => Class::Private("192.0.0.0/24"),
        _ => Class::Public,
    }
}

fn class_of_v6(ip: Ipv6Addr) -> Class {
    // Amazon's and Google's metadata services stand inside fc00::/7.
    const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Never(Refusal::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Private("::1"),
        [0, 0, 0, 0, 0, 0xffff, ..] => Class::Never(Refusal::Embedded("a v4-mapped")),
        [0, 0, 0, 0, 0xffff, 0, ..] => Class::Never(Refusal::Embedded("a v4-translated")),
        [0, 0, 0, 0, 0, 0, ..] => Class::Never(Refusal::Embedded("a v4-compatible")),
        // 64:ff9b::/96 (RFC 6052) and 64:ff9b:1::/48 (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => {
            Class::Never(Refusal::Embedded("a NAT64"))
        }
        [0x2002, ..] => Class::Never(Refusal::Embedded("a 6to4")),
        [0x2001, 0, ..] => Class::Never(Refusal::Embedded("a Teredo")),
        [0xfe80..=0xfeff, ..] => Class::Never(Refusal::LinkLocal),
        [0xff00..=0xffff, ..] => Class::Never(Refusal::Multicast),
        _ if ip == AWS || ip == GOOGLE => Class::Never(Refusal::Metadata),
        [0xfc00..=0xfdff, ..] => Class::Private("fc00::/7"),
        _ => Class::Public,
    }
}

/// The networks that are in both lists: of two that overlap, the narrower.
pub fn common_networks(left: &[IpNet], right: &[IpNet]) -> Vec<IpNet> {
    let mut common = Vec::new();
    for a in left {
        for b in right {
            match narrower(a, b) {
                Some(network) if !common.contains(&network) => common.push(network),
                _ => {}
            }
        }
    }
    common
}

fn narrower(a: &IpNet, b: &IpNet) -> Option<IpNet> {
    match (a, b) {
        (IpNet::V4(a), IpNet::V4(b)) => narrower_v4(a, b).map(IpNet::V4),
        (IpNet::V6(a), IpNet::V6(b)) => narrower_v6(a, b).map(IpNet::V6),
        (IpNet::V4(_), IpNet::V6(_)) | (IpNet::V6(_), IpNet::V4(_)) => None,
    }
}

fn narrower_v4(a: &Ipv4Net, b: &Ipv4Net) -> Option<Ipv4Net> {
    if a.contains(b) {
        Some(*b)
    } else {
        b.contains(a).then_some(*a)
    }
}

fn narrower_v6(a: &Ipv6Net, b: &Ipv6Net) -> Option<Ipv6Net> {
    if a.contains(b) {
        Some(*b)
    } else {
        b.contains(a).then_some(*a)
    }
}
