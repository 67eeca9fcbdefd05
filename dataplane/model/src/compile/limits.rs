//! Limits of a site, with those of its tenant.

use std::sync::Arc;

use super::tenant::Tenant;
use crate::desired::{SiteLimits, TenantLimits};
use crate::limits::{RATE_REQUESTS_MAX, REQUEST_HEAD_BYTES_MAX};
use crate::snapshot::{Allowance, Limits, Rate};

/// What holds for a site of a tenant when it has no limits of its own.
pub(super) fn tenant_limits(limits: &TenantLimits) -> Option<Arc<Limits>> {
    let TenantLimits {
        sites: _, // looked at when somebody makes one
        connections,
        requests_per_second,
        burst,
        head_bytes,
        body_bytes,
    } = *limits;
    some(Limits {
        tenant: allowance(connections, requests_per_second, burst),
        site: Allowance::default(),
        head_bytes: head(head_bytes),
        body_bytes: body_bytes.unwrap_or(u64::MAX),
    })
}

/// What holds for a site of `tenant`.
pub(super) fn site_limits(tenant: &Tenant, limits: &SiteLimits) -> Option<Arc<Limits>> {
    let SiteLimits {
        connections,
        requests_per_second,
        burst,
        head_bytes,
        body_bytes,
    } = *limits;
    let own = Limits {
        tenant: Allowance::default(),
        site: allowance(connections, requests_per_second, burst),
        head_bytes: head(head_bytes),
        body_bytes: body_bytes.unwrap_or(u64::MAX),
    };
    match (&tenant.limits, some(own)) {
        (of_tenant, None) => of_tenant.clone(),
        (None, own) => own,
        (Some(of_tenant), Some(own)) => Some(Arc::new(Limits {
            tenant: of_tenant.tenant,
            site: own.site,
            head_bytes: of_tenant.head_bytes.min(own.head_bytes),
            body_bytes: of_tenant.body_bytes.min(own.body_bytes),
        })),
    }
}

/// The limits, if there is any among them.
fn some(limits: Limits) -> Option<Arc<Limits>> {
    let none = Limits {
        tenant: Allowance::default(),
        site: Allowance::default(),
        head_bytes: REQUEST_HEAD_BYTES_MAX,
        body_bytes: u64::MAX,
    };
    (limits != none).then(|| Arc::new(limits))
}

fn allowance(
    connections: Option<u32>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
) -> Allowance {
    // The grammar lets nothing else in; a log may come from who knows where.
    let in_range = |requests: u32| requests.clamp(1, RATE_REQUESTS_MAX);
    Allowance {
        connections,
        rate: requests_per_second.map(|requests_per_second| Rate {
            requests_per_second: in_range(requests_per_second),
            burst: in_range(burst.unwrap_or(requests_per_second)),
        }),
    }
}

fn head(bytes: Option<u64>) -> usize {
    bytes.map_or(REQUEST_HEAD_BYTES_MAX, |bytes| {
        usize::try_from(bytes).unwrap_or(REQUEST_HEAD_BYTES_MAX)
    })
}
