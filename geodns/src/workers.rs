//! The worker threads as the others see them: started, told, asked.

use crate::worker::{Equipment, Report, Told, Worker};
use meridian_sys::Notifier;
use meridian_sys::process::{pin_thread, take_short_turns};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How long a thread may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of a worker that ended, and how.
pub(crate) type End = (usize, Result<(), String>);

/// See the module; clones name the same threads.
#[derive(Debug, Clone)]
pub(crate) struct Workers(Arc<[Handle]>);

#[derive(Debug)]
struct Handle {
    told: mpsc::Sender<Told>,
    notifier: Notifier,
    cpu: usize,
}

impl Workers {
    /// Starts a thread for each equipment, made by `equip` of the channel that it is told by, and
    /// waits until every one hears of queries.
    pub(crate) fn start(
        cpus: &[usize],
        equipment: impl IntoIterator<Item = Box<dyn FnOnce(mpsc::Receiver<Told>) -> Equipment + Send>>,
    ) -> Result<(Workers, mpsc::Receiver<End>), String> {
        let (end, ended) = mpsc::channel();
        let mut handles = Vec::new();
        for (index, equip) in equipment.into_iter().enumerate() {
            let (told, is_told) = mpsc::channel();
            let (report, reports) = mpsc::sync_channel(1);
            let end = end.clone();
            let cpu = cpus[index % cpus.len()];
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    let worked = AssertUnwindSafe(|| work(cpu, equip(is_told), &report));
                    let worked = catch_unwind(worked).unwrap_or_else(|_| Err("panicked".into()));
                    let _ = end.send((index, worked));
                })
                .map_err(|error| format!("starting worker {index}: {error}"))?;
            let Ok(notifier) = reports.recv_timeout(START_TIMEOUT) else {
                return Err(match ended.try_recv() {
                    Ok((index, Err(fault))) => format!("worker {index}: {fault}"),
                    _ => format!("worker {index} did not start"),
                });
            };
            handles.push(Handle {
                told,
                notifier,
                cpu,
            });
        }
        Ok((Workers(handles.into()), ended))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The CPU of each.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|handle| handle.cpu)
    }

    /// Tells each of them something.
    pub(crate) fn tell(&self, mut what: impl FnMut() -> Told) {
        for handle in &*self.0 {
            // One that has ended needs to hear nothing.
            let _ = handle.told.send(what());
            handle.notifier.notify();
        }
    }

    /// What each says of itself, in their order, of those that do within `within`. What they were told
    /// before is taken up by then.
    pub(crate) fn reports(&self, within: Duration) -> Vec<Report> {
        let deadline = Instant::now() + within;
        let (to, from) = mpsc::sync_channel(self.len());
        self.tell(|| Told::Report(to.clone()));
        drop(to);
        let mut reports = Vec::new();
        while reports.len() < self.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            match from.recv_timeout(left) {
                Ok(report) => reports.push(report),
                Err(_) => break,
            }
        }
        reports.sort_by_key(|report: &Report| report.worker);
        reports
    }
}

fn work(
    cpu: usize,
    equipment: Equipment,
    report: &mpsc::SyncSender<Notifier>,
) -> Result<(), String> {
    pin_thread(cpu).map_err(|error| format!("pinning to CPU {cpu}: {error}"))?;
    // Without it all goes on as it is.
    let _ = take_short_turns();
    let worker = Worker::new(equipment).map_err(|error| error.to_string())?;
    let _ = report.send(worker.runtime.notifier());
    let ran = worker.run();
    ran.map_err(|error| format!("waiting for the kernel: {error}"))
}
