//! Ids are minted once, kept by (tenant, name), and never reused.

use std::collections::HashMap;
use std::sync::Arc;

use crate::desired::{
    Certificate, Desired, Group, IdCounters, Peer, Pool, Site, Suspension, Tenant, Zone,
};
use crate::name::Name;
use crate::snapshot::{CertificateId, PoolId, SiteId, TenantId};

/// An object that may have ids.
pub(crate) trait WithIds {
    /// Takes the ids of `before`, the object of the same name, and mints what is missing.
    fn take_ids(&mut self, before: Option<&Self>, counters: &mut IdCounters);
}

impl WithIds for Tenant {
    fn take_ids(&mut self, before: Option<&Tenant>, counters: &mut IdCounters) {
        let id = before.map(|before| before.id.0);
        self.id = TenantId(id.unwrap_or_else(|| mint(&mut counters.tenant)));
    }
}

impl WithIds for Certificate {
    fn take_ids(&mut self, before: Option<&Certificate>, counters: &mut IdCounters) {
        let id = before.map(|before| before.id);
        self.id = id.unwrap_or_else(|| CertificateId(mint(&mut counters.certificate)));
    }
}

impl WithIds for Site {
    fn take_ids(&mut self, before: Option<&Site>, counters: &mut IdCounters) {
        let id = before.map(|before| before.id.0);
        self.id = SiteId(id.unwrap_or_else(|| mint(&mut counters.site)));
        let pools_before = before.map_or(&[][..], |before| &before.pools);
        for pool in &mut self.pools {
            let id = pools_before.iter().find(|before| before.name == pool.name);
            let id = id.map(|before| before.id.0);
            pool.id = PoolId(id.unwrap_or_else(|| mint(&mut counters.pool)));
        }
    }
}

impl WithIds for Arc<Site> {
    fn take_ids(&mut self, before: Option<&Arc<Site>>, counters: &mut IdCounters) {
        Arc::make_mut(self).take_ids(before.map(|before| &**before), counters);
    }
}

impl WithIds for Group {
    fn take_ids(&mut self, _: Option<&Group>, _: &mut IdCounters) {}
}

impl WithIds for Peer {
    fn take_ids(&mut self, _: Option<&Peer>, _: &mut IdCounters) {}
}

impl WithIds for Suspension {
    fn take_ids(&mut self, _: Option<&Suspension>, _: &mut IdCounters) {}
}

impl WithIds for Zone {
    fn take_ids(&mut self, _: Option<&Zone>, _: &mut IdCounters) {}
}

impl IdCounters {
    /// The higher one of each.
    pub(crate) fn highest(self, other: IdCounters) -> IdCounters {
        IdCounters {
            tenant: self.tenant.max(other.tenant),
            site: self.site.max(other.site),
            pool: self.pool.max(other.pool),
            certificate: self.certificate.max(other.certificate),
        }
    }
}

impl Desired {
    /// Gives every object that was in `previous` under the same name its id from there,
    /// and every other one a new id. What was deleted and comes back is new.
    pub fn assign_ids(&mut self, previous: Option<&Desired>) {
        let nothing = Desired::default();
        let known = Known::of(previous.unwrap_or(&nothing));
        let mut counters = self.ids.highest(known.counters);
        for tenant in &mut self.tenants {
            let before = known.tenants.get(&tenant.name).copied();
            tenant.take_ids(before, &mut counters);
        }
        for certificate in &mut self.certificates {
            let name = (&certificate.tenant, &certificate.name);
            let before = known.certificates.get(&name).copied();
            certificate.take_ids(before, &mut counters);
        }
        for site in &mut self.sites {
            let before = known.sites.get(&(&site.tenant, &site.name)).copied();
            site.take_ids(before, &mut counters);
        }
        self.ids = counters;
    }

    /// Puts every list into its order: by name, a site's default pool first.
    pub(crate) fn sort(&mut self) {
        self.tenants.sort_by(|a, b| a.name.cmp(&b.name));
        self.groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.peers.sort_by(|a, b| a.name.cmp(&b.name));
        self.zones.sort_by(|a, b| a.name.cmp(&b.name));
        self.certificates
            .sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        self.suspensions.sort();
        self.sites
            .sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        for site in self.sites.iter_mut().filter(|site| !is_sorted(site)) {
            let site = Arc::make_mut(site);
            site.hostnames.sort();
            site.certificates.sort();
            site.certificates.dedup();
            site.pools.sort_by(|a, b| rank(a).cmp(&rank(b)));
            for pool in &mut site.pools {
                pool.backends.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
    }
}

/// The order of a site's pools.
fn rank(pool: &Pool) -> (bool, &Name) {
    (!pool.name.is_default_pool(), &pool.name)
}

/// Most sites have one of each: nothing is to be done.
fn is_sorted(site: &Site) -> bool {
    site.hostnames.is_sorted()
        && site.certificates.is_sorted_by(|a, b| a < b)
        && site.pools.is_sorted_by(|a, b| rank(a) <= rank(b))
        && (site.pools.iter()).all(|pool| pool.backends.is_sorted_by(|a, b| a.name <= b.name))
}

struct Known<'a> {
    counters: IdCounters,
    tenants: HashMap<&'a Name, &'a Tenant>,
    certificates: HashMap<(&'a Name, &'a Name), &'a Certificate>,
    sites: HashMap<(&'a Name, &'a Name), &'a Arc<Site>>,
}

impl<'a> Known<'a> {
    fn of(desired: &'a Desired) -> Known<'a> {
        let by_tenant = |tenant: &'a Tenant| (&tenant.name, tenant);
        let by_certificate = |it: &'a Certificate| ((&it.tenant, &it.name), it);
        let by_site = |site: &'a Arc<Site>| ((&site.tenant, &site.name), site);
        Known {
            counters: desired.ids,
            tenants: desired.tenants.iter().map(by_tenant).collect(),
            certificates: desired.certificates.iter().map(by_certificate).collect(),
            sites: desired.sites.iter().map(by_site).collect(),
        }
    }
}

fn mint(counter: &mut u64) -> u64 {
    *counter += 1;
    *counter
}
