//! Whether a worker with nothing to do looks for completions itself for a while before it sleeps.
//!
//! To be woken costs more than most requests: the core that has news interrupts the one that
//! sleeps, which has to come out of its sleep state. Where news mostly comes within
//! [`BUSY_POLL_NS`], looking for it is cheaper for both. Where it does not, the worker sleeps at
//! once: a host with little to do uses no CPU. Nor does one that has much to do look: what
//! gathers while it sleeps costs less together than one by one.

use crate::limits::BUSY_POLL_NS;

/// What is known when a wait begins and tells short ones from long ones best: whether a task
/// waits, for a backend mostly, or only clients between their requests.
const KINDS: usize = 2;
const SCORE_MAX: u8 = 15;
/// Polls from here on.
const SCORE_POLLS: u8 = 8;

/// How long the share of the time that was spent waiting is measured.
const WINDOW_NS: u64 = 1_000_000;
/// One part in this many has to be spent waiting.
const WAITING_PART: u64 = 3;

/// Remembers of each kind of wait how the last ones went.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    allowed: bool,
    scores: [u8; KINDS],
    /// The last window was spent waiting for its part.
    has_time: bool,
    window_began_ns: u64,
    window_waited_ns: u64,
}

impl BusyPoll {
    pub(crate) fn new(allowed: bool) -> BusyPoll {
        BusyPoll {
            allowed,
            scores: [0; KINDS],
            has_time: true,
            window_began_ns: 0,
            window_waited_ns: 0,
        }
    }

    /// Whether the wait that begins is likely to be short.
    pub(crate) fn is_worth_it(&self, task_waits: bool) -> bool {
        self.allowed && self.has_time && self.scores[usize::from(task_waits)] >= SCORE_POLLS
    }

    /// From when to when a wait was, polled or slept. A few that go the other way change nothing, so one
    /// late answer among many does not put the worker to sleep, and one early one among few
    /// does not keep it awake.
    pub(crate) fn learn(&mut self, task_waits: bool, began_ns: u64, ended_ns: u64) {
        let waited_ns = ended_ns - began_ns;
        self.window_waited_ns += waited_ns;
        let window_ns = ended_ns - self.window_began_ns;
        if window_ns >= WINDOW_NS {
            self.has_time = self.window_waited_ns >= window_ns / WAITING_PART;
            self.window_began_ns = ended_ns;
            self.window_waited_ns = 0;
        }
        let score = &mut self.scores[usize::from(task_waits)];
        *score = if waited_ns <= BUSY_POLL_NS {
            (*score + 1).min(SCORE_MAX)
        } else {
            score.saturating_sub(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets waits of one length follow each other with work between them.
    struct Worker {
        poll: BusyPoll,
        now_ns: u64,
        work_ns: u64,
    }

    impl Worker {
        fn new(allowed: bool, work_ns: u64) -> Worker {
            Worker {
                poll: BusyPoll::new(allowed),
                now_ns: 0,
                work_ns,
            }
        }

        fn waits(&mut self, times: u32, task_waits: bool, wait_ns: u64) {
            for _ in 0..times {
                let began_ns = self.now_ns + self.work_ns;
                self.now_ns = began_ns + wait_ns;
                self.poll.learn(task_waits, began_ns, self.now_ns);
            }
        }
    }

    const LONG_NS: u64 = BUSY_POLL_NS + 1;

    #[test]
    fn short_waits_are_polled_and_long_ones_slept() {
        let mut worker = Worker::new(true, 10_000);
        assert!(!worker.poll.is_worth_it(true));
        worker.waits(8, true, BUSY_POLL_NS);
        assert!(worker.poll.is_worth_it(true));
        assert!(!worker.poll.is_worth_it(false), "the kinds are apart");
        worker.waits(100, true, 10_000);
        worker.waits(7, true, LONG_NS);
        assert!(worker.poll.is_worth_it(true));
        worker.waits(1, true, LONG_NS);
        assert!(
            !worker.poll.is_worth_it(true),
            "eight polls in vain are enough"
        );
        worker.waits(100, true, LONG_NS);
        worker.waits(8, true, 10_000);
        assert!(worker.poll.is_worth_it(true));
    }

    #[test]
    fn a_worker_with_much_to_do_sleeps() {
        let mut worker = Worker::new(true, 10_000);
        worker.waits(1000, true, 20_000);
        assert!(worker.poll.is_worth_it(true));
        worker.work_ns = 50_000;
        worker.waits(1000, true, 20_000);
        assert!(!worker.poll.is_worth_it(true));
        worker.work_ns = 10_000;
        worker.waits(1000, true, 20_000);
        assert!(worker.poll.is_worth_it(true));
    }

    #[test]
    fn where_it_is_not_allowed_nothing_is_polled() {
        let mut worker = Worker::new(false, 10_000);
        worker.waits(1000, true, 10_000);
        assert!(!worker.poll.is_worth_it(true));
    }
}
