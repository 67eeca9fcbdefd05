//! The rounds of one case.

use std::io::Write;

use super::case::{Case, Measure};
use super::configuration::Configured;
use super::sample::{self, Sample};
use super::scraping::Scraping;
use super::variant::{self, Bed, Server, Variant};
use crate::failure::Failure;
use crate::program;
use crate::rounds::{self, Rounds, Schedule};

/// What became of one case.
pub(super) struct CaseRun {
    pub(super) case: Case,
    pub(super) variants: Vec<Variant>,
    pub(super) rounds: Rounds<Sample>,
}

/// Runs one case to its end, with so many seconds of load for each sample, which is written to `log`
/// as soon as its round is judged.
pub(super) fn run(
    case: &Case,
    variants: &[Variant],
    bed: &Bed,
    backend_pid: u32,
    schedule: Schedule,
    seconds: u64,
    log: &mut impl Write,
) -> Result<CaseRun, Failure> {
    let started = |variant| {
        let configured = match (case.everything, case.tls.and(bed.identity.as_ref())) {
            (_, Some(identity)) => Configured::Secure(identity),
            (false, None) => Configured::Plain,
            (true, None) => Configured::Everything {
                metrics: program::free_address()?,
            },
        };
        variant::start(variant, bed, case.connections, configured)
    };
    // Memory once touched stays with a process, so that question asks a fresh one each time.
    let mut servers: Vec<Server> = Vec::new();
    if case.measure != Measure::IdleMemory {
        for &variant in variants {
            let server = started(variant)?;
            sample::warm_up(case, &server)?;
            servers.push(server);
        }
    }
    let take = |index: usize, attempt| {
        let fresh;
        let server = match servers.get(index) {
            Some(server) => server,
            None => {
                fresh = started(variants[index])?;
                &fresh
            }
        };
        let scraping = server.metrics.map(Scraping::start);
        let sample = sample::take(case, server, backend_pid, bed.cores, seconds, attempt)?;
        if let Some(scraping) = scraping {
            scraping.end()?;
        }
        tell(case, &sample);
        Ok(sample)
    };
    Ok(CaseRun {
        case: *case,
        variants: variants.to_vec(),
        rounds: rounds::run(case.name, variants.len(), schedule, log, take)?,
    })
}

fn tell(case: &Case, sample: &Sample) {
    eprintln!(
        "{} round {}, {}: {:.2} {}",
        case.name,
        sample.attempt + 1,
        sample.variant.name(),
        sample.figure,
        case.measure.unit()
    );
}
