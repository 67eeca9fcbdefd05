//! What the plane knows of a backend while it runs, whatever the revision: whether requests may go
//! to it, and what each worker counted of it.
//!
//! Of most backends of a host with very many sites there is nothing to know for a long time: what
//! checks, requests and people have come to stands apart ([`Experience`]), and is made when the
//! first of them comes.
//!
//! A state is kept under the backend's [`meridian_model::snapshot::BackendKey`], and a revision that
//! leaves the backend as it was takes it over ([`crate::routing`]). Workers share it. What they look
//! at for each pick is one word that changes seldom, so its cache line stays with all of them.

mod load;

use crate::balance::WHOLE;
use crate::counters::{BackendCounters, Counter};
pub(crate) use load::{Load, Outcome};
use meridian_sys::Clock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

/// Bits of a standing's word.
const HEALTH_MASK: u32 = 0b11;
const DRAINING: u32 = 0b100;

/// The share that a backend has at least while it comes to its whole weight: one in a hundred.
const SHARE_MIN: u32 = WHOLE / 100;

/// What is known of a backend's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// Nobody looked yet, or nobody looks: it gets requests.
    Unchecked,
    /// It answered.
    Up,
    /// It did not: it gets no requests.
    Down,
}

/// The last change of a backend's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthChange {
    /// When it was seen, by the wall clock.
    pub(crate) at: SystemTime,
    /// What was seen, in words.
    pub(crate) reason: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct BackendState {
    standing: AtomicU32,
    experience: OnceLock<Arc<Experience>>,
}

/// There is one for each backend of each site.
const _: () = assert!(size_of::<BackendState>() <= 24);

/// What there is to know of a backend that was checked, used or drained.
#[derive(Debug, Default)]
pub(crate) struct Experience {
    /// Checks that have ended; the thread of health checks counts.
    pub(crate) checks: Counter,
    /// Of these, the failed ones.
    pub(crate) check_failures: Counter,
    /// By worker, from the first time that one has it.
    counters: OnceLock<Arc<[BackendCounters]>>,
    /// By the process's clock; 0: it was never down, nor drained.
    up_since_ns: AtomicU64,
    /// Of a backend whose pool asks for it.
    load: OnceLock<Box<Load>>,
    /// Taken only when the health changes and by who shows it. None: it is as it was at first.
    last_change: Mutex<Option<HealthChange>>,
}

impl Health {
    /// The word for people and programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Health::Unchecked => "unchecked",
            Health::Up => "up",
            Health::Down => "down",
        }
    }

    fn of_bits(standing: u32) -> Health {
        match standing & HEALTH_MASK {
            0 => Health::Unchecked,
            1 => Health::Up,
            _ => Health::Down,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Health::Unchecked => 0,
            Health::Up => 1,
            Health::Down => 2,
        }
    }
}

impl BackendState {
    /// Every word for a state.
    pub(crate) const WORDS: [&'static str; 4] = ["up", "down", "unchecked", "draining"];

    /// The state of a backend that nobody has looked at; it is drained if `draining`.
    pub(crate) fn new(draining: bool) -> BackendState {
        let draining = if draining { DRAINING } else { 0 };
        BackendState {
            standing: AtomicU32::new(Health::Unchecked.bits() | draining),
            experience: OnceLock::new(),
        }
    }

    /// What there is to know of it, for who adds to that.
    pub(crate) fn experience(&self) -> &Arc<Experience> {
        self.experience.get_or_init(Arc::default)
    }

    /// Checks that have ended, and those of them that failed.
    pub(crate) fn checks(&self) -> (u64, u64) {
        let experience = self.experience.get();
        experience.map_or((0, 0), |it| (it.checks.get(), it.check_failures.get()))
    }

    /// The sum of what workers counted.
    pub(crate) fn sum(&self, pick: impl Fn(&BackendCounters) -> &Counter) -> u64 {
        let counters = self.experience.get().and_then(|it| it.counters.get());
        let counters = counters.iter().flat_map(|counters| counters.iter());
        counters.map(|counters| pick(counters).get()).sum()
    }

    /// Whether a request may go to it that might as well go elsewhere.
    pub(crate) fn is_usable(&self) -> bool {
        // It guards no other memory: a pick that misses the latest word is as one made before it.
        let standing = self.standing.load(Ordering::Relaxed);
        standing & DRAINING == 0 && Health::of_bits(standing) != Health::Down
    }

    /// Whether it is drained: it gets no requests that might as well go elsewhere.
    pub(crate) fn is_draining(&self) -> bool {
        self.standing.load(Ordering::Relaxed) & DRAINING != 0
    }

    /// The part of its weight that it has in a pool whose backends take `slow_start_ns` to the whole
    /// of it: in proportion to the time since it came back.
    pub(crate) fn share(&self, slow_start_ns: u64, now_ns: u64) -> u32 {
        let since_ns = self.up_since_ns();
        // A worker reads its clock once a turn: it may have come back after that.
        let passed_ns = now_ns.saturating_sub(since_ns);
        if since_ns == 0 || passed_ns >= slow_start_ns {
            return WHOLE;
        }
        let share = u128::from(WHOLE) * u128::from(passed_ns) / u128::from(slow_start_ns);
        (share as u32).max(SHARE_MIN)
    }

    /// Has it drained, or not any more. Whether that is news.
    pub(crate) fn set_draining(&self, draining: bool) -> bool {
        if !draining && self.is_draining() {
            // Before requests come, as where its health changes.
            let now_ns = Clock::of_process().now_ns();
            self.set_up_since_ns(now_ns);
        }
        let before = match draining {
            true => self.standing.fetch_or(DRAINING, Ordering::Release),
            false => self.standing.fetch_and(!DRAINING, Ordering::Release),
        };
        (before & DRAINING != 0) != draining
    }

    /// How many requests may be at it from here on; `None`: any number.
    pub(crate) fn limit(&self, most: Option<u32>) {
        match most {
            Some(most) => self.load().limit(most),
            None => {
                let load = self.experience.get().and_then(|it| it.load.get());
                load.iter().for_each(|load| load.limit(u32::MAX));
            }
        }
    }

    /// How loaded it is ([`Experience::load`]).
    pub(crate) fn load(&self) -> &Load {
        self.experience().load()
    }

    /// What is known of its health.
    pub(crate) fn health(&self) -> Health {
        Health::of_bits(self.standing.load(Ordering::Relaxed))
    }

    /// Its state in a word, for people and programs: one of [`BackendState::WORDS`].
    pub(crate) fn word(&self) -> &'static str {
        match (self.health(), self.is_draining()) {
            (health @ Health::Down, _) | (health, false) => health.word(),
            (_, true) => "draining",
        }
    }

