//! When something is to happen to a target of itself, in whole milliseconds.
//!
//! Thousands of targets are due each second, and half of the timers are outdated before they fire:
//! the end of a check's patience, when it has been answered. So a timer is not removed but looked at
//! when it fires, and those of one millisecond stand together. A heap of them all would be walked
//! from top to bottom for each, through memory that is in no cache.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A time of these timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due(u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Timers {
    begun: Instant,
    by_time: BTreeMap<Due, Vec<u64>>,
}

impl Timers {
    /// None is set.
    pub(super) fn new(now: Instant) -> Timers {
        Timers {
            begun: now,
            by_time: BTreeMap::new(),
        }
    }

    /// Sets one of the target with this number for `at`, or up to a millisecond later.
    pub(super) fn set(&mut self, at: Instant, number: u64) -> Due {
        let since = at.saturating_duration_since(self.begun).as_nanos();
        let due = Due(u64::try_from(since.div_ceil(1_000_000)).unwrap_or(u64::MAX));
        self.by_time.entry(due).or_default().push(number);
        due
    }

    /// Those of the earliest time, when it has come by `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Due, Vec<u64>)> {
        let first = self.by_time.first_entry()?;
        (Self::instant(self.begun, *first.key()) <= now).then(|| first.remove_entry())
    }

    /// When the earliest is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let (due, _) = self.by_time.first_key_value()?;
        Some(Self::instant(self.begun, *due))
    }

    /// What `due` is by the process's clock.
    pub(super) fn at(&self, due: Due) -> Instant {
        Self::instant(self.begun, due)
    }

    fn instant(begun: Instant, due: Due) -> Instant {
        begun + Duration::from_millis(due.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_never_early() {
        let begun = Instant::now();
        let after = |us| begun + Duration::from_micros(us);
        let mut timers = Timers::new(begun);
        assert!(timers.next().is_none() && timers.take(after(1_000_000)).is_none());
        let second = timers.set(after(5_001), 2);
        let first = timers.set(after(1_000), 1);
        assert_eq!(timers.set(after(5_999), 3), second);
        assert!(first < second);
        assert_eq!(timers.next(), Some(after(1_000)));
        assert!(timers.take(after(999)).is_none());
        assert_eq!(timers.take(after(1_000)), Some((first, vec![1])));
        assert!(timers.take(after(5_999)).is_none());
        assert_eq!(timers.take(after(6_000)), Some((second, vec![2, 3])));
        assert_eq!(timers.at(second), after(6_000));
        assert!(timers.next().is_none());
    }
}
