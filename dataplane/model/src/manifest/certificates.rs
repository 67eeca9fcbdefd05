//! Certificates of a manifest: the files that it names, and whether what they hold fits its sites.

use super::Manifest;
use super::reader::Located;
use crate::certificate::{Misfit, misfits};
use crate::name::{Hostname, Name};
use crate::problem::Problem;

/// A `[[certificate]]` with the files that hold it.
#[derive(Clone, Copy, Debug)]
pub struct CertificateFiles<'a> {
    /// Whose it is.
    pub tenant: &'a Name,
    /// Its name, unique within its tenant.
    pub name: &'a Name,
    /// The file of the chain in PEM.
    pub chain: &'a str,
    /// The line that names it.
    pub chain_line: u32,
    /// The file of the key in PEM.
    pub key: &'a str,
    /// The line that names it.
    pub key_line: u32,
}

/// The file of the authorities that a pool trusts, or that sign the certificates of a site's clients.
#[derive(Clone, Copy, Debug)]
pub struct AuthoritiesFile<'a> {
    /// Whose site it is.
    pub tenant: &'a Name,
    /// The site's name.
    pub site: &'a Name,
    /// The pool's name; none for the site's clients.
    pub pool: Option<&'a Name>,
    /// The file in PEM.
    pub path: &'a str,
    /// The line that names it.
    pub line: u32,
}

impl AuthoritiesFile<'_> {
    /// The key that names it.
    pub fn key(&self) -> &'static str {
        match self.pool {
            Some(_) => "site.pool.tls.authorities",
            None => "site.client_certificates.authorities",
        }
    }
}

impl Manifest {
    /// Every file of authorities of a site or its pools, in the order of the manifest.
    pub fn authorities(&self) -> impl Iterator<Item = AuthoritiesFile<'_>> {
        self.written.sites.iter().flat_map(|site| {
            let name = site.full_name();
            let clients = site.client_certificates.iter().filter_map(move |clients| {
                let (tenant, site) = name?;
                Some(AuthoritiesFile {
                    tenant: &tenant.value,
                    site: &site.value,
                    pool: None,
                    path: &clients.value.authorities,
                    line: clients.line,
                })
            });
            let pools = site.pools.iter().filter_map(move |pool| {
                let (tenant, site) = name?;
                let tls = pool.tls.as_ref()?;
                Some(AuthoritiesFile {
                    tenant: &tenant.value,
                    site: &site.value,
                    pool: Some(&pool.name.value),
                    path: tls.value.authorities.as_deref()?,
                    line: tls.line,
                })
            });
            clients.chain(pools)
        })
    }

    /// The files of every certificate, in the order of the manifest.
    pub fn certificates(&self) -> impl Iterator<Item = CertificateFiles<'_>> {
        fn there<T>(value: &Option<Located<T>>) -> &Located<T> {
            value.as_ref().expect("a missing value is a problem")
        }
        self.written.certificates.iter().map(|it| {
            let (chain, key) = (there(&it.chain), there(&it.key));
            CertificateFiles {
                tenant: &there(&it.tenant).value,
                name: &there(&it.name).value,
                chain: &chain.value,
                chain_line: chain.line,
                key: &key.value,
                key_line: key.line,
            }
        })
    }

    /// All that does not fit between the hostnames of sites and their certificates, of which
    /// `names` gives the sorted names by tenant and name; a site is passed over where it does not
    /// know one of them. `file` is what problems call the manifest.
    pub fn certificate_misfits<'n>(
        &self,
        file: &str,
        names: impl Fn(&Name, &Name) -> Option<&'n [Hostname]>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for site in &self.written.sites {
            let Some((tenant, _)) = site.full_name() else {
                continue;
            };
            let known = site.certificates.iter();
            let known: Option<Vec<&[Hostname]>> =
                known.map(|it| names(&tenant.value, &it.value)).collect();
            let Some(known) = known else {
                continue;
            };
            let mut report = |line: u32, key: &str, what: String, hint: &str| {
                problems.push(Problem {
                    file: file.to_owned(),
                    line: Some(line),
                    key: key.to_owned(),
                    what,
                    hint: hint.to_owned(),
                });
            };
            let hostnames = site.hostnames.iter().map(|it| it.value.as_str());
            for misfit in misfits(hostnames, &known) {
                match misfit {
                    Misfit::Hostname(name) => {
                        let mut hostnames = site.hostnames.iter();
                        let at = hostnames.find(|it| it.value.as_str() == name);
                        report(
                            at.map_or(tenant.line, |it| it.line),
                            "site.hostnames",
                            format!("none of the site's certificates is good for {name:?}"),
                            "add a certificate that names it, or move the hostname to a site \
                             without certificates",
                        );
                    }
                    Misfit::Certificate(place) => {
                        let certificate = &site.certificates[place];
                        let good_for = match known[place] {
                            [] => String::from(
                                "for it names no DNS name in its subjectAltName, and clients look \
                                 nowhere else",
                            ),
                            names => format!("but for {}", listed(names)),
                        };
                        report(
                            certificate.line,
                            "site.certificates",
                            format!(
                                "{:?} is good for none of the site's hostnames, {good_for}",
                                certificate.value.as_str()
                            ),
                            "take it out, or name the certificate that was meant",
                        );
                    }
                }
            }
        }
        problems
    }
}

/// Some of many names.
fn listed(names: &[Hostname]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(Hostname::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
