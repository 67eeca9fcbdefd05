//! How many sites a tenant may have in the fleet (`tenant.limits.sites`).
//!
//! Looked at when a change is made, and never when it is read: what was accepted once is served.

use std::collections::BTreeMap;

use crate::change::{Change, Object, ObjectName};
use crate::desired::{Desired, Tenant};
use crate::name::Name;
use crate::packed::Packed;

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
        let is_there = |site: &ObjectName| self.owner(site).is_some();
        let sites = |tenant: &Name| self.sites_of(tenant).len();
        over_quota(&self.tenants, change, is_there, sites)
    }
}

impl Packed {
    /// As [`Desired::over_quota`].
    pub fn over_quota(&self, change: &Change) -> Vec<OverQuota> {
        let is_there = |site: &ObjectName| self.owner(site).is_some();
        let sites = |tenant: &Name| self.sites_of(tenant);
        over_quota(&self.others().tenants, change, is_there, sites)
    }
}

/// Of `tenants`, with those of `change`: `is_there` says it of a site, and `sites` how many a
/// tenant has, both before the change.
fn over_quota(
    tenants: &[Tenant],
    change: &Change,
    is_there: impl Fn(&ObjectName) -> bool,
    sites: impl Fn(&Name) -> usize,
) -> Vec<OverQuota> {
    let mut quotas: BTreeMap<&Name, Quota> = BTreeMap::new();
    for tenant in tenants.iter().filter(|it| it.limits.sites.is_some()) {
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
            && !is_there(&object.name())
        {
            quota.added += 1;
        }
    }
    for name in &change.deletes {
        if let ObjectName::Site { tenant, .. } = name
            && let Some(quota) = quotas.get_mut(tenant)
            && is_there(name)
        {
            quota.added -= 1;
        }
    }
    let mut over = Vec::new();
    for (tenant, quota) in quotas {
        let Some(sites_max) = quota.after else {
            continue;
        };
        let is_lowered = quota.before.is_none_or(|before| sites_max < before);
        // Most tenants are not what the change is about, and their sites need not be counted.
        if quota.added <= 0 && !is_lowered {
            continue;
        }
        let sites = sites(tenant).saturating_add_signed(quota.added);
        if sites > sites_max as usize {
            over.push(OverQuota {
                tenant: tenant.clone(),
                sites,
                sites_max,
            });
        }
    }
    over
}
