//! Certificates of a revision: by name for who changes one, and with the sites that show them for
//! workers. What they hold stands in files (STATE/certificates) until a client asks for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::certificate::Digest;
use crate::limits::CERTIFICATE_SHARDS;
use crate::name::Hostname;

/// Identifies a certificate for as long as the fleet lives, whatever content it has had. Never
/// given out twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CertificateId(pub u64);

/// One tenant's certificate. Sites hold it as `Arc<Certificate>`: one with another digest has other
/// content, and is another value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certificate {
    /// Its id.
    pub id: CertificateId,
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Its name, unique within its tenant.
    pub name: Arc<str>,
    /// Of its chain and key: the name of the file that holds them.
    pub digest: Digest,
    /// DNS names that it is good for, sorted.
    pub names: Box<[Hostname]>,
    /// Seconds since 1970 after which it holds no more.
    pub not_after: i64,
}

/// What a site does by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTls {
    /// At least one, in the order of their names. Several may be good for one hostname: a client
    /// gets the one that it can verify.
    pub certificates: Box<[Arc<Certificate>]>,
    /// What else its owner says of it.
    pub rules: TlsRules,
}

/// What a site's owner says of its HTTPS beside the certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsRules {
    /// The lowest version that a client may speak.
    pub minimum: TlsVersion,
    /// What its clients show of themselves; none where they are not asked.
    pub clients: Option<Arc<ClientRules>>,
    /// What comes without TLS is answered with a redirect.
    pub redirect_to_https: bool,
    /// The line of Strict-Transport-Security with its CRLF (RFC 6797 §6.1), for every response by TLS;
    /// none: what a backend says of it passes.
    pub hsts: Option<Arc<[u8]>>,
}

/// The certificates that a site's clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRules {
    /// Who shows none is not served.
    pub required: bool,
    /// Who signs them, as PEM.
    pub authorities: Box<str>,
}

/// A version of TLS.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

// There is one for each certificate of very many.
const _: () = assert!(size_of::<Certificate>() <= 96);

/// Every certificate by tenant and name.
///
/// A spine of [`CERTIFICATE_SHARDS`] shards behind Arcs. Cloning copies the spine; a change then
/// copies the one shard that it touches.
#[derive(Clone, Debug)]
pub struct Certificates {
    shards: Box<[Arc<Shard>]>,
    len: usize,
}

/// In the order of tenant and name.
type Shard = Vec<Arc<Certificate>>;

impl Certificates {
    /// The certificate of this name.
    pub fn get(&self, tenant: &str, name: &str) -> Option<&Arc<Certificate>> {
        let shard = &self.shards[shard_index(tenant, name)];
        let place = find(shard, tenant, name).ok()?;
        Some(&shard[place])
    }

    /// Adds a certificate, in the place of the one of its name.
    pub(crate) fn insert(&mut self, certificate: Arc<Certificate>) {
        let index = shard_index(&certificate.tenant, &certificate.name);
        let shard = Arc::make_mut(&mut self.shards[index]);
        match find(shard, &certificate.tenant, &certificate.name) {
            Ok(place) => shard[place] = certificate,
            Err(place) => {
                shard.insert(place, certificate);
                self.len += 1;
            }
        }
    }

    /// Takes the certificate of this name out. It need not be there.
    pub(crate) fn remove(&mut self, tenant: &str, name: &str) {
        let shard = &mut self.shards[shard_index(tenant, name)];
        if let Ok(place) = find(shard, tenant, name) {
            Arc::make_mut(shard).remove(place);
            self.len -= 1;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every one, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }
}

impl Default for Certificates {
    fn default() -> Certificates {
        let empty = Arc::new(Vec::new());
        Certificates {
            shards: vec![empty; CERTIFICATE_SHARDS].into(),
            len: 0,
        }
    }
}

fn find(shard: &Shard, tenant: &str, name: &str) -> Result<usize, usize> {
    shard.binary_search_by(|it| (&*it.tenant, &*it.name).cmp(&(tenant, name)))
}

/// By a checksum: names that were chosen to meet in one shard make it longer, and no more.
fn shard_index(tenant: &str, name: &str) -> usize {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(tenant.as_bytes());
    hasher.update(b"/");
    hasher.update(name.as_bytes());
    hasher.finalize() as usize & (CERTIFICATE_SHARDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: usize, digest: u8) -> Arc<Certificate> {
        Arc::new(Certificate {
            id: CertificateId(name as u64),
            tenant: Arc::from("acme"),
            name: Arc::from(format!("c{name}")),
            digest: Digest([digest; 32]),
            names: Box::default(),
            not_after: 0,
        })
    }

    #[test]
    fn a_copy_is_changed_and_the_original_is_not() {
        let mut before = Certificates::default();
        for number in 0..5000 {
            before.insert(certificate(number, 1));
        }
        let mut after = before.clone();
        after.insert(certificate(7, 2));
        after.remove("acme", "c8");
        after.remove("acme", "c8");
        after.remove("emca", "c9");
        assert_eq!((before.len(), after.len()), (5000, 4999));
        assert_eq!(before.get("acme", "c7").unwrap().digest, Digest([1; 32]));
        assert_eq!(after.get("acme", "c7").unwrap().digest, Digest([2; 32]));
        assert!(before.get("acme", "c8").is_some() && after.get("acme", "c8").is_none());
        assert!(after.get("acme", "c9").is_some() && after.get("emca", "c9").is_none());
        assert_eq!(after.iter().count(), after.len());
        let copied = before.shards.iter().zip(&after.shards);
        assert!(copied.filter(|(a, b)| !Arc::ptr_eq(a, b)).count() <= 2);
    }
}
