//! The worker's clock: nanoseconds since the runtime was made, from CLOCK_MONOTONIC.

use std::time::Instant;

/// A monotonic clock with an origin of its own, so that a point in time is one `u64`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        // An origin one second back keeps zero free to mean "never".
        let now = Instant::now();
        Clock {
            origin: now
                .checked_sub(std::time::Duration::from_secs(1))
                .unwrap_or(now),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}
