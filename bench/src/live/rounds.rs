//! The rounds of one case.

use std::io::Write;

use super::bed::Bed;
use super::case::{Case, Trial};
use super::sample::{Found, Sample};
use super::variant::Variant;
use super::{change, pile, renewal, start};
use crate::failure::Failure;
use crate::markdown::figure;
use crate::rounds::{self, Rounds, Schedule};

/// What became of one case.
pub(super) struct CaseRun {
    pub(super) case: Case,
    pub(super) variants: Vec<Variant>,
    pub(super) rounds: Rounds<Sample>,
}

/// Runs one case to its end. Each sample is written to `log` as soon as its round is judged.
pub(super) fn run(
    case: &Case,
    variants: &[Variant],
    bed: &Bed,
    schedule: Schedule,
    log: &mut impl Write,
) -> Result<CaseRun, Failure> {
    let take = |variant: usize, attempt| {
        let sample = one(case, variants[variant], bed, attempt)?;
        tell(case, &sample);
        Ok(sample)
    };
    Ok(CaseRun {
        case: *case,
        variants: variants.to_vec(),
        rounds: rounds::run(case.name, variants.len(), schedule, log, take)?,
    })
}

fn one(case: &Case, variant: Variant, bed: &Bed, attempt: u32) -> Result<Sample, Failure> {
    let found = match case.trial {
        Trial::Start { on_all_cores } => start::take(variant, bed, on_all_cores),
        Trial::Certificates => start::take(variant, bed, false),
        Trial::Change => change::take(variant, bed),
        Trial::Renewal => renewal::take(variant, bed),
        Trial::Pile => pile::take(variant, bed, case.changes),
    };
    let place = Failure::at(format!("{}, {}", case.name, variant.name()));
    let Found {
        figures,
        fault,
        others,
        detail,
    } = found.map_err(place)?;
    Ok(Sample {
        case: case.name,
        attempt,
        variant,
        kept: true,
        reason: None,
        fault,
        sites: bed.sites.count,
        workers: bed.sites.workers,
        figures,
        others,
        detail,
    })
}

fn tell(case: &Case, sample: &Sample) {
    let figures: Vec<String> = case
        .figures
        .iter()
        .filter_map(|which| {
            let value = sample.figures.get(which)?;
            Some(format!("{} {}", figure(*value), which.heading()))
        })
        .collect();
    eprintln!(
        "{} round {}, {}: {}",
        case.name,
        sample.attempt + 1,
        sample.variant.name(),
        figures.join(", ")
    );
}
