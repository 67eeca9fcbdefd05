//! What tenants and sites may use of this host, over all of its workers: open connections, requests
//! per second, and the size of a request's head and body.
//!
//! What all workers share of a limit is one [`meter::Meter`]. Connections are counted there one by one, for
//! a connection costs much more than that; of requests a worker takes some at a time
//! ([`bucket`]). Where nothing is limited there is no meter, and each worker counts connections
//! for itself alone: a limit that comes later finds them counted.

mod bucket;
mod meter;
mod seats;

pub(crate) use meter::{Meters, SiteMeters};
pub(crate) use seats::{Seat, Seats};

use crate::client::ClientConnection;
use crate::http::reject::Reject;
use crate::http::request::{BodyFraming, RequestHead};
use crate::site::LocalSite;
use meridian_model::limits::{CONNECTIONS_RETRY_AFTER_S, QUEUE_RETRY_AFTER_S};
use meridian_model::snapshot::Limits;
use std::time::Duration;

/// What a request is refused with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) reject: Reject,
    /// When it is worth another try, in seconds.
    pub(crate) retry_after_s: Option<u32>,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Refusal {
        // The other limits are asked before, and know when.
        let retry_after_s = match reject {
            Reject::QueueFull | Reject::QueueSlow => Some(QUEUE_RETRY_AFTER_S),
            Reject::ShareLimit => Some(CONNECTIONS_RETRY_AFTER_S),
            _ => None,
        };
        Refusal {
            reject,
            retry_after_s,
        }
    }
}

/// Whether the limits of its site let a request go on. From here on its connection is one of the
/// site's, until it carries a request for another one or ends.
#[inline]
pub(crate) fn admit(
    connection: &ClientConnection,
    site: &LocalSite,
    head: &RequestHead<'_>,
) -> Result<(), Refusal> {
    let (worker, from) = (connection.worker(), connection.stream().class());
    if !worker.has_share_for_request(site.class(), from) {
        return Err(Refusal {
            reject: Reject::ShareLimit,
            retry_after_s: Some(CONNECTIONS_RETRY_AFTER_S),
        });
    }
    if connection.seat() != Some(site.seat()) && !connection.take_seat(site.seat()) {
        return Err(Refusal {
            reject: Reject::ConnectionLimit,
            retry_after_s: Some(CONNECTIONS_RETRY_AFTER_S),
        });
    }
    match &site.site().limits {
        None => Ok(()),
        Some(limits) => admit_limited(connection, site, limits, head),
    }
}

fn admit_limited(
    connection: &ClientConnection,
    site: &LocalSite,
    limits: &Limits,
    head: &RequestHead<'_>,
) -> Result<(), Refusal> {
    if head.head_bytes > limits.head_bytes {
        return Err(Reject::HeadLimit.into());
    }
    // Of a body whose length is not known beforehand `upload` counts what comes.
    if matches!(head.framing, BodyFraming::Length(bytes) if bytes > limits.body_bytes) {
        return Err(Reject::BodyLong.into());
    }
    let worker = connection.worker();
    let spent = worker.seats().spend(site.seat(), worker.runtime.now_ns());
    spent.map_err(|wait| Refusal {
        reject: Reject::RateLimit,
        retry_after_s: Some(whole_seconds(wait)),
    })
}

/// Rounded up, for who comes back too early is refused again.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_nanos().div_ceil(1_000_000_000).max(1);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
