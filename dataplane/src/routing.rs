//! What the workers share and only read: the snapshot with the runtime state of its parts.
//!
//! The configuration thread makes a [`Routing`] for each revision and swaps it in. Runtime state
//! of backends is keyed by identity and taken over from the revision before, so a change of one
//! site leaves every other one's state where it is, and costs what that site costs.

use crate::counters::BackendCounters;
use meridian_model::compile::Changed;
use meridian_model::limits::REVISIONS_REMEMBERED;
use meridian_model::snapshot::{Backend, BackendKey, BySite, Site, SiteId, Snapshot};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The runtime state of a backend.
#[derive(Debug)]
pub(crate) struct BackendState {
    /// By worker.
    pub(crate) counters: Box<[BackendCounters]>,
}

/// A site of the snapshot with its runtime state.
#[derive(Debug)]
pub(crate) struct ServedSite {
    site: Arc<Site>,
    /// In the order of [`backends`].
    backends: Box<[(BackendKey, Arc<BackendState>)]>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Routing {
    /// The compiled revision.
    pub(crate) snapshot: Snapshot,
    served: BySite<Arc<ServedSite>>,
    /// What the last revisions changed, the oldest first; the last is this one.
    changes: VecDeque<(u64, Arc<Changed>)>,
}

/// Every backend of a site.
pub(crate) fn backends(site: &Site) -> impl Iterator<Item = &Backend> {
    let tiers = site.pools.iter().flat_map(|pool| &pool.tiers);
    tiers.flat_map(|tier| &tier.backends)
}

impl ServedSite {
    /// A site with the state that its backends had before.
    fn new(site: &Arc<Site>, before: Option<&ServedSite>, workers: usize) -> Arc<ServedSite> {
        let backends = backends(site).map(|backend| {
            let kept = before.and_then(|before| before.backend_state(&backend.key));
            let state = kept.unwrap_or_else(|| {
                Arc::new(BackendState {
                    counters: (0..workers).map(|_| BackendCounters::default()).collect(),
                })
            });
            (backend.key.clone(), state)
        });
        Arc::new(ServedSite {
            site: Arc::clone(site),
            backends: backends.collect(),
        })
    }

    /// The compiled site.
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The state of one of its backends.
    pub(crate) fn backend_state(&self, key: &BackendKey) -> Option<Arc<BackendState>> {
        let mut rest = &self.backends[..];
        for pool in &self.site.pools {
            let count = pool.tiers.iter().map(|tier| tier.backends.len()).sum();
            let (of_pool, behind) = rest.split_at(count);
            if *pool.name == *key.pool() {
                let found = of_pool.iter().find(|(it, _)| it == key);
                return found.map(|(_, state)| Arc::clone(state));
            }
            rest = behind;
        }
        None
    }
}

impl Routing {
    /// The first revision of a plane with this many workers.
    pub(crate) fn new(snapshot: Snapshot, workers: usize) -> Routing {
        let mut served = BySite::new();
        for (id, site) in snapshot.sites.iter() {
            served.insert(id, ServedSite::new(site, None, workers));
        }
        Routing {
            changes: VecDeque::from([(snapshot.revision, Arc::new(Changed::All))]),
            snapshot,
            served,
        }
    }

    /// The revision after this one, in which `changed` is other than here.
    pub(crate) fn next(&self, snapshot: Snapshot, changed: Changed, workers: usize) -> Routing {
        let mut served = self.served.clone();
        let mut serve = |id: SiteId| match snapshot.sites.get(id) {
            None => {
                served.remove(id);
            }
            Some(site) => {
                let before = self.served.get(id);
                if before.is_none_or(|before| !Arc::ptr_eq(&before.site, site)) {
                    served.insert(id, ServedSite::new(site, before.map(|it| &**it), workers));
                }
            }
        };
        match &changed {
            Changed::Sites(sites) => sites.iter().copied().for_each(&mut serve),
            Changed::All => {
                let before = self.served.iter().map(|(id, _)| id);
                let all = before.chain(snapshot.sites.iter().map(|(id, _)| id));
                all.for_each(&mut serve);
            }
        }
        let mut changes = self.changes.clone();
        if changes.len() >= REVISIONS_REMEMBERED {
            changes.pop_front();
        }
        changes.push_back((snapshot.revision, Arc::new(changed)));
        Routing {
            snapshot,
            served,
            changes,
        }
    }

    /// The site with this id.
    pub(crate) fn served(&self, id: SiteId) -> Option<&Arc<ServedSite>> {
        self.served.get(id)
    }

    /// The sites that may be other than they were in `revision`; `None` when that may be all.
    pub(crate) fn changed_since(&self, revision: u64) -> Option<BTreeSet<SiteId>> {
        let (oldest, _) = self.changes.front()?;
        // A number can go down where a damaged log was replaced: then nothing tells what changed.
        if revision + 1 < *oldest || revision > self.snapshot.revision {
            return None;
        }
        let mut changed = BTreeSet::new();
        for (_, change) in self.changes.iter().filter(|(later, _)| *later > revision) {
            match &**change {
                Changed::Sites(sites) => changed.extend(sites),
                Changed::All => return None,
            }
        }
        Some(changed)
    }
}
