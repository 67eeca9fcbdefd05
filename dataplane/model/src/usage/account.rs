//! What each slot of time has of each site, out of cumulative values.
//!
//! Everything that a plane left behind says how much it had counted since its epoch began: a
//! slots file at the end of each slot, page files and the answer of a running plane now. So an
//! [`EpochAccount`] has one rule for all of them: what is said beyond what is known already goes
//! into a slot of its own, and is known from then on. Saying something twice, or late, or in
//! part, adds nothing that was not counted; a slot that was lost with a damaged line is made up
//! for by whatever comes after it.

use std::collections::{BTreeMap, HashMap};

use super::{ClosedSlot, PageSet, Tally};
use crate::snapshot::SiteId;

/// What one slot of time has of one site under one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotUsage {
    /// The slot of time.
    pub slot: u64,
    /// The site.
    pub site: SiteId,
    /// What was served within it.
    pub tally: Tally,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochAccount {
    totals: HashMap<SiteId, Tally>,
    last_slot: Option<u64>,
}

impl EpochAccount {
    /// Goes on where another one ended: with the sums of what is known, and the last slot that
    /// has any of it or was closed.
    pub fn new(totals: HashMap<SiteId, Tally>, last_slot: Option<u64>) -> EpochAccount {
        EpochAccount { totals, last_slot }
    }

    /// What is known of a site since the epoch began.
    pub fn total(&self, site: SiteId) -> Tally {
        self.totals.get(&site).copied().unwrap_or_default()
    }

    /// The last slot that has anything, or was closed.
    pub fn last_slot(&self) -> Option<u64> {
        self.last_slot
    }

    /// Takes in a slot that was closed: what is new goes into it. Its number is greater than
    /// [`EpochAccount::last_slot`].
    pub fn close(&mut self, closed: &ClosedSlot) -> Vec<SlotUsage> {
        debug_assert!(self.last_slot.is_none_or(|last| last < closed.slot));
        self.last_slot = Some(closed.slot);
        self.add(closed.slot, closed.sites.iter().copied())
    }

    /// Takes in what was counted when `open_slot` was said to be open: what is new goes there,
    /// or into the slot after the last one when that was closed meanwhile. For a plane may die,
    /// or be asked, between the end of a slot and the beginning of the next.
    pub fn leave_open(
        &mut self,
        open_slot: u64,
        counted: impl IntoIterator<Item = (SiteId, Tally)>,
    ) -> Vec<SlotUsage> {
        let slot = self
            .last_slot
            .map_or(open_slot, |last| open_slot.max(last.saturating_add(1)));
        let new = self.add(slot, counted);
        if !new.is_empty() {
            self.last_slot = Some(slot);
        }
        new
    }

    fn add(
        &mut self,
        slot: u64,
        counted: impl IntoIterator<Item = (SiteId, Tally)>,
    ) -> Vec<SlotUsage> {
        // A site that is named twice has the greater of both.
        let mut new: BTreeMap<SiteId, Tally> = BTreeMap::new();
        for (site, now) in counted {
            let known = self.totals.entry(site).or_default();
            let tally = now.minus(known);
            if !tally.is_zero() {
                *known = known.max(&now);
                let sum = new.entry(site).or_default();
                *sum = sum.plus(&tally);
            }
        }
        new.into_iter()
            .map(|(site, tally)| SlotUsage { slot, site, tally })
            .collect()
    }
}

