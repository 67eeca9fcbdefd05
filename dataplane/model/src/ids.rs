//! Ids are minted once, kept by (tenant, name), and never reused.

use std::collections::HashMap;

use crate::desired::{Certificate, Desired, IdCounters, Pool, Site, Tenant};
use crate::name::Name;
use crate::snapshot::{PoolId, SiteId, TenantId};

impl Desired {
    /// Gives every object that was in `previous` under the same name its id from there,
    /// and every other one a new id. What was deleted and comes back is new.
    pub fn assign_ids(&mut self, previous: Option<&Desired>) {
        let nothing = Desired::default();
        let known = Known::of(previous.unwrap_or(&nothing));
        let mut counters = highest(self.ids, known.counters);
        for tenant in &mut self.tenants {
            let id = known.tenants.get(&tenant.name).copied();
            tenant.id = TenantId(id.unwrap_or_else(|| mint(&mut counters.tenant)));
        }
        for certificate in &mut self.certificates {
            let id = known
                .certificates
                .get(&(&certificate.tenant, &certificate.name))
                .copied();
            certificate.id = id.unwrap_or_else(|| mint(&mut counters.certificate));
        }
        for site in &mut self.sites {
            let before = known.sites.get(&(&site.tenant, &site.name)).copied();
            let id = before.map(|before| before.id.0);
            site.id = SiteId(id.unwrap_or_else(|| mint(&mut counters.site)));
            let pools_before = before.map_or(&[][..], |before| &before.pools);
            for pool in &mut site.pools {
                let id = pools_before.iter().find(|before| before.name == pool.name);
                let id = id.map(|before| before.id.0);
                pool.id = PoolId(id.unwrap_or_else(|| mint(&mut counters.pool)));
            }
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
        self.sites
            .sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        for site in &mut self.sites {
            site.hostnames.sort();
            site.certificates.sort();
            site.certificates.dedup();
            let default_pool = Name::default_pool();
            site.pools.sort_by(|a, b| {
                let rank = |pool: &Pool| (pool.name != default_pool, pool.name.clone());
                rank(a).cmp(&rank(b))
            });
            for pool in &mut site.pools {
                pool.backends.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
    }
}

struct Known<'a> {
    counters: IdCounters,
    tenants: HashMap<&'a Name, u64>,
    certificates: HashMap<(&'a Name, &'a Name), u64>,
    sites: HashMap<(&'a Name, &'a Name), &'a Site>,
}

impl<'a> Known<'a> {
    fn of(desired: &'a Desired) -> Known<'a> {
        let by_tenant = |tenant: &'a Tenant| (&tenant.name, tenant.id.0);
        let by_certificate = |it: &'a Certificate| ((&it.tenant, &it.name), it.id);
        let by_site = |site: &'a Site| ((&site.tenant, &site.name), site);
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

fn highest(a: IdCounters, b: IdCounters) -> IdCounters {
    IdCounters {
        tenant: a.tenant.max(b.tenant),
        site: a.site.max(b.site),
        pool: a.pool.max(b.pool),
        certificate: a.certificate.max(b.certificate),
    }
}