    /// Says what its health is now, and why: whether that is news. Any thread may say so; `reason`
    /// is kept only where the health changes.
    pub(crate) fn set_health(&self, health: Health, reason: &str) -> bool {
        if self.health() == health && self.experience.get().is_none() {
            return false;
        }
        let last_change = self.experience().last_change.lock();
        let mut last_change = last_change.unwrap_or_else(PoisonError::into_inner);
        let before = self.health();
        if before == health {
            return false;
        }
        if before == Health::Down {
            // Before it is up: who sees that it is sees since when.
            let now_ns = Clock::of_process().now_ns();
            self.set_up_since_ns(now_ns);
        }
        let with_health = |standing| Some(standing & !HEALTH_MASK | health.bits());
        let _ = self
            .standing
            .fetch_update(Ordering::Release, Ordering::Relaxed, with_health);
        *last_change = Some(HealthChange {
            at: SystemTime::now(),
            reason: reason.into(),
        });
        true
    }

    /// When its health changed last, and why; none while it is as it was at first.
    pub(crate) fn last_change(&self) -> Option<HealthChange> {
        let last_change = self.experience.get()?.last_change.lock();
        let last_change = last_change.unwrap_or_else(PoisonError::into_inner);
        last_change.clone()
    }

    fn up_since_ns(&self) -> u64 {
        let experience = self.experience.get();
        experience.map_or(0, |it| it.up_since_ns.load(Ordering::Relaxed))
    }

    fn set_up_since_ns(&self, now_ns: u64) {
        let up_since_ns = &self.experience().up_since_ns;
        up_since_ns.store(now_ns, Ordering::Relaxed);
    }
}

impl Experience {
    /// What each of so many workers counts.
    pub(crate) fn counters(&self, workers: usize) -> &Arc<[BackendCounters]> {
        let each = || (0..workers).map(|_| BackendCounters::default()).collect();
        self.counters.get_or_init(each)
    }

    /// How loaded it is, as far as its load is counted: from the first time that somebody asks.
    pub(crate) fn load(&self) -> &Load {
        self.load.get_or_init(Box::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_health_is_news() {
        let state = BackendState::new(false);
        assert!(state.is_usable() && state.last_change().is_none());
        assert!(!state.set_health(Health::Unchecked, "nothing"));
        assert!(state.experience.get().is_none());
        assert!(state.set_health(Health::Up, "connected"));
        assert_eq!(state.up_since_ns(), 0);
        assert!(state.set_health(Health::Down, "refused"));
        assert!(!state.is_usable());
        assert!(!state.set_health(Health::Down, "timed out"));
        let reason = |state: &BackendState| state.last_change().map(|it| it.reason);
        assert_eq!(reason(&state).as_deref(), Some("refused"));
        let before_ns = Clock::of_process().now_ns();
        assert!(state.set_health(Health::Up, "connected"));
        assert!(state.is_usable());
        assert!(state.up_since_ns() >= before_ns);
    }

    #[test]
    fn draining_and_health_do_not_touch_each_other() {
        let state = BackendState::new(true);
        assert!(!state.is_usable() && state.is_draining());
        assert!(!state.set_draining(true));
        state.set_health(Health::Down, "refused");
        assert!(state.set_draining(false));
        assert!(!state.is_usable() && state.health() == Health::Down);
        assert!(state.set_draining(true));
        state.set_health(Health::Up, "connected");
        assert!(!state.is_usable() && state.health() == Health::Up);
        assert_eq!(state.word(), "draining");
        assert!(state.set_draining(false) && state.is_usable());
    }

    #[test]
    fn a_backend_that_came_back_comes_to_its_weight_in_time() {
        let state = BackendState::new(false);
        let slow_start_ns = 10_000_000_000;
        // What was never away has all of it.
        assert_eq!(state.share(slow_start_ns, 5), WHOLE);
        for come_back in [
            |state: &BackendState| {
                state.set_health(Health::Down, "refused");
                state.set_health(Health::Up, "connected")
            },
            |state: &BackendState| {
                state.set_draining(true);
                state.set_draining(false)
            },
        ] {
            state.set_up_since_ns(0);
            assert!(come_back(&state));
            let since_ns = state.up_since_ns();
            let share = |passed_ns| state.share(slow_start_ns, since_ns + passed_ns);
            assert_eq!(share(0), SHARE_MIN);
            assert_eq!(state.share(slow_start_ns, since_ns - 1), SHARE_MIN);
            assert_eq!(share(slow_start_ns / 4), WHOLE / 4);
            assert_eq!(share(slow_start_ns - 1), WHOLE - 1);
            assert_eq!(share(slow_start_ns), WHOLE);
        }
    }
}
