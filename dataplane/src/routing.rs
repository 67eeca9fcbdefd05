//! What the workers share and only read: the snapshot with the runtime state of its parts.
//!
//! The configuration thread makes a [`Routing`] for each revision and swaps it in. Runtime state
//! of backends is keyed by identity and taken over from the revision before, so a change of one
//! site leaves every other one's state where it is, and costs what that site costs.

use crate::counters::BackendCounters;
use meridian_model::limits::REVISIONS_REMEMBERED;
use meridian_model::snapshot::{Backend, BackendKey, BySite, Site, SiteId, Snapshot};
use std::collections::VecDeque;
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
    /// In the order of their keys.
    backends: Box<[(BackendKey, Arc<BackendState>)]>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Routing {
    /// The compiled revision.
    pub(crate) snapshot: Snapshot,
    served: BySite<Arc<ServedSite>>,
    /// What the last revisions changed, the oldest first; the last is this one. None tells of the
    /// one that the plane began with.
    changes: VecDeque<(u64, Arc<[SiteId]>)>,
}

/// Every backend of a site.
pub(crate) fn backends(site: &Site) -> impl Iterator<Item = &Backend> {
    let tiers = site.pools.iter().flat_map(|pool| &pool.tiers);
    tiers.flat_map(|tier| &tier.backends)
}

impl ServedSite {
    /// A site with the state that its backends had before.
    fn new(site: &Arc<Site>, before: Option<&ServedSite>, workers: usize) -> Arc<ServedSite> {
        let mut backends: Vec<_> = backends(site)
            .map(|backend| {
                let kept = before.and_then(|before| before.backend_state(&backend.key));
                let state = kept.unwrap_or_else(|| {
                    Arc::new(BackendState {
                        counters: (0..workers).map(|_| BackendCounters::default()).collect(),
                    })
                });
                (backend.key.clone(), state)
            })
            .collect();
        backends.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Arc::new(ServedSite {
            site: Arc::clone(site),
            backends: backends.into(),
        })
    }

    /// The compiled site.
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The state of one of its backends.
    pub(crate) fn backend_state(&self, key: &BackendKey) -> Option<Arc<BackendState>> {
        let place = self.backends.binary_search_by(|(it, _)| it.cmp(key));
        place.ok().map(|place| Arc::clone(&self.backends[place].1))
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
            changes: VecDeque::new(),
            snapshot,
            served,
        }
    }

    /// The revision after this one, in which `changed` is other than here.
    pub(crate) fn next(&self, snapshot: Snapshot, changed: &[SiteId], workers: usize) -> Routing {
        let mut served = self.served.clone();
        for &id in changed {
            let Some(site) = snapshot.sites.get(id) else {
                served.remove(id);
                continue;
            };
            let before = self.served.get(id);
            if before.is_none_or(|before| !Arc::ptr_eq(&before.site, site)) {
                served.insert(id, ServedSite::new(site, before.map(|it| &**it), workers));
            }
        }
        let mut changes = self.changes.clone();
        if changes.len() >= REVISIONS_REMEMBERED {
            changes.pop_front();
        }
        changes.push_back((snapshot.revision, changed.into()));
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

    /// The sites that may be other than they were in `revision`, some of them maybe twice; `None`
    /// when that is not known, or they are more than `most`.
    pub(crate) fn changed_since(&self, revision: u64, most: usize) -> Option<Vec<SiteId>> {
        let (oldest, _) = self.changes.front()?;
        // A number can go down where a damaged log was replaced: then nothing tells what changed.
        if revision + 1 < *oldest || revision > self.snapshot.revision {
            return None;
        }
        let mut changed = Vec::new();
        for (_, sites) in self.changes.iter().filter(|(later, _)| *later > revision) {
            if changed.len() + sites.len() > most {
                return None;
            }
            changed.extend_from_slice(sites);
        }
        Some(changed)
    }
}
