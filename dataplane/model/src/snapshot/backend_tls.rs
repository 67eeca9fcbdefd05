//! TLS towards backends: what a connection there is made with.

use std::sync::Arc;

use super::{Backend, BackendKey, Certificate, NamedBackend, ProxyProtocol, Site};

/// How a connection to a backend begins, before the first request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Beginning {
    /// Whose connection it is: said first, and in the clear.
    pub proxy_protocol: ProxyProtocol,
    /// The handshake; none: it is not TLS.
    pub tls: Option<Arc<BackendTls>>,
}

/// With what a handshake with a backend is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendTls {
    /// Whether the backend's certificate is looked at: its issuer, its dates and its names.
    pub verify: bool,
    /// What the certificate is to be good for, and what is sent as SNI; none: the backend's
    /// address, which is never sent.
    pub name: Option<Arc<str>>,
    /// The authorities that are trusted, as PEM; none: those of the host.
    pub authorities: Option<Arc<str>>,
    /// The tenant's certificate that a backend gets to see when it asks for one.
    pub certificate: Option<Arc<Certificate>>,
}

impl From<ProxyProtocol> for Beginning {
    fn from(proxy_protocol: ProxyProtocol) -> Beginning {
        Beginning {
            proxy_protocol,
            tls: None,
        }
    }
}

impl BackendTls {
    /// The same for a backend that is known by `host`, unless it says otherwise.
    pub fn named(tls: &Arc<BackendTls>, host: &str) -> Arc<BackendTls> {
        match tls.name {
            Some(_) => Arc::clone(tls),
            None => Arc::new(BackendTls {
                name: Some(Arc::from(host)),
                ..BackendTls::clone(tls)
            }),
        }
    }
}

impl Site {
    /// The certificates that its backends may be shown, each as often as there are backends.
    pub fn client_certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        let tiers = self.pools.iter().flat_map(|pool| &pool.tiers);
        let beginnings = tiers.flat_map(|tier| {
            let known = tier.backends.iter().map(|it| it.key.beginning());
            known.chain(tier.named.iter().map(|it| &it.beginning))
        });
        beginnings.filter_map(|it| it.tls.as_ref()?.certificate.as_ref())
    }

    /// Has its backends be shown what `find` gives for what they are shown now; what it gives
    /// nothing for stays.
    pub(crate) fn replace_client_certificates(
        &mut self,
        find: impl Fn(&Certificate) -> Option<Arc<Certificate>>,
    ) {
        let replaced = |beginning: &Beginning| {
            let tls = beginning.tls.as_ref()?;
            let certificate = Some(find(tls.certificate.as_ref()?)?);
            let tls = BackendTls {
                certificate,
                ..BackendTls::clone(tls)
            };
            Some(Beginning {
                tls: Some(Arc::new(tls)),
                proxy_protocol: beginning.proxy_protocol,
            })
        };
        for tier in self.pools.iter_mut().flat_map(|pool| &mut pool.tiers) {
            for Backend { key, .. } in &mut tier.backends {
                if let Some(beginning) = replaced(key.beginning()) {
                    *key = key.beginning_with(beginning);
                }
            }
            for NamedBackend { beginning, .. } in &mut tier.named {
                if let Some(other) = replaced(beginning) {
                    *beginning = other;
                }
            }
        }
    }
}

impl BackendKey {
    /// The key of the same backend, connections to which begin otherwise.
    fn beginning_with(&self, beginning: Beginning) -> BackendKey {
        let identity = &self.0;
        BackendKey::new(
            identity.site,
            Arc::clone(&identity.pool),
            Arc::clone(&identity.backend),
            identity.address,
            beginning,
        )
    }
}
