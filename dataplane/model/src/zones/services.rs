//! Service names by the two labels that they have in every zone.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::Service;
use crate::limits::SITE_SHARDS;

/// Services by their labels in wire form, the site's and then the tenant's: `4shop4acme`.
///
/// Shards behind Arcs: cloning copies the spine, a change then copies the one shard that it touches.
#[derive(Clone, Debug)]
pub struct Services {
    hash_keys: RandomState,
    shards: Box<[Arc<Shard>]>,
    len: usize,
}

type Shard = HashTable<(Box<[u8]>, Service)>;

impl Services {
    pub(super) fn new() -> Services {
        Services {
            hash_keys: RandomState::new(),
            shards: vec![Arc::default(); SITE_SHARDS].into_boxed_slice(),
            len: 0,
        }
    }

    /// The service of these labels.
    pub fn get(&self, labels: &[u8]) -> Option<&Service> {
        let hash = self.hash_keys.hash_one(labels);
        let shard = &self.shards[shard_index(hash)];
        let found = shard.find(hash, |(key, _)| **key == *labels);
        found.map(|(_, service)| service)
    }

    pub(super) fn insert(&mut self, labels: Box<[u8]>, service: Service) {
        let hash_keys = &self.hash_keys;
        let hash = hash_keys.hash_one(&*labels);
        let shard = Arc::make_mut(&mut self.shards[shard_index(hash)]);
        let place = shard.entry(
            hash,
            |(key, _)| *key == labels,
            |(key, _)| hash_keys.hash_one(&**key),
        );
        match place {
            Entry::Vacant(place) => {
                place.insert((labels, service));
                self.len += 1;
            }
            Entry::Occupied(mut before) => before.get_mut().1 = service,
        }
    }

    pub(super) fn remove(&mut self, labels: &[u8]) {
        if self.get(labels).is_none() {
            return;
        }
        let hash = self.hash_keys.hash_one(labels);
        let shard = Arc::make_mut(&mut self.shards[shard_index(hash)]);
        if let Ok(entry) = shard.find_entry(hash, |(key, _)| **key == *labels) {
            entry.remove();
            self.len -= 1;
        }
    }

    /// Each with its labels, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Service)> {
        let all = self.shards.iter().flat_map(|shard| shard.iter());
        all.map(|(labels, service)| (&**labels, service))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The table uses the lower bits and the top ones.
fn shard_index(hash: u64) -> usize {
    (hash >> 32) as usize & (SITE_SHARDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Steering;
    use crate::snapshot::SiteId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn service(id: u64) -> Service {
        Service {
            site: SiteId(id),
            steering: Steering::All,
            groups: None,
        }
    }

    proptest! {
        /// A copy that is changed, against a map, with the original left as it was.
        #[test]
        fn it_is_a_map(
            first in proptest::collection::vec((0..500_u16, any::<u64>()), 0..100),
            changes in proptest::collection::vec((0..500_u16, any::<Option<u64>>()), 0..100),
        ) {
            let mut table = Services::new();
            let mut map = BTreeMap::new();
            for (key, id) in first {
                table.insert(key.to_be_bytes().into(), service(id));
                map.insert(key, id);
            }
            let (before, map_before) = (table.clone(), map.clone());
            for (key, id) in changes {
                match id {
                    Some(id) => {
                        table.insert(key.to_be_bytes().into(), service(id));
                        map.insert(key, id);
                    }
                    None => {
                        table.remove(&key.to_be_bytes());
                        map.remove(&key);
                    }
                }
            }
            for (table, map) in [(table, map), (before, map_before)] {
                prop_assert_eq!(table.len(), map.len());
                for key in 0..500_u16 {
                    let found = table.get(&key.to_be_bytes()).map(|it| it.site.0);
                    prop_assert_eq!(found, map.get(&key).copied());
                }
            }
        }
    }
}
