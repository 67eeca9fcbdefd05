//! The rounds of one case: every server once in each, in turning order, so that a machine
//! whose speed drifts treats all alike; a round that others disturbed is repeated.

use std::io::Write;

use super::case::{Case, Measure};
use super::sample::{self, Sample};
use super::variant::{self, Bed, Server, Variant};
use crate::disturbance::too_many_disturbed;
use crate::failure::Failure;

/// How a case is to be run.
pub(super) struct Schedule {
    pub(super) rounds: u32,
    pub(super) seconds: u64,
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
    backend_pid: u32,
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
    // Memory once touched stays with a process, so that question asks a fresh one each time.
    let mut servers = Vec::new();
    if case.measure != Measure::IdleMemory {
        for &variant in variants {
            let server = variant::start(variant, bed, case.connections)?;
            sample::warm_up(case, &server)?;
            servers.push(server);
        }
    }
    let mut attempt = 0;
    let mut kept_rounds = 0;
    while kept_rounds < schedule.rounds {
        let mut round = one_round(
            case,
            variants,
            &servers,
            bed,
            backend_pid,
            schedule.seconds,
            attempt,
        )?;
        let reason = round
            .iter()
            .find_map(|sample| sample.disturbance(case.measure));
        let kept = reason.is_none() || schedule.trial;
        run.disturbed_rounds += u32::from(reason.is_some());
        kept_rounds += u32::from(kept);
        for sample in &mut round {
            sample.kept = kept;
            sample.reason.clone_from(&reason);
            let line = serde_json::to_string(sample).map_err(Failure::at("sample"))?;
            writeln!(log, "{line}").map_err(Failure::at("samples.jsonl"))?;
        }
        tell(case, attempt, &round);
        run.samples.append(&mut round);
        attempt += 1;
        if !schedule.trial && too_many_disturbed(run.disturbed_rounds, schedule.rounds) {
            return Ok(run);
        }
    }
    run.is_result = !schedule.trial;
    Ok(run)
}

fn one_round(
    case: &Case,
    variants: &[Variant],
    servers: &[Server],
    bed: &Bed,
    backend_pid: u32,
    seconds: u64,
    attempt: u32,
) -> Result<Vec<Sample>, Failure> {
    let mut round = Vec::new();
    for turn in 0..variants.len() {
        let index = (turn + attempt as usize) % variants.len();
        let fresh;
        let server = match servers.get(index) {
            Some(server) => server,
            None => {
                fresh = variant::start(variants[index], bed, case.connections)?;
                &fresh
            }
        };
        round.push(sample::take(
            case,
            server,
            backend_pid,
            bed.cores,
            seconds,
            attempt,
        )?);
    }
    Ok(round)
}

fn tell(case: &Case, attempt: u32, round: &[Sample]) {
    let figures: Vec<String> = round
        .iter()
        .map(|sample| format!("{} {:.2}", sample.variant.name(), sample.figure))
        .collect();
    let note = match round.first() {
        Some(Sample {
            kept: false,
            reason: Some(reason),
            ..
        }) => format!("; repeated: {reason}"),
        Some(Sample {
            reason: Some(reason),
            ..
        }) => format!("; disturbed: {reason}"),
        _ => String::new(),
    };
    eprintln!(
        "{} round {} ({}): {}{note}",
        case.name,
        attempt + 1,
        case.measure.unit(),
        figures.join(", ")
    );
}
