//! One sample: the plane in one of three ways, idle and under load.

use serde::Serialize;

use crate::disturbance::OTHERS_MOST;
use crate::rounds::Judged;

/// What there is beside the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Variant {
    /// Nothing.
    Alone,
    /// `connect-loop`.
    Bare,
    /// The plane's own checks.
    Checks,
}

impl Variant {
    pub(super) const ALL: [Variant; 3] = [Variant::Alone, Variant::Bare, Variant::Checks];

    pub(super) fn name(self) -> &'static str {
        match self {
            Variant::Alone => "alone",
            Variant::Bare => "bare loop",
            Variant::Checks => "checks",
        }
    }
}

/// A line of samples.jsonl.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) variant: Variant,
    pub(super) round: u32,
    /// Whether it enters the medians.
    pub(super) kept: bool,
    /// Why the round was repeated.
    pub(super) reason: Option<String>,
    pub(super) idle: Idle,
    pub(super) loaded: Loaded,
    /// Part of a core that went to others; of the two, where that was more.
    pub(super) others: f64,
    /// Of the backends, by the plane's own word at the end.
    pub(super) checked: Checked,
}

/// What was used while no requests came.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    pub(super) seconds: f64,
    /// Connections that were opened, by anybody in this network namespace.
    pub(super) connects: u64,
    /// CPU time of the whole plane with its supervisor, in seconds.
    pub(super) plane_cpu_s: f64,
    /// Of its checker's thread.
    pub(super) checker_cpu_s: f64,
    /// Of `connect-loop`.
    pub(super) loop_cpu_s: f64,
}

/// What requests met.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Loaded {
    pub(super) connects_per_second: f64,
    pub(super) responses: u64,
    /// Requests without a whole 2xx response.
    pub(super) failed: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    /// How long the worker waited for its CPU before a turn, on average: while somebody else had it.
    pub(super) worker_waited_us: f64,
}

/// What the plane says of its checks.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Checked {
    pub(super) up: u64,
    /// Checks that failed since the plane was started.
    pub(super) failures: u64,
    /// Checks that began late since then.
    pub(super) late: u64,
}

impl Judged for Sample {
    fn disturbance(&self) -> Option<String> {
        self.reason.clone()
    }

    fn judge(&mut self, kept: bool, reason: Option<String>) {
        self.kept = kept;
        self.reason = reason;
    }
}

impl Sample {
    /// CPU time for each connect, in microseconds: what the variant pays for them.
    pub(super) fn us_per_connect(&self) -> Option<f64> {
        let cpu_s = match self.variant {
            Variant::Alone => return None,
            Variant::Bare => self.idle.loop_cpu_s,
            Variant::Checks => self.idle.plane_cpu_s,
        };
        Some(self.per_connect(cpu_s))
    }

    /// CPU time of the checker's thread alone.
    pub(super) fn checker_us_per_connect(&self) -> Option<f64> {
        (self.variant == Variant::Checks).then(|| self.per_connect(self.idle.checker_cpu_s))
    }

    fn per_connect(&self, cpu_s: f64) -> f64 {
        cpu_s * 1e6 / self.idle.connects.max(1) as f64
    }

    pub(super) fn connects_per_second(&self) -> f64 {
        self.idle.connects as f64 / self.idle.seconds
    }

    /// Why this sample can not stand, when it can not.
    pub(super) fn disturbed(&self) -> Option<String> {
        (self.others > OTHERS_MOST).then(|| {
            let percent = self.others * 100.0;
            format!(
                "{}: others took {percent:.1} % of a core",
                self.variant.name()
            )
        })
    }

    /// For whoever waits.
    pub(super) fn words(&self) -> String {
        let cost = self
            .us_per_connect()
            .map_or_else(String::new, |us| format!(", {us:.1} us CPU a connect"));
        format!(
            "{}: {:.0} connects a second{cost}, p50 {:.0} us, p99 {:.0} us",
            self.variant.name(),
            self.connects_per_second(),
            self.loaded.p50_us,
            self.loaded.p99_us
        )
    }
}
