//! What handshakes with backends are made with: who is trusted, and what we show.
//!
//! As with what clients are shown, each is made when it is first needed, by a thread that may wait
//! for the disk. What is made here holds no session: each worker has those of each of its backends
//! for itself ([`super::backend_handshake`]), so none is ever offered to another backend or for another tenant.
//!
//! Who vouches for backends is said by the pool, or else is in one file of the host. That file is the system's,
//! which is brought up to date while we run: it is looked at now and then, and what was made with it
//! before is made anew. A connection that was made by then stays.

use crate::certificate_store::CertificateStore;
use meridian_model::certificate::Digest;
use meridian_model::limits::{
    CERTIFICATE_RETRY_MS, HOST_AUTHORITIES_BYTES_MAX, HOST_AUTHORITIES_LOOK_MS,
};
use meridian_model::snapshot::BackendTls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The protocol that is asked for by ALPN (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";

/// Faults and configurations that nobody uses are looked for once there are so many.
const FORGOTTEN_MAX: usize = 256;

/// See the module. Clones are of the same.
#[derive(Debug, Clone)]
pub(crate) struct BackendConfigs {
    made: Arc<Mutex<Made>>,
    /// Grows when the host's authorities changed: what was made before is not used again.
    age: Arc<AtomicU64>,
    sender: Sender<Arc<AskedConfig>>,
}

/// A configuration that somebody waits for.
#[derive(Debug)]
pub(crate) struct AskedConfig {
    tls: Arc<BackendTls>,
    answer: OnceLock<Option<Arc<ClientConfig>>>,
}

impl AskedConfig {
    /// What came of it, once something did: none where something can not be read.
    pub(crate) fn answer(&self) -> Option<&Option<Arc<ClientConfig>>> {
        self.answer.get()
    }
}

impl BackendConfigs {
    /// Starts the thread that reads `authorities`, the host's, and what stands in the state directory `state`.
    pub(crate) fn start(state: &Path, authorities: &Path) -> std::io::Result<BackendConfigs> {
        let (sender, receiver) = channel();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let configs = BackendConfigs {
            made: Arc::new(Mutex::new(Made {
                store: CertificateStore::new(state),
                any: Arc::new(AnyCertificate(provider.signature_verification_algorithms)),
                provider,
                host: HostAuthorities {
                    path: authorities.to_owned(),
                    read: None,
                },
                configs: HashMap::new(),
                faults: HashMap::new(),
            })),
            age: Arc::default(),
            sender,
        };
        let serving = configs.clone();
        std::thread::Builder::new()
            .name("backend-tls".to_owned())
            .spawn(move || serving.serve(&receiver))?;
        Ok(configs)
    }

    /// Has it made what `tls` says. Never waits.
    pub(crate) fn ask(&self, tls: &Arc<BackendTls>) -> Arc<AskedConfig> {
        let asked = Arc::new(AskedConfig {
            tls: Arc::clone(tls),
            answer: OnceLock::new(),
        });
        if self.sender.send(Arc::clone(&asked)).is_err() {
            // The thread is gone, by a fault of ours: nobody waits for it.
            let _ = asked.answer.set(None);
        }
        asked
    }

    /// How old what is made now is: of another age is what was made before the host's authorities
    /// changed.
    pub(crate) fn age(&self) -> u64 {
        self.age.load(Relaxed)
    }

    /// What `tls` says, at once: it may wait for the disk.
    pub(crate) fn get(&self, tls: &BackendTls) -> Option<Arc<ClientConfig>> {
        self.made().get(tls)
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, receiver: &Receiver<Arc<AskedConfig>>) {
        let look = Duration::from_millis(HOST_AUTHORITIES_LOOK_MS);
        let mut looked = Instant::now();
        loop {
            match receiver.recv_timeout(look.saturating_sub(looked.elapsed())) {
                Ok(asked) => {
                    let config = self.get(&asked.tls);
                    let _ = asked.answer.set(config);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= look {
                looked = Instant::now();
                if self.made().look() {
                    self.age.fetch_add(1, Relaxed);
                }
            }
        }
    }
}

/// What a configuration is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Recipe {
    trust: Trust,
    certificate: Option<Digest>,
}

/// Who vouches for backends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trust {
    /// Nobody has to.
    Anybody,
    /// Those in the host's file.
    Host,
    /// These, in PEM.
    These(Arc<str>),
}

impl Recipe {
    fn of(tls: &BackendTls) -> Recipe {
        Recipe {
            trust: match (tls.verify, &tls.authorities) {
                (false, _) => Trust::Anybody,
                (true, None) => Trust::Host,
                (true, Some(authorities)) => Trust::These(Arc::clone(authorities)),
            },
            certificate: tls.certificate.as_ref().map(|it| it.digest),
        }
    }
}

/// What was made, and what of.
#[derive(Debug)]
struct Made {
    store: CertificateStore,
    provider: Arc<CryptoProvider>,
    any: Arc<AnyCertificate>,
    host: HostAuthorities,
    /// As long as somebody uses them.
    configs: HashMap<Recipe, Weak<ClientConfig>>,
    /// What could not be made, and when: it is not tried again at once, and not told of again.
    faults: HashMap<Recipe, Instant>,
}

impl Made {
    fn get(&mut self, tls: &BackendTls) -> Option<Arc<ClientConfig>> {
        let recipe = Recipe::of(tls);
        if let Some(config) = self.configs.get(&recipe).and_then(Weak::upgrade) {
            return Some(config);
        }
        let retry = Duration::from_millis(CERTIFICATE_RETRY_MS);
        self.faults.retain(|_, at| at.elapsed() < retry);
        if self.faults.contains_key(&recipe) {
            return None;
        }
        match self.make(&recipe) {
            Ok(config) => {
                if self.configs.len() >= FORGOTTEN_MAX {
                    self.configs.retain(|_, config| config.strong_count() > 0);
                }
                let config = Arc::new(config);
                self.configs.insert(recipe, Arc::downgrade(&config));
                Some(config)
            }
            Err(fault) => {
                eprintln!("meridian-dataplane: TLS to backends: {fault}");
                self.faults.insert(recipe, Instant::now());
                None
            }
        }
    }

    fn make(&mut self, recipe: &Recipe) -> Result<ClientConfig, String> {
        let verifier: Arc<dyn ServerCertVerifier> = match &recipe.trust {
            Trust::Anybody => Arc::clone(&self.any) as _,
            Trust::Host => {
                let roots = self.host.get()?;
                self.verifier(roots)?
            }
            Trust::These(pem) => {
                let fault = |what: &str| format!("a pool's authorities: {what}");
                let authorities = read_authorities(pem.as_bytes());
                self.verifier(Arc::new(authorities.map_err(|what| fault(&what))?))?
            }
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|what| what.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &recipe.certificate {
            None => config.with_no_client_auth(),
            Some(digest) => {
                let shown = SingleCertAndKey::from(self.key(digest)?);
                config.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn verifier(&self, roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, String> {
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|what| what.to_string())
    }

    fn key(&self, digest: &Digest) -> Result<CertifiedKey, String> {
        let loaded = self.store.load(digest).map_err(|what| what.to_string())?;
        let fault = |what: &dyn std::fmt::Display| format!("the key of {digest}: {what}");
        let key = PrivateKeyDer::try_from(&**loaded.key).map_err(|what| fault(&what))?;
        // By reference: no copy is left behind.
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|what| fault(&what))?;
        let chain = loaded.chain.into_iter().map(CertificateDer::from);
        Ok(CertifiedKey::new(chain.collect(), key))
    }

    /// Looks whether the host's authorities changed. What was made with them before is forgotten then.
    fn look(&mut self) -> bool {
        let is_changed = self.host.is_changed();
        if is_changed {
            self.host.read = None;
            self.configs.retain(|recipe, _| recipe.trust != Trust::Host);
        }
        is_changed
    }
}

/// The host's file of authorities.
#[derive(Debug)]
struct HostAuthorities {
    path: PathBuf,
    read: Option<(Stamp, Arc<RootCertStore>)>,
}

/// What tells whether a file was written since: device, inode, length, modification and change.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl HostAuthorities {
    fn get(&mut self) -> Result<Arc<RootCertStore>, String> {
        if let Some((_, roots)) = &self.read {
            return Ok(Arc::clone(roots));
        }
        let path = &self.path;
        let at = |what: &dyn std::fmt::Display| {
            let name = path.display();
            format!(
                "{name}: {what}; host.authorities names another file, a pool's tls.authorities its own"
            )
        };
        let file = File::open(path).map_err(|what| at(&what))?;
        let stamp = stamp(&file.metadata().map_err(|what| at(&what))?);
        let mut bytes = Vec::new();
        file.take(HOST_AUTHORITIES_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|what| at(&what))?;
        if bytes.len() > HOST_AUTHORITIES_BYTES_MAX {
            return Err(at(&"it is too long"));
        }
        let roots = Arc::new(read_authorities(&bytes).map_err(|what| at(&what))?);
        self.read = Some((stamp, Arc::clone(&roots)));
        Ok(roots)
    }

    /// Whether the file is another one than was read. One that is gone for a moment is not.
    fn is_changed(&self) -> bool {
        let now = std::fs::metadata(&self.path).map(|it| stamp(&it));
        matches!((&self.read, now), (Some((then, _)), Ok(now)) if *then != now)
    }
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    )
}

/// The authorities of a file in PEM. Those that rustls can not use are passed over, as in any
/// system's file there may be some.
fn read_authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "it is not PEM".to_owned())?;
        let _ = roots.add(certificate);
    }
    match roots.is_empty() {
        true => Err("it has no certificate of an authority".to_owned()),
        false => Ok(roots),
    }
}

