//! Starting and stopping the plane: one thread per worker, and the control thread.

use crate::access_log::{AccessLog, LogQueue, Reopener};
use crate::configuration::Configuration;
use crate::control;
use crate::drains::Drains;
use crate::entrance::Entrance;
use crate::fleet_secret;
use crate::limits::Meters;
use crate::listeners::{self, ByWorker, Passed};
use crate::metrics;
use crate::names::{Names, resolver};
use crate::pages::{PageSet, PageWriter};
use crate::peers::Peers;
use crate::request_id::RequestIds;
use crate::revision::Follower;
use crate::routing::{Joint, Routing};
use crate::shared::{Means, Registers, Shared};
use crate::sticky::StickyKey;
use crate::tls::{BackendConfigs, Loader, TicketSecret};
use crate::usage::Usage;
use crate::worker::{Equipment, Worker};
use meridian_follower::{Serving, Started};
use meridian_model::Local;
use meridian_model::local::SYSTEM_AUTHORITIES;
use meridian_model::name::Name;
use meridian_model::usage::{Epoch, slot_of, slots_header};
use meridian_sys::Notifier;
use meridian_sys::counting::{Closer, Closing, SlotsFile};
use meridian_sys::process::{
    Limit, allowed_cpus, memory_bytes, pin_thread, raise_limit, random_bytes, take_short_turns,
};
use meridian_sys::supervised;
use rustix::thread::disable_transparent_huge_pages;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

/// How long the threads may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of a worker that ended, and how.
type End = (usize, Result<(), String>);

/// The file of those who vouch for backends where a pool names none.
fn host_authorities(local: &Local) -> &Path {
    let own = local.host.authorities.as_deref();
    Path::new(own.unwrap_or(SYSTEM_AUTHORITIES))
}

/// Runs the plane on the state directory `state` until it was asked to stop and has drained.
pub fn run(state: &Path) -> Result<(), String> {
    // First of all: descriptors are passed by number.
    let adopted = listeners::adopt()?;
    // A kernel that can not has none.
    let _ = disable_transparent_huge_pages(true);
    supervised::die_with_supervisor()?;
    let _lock = supervised::lock(&state.join("dataplane.lock"), "a data plane")?;
    let descriptors = raise_limits()?;
    let follower = follow(state)?;
    let snapshot = follower.served().snapshot().clone();
    let local = follower.local().clone();
    let cpus =
        allowed_cpus().map_err(|error| format!("asking for the CPUs of this process: {error}"))?;
    let Passed {
        by_worker,
        metrics: for_metrics,
    } = listeners_of(adopted, &local, cpus.len())?;
    let workers = by_worker.len();
    let wall_seconds = control::wall_seconds(SystemTime::now());
    let Counting {
        usage,
        file,
        pages,
        lock: _alive,
    } = Counting::start(state, &local.host.name, workers, wall_seconds)?;
    let names = Names::new().map_err(|error| format!("making an eventfd: {error}"))?;
    let secret = fleet_secret::read(state)?;
    let registers = Registers {
        names: Arc::clone(&names),
        meters: Meters::default(),
        drains: Drains::read(state)?,
        sticky_key: StickyKey::of_secret(&secret),
        certificates: Loader::start(state, TicketSecret::of_secret(&secret))
            .map_err(|error| format!("starting the thread of certificates: {error}"))?,
        backend_tls: BackendConfigs::start(state, host_authorities(&local))
            .map_err(|error| format!("starting the thread of TLS to backends: {error}"))?,
        peers: Peers::new(local.host.name.clone(), &secret)?,
    };
    let joint = Joint {
        names: &registers.names,
        meters: &registers.meters,
        drains: &registers.drains,
    };
    let (log, queues) = start_log(local.host.access_log.as_deref(), workers)?;
    let routing = Routing::new(snapshot, joint);
    let shared = Shared::new(
        routing,
        registers,
        Arc::clone(&usage),
        wall_seconds,
        Entrance::new(&local),
        Means {
            workers,
            descriptors,
            memory_bytes: memory_bytes(),
            // Of two workers on a CPU the one that looks would keep the other from its work.
            busy_polling: local.host.busy_polling && workers <= cpus.len(),
        },
        log.as_ref().map(|log| Arc::clone(log.standing())),
    )
    .map_err(|error| format!("starting the thread of health checks: {error}"))?;
    // Before the first request is served.
    let closer = Closer::new(usage.book(), file);
    let closing = Closing::start(closer, || slot_of(control::wall_seconds(SystemTime::now())))?;
    let equipment = equip(by_worker, pages, queues)?;
    let (notifiers, ended) = start_workers(&shared, equipment, &cpus)?;
    obey_signals(&shared, &notifiers, log.as_ref().map(AccessLog::reopener))?;
    let places = (0..workers)
        .map(|worker| cpus[worker % cpus.len()])
        .collect();
    let configuration =
        Configuration::start(follower, Arc::clone(&shared), Arc::clone(&notifiers))?;
    let changes = configuration.name_changes();
    resolver::start(names, &local.host.resolvers, move || changes.announce())?;
    if let Some(listener) = for_metrics {
        let standing = configuration.standing();
        metrics::start(
            listener,
            Arc::clone(&shared),
            Arc::clone(&notifiers),
            standing,
            state.join("run").join("geodns.sock"),
        )?;
    }
    let control = control::start(
        state,
        Arc::clone(&shared),
        Arc::clone(&notifiers),
        configuration,
        places,
    )?;
    give_back_memory();
    await_all(workers, &ended)?;
    control.stop();
    closing.finish();
    if let Some(log) = log {
        log.finish();
    }
    Ok(())
}