/// What the workers of one epoch have counted together, and the slot that was open.
pub fn sum_pages(pages: &[PageSet]) -> (u64, BTreeMap<SiteId, Tally>) {
    let open_slot = pages.iter().map(|pages| pages.open_slot).max();
    let mut sums: BTreeMap<SiteId, Tally> = BTreeMap::new();
    for counted in pages.iter().flat_map(|pages| &pages.slots) {
        let sum = sums.entry(counted.site).or_default();
        *sum = sum.plus(&counted.tally);
    }
    (open_slot.unwrap_or_default(), sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{COLUMNS, Column, Epoch, PageSlot};
    use proptest::prelude::*;

    const SITES: u64 = 3;

    fn closed(slot: u64, sites: &[(u64, u64)]) -> ClosedSlot {
        let sites = sites
            .iter()
            .map(|&(site, requests)| (SiteId(site), tally(requests)));
        ClosedSlot {
            slot,
            sites: sites.collect(),
        }
    }

    fn tally(requests: u64) -> Tally {
        let mut tally = Tally::default();
        tally[Column::Requests] = requests;
        tally
    }

    fn usage(slot: u64, site: u64, requests: u64) -> SlotUsage {
        SlotUsage {
            slot,
            site: SiteId(site),
            tally: tally(requests),
        }
    }

    #[test]
    fn a_slot_has_what_was_added_since_the_one_before() {
        let mut account = EpochAccount::default();
        assert_eq!(account.close(&closed(5, &[(1, 10)])), [usage(5, 1, 10)]);
        let both = account.close(&closed(7, &[(1, 12), (2, 1)]));
        assert_eq!(both, [usage(7, 1, 2), usage(7, 2, 1)]);
        let open = account.leave_open(8, [(SiteId(1), tally(13)), (SiteId(2), tally(1))]);
        assert_eq!(open, [usage(8, 1, 1)]);
        let again = account.leave_open(8, [(SiteId(1), tally(13)), (SiteId(2), tally(1))]);
        assert_eq!(again, []);
    }

    #[test]
    fn what_came_after_a_slot_was_closed_is_not_mistaken_for_a_part_of_it() {
        let mut account = EpochAccount::default();
        account.close(&closed(5, &[(1, 10)]));
        // The plane died before it wrote down that the next slot is open.
        let left = account.leave_open(5, [(SiteId(1), tally(14))]);
        assert_eq!(left, [usage(6, 1, 4)]);
    }

    #[test]
    fn a_slot_that_was_lost_is_in_the_next() {
        let mut account = EpochAccount::default();
        account.close(&closed(5, &[(1, 10)]));
        // The line of slot 6 was damaged.
        assert_eq!(account.close(&closed(7, &[(1, 30)])), [usage(7, 1, 20)]);
    }

    #[test]
    fn workers_are_summed_and_the_latest_open_slot_is_theirs() {
        let page = |worker, open_slot, requests| PageSet {
            epoch: Epoch([1; 16]),
            worker,
            open_slot,
            slots: vec![PageSlot {
                site: SiteId(9),
                tally: Tally([requests; COLUMNS]),
                latency: [0; crate::usage::BUCKETS],
            }],
        };
        let (open_slot, sums) = sum_pages(&[page(0, 7, 2), page(1, 8, 3)]);
        assert_eq!(open_slot, 8);
        assert_eq!(sums[&SiteId(9)], Tally([5; COLUMNS]));
        assert_eq!(sum_pages(&[]), (0, BTreeMap::new()));
    }

    /// One step in the life of a plane and of those who read what it leaves.
    #[derive(Clone, Debug)]
    enum Step {
        Serve(u64, u64),
        Close,
        LoseALine,
        Read,
        Look,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1..=SITES, 1..100_u64).prop_map(|(site, requests)| Step::Serve(site, requests)),
            2 => Just(Step::Close),
            1 => Just(Step::LoseALine),
            2 => Just(Step::Read),
            1 => Just(Step::Look),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// However the reading of slots, of pages, and damage alternate: when all was read, the
        /// sum of all slots is what was counted, and nothing is ever above it.
        #[test]
        fn nothing_is_lost_and_nothing_counted_twice(steps in steps()) {
            let mut counted: BTreeMap<SiteId, Tally> = BTreeMap::new();
            let mut file: Vec<ClosedSlot> = Vec::new();
            let (mut read, mut open_slot) = (0, 100);
            let mut account = EpochAccount::default();
            let mut ledger: Vec<SlotUsage> = Vec::new();
            for step in steps {
                match step {
                    Step::Serve(site, requests) => {
                        let now = counted.entry(SiteId(site)).or_default();
                        *now = now.plus(&tally(requests));
                    }
                    Step::Close => {
                        let sites = counted.iter().map(|(&site, &now)| (site, now)).collect();
                        file.push(ClosedSlot { slot: open_slot, sites });
                        open_slot += 1;
                    }
                    Step::LoseALine if file.len() > read => {
                        file.pop();
                    }
                    Step::LoseALine => {}
                    Step::Read => {
                        for closed in &file[read..] {
                            ledger.extend(account.close(closed));
                        }
                        read = file.len();
                    }
                    Step::Look => {
                        // Somebody who only looks takes in a copy, which must be exact.
                        let mut copy = account.clone();
                        let mut seen = ledger.clone();
                        for closed in &file[read..] {
                            seen.extend(copy.close(closed));
                        }
                        seen.extend(copy.leave_open(open_slot, counted.clone()));
                        prop_assert_eq!(sums(&seen), counted.clone());
                    }
                }
                for (site, sum) in sums(&ledger) {
                    prop_assert_eq!(sum.minus(&counted[&site]), Tally::default());
                }
            }
            for closed in &file[read..] {
                ledger.extend(account.close(closed));
            }
            for _ in 0..2 {
                ledger.extend(account.leave_open(open_slot, counted.clone()));
                prop_assert_eq!(sums(&ledger), counted.clone());
            }
            let mut keys: Vec<_> = ledger.iter().map(|usage| (usage.slot, usage.site)).collect();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), ledger.len(), "a slot of a site is written once");
        }
    }

    fn sums(usages: &[SlotUsage]) -> BTreeMap<SiteId, Tally> {
        let mut sums: BTreeMap<SiteId, Tally> = BTreeMap::new();
        for usage in usages {
            let sum = sums.entry(usage.site).or_default();
            *sum = sum.plus(&usage.tally);
        }
        sums
    }
}
