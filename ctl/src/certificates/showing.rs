//! Certificates as `get` shows them: all that is known of them, and never a key.

use std::collections::HashMap;

use meridian_model::Packed;
use meridian_model::certificate::{CertificateContent, expiry_word};
use meridian_model::desired::{Certificate, SiteName};
use meridian_model::name::Name;
use serde_json::{Value, json};

use super::{now, shown_time};
use crate::change_request::{Refusal, site_name, users};

/// One certificate, or all: each with its full name.
pub(crate) fn certificates(
    desired: &Packed,
    name: Option<&str>,
) -> Result<Vec<(String, Value)>, Refusal> {
    let all = &desired.others().certificates;
    let now = now();
    let Some(name) = name else {
        let mut users = all_users(desired);
        let rows = all.iter().map(|it| {
            let users = users.remove(&(it.tenant.clone(), it.name.clone()));
            row(it, users.unwrap_or_default(), now)
        });
        return Ok(rows.collect());
    };
    let SiteName { tenant, site: name } = site_name(name)?;
    let of_tenant = desired.others().certificates_of(&tenant);
    let found = of_tenant.iter().find(|it| it.name == name);
    let row = found.map(|it| row(it, users(desired, &tenant, &name), now));
    Ok(row.into_iter().collect())
}

fn row(certificate: &Certificate, sites: Vec<String>, now: i64) -> (String, Value) {
    let Certificate {
        id: _,
        owner,
        tenant,
        name,
        content,
    } = certificate;
    let CertificateContent {
        digest,
        fingerprint,
        names,
        issuer,
        not_before,
        not_after,
        key,
    } = content;
    let value = json!({
        "tenant": tenant,
        "name": name,
        "owner": owner,
        "digest": digest,
        "fingerprint": fingerprint,
        "names": names,
        "issuer": issuer,
        "not_before": shown_time(*not_before),
        "not_after": shown_time(*not_after),
        "state": expiry_word(*not_after, now),
        "key": key.to_string(),
        "sites": sites,
    });
    (format!("{tenant}/{name}"), value)
}

/// By tenant and certificate the sites that use it.
fn all_users(desired: &Packed) -> HashMap<(Name, Name), Vec<String>> {
    let mut users: HashMap<(Name, Name), Vec<String>> = HashMap::new();
    for site in desired.unpack().sites {
        let to_backends = site.pools.iter().filter_map(|pool| pool.tls.as_deref());
        let to_backends = to_backends.filter_map(|tls| tls.certificate.as_ref());
        let mut names: Vec<&Name> = site.certificates.iter().chain(to_backends).collect();
        names.sort();
        names.dedup();
        for name in names {
            let full = (site.tenant.clone(), name.clone());
            let site = format!("{}/{}", site.tenant, site.name);
            users.entry(full).or_default().push(site);
        }
    }
    users
}
