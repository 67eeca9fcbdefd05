//! Certificates for the servers under test: an authority, and what it signs, as files in PEM.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::failure::Failure;

/// Who signs, with a key on P-256.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// What clients are to trust.
    pub(crate) root: PathBuf,
    directory: PathBuf,
}

/// A certificate with its key on P-256, and where both stand.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub(crate) both: PathBuf,
    /// What clients are to trust.
    pub(crate) root: PathBuf,
}

impl Authority {
    /// A new one, whose certificate stands in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self, Failure> {
        let place = || Failure::at("authority");
        let mut params = CertificateParams::new(Vec::new()).map_err(place())?;
        params.distinguished_name = named("bench authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(place())?;
        let root = directory.join("root.pem");
        let own = params.self_signed(&key).map_err(place())?;
        fs::write(&root, own.pem()).map_err(Failure::at(root.display()))?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            root,
            directory: directory.to_owned(),
        })
    }

    /// A certificate for a name in PEM, and its key.
    pub(crate) fn sign(&self, hostname: &str) -> Result<(String, String), Failure> {
        let place = || Failure::at(format!("certificate for {hostname}"));
        let mut params = CertificateParams::new(vec![hostname.to_owned()]).map_err(place())?;
        params.distinguished_name = named(hostname);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(place())?;
        let signed = params.signed_by(&key, &self.issuer).map_err(place())?;
        Ok((signed.pem(), key.serialize_pem()))
    }

    /// A certificate for a name, in files beside the authority's.
    pub(crate) fn identity(&self, hostname: &str) -> Result<Identity, Failure> {
        let (chain, key) = self.sign(hostname)?;
        let identity = Identity {
            chain: self.directory.join("web.crt"),
            key: self.directory.join("web.key"),
            both: self.directory.join("web.both.pem"),
            root: self.root.clone(),
        };
        let both = format!("{chain}{key}");
        for (path, text) in [
            (&identity.chain, &chain),
            (&identity.key, &key),
            (&identity.both, &both),
        ] {
            fs::write(path, text).map_err(Failure::at(path.display()))?;
        }
        Ok(identity)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}
