//! What workers share of the limits of a tenant or of a site.

use super::bucket::Bucket;
use meridian_model::snapshot::{Allowance, Site, TenantId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What is used of the limits of a tenant or of a site. There is one as long as a revision limits
/// it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Meter {
    connections: AtomicU64,
    pub(super) bucket: Bucket,
}

impl Meter {
    /// One connection more, if there are fewer than `most`; whether there were.
    pub(super) fn try_enter(&self, most: u32) -> bool {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let entered = self.connections.fetch_update(set, fetch, |open| {
            (open < u64::from(most)).then_some(open + 1)
        });
        entered.is_ok()
    }

    /// So many connections more, whatever the limit.
    pub(super) fn enter(&self, count: u64) {
        self.connections.fetch_add(count, Ordering::Relaxed);
    }

    /// So many connections less.
    pub(super) fn leave(&self, count: u64) {
        self.connections.fetch_sub(count, Ordering::Relaxed);
    }
}

/// The meters of a site that has limits, or whose tenant has.
#[derive(Debug)]
pub(crate) struct SiteMeters {
    pub(super) tenant: Option<Arc<Meter>>,
    pub(super) site: Option<Arc<Meter>>,
}

/// The meters of all tenants. Sites find theirs in the revision before.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Locked when a revision is joined with what outlives it, never for a request.
    tenants: Mutex<HashMap<TenantId, Weak<Meter>>>,
}

impl Meters {
    /// The meters of a site that had those of `before` in the last revision.
    pub(crate) fn of(&self, site: &Site, before: Option<&SiteMeters>) -> Option<Box<SiteMeters>> {
        let limits = site.limits.as_deref()?;
        let is_needed = |allowance: Allowance| allowance != Allowance::default();
        let of_site = || {
            let kept = before.and_then(|before| before.site.clone());
            kept.unwrap_or_default()
        };
        Some(Box::new(SiteMeters {
            tenant: is_needed(limits.tenant).then(|| self.of_tenant(site.tenant_id)),
            site: is_needed(limits.site).then(of_site),
        }))
    }

    fn of_tenant(&self, tenant: TenantId) -> Arc<Meter> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return meter;
        }
        if tenants.len() == tenants.capacity() {
            tenants.retain(|_, meter| meter.strong_count() > 0);
        }
        let meter = Arc::default();
        tenants.insert(tenant, Arc::downgrade(&meter));
        meter
    }
}
