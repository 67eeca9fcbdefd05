//! Which worker has a connection: the one that accepted it, or one that has fewer.
//!
//! The kernel spreads connections over the workers' listeners by a hash, whoever has how many. So
//! each worker has a load: the clients' connections that it has, and those on their way to it. Who
//! accepts one compares its own with others', and hands the connection over where that is less; the
//! other one finds it in its queue. Why so: docs/decisions/0016.
//!
//! Nothing is lost between two workers: a connection is counted to the one that it is on its way
//! to, and nobody ends while its load is not zero. Who has ended for want of time takes none.

use crate::entrance::Arrival;
use crossbeam_queue::ArrayQueue;
use meridian_model::limits::{ACCEPT_LOOKS_MAX, ACCEPT_MARGIN_PARTS, ACCEPT_QUEUE_MAX};
use meridian_sys::Notifier;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The bit of a load that says that the worker takes nothing: it has not started, or has ended. It
/// makes the load larger than any other.
const CLOSED: u64 = 1 << 63;

/// A connection that goes to another worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The connection.
    pub(crate) descriptor: OwnedFd,
    /// The port that the client connected to.
    pub(crate) port: u16,
    /// Whether it begins with a handshake.
    pub(crate) secure: bool,
    /// What it is.
    pub(crate) arrival: Arrival,
}

/// The queues of all workers. Of one alone there is none, and nothing is counted.
#[derive(Debug)]
pub(crate) struct AcceptQueues(Box<[AcceptQueue]>);

#[derive(Debug)]
#[repr(align(128))]
struct AcceptQueue {
    /// Connections that the worker has and that are on their way to it, with [`CLOSED`].
    load: AtomicU64,
    /// The worker was woken, and has not looked yet.
    is_called: AtomicBool,
    /// Whose load its worker compares first the next time.
    next_look: AtomicUsize,
    /// There once the worker has started.
    notifier: OnceLock<Notifier>,
    waiting: ArrayQueue<Accepted>,
}

impl AcceptQueues {
    /// Of so many workers, none of which has started.
    pub(crate) fn new(workers: usize) -> AcceptQueues {
        let queues = if workers > 1 { workers } else { 0 };
        AcceptQueues((0..queues).map(|_| AcceptQueue::closed()).collect())
    }

    /// `worker` takes connections from now on, and is woken for that.
    pub(crate) fn open(&self, worker: usize, notifier: Notifier) {
        if let Some(queue) = self.0.get(worker)
            && queue.notifier.set(notifier).is_ok()
        {
            queue.load.fetch_and(!CLOSED, Ordering::SeqCst);
        }
    }

    /// Counts one connection more to `worker`, which keeps it.
    pub(crate) fn enter(&self, worker: usize) {
        if let Some(queue) = self.0.get(worker) {
            queue.load.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one connection more, which `worker` accepted, to the worker that is given, for which
    /// [`AcceptQueues::hand_over`] is to follow. None where `worker` had best keep it.
    pub(crate) fn claim(&self, worker: usize) -> Option<usize> {
        self.0.get(worker)?;
        let to = self.least_loaded(worker);
        to.filter(|&to| self.0[to].enter_unless_closed())
    }

    /// Of the workers whose turn it is to be looked at, the one with the least load, where that is so
    /// much less than that of `worker` that it should have the next connection.
    fn least_loaded(&self, worker: usize) -> Option<usize> {
        let own = &self.0[worker];
        let others = self.0.len() - 1;
        let first = own.next_look.load(Ordering::Relaxed);
        let looks = others.min(ACCEPT_LOOKS_MAX);
        let next = (first + looks) % others;
        own.next_look.store(next, Ordering::Relaxed);
        let looked_at =
            (first..first + looks).map(|turn| (worker + 1 + turn % others) % self.0.len());
        let load = |of: usize| self.0[of].load.load(Ordering::Relaxed);
        let (least, to) = looked_at
            .map(|other| (load(other), other))
            .min_by_key(|it| it.0)?;
        (load(worker) & !CLOSED > least.saturating_add(least / ACCEPT_MARGIN_PARTS)).then_some(to)
    }

    /// Gives a connection to the worker that it was claimed for, or gives it back, counted to nobody:
    /// there is no room, or that worker has ended.
    pub(crate) fn hand_over(&self, to: usize, accepted: Accepted) -> Result<(), Accepted> {
        let queue = &self.0[to];
        let refused = match queue.waiting.push(accepted) {
            // Who ends closes first and empties then, so one of both meets it.
            Ok(()) if queue.load.load(Ordering::SeqCst) & CLOSED != 0 => queue.waiting.pop(),
            Ok(()) => None,
            Err(accepted) => Some(accepted),
        };
        let Some(refused) = refused else {
            queue.call();
            return Ok(());
        };
        queue.load.fetch_sub(1, Ordering::SeqCst);
        // It may have waited for this one before it ends.
        queue.call();
        Err(refused)
    }

    /// Gives everything that waits for `worker` to `serve`; what comes meanwhile wakes it again.
    pub(crate) fn empty(&self, worker: usize, mut serve: impl FnMut(Accepted)) {
        let Some(queue) = self.0.get(worker) else {
            return;
        };
        if !queue.is_called.swap(false, Ordering::SeqCst) {
            return;
        }
        for _ in 0..queue.waiting.len() {
            queue.waiting.pop().into_iter().for_each(&mut serve);
        }
    }

    /// A connection that was counted to `worker` is closed.
    pub(crate) fn leave(&self, worker: usize) {
        if let Some(queue) = self.0.get(worker) {
            queue.load.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Has `worker` take nothing any more if it has nothing, and nothing is on its way; whether it is
    /// so.
    pub(crate) fn close(&self, worker: usize) -> bool {
        self.0.get(worker).is_none_or(|queue| {
            let closed =
                (queue.load).compare_exchange(0, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
            closed.map_or_else(|load| load & CLOSED != 0, |_| true)
        })
    }

    /// `worker` has ended: it takes nothing, and what still waits is closed.
    pub(crate) fn end(&self, worker: usize) {
        if let Some(queue) = self.0.get(worker) {
            queue.load.fetch_or(CLOSED, Ordering::SeqCst);
            while queue.waiting.pop().is_some() {}
        }
    }
}

impl AcceptQueue {
    fn closed() -> AcceptQueue {
        AcceptQueue {
            load: AtomicU64::new(CLOSED),
            is_called: AtomicBool::new(false),
            next_look: AtomicUsize::new(0),
            notifier: OnceLock::new(),
            waiting: ArrayQueue::new(ACCEPT_QUEUE_MAX),
        }
    }

    fn enter_unless_closed(&self) -> bool {
        let enter = |load| (load & CLOSED == 0).then_some(load + 1);
        (self.load)
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, enter)
            .is_ok()
    }

    /// Wakes its worker, once for all that comes until it looks.
    fn call(&self) {
        if !self.is_called.swap(true, Ordering::SeqCst)
            && let Some(notifier) = self.notifier.get()
        {
            notifier.notify();
        }
    }
}

#[cfg(test)]
mod tests;
