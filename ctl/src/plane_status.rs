//! What a plane says about itself on its local socket.

use serde::Deserialize;

/// The version of the local socket's protocol that this program speaks.
pub(crate) const PROTOCOL: u64 = 1;

/// A plane's answer to `{"op":"status"}`, as far as tables show it. Fields
/// that a plane does not send are empty here; JSON passes the answer on whole.
#[derive(Debug, Deserialize)]
pub(crate) struct PlaneStatus {
    pub(crate) program: String,
    pub(crate) pid: u32,
    pub(crate) revision: u64,
    pub(crate) ready: bool,
    #[serde(default)]
    pub(crate) draining: bool,
    #[serde(default)]
    pub(crate) uptime_s: u64,
    #[serde(default)]
    pub(crate) kernel: Kernel,
    #[serde(default)]
    pub(crate) workers: Vec<Worker>,
    #[serde(default)]
    pub(crate) access_log: Option<AccessLog>,
    #[serde(default)]
    pub(crate) sites: Vec<Site>,
    #[serde(default)]
    pub(crate) backends: Vec<Backend>,
    #[serde(default)]
    pub(crate) certificates: Vec<Certificate>,
    #[serde(default)]
    pub(crate) names: Vec<ResolvedName>,
    #[serde(default)]
    pub(crate) limits: Vec<Limit>,
}

/// The kernel and what of it is used beyond the floor.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Kernel {
    pub(crate) release: String,
    pub(crate) features: Vec<String>,
}

/// The host's access log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AccessLog {
    pub(crate) path: String,
    pub(crate) lines: u64,
    /// Why lines can not be written now.
    pub(crate) fault: Option<String>,
}

/// One worker.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Worker {
    pub(crate) worker: u32,
    pub(crate) cpu: Option<u32>,
    pub(crate) revision: u64,
    pub(crate) connections: u64,
    pub(crate) idle_connections: u64,
    pub(crate) upstream_connections: u64,
    pub(crate) requests: u64,
    pub(crate) busy: f64,
    pub(crate) headroom: Option<Headroom>,
    pub(crate) buffers: u64,
    pub(crate) buffers_max: u64,
}

/// The shares of what a worker has that are left, from 0 to 1.
#[derive(Debug, Deserialize)]
pub(crate) struct Headroom {
    pub(crate) time: f64,
    pub(crate) connections: f64,
    pub(crate) buffers: f64,
}

/// One site's counters since the plane started.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Site {
    pub(crate) tenant: String,
    pub(crate) site: String,
    pub(crate) suspended: bool,
    pub(crate) requests: u64,
    pub(crate) responses_2xx: u64,
    pub(crate) responses_3xx: u64,
    pub(crate) responses_4xx: u64,
    pub(crate) responses_5xx: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) connections: u64,
    pub(crate) retries: u64,
    pub(crate) refused: u64,
    pub(crate) cut: u64,
}

/// One backend as this host sees it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Backend {
    pub(crate) backend: String,
    pub(crate) address: String,
    pub(crate) state: String,
    /// It was drained: whatever its state, it gets no new requests.
    pub(crate) draining: bool,
    /// It is used while no other of its tier is.
    pub(crate) backup: bool,
    /// Why it is in this state.
    pub(crate) reason: String,
    /// Since when, as RFC 3339; none: since the plane's start.
    pub(crate) changed_at: Option<String>,
    pub(crate) connections: u64,
    pub(crate) in_flight: u64,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
}

/// A certificate, and how long it holds on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Certificate {
    pub(crate) certificate: String,
    pub(crate) not_after: String,
    pub(crate) state: String,
}

/// A name that backends are known by.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResolvedName {
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) resolved_s_ago: Option<f64>,
    pub(crate) next_lookup_s: Option<f64>,
    pub(crate) fault: Option<String>,
}

/// A limit of the system and how often it was met.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) hits: u64,
}
