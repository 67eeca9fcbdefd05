//! Where requests of all workers wait for room at the backends of a pool.
//!
//! A backend with a limit is taken ([`crate::backend_state::Load::try_begin`]) before a request goes there. Who finds all of
//! them full stands in line; whoever ends a request at one gives the place to the first in the line
//! that may have it, and wakes its worker. A request that comes while others wait goes behind them.
//!
//! The line is behind a lock that nobody takes but who waits and who ends a request while somebody
//! waits. It is held for a look along the line at most.

use crate::backend_state::{BackendState, Health};
use meridian_model::snapshot::{BackendKey, Site, Tier};
use meridian_sys::Notifier;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// See the module. It outlives the revisions that have its pool.
#[derive(Debug, Default)]
pub(crate) struct PoolQueue {
    line: Mutex<VecDeque<Arc<Waiter>>>,
    /// How many stand in it.
    waiting: AtomicU32,
    /// Of these, those that take any backend.
    waiting_for_any: AtomicU32,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    wish: Wish,
    /// The backend where it has a place now.
    granted: OnceLock<BackendKey>,
    /// It is to look.
    called: AtomicBool,
    worker: Notifier,
}

/// What a request waits for.
#[derive(Debug)]
pub(crate) enum Wish {
    /// A backend of a tier that may be used, and was not tried.
    Any(OneOf),
    /// The backend that its visitor stays with.
    Only(BackendKey),
}

/// Backends of one tier.
#[derive(Debug)]
pub(crate) struct OneOf {
    /// With the addresses of its names.
    pub(crate) site: Arc<Site>,
    /// The places of pool and tier.
    pub(crate) tier: (usize, usize),
    /// Not these.
    pub(crate) tried: Box<[BackendKey]>,
}

impl PoolQueue {
    /// Whether somebody waits.
    pub(crate) fn is_used(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Whether somebody waits who takes any backend: who comes now goes behind.
    pub(crate) fn is_used_by_any(&self) -> bool {
        self.waiting_for_any.load(Ordering::SeqCst) > 0
    }

    /// Stands in line for `wish`, unless `most` do already. Whoever stands there must look once more
    /// whether there is room, and leave in the end ([`PoolQueue::leave`]).
    pub(crate) fn enter(&self, wish: Wish, most: u32, worker: Notifier) -> Option<Arc<Waiter>> {
        let mut line = self.line();
        if line.len() >= most as usize {
            return None;
        }
        self.count(&wish, 1);
        let waiter = Arc::new(Waiter {
            wish,
            granted: OnceLock::new(),
            called: AtomicBool::new(false),
            worker,
        });
        line.push_back(Arc::clone(&waiter));
        Some(waiter)
    }

    /// Leaves the line. The place that it was given, where it was.
    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) -> Option<BackendKey> {
        let mut line = self.line();
        // Who has a place stands there no more, and gets none while we hold the line.
        let granted = waiter.granted.get();
        if granted.is_none()
            && let Some(place) = line.iter().position(|other| Arc::ptr_eq(other, waiter))
        {
            line.remove(place);
            self.count(&waiter.wish, -1);
            // Where it found something without being given it, there may be more.
            let mut next = line.iter();
            if let Some(next) = next.find(|other| other.wish.is_like(&waiter.wish)) {
                next.called.store(true, Ordering::Release);
                next.worker.notify();
            }
        }
        granted.cloned()
    }

    /// Whether nobody stands before it with the same wish: what it finds is its to take.
    pub(crate) fn is_first(&self, waiter: &Arc<Waiter>) -> bool {
        let line = self.line();
        let mut rivals = line.iter().filter(|other| other.wish.is_like(&waiter.wish));
        rivals
            .next()
            .is_some_and(|first| Arc::ptr_eq(first, waiter))
    }

    /// A request at a backend that may have `most` has ended: the first that may have the place
    /// gets it.
    pub(crate) fn pass_on(&self, key: &BackendKey, state: &BackendState, most: u32) {
        if !self.is_used() {
            return;
        }
        let mut line = self.line();
        let Some(place) = line.iter().position(|it| it.wish.takes(key, state)) else {
            return;
        };
        if !state.load().try_begin(most) {
            return;
        }
        if let Some(waiter) = line.remove(place) {
            self.count(&waiter.wish, -1);
            let _ = waiter.granted.set(key.clone());
            waiter.called.store(true, Ordering::Release);
            waiter.worker.notify();
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more or one less with this wish; whoever holds the line.
    fn count(&self, wish: &Wish, more: i32) {
        let add = |count: &AtomicU32| count.fetch_add(more as u32, Ordering::SeqCst);
        add(&self.waiting);
        if matches!(wish, Wish::Any(_)) {
            add(&self.waiting_for_any);
        }
    }
}

impl Waiter {
    /// What it waits for.
    pub(crate) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Whether it was called since this was asked last.
    pub(crate) fn is_called(&self) -> bool {
        self.called.swap(false, Ordering::Acquire)
    }

    /// Whether it has a place.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted.get().is_some()
    }
}

impl Wish {
    /// Whether the place at this backend is one that it waits for.
    fn takes(&self, key: &BackendKey, state: &BackendState) -> bool {
        match self {
            Wish::Only(only) => only == key && state.health() != Health::Down,
            Wish::Any(one_of) => {
                state.is_usable()
                    && !one_of.tried.contains(key)
                    && one_of.tier().backends.iter().any(|it| it.key == *key)
            }
        }
    }

    /// Whether both wait for the same.
    pub(crate) fn is_like(&self, other: &Wish) -> bool {
        match (self, other) {
            (Wish::Any(_), Wish::Any(_)) => true,
            (Wish::Only(one), Wish::Only(other)) => one == other,
            (Wish::Any(_), Wish::Only(_)) | (Wish::Only(_), Wish::Any(_)) => false,
        }
    }
}

impl OneOf {
    fn tier(&self) -> &Tier {
        let (pool, tier) = self.tier;
        &self.site.pools[pool].tiers[tier]
    }
}
