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

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::cores::{self, Cores};
use crate::disturbance::too_many_disturbed;
use crate::failure::Failure;
use crate::machine;
use crate::program;
use crate::quantity;
use rig::{Rig, Steps};
use sample::{Sample, Variant};

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
    /// Core of the plane; default: the first that may be used.
    #[arg(long, value_parser = cores::number)]
    server_core: Option<usize>,
    /// Core of load and backends; default: the next.
    #[arg(long, value_parser = cores::number)]
    load_core: Option<usize>,
    /// Keep rounds that others disturbed: a trial of the bench, no result.
    #[arg(long)]
    quick: bool,
}

/// Runs the rounds and writes their report.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let bin_dir = program::bin_dir(options.bin_dir.as_deref())?;
    program::check_present(&[], Some(&bin_dir))?;
    let cores = Cores::choose(options.server_core, options.load_core)?;
    cores::pin(cores.load)?;
    fs::create_dir_all(&options.out)
        .map_err(Failure::at(format!("--out {}", options.out.display())))?;
    let scratch = tempfile::Builder::new()
        .prefix("meridian-bench-")
        .tempdir()
        .map_err(Failure::at("scratch directory"))?;
    let machine = machine::describe(cores, vec![machine::meridian_version(&bin_dir)]);
    let path = options.out.join("samples.jsonl");
    let mut log = File::create(&path).map_err(Failure::at(path.display()))?;
    let header = serde_json::to_string(&machine).map_err(Failure::at("machine"))?;
    writeln!(log, "{header}").map_err(Failure::at(path.display()))?;

    let mut rig = Rig::start(
        options.backends,
        options.interval,
        bin_dir,
        cores,
        scratch.path(),
    )?;
    let steps = Steps::new(options.step);
    let rate = f64::from(options.rate);
    let samples = rounds(&mut rig, options, steps, rate, &mut log)?;
    let text = report::markdown(&machine, &rig, options, &samples);
    let path = options.out.join("report.md");
    fs::write(&path, &text).map_err(Failure::at(path.display()))?;
    println!("{text}");
    println!(
        "written: {}/report.md, samples.jsonl",
        options.out.display()
    );
    if options.quick || samples.iter().any(|sample| sample.kept) {
        return Ok(());
    }
    Err(Failure::new(
        "no result: other processes used a core in too many rounds; stop them and try again",
    ))
}

/// All samples; none of them is kept when too many rounds were disturbed.
fn rounds(
    rig: &mut Rig,
    options: &Options,
    steps: Steps,
    rate: f64,
    log: &mut File,
) -> Result<Vec<Sample>, Failure> {
    let mut samples: Vec<Sample> = Vec::new();
    let (mut kept_rounds, mut disturbed) = (0, 0);
    for round in 0.. {
        if kept_rounds == options.rounds {
            break;
        }
        let mut of_round = Vec::new();
        for turn in 0..Variant::ALL.len() {
            // The order turns, so that a machine whose speed drifts favours none.
            let variant = Variant::ALL[(turn + round as usize) % Variant::ALL.len()];
            let sample = rig.take(variant, round, steps, rate)?;
            eprintln!("round {}, {}", round + 1, sample.words());
            of_round.push(sample);
        }
        let reason = of_round.iter().find_map(|sample| sample.reason.clone());
        let kept = reason.is_none() || options.quick;
        kept_rounds += u32::from(kept);
        disturbed += u32::from(reason.is_some());
        for mut sample in of_round {
            sample.kept = kept;
            sample.reason.clone_from(&reason);
            let line = serde_json::to_string(&sample).map_err(Failure::at("sample"))?;
            writeln!(log, "{line}").map_err(Failure::at("samples.jsonl"))?;
            samples.push(sample);
        }
        if !options.quick && too_many_disturbed(disturbed, options.rounds) {
            samples.iter_mut().for_each(|sample| sample.kept = false);
            break;
        }
    }
    Ok(samples)
}
