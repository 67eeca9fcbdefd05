//! The signals that the supervisor lives by.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator;

use crate::failure::Failure;

/// What a signal asks of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGTERM or SIGINT: drain; the second time: stop now.
    Stop,
    /// SIGHUP: open the logs anew.
    OpenLogs,
    /// SIGCHLD: a child ended.
    ChildEnded,
}

/// The signals that arrived, in order.
pub(crate) struct Signals {
    arrived: Receiver<Asked>,
}

impl Signals {
    /// Takes over the signals of the process. A thread of its own waits for
    /// them, so that the main thread can wait for a signal and a moment at once.
    ///
    /// # Errors
    /// When the kernel refuses a handler or the thread.
    pub(crate) fn take() -> Result<Signals, Failure> {
        let refused = |error| Failure::input(format!("the signals can not be taken over: {error}"));
        let mut signals =
            iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD]).map_err(refused)?;
        let (sender, arrived) = channel();
        std::thread::Builder::new()
            .name("signals".to_string())
            .spawn(move || {
                for signal in signals.forever() {
                    let asked = match signal {
                        SIGHUP => Asked::OpenLogs,
                        SIGCHLD => Asked::ChildEnded,
                        _ => Asked::Stop,
                    };
                    if sender.send(asked).is_err() {
                        return;
                    }
                }
            })
            .map_err(refused)?;
        Ok(Signals { arrived })
    }

    /// The next signal; `None` when `until` came first. Without `until` it waits for ever.
    pub(crate) fn next(&self, until: Option<Instant>) -> Option<Asked> {
        /// Stands for "for ever": the loop of the caller comes back and waits again.
        const LONG: Duration = Duration::from_secs(3600);
        let wait = until.map_or(LONG, |until| {
            until.saturating_duration_since(Instant::now())
        });
        match self.arrived.recv_timeout(wait) {
            Ok(asked) => Some(asked),
            Err(RecvTimeoutError::Timeout) => None,
            // The thread never ends before the process does.
            Err(RecvTimeoutError::Disconnected) => unreachable!("the signal thread ended"),
        }
    }
}
