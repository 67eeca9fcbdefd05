//! `limits` of a tenant and of a site.

use crate::desired::{SiteLimits, TenantLimits};
use crate::limits::{HEAD_LIMIT_BYTES_MIN, RATE_REQUESTS_MAX, REQUEST_HEAD_BYTES_MAX};
use crate::manifest::reader::{Reader, Section};
use crate::manifest::values;

pub(super) fn read_tenant_limits(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
) -> TenantLimits {
    let sites = section.take(reader, "sites", values::integer(1, u32::MAX));
    let SiteLimits {
        connections,
        requests_per_second,
        burst,
        head_bytes,
        body_bytes,
    } = read_limits(reader, section);
    TenantLimits {
        sites: sites.map(|located| located.value),
        connections,
        requests_per_second,
        burst,
        head_bytes,
        body_bytes,
    }
}

pub(super) fn read_limits(reader: &mut Reader<'_>, mut section: Section<'_>) -> SiteLimits {
    let rate = || values::integer(1, RATE_REQUESTS_MAX);
    let head = values::size_between(HEAD_LIMIT_BYTES_MIN as u64, REQUEST_HEAD_BYTES_MAX as u64);
    let connections = section.take(reader, "connections", values::integer(1, u32::MAX));
    let requests_per_second = section.take(reader, "requests_per_second", rate());
    let burst = section.take(reader, "burst", rate());
    let head = section.take(reader, "head", head);
    let body = section.take(reader, "body", values::size);
    if let Some(burst) = &burst
        && !section.contains("requests_per_second")
    {
        let key = section.key_path("burst");
        let hint = "write requests_per_second beside it, or remove it";
        reader.report(
            Some(burst.line),
            &key,
            "is of a rate, and there is none",
            hint,
        );
    }
    section.finish(reader);
    SiteLimits {
        connections: connections.map(|located| located.value),
        requests_per_second: requests_per_second.map(|located| located.value),
        burst: burst.map(|located| located.value),
        head_bytes: head.map(|located| located.value),
        body_bytes: body.map(|located| located.value),
    }
}
