//! What each slot of time has of each site: differences of cumulative values, greatest wins.
//!
//! Whatever says something of the same slot of the same epoch says it of the same requests, so
//! the greater value is the later one, and taking something twice, in any order, or never when
//! something later was taken changes nothing.

use std::collections::{BTreeMap, HashMap};

use super::{Answer, ClosedSlots, Epoch, PageSet, Tally};
use crate::snapshot::SiteId;

/// What one slot of time has of one site under one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Which start of a plane counted it.
    pub epoch: Epoch,
    /// The site.
    pub site: SiteId,
    /// The slot of time.
    pub slot: u64,
    /// What was served within it.
    pub tally: Tally,
}

/// Deltas by their key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deltas {
    by_key: BTreeMap<(Epoch, SiteId, u64), Tally>,
}

impl Deltas {
    /// Takes one in.
    pub fn take(&mut self, delta: Delta) {
        let Delta {
            epoch,
            site,
            slot,
            tally,
        } = delta;
        let kept = self.by_key.entry((epoch, site, slot)).or_default();
        *kept = kept.max(&tally);
    }

    /// All of them, by epoch, site and slot.
    pub fn iter(&self) -> impl Iterator<Item = Delta> {
        self.by_key
            .iter()
            .map(|(&(epoch, site, slot), &tally)| Delta {
                epoch,
                site,
                slot,
                tally,
            })
    }
}

impl Extend<Delta> for Deltas {
    fn extend<I: IntoIterator<Item = Delta>>(&mut self, deltas: I) {
        deltas.into_iter().for_each(|delta| self.take(delta));
    }
}

impl ClosedSlots {
    /// What each closed slot has.
    pub fn deltas(&self) -> Vec<Delta> {
        let mut before: HashMap<SiteId, Tally> = HashMap::new();
        let mut deltas = Vec::new();
        for closed in &self.slots {
            for &(site, now) in &closed.sites {
                let then = before.insert(site, now).unwrap_or_default();
                deltas.push(Delta {
                    epoch: self.epoch,
                    site,
                    slot: closed.slot,
                    tally: now.minus(&then),
                });
            }
        }
        deltas
    }
}

impl Answer {
    /// What the open slot has.
    pub fn deltas(&self) -> Vec<Delta> {
        let rows = self.sites.iter().map(|row| Delta {
            epoch: self.epoch,
            site: row.site,
            slot: self.open_slot,
            tally: row.now.minus(&row.closed),
        });
        rows.filter(|delta| !delta.tally.is_zero()).collect()
    }
}

impl Delta {
    /// What a dead plane had counted in the slot that it left open: what is in the pages of
    /// its workers beyond `closed`, the values at the end of the last slot in its slots file.
    /// All `pages` are of one epoch.
    pub fn left_open(pages: &[PageSet], closed: &HashMap<SiteId, Tally>) -> Vec<Delta> {
        let open_slot = pages.iter().map(|pages| pages.open_slot).max();
        let Some((first, slot)) = pages.first().zip(open_slot) else {
            return Vec::new();
        };
        let mut sums: BTreeMap<SiteId, Tally> = BTreeMap::new();
        for counted in pages.iter().flat_map(|pages| &pages.slots) {
            let sum = sums.entry(counted.site).or_default();
            *sum = sum.plus(&counted.tally);
        }
        let deltas = sums.into_iter().map(|(site, sum)| Delta {
            epoch: first.epoch,
            site,
            slot,
            tally: sum.minus(&closed.get(&site).copied().unwrap_or_default()),
        });
        deltas.filter(|delta| !delta.tally.is_zero()).collect()
    }
}
