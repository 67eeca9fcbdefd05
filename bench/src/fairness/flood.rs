//! The two loads of a sample: a tenant that floods, and one that is quiet.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::{FLOODING, QUIET};
use crate::failure::Failure;
use crate::generator::{Pace, Plan};
use crate::quantity::{self, Target};

/// Connections of the quiet tenant: at its rate a server may be slow by more than a second before
/// requests wait for each other.
pub(super) const QUIET_CONNECTIONS: usize = 128;
/// Before anything of the quiet tenant's is counted.
const WARM_UP: Duration = Duration::from_millis(500);
/// Its last requests are waited for: a server may let them wait for seconds.
const DRAIN: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);

/// What the tenant that floods asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Flood {
    /// Bodies of 100 bytes.
    Small,
    /// Bodies of 1 MiB.
    Bodies,
    /// Bodies of 100 bytes, each over a connection of its own.
    Connections,
}

impl Flood {
    pub(super) const ALL: [Flood; 3] = [Flood::Small, Flood::Bodies, Flood::Connections];

    pub(super) fn name(self) -> &'static str {
        match self {
            Flood::Small => "small",
            Flood::Bodies => "bodies",
            Flood::Connections => "connections",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Flood::Small => "A flood of small requests",
            Flood::Bodies => "A flood of 1 MiB bodies",
            Flood::Connections => "A flood of small requests, each over a connection of its own",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Flood::Small | Flood::Connections => "/b/100",
            Flood::Bodies => "/b/1048576",
        }
    }

    /// The flood through `server`, until it is ended.
    pub(super) fn plan(self, server: SocketAddr, connections: u32) -> Result<Plan, Failure> {
        Ok(Plan {
            secure: None,
            target: target(server, self.path())?,
            hosts: vec![FLOODING.to_owned()],
            pace: Pace::Closed,
            connections: connections as usize,
            warm_up: Duration::ZERO,
            duration: LONGEST,
            drain: Duration::ZERO,
            keeps_exchanges: false,
            closes: self == Flood::Connections,
        })
    }
}

/// The quiet tenant at `address`, a server or its backend, for so long.
pub(super) fn quiet(address: SocketAddr, rate: u32, duration: Duration) -> Result<Plan, Failure> {
    Ok(Plan {
        secure: None,
        target: target(address, "/b/100")?,
        hosts: vec![QUIET.to_owned()],
        pace: Pace::Open {
            requests_per_second: f64::from(rate),
        },
        connections: QUIET_CONNECTIONS,
        warm_up: WARM_UP,
        duration,
        drain: DRAIN,
        keeps_exchanges: false,
        closes: false,
    })
}

fn target(address: SocketAddr, path: &str) -> Result<Target, Failure> {
    quantity::target(&format!("http://{address}{path}")).map_err(Failure::new)
}
