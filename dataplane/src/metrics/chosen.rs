//! Which sites have series of their own, where they can not all have some.

use meridian_model::limits::METRICS_SITES_MAX;
use meridian_model::snapshot::SiteId;
use std::collections::HashSet;

/// The first [`METRICS_SITES_MAX`] sites that had traffic. One that was chosen stays so for as long
/// as it is served: series that come and go with every scrape would be of no use.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// In the order in which they were chosen.
    order: Vec<SiteId>,
    known: HashSet<SiteId>,
}

impl Chosen {
    /// Drops what is not served any more and chooses among the sites that had traffic. How many
    /// of these were left out.
    pub(super) fn update(
        &mut self,
        with_traffic: &HashSet<SiteId>,
        is_served: impl Fn(SiteId) -> bool,
    ) -> u64 {
        self.order.retain(|&site| is_served(site));
        self.known.retain(|&site| is_served(site));
        let is_new = |site: &&SiteId| !self.known.contains(site) && is_served(**site);
        let mut new: Vec<SiteId> = with_traffic.iter().filter(is_new).copied().collect();
        new.sort_unstable();
        let room = METRICS_SITES_MAX - self.order.len();
        let left_out = new.len().saturating_sub(room);
        new.truncate(room);
        self.known.extend(&new);
        self.order.extend(new);
        left_out as u64
    }

    /// In the order in which they were chosen.
    pub(super) fn sites(&self) -> &[SiteId] {
        &self.order
    }

    /// Whether this site is one of them.
    pub(super) fn has(&self, site: SiteId) -> bool {
        self.known.contains(&site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(numbers: impl IntoIterator<Item = u64>) -> HashSet<SiteId> {
        numbers.into_iter().map(SiteId).collect()
    }

    #[test]
    fn who_was_chosen_stays_and_who_comes_too_late_is_counted() {
        let most = METRICS_SITES_MAX as u64;
        let mut chosen = Chosen::default();
        let mut with_traffic = sites([7, 3]);
        assert_eq!(chosen.update(&with_traffic, |_| true), 0);
        assert_eq!(chosen.sites(), [SiteId(3), SiteId(7)]);
        with_traffic.extend(sites(10..10 + most));
        assert_eq!(chosen.update(&with_traffic, |_| true), 2);
        assert_eq!(chosen.sites().len(), METRICS_SITES_MAX);
        // An older site comes late, and pushes nobody out.
        with_traffic.extend(sites([1]));
        assert_eq!(chosen.update(&with_traffic, |_| true), 3);
        assert!(chosen.has(SiteId(7)) && !chosen.has(SiteId(1)));
        // One that is gone makes room.
        assert_eq!(chosen.update(&with_traffic, |site| site != SiteId(7)), 2);
        assert!(!chosen.has(SiteId(7)) && chosen.has(SiteId(1)));
        assert_eq!(chosen.sites()[0], SiteId(3));
        assert_eq!(chosen.sites().len(), METRICS_SITES_MAX);
    }
}
