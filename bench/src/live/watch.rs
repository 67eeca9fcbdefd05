//! Looks at a server from a thread of the load's core: its processes and their memory, and what
//! others took of its core meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::process_tree::{self, Running};

const INTERVAL: Duration = Duration::from_millis(100);

/// What to look at.
pub(super) struct Subject {
    /// The server.
    pub(super) root: u32,
    /// Processes of the bench, which are no others.
    pub(super) own: Vec<u32>,
    /// The cores of the server.
    pub(super) cores: Vec<usize>,
    /// Reading the memory of a process holds up its own calls for more; not while it starts.
    pub(super) memory: bool,
}

/// One look.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    processes: usize,
    memory_bytes: u64,
}

/// A watch that goes on.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    /// A command whose memory counts too; 0: none runs.
    pub(super) command: Arc<AtomicU32>,
    begun: Instant,
    cores: usize,
    thread: JoinHandle<Result<(Vec<Look>, f64), Failure>>,
}

/// What was seen.
pub(super) struct Watched {
    looks: Vec<Look>,
    /// Part of the server's cores that others took.
    pub(super) others: f64,
}

impl Watch {
    pub(super) fn begin(subject: Subject) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let command = Arc::new(AtomicU32::new(0));
        let cores = subject.cores.len().max(1);
        let thread = {
            let (stop, command) = (Arc::clone(&stop), Arc::clone(&command));
            std::thread::spawn(move || look_on(&subject, &stop, &command))
        };
        Self {
            stop,
            command,
            begun: Instant::now(),
            cores,
            thread,
        }
    }

    pub(super) fn end(self) -> Result<Watched, Failure> {
        let elapsed_s = self.begun.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.join();
        let (looks, others_s) =
            joined.map_err(|_| Failure::new("the watch ended before its time"))??;
        Ok(Watched {
            looks,
            others: others_s / (elapsed_s * self.cores as f64),
        })
    }
}

impl Watched {
    pub(super) fn processes_peak(&self, since: Instant) -> usize {
        let later = self.looks.iter().filter(|look| look.at >= since);
        later.map(|look| look.processes).max().unwrap_or(0)
    }

    pub(super) fn memory_peak_bytes(&self, since: Instant) -> u64 {
        let later = self.looks.iter().filter(|look| look.at >= since);
        later.map(|look| look.memory_bytes).max().unwrap_or(0)
    }
}

fn look_on(
    subject: &Subject,
    stop: &AtomicBool,
    command: &AtomicU32,
) -> Result<(Vec<Look>, f64), Failure> {
    let mut looks = Vec::new();
    let mut others_s = 0.0;
    let mut ours: HashSet<u32> = subject.own.iter().copied().collect();
    ours.insert(std::process::id());
    let mut earlier: Option<HashMap<u32, Running>> = None;
    loop {
        // Read before the last look, so that the last one is after the end.
        let is_last = stop.load(Ordering::Relaxed);
        let everybody = process_tree::everybody()?;
        let members = process_tree::members(subject.root)?;
        let mut all = members.clone();
        let running = command.load(Ordering::Relaxed);
        if running != 0 {
            all.push(running);
        }
        ours.extend(&all);
        if let Some(earlier) = &earlier {
            let ours: Vec<u32> = ours.iter().copied().collect();
            for &core in &subject.cores {
                others_s += process_tree::others_s(earlier, &everybody, core, &ours);
            }
        }
        earlier = Some(everybody);
        let memory_bytes = if subject.memory {
            process_tree::memory_of_living(&all).pss_bytes
        } else {
            0
        };
        looks.push(Look {
            at: Instant::now(),
            processes: members.len(),
            memory_bytes,
        });
        if is_last {
            return Ok((looks, others_s));
        }
        sleep(INTERVAL);
    }
}
