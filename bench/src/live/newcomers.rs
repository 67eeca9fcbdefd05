//! Clients that come while a certificate is replaced: one handshake after the other, each of which
//! verifies what it is shown.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::configuration::{Certified, Sites};
use crate::failure::Failure;
use crate::program::Program;
use crate::secure::Wire;

/// From one to the next.
const PAUSE: Duration = Duration::from_millis(2);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One of them.
struct Newcomer {
    begun: Instant,
    ended: Instant,
    /// The certificate that it was shown, or why it has seen none.
    shown: Result<Vec<u8>, String>,
}

/// They go on coming.
pub(super) struct Newcomers {
    stop: Arc<AtomicBool>,
    latest: Receiver<Newcomer>,
    thread: JoinHandle<()>,
    seen: std::cell::RefCell<Vec<Newcomer>>,
}

/// What they were shown.
pub(super) struct Shown {
    newcomers: Vec<Newcomer>,
    new: Vec<u8>,
}

impl Newcomers {
    pub(super) fn begin(sites: &Sites, certified: &Certified) -> Result<Self, Failure> {
        let client = certified.client.named(&sites.hostname(sites.changing()))?;
        let address = sites.listen;
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, latest) = channel();
        let theirs = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !theirs.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let opened = Wire::open(address, CONNECT_LIMIT, Some(&client));
                let shown = opened.map(|wire| wire.certificate());
                let newcomer = Newcomer {
                    begun,
                    ended: Instant::now(),
                    shown: shown.map_err(|error| error.to_string()),
                };
                if sender.send(newcomer).is_err() {
                    return;
                }
                sleep(PAUSE);
            }
        });
        Ok(Self {
            stop,
            latest,
            thread,
            seen: Vec::new().into(),
        })
    }

    /// Waits until one of them is shown `new`.
    pub(super) fn wait_for(
        &self,
        new: &[u8],
        program: &mut Program,
        limit: Duration,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            program.check_alive("another certificate")?;
            let Ok(newcomer) = self.latest.recv_timeout(CONNECT_LIMIT) else {
                continue;
            };
            let is_new = newcomer.shown.as_deref() == Ok(new);
            self.seen.borrow_mut().push(newcomer);
            if is_new {
                return Ok(());
            }
        }
        let s = limit.as_secs();
        Err(Failure::new(format!(
            "the new certificate was not shown within {s} s"
        )))
    }

    pub(super) fn end(self, new: &[u8]) -> Result<Shown, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| Failure::new("the newcomers ended before their time"))?;
        let mut newcomers = self.seen.into_inner();
        newcomers.extend(self.latest.try_iter());
        Ok(Shown {
            newcomers,
            new: new.to_owned(),
        })
    }
}

impl Shown {
    fn is_new(&self, newcomer: &Newcomer) -> bool {
        newcomer.shown.as_ref() == Ok(&self.new)
    }

    fn is_old(&self, newcomer: &Newcomer) -> bool {
        newcomer.shown.is_ok() && !self.is_new(newcomer)
    }

    pub(super) fn handshakes(&self) -> usize {
        self.newcomers.len()
    }

    pub(super) fn failed(&self) -> u64 {
        let failed = self.newcomers.iter().filter(|it| it.shown.is_err());
        failed.count() as u64
    }

    pub(super) fn first_failure(&self) -> Option<&str> {
        let mut failures = (self.newcomers.iter()).filter_map(|it| it.shown.as_ref().err());
        failures.next().map(String::as_str)
    }

    /// When the first that was shown the new one had seen it.
    pub(super) fn first_new(&self) -> Option<Instant> {
        let new = self.newcomers.iter().find(|it| self.is_new(it));
        new.map(|newcomer| newcomer.ended)
    }

    /// Those that began after `live` and were shown the old one.
    pub(super) fn stale(&self, live: Instant) -> usize {
        let later = self.newcomers.iter().filter(|it| it.begun > live);
        later.filter(|it| self.is_old(it)).count()
    }

    /// When the first began behind which all were shown the new one.
    pub(super) fn settled(&self) -> Option<Instant> {
        let good: Vec<_> = (self.newcomers.iter())
            .filter(|it| it.shown.is_ok())
            .collect();
        let old = good.iter().rposition(|it| !self.is_new(it));
        let first = old.map_or(0, |last| last + 1);
        good.get(first).map(|newcomer| newcomer.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_late_handshake_with_the_old_one_is_seen() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let newcomer = |ms, shown: Result<&[u8], &str>| Newcomer {
            begun: at(ms),
            ended: at(ms + 1),
            shown: shown.map(<[u8]>::to_vec).map_err(str::to_owned),
        };
        let shown = Shown {
            newcomers: vec![
                newcomer(0, Ok(b"old")),
                newcomer(10, Ok(b"new")),
                newcomer(20, Err("refused")),
                newcomer(30, Ok(b"old")),
                newcomer(40, Ok(b"new")),
            ],
            new: b"new".to_vec(),
        };
        assert_eq!(shown.first_new(), Some(at(11)));
        assert_eq!(shown.stale(at(11)), 1);
        assert_eq!(shown.stale(at(30)), 0, "begun before it was live");
        assert_eq!(shown.settled(), Some(at(40)));
        assert_eq!((shown.failed(), shown.handshakes()), (1, 5));
        assert_eq!(shown.first_failure(), Some("refused"));
    }
}
