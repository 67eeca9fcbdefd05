//! The zones that the hosts are authoritative for, compiled: what the responder reads while it
//! answers (DNS.md).
//!
//! [`Zones`] is immutable and has no "unset". Names are in wire form and lower case (RFC 1035
//! §3.1, RFC 4343): octets, not text. A zone holds the operator's static records with every empty
//! non-terminal between them (RFC 4592 §2.2.2); service names stand once for all zones, under the
//! two labels that they have in each.
//!
//! ```text
//! Local + Desired --Zones::compile--> Zones --find--> Found
//! ```

mod compile;
mod find;
mod record_data;
mod services;
mod static_records;
mod wire_name;

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::desired::Steering;
use crate::location::Location;
use crate::snapshot::SiteId;

pub use find::{Found, Referral};
pub use record_data::record_data;
pub use services::Services;
pub(crate) use static_records::Around;
pub(crate) use static_records::StaticRecords;
pub use wire_name::{WireName, is_within, labels, lower_case, parent};

/// TTL of NS records and of the addresses of name servers, in seconds. Hosts come and go by the
/// operator's hand, not by their health.
pub const NAME_SERVER_TTL_S: u32 = 3600;

/// Numbers of types, by the names of the IANA registry.
#[allow(missing_docs)] // each is the type of that name
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const HINFO: u16 = 13;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const HTTPS: u16 = 65;
    pub const CAA: u16 = 257;
}

/// Every zone of one revision, with what service names are answered from.
#[derive(Clone, Debug)]
pub struct Zones {
    /// The revision that this was compiled from; its low 32 bits are the serial of every zone.
    pub revision: u64,
    zones: HashMap<WireName, Arc<Zone>>,
    /// Lengths that names of zones have.
    zone_lengths: Lengths,
    /// In the order of their names.
    pub groups: Arc<[Group]>,
    /// In the order of their names.
    pub hosts: Arc<[Host]>,
    /// First labels of what stands above service names, in wire form.
    tenants: Arc<HashSet<Box<[u8]>>>,
    services: Services,
}

impl Zones {
    /// Every zone, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Zone> {
        self.zones.values().map(|zone| &**zone)
    }

    /// The site with this full name, TENANT/SITE.
    pub fn site(&self, full_name: &str) -> Option<SiteId> {
        let (tenant, site) = full_name.split_once('/')?;
        let label =
            |name: &str| Some([&[u8::try_from(name.len()).ok()?], name.as_bytes()].concat());
        let labels = [label(site)?, label(tenant)?].concat();
        Some(self.services.get(&labels)?.site)
    }

    /// Every service name.
    pub fn services(&self) -> &Services {
        &self.services
    }
}

/// The place of a group in [`Zones::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(pub u16);

impl GroupIndex {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The place of a host in [`Zones::hosts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostIndex(pub u16);

/// Hosts that stand in one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands, as the operator says.
    pub location: Option<Location>,
    /// Added to every visitor's distance to it, in kilometres.
    pub bias_km: i32,
    /// In the order of their names.
    pub hosts: Box<[HostIndex]>,
}

/// A host with what DNS hands out for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands; none: nowhere in particular.
    pub group: Option<GroupIndex>,
    /// In the order of the manifest.
    pub v4: Box<[Ipv4Addr]>,
    /// In the order of the manifest.
    pub v6: Box<[Ipv6Addr]>,
    /// Where it is probed; none: it is not.
    pub probe: Option<SocketAddr>,
}

/// How a service name is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The site.
    pub site: SiteId,
    /// All healthy hosts, or those of the closest group.
    pub steering: Steering,
    /// Groups that have a backend for it, in order; none: every group has, because it has a
    /// backend without a group, or none at all.
    pub groups: Option<Box<[GroupIndex]>>,
}

impl Service {
    /// Whether hosts of `group` (none: of no group) serve it.
    pub fn is_served_by(&self, group: Option<GroupIndex>) -> bool {
        let Some(groups) = &self.groups else {
            return true;
        };
        group.is_some_and(|group| groups.binary_search(&group).is_ok())
    }
}

/// One zone.
#[derive(Debug)]
pub struct Zone {
    /// Its name.
    pub apex: WireName,
    /// TTL of service names, in seconds.
    pub ttl: u32,
    /// TTL of negative answers, which is the SOA's MINIMUM and its TTL (RFC 2308 §5), in seconds.
    pub negative_ttl: u32,
    /// The two labels of the site whose service name the apex is.
    apex_service: Option<Box<[u8]>>,
    nodes: HashMap<WireName, Node>,
    /// Lengths that names of nodes have.
    node_lengths: Lengths,
}

/// A name of a zone with its static records; without any it is an empty non-terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// In the order of their types.
    pub sets: Vec<Rrset>,
}

/// Records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrset {
    /// Their type.
    pub rtype: u16,
    /// In seconds.
    pub ttl: u32,
    /// RDATA of each in wire form, without compression. The serial of a SOA is
    /// [`Zones::revision`]'s and is put in when it is written.
    pub data: Vec<Box<[u8]>>,
}

impl Node {
    /// The records of a type.
    pub fn set(&self, rtype: u16) -> Option<&Rrset> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// Whether it is the apex of a zone that somebody else serves.
    fn is_cut(&self) -> bool {
        // The apex has a SOA too.
        self.set(rtype::NS).is_some() && self.set(rtype::SOA).is_none()
    }
}

impl Zone {
    /// The name with its records; none: it is no static name.
    pub fn node(&self, name: &[u8]) -> Option<&Node> {
        if !self.node_lengths.has(name.len()) {
            return None;
        }
        self.nodes.get(name)
    }

    /// The SOA.
    pub fn soa(&self) -> &Rrset {
        let apex = self.nodes.get(&self.apex);
        apex.and_then(|node| node.set(rtype::SOA))
            .expect("an apex has a SOA")
    }
}

/// Which lengths there are among names, to look up only what may be there.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths([u64; 4]);

impl Lengths {
    fn add(&mut self, length: usize) {
        self.0[length / 64 % 4] |= 1 << (length % 64);
    }

    fn has(self, length: usize) -> bool {
        self.0[length / 64 % 4] >> (length % 64) & 1 == 1
    }
}
