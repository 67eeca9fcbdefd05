//! When a site is made anew because its names have other addresses: the more backends it has,
//! the more rarely.
//!
//! Who has a name server of his own can have every address of a name change with each answer, of
//! many names out of step. What that costs is in proportion to the backends of the site, so the
//! time that passes before the next time is, too.

use meridian_model::limits::SITE_RENEWAL_GAP_US_PER_BACKEND;
use meridian_model::snapshot::SiteId;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// Sites whose names have other addresses than they know.
    outdated: BTreeSet<SiteId>,
    /// Before when a site is not made anew.
    not_before: HashMap<SiteId, Instant>,
}

impl Renewals {
    /// Names that these sites use have other addresses.
    pub(crate) fn add(&mut self, sites: impl IntoIterator<Item = SiteId>) {
        self.outdated.extend(sites);
    }

    /// Takes the sites that are to be made anew now.
    pub(crate) fn take(&mut self, now: Instant) -> BTreeSet<SiteId> {
        if self.outdated.is_empty() {
            return BTreeSet::new();
        }
        self.not_before.retain(|_, at| *at > now);
        let (early, ready) = std::mem::take(&mut self.outdated)
            .into_iter()
            .partition(|site| self.not_before.contains_key(site));
        self.outdated = early;
        ready
    }

    /// A site was made anew with this many backends.
    pub(crate) fn note(&mut self, site: SiteId, backends: usize, now: Instant) {
        let gap_us = SITE_RENEWAL_GAP_US_PER_BACKEND.saturating_mul(backends as u64);
        self.not_before
            .insert(site, now + Duration::from_micros(gap_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: SiteId = SiteId(1);
    const SMALL: SiteId = SiteId(2);

    #[test]
    fn a_large_site_waits_for_its_next_time_and_a_small_one_does_not() {
        let mut renewals = Renewals::default();
        let begun = Instant::now();
        let gap = Duration::from_micros(2000 * SITE_RENEWAL_GAP_US_PER_BACKEND);
        assert!(gap >= Duration::from_millis(500), "it is no gap");
        renewals.add([LARGE, SMALL]);
        assert_eq!(renewals.take(begun), BTreeSet::from([LARGE, SMALL]));
        renewals.note(LARGE, 2000, begun);
        renewals.note(SMALL, 3, begun);
        assert_eq!(renewals.take(begun + gap), BTreeSet::new());
        let soon = begun + Duration::from_millis(50);
        renewals.add([LARGE, SMALL]);
        assert_eq!(renewals.take(soon), BTreeSet::from([SMALL]));
        // What came meanwhile is taken up in one.
        renewals.add([LARGE]);
        let early = begun + gap - Duration::from_millis(1);
        assert_eq!(renewals.take(early), BTreeSet::new());
        assert_eq!(renewals.take(begun + gap), BTreeSet::from([LARGE]));
        assert_eq!(renewals.take(begun + gap), BTreeSet::new());
    }
}
