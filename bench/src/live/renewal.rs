//! One site of many gets another certificate, under load by TLS.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Instant;

use super::bed::Bed;
use super::change::{Reading, beyond_load_s};
use super::configuration::Certified;
use super::figure::Figure;
use super::newcomers::{Newcomers, Shown};
use super::sample::{Found, mib, ms, ms_between};
use super::server::{SERVING_LIMIT, Server, write_files};
use super::start::remove;
use super::traffic::{Long, Seen, Traffic};
use super::variant::Variant;
use super::watch::{Subject, Watch, Watched};
use super::way::{self, Made, Operator};
use crate::failure::Failure;
use crate::process_tree;

/// Long responses begun each second: their connections have to outlive the old certificate.
const LONG_PER_SECOND: f64 = 5.0;

pub(super) fn take(variant: Variant, bed: &Bed) -> Result<Found, Failure> {
    let certified = (bed.sites.certified.as_ref())
        .ok_or_else(|| Failure::new("a renewal without certificates"))?;
    write_files(variant, &bed.sites)?;
    let state = bed.state("renewal");
    let found = measure(variant, bed, certified, &state);
    remove(&state)?;
    found
}

fn measure(
    variant: Variant,
    bed: &Bed,
    certified: &Certified,
    state: &Path,
) -> Result<Found, Failure> {
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
    let traffic = Traffic::begin(
        sites,
        Long {
            ms: steps.long_ms,
            per_second: LONG_PER_SECOND,
        },
    )?;
    let newcomers = Newcomers::begin(sites, certified)?;
    sleep(steps.warm_up);
    let before = Reading::now(root)?;
    sleep(steps.quiet);
    let quiet = Reading::now(root)?;
    let memory_before = process_tree::memory_of_living(&process_tree::members(root)?);
    // An operator has the files before he gives the command.
    let new = certified.renew(sites.changing())?;
    let made = way::renew(&server, &operator, certified)?;
    newcomers.wait_for(&new, &mut server.program, SERVING_LIMIT)?;
    sleep(steps.after);
    let after = Reading::now(root)?;
    let shown = newcomers.end(&new)?;
    let seen = traffic.end()?;
    let watched = watch.end()?;
    let mut found = judge(variant, &made, (&seen, &shown), &watched, after.at);
    let cpu_s = beyond_load_s(&before, &quiet, &after) + made.cpu_s;
    found.figures.extend([
        (Figure::ChangeCpuMs, cpu_s * 1e3),
        (Figure::MemoryBeforeMib, mib(memory_before.pss_bytes)),
    ]);
    Ok(found)
}

fn judge(
    variant: Variant,
    made: &Made,
    (seen, shown): (&Seen, &Shown),
    watched: &Watched,
    end: Instant,
) -> Found {
    let (failed_short, failed_long) = seen.failed();
    let failed = failed_short + failed_long + shown.failed();
    // Who does not say when a change is live is taken at the word of his first new handshake.
    let live = match variant.says_when_live() {
        true => Some(made.returned),
        false => shown.first_new(),
    };
    let mut figures = BTreeMap::from([
        (Figure::CommandMs, ms_between(made.given, made.returned)),
        (Figure::Failed, failed as f64),
        (
            Figure::Stale,
            live.map_or(0, |live| shown.stale(live)) as f64,
        ),
        (Figure::SlowestMs, ms(seen.slowest(made.given, end))),
        (
            Figure::MemoryPeakMib,
            mib(watched.memory_peak_bytes(made.given)),
        ),
    ]);
    let settled = shown.settled();
    if let Some(settled) = settled {
        figures.insert(Figure::SeenMs, ms_between(made.given, settled));
    }
    let fault = match settled {
        None => Some("the old certificate was shown to the end".to_owned()),
        Some(_) if failed > 0 => Some(format!(
            "{failed_short} short and {failed_long} long requests and {} handshakes failed",
            shown.failed()
        )),
        Some(_) => None,
    };
    let detail = serde_json::json!({
        "requests": seen.requests(),
        "handshakes": shown.handshakes(),
        "failed_short": failed_short,
        "failed_long": failed_long,
        "failed_handshakes": shown.failed(),
        "first_failure": shown.first_failure(),
        "failures": seen.failures(made.given),
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
