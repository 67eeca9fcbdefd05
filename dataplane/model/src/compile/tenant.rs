//! What the sites of a tenant have from it.

use std::sync::Arc;

use ipnet::IpNet;

use super::limits::tenant_limits;
use crate::address_policy::common_networks;
use crate::desired::{self, Owner};
use crate::local::Host;
use crate::snapshot::{Limits, TenantId};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tenant {
    pub(super) id: TenantId,
    pub(super) name: Arc<str>,
    pub(super) networks: Arc<[IpNet]>,
    /// What holds for a site that has none of its own.
    pub(super) limits: Option<Arc<Limits>>,
    pub(super) suspended: bool,
}

pub(super) fn compile_tenant(host: &Host, tenant: &desired::Tenant) -> Tenant {
    let desired::Tenant {
        id,
        owner,
        name,
        limits,
        backend_networks,
        suspended,
    } = tenant;
    let mut networks = match (backend_networks, owner) {
        (Some(networks), _) => common_networks(&host.backend_networks, networks),
        (None, Owner::Manifest(_)) => host.backend_networks.clone(),
        (None, Owner::Api) => Vec::new(),
    };
    networks.sort_unstable();
    networks.dedup();
    Tenant {
        id: *id,
        name: name.shared(),
        networks: networks.into(),
        limits: tenant_limits(limits),
        suspended: *suspended,
    }
}
