//! The questions that a comparison asks, each with its budget.

use super::variant::Variant;
use crate::secure::Version;

/// What is measured, and so what the figure of a sample means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    /// CPU time of the server for one request, in microseconds, under a saturating closed loop.
    CpuPerRequest,
    /// CPU time of the server for one handshake by TLS with its connection, in microseconds, under a
    /// saturating closed loop; of whole ones, or of those that resume a session.
    CpuPerHandshake { is_resumed: bool },
    /// Median latency in microseconds at a fixed rate, open loop.
    MedianLatency { requests_per_second: u32 },
    /// Private bytes of the server for one idle keep-alive connection.
    IdleMemory,
}

impl Measure {
    pub(super) fn is_latency(self) -> bool {
        matches!(self, Self::MedianLatency { .. })
    }

    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "us CPU/request",
            Self::CpuPerHandshake { .. } => "us CPU/handshake",
            Self::MedianLatency { .. } => "us p50",
            Self::IdleMemory => "bytes/connection",
        }
    }
}

/// What Meridian may cost at most.
#[derive(Clone, Copy, Debug)]
pub(super) enum Budget {
    /// Paired ratio to a peer.
    Ratio { peer: Variant, most: f64 },
    /// The figure itself.
    Figure { most: f64 },
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) question: &'static str,
    pub(super) measure: Measure,
    pub(super) connections: u32,
    pub(super) path: &'static str,
    /// Servers are told to do all that they are likely to be told.
    pub(super) everything: bool,
    /// Everybody speaks this version of TLS.
    pub(super) tls: Option<Version>,
    pub(super) variants: &'static [Variant],
    pub(super) budgets: &'static [Budget],
}

const PROXIES: &[Variant] = &[Variant::Ours, Variant::Haproxy, Variant::Nginx];
const PROXIES_AND_DIRECT: &[Variant] = &[
    Variant::Ours,
    Variant::Haproxy,
    Variant::Nginx,
    Variant::Direct,
];
const RUNTIMES: &[Variant] = &[
    Variant::Haproxy,
    Variant::BareGlommio,
    Variant::BareEpoll,
    Variant::BareRing,
];

const fn ratio(peer: Variant, most: f64) -> Budget {
    Budget::Ratio { peer, most }
}

const fn handshakes(
    name: &'static str,
    question: &'static str,
    (version, is_resumed): (Version, bool),
    budgets: &'static [Budget],
) -> Case {
    Case {
        name,
        question,
        measure: Measure::CpuPerHandshake { is_resumed },
        connections: 16,
        path: "/",
        everything: false,
        tls: Some(version),
        variants: PROXIES,
        budgets,
    }
}

