//! Sites with their pools, backends and routes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{FieldRules, Owner, Route, TimeoutOverrides};
use crate::name::{Hostname, Name};
use crate::rare::{Rare, Usual};
use crate::snapshot::{PoolId, SiteId, TlsVersion};

/// One tenant's web site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// 0 until ids are assigned.
    pub id: SiteId,
    /// Who may change it.
    pub owner: Owner,
    /// Whose it is.
    pub tenant: Name,
    /// Unique within its tenant.
    pub name: Name,
    /// Claimed by this site alone in the whole fleet; by name.
    pub hostnames: Vec<Hostname>,
    /// It is not served: every request is answered 503.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Certificates of the same tenant; by name.
    #[serde(default)]
    pub certificates: Vec<Name>,
    /// The lowest version of TLS that its clients may speak.
    #[serde(default)]
    pub minimum_tls: TlsVersion,
    /// Certificates that its clients show; none means that they are asked for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<Box<ClientCertificates>>,
    /// Answer plain HTTP with a redirect to HTTPS.
    #[serde(default)]
    pub redirect_to_https: bool,
    /// Strict-Transport-Security (RFC 6797) on HTTPS responses.
    pub hsts: Option<Hsts>,
    /// How its service name is answered.
    #[serde(default)]
    pub steering: Steering,
    /// What differs from the host's.
    #[serde(default)]
    pub timeouts: Rare<TimeoutOverrides>,
    /// What it may use, within its tenant's limits.
    #[serde(default)]
    pub limits: Rare<SiteLimits>,
    /// Peers whose forwarding fields and request ids are believed.
    #[serde(default)]
    pub trusted_networks: Vec<IpNet>,
    /// Clients that are answered 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_networks: Vec<IpNet>,
    /// Its part of the access log; none means no lines.
    pub access_log: Option<AccessLog>,
    /// How many requests may be tried again; none means the proxy's default.
    pub retry: Option<RetryBudget>,
    /// The one named "default" first, the others by name.
    pub pools: Vec<Pool>,
    /// Paths may hold `%2F` and `%5C`, as characters of a name, where routes compare paths.
    #[serde(default)]
    pub encoded_slashes: bool,
    /// What is changed of every request to a backend.
    #[serde(default)]
    pub request_headers: Rare<FieldRules>,
    /// What is changed of every response, but for errors of the proxy's own.
    #[serde(default)]
    pub response_headers: Rare<FieldRules>,
    /// Tried in order; the first that matches decides.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// What certificates clients show in their handshakes (RFC 8446 §4.3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// What becomes of a client that shows none.
    pub verify: ClientVerification,
    /// Who signs them, as PEM. Empty until the file was read that a manifest names.
    pub authorities: String,
}

/// Whether a client has to show a certificate. One that is shown is verified in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientVerification {
    /// Without one there is no handshake.
    #[default]
    Required,
    /// Without one the site is served as to anybody.
    Optional,
}

/// Strict-Transport-Security.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// How long a browser remembers it.
    pub max_age: Duration,
    /// It covers names below the site's.
    pub include_subdomains: bool,
}

/// How a service name is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Steering {
    /// Every healthy host.
    #[default]
    All,
    /// The hosts of the closest healthy group.
    Geo,
}

/// What a site may use; none means as much as its tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteLimits {
    /// Open client connections per host.
    pub connections: Option<u32>,
    /// Requests per second and host.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once; none means as many as in a second. Only with a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// The head of a request, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<u64>,
    /// The body of a request, in bytes.
    pub body_bytes: Option<u64>,
}

impl Usual for SiteLimits {
    const USUAL: &'static SiteLimits = &SiteLimits {
        connections: None,
        requests_per_second: None,
        burst: None,
        head_bytes: None,
        body_bytes: None,
    };
}

/// A site's part of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// The share of requests that are written, over 0 and up to 1.
    pub sample: f64,
}

/// How many requests of a site may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries for each hundred requests.
    pub percent: u32,
}

