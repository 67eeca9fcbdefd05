//! Which site a hostname belongs to.
//!
//! The table is a spine of [`HOSTNAME_SHARDS`] shards behind Arcs, picked by hash.
//! Cloning copies the spine; a change then copies the one shard it touches. So the
//! change of one site among 100,000 leaves the rest shared with the old revision.
//!
//! A name is hashed once per probe, and the same hash picks the shard and the
//! bucket. The hash is keyed at random per process, because tenants choose the
//! names and could otherwise pile them up in one bucket.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use super::Site;
use crate::limits::HOSTNAME_SHARDS;

/// Hostnames and the sites that claim them.
///
/// A wildcard `*.example.com` stands under `.example.com`; no exact name begins
/// with a dot, so the two kinds share one table.
#[derive(Clone, Debug)]
pub struct HostnameTable {
    hash_keys: RandomState,
    shards: Box<[Arc<Shard>]>,
    len: usize,
}

type Shard = HashTable<Claim>;

#[derive(Clone, Debug)]
struct Claim {
    /// The name in lower case; a wildcard without its asterisk.
    key: Box<[u8]>,
    hash: u64,
    site: Arc<Site>,
}

impl HostnameTable {
    /// A table without names.
    pub fn new() -> HostnameTable {
        let empty = Arc::new(Shard::new());
        HostnameTable {
            hash_keys: RandomState::new(),
            shards: vec![empty; HOSTNAME_SHARDS].into_boxed_slice(),
            len: 0,
        }
    }

    /// The site that serves `host`: the one that claims exactly this name, else the
    /// one that claims it by a wildcard for its first label.
    ///
    /// `host` must be in lower case, without port and without the trailing dot;
    /// anything else, and any bytes at all, are simply not found. Allocates nothing.
    pub fn find(&self, host: &[u8]) -> Option<&Arc<Site>> {
        // The name of a wildcard's entry is not a hostname that a client can ask for.
        if host.first() == Some(&b'.') {
            return None;
        }
        if let Some(site) = self.probe(host) {
            return Some(site);
        }
        let dot = host.iter().position(|&byte| byte == b'.')?;
        self.probe(&host[dot..])
    }

    /// Gives `hostname` (lower case, maybe `*.` first, no trailing dot) to `site` and
    /// returns the site that had it before. Copies the shard when it is shared.
    pub fn insert(&mut self, hostname: &str, site: Arc<Site>) -> Option<Arc<Site>> {
        let key = table_key(hostname);
        let hash = self.hash_keys.hash_one(key);
        let shard = Arc::make_mut(&mut self.shards[shard_index(hash)]);
        if let Some(claim) = shard.find_mut(hash, |claim| &*claim.key == key) {
            return Some(std::mem::replace(&mut claim.site, site));
        }
        let claim = Claim {
            key: key.into(),
            hash,
            site,
        };
        shard.insert_unique(hash, claim, |claim| claim.hash);
        self.len += 1;
        None
    }

    /// Frees `hostname` and returns the site that had it. Copies the shard when it
    /// is shared and the name is there.
    pub fn remove(&mut self, hostname: &str) -> Option<Arc<Site>> {
        let key = table_key(hostname);
        let hash = self.hash_keys.hash_one(key);
        let shared = &mut self.shards[shard_index(hash)];
        shared.find(hash, |claim| &*claim.key == key)?;
        let entry = Arc::make_mut(shared).find_entry(hash, |claim| &*claim.key == key);
        let (claim, _) = entry.ok()?.remove();
        self.len -= 1;
        Some(claim.site)
    }

    /// Gives `site` all of its hostnames.
    pub fn insert_all(&mut self, site: &Arc<Site>) {
        for hostname in &site.hostnames {
            self.insert(hostname, Arc::clone(site));
        }
    }

    /// Frees all hostnames of `site`.
    pub fn remove_all(&mut self, site: &Site) {
        for hostname in &site.hostnames {
            self.remove(hostname);
        }
    }

    /// The site that claims exactly `hostname`, which may begin with `*.`.
    pub fn get(&self, hostname: &str) -> Option<&Arc<Site>> {
        self.probe(table_key(hostname))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every name with its site, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Arc<Site>)> {
        let claims = self.shards.iter().flat_map(|shard| shard.iter());
        claims.map(|claim| (shown_name(&claim.key), &claim.site))
    }

    fn probe(&self, key: &[u8]) -> Option<&Arc<Site>> {
        let hash = self.hash_keys.hash_one(key);
        let shard = &self.shards[shard_index(hash)];
        let claim = shard.find(hash, |claim| &*claim.key == key)?;
        Some(&claim.site)
    }
}

impl Default for HostnameTable {
    fn default() -> HostnameTable {
        HostnameTable::new()
    }
}

/// Bits 32 and up: hashbrown takes the bucket from the low bits and its tag from the
/// top seven, so a shard's names still differ in both.
fn shard_index(hash: u64) -> usize {
    (hash >> 32) as usize & (HOSTNAME_SHARDS - 1)
}

fn table_key(hostname: &str) -> &[u8] {
    hostname.strip_prefix('*').unwrap_or(hostname).as_bytes()
}

fn shown_name(key: &[u8]) -> String {
    let name = String::from_utf8_lossy(key);
    match name.strip_prefix('.') {
        Some(parent) => format!("*.{parent}"),
        None => name.into_owned(),
    }
}