/// Has what only the start needed given back: the allocator does that when a thread ends, with what
/// nobody has needed for a second.
fn give_back_memory() {
    const UNUSED_FOR: Duration = Duration::from_secs(2);
    // Without a thread it is given back when another one ends.
    let _ = std::thread::Builder::new()
        .name("memory".to_owned())
        .spawn(|| std::thread::sleep(UNUSED_FOR));
}

/// How many files may be open then.
fn raise_limits() -> Result<u64, String> {
    let descriptors = raise_limit(Limit::OpenFiles)
        .map_err(|error| format!("raising the limit on open files: {error}"))?;
    raise_limit(Limit::LockedMemory)
        .map_err(|error| format!("raising the limit on locked memory: {error}"))?;
    Ok(descriptors)
}

/// The newest revision that can be served, and why it is no newer one.
fn follow(state: &Path) -> Result<Follower, String> {
    let own_addresses = meridian_sys::listener::interface_addresses()
        .map_err(|error| format!("asking for the addresses of this host: {error}"))?;
    let Started {
        follower,
        passed_over,
    } = Follower::start(state, own_addresses)?;
    let revision = follower.served().revision();
    for fault in &passed_over {
        eprintln!("meridian-dataplane: serving revision {revision} because of {fault}");
    }
    Ok(follower)
}

/// What was passed to this process, and what is missing of that.
fn listeners_of(passed: Option<Passed>, local: &Local, cpus: usize) -> Result<Passed, String> {
    let workers = local.host.workers;
    let workers = workers.map_or(cpus, |workers| workers as usize);
    let mut passed = match passed {
        Some(passed) => passed,
        None => Passed {
            by_worker: listeners::bind_all(&local.listen, workers)?,
            metrics: None,
        },
    };
    if let (None, Some(address)) = (&passed.metrics, local.listen.metrics) {
        passed.metrics = Some(listeners::bind_metrics(address)?);
    }
    Ok(passed)
}

/// Waits until all workers have drained. The first fault ends the process: nobody else accepts
/// from a dead worker's listeners.
fn await_all(workers: usize, ended: &mpsc::Receiver<End>) -> Result<(), String> {
    for _ in 0..workers {
        match ended.recv() {
            Ok((_, Ok(()))) => {}
            Ok((index, Err(fault))) => return Err(format!("worker {index}: {fault}")),
            Err(_) => return Err("a worker ended without a word".to_owned()),
        }
    }
    Ok(())
}

/// The access log, where there is to be one, and each worker's queue to it.
fn start_log(
    path: Option<&str>,
    workers: usize,
) -> Result<(Option<AccessLog>, Vec<Option<LogQueue>>), String> {
    let Some(path) = path else {
        return Ok((None, (0..workers).map(|_| None).collect()));
    };
    let (log, queues) = AccessLog::start(Path::new(path), workers)?;
    Ok((Some(log), queues.into_iter().map(Some).collect()))
}

/// What each worker is given of its own.
fn equip(
    by_worker: ByWorker,
    pages: Vec<PageWriter>,
    queues: Vec<Option<LogQueue>>,
) -> Result<Vec<Equipment>, String> {
    let each = by_worker.into_iter().zip(pages).zip(queues);
    each.map(|((listeners, pages), log)| {
        Ok(Equipment {
            pages,
            request_ids: RequestIds::new()
                .map_err(|error| format!("asking for random bytes: {error}"))?,
            log,
            listeners,
        })
    })
    .collect()
}

