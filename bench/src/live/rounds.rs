//! The rounds of one case: every variant once in each, in turning order; a round that others
//! disturbed is repeated.

use std::io::Write;

use super::bed::Bed;
use super::case::{Case, Trial};
use super::sample::{Found, Sample};
use super::variant::Variant;
use super::{change, pile, start};
use crate::disturbance::too_many_disturbed;
use crate::failure::Failure;
use crate::markdown::figure;

/// How many rounds a case has.
pub(super) struct Schedule {
    pub(super) rounds: u32,
    /// A trial keeps disturbed rounds and is no result.
    pub(super) trial: bool,
}

/// What became of one case.
pub(super) struct CaseRun {
    pub(super) case: Case,
    pub(super) variants: Vec<Variant>,
    /// All samples in the order in which they were taken, those not kept included.
    pub(super) samples: Vec<Sample>,
    pub(super) disturbed_rounds: u32,
    /// Whether the planned number of undisturbed rounds was reached.
    pub(super) is_result: bool,
}

/// Runs one case to its end. Each sample is written to `log` as soon as its round is judged.
pub(super) fn run(
    case: &Case,
    variants: &[Variant],
    bed: &Bed,
    schedule: &Schedule,
    log: &mut impl Write,
) -> Result<CaseRun, Failure> {
    let mut run = CaseRun {
        case: *case,
        variants: variants.to_vec(),
        samples: Vec::new(),
        disturbed_rounds: 0,
        is_result: false,
    };
    let mut attempt = 0;
    let mut kept_rounds = 0;
    while kept_rounds < schedule.rounds {
        let mut round = Vec::new();
        for turn in 0..variants.len() {
            let variant = variants[(turn + attempt as usize) % variants.len()];
            let sample = one(case, variant, bed, attempt)?;
            tell(case, &sample);
            round.push(sample);
        }
        let reason = round.iter().find_map(Sample::disturbance);
        let kept = reason.is_none() || schedule.trial;
        run.disturbed_rounds += u32::from(reason.is_some());
        kept_rounds += u32::from(kept);
        if let Some(reason) = &reason {
            let what = if kept { "disturbed" } else { "repeated" };
            eprintln!("{} round {}: {what}: {reason}", case.name, attempt + 1);
        }
        for sample in &mut round {
            sample.kept = kept;
            sample.reason.clone_from(&reason);
            let line = serde_json::to_string(sample).map_err(Failure::at("sample"))?;
            writeln!(log, "{line}").map_err(Failure::at("samples.jsonl"))?;
        }
        run.samples.append(&mut round);
        attempt += 1;
        if !schedule.trial && too_many_disturbed(run.disturbed_rounds, schedule.rounds) {
            return Ok(run);
        }
    }
    run.is_result = !schedule.trial;
    Ok(run)
}

fn one(case: &Case, variant: Variant, bed: &Bed, attempt: u32) -> Result<Sample, Failure> {
    let found = match case.trial {
        Trial::Start { on_all_cores } => start::take(variant, bed, on_all_cores),
        Trial::Change => change::take(variant, bed),
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
