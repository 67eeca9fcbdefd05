//! Certificates: the table of a revision, and those that a site shows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Compiled;
use super::problem;
use crate::certificate::{Digest, Misfit, misfits};
use crate::change::{Change, Object, ObjectName};
use crate::desired;
use crate::name::{Hostname, Name};
use crate::problem::Problem;
use crate::snapshot::{Certificate, Certificates, Site, SiteId, SiteTls, TlsRules};

/// All of a revision.
pub(super) fn compile_certificates(desired: &[desired::Certificate]) -> Certificates {
    let mut certificates = Certificates::default();
    for certificate in desired {
        certificates.insert(Arc::new(compile_certificate(certificate)));
    }
    certificates
}

fn compile_certificate(certificate: &desired::Certificate) -> Certificate {
    let desired::Certificate {
        id,
        owner: _,
        tenant,
        name,
        content,
    } = certificate;
    let crate::certificate::CertificateContent {
        digest,
        fingerprint: _,
        names,
        issuer: _,
        not_before: _, // these are for people
        not_after,
        key: _, // told by the key itself
    } = content;
    Certificate {
        id: *id,
        tenant: tenant.shared(),
        name: name.shared(),
        digest: *digest,
        names: names.clone(),
        not_after: *not_after,
    }
}

/// The table once `change` is made; none where it is about none of them.
pub(super) fn certificates_after(before: &Certificates, change: &Change) -> Option<Certificates> {
    let mut after = None;
    for name in &change.deletes {
        if let ObjectName::Certificate { tenant, name } = name {
            let after = after.get_or_insert_with(|| before.clone());
            after.remove(tenant.as_str(), name.as_str());
        }
    }
    for object in &change.puts {
        if let Object::Certificate(certificate) = object {
            let after = after.get_or_insert_with(|| before.clone());
            after.insert(Arc::new(compile_certificate(certificate)));
        }
    }
    after
}

/// Where and why a site's certificates are not right: a key, what is wrong, and what to do.
pub(super) type Wrong = (String, String, &'static str);

/// What a site with these certificates does by TLS; and all that is wrong with them.
pub(super) fn site_tls<'a>(
    certificates: &Certificates,
    tenant: &Name,
    names: &[Name],
    rules: TlsRules,
    hostnames: impl Iterator<Item = &'a str> + Clone,
) -> (Option<Arc<SiteTls>>, Vec<Wrong>) {
    let found = names.iter().map(|name| {
        let found = certificates.get(tenant.as_str(), name.as_str());
        found.cloned().ok_or_else(|| name.as_str())
    });
    shown(found, rules, hostnames)
}

fn shown<'a, 'n>(
    found: impl Iterator<Item = Result<Arc<Certificate>, &'n str>>,
    rules: TlsRules,
    hostnames: impl Iterator<Item = &'a str> + Clone,
) -> (Option<Arc<SiteTls>>, Vec<Wrong>) {
    let mut all = Vec::new();
    let mut wrong = Vec::new();
    let key = || String::from("site.certificates");
    for certificate in found {
        match certificate {
            Ok(unread) if unread.digest == Digest::default() => {
                let what = format!("{} was never read", unread.name);
                wrong.push((key(), what, ""));
            }
            Ok(certificate) => all.push(certificate),
            Err(name) => {
                let what = format!("there is no certificate {name} of its tenant");
                wrong.push((key(), what, "make it first, or take it from the site"));
            }
        }
    }
    if !wrong.is_empty() {
        return (None, wrong);
    }
    let names: Vec<&[Hostname]> = all.iter().map(|it| &*it.names).collect();
    for misfit in misfits(hostnames, &names) {
        wrong.push(match misfit {
            Misfit::Hostname(hostname) => (
                format!("hostname {hostname}"),
                String::from("none of the site's certificates is good for it"),
                "add a certificate that names it, or take it from the site",
            ),
            Misfit::Certificate(place) => (
                key(),
                format!(
                    "{} is good for none of the site's hostnames",
                    all[place].name
                ),
                "take it from the site",
            ),
        });
    }
    let tls = (!all.is_empty()).then(|| {
        Arc::new(SiteTls {
            certificates: all.into(),
            rules,
        })
    });
    (tls, wrong)
}

/// The certificate of this name that backends are shown.
pub(super) fn client_certificate(
    certificates: &Certificates,
    tenant: &str,
    name: &str,
) -> Result<Arc<Certificate>, Wrong> {
    let key = || String::from("site.pool.tls.certificate");
    match certificates.get(tenant, name) {
        Some(unread) if unread.digest == Digest::default() => {
            Err((key(), format!("{name} was never read"), ""))
        }
        Some(certificate) => Ok(Arc::clone(certificate)),
        None => {
            let what = format!("there is no certificate {name} of its tenant");
            Err((key(), what, "make it first, or take it from the pool"))
        }
    }
}

impl Compiled {
    /// The sites that show a certificate which `change` is about, to clients or to backends, with what they show after it:
    /// those of `others`, which are in the state that they will have but for that, and those that
    /// the change does not touch, but not those of `replaced` and `gone`.
    pub(super) fn recertified(
        &self,
        after: &Certificates,
        change: &Change,
        taken: &HashSet<SiteId>,
        others: Vec<Arc<Site>>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Arc<Site>> {
        let put = change.puts.iter().filter_map(|object| match object {
            Object::Certificate(it) => Some((it.tenant.as_str(), it.name.as_str())),
            _ => None,
        });
        let deleted = change.deletes.iter().filter_map(|name| match name {
            ObjectName::Certificate { tenant, name } => Some((tenant.as_str(), name.as_str())),
            _ => None,
        });
        let touched: HashSet<(&str, &str)> = put.chain(deleted).collect();
        let mut others: HashMap<SiteId, Arc<Site>> =
            others.into_iter().map(|site| (site.id, site)).collect();
        for (id, site) in self.snapshot.sites.iter() {
            let mut shown_now = site.certificates().iter().chain(site.client_certificates());
            let is_about = shown_now.any(|it| touched.contains(&(&*it.tenant, &*it.name)));
            if !is_about || taken.contains(&id) {
                continue;
            }
            let site = others.remove(&id).unwrap_or_else(|| Arc::clone(site));
            let found = site.certificates().iter().map(|it| {
                let found = after.get(&it.tenant, &it.name);
                found.cloned().ok_or(&*it.name)
            });
            let rules = site.tls.as_ref().map(|tls| tls.rules.clone());
            let (tls, wrong) = shown(found, rules.unwrap_or_default(), site.hostnames.iter());
            let name = (&*site.tenant, &*site.name);
            problems.extend(wrong.into_iter().map(|it| problem_of(name, it)));
            let mut site = Site::clone(&site);
            site.tls = tls;
            let of_backends = |it: &Certificate| client_certificate(after, &it.tenant, &it.name);
            let wrong = site
                .client_certificates()
                .filter_map(|it| of_backends(it).err());
            let mut wrong: Vec<Wrong> = wrong.collect();
            wrong.sort();
            wrong.dedup();
            problems.extend(wrong.into_iter().map(|it| problem_of(name, it)));
            site.replace_client_certificates(|it| of_backends(it).ok());
            others.insert(id, Arc::new(site));
        }
        others.into_values().collect()
    }
}

pub(super) fn problem_of(site: (&str, &str), (key, what, hint): Wrong) -> Problem {
    Problem {
        hint: hint.to_owned(),
        ..problem(site, &key, what)
    }
}
