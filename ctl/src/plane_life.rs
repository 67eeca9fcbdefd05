//! The life of one plane: started, waited for until it serves, started again when it dies, drained when
//! it is told to. A state machine over time and the child's end; [`crate::supervisor`] turns it.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::backoff::Backoff;
use crate::event::{Ended, Event};
use crate::failure::Failure;
use crate::output::Output;
use crate::plane_process::PlaneProcess;
use crate::plane_socket;

/// The first wait between two questions whether a plane is ready; it doubles.
const ASK_WAIT: Duration = Duration::from_millis(10);

/// How often `ASK_WAIT` doubles: up to 160 ms, which nobody notices at a start.
const ASK_DOUBLINGS_MAX: u32 = 4;

/// How long one such question may take. Short, for signals wait meanwhile.
const ASK_WITHIN: Duration = Duration::from_millis(250);

/// A plane that is not ready after this long is reported, again and again.
const SLOW_AFTER: Duration = Duration::from_secs(10);

/// What a draining plane is given beyond its own limit before it is killed.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// A plane with where it is in its life.
pub(crate) struct Plane {
    process: PlaneProcess,
    /// Its local socket.
    socket: PathBuf,
    /// How long it lets a drain last itself.
    drain: Duration,
    output: Output,
    backoff: Backoff,
    /// It was ready once; its deaths no longer end us.
    was_ready: bool,
    life: Life,
}

/// What others are to know of.
pub(crate) enum News {
    /// It died.
    Died,
    /// It serves, for the first time.
    Ready {
        /// What every worker of it runs.
        revision: u64,
    },
}

/// Where the plane is in its life.
enum Life {
    /// It runs and does not serve yet.
    Starting {
        child: Child,
        started: Instant,
        asks: u32,
        ask_at: Instant,
        slow_at: Instant,
    },
    /// Every worker of it serves.
    Serving { child: Child, since: Instant },
    /// It died, or was not started yet, and will be started (again).
    Waiting { until: Instant },
    /// It was told to finish.
    Draining { child: Child, kill_at: Instant },
    /// It was told to finish, and has.
    Over,
}

impl Plane {
    /// One that is started at the first look.
    pub(crate) fn new(
        process: PlaneProcess,
        socket: PathBuf,
        drain: Duration,
        output: Output,
    ) -> Plane {
        Plane {
            process,
            socket,
            drain,
            output,
            backoff: Backoff::default(),
            was_ready: false,
            life: Life::Waiting {
                until: Instant::now(),
            },
        }
    }

