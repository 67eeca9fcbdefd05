//! Where counters of sites stand so that they outlive the process: page files, one a worker, each
//! slot of it a site's (`meridian_sys::counting`, and `meridian_model::usage` for the format).

use crate::counters::SiteCounters;
use meridian_model::limits::{COUNTER_SEGMENT_BYTES_MAX, COUNTER_SEGMENT_BYTES_MIN};
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{
    BUCKETS, COLUMNS, Epoch, HEADER_OPEN_SLOT_WORD, SLOT_BYTES, SLOT_LATENCY_SUM_WORD,
    SLOT_LATENCY_WORD, SLOT_TALLY_WORD, SLOT_WORDS, Tally, closed_slot, header,
};
use meridian_sys::counting::{self, Layout, Pages};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of the files of this program.
pub(crate) const LAYOUT: Layout<COLUMNS> = Layout {
    program: "dataplane",
    column_word: SLOT_TALLY_WORD,
    open_slot_word: HEADER_OPEN_SLOT_WORD,
    segment_bytes: (COUNTER_SEGMENT_BYTES_MIN, COUNTER_SEGMENT_BYTES_MAX),
    header: |epoch, worker, open_slot| header(Epoch(epoch), worker, open_slot).into(),
    closed_slot: |slot, changed| {
        let changed = changed
            .iter()
            .map(|&(site, sums)| (SiteId(site), Tally(sums)));
        closed_slot(slot, &changed.collect::<Vec<_>>())
    },
};

/// One worker's counters, for the worker.
#[derive(Debug)]
pub(crate) struct PageWriter(counting::PageWriter<SLOT_WORDS>);

/// The page files of a start of the plane, and the lock that says that it lives.
#[derive(Debug)]
pub(crate) struct PageSet {
    /// By worker.
    pub(crate) writers: Vec<PageWriter>,
    /// Held for life: whoever gets it knows that the plane is dead.
    pub(crate) lock: Option<File>,
    /// Why there are no files.
    pub(crate) fault: Option<String>,
}

impl PageSet {
    /// Makes the files of `workers` workers in `counters`/pages. Without them (a full disk) the
    /// plane counts in memory.
    pub(crate) fn create(counters: &Path, epoch: Epoch, workers: usize, open_slot: u64) -> PageSet {
        let counting::PageSet {
            writers,
            lock,
            fault,
        } = counting::PageSet::create(&LAYOUT, counters, epoch.0, workers, open_slot);
        PageSet {
            writers: writers.into_iter().map(PageWriter).collect(),
            lock,
            fault,
        }
    }
}

impl PageWriter {
    /// The same counters, for whoever reads them.
    pub(crate) fn pages(&self) -> Arc<Pages> {
        self.0.pages()
    }

    /// The counters of a site: always the same.
    pub(crate) fn counters(&mut self, site: SiteId) -> SiteCounters {
        SiteCounters::new(self.0.slot(site.0).clone())
    }
}

/// What one worker counted of a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot<'a>(pub(crate) &'a [AtomicU64]);

impl Slot<'_> {
    /// Its columns.
    pub(crate) fn tally(self) -> Tally {
        Tally(self.words(SLOT_TALLY_WORD))
    }

    /// How many responses there were by the bucket of their latency.
    pub(crate) fn latency(self) -> [u64; BUCKETS] {
        self.words(SLOT_LATENCY_WORD)
    }

    /// All latencies together, in nanoseconds.
    pub(crate) fn latency_ns(self) -> u64 {
        let [sum] = self.words(SLOT_LATENCY_SUM_WORD);
        sum
    }

    fn words<const WORDS: usize>(self, first: usize) -> [u64; WORDS] {
        std::array::from_fn(|at| self.0[first + at].load(Ordering::Relaxed))
    }
}

const _: () = assert!(COUNTER_SEGMENT_BYTES_MIN.is_multiple_of(SLOT_BYTES));
