//! One sample: one server, started or changed once, with what else ran meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::figure::Figure;
use super::variant::Variant;
use crate::disturbance::OTHERS_MOST;
use crate::rounds::Judged;

/// Everything known about one measurement; a line of samples.jsonl.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) case: &'static str,
    pub(super) attempt: u32,
    pub(super) variant: Variant,
    /// Whether it enters the medians.
    pub(super) kept: bool,
    /// Why the round was repeated.
    pub(super) reason: Option<String>,
    /// What the server did wrong; it enters the medians, and the report says so.
    pub(super) fault: Option<String>,
    pub(super) sites: u32,
    pub(super) workers: u32,
    pub(super) figures: BTreeMap<Figure, f64>,
    /// Part of the server's cores that went to others.
    pub(super) others: f64,
    pub(super) detail: Value,
}

/// What a trial found.
pub(super) struct Found {
    pub(super) figures: BTreeMap<Figure, f64>,
    pub(super) fault: Option<String>,
    pub(super) others: f64,
    pub(super) detail: Value,
}

impl Judged for Sample {
    fn disturbance(&self) -> Option<String> {
        (self.others > OTHERS_MOST).then(|| {
            let percent = self.others * 100.0;
            let name = self.variant.name();
            format!("{name}: others took {percent:.1} % of the server's core")
        })
    }

    fn judge(&mut self, kept: bool, reason: Option<String>) {
        self.kept = kept;
        self.reason = reason;
    }
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Milliseconds from one moment to a later one; 0 when it was not later.
pub(super) fn ms_between(earlier: Instant, later: Instant) -> f64 {
    ms(later.saturating_duration_since(earlier))
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
