//! The clock of a process: nanoseconds of CLOCK_MONOTONIC, from an origin that its threads share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where the clock began, as the first thread that looked at it saw it.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// A monotonic clock with an origin of the process's own, so that a point in time is one `u64`,
/// which means the same to each of its threads.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// The process's clock.
    pub fn of_process() -> Clock {
        let origin = *ORIGIN.get_or_init(|| {
            // An origin one second back keeps zero free to mean "never".
            let now = Instant::now();
            now.checked_sub(Duration::from_secs(1)).unwrap_or(now)
        });
        Clock { origin }
    }

    /// What it shows now, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}
