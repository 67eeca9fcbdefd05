//! Keeps slow clients from taking the core of the load.
//!
//! slowhttptest polls sockets that can be written to at any time, so it takes all of a core, a third
//! of a millisecond at a time in which a kernel without full preemption lets nobody else run, whatever
//! its priority. What the others would wait for then is its polling and not the proxy. Who sends a
//! few bytes every ten seconds can do so in a two-hundredth of the time; for the rest it is stopped. Its
//! connections stay, and so does what the proxy holds for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;

use crate::program::signal_to;

/// How long they run at a time.
const RUNNING: Duration = Duration::from_micros(500);
/// How long they are stopped in between.
const STOPPED: Duration = Duration::from_micros(99_500);

/// Held processes; dropped, they run freely.
pub(super) struct Reins {
    pids: Vec<u32>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reins {
    pub(super) fn hold(pids: Vec<u32>) -> Reins {
        let over = Arc::new(AtomicBool::new(false));
        let (held, is_over) = (pids.clone(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                signal_all(&held, Signal::STOP);
                thread::sleep(STOPPED);
                signal_all(&held, Signal::CONT);
                thread::sleep(RUNNING);
            }
        });
        Reins {
            pids,
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Reins {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there would have left them stopped, which the next line mends.
            let _ = thread.join();
        }
        signal_all(&self.pids, Signal::CONT);
    }
}

fn signal_all(pids: &[u32], signal: Signal) {
    for &pid in pids {
        signal_to(pid, signal);
    }
}
