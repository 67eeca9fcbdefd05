//! What is set on one host and never stored for the fleet: `[host]`, `[listen]`,
//! `[fleet]`, `[probe]`, `[geo]`, `[dns]` of a manifest, with every default filled in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address_policy::AddressPolicy;
use crate::desired::Peer;
use crate::name::Name;
use crate::snapshot::Timeouts;

/// The local settings of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// The manifest that the host was set up from: owner of what it declares.
    pub manifest: Name,
    /// The host itself.
    pub host: Host,
    /// Where it listens.
    pub listen: Listen,
    /// The fleet it belongs to.
    pub fleet: Fleet,
    /// How hosts probe each other.
    pub probe: Probe,
    /// How visitors are located.
    pub geo: Geo,
    /// How much DNS a client may ask.
    pub dns: Dns,
}

impl Local {
    /// Where no backend may be, as far as this host's settings and its peers tell.
    pub fn address_policy(&self, peers: &[Peer]) -> AddressPolicy {
        let mut addresses = self.host.addresses.clone();
        addresses.extend(peers.iter().flat_map(|peer| &peer.addresses));
        let probes: Vec<SocketAddr> = peers.iter().filter_map(|peer| peer.probe).collect();
        AddressPolicy::new(&self.listen.all(), &addresses, &probes)
    }
}

/// Where Debian and its relatives keep the authorities that the system trusts (`ca-certificates`).
pub const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `[host]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Unique in the fleet.
    pub name: Name,
    /// The group of hosts that it stands in.
    pub group: Option<Name>,
    /// What DNS hands out for this host.
    pub addresses: Vec<IpAddr>,
    /// Worker threads of each plane; none means one per core.
    pub workers: Option<u32>,
    /// Whether a worker that expects something soon looks for it instead of sleeping.
    pub busy_polling: bool,
    /// Private networks where tenants' backends may be.
    pub backend_networks: Vec<IpNet>,
    /// Clients whose connections are closed as soon as they are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_networks: Vec<IpNet>,
    /// Who is asked for the addresses of backends; none means as the system's own file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<SocketAddr>,
    /// Where other hosts probe this one; none without an address and an HTTP listener.
    pub probe: Option<SocketAddr>,
    /// The file of the access log; none means no log.
    pub access_log: Option<String>,
    /// A file of the authorities in PEM that backends' certificates are verified by where a pool
    /// names none of its own; none means the system's ([`SYSTEM_AUTHORITIES`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// What holds where a site sets nothing.
    pub timeouts: Timeouts,
}

/// `[listen]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// HTTP. The order is that of the file and names the sockets that are handed on.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// API and UI.
    pub api: Option<SocketAddr>,
    /// Metrics apart from the API.
    pub metrics: Option<SocketAddr>,
    /// Peers that begin their HTTP and HTTPS connections with the PROXY protocol.
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Listen {
    /// The port to name in a URL of HTTPS: of the first listener, but none where one has the
    /// scheme's own, or where there is none.
    pub fn https_port(&self) -> Option<u16> {
        const OWN: u16 = 443;
        let mut ports = self.https.iter().map(SocketAddr::port);
        let first = ports.clone().next()?;
        (!ports.any(|port| port == OWN)).then_some(first)
    }

    /// Every listener of every kind.
    pub fn all(&self) -> Vec<SocketAddr> {
        let Listen {
            http,
            https,
            dns,
            api,
            metrics,
            proxy_protocol_from: _,
        } = self;
        let lists = http.iter().chain(https).chain(dns);
        lists.chain(api).chain(metrics).copied().collect()
    }
}

/// `[fleet]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// The same on every host; the host's own name where it has no peers.
    pub name: Name,
    /// The file of the fleet's secret, relative to the manifest.
    pub secret: Option<String>,
}

/// `[probe]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// From one probe to the next.
    pub interval: Duration,
    /// Until an unanswered probe has failed; at most the interval.
    pub timeout: Duration,
    /// Successes until a host is up.
    pub rise: u32,
    /// Failures until a host is down.
    pub fall: u32,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 2,
        }
    }
}

/// `[geo]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geo {
    /// What visitors are located by.
    pub database: GeoDatabase,
    /// Prefixes whose group the operator decides.
    pub overrides: Vec<GeoOverride>,
    /// Groups whose distances differ by no more are equally close, in kilometres.
    pub tie_km: u32,
}

/// Where the geographic database is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GeoDatabase {
    /// Inside the program.
    #[default]
    Embedded,
    /// One file for both families, relative to the manifest.
    File(String),
    /// A file for each family, relative to the manifest.
    Pair {
        /// For IPv4.
        v4: String,
        /// For IPv6.
        v6: String,
    },
}

/// A prefix whose visitors go to a group whatever the database says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeoOverride {
    /// The visitors.
    pub prefix: IpNet,
    /// Their group.
    pub group: Name,
}

/// `[dns]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// How often one client network is answered.
    pub rate: DnsRate,
    /// What DNS over TCP may hold.
    pub tcp: DnsTcp,
}

/// Response-rate limiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsRate {
    /// Responses per second to one client network.
    pub responses_per_second: u32,
    /// Of the responses over the rate, one in this many is sent truncated.
    pub slip: u32,
    /// Networks that are never limited.
    pub exempt: Vec<IpNet>,
}

impl Default for DnsRate {
    fn default() -> DnsRate {
        DnsRate {
            responses_per_second: 1000,
            slip: 2,
            exempt: Vec::new(),
        }
    }
}

/// Limits of DNS over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsTcp {
    /// Until a silent connection is closed.
    pub idle: Duration,
    /// Open connections in all.
    pub connections: u32,
    /// Open connections of one client.
    pub connections_per_client: u32,
}

impl Default for DnsTcp {
    fn default() -> DnsTcp {
        DnsTcp {
            idle: Duration::from_secs(10),
            connections: 10_000,
            connections_per_client: 100,
        }
    }
}
