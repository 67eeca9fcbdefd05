//! One site of many gets another backend under load.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Instant;

use super::bed::Bed;
use super::figure::Figure;
use super::probe;
use super::sample::{Found, mib, ms, ms_between};
use super::server::{SERVING_LIMIT, Server, write_files};
use super::start::remove;
use super::traffic::{Long, Seen, Traffic};
use super::variant::Variant;
use super::watch::{Subject, Watch, Watched};
use super::way::{self, Made, Operator};
use crate::failure::Failure;
use crate::process_tree;

/// Long responses to the site that changes, begun each second: several are always in flight, so
/// that their connections come back to a pool after the change.
const LONG_PER_SECOND: f64 = 20.0;

/// The server's clock of work at one moment.
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) cpu_s: f64,
}

impl Reading {
    pub(super) fn now(root: u32) -> Result<Self, Failure> {
        Ok(Self {
            at: Instant::now(),
            cpu_s: process_tree::tree_cpu_s(root)?,
        })
    }
}

/// CPU time between `quiet` and `after` beyond what the load alone would have taken, which is
/// known from the time between `before` and `quiet`. It may come out a little below zero.
pub(super) fn beyond_load_s(before: &Reading, quiet: &Reading, after: &Reading) -> f64 {
    let load_alone_s = quiet.cpu_s - before.cpu_s;
    let longer = after.at.duration_since(quiet.at).as_secs_f64()
        / quiet.at.duration_since(before.at).as_secs_f64();
    after.cpu_s - quiet.cpu_s - load_alone_s * longer
}

pub(super) fn take(variant: Variant, bed: &Bed) -> Result<Found, Failure> {
    write_files(variant, &bed.sites)?;
    let state = bed.state("change");
    let found = measure(variant, bed, &state);
    remove(&state)?;
    found
}

fn measure(variant: Variant, bed: &Bed, state: &std::path::Path) -> Result<Found, Failure> {
    let (sites, steps) = (&bed.sites, &bed.steps);
    let cores = [bed.cores.server];
    let mut server = Server::start(variant, bed.place(&cores, state.to_owned()))?;
    server.wait_until_serving()?;
    let root = server.program.pid();
    let watch = Watch::begin(Subject {
        root,
        own: bed.own.clone(),
        cores: cores.to_vec(),
        memory: true,
    });
    let operator = Operator {
        cores: bed.cores,
        running: &watch.command,
    };
    way::prepare(&server, &operator)?;
    way::edit(&server, sites.new)?;
    let traffic = Traffic::begin(
        sites,
        Long {
            ms: steps.long_ms,
            per_second: LONG_PER_SECOND,
        },
    )?;
    sleep(steps.warm_up);
    let before = Reading::now(root)?;
    sleep(steps.quiet);
    let quiet = Reading::now(root)?;
    let memory_before = process_tree::memory_of_living(&process_tree::members(root)?);
    let made = way::change(&server, &operator, sites.new)?;
    let program = &mut server.program;
    probe::wait_for(program, sites, sites.changing(), "new", SERVING_LIMIT)?;
    sleep(steps.after);
    let after = Reading::now(root)?;
    let seen = traffic.end()?;
    let watched = watch.end()?;
    let mut found = judge(variant, &made, &seen, &watched, after.at);
    let cpu_s = beyond_load_s(&before, &quiet, &after) + made.cpu_s;
    found.figures.extend([
        (Figure::ChangeCpuMs, cpu_s * 1e3),
        (Figure::MemoryBeforeMib, mib(memory_before.pss_bytes)),
    ]);
    Ok(found)
}

fn judge(variant: Variant, made: &Made, seen: &Seen, watched: &Watched, end: Instant) -> Found {
    let (failed_short, failed_long) = seen.failed();
    let mut figures = BTreeMap::from([
        (Figure::CommandMs, ms_between(made.given, made.returned)),
        (Figure::Failed, (failed_short + failed_long) as f64),
        (Figure::SlowestMs, ms(seen.slowest(made.given, end))),
        (
            Figure::MemoryPeakMib,
            mib(watched.memory_peak_bytes(made.given)),
        ),
    ]);
    // Who does not say when a change is live is taken at the word of his first new answer.
    let live = if variant.says_when_live() {
        Some(made.returned)
    } else {
        seen.first_new()
    };
    let stale = live.map_or(0, |live| seen.stale(live));
    figures.insert(Figure::Stale, stale as f64);
    let settled = seen.settled();
    if let Some(settled) = settled {
        let accepted = made.accepted.unwrap_or(made.given);
        figures.insert(Figure::SeenMs, ms_between(made.given, settled));
        figures.insert(Figure::LiveMs, ms_between(accepted, settled));
    }
    let fault = match settled {
        None => Some("the old backend was answering to the end".to_owned()),
        Some(_) if failed_short + failed_long > 0 => Some(format!(
            "{failed_short} short and {failed_long} long requests failed"
        )),
        Some(_) => None,
    };
    let detail = serde_json::json!({
        "requests": seen.requests(),
        "failed_short": failed_short,
        "failed_long": failed_long,
        "refused": seen.refused(),
        "failures": seen.failures(made.given),
        "first_new_ms": seen.first_new().map(|at| ms_between(made.given, at)),
        "command_cpu_ms": made.cpu_s * 1e3,
        "processes_peak": watched.processes_peak(made.given),
        "answer": made.answer,
    });
    Found {
        figures,
        fault,
        others: watched.others,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_load_is_taken_off_for_the_time_that_it_lasted() {
        let begin = Instant::now();
        let reading = |at_s, cpu_s| Reading {
            at: begin + Duration::from_secs(at_s),
            cpu_s,
        };
        let beyond = beyond_load_s(&reading(0, 1.0), &reading(2, 1.2), &reading(8, 2.3));
        assert!((beyond - 0.5).abs() < 1e-9, "{beyond}");
    }
}
