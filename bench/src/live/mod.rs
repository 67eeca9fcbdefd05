//! `live`: servers with very many sites, started and changed under load, by the method of
//! `compare`: all variants in every round, medians and paired ratios, raw samples kept.

mod bed;
mod case;
mod change;
mod configuration;
mod figure;
mod newcomers;
mod pile;
mod probe;
mod renewal;
mod report;
mod rounds;
mod sample;
mod server;
mod start;
mod summary;
mod traffic;
mod variant;
mod watch;
mod way;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use bed::{Bed, Steps};
use case::{Case, Choice, Trial};
use configuration::{Certified, Sites};
use rounds::CaseRun;
use variant::{House, Variant};

use crate::backend;
use crate::cores::{self, CoreOptions};
use crate::failure::Failure;
use crate::file_limit;
use crate::machine;
use crate::plot;
use crate::program;
use crate::results::Results;
use crate::rounds::Schedule;

/// `--quick`: enough to see that everything works, too little for a result.
const QUICK_ROUNDS: u32 = 1;
const QUICK_SITES: u32 = 300;
const QUICK_CHANGES: u32 = 3;
/// Of the load and of the servers, which inherit it.
const FILES: u64 = 16_384;
/// Servers listen here. Connections to it come from 127.0.0.1, so no port of a client, of which
/// there are many while a slow start is waited for, can be the one that a server is to bind.
const LISTEN_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What `live` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Undisturbed rounds for each case.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Case, or family of cases such as `start`; may be repeated. Default: all.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Variants to compare, separated by commas; `ours`, `haproxy` and `nginx` stand for all of
    /// theirs. Default: those of each case.
    #[arg(long, value_parser = case::choice, value_delimiter = ',')]
    variants: Vec<Choice>,
    /// Sites, in place of as many as each case has.
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    sites: Option<u32>,
    /// Workers of each server, in place of as many as each case has.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Option<u32>,
    /// Where report.md, plot.svg and samples.jsonl go.
    #[arg(long, default_value = "bench/out/live")]
    out: PathBuf,
    /// One round of 300 sites and short steps, kept when disturbed: a trial of the bench, no result.
    #[arg(long)]
    quick: bool,
    /// Where meridianctl and meridian-dataplane are; default: beside this program.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    cores: CoreOptions,
}

/// Runs the cases and writes their report.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let cases = planned(options)?;
    let schedule = Schedule {
        rounds: if options.quick {
            QUICK_ROUNDS
        } else {
            options.rounds
        },
        trial: options.quick,
    };
    let mut houses: Vec<House> = Vec::new();
    for (_, variants) in &cases {
        for house in variants.iter().map(|variant| variant.house()) {
            if !houses.contains(&house) {
                houses.push(house);
            }
        }
    }
    let bin_dir = program::bin_dir(options.bin_dir.as_deref())?;
    let ours = houses.contains(&House::Meridian);
    let others = [(House::Haproxy, "haproxy"), (House::Nginx, "nginx")];
    let needed = others.iter().filter(|(house, _)| houses.contains(house));
    let needed: Vec<&str> = needed.map(|(_, name)| *name).collect();
    program::check_present(&needed, ours.then_some(&bin_dir))?;

    let cores = options.cores.choose()?;
    file_limit::raise_to(FILES)?;
    let scratch = tempfile::Builder::new()
        .prefix("meridian-bench-")
        .tempdir()
        .map_err(Failure::at("scratch directory"))?;
    cores::pin(cores.load)?;
    let (old, old_address) = backend::start(cores, scratch.path(), Some("old"))?;
    let (new, new_address) = backend::start(cores, scratch.path(), Some("new"))?;

    let said = needed
        .iter()
        .filter_map(|name| machine::first_line(name, "-v"));
    let mut versions: Vec<String> = said.collect();
    versions.extend(ours.then(|| machine::meridian_version(&bin_dir)));
    let machine = machine::describe(cores, versions);
    let mut results = Results::begin(&options.out, &machine)?;
    let mut runs = Vec::new();
    for (number, (case, variants)) in cases.iter().enumerate() {
        let directory = scratch.path().join(number.to_string());
        let certified = match case.trial {
            Trial::Certificates | Trial::Renewal => {
                Some(Certified::make(directory.join("tls"), case.sites)?)
            }
            Trial::Start { .. } | Trial::Change | Trial::Pile => None,
        };
        let sites = Sites {
            count: case.sites,
            workers: case.workers,
            listen: program::free_address_at(LISTEN_IP)?,
            old: old_address,
            new: new_address,
            directory,
            certified,
        };
        let bed = Bed {
            cores,
            bin_dir: bin_dir.clone(),
            sites,
            steps: if options.quick {
                Steps::QUICK
            } else {
                Steps::MEASURED
            },
            own: vec![old.pid(), new.pid()],
        };
        let log = &mut results.samples;
        runs.push(rounds::run(case, variants, &bed, schedule, log)?);
    }
    let text = report::markdown(&machine, &runs, schedule);
    let picture = plot::svg(&report::panels(&runs));
    results.write("report.md", &text)?;
    results.write("plot.svg", &picture)?;
    let lacks_result = |run: &&CaseRun| !run.rounds.is_result && !schedule.trial;
    let without: Vec<&str> = (runs.iter().filter(lacks_result))
        .map(|run| run.case.name)
        .collect();
    results.tell(&text, &without)
}

/// The cases that were asked for, each with its variants.
fn planned(options: &Options) -> Result<Vec<(Case, Vec<Variant>)>, Failure> {
    let mut planned = Vec::new();
    for mut case in case::named(&options.cases).map_err(Failure::new)? {
        if options.quick {
            case.sites = QUICK_SITES;
            case.changes = case.changes.min(QUICK_CHANGES);
        }
        case.sites = options.sites.unwrap_or(case.sites);
        case.workers = options.workers.unwrap_or(case.workers);
        let variants = case::chosen(&case, &options.variants);
        if !variants.is_empty() {
            planned.push((case, variants));
        }
    }
    if planned.is_empty() {
        return Err(Failure::new(
            "--variants: none of those is a variant of the cases asked for",
        ));
    }
    Ok(planned)
}
