//! What clients of a site may do.

use std::time::Duration;

/// The limits that hold for the requests of a site, its tenant's among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What the sites of the tenant may have together.
    pub tenant: Allowance,
    /// What the site may have of it.
    pub site: Allowance,
    /// The head of a request, in bytes. Over it: 431.
    pub head_bytes: usize,
    /// The body of a request, in bytes. Over it: 413.
    pub body_bytes: u64,
}

/// What a tenant or a site may have of one host, over all of its workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Open client connections; none where nobody counts them. Over it: 503.
    pub connections: Option<u32>,
    /// Requests; none where nobody counts them. Over it: 429.
    pub rate: Option<Rate>,
}

/// How many requests may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// On average; 1 to [`crate::limits::RATE_REQUESTS_MAX`].
    pub requests_per_second: u32,
    /// At once, after a pause; 1 to [`crate::limits::RATE_REQUESTS_MAX`].
    pub burst: u32,
}

impl Rate {
    /// From one request to the next at the rate. A part of a nanosecond counts as one: never are
    /// there more requests than the rate says.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(self.requests_per_second)))
    }
}