/// Takes any certificate whose key signed the handshake (RFC 8446 §4.4.3, RFC 5246 §7.4.3).
#[derive(Debug)]
pub(crate) struct AnyCertificate(pub(crate) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn root() -> String {
        let own = rcgen::generate_simple_self_signed(vec!["root.test".to_owned()]);
        own.expect("a certificate can be made").cert.pem()
    }

    fn tls(authorities: Option<&str>) -> BackendTls {
        BackendTls {
            verify: true,
            name: None,
            authorities: authorities.map(Arc::from),
            certificate: None,
        }
    }

    #[test]
    fn what_was_made_with_the_hosts_authorities_is_made_anew_when_they_change() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("roots.pem");
        fs::write(&path, root()).expect("there is room");
        let configs =
            BackendConfigs::start(directory.path(), &path).expect("threads can be started");
        let own = root();
        let of_host = configs.get(&tls(None)).expect("the file is good");
        let of_pool = configs.get(&tls(Some(&own))).expect("it is good");
        let is_same_as_before = || {
            let is_same = |tls: &BackendTls, before: &Arc<ClientConfig>| {
                Arc::ptr_eq(&configs.get(tls).expect("it is good"), before)
            };
            (
                is_same(&tls(None), &of_host),
                is_same(&tls(Some(&own)), &of_pool),
            )
        };
        assert!(!configs.made().look());
        assert_eq!(is_same_as_before(), (true, true));
        // Of another length, so that it shows however coarse the clock of the file system is.
        fs::write(&path, root() + &root()).expect("there is room");
        assert!(configs.made().look());
        assert_eq!(is_same_as_before(), (false, true));
        fs::remove_file(&path).expect("it is there");
        assert!(!configs.made().look(), "it is gone for a moment");
    }

    #[test]
    fn what_can_not_be_read_trusts_nobody() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("roots.pem");
        let configs =
            BackendConfigs::start(directory.path(), &path).expect("threads can be started");
        assert!(configs.get(&tls(None)).is_none());
        assert!(configs.get(&tls(Some("nothing"))).is_none());
        let asked = configs.ask(&Arc::new(tls(None)));
        while asked.answer().is_none() {
            std::thread::yield_now();
        }
        assert!(asked.answer().is_some_and(Option::is_none));
    }
}
