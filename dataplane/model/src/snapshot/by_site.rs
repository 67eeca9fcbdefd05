//! Values by the id of their site, shared with the revision before but for what changed.

use std::convert::Infallible;
use std::sync::Arc;

use super::SiteId;
use crate::limits::SITE_SHARDS;
use crate::parallel;

/// Shards that a thread maps at a time.
const SHARDS_AT_ONCE: usize = 32;

/// A value for each of many sites.
///
/// A spine of [`SITE_SHARDS`] shards behind Arcs. Cloning copies the spine; a change then copies
/// the one shard that it touches. Ids are given out in order, so their low bits spread them evenly.
#[derive(Clone, Debug)]
pub struct BySite<T> {
    shards: Box<[Arc<Shard<T>>]>,
    len: usize,
}

/// In the order of the ids.
type Shard<T> = Vec<(SiteId, T)>;

impl<T: Clone> BySite<T> {
    /// Nothing for nobody.
    pub fn new() -> BySite<T> {
        let empty = Arc::new(Vec::new());
        BySite {
            shards: vec![empty; SITE_SHARDS].into_boxed_slice(),
            len: 0,
        }
    }

    /// The value of site `id`.
    pub fn get(&self, id: SiteId) -> Option<&T> {
        let shard = &self.shards[shard_index(id)];
        let place = shard.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&shard[place].1)
    }

    /// Sets the value of site `id` and returns the one that it had. Copies the shard when it is
    /// shared.
    pub fn insert(&mut self, id: SiteId, value: T) -> Option<T> {
        let shard = Arc::make_mut(&mut self.shards[shard_index(id)]);
        match shard.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(place) => Some(std::mem::replace(&mut shard[place].1, value)),
            Err(place) => {
                shard.insert(place, (id, value));
                self.len += 1;
                None
            }
        }
    }

    /// Takes the value of site `id` out. Copies the shard when it is shared and has it.
    pub fn remove(&mut self, id: SiteId) -> Option<T> {
        let shard = &mut self.shards[shard_index(id)];
        let place = shard.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.len -= 1;
        Some(Arc::make_mut(shard).remove(place).1)
    }

    /// What `make` makes of each value, on all CPUs where there are many.
    pub fn map<U: Send + Sync>(&self, make: impl Fn(&T) -> U + Sync) -> BySite<U>
    where
        T: Send + Sync,
    {
        let at_once = if self.len < SITE_SHARDS {
            SITE_SHARDS
        } else {
            SHARDS_AT_ONCE
        };
        let parts: Vec<&[Arc<Shard<T>>]> = self.shards.chunks(at_once).collect();
        let map = |part: &&[Arc<Shard<T>>]| -> Vec<Arc<Shard<U>>> {
            let made = |shard: &Arc<Shard<T>>| {
                let values = shard.iter().map(|(id, value)| (*id, make(value)));
                Arc::new(values.collect())
            };
            part.iter().map(made).collect()
        };
        let mut shards = Vec::with_capacity(SITE_SHARDS);
        let all: Result<(), Infallible> = parallel::each(&parts, map, |part| {
            shards.extend(part);
            Ok(())
        });
        all.unwrap_or_else(|never| match never {});
        BySite {
            shards: shards.into(),
            len: self.len,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every site with its value, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (SiteId, &T)> {
        let shards = self.shards.iter();
        shards.flat_map(|shard| shard.iter().map(|(id, value)| (*id, value)))
    }
}

impl<T: Clone> Default for BySite<T> {
    fn default() -> BySite<T> {
        BySite::new()
    }
}

fn shard_index(id: SiteId) -> usize {
    id.0 as usize & (SITE_SHARDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn very_many_are_mapped_in_their_places() {
        let mut table = BySite::new();
        for id in 1..5000 {
            table.insert(SiteId(id), id);
        }
        let mapped = table.map(|id| id * 2);
        assert_eq!(mapped.len(), 4999);
        assert!((1..5000).all(|id| mapped.get(SiteId(id)) == Some(&(id * 2))));
    }

    proptest! {
        /// A copy that is changed, against a map, with the original left as it was.
        #[test]
        fn it_is_a_map(
            first in proptest::collection::vec((0..5000_u64, any::<u8>()), 0..200),
            changes in proptest::collection::vec((0..5000_u64, any::<Option<u8>>()), 0..200),
        ) {
            let mut table = BySite::new();
            let mut map = BTreeMap::new();
            for (id, value) in first {
                prop_assert_eq!(table.insert(SiteId(id), value), map.insert(SiteId(id), value));
            }
            let (before, map_before) = (table.clone(), map.clone());
            for (id, value) in changes {
                let id = SiteId(id);
                match value {
                    Some(value) => prop_assert_eq!(table.insert(id, value), map.insert(id, value)),
                    None => prop_assert_eq!(table.remove(id), map.remove(&id)),
                }
                prop_assert_eq!(table.get(id), map.get(&id));
            }
            for (table, map) in [(table, map), (before, map_before)] {
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.is_empty(), map.is_empty());
                let mapped = table.map(|value| u32::from(*value) + 1);
                let mapped: BTreeMap<SiteId, u32> = mapped.iter().map(|(id, it)| (id, *it)).collect();
                let expected = map.iter().map(|(id, it)| (*id, u32::from(*it) + 1)).collect();
                prop_assert_eq!(mapped, expected);
                let all: BTreeMap<SiteId, u8> = table.iter().map(|(id, value)| (id, *value)).collect();
                prop_assert_eq!(all, map);
            }
        }
    }
}
