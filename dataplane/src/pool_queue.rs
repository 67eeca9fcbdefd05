//! Where requests of all workers wait for room at the backends of a pool.
//!
//! A backend with a limit is taken ([`crate::backend_state::Load::try_begin`]) before a request goes there. Who finds all of
//! them full stands in line; whoever ends a request at one gives the place to the first in the line
//! that may have it, and wakes its worker. A request that comes while others wait for the same goes
//! behind them.
//!
//! The line is behind a lock that nobody takes but who waits, and who comes or ends a request while
//! somebody waits. However long the line is, it is held for a search in it. Who ends a request finds his
//! backend in each tier that is waited for besides, once, and looks at each thing that is waited for
//! there, of which there are few.

use crate::backend_state::{BackendState, Health};
use crossbeam_queue::SegQueue;
use meridian_model::limits::QUEUE_KINDS_MAX;
use meridian_model::snapshot::{BackendKey, Site, Tier};
use meridian_sys::{Notifier, TaskId};
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
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
    any: HashMap<TierOf, HashMap<Tried, Kind>>,
    /// How many different things of that are waited for.
    kinds: usize,
    only: HashMap<BackendKey, Kind>,
    /// Grows with each who comes.
    place: u64,
}

/// Those who wait for the same, by their places; never nobody.
type Kind = BTreeMap<u64, Arc<Waiter>>;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    wish: Wish,
    /// The lower came earlier.
    place: u64,
    /// The backend where it has a place now.
    granted: OnceLock<BackendKey>,
    /// Nobody stands before it with the same wish.
    first: AtomicBool,
    /// It is among the calls of its worker.
    called: AtomicBool,
    caller: Caller,
}

/// Whom to wake.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The task of a request.
    pub(crate) task: TaskId,
    /// Of its worker.
    pub(crate) calls: Arc<Calls>,
}

/// Those of one worker's waiters that are to look. Any thread adds to them.
#[derive(Debug)]
pub(crate) struct Calls {
    called: SegQueue<Arc<Waiter>>,
    worker: Notifier,
}

/// What a request waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A backend of a tier that may be used, and was not tried.
    Any(OneOf),
    /// The backend that its visitor stays with.
    Only(BackendKey),
}

/// Backends of one tier.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OneOf {
    /// The tier.
    pub(crate) of: TierOf,
    /// Not these.
    pub(crate) tried: Tried,
}

/// Backends that were tried.
type Tried = Box<[BackendKey]>;

/// A tier. The same site is the same revision of it.
#[derive(Debug, Clone)]
pub(crate) struct TierOf {
    /// With the addresses of its names.
    pub(crate) site: Arc<Site>,
    /// The places of pool and tier.
    pub(crate) tier: (usize, usize),
}

