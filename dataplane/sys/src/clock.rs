//! The clock of a process: nanoseconds of CLOCK_MONOTONIC, from an origin that its threads share.

use std::sync::OnceLock;

/// Where the clock began, as the first thread that looked at it saw it.
static ORIGIN_NS: OnceLock<u64> = OnceLock::new();

const SECOND_NS: u64 = 1_000_000_000;

/// A monotonic clock with an origin of the process's own, so that a point in time is one `u64`,
/// which means the same to each of its threads.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin_ns: u64,
}

impl Clock {
    /// The process's clock.
    pub fn of_process() -> Clock {
        // An origin one second back keeps zero free to mean "never".
        let origin_ns = *ORIGIN_NS.get_or_init(|| monotonic_ns().saturating_sub(SECOND_NS));
        Clock { origin_ns }
    }

    /// What it shows now, in nanoseconds.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        // Of one clock, and later: the kernel never sets it back.
        monotonic_ns() - self.origin_ns
    }
}

/// Read several times for each request, so without the arithmetic of `Instant`.
#[inline]
fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the timespec, which outlives it; of this clock it can not fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_zero_goes_on_and_is_the_same_for_all_threads() {
        let here = Clock::of_process();
        let first_ns = here.now_ns();
        assert!(first_ns >= SECOND_NS, "{first_ns}");
        std::thread::sleep(std::time::Duration::from_millis(5));
        let there_ns = std::thread::spawn(|| Clock::of_process().now_ns()).join();
        let there_ns = there_ns.expect("no panic");
        assert!(there_ns >= first_ns + 5_000_000, "{first_ns}, {there_ns}");
        assert!(here.now_ns() >= there_ns);
    }
}
