//! How loaded a backend is, as all workers of the host see it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// In this time what is known of a latency counts e times less.
const FADE_NS: f64 = 10e9;

/// What a try that failed counts as at least, and what is assumed of a backend that has not
/// answered yet and is asked: 1 s.
const PENALTY_US: u32 = 1_000_000;

/// A step of the time stamp: about a millisecond. It comes round after 52 days.
const STAMP_SHIFT: u32 = 20;

/// A line of its own: every worker writes it for each request. It is made for backends of pools
/// that look at it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Load {
    /// Requests that wait for it or are being answered by it, and tunnels.
    in_flight: AtomicU32,
    /// How many of these there may be, as the newest revision has it; `u32::MAX`: any number.
    most: AtomicU32,
    /// A [`Latency`]; 0: it never answered.
    latency: AtomicU64,
}

/// The peak-sensitive average of the time to a response's head: a longer time counts at once and
/// wholly, a shorter one by the time that has passed since the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Latency {
    us: u32,
    stamp: u32,
}

/// How a try at a backend ended, as far as its latency goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a response's head.
    Answered,
    /// The client went away while it waited: it would have taken longer.
    Abandoned,
    /// Badly.
    Failed,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            in_flight: AtomicU32::new(0),
            most: AtomicU32::new(u32::MAX),
            latency: AtomicU64::new(0),
        }
    }
}

impl Load {
    /// Only so many requests from here on, whatever the revision that they came under.
    pub(super) fn limit(&self, most: u32) {
        self.most.store(most, Ordering::SeqCst);
    }

    /// Whether there are as many requests as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.in_flight() >= self.most.load(Ordering::Relaxed)
    }

    /// A request more.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request more, if there are fewer than there may be; whether there were.
    pub(crate) fn try_begin(&self) -> bool {
        let most = self.most.load(Ordering::SeqCst);
        let begun = self
            .in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |there| {
                (there < most).then_some(there + 1)
            });
        begun.is_ok()
    }

    /// A request less. Whoever begins to wait and finds it here still is seen by who ends it.
    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Requests at it.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// A try ended like this after so long.
    pub(crate) fn observe(&self, outcome: Outcome, took_ns: u64, now_ns: u64) {
        let took_us = u32::try_from(took_ns / 1000).unwrap_or(u32::MAX);
        let stamp = (now_ns >> STAMP_SHIFT) as u32;
        let update = |word| {
            let before = Latency::of_word(word);
            let faded = before.map_or(0, |before| before.faded_us(stamp));
            let us = match outcome {
                // What was never known has no past that it could count against.
                Outcome::Answered if before.is_none() => took_us,
                Outcome::Answered => {
                    let kept = before.map_or(0.0, |before| before.kept(stamp));
                    let before_us = before.map_or(0, |before| before.us);
                    let average = f64::from(before_us) * kept + f64::from(took_us) * (1.0 - kept);
                    took_us.max(average as u32)
                }
                Outcome::Abandoned if took_us <= faded => return None,
                Outcome::Abandoned => took_us,
                Outcome::Failed => took_us.max(PENALTY_US).max(faded),
            };
            Some(Latency { us, stamp }.word())
        };
        let _ = self
            .latency
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// What a request that is given to it now may have to wait for: its latency, as often as
    /// requests would be at it then. In microseconds.
    pub(crate) fn expected_us(&self, now_ns: u64) -> u64 {
        let in_flight = u64::from(self.in_flight());
        let stamp = (now_ns >> STAMP_SHIFT) as u32;
        match Latency::of_word(self.latency.load(Ordering::Relaxed)) {
            Some(latency) => u64::from(latency.faded_us(stamp)) * (in_flight + 1),
            // Whoever has not answered yet gets one request to do so, not all of them.
            None => u64::from(PENALTY_US) * in_flight,
        }
    }
}

impl Latency {
    fn of_word(word: u64) -> Option<Latency> {
        (word != 0).then_some(Latency {
            us: (word >> 32) as u32,
            stamp: word as u32,
        })
    }

    fn word(self) -> u64 {
        // A latency of 0 at the stamp 0 would be none.
        (u64::from(self.us) << 32 | u64::from(self.stamp)).max(1)
    }

    /// What part of it still counts.
    fn kept(self, stamp: u32) -> f64 {
        let passed = stamp.wrapping_sub(self.stamp) as i32;
        // Workers' clocks are read once a turn: the stamp may be of one that is ahead.
        let passed_ns = f64::from(passed.max(0)) * f64::from(1_u32 << STAMP_SHIFT);
        (-passed_ns / FADE_NS).exp()
    }

    fn faded_us(self, stamp: u32) -> u32 {
        (f64::from(self.us) * self.kept(stamp)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn no_more_begin_than_may() {
        let load = Load::default();
        load.limit(2);
        assert!(load.try_begin() && load.try_begin() && !load.try_begin());
        load.end();
        assert!(load.try_begin());
        load.limit(1);
        assert!(!load.try_begin());
        // A limit that was lowered holds for those that come.
        load.end();
        assert!(!load.try_begin());
        assert_eq!(load.in_flight(), 1);
    }

    #[test]
    fn a_longer_time_counts_at_once_and_a_shorter_one_by_and_by() {
        let load = Load::default();
        assert_eq!(load.expected_us(SECOND_NS), 0);
        load.observe(Outcome::Answered, 2_000_000, SECOND_NS);
        assert_eq!(load.expected_us(SECOND_NS), 2000);
        load.observe(Outcome::Answered, 50_000_000, SECOND_NS);
        assert_eq!(load.expected_us(SECOND_NS), 50_000);
        load.observe(Outcome::Answered, 2_000_000, SECOND_NS + 1);
        assert_eq!(load.expected_us(SECOND_NS), 50_000);
        // One time constant later a part of 1/e is left of it.
        load.observe(Outcome::Answered, 2_000_000, 11 * SECOND_NS);
        let expected = load.expected_us(11 * SECOND_NS);
        assert!((19_000..20_000).contains(&expected), "{expected}");
        let faded = load.expected_us(111 * SECOND_NS);
        assert!(faded < 3, "{faded}");
        load.observe(Outcome::Failed, 1000, 111 * SECOND_NS);
        assert_eq!(load.expected_us(111 * SECOND_NS), 1_000_000);
    }

    #[test]
    fn who_waits_for_it_makes_it_dearer() {
        let load = Load::default();
        load.begin();
        assert_eq!(load.expected_us(0), u64::from(PENALTY_US));
        load.observe(Outcome::Answered, 3_000_000, SECOND_NS);
        load.begin();
        assert_eq!((load.in_flight(), load.expected_us(SECOND_NS)), (2, 9000));
        load.end();
        load.end();
        assert_eq!((load.in_flight(), load.expected_us(SECOND_NS)), (0, 3000));
    }

    #[test]
    fn who_gives_up_says_how_long_it_takes_at_least() {
        let load = Load::default();
        load.observe(Outcome::Answered, 5_000_000, SECOND_NS);
        load.observe(Outcome::Abandoned, 1_000_000, SECOND_NS);
        assert_eq!(load.expected_us(SECOND_NS), 5000);
        load.observe(Outcome::Abandoned, 9_000_000, SECOND_NS);
        assert_eq!(load.expected_us(SECOND_NS), 9000);
    }
}
