//! The desired state of the fleet: validated objects, each with its owner, in the
//! order of their names. This is what the store holds and the config log carries.

mod route;
mod site;
mod zone;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::certificate::CertificateContent;
use crate::location::Location;
use crate::name::{Malformed, Name, TextVisitor};
use crate::snapshot::{CertificateId, TenantId};

pub use crate::suspension::Suspension;
pub use crate::timeout_overrides::TimeoutOverrides;
pub use route::{FieldRules, Match, Outcome, Redirect, Respond, Route};
pub use site::{
    AccessLog, Algorithm, Backend, BackendAddress, ClientCertificates, ClientVerification,
    HashInput, Health, HealthKind, Hsts, Pool, PoolTls, ProxyProtocol, Queue, RetryBudget, Site,
    SiteLimits, StatusRange, Steering, Sticky,
};
pub use zone::{Record, RecordType, SiteName, Zone};

/// Everything that the fleet is to be, but for what is local to a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// The highest ids given out so far.
    pub ids: IdCounters,
    /// By name.
    pub tenants: Vec<Tenant>,
    /// By name.
    pub groups: Vec<Group>,
    /// By name.
    pub peers: Vec<Peer>,
    /// By name.
    pub zones: Vec<Zone>,
    /// By tenant and name.
    pub certificates: Vec<Certificate>,
    /// By tenant and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspensions: Vec<Suspension>,
    /// By tenant and name.
    pub sites: Vec<Arc<Site>>,
}

impl Desired {
    /// The certificates of this tenant.
    pub fn certificates_of(&self, tenant: &Name) -> &[Certificate] {
        let first = self.certificates.partition_point(|it| it.tenant < *tenant);
        let behind = self.certificates.partition_point(|it| it.tenant <= *tenant);
        &self.certificates[first..behind]
    }
}

/// The highest id given out so far, per kind; 0 where none was. Ids are never
/// reused, so these only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdCounters {
    /// Of tenants.
    pub tenant: u64,
    /// Of sites.
    pub site: u64,
    /// Of pools.
    pub pool: u64,
    /// Of certificates.
    pub certificate: u64,
}

/// Who may change an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Calls of the API.
    Api,
    /// The manifest of this name; whoever applies it.
    Manifest(Name),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Api => f.write_str("api"),
            Owner::Manifest(name) => write!(f, "manifest:{name}"),
        }
    }
}

impl Owner {
    fn parse(text: &str) -> Result<Owner, Malformed> {
        match text.strip_prefix("manifest:") {
            Some(name) => Name::parse(name).map(Owner::Manifest),
            None if text == "api" => Ok(Owner::Api),
            None => Err(Malformed {
                what: format!("{text:?} is not an owner"),
                hint: String::from("it is \"api\" or \"manifest:<name>\""),
            }),
        }
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Owner, D::Error> {
        deserializer.deserialize_str(TextVisitor(Owner::parse))
    }
}

/// A customer of the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// 0 until ids are assigned.
    pub id: TenantId,
    /// Who may change it.
    pub owner: Owner,
    /// Unique in the fleet.
    pub name: Name,
    /// What it may use.
    pub limits: TenantLimits,
    /// Private networks where its backends may be, where the host allows them too.
    /// None set: none for a tenant of the API, all of the host's for a manifest's.
    pub backend_networks: Option<Vec<IpNet>>,
    /// None of its sites is served.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
}

/// What a tenant may use; none means as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    /// Sites in the fleet.
    pub sites: Option<u32>,
    /// Open client connections per host.
    pub connections: Option<u32>,
    /// Requests per second and host.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once; none means as many as in a second. Only with a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// The head of a request of any of its sites, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<u64>,
    /// The body of a request of any of its sites, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
}

/// Hosts that stand in one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Who may change it.
    pub owner: Owner,
    /// Unique in the fleet.
    pub name: Name,
    /// Where it stands; none means it is looked up from its hosts' addresses.
    pub location: Option<Location>,
    /// Added to every visitor's distance, in kilometres; negative draws visitors in.
    pub bias_km: i32,
}

/// Another host of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Who may change it.
    pub owner: Owner,
    /// Unique in the fleet.
    pub name: Name,
    /// The group that it stands in.
    pub group: Option<Name>,
    /// What DNS hands out for it.
    pub addresses: Vec<IpAddr>,
    /// Where it is probed.
    pub probe: Option<SocketAddr>,
}

/// A certificate chain with its key, which stand in a file of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// 0 until ids are assigned.
    pub id: CertificateId,
    /// Who may change it.
    pub owner: Owner,
    /// Whose it is.
    pub tenant: Name,
    /// Unique within its tenant.
    pub name: Name,
    /// What it holds: other content is a change. Its digest is zero until it was read.
    pub content: CertificateContent,
}
