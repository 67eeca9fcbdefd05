//! Certificates of the tests: an authority that their clients trust, and what it signs, as files that
//! a manifest names and as the plane's state directory has them.

use meridian_model::certificate::{CertificateContent, Digest};
use meridian_model::name::Hostname;
use meridian_model::sealed_file::{ChainAndKey, DIRECTORY, HOST_KEY_FILE, HostKey, seal};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// Who signs, and whom clients trust.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: CertificateDer<'static>,
    /// The same as a file has it.
    pub(crate) root_pem: String,
}

/// The one of all tests.
pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key can be made");
        let root = params.self_signed(&key).expect("it signs itself");
        Authority {
            root: root.der().clone(),
            root_pem: root.pem(),
            issuer: Issuer::new(params, key),
        }
    })
}

/// Writes a new certificate for these names as NAME.pem, its key as NAME.key, and the names beside
/// them. What a manifest has for it.
pub(crate) fn write(
    directory: &Path,
    name: &str,
    hostnames: &[&str],
    kind: &'static SignatureAlgorithm,
) -> String {
    write_until(directory, name, hostnames, kind, 4000)
}

/// The same, good until the beginning of that year.
pub(crate) fn write_until(
    directory: &Path,
    name: &str,
    hostnames: &[&str],
    kind: &'static SignatureAlgorithm,
    year: i32,
) -> String {
    let key = KeyPair::generate_for(kind).expect("a key can be made");
    let owned: Vec<String> = hostnames.iter().map(|it| (*it).to_owned()).collect();
    let mut params = CertificateParams::new(owned).expect("they are names");
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let leaf = params.signed_by(&key, &authority().issuer);
    let path = |extension: &str| directory.join(format!("{name}.{extension}"));
    let files = [
        ("pem", leaf.expect("it is signed").pem()),
        ("key", key.serialize_pem()),
        ("names", hostnames.join("\n")),
    ];
    for (extension, content) in files {
        fs::write(path(extension), content).expect("there is room for files");
    }
    let (chain, key) = (path("pem"), path("key"));
    format!(
        "[[certificate]]\ntenant = \"acme\"\nname = {name:?}\nchain = {chain:?}\nkey = {key:?}\n"
    )
}

/// Writes the authority's own certificate as NAME.pem. Where that is.
pub(crate) fn write_root(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(format!("{name}.pem"));
    fs::write(&path, &authority().root_pem).expect("there is room for files");
    path
}

/// The certificate and the key that [`write`] wrote, for who shows them.
pub(crate) fn shown(
    directory: &Path,
    name: &str,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let path = |extension: &str| directory.join(format!("{name}.{extension}"));
    let chain = fs::read_to_string(path("pem")).expect("it was written");
    let chain = ders(&chain).into_iter().map(CertificateDer::from);
    let key = PrivateKeyDer::from_pem_file(path("key")).expect("it was written");
    (chain.collect(), key)
}

/// The certificates of a text in PEM.
pub(crate) fn ders(pem: &str) -> Vec<Vec<u8>> {
    let each = CertificateDer::pem_slice_iter(pem.as_bytes());
    each.map(|it| it.expect("it is one").to_vec()).collect()
}

/// Of the chain that a manifest names, what is known of it, and what is sealed.
pub(crate) fn read(chain: &Path, key: &Path, content: &mut CertificateContent) -> ChainAndKey {
    let pair = ChainAndKey {
        chain: ders(&fs::read_to_string(chain).expect("the chain is there")),
        key: Zeroizing::new(
            PrivateKeyDer::from_pem_file(key)
                .expect("the key is there")
                .secret_der()
                .to_vec(),
        ),
    };
    let names = fs::read_to_string(chain.with_extension("names")).expect("they were written");
    let mut names: Vec<Hostname> = names
        .lines()
        .map(|name| Hostname::parse(name).expect("they are names"))
        .collect();
    names.sort();
    content.names = names.into();
    content.digest = pair.encode().1;
    pair
}

/// Puts it where the plane reads it, as `meridianctl` does.
pub(crate) fn keep(state: &Path, pair: &ChainAndKey) {
    let key = HostKey::new(Zeroizing::new([7; 32]));
    let (content, digest) = pair.encode();
    let (host_key, sealed) = (state.join(HOST_KEY_FILE), sealed_path(state, &digest));
    for path in [&host_key, &sealed] {
        let directory = path.parent().expect("it is in a directory");
        fs::create_dir_all(directory).expect("the state directory takes files");
    }
    fs::write(host_key, &*key.to_file()).expect("the state directory takes files");
    fs::write(sealed, seal(&key, [1; 12], &digest, &content)).expect("and more of them");
}

/// Where the sealed file of this digest stands.
pub(crate) fn sealed_path(state: &Path, digest: &Digest) -> PathBuf {
    state.join(DIRECTORY).join(digest.to_string())
}
