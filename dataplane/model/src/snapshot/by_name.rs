//! Sites by tenant and name, for who changes a revision. Workers do not ask.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{Site, SiteId};

/// Which sites there are, by tenant and name. Holds no copy of a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByName {
    hash_keys: RandomState,
    sites: HashTable<Arc<Site>>,
}

impl ByName {
    /// The id of the site of this name.
    pub(crate) fn get(&self, tenant: &str, name: &str) -> Option<SiteId> {
        let hash = self.hash(tenant, name);
        let site = self.sites.find(hash, |it| is_named(it, tenant, name))?;
        Some(site.id)
    }

    /// Adds a site and gives the id of the one that had its name.
    pub(crate) fn insert(&mut self, site: &Arc<Site>) -> Option<SiteId> {
        let hash = self.hash(&site.tenant, &site.name);
        let hash_keys = &self.hash_keys;
        let place = self.sites.entry(
            hash,
            |it| is_named(it, &site.tenant, &site.name),
            |it| hash_keys.hash_one((&*it.tenant, &*it.name)),
        );
        match place {
            Entry::Vacant(place) => {
                place.insert(Arc::clone(site));
                None
            }
            Entry::Occupied(mut before) => {
                Some(std::mem::replace(before.get_mut(), Arc::clone(site)).id)
            }
        }
    }

    /// Takes room for so many more: to grow means to hash every name again.
    pub(crate) fn reserve(&mut self, additional: usize) {
        let hash_keys = &self.hash_keys;
        self.sites.reserve(additional, |it| {
            hash_keys.hash_one((&*it.tenant, &*it.name))
        });
    }

    /// Takes out the site of this name.
    pub(crate) fn remove(&mut self, tenant: &str, name: &str) -> Option<SiteId> {
        let hash = self.hash(tenant, name);
        let entry = self.sites.find_entry(hash, |it| is_named(it, tenant, name));
        Some(entry.ok()?.remove().0.id)
    }

    fn hash(&self, tenant: &str, name: &str) -> u64 {
        self.hash_keys.hash_one((tenant, name))
    }
}

fn is_named(site: &Site, tenant: &str, name: &str) -> bool {
    &*site.tenant == tenant && &*site.name == name
}
