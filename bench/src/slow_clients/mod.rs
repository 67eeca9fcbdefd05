//! `slow-clients`: what ordinary clients wait for while others are as slow as they can be.
//!
//! slowhttptest keeps its connections open in one of four ways: heads that never end, bodies that
//! trickle, answers that are not read, and ranges by the hundred. Beside it an open loop sends half
//! of what the proxy can do, in three runs in turning order: alone, with the slow clients at a
//! bystander, and with them at the proxy. They have to share the core of the load, so they hold
//! up its own clock whomever they visit. The bystander, one more of the bench's backends on that core,
//! shows how much; the budget is the ratio of the p99 with them at the proxy to that.

use std::path::PathBuf;

use crate::cores::{self, Cores};
use crate::failure::Failure;
use crate::median::median;
use crate::{file_limit, program};

mod bed;
mod mode;
mod reins;
mod sample;

use bed::{Bed, CONNECTIONS};
use mode::Mode;
use sample::{Place, Sample};

/// With slow clients at the proxy the p99 of others may be this many times what it is with them
/// elsewhere.
const RATIO_MOST: f64 = 1.2;

/// What `slow-clients` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How the clients are slow; may be repeated. Left out: in every way, one after the other.
    #[arg(long = "mode", value_enum)]
    modes: Vec<Mode>,
    /// Runs of each kind: alone, slow clients at a bystander, slow clients at the proxy.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// Length of a run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Slow connections.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    slow: u32,
    /// Requests a second of the others. Left out: half of what the proxy can do.
    #[arg(long)]
    rate: Option<f64>,
    /// Where meridianctl and meridian-dataplane are. Left out: beside this program.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// A line of JSON for each run is added here. What is there already counts, so that a long
    /// measurement may be made in parts; it must be of the same rate, length and `--slow`.
    #[arg(long)]
    samples: Option<PathBuf>,
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let bin_dir = program::bin_dir(options.bin_dir.as_deref())?;
    program::check_present(&["slowhttptest"], Some(&bin_dir))?;
    file_limit::raise_to(u64::from(options.slow) + 256)?;
    let cores = Cores::choose(None, None)?;
    cores::pin(cores.load)?;
    let scratch = tempfile::tempdir().map_err(Failure::at("temporary directory"))?;
    let bed = Bed::start(bin_dir, cores, scratch.path())?;
    let mut samples = match &options.samples {
        Some(path) => sample::earlier(path)?,
        None => Vec::new(),
    };
    let rate = match (options.rate, samples.first()) {
        (Some(rate), _) => rate,
        (None, Some(earlier)) => earlier.rate,
        (None, None) => bed.half_of_its_capacity(options.seconds.min(5))?,
    };
    if let Some(other) = samples
        .iter()
        .find(|it| (it.rate, it.seconds, it.slow) != (rate, options.seconds, options.slow))
    {
        return Err(Failure::new(format!(
            "--samples has runs of {} s at {} requests a second with {} slow connections, and these would be of {} s \
             at {rate} with {}; name another file",
            other.seconds, other.rate, other.slow, options.seconds, options.slow
        )));
    }
    let modes = match options.modes.is_empty() {
        true => Mode::ALL.to_vec(),
        false => options.modes.clone(),
    };
    println!(
        "{rate:.0} requests a second over {CONNECTIONS} connections, {} slow connections, {} s a run",
        options.slow, options.seconds
    );
    println!(
        "p99 of the others in us: medians; the ratio is of the runs in which slow clients were there"
    );
    println!(
        "{:<8} {:>5} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "slow", "pairs", "alone", "bystander", "proxy", "ratio", "worst"
    );
    let mut over = Vec::new();
    for mode in modes {
        let done = samples.iter().filter(|it| it.mode == mode);
        let done = (done.count() / Place::ALL.len()) as u32;
        for pair in done..done + options.pairs {
            let round = bed.round(&options, mode, pair, rate)?;
            if let Some(path) = &options.samples {
                sample::append(path, &round)?;
            }
            samples.extend(round);
        }
        let ratio = tell(mode, &samples);
        if ratio > RATIO_MOST {
            over.push(format!("{} {ratio:.2}", mode.name()));
        }
    }
    match over.is_empty() {
        true => println!("within the budget of {RATIO_MOST}"),
        false => println!("over the budget of {RATIO_MOST}: {}", over.join(", ")),
    }
    Ok(())
}

/// Prints the line of a mode and gives the median of its pairs' ratios.
fn tell(mode: Mode, samples: &[Sample]) -> f64 {
    let of = |place: Place| {
        let runs = samples
            .iter()
            .filter(move |it| it.mode == mode && it.slow_clients == place);
        runs.map(|sample| sample.p99_us).collect::<Vec<f64>>()
    };
    let [alone, elsewhere, here] = Place::ALL.map(of);
    let ratios: Vec<f64> = here
        .iter()
        .zip(&elsewhere)
        .map(|(here, elsewhere)| here / elsewhere)
        .collect();
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let ratio = median(&ratios).unwrap_or(0.0);
    let failed: u64 = samples
        .iter()
        .filter(|it| it.mode == mode)
        .map(|it| it.not_2xx + it.broken + it.unanswered)
        .sum();
    let note = match failed {
        0 => String::new(),
        failed => format!("   {failed} requests of the others failed"),
    };
    println!(
        "{:<8} {:>5} {:>10.0} {:>10.0} {:>10.0} {ratio:>8.2} {worst:>8.2}{note}",
        mode.name(),
        here.len(),
        median(&alone).unwrap_or(0.0),
        median(&elsewhere).unwrap_or(0.0),
        median(&here).unwrap_or(0.0)
    );
    ratio
}
