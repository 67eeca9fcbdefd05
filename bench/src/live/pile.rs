//! Changes one after the other while responses are under way that last longer than that.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::bed::Bed;
use super::change::{Reading, beyond_load_s};
use super::figure::Figure;
use super::probe;
use super::sample::{Found, mib, ms};
use super::server::{SERVING_LIMIT, Server, write_files};
use super::start::remove;
use super::traffic::{Long, Traffic};
use super::variant::Variant;
use super::watch::{Subject, Watch};
use super::way::{self, Operator};
use crate::failure::Failure;
use crate::process_tree;

/// Long responses begun between two changes.
const LONG_BETWEEN_CHANGES: f64 = 2.0;

pub(super) fn take(variant: Variant, bed: &Bed, changes: u32) -> Result<Found, Failure> {
    write_files(variant, &bed.sites)?;
    let state = bed.state("pile");
    let found = measure(variant, bed, changes, &state);
    remove(&state)?;
    found
}

fn measure(variant: Variant, bed: &Bed, changes: u32, state: &Path) -> Result<Found, Failure> {
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
    let traffic = Traffic::begin(
        sites,
        Long {
            ms: steps.pile_long_ms,
            per_second: LONG_BETWEEN_CHANGES / steps.between.as_secs_f64(),
        },
    )?;
    sleep(steps.warm_up);
    let before = Reading::now(root)?;
    sleep(steps.quiet);
    let quiet = Reading::now(root)?;
    let memory_before = process_tree::memory_of_living(&process_tree::members(root)?);
    let begun = Instant::now();
    let mut commands_s = 0.0;
    for number in 0..changes {
        let due = begun + steps.between * number;
        sleep(due.saturating_duration_since(Instant::now()));
        let to = if number % 2 == 0 {
            sites.new
        } else {
            sites.old
        };
        way::edit(&server, to)?;
        commands_s += way::change(&server, &operator, to)?.cpu_s;
    }
    let late = begun.elapsed().saturating_sub(steps.between * changes);
    let program = &mut server.program;
    probe::wait_for(program, sites, sites.changing(), "new", SERVING_LIMIT)?;
    traffic.end_long();
    sleep(Duration::from_millis(steps.pile_long_ms) + steps.after);
    let after = Reading::now(root)?;
    let processes_after = process_tree::members(root)?.len();
    let seen = traffic.end()?;
    let watched = watch.end()?;
    let (failed_short, failed_long) = seen.failed();
    let cpu_s = beyond_load_s(&before, &quiet, &after) + commands_s;
    let failed = failed_short + failed_long;
    Ok(Found {
        figures: BTreeMap::from([
            (Figure::MemoryPeakMib, mib(watched.memory_peak_bytes(begun))),
            (Figure::MemoryBeforeMib, mib(memory_before.pss_bytes)),
            (Figure::ProcessesPeak, watched.processes_peak(begun) as f64),
            (Figure::Failed, failed as f64),
            (Figure::SlowestMs, ms(seen.slowest(begun, after.at))),
            (Figure::ChangeCpuMs, cpu_s * 1e3),
        ]),
        fault: (failed > 0)
            .then(|| format!("{failed_short} short and {failed_long} long requests failed")),
        others: watched.others,
        detail: serde_json::json!({
            "requests": seen.requests(),
            "failed_short": failed_short,
            "failed_long": failed_long,
            "refused": seen.refused(),
            "failures": seen.failures(begun),
            "processes_after": processes_after,
            "commands_late_ms": ms(late),
        }),
    })
}
