//! A start with many sites: the time to the first right answer, and the memory then.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::bed::Bed;
use super::configuration::Sites;
use super::figure::Figure;
use super::probe;
use super::sample::{Found, mib, ms_between};
use super::server::{Place, Server, write_files};
use super::variant::{House, Variant};
use super::watch::{Subject, Watch};
use crate::failure::Failure;
use crate::process_tree;
use crate::program::signal_to;

/// Sites asked after the first answer, spread over all: one right answer alone may be luck.
const SITES_ASKED: u32 = 16;
/// A killed process is gone after this long at most.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn take(variant: Variant, bed: &Bed, on_all_cores: bool) -> Result<Found, Failure> {
    write_files(variant, &bed.sites)?;
    let cores = if on_all_cores {
        vec![bed.cores.server, bed.cores.load]
    } else {
        vec![bed.cores.server]
    };
    let state = bed.state(if variant == Variant::OursAgain {
        "again"
    } else {
        "first"
    });
    if variant == Variant::OursAgain && !state.exists() {
        let mut earlier = Server::start(variant, bed.place(&cores, state.clone()))?;
        earlier.wait_until_serving()?;
    }
    let found = measure(variant, bed, &cores, &state).and_then(|mut found| {
        if let (Some(_), House::Meridian) = (&bed.sites.certified, variant.house()) {
            let without = memory_without_certificates(variant, bed, &cores)?;
            let with = found.figures[&Figure::MemoryMib];
            let bytes = (with - mib(without)) * f64::from(1 << 20) / f64::from(bed.sites.count);
            found.figures.insert(Figure::BytesPerCertificate, bytes);
        }
        Ok(found)
    });
    if variant != Variant::OursAgain {
        remove(&state)?;
    }
    found
}

/// Proportional memory of a server that has the same sites, which show no certificate, in the same
/// state of its life.
fn memory_without_certificates(
    variant: Variant,
    bed: &Bed,
    cores: &[usize],
) -> Result<u64, Failure> {
    let state = bed.state("uncertified");
    let sites = Sites {
        directory: bed.sites.directory.join("without"),
        certified: None,
        ..bed.sites.clone()
    };
    write_files(variant, &sites)?;
    let place = |cores| Place {
        sites: &sites,
        ..bed.place(cores, state.clone())
    };
    if variant == Variant::OursAgain {
        Server::start(variant, place(cores))?.wait_until_serving()?;
    }
    let mut server = Server::start(variant, place(cores))?;
    server.wait_until_serving()?;
    if variant == Variant::OursKilled {
        sleep(bed.steps.settle);
        kill(server.plane()?)?;
        server.wait_until_serving()?;
    }
    sleep(bed.steps.settle);
    let pids = process_tree::members(server.program.pid())?;
    let memory = process_tree::memory_of_living(&pids);
    drop(server);
    remove(&state)?;
    Ok(memory.pss_bytes)
}

fn measure(variant: Variant, bed: &Bed, cores: &[usize], state: &Path) -> Result<Found, Failure> {
    let mut server = Server::start(variant, bed.place(cores, state.to_owned()))?;
    let root = server.program.pid();
    let subject = || Subject {
        root,
        own: bed.own.clone(),
        cores: cores.to_vec(),
        memory: false,
    };
    let mut watch = Watch::begin(subject());
    let mut begun = server.begun;
    let mut cpu_before_s = 0.0;
    let mut answered = server.wait_until_serving()?;
    if variant == Variant::OursKilled {
        sleep(bed.steps.settle);
        let plane = server.plane()?;
        watch.end()?;
        watch = Watch::begin(subject());
        cpu_before_s = process_tree::tree_cpu_s(root)?;
        // What the dead one used moves to its parent's account, and is in the sum before.
        begun = Instant::now();
        kill(plane)?;
        answered = server.wait_until_serving()?;
    }
    let cpu_s = process_tree::tree_cpu_s(root)? - cpu_before_s;
    let watched = watch.end()?;
    sleep(bed.steps.settle);
    let pids = process_tree::members(root)?;
    let memory = process_tree::memory_of_living(&pids);
    let by_process: Vec<_> = pids
        .iter()
        .map(|&pid| {
            let name = process_tree::program_name(pid).unwrap_or_default();
            serde_json::json!([name, process_tree::memory_of_living(&[pid])])
        })
        .collect();
    let wrong = wrongly_answered(bed);
    Ok(Found {
        figures: BTreeMap::from([
            (Figure::FirstAnswerMs, ms_between(begun, answered)),
            (Figure::StartCpuMs, cpu_s * 1e3),
            (Figure::MemoryMib, mib(memory.pss_bytes)),
            (
                Figure::BytesPerSite,
                memory.pss_bytes as f64 / f64::from(bed.sites.count),
            ),
        ]),
        fault: (wrong > 0).then(|| format!("{wrong} of {SITES_ASKED} sites were not served")),
        others: watched.others,
        detail: serde_json::json!({ "memory": memory, "by_process": by_process }),
    })
}

/// Kills a process and waits until it is gone: what answers then is another.
fn kill(pid: u32) -> Result<(), Failure> {
    let begin = Instant::now();
    signal_to(pid, Signal::KILL);
    while process_tree::started_ticks(pid).is_some() {
        if begin.elapsed() > DEATH_LIMIT {
            return Err(Failure::new(format!("process {pid} does not die")));
        }
        sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn wrongly_answered(bed: &Bed) -> usize {
    let sites = &bed.sites;
    let asked = (0..SITES_ASKED).map(|turn| turn * sites.count / SITES_ASKED);
    let wrong = asked.filter(|&site| probe::ask(sites, site).as_deref() != Some("old"));
    wrong.count()
}

/// Forty megabytes a trial would fill a small disk.
pub(super) fn remove(state: &Path) -> Result<(), Failure> {
    if state.exists() {
        fs::remove_dir_all(state).map_err(Failure::at(state.display()))?;
    }
    Ok(())
}
