//! `load`: sends requests at a rate (open loop) or as fast as they are answered (closed loop).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::file_limit;
use crate::generator::{self, Outcome, Pace, Plan};
use crate::histogram::Histogram;
use crate::quantity::{self, Target};
use crate::secure::{SecureClient, TlsOptions};

/// How long an open loop waits for the last responses.
const DRAIN: Duration = Duration::from_secs(2);

/// What `load` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to send, such as http://127.0.0.1:8080/.
    #[arg(long, value_parser = quantity::target)]
    url: Target,
    /// Requests a second, sent when they are due whatever the answers do. Left out: closed loop.
    #[arg(long)]
    rate: Option<f64>,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Length of the part that is counted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Load sent before counting begins, such as 500ms.
    #[arg(long, value_parser = quantity::duration, default_value = "0ms")]
    warm_up: Duration,
    /// Host field, and by https the name of the server; left out, the authority of the URL.
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    tls: TlsOptions,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The figures of one run.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Report {
    pub(crate) mode: String,
    pub(crate) connections: u32,
    /// Requests a second that were asked for; 0 in a closed loop.
    pub(crate) rate: f64,
    pub(crate) seconds: u64,
    pub(crate) requests_due: u64,
    pub(crate) responses: u64,
    pub(crate) responses_per_second: f64,
    pub(crate) not_2xx: u64,
    pub(crate) broken: u64,
    pub(crate) unanswered: u64,
    pub(crate) refused: u64,
    pub(crate) body_bytes: u64,
    pub(crate) latency_us: Percentiles,
    /// How late the generator wrote requests: its own slowness and waits for a free connection.
    pub(crate) send_lag_us: Percentiles,
}

/// Microseconds.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Percentiles {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    fn of(histogram: &Histogram) -> Self {
        let us = |fraction| histogram.percentile_ns(fraction) as f64 / 1000.0;
        Self {
            mean: histogram.mean_ns() / 1000.0,
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p999: us(0.999),
            max: histogram.max_ns() as f64 / 1000.0,
        }
    }
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let pace = match options.rate {
        None => Pace::Closed,
        Some(rate) if (0.1..=1_000_000.0).contains(&rate) => Pace::Open {
            requests_per_second: rate,
        },
        Some(rate) => {
            return Err(Failure::new(format!(
                "--rate {rate}: must be 0.1 to 1000000 requests a second"
            )));
        }
    };
    file_limit::raise_to(u64::from(options.connections) + 32)?;
    let secure = SecureClient::of(&options.url, options.host.as_deref(), &options.tls)?;
    let plan = Plan {
        secure,
        target: options.url,
        hosts: options.host.into_iter().collect(),
        pace,
        connections: options.connections as usize,
        warm_up: options.warm_up,
        duration: Duration::from_secs(options.seconds),
        drain: DRAIN,
        keeps_exchanges: false,
        closes: false,
    };
    let report = report(&plan, &generator::generate(&plan)?);
    if options.json {
        let line = serde_json::to_string(&report).map_err(Failure::at("report"))?;
        println!("{line}");
    } else {
        print_table(&report);
    }
    Ok(())
}

fn report(plan: &Plan, outcome: &Outcome) -> Report {
    let (mode, rate) = match plan.pace {
        Pace::Open {
            requests_per_second,
        } => ("open", requests_per_second),
        Pace::Closed => ("closed", 0.0),
    };
    Report {
        mode: mode.to_owned(),
        connections: plan.connections as u32,
        rate,
        seconds: plan.duration.as_secs(),
        requests_due: outcome.requests_due,
        responses: outcome.responses,
        responses_per_second: outcome.responses as f64 / plan.duration.as_secs_f64(),
        not_2xx: outcome.not_2xx,
        broken: outcome.broken,
        unanswered: outcome.unanswered,
        refused: outcome.refused,
        body_bytes: outcome.body_bytes,
        latency_us: Percentiles::of(&outcome.latency),
        send_lag_us: Percentiles::of(&outcome.send_lag),
    }
}

fn print_table(report: &Report) {
    println!(
        "{} loop, {} connections, {} s: {} due, {} answered ({:.0}/s), {} not 2xx, {} broken, {} unanswered, {} body bytes",
        report.mode,
        report.connections,
        report.seconds,
        report.requests_due,
        report.responses,
        report.responses_per_second,
        report.not_2xx,
        report.broken,
        report.unanswered,
        report.body_bytes
    );
    println!(
        "{:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "us", "mean", "p50", "p90", "p99", "p99.9", "max"
    );
    for (name, row) in [
        ("latency", &report.latency_us),
        ("send lag", &report.send_lag_us),
    ] {
        println!(
            "{name:<10} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
            row.mean, row.p50, row.p90, row.p99, row.p999, row.max
        );
    }
}
