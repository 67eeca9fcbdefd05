//! Who vouches for backends (`site.pool.tls`) and for clients (`site.client_certificates`): the files of
//! authorities that a manifest names, which become part of what is desired, and what a caller should know of pools whose backends nobody vouches for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use meridian_model::desired::Pool;
use meridian_model::limits::{HOST_AUTHORITIES_BYTES_MAX, POOL_AUTHORITIES_BYTES_MAX};
use meridian_model::local::SYSTEM_AUTHORITIES;
use meridian_model::manifest::AuthoritiesFile;
use meridian_model::name::Name;
use meridian_model::{Desired, Local, Manifest, Problem};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::fault::{Fault, Part};
use super::files::{self, FileIdentity};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Sites that are named in a warning; the rest is counted.
const SITES_NAMED: usize = 5;

/// What the files of a manifest hold.
#[derive(Default)]
pub(crate) struct ReadAuthorities {
    /// By tenant, site and pool; without a pool those of the site's clients.
    texts: HashMap<(Name, Name, Option<Name>), String>,
    /// What tells whether the files are still the same; none where that can not be told.
    pub(crate) files: Option<Vec<FileIdentity>>,
}

/// Reads every file of authorities of `manifest`, which problems call `file`.
///
/// # Errors
/// What is wrong with any of them.
pub(crate) fn read(manifest: &Manifest, file: &str) -> Result<ReadAuthorities, Vec<Problem>> {
    let mut by_path: HashMap<&str, Result<Authorities, Fault>> = HashMap::new();
    let mut read = ReadAuthorities::default();
    let mut problems = Vec::new();
    for named in manifest.authorities() {
        let of = named.key();
        let AuthoritiesFile {
            tenant,
            site,
            pool,
            path,
            line,
        } = named;
        match by_path.entry(path).or_insert_with(|| read_file(path)) {
            Ok(Authorities { text, .. }) => {
                let key = (tenant.clone(), site.clone(), pool.cloned());
                read.texts.insert(key, text.clone());
            }
            Err(fault) => problems.push(Problem {
                file: file.to_string(),
                line: Some(line),
                key: of.to_string(),
                what: format!("{path}: {}", fault.what),
                hint: fault.hint.clone(),
            }),
        }
    }
    let files = by_path.into_values().flatten().map(|it| it.file);
    read.files = files.collect();
    match problems.is_empty() {
        true => Ok(read),
        false => Err(problems),
    }
}

impl ReadAuthorities {
    /// Says in the desired state of the manifest whom its pools trust.
    pub(crate) fn fill(&self, desired: &mut Desired) {
        if self.texts.is_empty() {
            return;
        }
        for site in &mut desired.sites {
            let names_any = |pool: &Pool| {
                let tls = pool.tls.as_ref();
                tls.is_some_and(|tls| tls.authorities.is_some())
            };
            if site.client_certificates.is_none() && !site.pools.iter().any(names_any) {
                continue;
            }
            let site = Arc::make_mut(site);
            let key = (site.tenant.clone(), site.name.clone(), None);
            if let (Some(clients), Some(text)) =
                (&mut site.client_certificates, self.texts.get(&key))
            {
                clients.authorities.clone_from(text);
            }
            for pool in &mut site.pools {
                let key = (
                    site.tenant.clone(),
                    site.name.clone(),
                    Some(pool.name.clone()),
                );
                if let (Some(tls), Some(text)) = (&mut pool.tls, self.texts.get(&key)) {
                    tls.authorities = Some(text.clone());
                }
            }
        }
    }
}

/// What one file holds.
struct Authorities {
    text: String,
    file: Option<FileIdentity>,
}