impl PoolQueue {
    /// Whether somebody waits.
    pub(crate) fn is_used(&self) -> bool {
        self.waiting() > 0
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Whether somebody waits for the same: who comes now goes behind.
    pub(crate) fn has_like(&self, wish: &Wish) -> bool {
        self.line().kind(wish).is_some()
    }

    /// Stands in line for `wish`, unless `most` do already, or too many different things are waited
    /// for. Whoever stands there must look once more whether there is room, and leave in the end
    /// ([`PoolQueue::leave`]).
    pub(crate) fn enter(&self, wish: Wish, most: u32, caller: Caller) -> Option<Arc<Waiter>> {
        let mut line = self.line();
        // Nobody comes or leaves while we hold the line.
        if self.waiting() >= most || !line.has_room_for(&wish) {
            return None;
        }
        Some(self.add(&mut line, wish, None, caller))
    }

    /// Stands in line for something else than `before`, who has left it, and where that one would
    /// stand; at the end where there was none. The line takes it whatever its length is: it has let
    /// it in already. But not where too many different things are waited for.
    pub(crate) fn enter_again(
        &self,
        wish: Wish,
        before: Option<&Waiter>,
        caller: Caller,
    ) -> Option<Arc<Waiter>> {
        let place = before.map(|it| it.place);
        let mut line = self.line();
        let has_room = line.has_room_for(&wish);
        has_room.then(|| self.add(&mut line, wish, place, caller))
    }

    fn add(&self, line: &mut Line, wish: Wish, place: Option<u64>, caller: Caller) -> Arc<Waiter> {
        let place = place.unwrap_or_else(|| {
            line.place += 1;
            line.place
        });
        let waiter = Arc::new(Waiter {
            wish,
            place,
            granted: OnceLock::new(),
            first: AtomicBool::new(false),
            called: AtomicBool::new(false),
            caller,
        });
        line.insert(Arc::clone(&waiter));
        self.waiting.fetch_add(1, Ordering::SeqCst);
        waiter
    }

    /// Leaves the line. The place that it was given, where it was.
    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) -> Option<BackendKey> {
        let mut line = self.line();
        // Who has a place stands there no more, and gets none while we hold the line.
        let granted = waiter.granted.get();
        if granted.is_none() && line.remove(&waiter.wish, waiter.place).is_some() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            // Where it found something without being given it, there may be more.
            let kind = line.kind(&waiter.wish);
            let first = kind
                .and_then(Kind::first_key_value)
                .map(|(_, first)| Arc::clone(first));
            drop(line);
            first.iter().for_each(Waiter::call);
        }
        granted.cloned()
    }

    /// A request at a backend has ended: the first that may have the place gets it.
    pub(crate) fn pass_on(&self, key: &BackendKey, state: &BackendState) {
        if !self.is_used() {
            return;
        }
        let mut line = self.line();
        let Some(first) = line.first_for(key, state) else {
            return;
        };
        if !state.load().try_begin() {
            return;
        }
        if line.remove(&first.wish, first.place).is_some() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let _ = first.granted.set(key.clone());
            drop(line);
            first.call();
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Those who wait for the same.
    fn kind(&self, wish: &Wish) -> Option<&Kind> {
        match wish {
            Wish::Any(OneOf { of, tried }) => self.any.get(of)?.get(tried),
            Wish::Only(key) => self.only.get(key),
        }
    }

    /// Who ends a request looks at each kind that may have any of several backends.
    fn has_room_for(&self, wish: &Wish) -> bool {
        match wish {
            Wish::Any(_) => self.kinds < QUEUE_KINDS_MAX || self.kind(wish).is_some(),
            Wish::Only(_) => true,
        }
    }

    fn insert(&mut self, waiter: Arc<Waiter>) {
        let kind = match &waiter.wish {
            Wish::Any(OneOf { of, tried }) => {
                let of_tier = self.any.entry(of.clone()).or_default();
                of_tier.entry(tried.clone()).or_default()
            }
            Wish::Only(key) => self.only.entry(key.clone()).or_default(),
        };
        let before = kind.first_key_value().map(|(_, first)| Arc::clone(first));
        if before.is_none() && matches!(waiter.wish, Wish::Any(_)) {
            self.kinds += 1;
        }
        kind.insert(waiter.place, waiter);
        if let Some((_, first)) = kind.first_key_value() {
            before.iter().for_each(|it| it.set_first(false));
            first.set_first(true);
        }
    }

    fn remove(&mut self, wish: &Wish, place: u64) -> Option<Arc<Waiter>> {
        let kind = match wish {
            Wish::Any(OneOf { of, tried }) => self.any.get_mut(of)?.get_mut(tried)?,
            Wish::Only(key) => self.only.get_mut(key)?,
        };
        let removed = kind.remove(&place)?;
        match kind.first_key_value() {
            Some((_, first)) => first.set_first(true),
            None => self.forget(wish),
        }
        Some(removed)
    }

    /// Nobody waits for that any more.
    fn forget(&mut self, wish: &Wish) {
        match wish {
            Wish::Any(OneOf { of, tried }) => {
                self.kinds -= 1;
                if let Some(of_tier) = self.any.get_mut(of) {
                    of_tier.remove(tried);
                    if of_tier.is_empty() {
                        self.any.remove(of);
                    }
                }
            }
            Wish::Only(key) => drop(self.only.remove(key)),
        }
    }

    /// Who has waited longest of those that may have a place at this backend.
    fn first_for(&self, key: &BackendKey, state: &BackendState) -> Option<Arc<Waiter>> {
        let only = self.only.get(key);
        let only = only.filter(|_| state.health() != Health::Down);
        let is_usable = state.is_usable();
        let tiers = self.any.iter();
        let tiers = tiers.filter(|(of, _)| is_usable && of.has(key));
        let any = tiers.flat_map(|(_, of_tier)| of_tier);
        let any = any.filter(|(tried, _)| !tried.contains(key));
        let kinds = any.map(|(_, kind)| kind).chain(only);
        let firsts = kinds.filter_map(Kind::first_key_value);
        let first = firsts.min_by_key(|(place, _)| **place);
        first.map(|(_, waiter)| Arc::clone(waiter))
    }
}

impl Waiter {
    /// What it waits for.
    pub(crate) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Has it look.
    fn call(self: &Arc<Waiter>) {
        // Once is enough until it does.
        if !self.called.swap(true, Ordering::AcqRel) {
            let Calls { called, worker } = &*self.caller.calls;
            called.push(Arc::clone(self));
            worker.notify();
        }
    }

    /// Whether it has a place.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted.get().is_some()
    }

    /// Whether nobody stands before it with the same wish: what it finds is its to take.
    pub(crate) fn is_first(&self) -> bool {
        self.first.load(Ordering::Acquire)
    }

    fn set_first(&self, first: bool) {
        self.first.store(first, Ordering::Release);
    }
}

impl Calls {
    /// None so far, for the worker that this wakes.
    pub(crate) fn new(worker: Notifier) -> Arc<Calls> {
        Arc::new(Calls {
            called: SegQueue::new(),
            worker,
        })
    }

    /// The task of the next who was called since it was taken last.
    pub(crate) fn take(&self) -> Option<TaskId> {
        let waiter = self.called.pop()?;
        waiter.called.store(false, Ordering::Release);
        Some(waiter.caller.task)
    }
}

impl TierOf {
    /// Whether this backend is one of them.
    fn has(&self, key: &BackendKey) -> bool {
        // In the order of names and addresses, which is that of the keys of one tier.
        let backends = &self.tier().backends;
        backends.binary_search_by(|it| it.key.cmp(key)).is_ok()
    }

    fn tier(&self) -> &Tier {
        let (pool, tier) = self.tier;
        &self.site.pools[pool].tiers[tier]
    }
}

impl PartialEq for TierOf {
    fn eq(&self, other: &TierOf) -> bool {
        Arc::ptr_eq(&self.site, &other.site) && self.tier == other.tier
    }
}

impl Eq for TierOf {}

impl Hash for TierOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.site).hash(state);
        self.tier.hash(state);
    }
}

#[cfg(test)]
mod tests;