/// What a plane counts with.
struct Counting {
    usage: Arc<Usage>,
    file: SlotsFile,
    /// By worker.
    pages: Vec<PageWriter>,
    /// Held for life.
    lock: Option<File>,
}

impl Counting {
    /// A new epoch, with its page files and its slots file in STATE/counters.
    fn start(
        state: &Path,
        host: &Name,
        workers: usize,
        wall_seconds: u64,
    ) -> Result<Counting, String> {
        let epoch = random_bytes().map(Epoch);
        let epoch = epoch.map_err(|error| format!("asking for random bytes: {error}"))?;
        let open_slot = slot_of(wall_seconds);
        let counters = state.join("counters");
        let set = PageSet::create(&counters, epoch, workers, open_slot);
        if let Some(fault) = &set.fault {
            eprintln!("meridian-dataplane: counting in memory, which a kill would lose: {fault}");
        }
        let pages = set.writers.iter().map(PageWriter::pages).collect();
        Ok(Counting {
            usage: Arc::new(Usage::new(epoch, host.as_str(), pages, open_slot)),
            file: SlotsFile::new(
                counters.join(format!("dataplane-{epoch}.slots")),
                slots_header("dataplane", host.as_str(), epoch),
            ),
            pages: set.writers,
            lock: set.lock,
        })
    }
}

/// Starts a thread for each worker and waits until every one accepts connections. Gives what
/// wakes them, and where each tells of its end.
fn start_workers(
    shared: &Arc<Shared>,
    equipment: Vec<Equipment>,
    cpus: &[usize],
) -> Result<(Arc<[Notifier]>, mpsc::Receiver<End>), String> {
    let (end, ended) = mpsc::channel();
    let mut notifiers = Vec::with_capacity(equipment.len());
    for (index, equipment) in equipment.into_iter().enumerate() {
        let (report, reports) = mpsc::sync_channel(1);
        let (shared, end) = (Arc::clone(shared), end.clone());
        let cpu = cpus[index % cpus.len()];
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let worked = AssertUnwindSafe(|| work(index, cpu, shared, equipment, &report));
                let worked = catch_unwind(worked).unwrap_or_else(|_| Err("panicked".to_owned()));
                let _ = end.send((index, worked));
            })
            .map_err(|error| format!("starting worker {index}: {error}"))?;
        match reports.recv_timeout(START_TIMEOUT) {
            Ok(notifier) => notifiers.push(notifier),
            Err(_) => {
                return Err(match ended.try_recv() {
                    Ok((index, Err(fault))) => format!("worker {index}: {fault}"),
                    _ => format!("worker {index} did not start"),
                });
            }
        }
    }
    Ok((notifiers.into(), ended))
}

fn work(
    index: usize,
    cpu: usize,
    shared: Arc<Shared>,
    equipment: Equipment,
    report: &mpsc::SyncSender<Notifier>,
) -> Result<(), String> {
    pin_thread(cpu).map_err(|error| format!("pinning to CPU {cpu}: {error}"))?;
    // Without it all goes on as it is.
    let _ = take_short_turns();
    let worker = match Worker::new(index, shared, equipment) {
        Ok(worker) => worker,
        Err(error) => return Err(error.to_string()),
    };
    let _ = report.send(worker.runtime.notifier());
    let ran = worker
        .run()
        .map_err(|error| format!("waiting for the kernel: {error}"));
    worker.end();
    ran
}

/// SIGTERM and SIGINT drain; a second one stops now. SIGHUP has the access log opened anew.
fn obey_signals(
    shared: &Arc<Shared>,
    notifiers: &Arc<[Notifier]>,
    log: Option<Reopener>,
) -> Result<(), String> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| format!("handling signals: {error}"))?;
    let shared = Arc::clone(shared);
    let notifiers = Arc::clone(notifiers);
    let spawned = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    log.iter().for_each(Reopener::reopen);
                    continue;
                }
                if shared.draining.swap(true, Ordering::AcqRel) {
                    std::process::exit(0);
                }
                notifiers.iter().for_each(Notifier::notify);
            }
        });
    spawned
        .map(drop)
        .map_err(|error| format!("starting the signal thread: {error}"))
}
