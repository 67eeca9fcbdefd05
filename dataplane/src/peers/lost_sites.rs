//! The sites that this host can not serve, for want of a backend: of those that it uses first, of its
//! group or of none, each is down, drained or without an address. Others' responders send visitors
//! elsewhere.
//!
//! They are told as changes, numbered one after another. Each site stands at its last one, so the list is as
//! long as there are sites in it, and some that left it: those are forgotten when they are many,
//! and then a new list begins.

use crate::routing::{Routing, ServedSite};
use arc_swap::ArcSwap;
use meridian_model::limits::{PROBE_SITES_BYTES_MAX, SITES_BACK_MAX};
use meridian_model::probe::{Known, SiteChanges};
use meridian_model::snapshot::{Site, SiteId, Tier};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct LostSites {
    routing: Arc<ArcSwap<Routing>>,
    /// Taken when a backend's health changes, and by who tells others of it; never by a request.
    list: Mutex<List>,
}

#[derive(Debug)]
struct List {
    /// Which one it is.
    number: u64,
    /// The last change.
    newest: u64,
    /// By the number of each site's last change.
    entries: BTreeMap<u64, Entry>,
    /// That number.
    numbers: HashMap<SiteId, u64>,
    /// Entries of sites that can be served again.
    back: usize,
}

#[derive(Debug)]
struct Entry {
    id: SiteId,
    /// TENANT/SITE.
    name: Box<str>,
    is_lost: bool,
}

impl LostSites {
    /// Of the sites of `routing`: none, until somebody looks. `number` is one that no list had.
    pub(crate) fn new(routing: &Arc<ArcSwap<Routing>>, number: u64) -> Arc<LostSites> {
        Arc::new(LostSites {
            routing: Arc::clone(routing),
            list: Mutex::new(List::new(number)),
        })
    }

    /// Looks at a site of which a backend has changed, or all of it. Whoever changes something looks
    /// after that, so the last look sees everything.
    pub(crate) fn look_at(&self, id: SiteId) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let routing = self.routing.load();
        let lost = routing.served(id).filter(|served| is_lost(served));
        let name = lost.map(|served| {
            let site = served.site();
            format!("{}/{}", site.tenant, site.name)
        });
        list.set(id, name);
    }

    /// What has changed since a host heard of it last, as much as there is room for.
    pub(crate) fn since(&self, known: Known) -> SiteChanges {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.since(known, PROBE_SITES_BYTES_MAX)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.entries.len() - list.back
    }
}

impl List {
    fn new(number: u64) -> List {
        List {
            number,
            newest: 0,
            entries: BTreeMap::new(),
            numbers: HashMap::new(),
            back: 0,
        }
    }

    /// A site is lost, by this name, or can be served.
    fn set(&mut self, id: SiteId, lost: Option<String>) {
        let before = self.numbers.get(&id).copied();
        let was_lost = before
            .and_then(|number| self.entries.get(&number))
            .is_some_and(|entry| entry.is_lost);
        if was_lost == lost.is_some() {
            return;
        }
        let replaced = before.and_then(|number| self.entries.remove(&number));
        if replaced.as_ref().is_some_and(|entry| !entry.is_lost) {
            self.back -= 1;
        }
        let is_lost = lost.is_some();
        let name = match (lost, replaced) {
            (Some(name), _) => name.into(),
            (None, Some(replaced)) => replaced.name,
            (None, None) => return,
        };
        self.newest += 1;
        self.back += usize::from(!is_lost);
        self.numbers.insert(id, self.newest);
        self.entries
            .insert(self.newest, Entry { id, name, is_lost });
        if self.back > SITES_BACK_MAX {
            self.begin_anew();
        }
    }

    /// Forgets what is not lost any more.
    fn begin_anew(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.back = 0;
        self.entries.retain(|_, entry| entry.is_lost);
        self.numbers = self.entries.iter().map(|(&at, it)| (it.id, at)).collect();
    }

