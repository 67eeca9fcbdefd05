//! The compiled form of one revision: what workers read while they serve.
//!
//! A [`Snapshot`] is immutable and has no "unset": every default was filled in when
//! it was compiled. A request holds the [`Site`] it was routed to, never the
//! snapshot, so that an old revision is freed when its last request ends.

mod backend_tls;
mod by_name;
mod by_site;
mod certificates;
mod health;
mod hostnames;
mod limits;
mod named_backend;
mod routes;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address_policy::AddressPolicy;
use crate::network_set::NetworkSet;

pub use backend_tls::{BackendTls, Beginning};
pub(crate) use by_name::ByName;
pub use by_site::BySite;
pub use certificates::{
    Certificate, CertificateId, Certificates, ClientRules, SiteTls, TlsRules, TlsVersion,
};
pub use health::{CheckHost, CheckKind, HealthCheck, HttpCheck, Statuses, TlsCheck};
pub use hostnames::{HostnameTable, Hostnames};
pub use limits::{Allowance, Limits, Rate};
pub use named_backend::NamedBackend;
pub use routes::{
    Answer, Base, FieldChange, Forward, HostField, Location, Match, Outcome, Pair, PathMatch,
    PathReading, Rewrite, Route,
};

/// Identifies a tenant for as long as the fleet lives. Never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TenantId(pub u64);

/// Identifies a site for as long as the fleet lives. Counters are keyed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SiteId(pub u64);

/// Identifies a pool for as long as the fleet lives; unique across sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolId(pub u64);

/// One revision of the desired state, compiled for one host.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision this was compiled from.
    pub revision: u64,
    /// Which site a hostname belongs to.
    pub hostnames: HostnameTable,
    /// Every site.
    pub sites: BySite<Arc<Site>>,
    /// Every certificate, whether a site shows it or not.
    pub certificates: Arc<Certificates>,
    /// Pseudonym of the fleet in Via (RFC 9110 §7.6.3), the same on every host.
    pub via: Arc<str>,
    /// The host's timeouts: they hold until a request's site is known.
    pub timeouts: Timeouts,
    /// The port to name in a redirect to HTTPS; none: the scheme's own.
    pub https_port: Option<u16>,
    /// Where a backend may be, on this host.
    pub policy: Arc<AddressPolicy>,
}

/// One tenant's web site.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The site's id.
    pub id: SiteId,
    /// Its owner's id.
    pub tenant_id: TenantId,
    /// Its owner's name.
    pub tenant: Arc<str>,
    /// Its name, unique within its tenant.
    pub name: Arc<str>,
    /// Whether it is served.
    pub suspended: Suspended,
    /// What it is found under, `*.` first where it covers a label.
    pub hostnames: Hostnames,
    /// The host's timeouts with the site's own on top.
    pub timeouts: Arc<Timeouts>,
    /// What its clients may do; none where they may do whatever there is room for.
    pub limits: Option<Arc<Limits>>,
    /// Retries for each hundred requests.
    pub retry_percent: u32,
    /// The site's pools. Index 0 is the one named "default"; it may have no backends.
    pub pools: Box<[Pool]>,
    /// How its paths are read.
    pub paths: PathReading,
    /// Tried in order; the first that matches decides.
    pub routes: Box<[Route]>,
    /// Ways to its backends. Index 0 is that of requests that no route matches.
    pub forwards: Arc<[Forward]>,
    /// Private networks where this tenant's backends may be, on this host.
    pub backend_networks: Arc<[IpNet]>,
    /// Peers whose forwarding fields and request ids are believed.
    pub trusted_networks: Arc<NetworkSet>,
    /// Clients that are answered 403.
    pub deny_networks: Arc<NetworkSet>,
    /// How many of its requests the access log gets.
    pub log_share: LogShare,
    /// What it does by TLS; none where it has no certificate.
    pub tls: Option<Arc<SiteTls>>,
}

/// The share of a site's requests that the access log gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogShare {
    /// Of 2^32 requests.
    requests: u64,
}

