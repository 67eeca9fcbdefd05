//! One sample: one server, with the quiet tenant alone and beside a flood.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::flood::{self, Flood};
use crate::compare::variant::{Server, Variant};
use crate::cores::Cores;
use crate::disturbance::OTHERS_MOST;
use crate::failure::Failure;
use crate::generator::{self, Going, Outcome};
use crate::process_tree;
use crate::rounds::Judged;

/// From the flood's beginning until the quiet tenant comes: it has to build up its queues.
const FLOOD_FIRST: Duration = Duration::from_secs(1);
/// What the last sample left under way has time to end.
const PAUSE: Duration = Duration::from_millis(300);

/// How a sample is taken.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    /// How long each of its two measurements lasts.
    pub(super) measured: Duration,
    /// Requests of the quiet tenant a second.
    pub(super) rate: u32,
    /// Connections of the flood.
    pub(super) connections: u32,
}

/// A line of samples.jsonl.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) flood: Flood,
    pub(super) attempt: u32,
    pub(super) variant: Variant,
    /// Whether it enters the medians.
    pub(super) kept: bool,
    /// Why the round was repeated.
    pub(super) reason: Option<String>,
    /// Through the server, without a flood.
    pub(super) alone: Waited,
    /// Straight to the backend, during the flood.
    pub(super) straight: Waited,
    /// Through the server, during the flood.
    pub(super) flooded: Waited,
    /// What the flood got.
    pub(super) flood_responses_per_second: f64,
    pub(super) flood_bytes_per_second: f64,
    /// Its requests without a whole 2xx response.
    pub(super) flood_failed: u64,
    /// Part of a core that went to others; of the two, where that was more.
    pub(super) others: f64,
}

/// What the quiet tenant met.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Waited {
    pub(super) requests: u64,
    /// Requests without a whole 2xx response in time.
    pub(super) failed: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) most_us: f64,
}

impl Waited {
    fn of(outcome: &Outcome) -> Self {
        let us = |fraction| outcome.latency.percentile_ns(fraction) as f64 / 1000.0;
        Self {
            requests: outcome.requests_due,
            failed: outcome.not_2xx + outcome.broken + outcome.unanswered,
            p50_us: us(0.5),
            p99_us: us(0.99),
            most_us: outcome.latency.max_ns() as f64 / 1000.0,
        }
    }
}

impl Judged for Sample {
    fn disturbance(&self) -> Option<String> {
        // Latency is no better than the core of the load either.
        (self.others > OTHERS_MOST).then(|| {
            let (name, percent) = (self.variant.name(), self.others * 100.0);
            format!("{name}: others took {percent:.1} % of a core")
        })
    }

    fn judge(&mut self, kept: bool, reason: Option<String>) {
        self.kept = kept;
        self.reason = reason;
    }
}

impl Sample {
    /// The quiet tenant's p50 during the flood, to what it is compared with.
    pub(super) fn ratio(&self) -> f64 {
        self.flooded.p50_us / self.alone.p50_us.max(self.straight.p50_us)
    }

    /// What went wrong, in words.
    pub(super) fn fault(&self) -> Option<String> {
        let quiet = self.alone.failed + self.flooded.failed;
        let is_flood = self.flood_responses_per_second > 0.0;
        (quiet + self.flood_failed > 0 || !is_flood).then(|| {
            format!(
                "{quiet} requests of the quiet tenant failed, and {} of the flood, which had {:.0} \
                 responses a second",
                self.flood_failed, self.flood_responses_per_second
            )
        })
    }

    /// For whoever waits.
    pub(super) fn words(&self) -> String {
        format!(
            "{}: p50 {:.0} us alone, {:.0} us straight, {:.0} us beside {:.0} responses a second: {:.2}",
            self.variant.name(),
            self.alone.p50_us,
            self.straight.p50_us,
            self.flooded.p50_us,
            self.flood_responses_per_second,
            self.ratio()
        )
    }
}

/// Takes a sample of a server, whose quiet tenant's backend is at `backend`.
pub(super) fn take(
    flood: Flood,
    server: &Server,
    backend: SocketAddr,
    cores: Cores,
    steps: Steps,
    attempt: u32,
) -> Result<Sample, Failure> {
    sleep(PAUSE);
    let quiet = |address| flood::quiet(address, steps.rate, steps.measured);
    let before = process_tree::everybody()?;
    let begun = Instant::now();
    let alone = generator::generate(&quiet(server.address)?)?;
    let flooding = Instant::now();
    let going = Going::begin(flood.plan(server.address, steps.connections)?);
    sleep(FLOOD_FIRST);
    let straight = Going::begin(quiet(backend)?);
    let flooded = generator::generate(&quiet(server.address)?);
    let straight = straight.wait();
    let flooded_for = flooding.elapsed().as_secs_f64();
    let flooded_with = going.end()?;
    let ours = process_tree::members(std::process::id())?;
    let after = process_tree::everybody()?;
    let Cores { server: own, load } = cores;
    let others_s = [own, load].map(|core| process_tree::others_s(&before, &after, core, &ours));
    Ok(Sample {
        flood,
        attempt,
        variant: server.variant,
        kept: true,
        reason: None,
        alone: Waited::of(&alone),
        straight: Waited::of(&straight?),
        flooded: Waited::of(&flooded?),
        flood_responses_per_second: flooded_with.responses as f64 / flooded_for,
        flood_bytes_per_second: flooded_with.body_bytes as f64 / flooded_for,
        flood_failed: flooded_with.not_2xx + flooded_with.broken,
        others: others_s[0].max(others_s[1]) / begun.elapsed().as_secs_f64(),
    })
}
