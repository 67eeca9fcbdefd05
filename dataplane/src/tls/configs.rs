//! What handshakes of a site are made with: its certificates and its rules, from the files to where
//! workers have them at hand.
//!
//! Of very many certificates few are asked for, so each is read when a client asks for it, by a
//! thread that may wait for the disk; the worker's task waits meanwhile, and nobody else does. What
//! was read is one for the whole process, and each worker keeps what it was lately asked for. A site
//! whose certificates changed is another one: what was kept of it before no longer fits.

use super::clients;
use super::tickets::TicketSecret;
use crate::certificate_store::CertificateStore;
use meridian_model::certificate::{Digest, covers};
use meridian_model::limits::{CERTIFICATE_RETRY_MS, SITE_CONFIGS_PER_WORKER_MAX};
use meridian_model::snapshot::{Certificate, Site, SiteId, SiteTls, TlsRules, TlsVersion};
use meridian_sys::Notifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm, version};
use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// The protocol that ALPN agrees on (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";

/// What the loader still knows of that no worker has any more, at the most, beyond as much again as is
/// in use.
const FORGOTTEN_MAX: usize = 1024;

/// What the loader made of a site; none where its certificates can not be had.
pub(super) type Loaded = Option<Arc<ServerConfig>>;

/// A site that a worker waits for.
#[derive(Debug)]
pub(super) struct Pending {
    site: Arc<Site>,
    tls: Arc<SiteTls>,
    answer: OnceLock<Loaded>,
    notifier: Notifier,
}

impl Pending {
    /// What came of it, once something did.
    pub(super) fn answer(&self) -> Option<&Loaded> {
        self.answer.get()
    }

    /// The site.
    pub(super) fn site(&self) -> SiteId {
        self.site.id
    }

    /// Whether it is what `tls` says.
    pub(super) fn is_of(&self, tls: &SiteTls) -> bool {
        *self.tls == *tls
    }
}

/// Asks the loader.
#[derive(Debug, Clone)]
pub(crate) struct Loader(Sender<Arc<Pending>>);

impl Loader {
    /// Starts the thread that reads what stands in the state directory `state`.
    pub(crate) fn start(state: &Path, tickets: TicketSecret) -> std::io::Result<Loader> {
        let (sender, receiver) = channel();
        let mut loading = Loading {
            store: CertificateStore::new(state),
            provider: Arc::new(provider()),
            tickets,
            keys: HashMap::new(),
            configs: HashMap::new(),
            faults: HashMap::new(),
            forget_at: FORGOTTEN_MAX,
        };
        std::thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || loading.serve(&receiver))?;
        Ok(Loader(sender))
    }

    /// Has the configuration of a site made; `notifier` wakes who asks.
    pub(super) fn ask(
        &self,
        site: &Arc<Site>,
        tls: &Arc<SiteTls>,
        notifier: Notifier,
    ) -> Arc<Pending> {
        let pending = Arc::new(Pending {
            site: Arc::clone(site),
            tls: Arc::clone(tls),
            answer: OnceLock::new(),
            notifier,
        });
        if self.0.send(Arc::clone(&pending)).is_err() {
            // The thread is gone, by a fault of ours: nobody waits for it.
            let _ = pending.answer.set(None);
        }
        pending
    }
}

/// The thread that reads certificates.
struct Loading {
    store: CertificateStore,
    provider: Arc<CryptoProvider>,
    tickets: TicketSecret,
    /// What some worker has.
    keys: HashMap<Digest, Weak<CertifiedKey>>,
    configs: HashMap<SiteId, (Arc<SiteTls>, Weak<ServerConfig>)>,
    /// What could not be read, and when: it is not tried again at once, and not told of again.
    faults: HashMap<Digest, Instant>,
    /// So many of both are looked through for those that nobody has.
    forget_at: usize,
}

impl Loading {
    fn serve(&mut self, receiver: &Receiver<Arc<Pending>>) {
        while let Ok(pending) = receiver.recv() {
            let loaded = self.load(&pending.site, &pending.tls);
            let _ = pending.answer.set(loaded);
            pending.notifier.notify();
            self.forget();
        }
    }

    fn load(&mut self, site: &Site, tls: &Arc<SiteTls>) -> Loaded {
        if let Some((made_of, config)) = self.configs.get(&site.id)
            && *made_of == *tls
            && let Some(config) = config.upgrade()
        {
            return Some(config);
        }
        let retry = Duration::from_millis(CERTIFICATE_RETRY_MS);
        self.faults.retain(|_, at| at.elapsed() < retry);
        let mut certificates = Vec::with_capacity(tls.certificates.len());
        for certificate in &tls.certificates {
            match self.key(&certificate.digest) {
                Ok(key) => certificates.push((Arc::clone(certificate), key)),
                Err(None) => {}
                Err(Some(fault)) => {
                    let Certificate { tenant, name, .. } = &**certificate;
                    eprintln!("meridian-dataplane: certificate {tenant}/{name}: {fault}");
                    self.faults.insert(certificate.digest, Instant::now());
                }
            }
        }
        // With some of them it would be up to the client whether there is a site.
        if certificates.len() < tls.certificates.len() {
            return None;
        }
        let config = self.config(site, &tls.rules, certificates)?;
        let weak = Arc::downgrade(&config);
        self.configs.insert(site.id, (Arc::clone(tls), weak));
        Some(config)
    }

