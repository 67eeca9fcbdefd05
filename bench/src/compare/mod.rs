//! `compare`: Meridian's proxy beside HAProxy and nginx, by one method for all.
//!
//! The server under test has a core of its own; load, backend and the bench share another.
//! All servers of a case run in every round, so that only ratios within a round count.

mod case;
pub(crate) mod configuration;
mod plot;
mod report;
mod rounds;
mod sample;
mod scraping;
mod summary;
pub(crate) mod variant;

use std::path::PathBuf;

use case::{Case, Measure};
use configuration::{HOSTNAME, Site};
use rounds::CaseRun;
use variant::{Bed, Variant};

use crate::backend;
use crate::cores::{self, CoreOptions};
use crate::failure::Failure;
use crate::file_limit;
use crate::identity::Authority;
use crate::machine;
use crate::plot as picture;
use crate::program;
use crate::results::Results;
use crate::rounds::Schedule;

/// `--quick`: enough to see that everything works, too little for a result.
const QUICK_ROUNDS: u32 = 2;
const QUICK_SECONDS: u64 = 1;
const QUICK_IDLE_CONNECTIONS: u32 = 1000;
/// Descriptors beyond one for each connection of a client: those to the backend above all,
/// which are many only where connections are few.
const FILES_SPARE: u64 = 4096;

/// What `compare` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Undisturbed rounds for each case.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load for each server in each round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Case, or family of cases such as `runtime`; may be repeated. Default: all but `runtime`.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Servers to compare, separated by commas; default: those of each case.
    #[arg(long, value_enum, value_delimiter = ',')]
    variants: Vec<Variant>,
    /// Where report.md, plot.svg and samples.jsonl go.
    #[arg(long, default_value = "bench/out")]
    out: PathBuf,
    /// Two rounds of a second, disturbed ones kept: a trial of the bench, no result.
    #[arg(long)]
    quick: bool,
    /// Where meridianctl and meridian-dataplane are; default: beside this program.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// Another program in Meridian's place, with {listen} and {backend} for the two addresses.
    #[arg(long)]
    ours_cmd: Option<String>,
    #[command(flatten)]
    cores: CoreOptions,
}

/// Runs the comparison and writes its report.
pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let (cases, schedule, seconds) = plan(&options)?;
    let variants_of = |case: &Case| -> Vec<Variant> {
        let chosen = if options.variants.is_empty() {
            case.variants
        } else {
            &options.variants
        };
        // Where there is no proxy, only latency can be asked for.
        let has_figure = |variant: &Variant| {
            (*variant != Variant::Direct || case.measure.is_latency())
                && (case.tls.is_none() || variant.speaks_tls())
        };
        chosen.iter().copied().filter(has_figure).collect()
    };
    if let Some(case) = cases.iter().find(|case| variants_of(case).is_empty()) {
        return Err(Failure::new(format!(
            "--case {}: none of these servers has what is measured",
            case.name
        )));
    }
    let mut all: Vec<Variant> = Vec::new();
    for variant in cases.iter().flat_map(variants_of) {
        if !all.contains(&variant) {
            all.push(variant);
        }
    }
    let bin_dir = program::bin_dir(options.bin_dir.as_deref())?;
    let wrk = cases
        .iter()
        .any(|case| case.measure == Measure::CpuPerRequest && case.tls.is_none());
    variant::check_present(&all, wrk, &bin_dir, options.ours_cmd.as_deref())?;

    let cores = options.cores.choose()?;
    let connections_most = cases.iter().map(|case| case.connections).max().unwrap_or(0);
    file_limit::raise_to(u64::from(connections_most) + FILES_SPARE)?;
    let scratch = tempfile::Builder::new()
        .prefix("meridian-bench-")
        .tempdir()
        .map_err(Failure::at("scratch directory"))?;
    cores::pin(cores.load)?;
    let (backend, address) = backend::start(cores, scratch.path(), None)?;
    let bed = Bed {
        cores,
        scratch: scratch.path().to_owned(),
        bin_dir,
        ours_command: options.ours_cmd,
        sites: vec![Site {
            tenant: "bench",
            hostname: HOSTNAME,
            backend: address,
        }],
        identity: match cases.iter().any(|case| case.tls.is_some()) {
            true => Some(Authority::new(scratch.path())?.identity(HOSTNAME)?),
            false => None,
        },
    };

    let machine = machine::describe(cores, variant::versions(&bed, &all, wrk));
    let mut results = Results::begin(&options.out, &machine)?;
    let mut runs = Vec::new();
    for case in &cases {
        runs.push(rounds::run(
            case,
            &variants_of(case),
            &bed,
            backend.pid(),
            schedule,
            seconds,
            &mut results.samples,
        )?);
    }
    let text = report::markdown(&machine, &runs, schedule, seconds);
    results.write("report.md", &text)?;
    results.write("plot.svg", &picture::svg(&plot::panels(&runs)))?;
    let lacks_result = |run: &&CaseRun| !run.rounds.is_result && !schedule.trial;
    let without: Vec<&str> = (runs.iter().filter(lacks_result))
        .map(|run| run.case.name)
        .collect();
    results.tell(&text, &without)
}

/// The cases, their rounds, and the seconds of each sample.
fn plan(options: &Options) -> Result<(Vec<Case>, Schedule, u64), Failure> {
    let mut cases = case::named(&options.cases).map_err(Failure::new)?;
    if !options.quick {
        let schedule = Schedule {
            rounds: options.rounds,
            trial: false,
        };
        return Ok((cases, schedule, options.seconds));
    }
    for case in &mut cases {
        if case.measure == Measure::IdleMemory {
            case.connections = QUICK_IDLE_CONNECTIONS;
        }
    }
    let schedule = Schedule {
        rounds: QUICK_ROUNDS,
        trial: true,
    };
    Ok((cases, schedule, QUICK_SECONDS))
}