/// Backends that serve the same content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// 0 until ids are assigned.
    pub id: PoolId,
    /// Unique within its site.
    pub name: Name,
    /// How a backend is picked.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How backends are checked; none means not at all.
    pub health: Option<Box<Health>>,
    /// How a visitor stays with a backend.
    pub sticky: Option<Box<Sticky>>,
    /// TLS towards the backends.
    pub tls: Option<Box<PoolTls>>,
    /// PROXY protocol towards the backends.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How long a backend that came back takes to its full weight.
    pub slow_start: Option<Duration>,
    /// Where requests wait for a backend whose connections are all in use.
    pub queue: Option<Queue>,
    /// By name.
    pub backends: Vec<Backend>,
}

impl Pool {
    /// A pool of this name with every default.
    pub fn of_name(name: Name) -> Pool {
        Pool {
            id: PoolId(0),
            name,
            algorithm: Algorithm::RoundRobin,
            health: None,
            sticky: None,
            tls: None,
            proxy_protocol: None,
            slow_start: None,
            queue: None,
            backends: Vec::new(),
        }
    }
}

/// How a backend is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// In turn, as often as its weight says.
    #[default]
    RoundRobin,
    /// The less busy of two at random.
    LeastConnections,
    /// At random.
    Random,
    /// By a hash of the client's address.
    SourceHash,
    /// By a hash of the request's target.
    UriHash,
    /// By a hash such that a changed backend moves only its share.
    ConsistentHash(HashInput),
    /// The one that answers soonest, recent answers counting more.
    PeakEwma,
}

/// What a consistent hash is taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashInput {
    /// The client's address.
    Source,
    /// The request's target.
    #[default]
    Uri,
}

/// How backends are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is done.
    pub kind: HealthKind,
    /// From one check to the next.
    pub interval: Duration,
    /// Until a check without an answer has failed; at most the interval.
    pub timeout: Duration,
    /// Successes until a backend is up.
    pub rise: u32,
    /// Failures until a backend is down.
    pub fall: u32,
}

/// What a health check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HealthKind {
    /// Connects.
    Tcp,
    /// Connects and makes a TLS handshake.
    Tls {
        /// The name that is asked for (SNI); none means that none is.
        host: Option<Hostname>,
    },
    /// Sends a GET.
    Http {
        /// Its target.
        path: String,
        /// Its Host; none means the backend's address.
        host: Option<Hostname>,
        /// The statuses of a healthy answer.
        status: Vec<StatusRange>,
    },
}

/// Statuses from `first` to `last`, both included; 100 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// How a visitor stays with a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// How long it lives; none means as long as the browser.
    pub lifetime: Option<Duration>,
}

/// TLS towards backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolTls {
    /// The backend's certificate must be good for `name`.
    pub verify: bool,
    /// Sent as SNI and verified; none means the name, or else the address, that the backend is
    /// known by.
    pub name: Option<Hostname>,
    /// Authorities in PEM to trust instead of those of the host. Empty until the file was read that
    /// a manifest names.
    pub authorities: Option<String>,
    /// The tenant's certificate that is shown to the backend.
    pub certificate: Option<Name>,
}

/// The version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// Where requests wait for a backend whose connections are all in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Requests that may wait on one host, for whichever backend of the pool.
    pub requests: u32,
    /// How long one may wait.
    pub timeout: Duration,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Unique within its pool: a name, or the address where none was given.
    pub name: String,
    /// Where it listens.
    pub address: BackendAddress,
    /// The group whose hosts use it; none means all.
    pub group: Option<Name>,
    /// 1 to [`crate::limits::BACKEND_WEIGHT_MAX`].
    #[serde(default = "weight_default")]
    pub weight: u32,
    /// Requests of one host that may be under way there, each over a connection of its own, tunnels
    /// among them; none means no bound.
    pub connections: Option<u32>,
    /// It is used only while none of its group (or of those without one) that is no backup is.
    #[serde(default)]
    pub backup: bool,
}

impl Backend {
    /// Of a backend that says nothing else.
    pub const WEIGHT_DEFAULT: u32 = 1;
}

fn weight_default() -> u32 {
    Backend::WEIGHT_DEFAULT
}

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackendAddress {
    /// At an address.
    Ip(SocketAddr),
    /// At whatever a name stands for.
    Name {
        /// Resolved again and again.
        host: Hostname,
        /// 1 to 65535.
        port: u16,
    },
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendAddress::Ip(address) => write!(f, "{address}"),
            BackendAddress::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
