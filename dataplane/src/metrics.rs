//! What monitoring asks for: metrics as Prometheus has them, on a listener of their own.
//!
//! ```text
//! conversation  one connection: a request's head in, an answer out
//! exporter      what all threads count, put together for one scrape
//! chosen        which sites have series of their own
//! dns           what the DNS responder says
//! shares        how tenants divide what there is not enough of
//! families      the metrics, by name, of the host, workers, sites and backends
//! exposition    the text format
//! ```
//!
//! A thread accepts, and each connection has one of its own that ends with its only answer: to put
//! a large answer together takes a while, and nobody is to wait for that. They run with the least
//! priority, so that on a core which they share with a worker the worker goes first.

mod chosen;
mod conversation;
mod dns;
mod exporter;
mod exposition;
mod families;
mod shares;

use crate::configuration::Standing;
use crate::shared::Shared;
use exporter::Exporter;
use meridian_model::limits::METRICS_CONNECTIONS_MAX;
use meridian_sys::Notifier;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long it waits after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The least priority there is (nice(2)).
const NICENESS: i32 = 19;

/// Serves metrics on `listener` for as long as the process lives. The DNS responder of this host, if
/// there is one, answers at `responder`.
///
/// # Errors
///
/// The thread can not be started.
pub(crate) fn start(
    listener: OwnedFd,
    shared: Arc<Shared>,
    notifiers: Arc<[Notifier]>,
    standing: Standing,
    responder: PathBuf,
) -> Result<(), String> {
    let listener = TcpListener::from(listener);
    let exporter = Arc::new(Exporter::new(shared, notifiers, standing, responder));
    let spawned = std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            // Of this thread alone and of those that it starts. Without it all goes on as it is.
            let _ = rustix::process::nice(NICENESS);
            accept(&listener, &exporter);
        });
    spawned
        .map(drop)
        .map_err(|error| format!("starting the thread of metrics: {error}"))
}

fn accept(listener: &TcpListener, exporter: &Arc<Exporter>) {
    let under_way = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let seat = Seat::take(&under_way);
        if under_way.load(Ordering::Relaxed) > METRICS_CONNECTIONS_MAX {
            exporter.count_turned_away();
            continue;
        }
        let exporter = Arc::clone(exporter);
        // Where no thread can be started the connection is closed, and its client comes again.
        let _ = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                conversation::converse(stream, &exporter);
                drop(seat);
            });
    }
}

/// A connection that is open.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(under_way: &Arc<AtomicUsize>) -> Seat {
        under_way.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(under_way))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
