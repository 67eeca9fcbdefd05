//! What the threads of a plane share: the routing, the wall clock, and a board per worker.

use crate::counters::{Causes, Counter};
use crate::routing::Routing;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// What a worker shows of itself. It writes, the control thread reads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerBoard {
    /// The revision that it serves.
    pub revision: Counter,
    /// Connections accepted since the start.
    pub accepted: Counter,
    /// Final responses begun since the start.
    pub requests: Counter,
    /// Bad ends by cause.
    pub causes: Causes,
    /// Retries that the budget of a site did not allow.
    pub retries_refused: Counter,
    /// Connections to backends refused by the address policy.
    pub policy_refusals: Counter,
    /// The numbers below are published when asked for; this grows by one each time.
    pub published: Counter,
    /// Client connections that are open.
    pub connections: Counter,
    /// Of these, the ones that wait for a request.
    pub idle_connections: Counter,
    /// Sockets of any kind.
    pub sockets: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// Nanoseconds spent waiting.
    pub waited_ns: Counter,
    /// Receives that waited for a buffer.
    pub starved: Counter,
    /// Receives that waited because their tenant held its share of the buffers.
    pub over_share: Counter,
    /// Accepts that failed for want of descriptors or memory.
    pub accept_failures: Counter,
    /// Completions that belonged to nobody; a fault of ours.
    pub stale: Counter,
    /// Receive buffers in circulation.
    pub buffers: Counter,
    /// Receive buffers that there may be.
    pub buffers_max: Counter,
    /// Receive buffers that hold bytes.
    pub buffers_in_use: Counter,
}

/// See the module.
#[derive(Debug)]
pub struct Shared {
    /// The routing that new requests are served by.
    pub routing: Arc<ArcSwap<Routing>>,
    /// Seconds since 1970, as the control thread last looked.
    pub wall_seconds: AtomicU64,
    /// A stop was asked for.
    pub draining: AtomicBool,
    /// By worker.
    pub workers: Box<[WorkerBoard]>,
}

impl Shared {
    /// What `workers` workers share, beginning with `routing`.
    pub fn new(routing: Routing, workers: usize, wall_seconds: u64) -> Arc<Shared> {
        Arc::new(Shared {
            routing: Arc::new(ArcSwap::from_pointee(routing)),
            wall_seconds: AtomicU64::new(wall_seconds),
            draining: AtomicBool::new(false),
            workers: (0..workers).map(|_| WorkerBoard::default()).collect(),
        })
    }
}
