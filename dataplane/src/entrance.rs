//! What a host decides of a connection by its peer's address alone, before its first byte.

use meridian_model::Local;
use meridian_model::network_set::NetworkSet;
use meridian_sys::{ClassId, Socket};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// See the module.
#[derive(Debug)]
pub(crate) struct Entrance {
    denied: NetworkSet,
    /// Who begins a connection by saying whose it is.
    proxies: NetworkSet,
    /// Nobody is looked at.
    is_open: bool,
    /// Who shares a line with whom is not to be known.
    lines: RandomState,
}

/// What a new connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A client's.
    Client,
    /// Of a proxy: a header of the PROXY protocol must come before anything else.
    Proxy,
    /// Of somebody who may not come in.
    Denied,
    /// The peer is gone already.
    Gone,
}

impl Entrance {
    /// The entrance of the host that `local` belongs to.
    pub(crate) fn new(local: &Local) -> Entrance {
        let denied = NetworkSet::new(&local.host.deny_networks);
        let proxies = NetworkSet::new(&local.listen.proxy_protocol_from);
        Entrance {
            is_open: denied.is_empty() && proxies.is_empty(),
            denied,
            proxies,
            lines: RandomState::new(),
        }
    }

    /// The line in which a connection of a client at `address` waits until its tenant is known: that of
    /// its network, as large a one as a customer of an access provider has in IPv6, and as is
    /// told apart in IPv4.
    pub(crate) fn line_of(&self, address: IpAddr) -> ClassId {
        let hash = match address.to_canonical() {
            IpAddr::V4(address) => self.lines.hash_one(address.to_bits() >> 8),
            IpAddr::V6(address) => self.lines.hash_one(address.to_bits() >> 72),
        };
        ClassId::stranger(hash)
    }

    /// Looks at who is there. The kernel is asked only when it matters.
    pub(crate) fn look_at(&self, socket: &Socket) -> Arrival {
        if self.is_open {
            return Arrival::Client;
        }
        let Ok(peer) = socket.peer_address() else {
            return Arrival::Gone;
        };
        if self.denies(peer.ip()) {
            Arrival::Denied
        } else if self.proxies.contains(peer.ip()) {
            Arrival::Proxy
        } else {
            Arrival::Client
        }
    }

    /// Whether a client at `address` may not come in.
    pub(crate) fn denies(&self, address: IpAddr) -> bool {
        self.denied.contains(address)
    }
}