impl LogShare {
    /// No lines.
    pub const NONE: LogShare = LogShare { requests: 0 };

    /// The share `sample`, over 0 and up to 1.
    pub fn of(sample: f64) -> LogShare {
        LogShare {
            requests: (sample.clamp(0.0, 1.0) * (1_u64 << 32) as f64).ceil() as u64,
        }
    }

    /// Whether a request that drew `lot` is one of them. Every lot must be as likely.
    pub fn takes(self, lot: u32) -> bool {
        u64::from(lot) < self.requests
    }
}

/// Why a site is not served: it is as long as any of these holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspended {
    /// The owner of the site or of its tenant says so.
    pub by_owner: bool,
    /// The provider said so ([`crate::suspension`]).
    pub by_order: bool,
}

impl Suspended {
    /// Whether requests are refused.
    pub fn holds(self) -> bool {
        self.by_owner || self.by_order
    }
}

/// Backends that serve the same content.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The pool's id.
    pub id: PoolId,
    /// Its name, unique within its site.
    pub name: Arc<str>,
    /// How a backend is picked within a tier.
    pub algorithm: Algorithm,
    /// In this time a backend that came back comes to its whole weight; zero: at once.
    pub slow_start_ms: u32,
    /// How its backends are checked; none: they are not.
    pub health: Option<Arc<HealthCheck>>,
    /// How a visitor stays with a backend; none: it does not.
    pub sticky: Option<Arc<Sticky>>,
    /// Where requests wait while its backends are full; none: none may wait.
    pub queue: Option<Arc<Queue>>,
    /// Backends in the order in which this host falls back on them: first its own
    /// group's with the ungrouped, then one tier for each other group, closest
    /// first, groups without a known distance last. Behind each tier comes one of
    /// its backups, where it has any. The first tier is always there, and may be
    /// empty.
    pub tiers: Box<[Tier]>,
}

/// Where requests wait while a pool's backends have as many as they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// So many at a time, of the whole host.
    pub requests: u32,
    /// Each for so long.
    pub timeout: Duration,
}

/// The cookie by which a visitor stays with a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name, a token.
    pub cookie: Box<str>,
    /// How long a browser keeps it; none: as long as it runs.
    pub lifetime: Option<Duration>,
}

/// How a backend is picked within a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// In turn, as often as its weight says.
    RoundRobin,
    /// The one with fewer requests of two at random.
    LeastConnections,
    /// At random, as often as its weight says.
    Random,
    /// By a hash.
    Hash(HashInput),
    /// By a hash such that a changed backend moves only its share.
    ConsistentHash(HashInput),
    /// The one that is expected to answer sooner of two at random.
    PeakEwma,
}

/// What a hash is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashInput {
    /// The client's address.
    Source,
    /// The target that the backend is asked for, with its query.
    Uri,
}

/// Backends that a host tries together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The backends belong to another group than the host does.
    pub cross_group: bool,
    /// The backends are used while none of the tier before them is.
    pub backup: bool,
    /// In the order of their names.
    pub backends: Box<[Backend]>,
    /// Those that are known by a name, whose addresses are not a matter of configuration. Not
    /// both lists are empty but in a pool's first tier.
    pub named: Box<[NamedBackend]>,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// What its runtime state is kept under.
    pub key: BackendKey,
    /// 1 to [`crate::limits::BACKEND_WEIGHT_MAX`].
    pub weight: u32,
    /// Requests of this host that may be under way there; none: any number.
    pub connections: Option<NonZeroU32>,
}

// There is one of each for nearly every site of very many.
const _: () = assert!(size_of::<Site>() <= 184);
const _: () = assert!(size_of::<Pool>() <= 72);
const _: () = assert!(size_of::<Tier>() <= 40);
const _: () = assert!(size_of::<Backend>() <= 16);

/// What a connection to a backend begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyProtocol {
    /// The first request.
    Off,
    /// Whose connection it is, as text.
    V1,
    /// Whose connection it is, in bytes.
    V2,
}