    /// The name of its program.
    pub(crate) fn name(&self) -> &'static str {
        self.process.name()
    }

    /// Whether it was ready once.
    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// Whether nothing is left to wait for.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.life, Life::Over)
    }

    /// When something is due though no signal comes.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.life {
            Life::Starting { ask_at, .. } => Some(*ask_at),
            Life::Serving { .. } | Life::Over => None,
            Life::Waiting { until } => Some(*until),
            Life::Draining { kill_at, .. } => Some(*kill_at),
        }
    }

    /// Passes a signal on.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(child) = self.life.child() {
            send(child, signal);
        }
    }

    /// What follows from SIGTERM or SIGINT.
    pub(crate) fn stop(&mut self) {
        self.life = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Starting { child, .. } | Life::Serving { child, .. } => {
                send(&child, Signal::TERM);
                self.process.close_listeners();
                let kill_at = Instant::now() + self.drain + DRAIN_GRACE;
                Life::Draining { child, kill_at }
            }
            Life::Draining { child, .. } => {
                kill(child);
                Life::Over
            }
            Life::Waiting { .. } | Life::Over => Life::Over,
        }
    }

    /// What follows when time has passed or a child ended.
    ///
    /// # Errors
    /// When it can not be started, or ends before it was ready for the first time.
    pub(crate) fn look(&mut self) -> Result<Option<News>, Failure> {
        let mut life = std::mem::replace(&mut self.life, Life::Over);
        if let Some(status) = life.exited() {
            self.life = match life {
                Life::Draining { .. } => {
                    self.report_drained(status);
                    Life::Over
                }
                Life::Serving { since, .. } => self.died(Ended::Exited(status), since.elapsed())?,
                Life::Starting { .. } | Life::Waiting { .. } | Life::Over => {
                    self.died(Ended::Exited(status), Duration::ZERO)?
                }
            };
            return Ok(Some(News::Died));
        }
        let now = Instant::now();
        let mut news = None;
        self.life = match life {
            Life::Starting { ask_at, .. } if now >= ask_at => self.ask(life, &mut news),
            Life::Waiting { until } if now >= until => self.start()?,
            Life::Draining { child, kill_at } if now >= kill_at => {
                self.output.event(&Event::Warning(format!(
                    "{} was still there {} s after it was told to stop; killed",
                    self.name(),
                    (self.drain + DRAIN_GRACE).as_secs()
                )));
                kill(child);
                Life::Over
            }
            life => life,
        };
        Ok(news)
    }

    fn start(&mut self) -> Result<Life, Failure> {
        match self.process.start() {
            Ok(child) => {
                let now = Instant::now();
                Ok(Life::Starting {
                    child,
                    started: now,
                    asks: 0,
                    ask_at: now + ASK_WAIT,
                    slow_at: now + SLOW_AFTER,
                })
            }
            Err(error) => self.died(Ended::NotStarted(error), Duration::ZERO),
        }
    }

    /// The plane ended by itself.
    fn died(&mut self, how: Ended, served: Duration) -> Result<Life, Failure> {
        let plane = self.name();
        if !self.was_ready {
            return Err(Failure::input(match how {
                Ended::Exited(status) => format!(
                    "{plane} ended before it was ready ({status}); what it said stands above"
                ),
                Ended::NotStarted(_) => format!("{plane} {how}"),
            }));
        }
        let wait = self.backoff.after_death(served);
        self.output.event(&Event::Died { plane, how, wait });
        Ok(Life::Waiting {
            until: Instant::now() + wait,
        })
    }

    /// Asks a starting plane whether it serves.
    fn ask(&mut self, life: Life, news: &mut Option<News>) -> Life {
        let Life::Starting {
            child,
            started,
            asks,
            slow_at,
            ..
        } = life
        else {
            return life;
        };
        // Another process may still answer there: one that was killed a
        // moment ago, or one that somebody started by hand.
        let answer = plane_socket::summary(&self.socket, ASK_WITHIN)
            .ok()
            .map(|answer| answer.status)
            .filter(|status| status.ready && status.pid == child.id());
        if let Some(status) = answer {
            *news = self.now_ready(status.revision);
            let since = Instant::now();
            return Life::Serving { child, since };
        }
        let now = Instant::now();
        let slow = now >= slow_at;
        if slow {
            let after = now - started;
            let plane = self.name();
            self.output.event(&Event::Slow { plane, after });
        }
        Life::Starting {
            child,
            started,
            asks: asks.saturating_add(1),
            ask_at: now + ASK_WAIT * (1 << asks.min(ASK_DOUBLINGS_MAX)),
            slow_at: if slow { now + SLOW_AFTER } else { slow_at },
        }
    }

    fn now_ready(&mut self, revision: u64) -> Option<News> {
        if self.was_ready {
            let plane = self.name();
            self.output.event(&Event::ReadyAgain { plane, revision });
            return None;
        }
        self.was_ready = true;
        Some(News::Ready { revision })
    }

    fn report_drained(&self, status: ExitStatus) {
        if !status.success() {
            self.output.event(&Event::Warning(format!(
                "{} did not end well when it was told to stop ({status})",
                self.name()
            )));
        }
    }
}

impl Life {
    fn child(&mut self) -> Option<&mut Child> {
        match self {
            Life::Starting { child, .. }
            | Life::Serving { child, .. }
            | Life::Draining { child, .. } => Some(child),
            Life::Waiting { .. } | Life::Over => None,
        }
    }

    /// How the child ended, if it did. After that its number may be another process's.
    fn exited(&mut self) -> Option<ExitStatus> {
        // The one error is ECHILD, and nobody else waits for our children.
        self.child()?.try_wait().expect("our own child")
    }
}

/// Sends a signal to a child that was not waited for, so that its number is still its own.
fn send(child: &Child, signal: Signal) {
    // The one possible error, that it just ended, is seen by the next look.
    let _ = kill_process(Pid::from_child(child), signal);
}

fn kill(mut child: Child) {
    send(&child, Signal::KILL);
    // Until it is gone its listeners and its lock are not free.
    let _ = child.wait();
}
