//! Which sites have series of their own, where they can not all have some.

use super::shares::shares;
use meridian_model::limits::METRICS_SITES_MAX;
use meridian_model::snapshot::{SiteId, TenantId};
use std::collections::{HashMap, HashSet};

/// Of the sites that had traffic [`METRICS_SITES_MAX`], by the tenants' [`shares`] and of each tenant
/// those that came first. One that was chosen stays so for as long as it is served and its tenant
/// has no more than its share: series that come and go with every scrape would be of no use.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// In the order in which they were chosen.
    order: Vec<SiteId>,
    known: HashSet<SiteId>,
}

impl Chosen {
    /// Drops what is not served any more and chooses among the sites that had traffic, where
    /// `tenant` says whose a site is that is served. How many of these were left out.
    pub(super) fn update(
        &mut self,
        with_traffic: &HashSet<SiteId>,
        tenant: impl Fn(SiteId) -> Option<TenantId>,
    ) -> u64 {
        let is_new = |site: &&SiteId| !self.known.contains(site);
        let mut new: Vec<SiteId> = with_traffic.iter().filter(is_new).copied().collect();
        new.sort_unstable();
        let all = self.order.iter().copied().chain(new);
        let all: Vec<(SiteId, TenantId)> =
            all.filter_map(|site| Some((site, tenant(site)?))).collect();
        let (mut wanted, mut before): (HashMap<TenantId, usize>, HashMap<TenantId, usize>) =
            Default::default();
        for (site, tenant) in &all {
            *wanted.entry(*tenant).or_default() += 1;
            *before.entry(*tenant).or_default() += usize::from(self.known.contains(site));
        }
        let mut left = shares(wanted, |tenant| before[&tenant], METRICS_SITES_MAX);
        self.order.clear();
        self.order.extend(all.iter().filter_map(|(site, tenant)| {
            let left = left.get_mut(tenant)?;
            *left = left.checked_sub(1)?;
            Some(*site)
        }));
        self.known = self.order.iter().copied().collect();
        (all.len() - self.order.len()) as u64
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
        let of_one = |_| Some(TenantId(1));
        let mut chosen = Chosen::default();
        let mut with_traffic = sites([7, 3]);
        assert_eq!(chosen.update(&with_traffic, of_one), 0);
        assert_eq!(chosen.sites(), [SiteId(3), SiteId(7)]);
        with_traffic.extend(sites(10..10 + most));
        assert_eq!(chosen.update(&with_traffic, of_one), 2);
        assert_eq!(chosen.sites().len(), METRICS_SITES_MAX);
        // An older site comes late, and pushes nobody out.
        with_traffic.extend(sites([1]));
        assert_eq!(chosen.update(&with_traffic, of_one), 3);
        assert!(chosen.has(SiteId(7)) && !chosen.has(SiteId(1)));
        // One that is gone makes room.
        let but_one = |site| (site != SiteId(7)).then_some(TenantId(1));
        assert_eq!(chosen.update(&with_traffic, but_one), 2);
        assert!(!chosen.has(SiteId(7)) && chosen.has(SiteId(1)));
        assert_eq!(chosen.sites()[0], SiteId(3));
        assert_eq!(chosen.sites().len(), METRICS_SITES_MAX);
    }

    #[test]
    fn more_tenants_than_there_are_series_for_do_not_push_each_other_out() {
        let most = METRICS_SITES_MAX as u64;
        let tenant = |site: SiteId| Some(TenantId(site.0));
        let mut chosen = Chosen::default();
        let mut with_traffic = sites(most..2 * most);
        assert_eq!(chosen.update(&with_traffic, tenant), 0);
        let before = chosen.sites().to_vec();
        with_traffic.extend(sites(1..100));
        assert_eq!(chosen.update(&with_traffic, tenant), 99);
        assert_eq!(chosen.sites(), before);
    }

    #[test]
    fn a_tenant_with_many_sites_leaves_room_for_those_that_come_later() {
        let most = METRICS_SITES_MAX as u64;
        let tenant = |site: SiteId| Some(TenantId(if site.0 < 1_000_000 { 1 } else { site.0 }));
        let mut chosen = Chosen::default();
        let mut with_traffic = sites(1..=most);
        assert_eq!(chosen.update(&with_traffic, tenant), 0);
        with_traffic.extend(sites([1_000_000, 1_000_001]));
        assert_eq!(chosen.update(&with_traffic, tenant), 2);
        assert!(chosen.has(SiteId(1_000_000)) && chosen.has(SiteId(1_000_001)));
        // Those that were chosen last make room.
        assert!(chosen.has(SiteId(most - 2)) && !chosen.has(SiteId(most - 1)));
        let before = chosen.sites().to_vec();
        assert_eq!(chosen.update(&with_traffic, tenant), 2);
        assert_eq!(chosen.sites(), before);
    }
}
