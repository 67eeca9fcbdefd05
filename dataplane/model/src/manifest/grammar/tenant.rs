//! `[[tenant]]` and `[[certificate]]`.

use super::plain;
use crate::desired::TenantLimits;
use crate::manifest::reader::{Reader, Section};
use crate::manifest::values;
use crate::manifest::written::{Certificate, Tenant};

pub(super) fn read_tenant(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Tenant> {
    let name = section.require(reader, "name", values::name, "name = \"acme\"");
    let limits = section.table(reader, "limits", "tenant.limits");
    let limits = limits.map(|section| read_limits(reader, section));
    let suspended = section.take_or(reader, "suspended", values::flag, (false, "false"));
    let networks = section.list(reader, "backend_networks", values::network);
    section.finish(reader);
    Some(Tenant {
        name: name?,
        limits: limits.unwrap_or_default(),
        backend_networks: networks.map(|networks| plain(Some(networks))),
        suspended,
    })
}

fn read_limits(reader: &mut Reader<'_>, mut section: Section<'_>) -> TenantLimits {
    let mut count = |key| {
        let count = section.take(reader, key, values::integer(1, u32::MAX));
        count.map(|located| located.value)
    };
    let limits = TenantLimits {
        sites: count("sites"),
        connections: count("connections"),
        requests_per_second: count("requests_per_second"),
    };
    section.finish(reader);
    limits
}

pub(super) fn read_certificate(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
) -> Option<Certificate> {
    let tenant = section.require(reader, "tenant", values::name, "tenant = \"acme\"");
    let name = section.require(reader, "name", values::name, "name = \"shop\"");
    let chain = section.require(reader, "chain", values::text, "chain = \"shop.pem\"");
    let key = section.require(reader, "key", values::text, "key = \"shop.key\"");
    section.finish(reader);
    Some(Certificate {
        tenant,
        name,
        chain: chain.map(|located| located.value).unwrap_or_default(),
        key: key.map(|located| located.value).unwrap_or_default(),
    })
}