    fn since(&self, known: Known, bytes_max: usize) -> SiteChanges {
        let from = match known.list == self.number && known.sequence <= self.newest {
            true => known.sequence,
            false => 0,
        };
        let mut changes = SiteChanges {
            list: self.number,
            from,
            to: self.newest,
            newest: self.newest,
            lost: Vec::new(),
            back: Vec::new(),
        };
        let mut bytes = 0;
        let mut to = from;
        for (&number, entry) in self.entries.range(from + 1..) {
            // Two quotes and a comma beside it.
            bytes += entry.name.len() + 3;
            if bytes > bytes_max {
                changes.to = to;
                break;
            }
            to = number;
            match entry.is_lost {
                true => changes.lost.push(entry.name.to_string()),
                // Who begins knows of none.
                false if from == 0 => {}
                false => changes.back.push(entry.name.to_string()),
            }
        }
        changes
    }
}

/// Whether none of the backends that this host uses first can be used, and there are some. Where no
/// lookup of a name has ended yet, nothing is known.
fn is_lost(served: &ServedSite) -> bool {
    let site = served.site();
    if site.suspended.holds() || served.awaits_names() {
        return false;
    }
    let mut near = near(site).flat_map(|tier| &tier.backends).peekable();
    let is_any =
        near.peek().is_some() || self::near(served.declared()).any(|tier| !tier.named.is_empty());
    is_any
        && !near.any(|backend| {
            let state = served.backend_state(&backend.key);
            state.is_none_or(|state| state.is_usable())
        })
}

fn near(site: &Site) -> impl Iterator<Item = &Tier> {
    let tiers = site.pools.iter().flat_map(|pool| &pool.tiers);
    tiers.filter(|tier| !tier.cross_group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What another host knows by what it was told.
    #[derive(Default)]
    struct Other {
        known: Known,
        lost: BTreeSet<String>,
    }

    impl Other {
        /// Whether there is more to ask for.
        fn ask(&mut self, list: &List, bytes_max: usize) -> bool {
            let changes = list.since(self.known, bytes_max);
            if changes.from == 0 {
                self.lost.clear();
            }
            self.lost.extend(changes.lost);
            for site in &changes.back {
                self.lost.remove(site);
            }
            self.known = Known {
                list: changes.list,
                sequence: changes.to,
            };
            changes.to < changes.newest
        }
    }

    proptest! {
        /// Two hosts that ask in rhythms of their own, for parts of the list, against a set.
        #[test]
        fn who_asks_on_knows_the_list(
            steps in proptest::collection::vec((0..12_u64, any::<bool>(), 0..5_u8), 0..200),
            first in any::<u64>(),
        ) {
            let mut list = List::new(first);
            let mut set = BTreeSet::new();
            let mut others = [Other::default(), Other::default()];
            for (id, is_lost, who) in steps {
                let name = format!("acme/s{id}");
                match is_lost {
                    true => set.insert(name.clone()),
                    false => set.remove(&name),
                };
                list.set(SiteId(id), is_lost.then_some(name));
                prop_assert_eq!(list.entries.len() - list.back, set.len());
                match who {
                    0 => list.begin_anew(),
                    1 | 2 => {
                        others[usize::from(who - 1)].ask(&list, 25);
                    }
                    _ => {}
                }
            }
            for other in &mut others {
                let mut parts = 0;
                while other.ask(&list, 25) {
                    parts += 1;
                    prop_assert!(parts <= 24, "it ends");
                }
                prop_assert_eq!(&other.lost, &set);
            }
        }
    }

    #[test]
    fn what_left_the_list_is_forgotten_when_it_is_much() {
        let mut list = List::new(1);
        for id in 0..=SITES_BACK_MAX as u64 {
            list.set(SiteId(id), Some(format!("acme/s{id}")));
            list.set(SiteId(id), None);
        }
        assert_eq!((list.number, list.back, list.entries.len()), (2, 0, 0));
        list.set(SiteId(7), Some("acme/s7".to_owned()));
        let changes = list.since(
            Known {
                list: 1,
                sequence: 9,
            },
            1000,
        );
        assert_eq!((changes.list, changes.from, changes.lost.len()), (2, 0, 1));
    }
}
