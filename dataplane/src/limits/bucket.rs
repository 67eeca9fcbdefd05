//! Requests per second, over all workers: a bucket of as many requests as may come at once, filled
//! at the rate.
//!
//! The bucket is one number that all workers share: the time when it will be full (the theoretical
//! arrival time of GCRA, ITU-T I.371 annex A). Were it touched for each request, workers would
//! pass its cache line around; so a worker takes some requests at a time, the more the faster they
//! come, and touches nothing shared until they are used up. A worker holds at most `lease_max` of
//! them. What it has not used within [`LEASE_MS`] it gives back when the next request comes.
//!
//! So in any time `t` at most `rate * t + burst + workers * (lease_max - 1)` requests pass, where
//! the last part is a quarter of the burst at most; and none is refused that `rate * t` and what
//! is left of the burst would let pass, but for what other workers hold.

use meridian_model::limits::{LEASE_MS, LEASE_REQUESTS_MAX};
use meridian_model::snapshot::Rate;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LEASE_NS: u64 = LEASE_MS * 1_000_000;

/// What is left of a rate. Points in time are on a clock that all workers share.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    full_at_ns: AtomicU64,
}

/// A rate as a bucket counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// In which one request comes in.
    interval_ns: u64,
    /// In which an empty bucket is full.
    fill_ns: u64,
    /// Requests that a worker takes at a time, at most.
    lease_max: u32,
}

impl Terms {
    pub(super) fn new(rate: Rate, workers: usize) -> Terms {
        let interval_ns = rate.interval().as_nanos() as u64;
        let a_quarter_of_all = rate.burst as usize / (4 * workers.max(1));
        let lease_max = (a_quarter_of_all as u32).clamp(1, LEASE_REQUESTS_MAX);
        Terms {
            interval_ns,
            fill_ns: interval_ns * u64::from(rate.burst),
            lease_max,
        }
    }
}

impl Bucket {
    /// Takes `wanted` requests, or as many as there are; when there is none, gives when there
    /// will be one.
    fn take(&self, terms: Terms, wanted: u32, now_ns: u64) -> Result<u32, u64> {
        let Terms {
            interval_ns,
            fill_ns,
            lease_max: _,
        } = terms;
        let mut seen_ns = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            let full_at_ns = seen_ns.max(now_ns);
            let there = (now_ns + fill_ns).saturating_sub(full_at_ns) / interval_ns;
            if there == 0 {
                return Err((full_at_ns + interval_ns).saturating_sub(fill_ns));
            }
            let taken = u64::from(wanted).min(there);
            let swapped = self.full_at_ns.compare_exchange_weak(
                seen_ns,
                full_at_ns + taken * interval_ns,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Ok(taken as u32),
                Err(newer_ns) => seen_ns = newer_ns,
            }
        }
    }

    /// Puts requests back that nobody used.
    fn give_back(&self, terms: Terms, count: u32) {
        let back_ns = u64::from(count) * terms.interval_ns;
        // A bucket is never fuller than full: a time that is over is as good as now.
        self.change(|full_at_ns| full_at_ns.saturating_sub(back_ns));
    }

    /// The rate is another from now on: what was taken at the old one costs no more than all that
    /// the new one has.
    pub(super) fn settle(&self, terms: Terms, now_ns: u64) {
        self.change(|full_at_ns| full_at_ns.min(now_ns + terms.fill_ns));
    }

    fn change(&self, change: impl Fn(u64) -> u64) {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let changed = self
            .full_at_ns
            .fetch_update(set, fetch, |it| Some(change(it)));
        changed.expect("the new value is always given");
    }
}

/// What a worker holds of a bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lease {
    left: u32,
    /// How many are taken the next time.
    size: u32,
    taken_ns: u64,
    /// Before this the bucket has nothing, so nobody looks.
    empty_until_ns: u64,
}

impl Lease {
    /// Lets one request pass; the error is how long it takes until one may.
    pub(super) fn spend(
        &mut self,
        bucket: &Bucket,
        terms: Terms,
        now_ns: u64,
    ) -> Result<(), Duration> {
        if self.left > 0 && now_ns < self.taken_ns + LEASE_NS {
            self.left -= 1;
            return Ok(());
        }
        self.renew(bucket, terms, now_ns)
    }

    /// The last request that passed is not served after all.
    pub(super) fn unspend(&mut self) {
        self.left += 1;
    }

