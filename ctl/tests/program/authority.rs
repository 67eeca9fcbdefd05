//! A certificate authority for the tests: chains and keys as files in PEM.

use std::path::Path;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm, date_time_ymd,
};

/// A root and an authority below it, as public ones are.
pub(crate) struct Authority {
    pub(crate) root_pem: String,
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf with its key.
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let (root, root_key) = (
            authority(&format!("{name} root")),
            key(&PKCS_ECDSA_P256_SHA256),
        );
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let (below, below_key) = (authority(name), key(&PKCS_ECDSA_P256_SHA256));
        let pem = below.signed_by(&below_key, &root).unwrap().pem();
        Authority {
            root_pem,
            pem,
            issuer: Issuer::new(below, below_key),
        }
    }

    /// A leaf for these names, with a new key on P-256.
    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_by(names, &PKCS_ECDSA_P256_SHA256, (2020, 2099))
    }

    /// A leaf with a key of that kind that holds from the first of January of one year to that of
    /// another.
    pub(crate) fn leaf_by(
        &self,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
        years: (i32, i32),
    ) -> Leaf {
        let key = key(kind);
        let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        self.sign(params, &key)
    }

    /// A leaf as the rules for public ones have it (Baseline Requirements of the CA/Browser Forum, §6.3.2 and
    /// §7.1.2.7): for a year, from the first of this month.
    pub(crate) fn leaf_by_the_rules(
        &self,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
    ) -> Leaf {
        let key = key(kind);
        let owned: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
        let mut params = CertificateParams::new(owned).unwrap();
        let today = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now());
        let (year, month) = (i32::from(today.year()), today.month() as u8);
        params.not_before = date_time_ymd(year, month, 1);
        params.not_after = date_time_ymd(year + 1, month, 1);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        self.sign(params, &key)
    }

    /// A leaf of these parameters.
    pub(crate) fn sign(&self, params: CertificateParams, key: &KeyPair) -> Leaf {
        Leaf {
            pem: params.signed_by(key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A leaf followed by what signed it.
    pub(crate) fn chain(&self, leaf: &Leaf) -> String {
        format!("{}{}", leaf.pem, self.pem)
    }

    /// Writes a new certificate for these names as NAME.pem and NAME.key.
    pub(crate) fn write(&self, directory: &Path, name: &str, names: &[&str]) {
        let leaf = self.leaf(names);
        std::fs::write(directory.join(format!("{name}.pem")), self.chain(&leaf)).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), leaf.key).unwrap();
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params
}

fn key(kind: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(kind).unwrap()
}

/// Runs openssl for what the crates of ours do not make.
pub(crate) fn openssl(directory: &Path, arguments: &[&str]) {
    let ended = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("openssl is installed");
    assert!(ended.status.success(), "{ended:?}");
}
