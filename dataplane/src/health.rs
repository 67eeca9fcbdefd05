//! Whether backends are well: checked once for the whole host, by a thread of its own.
//!
//! ```text
//! checker   which check is due, and what a routing changes
//! timers    when something is due
//! turns     whose check comes first, and how many are under way
//! check     one check: a connection, what is asked over it, the answer
//! handshake what is asked by TLS; tls_failure why that failed
//! verdict   what a check saw, in words, and when a backend is up or down
//! target    a backend that is checked
//! telling   what is told on stderr
//! ```
//!
//! What is found stands in the [`crate::backend_state::BackendState`] that workers pick by. What a
//! worker meets when it connects is reported here and counts as a check that failed, so that all
//! of it is decided in one place.

mod check;
mod checker;
mod handshake;
mod target;
mod telling;
mod timers;
mod tls_failure;
mod turns;
mod verdict;

pub(crate) use verdict::TrafficFailure;

use crate::peers::LostSites;
use crate::routing::Routing;
use crate::tls::BackendConfigs;
use arc_swap::ArcSwap;
use checker::Checker;
use meridian_model::limits::{HEALTH_CHECKS_MAX, HEALTH_DESCRIPTORS_PERCENT, HEALTH_REPORTS_MAX};
use meridian_model::snapshot::BackendKey;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

/// A worker on the same CPU goes first, and has three times the share while both want all of it
/// (nice(2)). What is left is enough for 10,000 checks each 2 s (docs/decisions/0043).
const NICENESS: i32 = 5;

/// What other threads know of the checks.
#[derive(Debug)]
pub(crate) struct HealthChecks {
    wake: OwnedFd,
    reports: mpsc::SyncSender<TrafficReport>,
    under_way_max: usize,
    /// Checks that began later than they were due.
    late: AtomicU64,
    /// Checks that were left out because this host lacked something.
    without_resources: AtomicU64,
    /// Checks that failed because the handshake was too long.
    too_long: AtomicU64,
}

/// A request could not connect to a backend.
#[derive(Debug)]
struct TrafficReport {
    key: BackendKey,
    failure: TrafficFailure,
}

/// Of `descriptors` for sockets, those that checks may use.
pub(crate) fn descriptors_for_checks(descriptors: u64) -> u64 {
    (descriptors * HEALTH_DESCRIPTORS_PERCENT / 100).clamp(1, HEALTH_CHECKS_MAX)
}

impl HealthChecks {
    /// Starts the thread, which lives as long as the process and checks the backends of
    /// `routing`, with at most `under_way_max` connections at a time; `lost_sites` hears of what that
    /// means for sites.
    pub(crate) fn start(
        routing: &Arc<ArcSwap<Routing>>,
        under_way_max: u64,
        backend_tls: BackendConfigs,
        lost_sites: &Arc<LostSites>,
    ) -> io::Result<Arc<HealthChecks>> {
        let (health, reports) = HealthChecks::new(under_way_max)?;
        let checker = Checker::new(
            Arc::clone(&health),
            Arc::clone(routing),
            reports,
            backend_tls,
            Arc::clone(lost_sites),
        )?;
        std::thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || {
                // Of this thread alone. Without it all goes on as it is.
                let _ = rustix::process::nice(NICENESS);
                checker.run();
            })?;
        Ok(health)
    }

    /// Without the thread, which gets the reports.
    fn new(under_way_max: u64) -> io::Result<(Arc<HealthChecks>, mpsc::Receiver<TrafficReport>)> {
        let (reports, receiver) = mpsc::sync_channel(HEALTH_REPORTS_MAX);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let health = Arc::new(HealthChecks {
            wake: eventfd(0, flags)?,
            reports,
            under_way_max: usize::try_from(under_way_max).unwrap_or(usize::MAX),
            late: AtomicU64::new(0),
            without_resources: AtomicU64::new(0),
            too_long: AtomicU64::new(0),
        });
        Ok((health, receiver))
    }

    /// There is a new routing.
    pub(crate) fn wake(&self) {
        // It can only be full of wakes that were not looked at.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// A request could not connect to a backend that is checked. Takes no lock; what the thread
    /// has no room for is left out, for it has heard of enough of them.
    pub(crate) fn report(&self, key: &BackendKey, failure: TrafficFailure) {
        let key = key.clone();
        if self
            .reports
            .try_send(TrafficReport { key, failure })
            .is_ok()
        {
            self.wake();
        }
    }

    /// Checks that began later than they were due.
    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Checks that were left out because this host lacked something.
    pub(crate) fn without_resources(&self) -> u64 {
        self.without_resources.load(Ordering::Relaxed)
    }

    /// Checks that failed because the handshake was too long.
    pub(crate) fn too_long(&self) -> u64 {
        self.too_long.load(Ordering::Relaxed)
    }

    fn forget_wakes(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
    }
}
