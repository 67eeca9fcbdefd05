//! A thread that probes one host, once each interval from when it began: a host that is slow to
//! answer keeps nobody else waiting.

use super::ask::{Failure, ask};
use super::fleet::HostName;
use meridian_model::local;
use meridian_model::name::Name;
use meridian_model::probe::{Answer, Known, Nonce, Period, ProbeKeys, Question};
use meridian_sys::process::random_bytes;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Parts of a long list that are asked for after one probe, before the next one is due.
const PARTS_MAX: usize = 64;

/// Room for what a probe holds, many times.
const STACK_BYTES: usize = 256 * 1024;

/// What came of a question.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) host: HostName,
    /// When it was asked.
    pub(crate) asked_at: Instant,
    pub(crate) took: Duration,
    /// It was asked for the rest of a list, and is no probe.
    pub(crate) is_rest: bool,
    pub(crate) outcome: Result<Answer, Failure>,
}

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) from: Name,
    pub(crate) to: Name,
    pub(crate) address: SocketAddr,
    pub(crate) how: local::Probe,
    pub(crate) keys: ProbeKeys,
}

/// The running thread; it ends when this is dropped, and its last probe is over.
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) address: SocketAddr,
    _stop: mpsc::Sender<()>,
}

impl Prober {
    /// Starts to probe, and has `tell` hear of each end.
    ///
    /// # Errors
    ///
    /// When there can be no further thread.
    pub(crate) fn start(
        target: Target,
        tell: impl Fn(Probed) -> bool + Send + 'static,
    ) -> std::io::Result<Prober> {
        let (stop, stopped) = mpsc::channel();
        let address = target.address;
        let mut asking = Asking {
            host: target.to.shared(),
            target,
            period: Period::default(),
            known: Known::default(),
        };
        // Not all hosts are probed at the same moment.
        let lot = random_bytes().map_or(0, u32::from_ne_bytes);
        let phase = asking
            .target
            .how
            .interval
            .mul_f64(f64::from(lot) / 2_f64.powi(32));
        std::thread::Builder::new()
            .name("probe".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let mut due = Instant::now() + phase;
                loop {
                    let wait = due.saturating_duration_since(Instant::now());
                    match stopped.recv_timeout(wait) {
                        Err(mpsc::RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                    let next = due + asking.target.how.interval;
                    if !asking.probe(next, &tell) {
                        return;
                    }
                    // One that could not be made in time is left out, and the others keep their time.
                    let now = Instant::now();
                    due = next;
                    while due < now {
                        due += asking.target.how.interval;
                    }
                }
            })?;
        Ok(Prober {
            address,
            _stop: stop,
        })
    }
}

struct Asking {
    target: Target,
    host: HostName,
    period: Period,
    known: Known,
}

impl Asking {
    /// One probe, and the rest of a list that was too long for its answer. Whether anybody wants to know.
    fn probe(&mut self, until: Instant, tell: &impl Fn(Probed) -> bool) -> bool {
        for part in 0..PARTS_MAX {
            let (probed, has_more) = self.ask(part > 0);
            if !tell(probed) {
                return false;
            }
            if !has_more || Instant::now() >= until {
                break;
            }
        }
        true
    }

    fn ask(&mut self, is_rest: bool) -> (Probed, bool) {
        let asked_at = Instant::now();
        let nonce = random_bytes().map(Nonce);
        let outcome = match nonce {
            Ok(nonce) => self.ask_over(nonce),
            Err(error) => Err(Failure::Resources(error.to_string())),
        };
        let has_more = outcome.as_ref().is_ok_and(|answer| self.take_up(answer));
        let outcome = match outcome {
            Ok(answer) if answer.report.as_ref().is_some_and(|it| it.draining) => {
                Err(Failure::Draining)
            }
            outcome => outcome,
        };
        let probed = Probed {
            host: self.host.clone(),
            asked_at,
            took: asked_at.elapsed(),
            is_rest,
            outcome,
        };
        (probed, has_more)
    }

    fn ask_over(&self, nonce: Nonce) -> Result<Answer, Failure> {
        let Target {
            from,
            to,
            address,
            how,
            keys,
        } = &self.target;
        let question = Question {
            from: from.clone(),
            to: to.clone(),
            nonce,
            period: self.period,
            known: self.known,
        };
        ask(*address, &question, keys, how.timeout)
    }

    /// Whether there is more to ask for at once.
    fn take_up(&mut self, answer: &Answer) -> bool {
        let is_new = self.period.incarnation != answer.incarnation;
        self.period = answer.period();
        let Some(report) = &answer.report else {
            // It did not know whether we ask now. The first time that is no news to anybody.
            return is_new;
        };
        self.known = Known {
            list: report.sites.list,
            sequence: report.sites.to,
        };
        report.sites.to < report.sites.newest
    }
}