/// Every case, in the order in which they run.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "small-64",
        question: "100-byte bodies, 64 keep-alive connections: CPU of the proxy for one request",
        measure: Measure::CpuPerRequest,
        connections: 64,
        path: "/b/100",
        everything: false,
        tls: None,
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.80), ratio(Variant::Nginx, 0.80)],
    },
    Case {
        name: "small-512",
        question: "100-byte bodies, 512 keep-alive connections: CPU of the proxy for one request",
        measure: Measure::CpuPerRequest,
        connections: 512,
        path: "/b/100",
        everything: false,
        tls: None,
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.65)],
    },
    Case {
        name: "body-16k",
        question: "16 KiB bodies, 64 keep-alive connections: CPU of the proxy for one request",
        measure: Measure::CpuPerRequest,
        connections: 64,
        path: "/b/16384",
        everything: false,
        tls: None,
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.75)],
    },
    Case {
        name: "body-1m",
        question: "1 MiB bodies, 16 keep-alive connections: CPU of the proxy for one request",
        measure: Measure::CpuPerRequest,
        connections: 16,
        path: "/b/1048576",
        everything: false,
        tls: None,
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.80)],
    },
    Case {
        name: "p50-5000",
        question: "5,000 requests a second, open loop, 64 connections: median latency",
        measure: Measure::MedianLatency {
            requests_per_second: 5_000,
        },
        connections: 64,
        path: "/b/100",
        everything: false,
        tls: None,
        variants: PROXIES_AND_DIRECT,
        budgets: &[ratio(Variant::Nginx, 0.90)],
    },
    Case {
        name: "p50-20000",
        question: "20,000 requests a second, open loop, 64 connections: median latency",
        measure: Measure::MedianLatency {
            requests_per_second: 20_000,
        },
        connections: 64,
        path: "/b/100",
        everything: false,
        tls: None,
        variants: PROXIES_AND_DIRECT,
        budgets: &[ratio(Variant::Nginx, 0.90)],
    },
    Case {
        name: "idle",
        question: "idle keep-alive connections, each after one request: private memory of the proxy for one",
        measure: Measure::IdleMemory,
        connections: 10_000,
        path: "/b/100",
        everything: false,
        tls: None,
        variants: PROXIES,
        budgets: &[Budget::Figure { most: 0.6 * 1024.0 }],
    },
    Case {
        name: "everything-64",
        question: "small-64 with sticky cookies, limits, health checks, sampled access log and metrics",
        measure: Measure::CpuPerRequest,
        connections: 64,
        path: "/b/100",
        everything: true,
        tls: None,
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.80), ratio(Variant::Nginx, 0.80)],
    },
    Case {
        name: "everything-512",
        question: "small-512 with sticky cookies, limits, health checks, sampled access log and metrics",
        measure: Measure::CpuPerRequest,
        connections: 512,
        path: "/b/100",
        everything: true,
        tls: None,
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.65)],
    },
    Case {
        name: "everything-16k",
        question: "body-16k with sticky cookies, limits, health checks, sampled access log and metrics",
        measure: Measure::CpuPerRequest,
        connections: 64,
        path: "/b/16384",
        everything: true,
        tls: None,
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.75)],
    },
    Case {
        name: "tls-small-64",
        question: "by TLS 1.3, 100-byte bodies, 64 keep-alive connections: CPU of the proxy for one request",
        measure: Measure::CpuPerRequest,
        connections: 64,
        path: "/b/100",
        everything: false,
        tls: Some(Version::V1_3),
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.80)],
    },
    Case {
        name: "tls-body-1m",
        question: "by TLS 1.3, 1 MiB bodies, 16 keep-alive connections: CPU of the proxy for one request",
        measure: Measure::CpuPerRequest,
        connections: 16,
        path: "/b/1048576",
        everything: false,
        tls: Some(Version::V1_3),
        variants: PROXIES,
        budgets: &[ratio(Variant::Haproxy, 0.80)],
    },
    handshakes(
        "tls-full-13",
        "whole handshakes of TLS 1.3, P-256 and X25519, 16 at a time: CPU of the proxy for one with its connection",
        (Version::V1_3, false),
        &[ratio(Variant::Nginx, 0.70)],
    ),
    handshakes(
        "tls-full-12",
        "whole handshakes of TLS 1.2, P-256 and X25519, 16 at a time: CPU of the proxy for one with its connection",
        (Version::V1_2, false),
        &[ratio(Variant::Nginx, 0.70)],
    ),
    handshakes(
        "tls-resumed-13",
        "handshakes of TLS 1.3 that resume a session, 16 at a time: CPU of the proxy for one with its connection",
        (Version::V1_3, true),
        &[],
    ),
    handshakes(
        "tls-resumed-12",
        "handshakes of TLS 1.2 that resume a session, 16 at a time: CPU of the proxy for one with its connection",
        (Version::V1_2, true),
        &[],
    ),
    Case {
        name: "tls-idle",
        question: "idle keep-alive connections by TLS 1.3, each after one request: private memory of the proxy for one",
        measure: Measure::IdleMemory,
        connections: 10_000,
        path: "/b/100",
        everything: false,
        tls: Some(Version::V1_3),
        variants: PROXIES,
        budgets: &[Budget::Figure { most: 8.0 * 1024.0 }],
    },
    Case {
        name: "runtime-small-64",
        question: "bare prototypes, 100-byte bodies, 64 connections: CPU for one request",
        measure: Measure::CpuPerRequest,
        connections: 64,
        path: "/b/100",
        everything: false,
        tls: None,
        variants: RUNTIMES,
        budgets: &[],
    },
    Case {
        name: "runtime-small-512",
        question: "bare prototypes, 100-byte bodies, 512 connections: CPU for one request",
        measure: Measure::CpuPerRequest,
        connections: 512,
        path: "/b/100",
        everything: false,
        tls: None,
        variants: RUNTIMES,
        budgets: &[],
    },
    Case {
        name: "runtime-16k",
        question: "bare prototypes, 16 KiB bodies, 64 connections: CPU for one request",
        measure: Measure::CpuPerRequest,
        connections: 64,
        path: "/b/16384",
        everything: false,
        tls: None,
        variants: RUNTIMES,
        budgets: &[],
    },
];

/// The cases named, a name also standing for those that begin with it and a dash; with no
/// names, all but the prototypes.
pub(super) fn named(names: &[String]) -> Result<Vec<Case>, String> {
    if names.is_empty() {
        return Ok(CASES
            .iter()
            .filter(|case| !case.name.starts_with("runtime"))
            .copied()
            .collect());
    }
    let fits = |case: &Case, name: &str| {
        case.name == name
            || case
                .name
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('-'))
    };
    if let Some(unknown) = names
        .iter()
        .find(|name| !CASES.iter().any(|case| fits(case, name)))
    {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(format!(
            "--case {unknown}: there is no such case; there are: {}",
            known.join(", ")
        ));
    }
    Ok(CASES
        .iter()
        .filter(|case| names.iter().any(|name| fits(case, name)))
        .copied()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_family() {
        let names = |list: &[&str]| -> Vec<&'static str> {
            let typed: Vec<String> = list.iter().map(|&name| name.to_owned()).collect();
            named(&typed)
                .unwrap()
                .iter()
                .map(|case| case.name)
                .collect()
        };
        assert_eq!(
            names(&["runtime"]),
            ["runtime-small-64", "runtime-small-512", "runtime-16k"]
        );
        assert_eq!(names(&["idle", "small-64"]), ["small-64", "idle"]);
        assert_eq!(names(&[]).len(), CASES.len() - 3);
        assert!(
            named(&["smal".to_owned()])
                .unwrap_err()
                .contains("small-64")
        );
    }
}
