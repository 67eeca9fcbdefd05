//! `[[tenant]]` and `[[certificate]]`.

use super::limits::read_tenant_limits;
use super::plain;
use crate::manifest::reader::{Reader, Section};
use crate::manifest::values;
use crate::manifest::written::{Certificate, Tenant};

pub(super) fn read_tenant(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Tenant> {
    let name = section.require(reader, "name", values::name, "name = \"acme\"");
    let limits = section.table(reader, "limits", "tenant.limits");
    let limits = limits.map(|section| read_tenant_limits(reader, section));
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
        chain,
        key,
    })
}