    fn renew(&mut self, bucket: &Bucket, terms: Terms, now_ns: u64) -> Result<(), Duration> {
        if self.left > 0 {
            bucket.give_back(terms, self.left);
            self.left = 0;
            self.size /= 2;
        } else if now_ns < self.empty_until_ns {
            return Err(Duration::from_nanos(self.empty_until_ns - now_ns));
        } else if now_ns < self.taken_ns + LEASE_NS {
            self.size *= 2;
        }
        self.size = self.size.clamp(1, terms.lease_max);
        match bucket.take(terms, self.size, now_ns) {
            Ok(taken) => {
                self.left = taken - 1;
                self.taken_ns = now_ns;
                Ok(())
            }
            Err(at_ns) => {
                self.empty_until_ns = at_ns;
                Err(Duration::from_nanos(at_ns.saturating_sub(now_ns)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn terms(requests_per_second: u32, burst: u32, workers: usize) -> Terms {
        let rate = Rate {
            requests_per_second,
            burst,
        };
        Terms::new(rate, workers)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (bucket, terms) = (Bucket::default(), terms(10, 4, 1));
        let mut lease = Lease::default();
        let mut spend = |now_ns| lease.spend(&bucket, terms, now_ns);
        for _ in 0..4 {
            assert_eq!(spend(SECOND), Ok(()));
        }
        assert_eq!(spend(SECOND), Err(Duration::from_millis(100)));
        assert_eq!(spend(SECOND + SECOND / 20), Err(Duration::from_millis(50)));
        assert_eq!(spend(SECOND + SECOND / 10), Ok(()));
        assert!(spend(SECOND + SECOND / 10).is_err());
        // Full again, and not fuller.
        for _ in 0..4 {
            assert_eq!(spend(100 * SECOND), Ok(()));
        }
        assert!(spend(100 * SECOND).is_err());
    }

    #[test]
    fn another_rate_begins_with_what_the_old_one_left() {
        let bucket = Bucket::default();
        let mut lease = Lease::default();
        let slow = terms(1, 100, 1);
        for _ in 0..100 {
            assert_eq!(lease.spend(&bucket, slow, SECOND), Ok(()));
        }
        let fast = terms(1000, 1000, 1);
        bucket.settle(fast, SECOND);
        let mut lease = Lease::default();
        let wait = lease.spend(&bucket, fast, SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_millis(1));
        assert_eq!(lease.spend(&bucket, fast, SECOND + SECOND / 1000), Ok(()));
    }

    #[test]
    fn what_a_worker_does_not_use_another_one_gets() {
        let (bucket, terms) = (Bucket::default(), terms(1, 400, 2));
        let (mut one, mut other) = (Lease::default(), Lease::default());
        for _ in 0..100 {
            assert_eq!(one.spend(&bucket, terms, SECOND), Ok(()));
        }
        let held = one.left as usize;
        assert!(held > 0, "it takes some at a time by now");
        let mut rest = || {
            let each = (0..1000).map(|_| other.spend(&bucket, terms, SECOND + LEASE_NS));
            each.take_while(Result::is_ok).count()
        };
        assert_eq!(rest(), 300 - held);
        // It comes late, gives back what it holds, and takes less.
        assert_eq!(one.spend(&bucket, terms, SECOND + LEASE_NS), Ok(()));
        assert!((one.left as usize) < held);
        let held_still = one.left as usize;
        other = Lease::default();
        let each = (0..1000).map(|_| other.spend(&bucket, terms, SECOND + LEASE_NS));
        let passed = each.take_while(Result::is_ok).count();
        assert_eq!(passed, held - 1 - held_still);
    }

    proptest! {
        /// Whatever comes when and where: the bound of the module's documentation holds over every
        /// time, and under steady pressure the rate is used up.
        #[test]
        fn never_more_than_the_bound_and_not_much_less(
            requests_per_second in 1..5_000_u32,
            burst in 1..2_000_u32,
            workers in 1..8_usize,
            gaps_us in proptest::collection::vec((0..8_usize, 0..20_000_u64), 1..400),
        ) {
            let terms = terms(requests_per_second, burst, workers);
            let bucket = Bucket::default();
            let mut leases = vec![Lease::default(); workers];
            let mut now_ns = SECOND;
            let mut passed_ns = Vec::new();
            for (worker, gap_us) in gaps_us {
                now_ns += gap_us * 1000;
                // As much as one can have at once.
                while leases[worker % workers].spend(&bucket, terms, now_ns).is_ok() {
                    passed_ns.push(now_ns);
                }
            }
            let held = workers as u64 * u64::from(terms.lease_max - 1);
            let most = |t_ns: u64| t_ns / terms.interval_ns + u64::from(burst) + held + 1;
            for (first, &from_ns) in passed_ns.iter().enumerate().step_by(7) {
                for (last, &to_ns) in passed_ns.iter().enumerate().skip(first).step_by(5) {
                    prop_assert!((last - first + 1) as u64 <= most(to_ns - from_ns));
                }
            }
            // Between two requests the bucket is never full, so nothing is lost. When there is no whole
            // request in it, there may be most of one.
            if terms.fill_ns > 20_000_000 + terms.interval_ns {
                let all_ns = now_ns - passed_ns[0];
                let came = all_ns / terms.interval_ns + u64::from(burst);
                prop_assert!(passed_ns.len() as u64 + held + 1 >= came);
            }
            prop_assert!(held * 4 <= u64::from(burst));
        }
    }
}
