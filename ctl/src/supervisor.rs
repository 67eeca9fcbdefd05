//! Keeps a plane running: starts it, waits until it serves, starts it again
//! when it dies, and drains it when it is told to.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use meridian_model::local::Listen;
use rustix::process::{Pid, Signal, kill_process};

use crate::backoff::Backoff;
use crate::event::{Ended, Event};
use crate::failure::Failure;
use crate::output::Output;
use crate::plane_process::{DATAPLANE, PlaneProcess};
use crate::plane_socket;
use crate::signals::{Asked, Signals};
use crate::usage::bookkeeper::Bookkeeper;

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

/// The supervisor of one plane.
pub(crate) struct Supervisor<'a> {
    pub(crate) plane: PlaneProcess,
    /// The plane's local socket.
    pub(crate) socket: PathBuf,
    /// What the ready line names.
    pub(crate) listen: &'a Listen,
    /// How long the plane itself lets a drain last.
    pub(crate) drain: Duration,
    pub(crate) signals: Signals,
    pub(crate) output: Output,
    /// Takes in what a plane leaves behind.
    pub(crate) bookkeeper: Bookkeeper,
    /// Told when the plane serves for the first time: what can wait until then begins.
    pub(crate) serving: Sender<()>,
    pub(crate) backoff: Backoff,
    /// The plane was ready once; its deaths no longer end us.
    pub(crate) was_ready: bool,
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
    /// It died and will be started again.
    Waiting { until: Instant },
    /// It was told to finish.
    Draining { child: Child, kill_at: Instant },
}

impl Supervisor<'_> {
    /// Runs the plane until a signal ends it.
    ///
    /// # Errors
    /// When the plane can not be started, or ends before it was ready for the first time.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let mut life = self.start()?;
        loop {
            let next = match self.signals.next(life.wake_at()) {
                Some(Asked::Stop) => self.stop(life),
                Some(Asked::OpenLogs) => {
                    life.signal(Signal::HUP);
                    Some(life)
                }
                Some(Asked::ChildEnded) | None => self.look(life)?,
            };
            match next {
                Some(next) => life = next,
                None => return Ok(()),
            }
        }
    }

    fn start(&mut self) -> Result<Life, Failure> {
        match self.plane.start() {
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

    /// What follows from SIGTERM or SIGINT; `None` when nothing is left to wait for.
    fn stop(&mut self, life: Life) -> Option<Life> {
        match life {
            Life::Starting { child, .. } | Life::Serving { child, .. } => {
                send(&child, Signal::TERM);
                self.plane.close_listeners();
                let kill_at = Instant::now() + self.drain + DRAIN_GRACE;
                Some(Life::Draining { child, kill_at })
            }
            Life::Waiting { .. } => None,
            Life::Draining { child, .. } => {
                kill(child);
                None
            }
        }
    }

    /// What follows when time has passed or a child ended; `None` when the drain is over.
    fn look(&mut self, mut life: Life) -> Result<Option<Life>, Failure> {
        if let Some(status) = life.exited() {
            self.bookkeeper.plane_died();
            return match life {
                Life::Draining { .. } => {
                    self.report_drained(status);
                    Ok(None)
                }
                Life::Serving { since, .. } => {
                    self.died(Ended::Exited(status), since.elapsed()).map(Some)
                }
                Life::Starting { .. } | Life::Waiting { .. } => {
                    self.died(Ended::Exited(status), Duration::ZERO).map(Some)
                }
            };
        }
        let now = Instant::now();
        match life {
            Life::Starting { ask_at, .. } if now >= ask_at => Ok(Some(self.ask(life))),
            Life::Waiting { until } if now >= until => self.start().map(Some),
            Life::Draining { child, kill_at } if now >= kill_at => {
                self.output.event(&Event::Warning(format!(
                    "{DATAPLANE} was still there {} s after it was told to stop; killed",
                    (self.drain + DRAIN_GRACE).as_secs()
                )));
                kill(child);
                Ok(None)
            }
            life => Ok(Some(life)),
        }
    }

    /// The plane ended by itself.
    fn died(&mut self, how: Ended, served: Duration) -> Result<Life, Failure> {
        if !self.was_ready {
            return Err(Failure::input(match how {
                Ended::Exited(status) => format!(
                    "{DATAPLANE} ended before it was ready ({status}); what it said stands above"
                ),
                Ended::NotStarted(_) => format!("{DATAPLANE} {how}"),
            }));
        }
        let wait = self.backoff.after_death(served);
        let plane = DATAPLANE;
        self.output.event(&Event::Died { plane, how, wait });
        Ok(Life::Waiting {
            until: Instant::now() + wait,
        })
    }

    /// Asks a starting plane whether it serves.
    fn ask(&mut self, life: Life) -> Life {
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
            self.report_ready(status.revision);
            let since = Instant::now();
            return Life::Serving { child, since };
        }
        let now = Instant::now();
        let slow = now >= slow_at;
        if slow {
            let after = now - started;
            let plane = DATAPLANE;
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

    fn report_ready(&mut self, revision: u64) {
        let event = if self.was_ready {
            let plane = DATAPLANE;
            Event::ReadyAgain { plane, revision }
        } else {
            let listen = self.listen;
            Event::Ready { revision, listen }
        };
        self.output.event(&event);
        self.was_ready = true;
        // Who was told already does not listen any more.
        let _ = self.serving.send(());
    }

    fn report_drained(&self, status: ExitStatus) {
        if !status.success() {
            self.output.event(&Event::Warning(format!(
                "{DATAPLANE} did not end well when it was told to stop ({status})"
            )));
        }
    }
}

impl Life {
    /// When something is due though no signal comes.
    fn wake_at(&self) -> Option<Instant> {
        match self {
            Life::Starting { ask_at, .. } => Some(*ask_at),
            Life::Serving { .. } => None,
            Life::Waiting { until } => Some(*until),
            Life::Draining { kill_at, .. } => Some(*kill_at),
        }
    }

    fn child(&mut self) -> Option<&mut Child> {
        match self {
            Life::Starting { child, .. }
            | Life::Serving { child, .. }
            | Life::Draining { child, .. } => Some(child),
            Life::Waiting { .. } => None,
        }
    }

    /// How the child ended, if it did. After that its number may be another process's.
    fn exited(&mut self) -> Option<ExitStatus> {
        // The one error is ECHILD, and nobody else waits for our children.
        self.child()?.try_wait().expect("our own child")
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(child) = self.child() {
            send(child, signal);
        }
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