/// The full identity of a backend. Runtime state (health, in-flight counts, pooled
/// connections, sessions of TLS) is kept under it, so that a new revision which leaves a backend as
/// it was also leaves its state, and one that has another handshake made with it leaves none.
/// Cloning copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey(Arc<BackendIdentity>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct BackendIdentity {
    site: SiteId,
    pool: Arc<str>,
    backend: Arc<str>,
    address: SocketAddr,
    beginning: Beginning,
}

impl Snapshot {
    /// Every site, in the order of (tenant, name): for people.
    pub fn sites_by_name(&self) -> Vec<&Arc<Site>> {
        let mut sites: Vec<&Arc<Site>> = self.sites.iter().map(|(_, site)| site).collect();
        sites.sort_unstable_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        sites
    }
}

impl Site {
    /// The certificates that its clients may be shown; none where it has none.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        self.tls.as_deref().map_or(&[], |tls| &tls.certificates)
    }
}

impl Backend {
    /// Its name, unique within its pool.
    pub fn name(&self) -> &str {
        self.key.backend()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.key.address()
    }
}

impl BackendKey {
    /// The key of the backend of this name and address in a site's pool, connections to which
    /// begin so.
    pub fn new(
        site: SiteId,
        pool: Arc<str>,
        backend: Arc<str>,
        address: SocketAddr,
        beginning: Beginning,
    ) -> BackendKey {
        BackendKey(Arc::new(BackendIdentity {
            site,
            pool,
            backend,
            address,
            beginning,
        }))
    }

    /// The site that the backend serves.
    pub fn site(&self) -> SiteId {
        self.0.site
    }

    /// The name of the backend's pool.
    pub fn pool(&self) -> &str {
        &self.0.pool
    }

    /// The backend's name within its pool.
    pub fn backend(&self) -> &str {
        &self.0.backend
    }

    /// Where the backend listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// How a connection to it begins.
    pub fn beginning(&self) -> &Beginning {
        &self.0.beginning
    }

    /// The header that a connection to it begins with.
    pub fn proxy_protocol(&self) -> ProxyProtocol {
        self.0.beginning.proxy_protocol
    }

    /// What a handshake with it is made with; none: it does not speak TLS.
    pub fn tls(&self) -> Option<&Arc<BackendTls>> {
        self.0.beginning.tls.as_ref()
    }
}

/// How long each party may keep us waiting (HTTP.md "Timeouts").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For the whole head of a request, from its first byte.
    pub head: Duration,
    /// Between requests on a client's connection.
    pub keep_alive: Duration,
    /// How slow a body may be, from whoever is to send it.
    pub body: BodyRate,
    /// Without progress of whoever is to read.
    pub write: Duration,
    /// For a connection to a backend.
    pub connect: Duration,
    /// From the end of a request to the first byte of its response.
    pub first_byte: Duration,
    /// Between two reads of a response.
    pub response_gap: Duration,
    /// Of an upstream connection in the pool.
    pub upstream_idle: Duration,
    /// Of a tunnel in both directions.
    pub tunnel_idle: Duration,
    /// For requests to end once a stop was asked for.
    pub drain: Duration,
    /// For the whole handshake of a client that speaks TLS, from its first byte; and for that byte.
    #[serde(default = "handshake_default")]
    pub handshake: Duration,
}

fn handshake_default() -> Duration {
    Duration::from_secs(10)
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            body: BodyRate::default(),
            write: Duration::from_secs(60),
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(10),
            response_gap: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(30),
            tunnel_idle: Duration::from_secs(60 * 60),
            drain: Duration::from_secs(30),
            handshake: handshake_default(),
        }
    }
}

/// The least speed of a body: a sender that moves fewer than `bytes_per_second` on
/// average over any `window` is cut. Time in which we hold it back does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRate {
    /// Bytes per second.
    pub bytes_per_second: u32,
    /// What the average is taken over.
    pub window: Duration,
}

impl Default for BodyRate {
    fn default() -> BodyRate {
        BodyRate {
            bytes_per_second: 500,
            window: Duration::from_secs(10),
        }
    }
}
