//! How many sites a tenant may have in the fleet (`tenant.limits.sites`).
//!
//! Looked at when a change is made, and never when it is read: what was accepted once is served.

use std::collections::BTreeMap;

use crate::change::{Change, Object, ObjectName};
use crate::desired::Desired;
use crate::name::Name;

/// A tenant that would have more sites than it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    /// Its name.
    pub tenant: Name,
    /// How many it would have.
    pub sites: usize,
    /// How many it may have.
    pub sites_max: u32,
}

#[derive(Default)]
struct Quota {
    before: Option<u32>,
    after: Option<u32>,
    /// Sites that come, less those that go.
    added: isize,
}

impl Desired {
    /// The tenants that `change` puts over their number of sites, by more sites or by a lower
    /// number, in the order of their names. Costs nothing to speak of where no tenant has one.
    pub fn over_quota(&self, change: &Change) -> Vec<OverQuota> {
        let mut quotas: BTreeMap<&Name, Quota> = BTreeMap::new();
        for tenant in self.tenants.iter().filter(|it| it.limits.sites.is_some()) {
            let quota = quotas.entry(&tenant.name).or_default();
            (quota.before, quota.after) = (tenant.limits.sites, tenant.limits.sites);
        }
        for object in &change.puts {
            if let Object::Tenant(tenant) = object {
                quotas.entry(&tenant.name).or_default().after = tenant.limits.sites;
            }
        }
        for object in &change.puts {
            if let Object::Site(site) = object
                && let Some(quota) = quotas.get_mut(&site.tenant)
                && self.owner(&object.name()).is_none()
            {
                quota.added += 1;
            }
        }
        for name in &change.deletes {
            if let ObjectName::Site { tenant, .. } = name
                && let Some(quota) = quotas.get_mut(tenant)
                && self.owner(name).is_some()
            {
                quota.added -= 1;
            }
        }
        let mut over = Vec::new();
        for (tenant, quota) in quotas {
            let Some(sites_max) = quota.after else {
                continue;
            };
            let sites = self
                .sites_of(tenant)
                .len()
                .saturating_add_signed(quota.added);
            let is_lowered = quota.before.is_none_or(|before| sites_max < before);
            if sites > sites_max as usize && (quota.added > 0 || is_lowered) {
                over.push(OverQuota {
                    tenant: tenant.clone(),
                    sites,
                    sites_max,
                });
            }
        }
        over
    }
}
