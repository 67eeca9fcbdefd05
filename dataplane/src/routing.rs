//! What the workers share and only read: the snapshot with the runtime state of its parts.
//!
//! The control thread builds a [`Routing`] for each revision and swaps it in. Runtime state
//! (counters) is keyed by identity and taken over from the revision before, so a change of one
//! site leaves every other one's state where it is.

use crate::counters::{BackendCounters, SiteCounters};
use meridian_model::snapshot::{BackendKey, Site, SiteId, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;

/// The runtime state of a site.
#[derive(Debug)]
pub(crate) struct SiteState {
    /// By worker.
    pub(crate) counters: Box<[SiteCounters]>,
}

/// The runtime state of a backend.
#[derive(Debug)]
pub(crate) struct BackendState {
    /// By worker.
    pub(crate) counters: Box<[BackendCounters]>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Routing {
    /// The compiled revision.
    pub(crate) snapshot: Snapshot,
    by_id: HashMap<SiteId, usize>,
    sites: HashMap<SiteId, Arc<SiteState>>,
    backends: HashMap<BackendKey, Arc<BackendState>>,
}

impl Routing {
    /// Joins a snapshot with the state that its parts had under `previous`.
    pub(crate) fn new(snapshot: Snapshot, previous: Option<&Routing>, workers: usize) -> Routing {
        let mut sites = HashMap::with_capacity(snapshot.sites.len());
        let mut backends = HashMap::with_capacity(snapshot.sites.len());
        for site in &snapshot.sites {
            let kept = previous.and_then(|routing| routing.sites.get(&site.id).cloned());
            let state = kept.unwrap_or_else(|| {
                Arc::new(SiteState {
                    counters: (0..workers).map(|_| SiteCounters::default()).collect(),
                })
            });
            sites.insert(site.id, state);
            for backend in site
                .pools
                .iter()
                .flat_map(|pool| &pool.tiers)
                .flat_map(|tier| &tier.backends)
            {
                let kept = previous.and_then(|routing| routing.backends.get(&backend.key).cloned());
                let state = kept.unwrap_or_else(|| {
                    Arc::new(BackendState {
                        counters: (0..workers).map(|_| BackendCounters::default()).collect(),
                    })
                });
                backends.insert(backend.key.clone(), state);
            }
        }
        let by_id = snapshot
            .sites
            .iter()
            .enumerate()
            .map(|(place, site)| (site.id, place))
            .collect();
        Routing {
            snapshot,
            by_id,
            sites,
            backends,
        }
    }

    /// The site with this id.
    pub(crate) fn site(&self, id: SiteId) -> Option<&Arc<Site>> {
        self.by_id
            .get(&id)
            .map(|&place| &self.snapshot.sites[place])
    }

    /// Whether `site` is served as it is by this routing.
    pub(crate) fn is_current(&self, site: &Arc<Site>) -> bool {
        self.site(site.id)
            .is_some_and(|current| Arc::ptr_eq(current, site))
    }

    /// The state of a site of this snapshot. Panics for another: that is a fault of ours.
    pub(crate) fn site_state(&self, site: &Site) -> Arc<SiteState> {
        Arc::clone(
            self.sites
                .get(&site.id)
                .expect("every site of a snapshot has its state"),
        )
    }

    /// The state of a backend of this snapshot. Panics for another: that is a fault of ours.
    pub(crate) fn backend_state(&self, key: &BackendKey) -> Arc<BackendState> {
        Arc::clone(
            self.backends
                .get(key)
                .expect("every backend of a snapshot has its state"),
        )
    }
}