fn read_file(path: &str) -> Result<Authorities, Fault> {
    let file = files::read(path, Part::Chain)?;
    let hint = "it has a block BEGIN CERTIFICATE for each authority that is to be trusted";
    let text = blocks(&String::from_utf8_lossy(&file.bytes));
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
        let added = certificate
            .map_err(|_| "is not PEM")
            .and_then(|it| roots.add(it).map_err(|_| "can not be used"));
        added.map_err(|what| {
            Fault::of_chain(format!("certificate {} of it {what}", index + 1), hint)
        })?;
    }
    if roots.is_empty() {
        return Err(Fault::of_chain("holds no certificate", hint));
    }
    if text.len() > POOL_AUTHORITIES_BYTES_MAX {
        let most = POOL_AUTHORITIES_BYTES_MAX / 1024;
        let what = format!("its certificates are longer than {most} KiB");
        let hint = "leave those that signed what is to be verified here";
        return Err(Fault::of_chain(what, hint));
    }
    Ok(Authorities {
        text,
        file: file.identity,
    })
}

/// The certificates of a file in PEM alone, each written in one way.
fn blocks(text: &str) -> String {
    let mut blocks = String::new();
    let mut is_within = false;
    for line in text.lines().map(str::trim) {
        is_within |= line == BEGIN;
        if is_within && !line.is_empty() {
            blocks.push_str(line);
            blocks.push('\n');
        }
        is_within &= line != END;
    }
    blocks
}

/// What should be known of who vouches for backends.
pub(crate) fn warnings(local: &Local, desired: &Desired) -> Vec<String> {
    let (mut unverified, mut by_host) = (Vec::new(), Vec::new());
    for site in &desired.sites {
        for pool in &site.pools {
            let Some(tls) = &pool.tls else { continue };
            let name = format!("{}/{}/{}", site.tenant, site.name, pool.name);
            match (tls.verify, &tls.authorities) {
                (false, _) => unverified.push(name),
                (true, None) => by_host.push(name),
                (true, Some(_)) => {}
            }
        }
    }
    let mut warnings = Vec::new();
    if !unverified.is_empty() {
        warnings.push(format!(
            "tls.verify = false: anybody on the way can pose as the backends of {}",
            listed(&unverified)
        ));
    }
    if !by_host.is_empty()
        && let Err(what) = look_at_host(local)
    {
        warnings.push(format!(
            "{what}: no backend is reached of {}",
            listed(&by_host)
        ));
    }
    warnings
}

fn look_at_host(local: &Local) -> Result<(), String> {
    let own = local.host.authorities.as_deref();
    let path = own.unwrap_or(SYSTEM_AUTHORITIES);
    let hint = match own {
        Some(_) => "host.authorities names a file in PEM",
        None => "install ca-certificates, or name a file with host.authorities",
    };
    let holds_any = holds_certificate(Path::new(path));
    match holds_any {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{path}: holds no certificate; {hint}")),
        Err(error) => Err(format!("{path}: {error}; {hint}")),
    }
}

fn holds_certificate(path: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(HOST_AUTHORITIES_BYTES_MAX as u64)
        .read_to_end(&mut bytes)?;
    Ok(CertificateDer::pem_slice_iter(&bytes).any(|it| it.is_ok()))
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(SITES_NAMED).map(String::as_str);
    let shown: Vec<&str> = shown.collect();
    match names.len().saturating_sub(SITES_NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAwQF\n-----END CERTIFICATE-----\n";

    #[test]
    fn what_stands_around_certificates_is_nothing() {
        let text = format!("subject: x\r\n{BLOCK}# y\n\n{BLOCK}-----BEGIN OTHER-----\nAA\n");
        assert_eq!(blocks(&text.replace('\n', "\r\n")), BLOCK.repeat(2));
        assert_eq!(blocks("nothing"), "");
    }

    #[test]
    fn what_is_no_authority_is_said_to_be_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        for (text, what) in [
            ("", "holds no certificate"),
            (BLOCK, "certificate 1 of it can not be used"),
            (
                &BLOCK.replace("AwQF", "A?"),
                "certificate 1 of it is not PEM",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_file(path.to_str().unwrap()).err().unwrap().what, what);
        }
    }
}
