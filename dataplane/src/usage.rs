//! What was served since the start, by site, and the slots of time that it falls into
//! (`meridian_sys::counting`, which knows columns and no sites).

use crate::pages::{LAYOUT, Slot};
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{Answer, BUCKETS, COLUMNS, Epoch, Tally};
use meridian_sys::counting::{Book, Pages};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What was served since the start.
#[derive(Debug)]
pub(crate) struct Usage {
    epoch: Epoch,
    host: String,
    book: Arc<Book<COLUMNS>>,
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

impl Usage {
    /// Nothing yet, of workers with these pages, while `open_slot` is open.
    pub(crate) fn new(epoch: Epoch, host: &str, pages: Box<[Arc<Pages>]>, open_slot: u64) -> Usage {
        Usage {
            epoch,
            host: host.to_owned(),
            book: Arc::new(Book::new(LAYOUT, pages, open_slot)),
        }
    }

    /// Where it stands.
    pub(crate) fn book(&self) -> Arc<Book<COLUMNS>> {
        Arc::clone(&self.book)
    }

    /// What each site has by now, all workers together.
    pub(crate) fn sums(&self) -> HashMap<SiteId, Tally> {
        let sums = self.book.sums().into_iter();
        sums.map(|(site, sums)| (SiteId(site), Tally(sums)))
            .collect()
    }

    /// The sites of which something was counted.
    pub(crate) fn sites_with_traffic(&self) -> HashSet<SiteId> {
        let mut sites = HashSet::new();
        for pages in self.book.pages() {
            pages.each(|site, slot| {
                if !Slot(slot).tally().is_zero() {
                    sites.insert(SiteId(site));
                }
            });
        }
        sites
    }

    /// All that was counted of those sites that are `wanted`.
    pub(crate) fn figures(&self, wanted: impl Fn(SiteId) -> bool) -> HashMap<SiteId, SiteFigures> {
        let mut figures: HashMap<SiteId, SiteFigures> = HashMap::new();
        for pages in self.book.pages() {
            pages.each(|site, slot| {
                let site = SiteId(site);
                if wanted(site) {
                    figures.entry(site).or_default().add(Slot(slot));
                }
            });
        }
        figures
    }

    /// What the plane says when it is asked.
    pub(crate) fn answer(&self) -> Answer {
        let (open_slot, closed, now) = self.book.standing();
        Answer::new((self.epoch, &self.host), open_slot, &closed, now)
    }

    /// Sites whose counters a kill would lose.
    pub(crate) fn unbacked(&self) -> u64 {
        self.book.unbacked()
    }

    /// Slots that could not be written when they were over.
    pub(crate) fn unwritten(&self) -> u64 {
        self.book.unwritten()
    }
}

#[cfg(test)]
#[path = "usage/tests.rs"]
mod tests;
