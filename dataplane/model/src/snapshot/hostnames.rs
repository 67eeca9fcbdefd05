//! Which site a hostname belongs to.
//!
//! The table is a spine of [`HOSTNAME_SHARDS`] shards behind Arcs, picked by hash.
//! Cloning copies the spine; a change then copies the one shard it touches. So the
//! change of one site among 100,000 leaves the rest shared with the old revision.
//!
//! A name is hashed once per probe, and the same hash picks the shard and the
//! bucket. The hash is keyed at random per process, because tenants choose the
//! names and could otherwise pile them up in one bucket.
//!
//! The names themselves stand with their sites, each site's in one piece of memory; a
//! claim is sixteen bytes that say where.

use std::fmt;
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
    site: Arc<Site>,
    /// Where the name begins in the text of the site's; behind the asterisk of a wildcard.
    at: u32,
    hash: Hash,
}

/// There is one for each hostname.
const _: () = assert!(size_of::<Claim>() <= 16);

/// Half of a hash: there are far fewer names than it has values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hash(u32);

/// What a site is found under: in lower case, without trailing dots, `*.` first where a name covers
/// a label.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hostnames {
    /// Behind each an [`END`].
    text: Box<str>,
}

/// No hostname has it.
const END: char = '\n';

impl Hostnames {
    /// Every name.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.text.split_terminator(END)
    }

    /// Every name with its place in the text.
    fn places(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut at = 0;
        self.iter().map(move |name| {
            let place = at;
            at += name.len() + END.len_utf8();
            (place, name)
        })
    }

    /// Whether `key` stands at this place.
    fn is_at(&self, at: u32, key: &[u8]) -> bool {
        let text = &self.text.as_bytes()[at as usize..];
        let is_followed = || text.get(key.len()) == Some(&(END as u8));
        text.starts_with(key) && is_followed() && !key.contains(&(END as u8))
    }

    /// The name at this place, or the rest of it.
    fn from(&self, at: u32) -> &str {
        let text = &self.text[at as usize..];
        text.split_once(END).map_or(text, |(name, _)| name)
    }
}

impl<'a> FromIterator<&'a str> for Hostnames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Hostnames {
        let mut text = String::new();
        for name in names {
            text.push_str(name);
            text.push(END);
        }
        Hostnames { text: text.into() }
    }
}

impl fmt::Debug for Hostnames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
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

    /// Gives `site` all of its hostnames, and `taken` each that another site had, with that site.
    /// Copies the shards that are shared.
    pub fn insert_all(&mut self, site: &Arc<Site>, mut taken: impl FnMut(&str, Arc<Site>)) {
        for (at, hostname) in site.hostnames.places() {
            let key = table_key(hostname);
            let at = at + (hostname.len() - key.len());
            let claim = Claim {
                site: Arc::clone(site),
                at: u32::try_from(at).expect("HOSTNAMES_PER_SITE_MAX of HOSTNAME_BYTES_MAX"),
                hash: self.hash(key),
            };
            if let Some(before) = self.insert(claim, key) {
                taken(hostname, before.site);
            }
        }
    }

    fn insert(&mut self, claim: Claim, key: &[u8]) -> Option<Claim> {
        let hash = claim.hash;
        let shard = Arc::make_mut(&mut self.shards[hash.shard()]);
        if let Some(there) = shard.find_mut(hash.spread(), |it| it.is_of(hash, key)) {
            return Some(std::mem::replace(there, claim));
        }
        shard.insert_unique(hash.spread(), claim, |claim| claim.hash.spread());
        self.len += 1;
        None
    }

    /// Frees `hostname` and returns the site that had it. Copies the shard when it
    /// is shared and the name is there.
    pub fn remove(&mut self, hostname: &str) -> Option<Arc<Site>> {
        let key = table_key(hostname);
        let hash = self.hash(key);
        let shared = &mut self.shards[hash.shard()];
        shared.find(hash.spread(), |it| it.is_of(hash, key))?;
        let shard = Arc::make_mut(shared);
        let entry = shard.find_entry(hash.spread(), |it| it.is_of(hash, key));
        let (claim, _) = entry.ok()?.remove();
        self.len -= 1;
        Some(claim.site)
    }

    /// Frees all hostnames of `site`.
    pub fn remove_all(&mut self, site: &Site) {
        for hostname in site.hostnames.iter() {
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
        claims.map(|claim| (claim.shown_name(), &claim.site))
    }

    fn probe(&self, key: &[u8]) -> Option<&Arc<Site>> {
        let hash = self.hash(key);
        let shard = &self.shards[hash.shard()];
        let claim = shard.find(hash.spread(), |it| it.is_of(hash, key))?;
        Some(&claim.site)
    }

    fn hash(&self, key: &[u8]) -> Hash {
        Hash((self.hash_keys.hash_one(key) >> 32) as u32)
    }
}

impl Claim {
    fn is_of(&self, hash: Hash, key: &[u8]) -> bool {
        self.hash == hash && self.site.hostnames.is_at(self.at, key)
    }

    fn shown_name(&self) -> String {
        let name = self.site.hostnames.from(self.at);
        match name.strip_prefix('.') {
            Some(parent) => format!("*.{parent}"),
            None => name.to_owned(),
        }
    }
}

impl Hash {
    /// In 64 bits. Hashbrown takes the bucket from the low ones and its tag from the top seven:
    /// both hang on bits of the half.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Bits 32 and up: a shard's names still differ in bucket and tag.
    fn shard(self) -> usize {
        (self.spread() >> 32) as usize & (HOSTNAME_SHARDS - 1)
    }
}

impl Default for HostnameTable {
    fn default() -> HostnameTable {
        HostnameTable::new()
    }
}

fn table_key(hostname: &str) -> &[u8] {
    hostname.strip_prefix('*').unwrap_or(hostname).as_bytes()
}