    /// A chain with its key. The error is what to tell of it, where that was not told lately.
    fn key(&mut self, digest: &Digest) -> Result<Arc<CertifiedKey>, Option<String>> {
        if let Some(key) = self.keys.get(digest).and_then(Weak::upgrade) {
            return Ok(key);
        }
        if self.faults.contains_key(digest) {
            return Err(None);
        }
        let loaded = self
            .store
            .load(digest)
            .map_err(|fault| Some(fault.to_string()))?;
        let key = PrivateKeyDer::try_from(&**loaded.key);
        let key = key.map_err(|what| Some(format!("the key of {digest}: {what}")))?;
        // By reference: no copy is left behind.
        let key = aws_lc_rs::sign::any_supported_type(&key);
        let key = key.map_err(|what| Some(format!("the key of {digest}: {what}")))?;
        let chain = loaded.chain.into_iter().map(CertificateDer::from);
        let key = Arc::new(CertifiedKey::new(chain.collect(), key));
        self.keys.insert(*digest, Arc::downgrade(&key));
        Ok(key)
    }

    fn config(
        &self,
        site: &Site,
        rules: &TlsRules,
        mut certificates: Vec<(Arc<Certificate>, Arc<CertifiedKey>)>,
    ) -> Loaded {
        certificates.sort_by_key(|(_, key)| cost_of(key.key.algorithm()));
        let versions: &[_] = match rules.minimum {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions);
        let config = config.ok()?;
        let config = match &rules.clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let verifier = clients::verifier(clients, &self.provider).map_err(|what| {
                    let Site { tenant, name, .. } = site;
                    eprintln!(
                        "meridian-dataplane: authorities of the clients of {tenant}/{name}: {what}"
                    );
                });
                config.with_client_cert_verifier(verifier.ok()?)
            }
        };
        let mut config = config.with_cert_resolver(Arc::new(SiteCertificates(certificates.into())));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // See `provider`.
        config.ignore_client_order = true;
        match rules.clients {
            None => config.ticketer = Arc::new(self.tickets.of_site(&site.tenant, &site.name)),
            // Each handshake is to verify who it is: no ticket is given, and none that was given before
            // is taken.
            Some(_) => config.send_tls13_tickets = 0,
        }
        Some(Arc::new(config))
    }

    /// Forgets what no worker has any more, once that is much.
    fn forget(&mut self) {
        if self.keys.len() + self.configs.len() < self.forget_at {
            return;
        }
        self.keys.retain(|_, key| key.strong_count() > 0);
        self.configs
            .retain(|_, (_, config)| config.strong_count() > 0);
        let left = self.keys.len() + self.configs.len();
        self.forget_at = 2 * left + FORGOTTEN_MAX;
    }
}

/// That of rustls, with its cipher suites in our order, which goes before the client's: all are good,
/// and AES of 128 bits costs least on both sides. ChaCha20 is for who offers nothing else.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
            _ => 1,
        });
    provider
}

/// What a signature costs us, in an order.
fn cost_of(algorithm: SignatureAlgorithm) -> u8 {
    match algorithm {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 => 1,
        _ => 2,
    }
}

/// The certificates of a site, those first that are cheap to sign with.
#[derive(Debug)]
struct SiteCertificates(Box<[(Arc<Certificate>, Arc<CertifiedKey>)]>);

impl ResolvesServerCert for SiteCertificates {
    /// The first that is good for the name and that the client can verify; else one that is good for
    /// the name, so that the client is told that it is the signature which does not fit.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let mut fallback = None;
        for (certificate, key) in &self.0 {
            if covers(&certificate.names, name) {
                if key.key.choose_scheme(hello.signature_schemes()).is_some() {
                    return Some(Arc::clone(key));
                }
                fallback.get_or_insert(key);
            }
        }
        fallback.map(Arc::clone)
    }
}

/// What a worker was lately asked for: the sites of one round, and those of the round before, each of
/// half of what may be kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    now: HashMap<SiteId, KeptConfig>,
    before: HashMap<SiteId, KeptConfig>,
}

#[derive(Debug, Clone)]
struct KeptConfig {
    tls: Arc<SiteTls>,
    config: Arc<ServerConfig>,
}

impl Kept {
    /// What is kept of a site that is what `tls` says.
    pub(super) fn get(&mut self, id: SiteId, tls: &Arc<SiteTls>) -> Option<Arc<ServerConfig>> {
        let fits = |kept: &&KeptConfig| Arc::ptr_eq(&kept.tls, tls) || kept.tls == *tls;
        if let Some(kept) = self.now.get(&id).filter(fits) {
            return Some(Arc::clone(&kept.config));
        }
        let kept = self.before.remove(&id).filter(|kept| fits(&kept))?;
        self.keep(id, tls, &kept.config);
        Some(kept.config)
    }

    /// Forgets a site.
    pub(super) fn forget(&mut self, id: SiteId) {
        self.now.remove(&id);
        self.before.remove(&id);
    }

    /// Keeps it, and forgets what nobody asked for since much was.
    pub(super) fn keep(&mut self, id: SiteId, tls: &Arc<SiteTls>, config: &Arc<ServerConfig>) {
        if self.now.len() >= SITE_CONFIGS_PER_WORKER_MAX / 2 {
            self.before = std::mem::take(&mut self.now);
        }
        let kept = KeptConfig {
            tls: Arc::clone(tls),
            config: Arc::clone(config),
        };
        self.before.remove(&id);
        self.now.insert(id, kept);
    }
}
