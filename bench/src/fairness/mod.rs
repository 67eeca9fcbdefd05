//! `fairness`: what a quiet tenant waits for while another floods the same worker, beside HAProxy
//! and nginx.
//!
//! Every server serves two tenants, each with a backend of its own. A sample asks for the quiet
//! tenant's latency three times, open loop at a low rate: through the server while nobody else is
//! there; then, while the other tenant floods through the same server, through the server and
//! straight to the backend at the same time. The flood keeps the core of the load busy too, and what
//! that does to the quiet tenant is no fault of a server: so its latency through the server is
//! compared with the larger of the two others.

mod flood;
mod report;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use crate::backend;
use crate::compare::configuration::{Configured, Site};
use crate::compare::variant::{self, Bed, Server, Variant};
use crate::cores::{self, CoreOptions};
use crate::failure::Failure;
use crate::file_limit;
use crate::machine;
use crate::program;
use crate::results::Results;
use crate::rounds::{self, Rounds, Schedule};
use flood::{Flood, QUIET_CONNECTIONS};
use sample::{Sample, Steps};

/// `--quick`: enough to see that everything works, too little for a result.
const QUICK_ROUNDS: u32 = 1;
const QUICK_SECONDS: u64 = 1;
/// Of the load and of the servers, which inherit it.
const FILES: u64 = 16_384;
const QUIET: &str = "quiet.example.com";
const FLOODING: &str = "flooding.example.com";

/// What `fairness` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Undisturbed rounds for each flood.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each of a sample's two measurements.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Floods, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Flood::ALL)]
    floods: Vec<Flood>,
    /// Servers to compare, separated by commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [Variant::Ours, Variant::Haproxy, Variant::Nginx]
    )]
    variants: Vec<Variant>,
    /// Connections of the flood; each sends again as soon as it was answered.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=4000))]
    connections: u32,
    /// Requests of the quiet tenant a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Where report.md and samples.jsonl go.
    #[arg(long, default_value = "bench/out/fairness")]
    out: PathBuf,
    /// One round of a second, kept when disturbed: a trial of the bench, no result.
    #[arg(long)]
    quick: bool,
    /// Where meridianctl and meridian-dataplane are; default: beside this program.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    cores: CoreOptions,
}

/// The samples of one flood.
struct Case {
    flood: Flood,
    rounds: Rounds<Sample>,
}

/// Floods the servers and writes the report.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let variants = &options.variants;
    let has_sites = |it: &Variant| matches!(it, Variant::Ours | Variant::Haproxy | Variant::Nginx);
    if let Some(variant) = variants.iter().find(|it| !has_sites(it)) {
        return Err(Failure::new(format!(
            "--variants {}: it knows one backend, and each of two tenants has its own; \
             give some of ours, haproxy, nginx",
            variant.name()
        )));
    }
    let bin_dir = program::bin_dir(options.bin_dir.as_deref())?;
    variant::check_present(variants, false, &bin_dir, None)?;
    let cores = options.cores.choose()?;
    file_limit::raise_to(FILES)?;
    let scratch = tempfile::Builder::new()
        .prefix("meridian-bench-")
        .tempdir()
        .map_err(Failure::at("scratch directory"))?;
    cores::pin(cores.load)?;
    let (_quiet, quiet) = backend::start(cores, scratch.path(), Some("quiet"))?;
    let (_flooding, flooding) = backend::start(cores, scratch.path(), Some("flooding"))?;
    let site = |tenant, hostname, backend| Site {
        tenant,
        hostname,
        backend,
    };
    let bed = Bed {
        cores,
        scratch: scratch.path().to_owned(),
        bin_dir,
        ours_command: None,
        sites: vec![
            site("quiet", QUIET, quiet),
            site("flooding", FLOODING, flooding),
        ],
        identity: None,
    };
    let machine = machine::describe(cores, variant::versions(&bed, variants, false));
    let mut results = Results::begin(&options.out, &machine)?;
    let (schedule, steps) = plan(options);
    let connections = options.connections + QUIET_CONNECTIONS as u32;
    let started =
        (variants.iter()).map(|&it| variant::start(it, &bed, connections, Configured::Plain));
    let servers = started.collect::<Result<Vec<Server>, Failure>>()?;
    let mut cases = Vec::new();
    for &flood in &options.floods {
        let take = |number: usize, attempt| {
            let server: &Server = &servers[number];
            let taken = sample::take(flood, server, quiet, cores, steps, attempt)?;
            eprintln!("{} round {}, {}", flood.name(), attempt + 1, taken.words());
            Ok(taken)
        };
        let log = &mut results.samples;
        let rounds = rounds::run(flood.name(), servers.len(), schedule, log, take)?;
        cases.push(Case { flood, rounds });
    }
    let text = report::markdown(&machine, &cases, variants, schedule, steps);
    results.write("report.md", &text)?;
    let lacks_result = |case: &&Case| !case.rounds.is_result && !schedule.trial;
    let without: Vec<&str> = (cases.iter().filter(lacks_result))
        .map(|case| case.flood.name())
        .collect();
    results.tell(&text, &without)
}

fn plan(options: &Options) -> (Schedule, Steps) {
    let (rounds, seconds) = match options.quick {
        true => (QUICK_ROUNDS, QUICK_SECONDS),
        false => (options.rounds, options.seconds),
    };
    let schedule = Schedule {
        rounds,
        trial: options.quick,
    };
    let steps = Steps {
        measured: Duration::from_secs(seconds),
        rate: options.rate,
        connections: options.connections,
    };
    (schedule, steps)
}
