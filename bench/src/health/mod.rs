//! `health`: what checks of very many backends cost, and what requests notice of them.
//!
//! Each round has the same plane three times, in turning order: without checks, with checks of all
//! backends, and without checks beside `connect-loop`, which connects as often as the checks do.
//! In each it first stands idle, which is when the CPU time is taken, then an open loop sends
//! requests, whose p99 is compared with that of the plane without checks.
//!
//! The plane has one worker, and all of its threads, the checker's among them, and `connect-loop`
//! are on one core: a machine whose cores are all busy has none to spare for checks. The backends
//! are one listener on every address of loopback. It is on the core of the load, so what it costs
//! the load's own clock is charged to the checks.

mod configuration;
mod report;
mod rig;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use crate::cores::{self, CoreOptions};
use crate::failure::Failure;
use crate::machine;
use crate::program;
use crate::quantity;
use crate::results::Results;
use crate::rounds::{self, Schedule};
use rig::{Rig, Steps};
use sample::Variant;

/// What `health` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Undisturbed rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Backends that are checked, each at an address of its own.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    backends: u32,
    /// From one check of a backend to the next.
    #[arg(long, value_parser = quantity::duration, default_value = "2s")]
    interval: Duration,
    /// How long each step is measured.
    #[arg(long, value_parser = quantity::duration, default_value = "1s")]
    step: Duration,
    /// Requests a second.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Where report.md and samples.jsonl go.
    #[arg(long, default_value = "bench/out/health")]
    out: PathBuf,
    /// Where meridianctl and meridian-dataplane are; default: beside this program.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    cores: CoreOptions,
    /// Keep rounds that others disturbed: a trial of the bench, no result.
    #[arg(long)]
    quick: bool,
}

/// Runs the rounds and writes their report.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let bin_dir = program::bin_dir(options.bin_dir.as_deref())?;
    program::check_present(&[], Some(&bin_dir))?;
    let cores = options.cores.choose()?;
    cores::pin(cores.load)?;
    let scratch = tempfile::Builder::new()
        .prefix("meridian-bench-")
        .tempdir()
        .map_err(Failure::at("scratch directory"))?;
    let machine = machine::describe(cores, vec![machine::meridian_version(&bin_dir)]);
    let mut results = Results::begin(&options.out, &machine)?;

    let mut rig = Rig::start(
        options.backends,
        options.interval,
        bin_dir,
        cores,
        scratch.path(),
    )?;
    let steps = Steps::new(options.step);
    let rate = f64::from(options.rate);
    let schedule = Schedule {
        rounds: options.rounds,
        trial: options.quick,
    };
    let take = |number: usize, round| {
        let sample = rig.take(Variant::ALL[number], round, steps, rate)?;
        eprintln!("round {}, {}", round + 1, sample.words());
        Ok(sample)
    };
    let variants = Variant::ALL.len();
    let log = &mut results.samples;
    let mut taken = rounds::run("health", variants, schedule, log, take)?;
    let without: &[&str] = match taken.is_result || options.quick {
        true => &[],
        false => &["health"],
    };
    if !without.is_empty() {
        taken.samples.iter_mut().for_each(|it| it.kept = false);
    }
    let text = report::markdown(&machine, &rig, options, &taken.samples);
    results.write("report.md", &text)?;
    results.tell(&text, without)
}
