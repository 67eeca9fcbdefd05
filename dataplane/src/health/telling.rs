//! What is told on stderr of backends whose health changed: a line each, as long as they are few.
//!
//! Whoever reads stderr may have stopped to, and checks must go on: what it does not take is left
//! out, as what is too much is, and how many were left out is told later.

use meridian_model::limits::HEALTH_LINES_PER_SECOND_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(super) struct Telling {
    second: Instant,
    told: u32,
    left_out: u64,
}

impl Telling {
    /// Nothing was told yet.
    pub(super) fn new(now: Instant) -> Telling {
        Telling {
            second: now,
            told: 0,
            left_out: 0,
        }
    }

    /// Tells this, or counts it as left out.
    pub(super) fn tell(&mut self, now: Instant, line: &str) {
        self.turn_over(now);
        if self.told < HEALTH_LINES_PER_SECOND_MAX && write_line(line) {
            self.told += 1;
        } else {
            self.left_out += 1;
        }
    }

    /// When [`Telling::turn_over`] has something to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.left_out > 0).then(|| self.second + Duration::from_secs(1))
    }

    /// Tells what was left out, once a second is over.
    pub(super) fn turn_over(&mut self, now: Instant) {
        if now < self.second + Duration::from_secs(1) {
            return;
        }
        self.second = now;
        self.told = 0;
        let left_out = self.left_out;
        if left_out > 0 && write_line(&format!("health of {left_out} more backends changed")) {
            self.told = 1;
            self.left_out = 0;
        }
    }
}

/// Whether stderr took it.
fn write_line(line: &str) -> bool {
    let stderr = std::io::stderr();
    let mut interest = [PollFd::new(&stderr, PollFlags::OUT)];
    // A pipe that is writable takes a line of up to 4 KiB at once (pipe(7), PIPE_BUF).
    let is_writable = poll(&mut interest, Some(&Timespec::default())).is_ok_and(|met| met > 0);
    let line = format!("meridian-dataplane: {line}\n");
    is_writable && stderr.lock().write_all(line.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let begun = Instant::now();
        let mut telling = Telling::new(begun);
        for _ in 0..HEALTH_LINES_PER_SECOND_MAX {
            telling.tell(begun, "a backend changed (from a test)");
        }
        assert!(telling.left_out == 0 && telling.due().is_none());
        (0..7).for_each(|_| telling.tell(begun, "never seen"));
        assert_eq!(telling.left_out, 7);
        assert_eq!(telling.due(), Some(begun + Duration::from_secs(1)));
        telling.turn_over(begun + Duration::from_millis(999));
        assert_eq!(telling.left_out, 7);
        telling.turn_over(begun + Duration::from_secs(1));
        assert_eq!((telling.left_out, telling.told), (0, 1));
    }
}
