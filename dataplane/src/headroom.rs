//! How much of what a worker has is left, so how much more it could do.
//!
//! Time is that of the last ten to twenty seconds: since the start it would say little after an
//! hour. What can be taken back from idle clients is free.

use crate::shared::{Shared, WorkerBoard};
use std::time::Duration;

/// The least time that is looked back on, but at the start.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Shares that are left, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Headroom {
    /// Of its time.
    pub(crate) time: f64,
    /// Of the clients' connections that it may have.
    pub(crate) connections: f64,
    /// Of its receive buffers.
    pub(crate) buffers: f64,
}

/// What a worker published of its time, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reading {
    looked_ns: u64,
    waited_ns: u64,
}

/// Readings of all workers, to look back on.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// None until there was one: then it is looked back on the start.
    before: Vec<Reading>,
    last: Vec<Reading>,
}

impl Readings {
    /// Takes what the workers published, once each [`WINDOW`].
    pub(crate) fn take(&mut self, boards: &[WorkerBoard]) {
        let now = boards.iter().map(Reading::of).collect();
        self.before = std::mem::replace(&mut self.last, now);
    }

    /// The headroom of each worker.
    pub(crate) fn headroom(&self, shared: &Shared) -> Vec<Headroom> {
        let boards = shared.workers.iter().enumerate();
        boards
            .map(|(worker, board)| {
                let before = self.before.get(worker).copied().unwrap_or_default();
                let active = board.connections.get();
                let active = active.saturating_sub(board.idle_connections.get());
                Headroom {
                    time: Reading::of(board).waited_since(before),
                    connections: share_left(active, shared.client_connections_max),
                    buffers: share_left(board.buffers_in_use.get(), board.buffers_max.get()),
                }
            })
            .collect()
    }
}

/// Of all that the workers have, how much is used, in hundredths: the mean of what each has least of.
pub(crate) fn used_percent(workers: &[Headroom]) -> u8 {
    let left = workers
        .iter()
        .map(|it| it.time.min(it.connections).min(it.buffers));
    let mean = left.sum::<f64>() / workers.len().max(1) as f64;
    (100.0 * (1.0 - mean)).round().clamp(0.0, 100.0) as u8
}

impl Reading {
    fn of(board: &WorkerBoard) -> Reading {
        Reading {
            looked_ns: board.looked_ns.get(),
            waited_ns: board.waited_ns.get(),
        }
    }

    /// The share of the time since then in which it waited.
    fn waited_since(self, before: Reading) -> f64 {
        let time_ns = self.looked_ns.saturating_sub(before.looked_ns).max(1) as f64;
        let waited_ns = self.waited_ns.saturating_sub(before.waited_ns) as f64;
        (waited_ns / time_ns).clamp(0.0, 1.0)
    }
}

fn share_left(used: u64, most: u64) -> f64 {
    1.0 - (used as f64 / most.max(1) as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_looked_back_on_for_one_to_two_windows() {
        let boards = [WorkerBoard::default()];
        let mut readings = Readings::default();
        let mut publish = |looked_ns, waited_ns| {
            boards[0].looked_ns.publish(looked_ns);
            boards[0].waited_ns.publish(waited_ns);
            let before = readings.before.first().copied().unwrap_or_default();
            let time = Reading::of(&boards[0]).waited_since(before);
            readings.take(&boards);
            time
        };
        assert_eq!(publish(100, 100), 1.0);
        assert_eq!(publish(200, 100), 0.5, "since the start");
        assert_eq!(publish(300, 150), 0.25, "since 100");
        assert_eq!(publish(400, 250), 0.75, "since 200");
    }

    #[test]
    fn nothing_is_left_where_nothing_may_be() {
        assert_eq!(share_left(0, 0), 1.0);
        assert_eq!(share_left(1, 0), 0.0);
        assert_eq!(share_left(3, 4), 0.25);
    }
}
