//! Where requests of all workers wait for room at the backends of a pool.
//!
//! A backend with a limit is taken ([`crate::backend_state::Load::try_begin`]) before a request goes there. Who finds all of
//! them full stands in line; whoever ends a request at one gives the place to the first in the line
//! that may have it, and wakes its worker. A request that comes while others wait for the same goes
//! behind them.
//!
//! The line is behind a lock that nobody takes but who waits, and who comes or ends a request while
//! somebody waits. It is held for a look along what is waited for at most.

use crate::backend_state::{BackendState, Health};
use meridian_model::snapshot::{BackendKey, Site, Tier};
use meridian_sys::Notifier;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// See the module. It outlives the revisions that have its pool.
#[derive(Debug, Default)]
pub(crate) struct PoolQueue {
    line: Mutex<Line>,
    /// How many stand in it.
    waiting: AtomicU32,
}

/// Those who wait, by what they wait for: whoever is before another in the line may have nothing
/// of what that one waits for, and must not stand in its way.
#[derive(Debug, Default)]
struct Line {
    /// Those who wait for the same: the first first, and never nobody.
    kinds: Vec<VecDeque<Arc<Waiter>>>,
    /// Grows with each who comes.
    place: u64,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    wish: Wish,
    /// The lower came earlier.
    place: u64,
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

    /// Whether somebody waits for the same: who comes now goes behind.
    pub(crate) fn has_like(&self, wish: &Wish) -> bool {
        self.line().kind(wish).is_some()
    }

    /// Stands in line for `wish`, unless `most` do already. Whoever stands there must look once more
    /// whether there is room, and leave in the end ([`PoolQueue::leave`]).
    pub(crate) fn enter(&self, wish: Wish, most: u32, worker: Notifier) -> Option<Arc<Waiter>> {
        let mut line = self.line();
        // Nobody comes or leaves while we hold the line.
        if self.waiting.load(Ordering::SeqCst) >= most {
            return None;
        }
        Some(self.add(&mut line, wish, None, worker))
    }

    /// Stands in line for something else than `before`, who has left it, and where that one would
    /// stand; at the end where there was none. The line takes it whatever its length is: it has let
    /// it in already.
    pub(crate) fn enter_again(
        &self,
        wish: Wish,
        before: Option<&Waiter>,
        worker: Notifier,
    ) -> Arc<Waiter> {
        let place = before.map(|it| it.place);
        self.add(&mut self.line(), wish, place, worker)
    }

    fn add(
        &self,
        line: &mut Line,
        wish: Wish,
        place: Option<u64>,
        worker: Notifier,
    ) -> Arc<Waiter> {
        let place = place.unwrap_or_else(|| {
            line.place += 1;
            line.place
        });
        let waiter = Arc::new(Waiter {
            wish,
            place,
            granted: OnceLock::new(),
            called: AtomicBool::new(false),
            worker,
        });
        match line.kind(&waiter.wish) {
            Some(kind) => {
                let kind = &mut line.kinds[kind];
                let at = kind.partition_point(|it| it.place < place);
                kind.insert(at, Arc::clone(&waiter));
            }
            None => line.kinds.push(VecDeque::from([Arc::clone(&waiter)])),
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        waiter
    }

    /// Leaves the line. The place that it was given, where it was.
    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) -> Option<BackendKey> {
        let mut line = self.line();
        // Who has a place stands there no more, and gets none while we hold the line.
        let granted = waiter.granted.get();
        if granted.is_none()
            && let Some(kind) = line.kind(&waiter.wish)
            && let Ok(at) = line.kinds[kind].binary_search_by_key(&waiter.place, |it| it.place)
        {
            line.remove(kind, at);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            // Where it found something without being given it, there may be more.
            if let Some(kind) = line.kind(&waiter.wish) {
                line.kinds[kind][0].call();
            }
        }
        granted.cloned()
    }

    /// Whether nobody stands before it with the same wish: what it finds is its to take.
    pub(crate) fn is_first(&self, waiter: &Arc<Waiter>) -> bool {
        let line = self.line();
        let kind = line.kind(&waiter.wish);
        kind.is_some_and(|kind| Arc::ptr_eq(&line.kinds[kind][0], waiter))
    }

    /// A request at a backend has ended: the first that may have the place gets it.
    pub(crate) fn pass_on(&self, key: &BackendKey, state: &BackendState) {
        if !self.is_used() {
            return;
        }
        let mut line = self.line();
        let kinds = line.kinds.iter().enumerate();
        let takers = kinds.filter(|(_, kind)| kind[0].wish.takes(key, state));
        let Some((kind, _)) = takers.min_by_key(|(_, kind)| kind[0].place) else {
            return;
        };
        if !state.load().try_begin() {
            return;
        }
        if let Some(waiter) = line.remove(kind, 0) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let _ = waiter.granted.set(key.clone());
            waiter.call();
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Where those stand who wait for the same.
    fn kind(&self, wish: &Wish) -> Option<usize> {
        let mut kinds = self.kinds.iter();
        kinds.position(|kind| kind[0].wish.is_like(wish))
    }

    fn remove(&mut self, kind: usize, at: usize) -> Option<Arc<Waiter>> {
        let removed = self.kinds[kind].remove(at);
        if self.kinds[kind].is_empty() {
            self.kinds.swap_remove(kind);
        }
        removed
    }
}

impl Waiter {
    /// What it waits for.
    pub(crate) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Has it look.
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.worker.notify();
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
            (Wish::Any(one), Wish::Any(other)) => {
                Arc::ptr_eq(&one.site, &other.site)
                    && one.tier == other.tier
                    && one.tried == other.tried
            }
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
