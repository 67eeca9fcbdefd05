//! Starting and stopping the responder: one thread per worker, one for configuration, one for the
//! local socket, one for the health of the hosts and one that waits for each of them.

use crate::clients::Clients;
use crate::configuration::{Configuration, wall_s};
use crate::control::{self, Control};
use crate::geography::{Tables, as_geography};
use crate::listeners::{self, ByWorker, Sockets};
use crate::peers::Peers;
use crate::published::Published;
use crate::revision::Follower;
use crate::state::State;
use crate::usage::{Counting, SiteCounts};
use crate::worker::{Equipment, Told};
use crate::workers::{End, Workers};
use meridian_follower::Started;
use meridian_model::geo::Group;
use meridian_model::{Local, fleet_secret};
use meridian_sys::process::{Limit, allowed_cpus, raise_limit, random_bytes};
use meridian_sys::supervised;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Runs the responder on the state directory `state` until it was asked to stop and is done.
///
/// # Errors
///
/// In words, when it can not start, or when a worker ends badly.
pub fn run(state: &Path) -> Result<(), String> {
    let started = Instant::now();
    // First of all: descriptors are passed by number.
    let adopted = listeners::adopt()?;
    supervised::die_with_supervisor()?;
    let _lock = supervised::lock(&state.join("geodns.lock"), "a responder")?;
    raise_limit(Limit::OpenFiles)
        .map_err(|error| format!("raising the limit on open files: {error}"))?;
    raise_limit(Limit::LockedMemory)
        .map_err(|error| format!("raising the limit on locked memory: {error}"))?;
    let Started {
        follower,
        passed_over,
    } = Follower::start(state, ())?;
    let revision = follower.served().zones().revision;
    for fault in &passed_over {
        eprintln!("meridian-geodns: serving revision {revision} because of {fault}");
    }
    let cpus =
        allowed_cpus().map_err(|error| format!("asking for the CPUs of this process: {error}"))?;
    // Who passed sockets asks over the local socket.
    let is_by_hand = adopted.is_none();
    let by_worker = sockets_of(adopted, follower.local(), cpus.len())?;
    let listen = listeners::addresses(&by_worker)?;
    let now_s = Arc::new(AtomicU32::new(wall_s()));
    let groups = Group::of_zones(follower.served().zones());
    let (tables, first) = Tables::start(follower.local().geo.clone(), groups)?;
    let secret = secret(state)?;
    let mut answered_from = State::new(
        Arc::clone(follower.served().zones()),
        follower.local().host.name.shared(),
        &secret,
        wall_s(),
    );
    answered_from.geography = first.map(as_geography);
    let answered_from = Arc::new(answered_from);
    let Counting {
        usage,
        counts,
        closing,
        lock: _alive,
    } = Counting::start(state, &follower.local().host.name, by_worker.len())?;
    let equipped = by_worker.into_iter().zip(counts).collect();
    let (workers, ended) =
        start_workers(equipped, &cpus, follower.local(), &answered_from, &now_s)?;
    let stopping = Arc::new(AtomicBool::new(false));
    obey_signals(&workers, &stopping)?;
    let geography = tables.asker();
    let published = Published::new(answered_from, workers.clone());
    let peers = Peers::start(state, follower.local(), &secret, Arc::clone(&published))?;
    let configuration = Configuration::start(follower, published, tables, now_s)?;
    let socket = control::start(
        state,
        Control {
            configuration,
            geography,
            peers,
            workers: workers.clone(),
            usage,
            listen: listen.clone(),
            stopping,
            started,
        },
    )?;
    if is_by_hand {
        say_ready(revision, &listen);
    }
    let done = await_all(workers.len(), &ended);
    drop(socket);
    closing.finish();
    done
}

/// For whoever started it by hand. Nobody need read it.
fn say_ready(revision: u64, listen: &[SocketAddr]) {
    let listen: Vec<String> = listen.iter().map(SocketAddr::to_string).collect();
    let line = format!("ready revision={revision} dns={}\n", listen.join(","));
    let _ = std::io::stdout().write_all(line.as_bytes());
}

/// What was passed to this process, or else is bound here.
fn sockets_of(passed: Option<ByWorker>, local: &Local, cpus: usize) -> Result<ByWorker, String> {
    if let Some(passed) = passed {
        return Ok(passed);
    }
    if local.listen.dns.is_empty() {
        return Err(
            "listen.dns: the manifest has no address for DNS; add one, such as dns = \
             [\"0.0.0.0:53\"]"
                .to_owned(),
        );
    }
    let workers = local.host.workers.map_or(cpus, |workers| workers as usize);
    listeners::bind_all(&local.listen.dns, workers)
}

/// The secret of the fleet. Without any, cookies are worth something on this host alone, and until it
/// starts again.
fn secret(state: &Path) -> Result<Vec<u8>, String> {
    let path = state.join(fleet_secret::FILE);
    let fault = |what: String| format!("{}: {what}", path.display());
    match std::fs::read(&path) {
        Ok(bytes) => fleet_secret::of_file(&bytes)
            .map(<[u8]>::to_vec)
            .map_err(fault),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let random = random_bytes::<32>();
            random
                .map(|random| random.to_vec())
                .map_err(|error| format!("asking for random bytes: {error}"))
        }
        Err(error) => Err(fault(error.to_string())),
    }
}

fn start_workers(
    by_worker: Vec<(Sockets, SiteCounts)>,
    cpus: &[usize],
    local: &Local,
    state: &Arc<State>,
    now_s: &Arc<AtomicU32>,
) -> Result<(Workers, mpsc::Receiver<End>), String> {
    let workers = by_worker.len();
    let clients = Clients::new();
    let by_worker = by_worker.into_iter().enumerate();
    let equipment = by_worker.map(|(index, (sockets, site_counts))| {
        let (state, now_s) = (Arc::clone(state), Arc::clone(now_s));
        let (settings, clients) = (local.dns.clone(), Arc::clone(&clients));
        let equip = move |told| Equipment {
            index,
            workers,
            datagrams: sockets.datagrams,
            listeners: sockets.listeners,
            state,
            settings,
            clients,
            now_s,
            site_counts,
            told,
        };
        Box::new(equip) as Box<dyn FnOnce(mpsc::Receiver<Told>) -> Equipment + Send>
    });
    Workers::start(cpus, equipment)
}

/// Waits until all workers have ended. The first fault ends the process: nobody else answers what comes
/// to a dead worker's sockets.
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

/// SIGTERM and SIGINT end it; a second one ends it now. SIGHUP is for those who have logs.
fn obey_signals(workers: &Workers, stopping: &Arc<AtomicBool>) -> Result<(), String> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| format!("handling signals: {error}"))?;
    let (workers, stopping) = (workers.clone(), Arc::clone(stopping));
    let spawned = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    continue;
                }
                if stopping.swap(true, Ordering::AcqRel) {
                    std::process::exit(0);
                }
                workers.tell(|| Told::Stop);
            }
        });
    spawned
        .map(drop)
        .map_err(|error| format!("starting the signal thread: {error}"))
}
