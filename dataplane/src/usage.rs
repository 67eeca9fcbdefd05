//! What was served since the start, by site, and the slots of time that it falls into.
//!
//! A thread of its own closes the slot of time that is open once the wall clock says that it is
//! over, and at the end: it appends the sites' cumulative values to the slots file. A slot that
//! can not be written (the disk is full) is not closed; what it had goes into the next one.
//! Slots never go back when the clock does.

use crate::control::wall_seconds;
use crate::pages::{Pages, Slot};
use crate::slots_file::SlotsFile;
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{Answer, AnswerRow, BUCKETS, Epoch, Tally, closed_slot, slot_of};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// How often the thread looks at the clock.
const TICK: Duration = Duration::from_millis(100);

/// What was served since the start.
#[derive(Debug)]
pub(crate) struct Usage {
    epoch: Epoch,
    host: String,
    /// By worker.
    pages: Box<[Arc<Pages>]>,
    standing: Mutex<Standing>,
    unwritten: AtomicU64,
}

/// All that was counted of a site.
#[derive(Debug)]
pub(crate) struct SiteFigures {
    /// Its columns.
    pub(crate) tally: Tally,
    /// How many responses there were by the bucket of their latency.
    pub(crate) latency: [u64; BUCKETS],
    /// All latencies together, in nanoseconds.
    pub(crate) latency_ns: u64,
}

impl Default for SiteFigures {
    fn default() -> SiteFigures {
        SiteFigures {
            tally: Tally::default(),
            latency: [0; BUCKETS],
            latency_ns: 0,
        }
    }
}

impl SiteFigures {
    fn add(&mut self, slot: Slot<'_>) {
        self.tally = self.tally.plus(&slot.tally());
        for (sum, count) in self.latency.iter_mut().zip(slot.latency()) {
            *sum += count;
        }
        self.latency_ns += slot.latency_ns();
    }
}

/// How far time has been told apart.
#[derive(Debug)]
struct Standing {
    open_slot: u64,
    /// What every site had at the end of the last slot that is on the disk.
    closed: Arc<HashMap<SiteId, Tally>>,
}

impl Usage {
    /// Nothing yet, of workers with these pages, while `open_slot` is open.
    pub(crate) fn new(epoch: Epoch, host: &str, pages: Box<[Arc<Pages>]>, open_slot: u64) -> Usage {
        Usage {
            epoch,
            host: host.to_owned(),
            pages,
            standing: Mutex::new(Standing {
                open_slot,
                closed: Arc::default(),
            }),
            unwritten: AtomicU64::new(0),
        }
    }

    /// What each site has by now, all workers together.
    pub(crate) fn sums(&self) -> HashMap<SiteId, Tally> {
        let mut sums = HashMap::new();
        self.pages.iter().for_each(|pages| pages.add_to(&mut sums));
        sums
    }

    /// The sites of which something was counted.
    pub(crate) fn sites_with_traffic(&self) -> HashSet<SiteId> {
        let mut sites = HashSet::new();
        for pages in &self.pages {
            pages.each(|site, slot| {
                if !slot.tally().is_zero() {
                    sites.insert(site);
                }
            });
        }
        sites
    }

    /// All that was counted of those sites that are `wanted`.
    pub(crate) fn figures(&self, wanted: impl Fn(SiteId) -> bool) -> HashMap<SiteId, SiteFigures> {
        let mut figures: HashMap<SiteId, SiteFigures> = HashMap::new();
        for pages in &self.pages {
            pages.each(|site, slot| {
                if wanted(site) {
                    figures.entry(site).or_default().add(slot);
                }
            });
        }
        figures
    }

    /// What the plane says when it is asked.
    pub(crate) fn answer(&self) -> Answer {
        // In this order: what is closed is never more than what there is.
        let (open_slot, closed) = {
            let standing = self.standing();
            (standing.open_slot, Arc::clone(&standing.closed))
        };
        let rows = self.sums().into_iter().map(|(site, now)| AnswerRow {
            site,
            now,
            closed: closed.get(&site).copied().unwrap_or_default(),
        });
        Answer {
            epoch: self.epoch,
            host: self.host.clone(),
            open_slot,
            sites: rows.filter(|row| !row.now.is_zero()).collect(),
        }
    }

    /// Sites whose counters a kill would lose.
    pub(crate) fn unbacked(&self) -> u64 {
        self.pages.iter().map(|pages| pages.unbacked()).sum()
    }

    /// Slots that could not be written when they were over.
    pub(crate) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes slots.
#[derive(Debug)]
struct Closer {
    usage: Arc<Usage>,
    file: SlotsFile,
}

impl Closer {
    /// Closes the open slot when it is over.
    fn look(&mut self, wall_seconds: u64) {
        let now = slot_of(wall_seconds);
        if now > self.usage.standing().open_slot {
            self.close(now);
        }
    }

    /// Closes the open slot at the end of the process. Whatever still comes is of the next.
    fn end(&mut self) {
        let next = self.usage.standing().open_slot + 1;
        self.close(next);
    }

    fn close(&mut self, next: u64) {
        let slot = self.usage.standing().open_slot;
        // Who finds the files of a killed plane takes all that is not closed for the open slot's.
        // So this comes first: if we die over the writing, what `slot` had counts as `next`'s; if
        // it came last, it would count as `slot`'s for a second time, which is to be forgotten.
        self.usage
            .pages
            .iter()
            .for_each(|pages| pages.set_open_slot(next));
        let sums = self.usage.sums();
        let closed = Arc::clone(&self.usage.standing().closed);
        let mut changed: Vec<(SiteId, Tally)> = sums
            .iter()
            .filter(|(site, sum)| closed.get(site).copied().unwrap_or_default() != **sum)
            .map(|(&site, &sum)| (site, sum))
            .collect();
        changed.sort_unstable_by_key(|(site, _)| *site);
        let written = self.file.append(&closed_slot(slot, &changed));
        // Who asks gets both as they were before, until both are as they are on the disk.
        let mut standing = self.usage.standing();
        standing.open_slot = next;
        match written {
            Ok(()) => standing.closed = Arc::new(sums),
            Err(fault) => {
                self.usage.unwritten.fetch_add(1, Ordering::Relaxed);
                eprintln!(
                    "meridian-dataplane: usage up to now counts as the next five minutes': {fault}"
                );
            }
        }
    }
}

/// The thread that closes slots.
#[derive(Debug)]
pub(crate) struct Closing {
    going_on: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Closing {
    /// Starts the thread. The slots file gets its first line before this returns, if the disk
    /// takes it.
    pub(crate) fn start(usage: Arc<Usage>, mut file: SlotsFile) -> Result<Closing, String> {
        if let Err(fault) = file.ensure() {
            eprintln!("meridian-dataplane: usage can not be written yet: {fault}");
        }
        let mut closer = Closer { usage, file };
        let (going_on, gone) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("usage".to_owned())
            .spawn(move || {
                while gone.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                    closer.look(wall_seconds(SystemTime::now()));
                }
                closer.end();
            })
            .map_err(|error| format!("starting the usage thread: {error}"))?;
        Ok(Closing { going_on, thread })
    }

    /// Closes the open slot and ends the thread.
    pub(crate) fn finish(self) {
        drop(self.going_on);
        let _ = self.thread.join();
    }
}

#[cfg(test)]
#[path = "usage/tests.rs"]
mod tests;
