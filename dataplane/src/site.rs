//! A site as one worker serves it: the compiled site with this worker's rotation, upstream
//! connections, counters and retry budget.

use crate::balance::Rotation;
use crate::counters::SiteCounters;
use crate::limits::Seat;
use crate::routing::{Routing, ServedSite};
use crate::upstream::Upstream;
use crate::worker::Worker;
use meridian_model::address_policy::AddressPolicy;
use meridian_model::limits::RETRY_BURST;
use meridian_model::snapshot::{BackendKey, Site, Tier};
use meridian_sys::ClassId;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct LocalSite {
    declared: Arc<Site>,
    site: Arc<Site>,
    awaits_names: bool,
    counters: SiteCounters,
    class: ClassId,
    seat: Seat,
    via: Arc<str>,
    /// In the order of the compiled site's.
    pools: Box<[LocalPool]>,
    /// In hundredths of a retry.
    retry_credit: Cell<u32>,
}

/// A retry, in units of the credit: a request earns as many as the site's percentage.
const RETRY_CREDIT: u32 = 100;
const RETRY_CREDIT_MAX: u32 = RETRY_BURST * RETRY_CREDIT;

#[derive(Debug)]
struct LocalPool {
    tiers: Box<[LocalTier]>,
}

#[derive(Debug)]
struct LocalTier {
    cross_group: bool,
    rotation: RefCell<Rotation>,
    upstreams: Box<[Rc<Upstream>]>,
}

/// A backend that was picked.
#[derive(Debug, Clone)]
pub(crate) struct Pick {
    /// Its connections.
    pub(crate) upstream: Rc<Upstream>,
    /// It belongs to another group than this host.
    pub(crate) cross_group: bool,
}

impl LocalSite {
    /// The site as `worker` serves it under `routing`; what `old` has for backends that are
    /// still there is taken over.
    pub(crate) fn new(
        worker: &Worker,
        routing: &Routing,
        served: &ServedSite,
        old: Option<&LocalSite>,
    ) -> LocalSite {
        let site = served.site();
        let kept = old.map(LocalSite::upstreams_by_key).unwrap_or_default();
        let pools = site.pools.iter().map(|pool| LocalPool {
            tiers: (pool.tiers.iter())
                .map(|tier| LocalTier::new(worker, served, tier, &kept))
                .collect(),
        });
        LocalSite {
            class: worker.class_of(site.tenant_id),
            seat: worker.seat_of(served),
            via: Arc::clone(&routing.snapshot.via),
            pools: pools.collect(),
            retry_credit: Cell::new(old.map_or(RETRY_CREDIT_MAX, |old| old.retry_credit.get())),
            counters: worker.counters_of(site.id),
            site: Arc::clone(site),
            declared: Arc::clone(served.declared()),
            awaits_names: served.awaits_names(),
        }
    }

    /// The site as it was compiled.
    pub(crate) fn declared(&self) -> &Arc<Site> {
        &self.declared
    }

    /// Whether there may be more backends in a moment: the first lookup of a name has not ended.
    pub(crate) fn awaits_names(&self) -> bool {
        self.awaits_names
    }

    /// The compiled site, with a backend for each address of its names.
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The class of its tenant in the run queue.
    pub(crate) fn class(&self) -> ClassId {
        self.class
    }

    /// As which its connections are counted.
    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }

    /// The pseudonym that the fleet shares in Via.
    pub(crate) fn via(&self) -> &str {
        &self.via
    }

    /// This worker's counters of the site.
    pub(crate) fn counters(&self) -> &SiteCounters {
        &self.counters
    }

    /// Whether the policy of the newest revision lets the site's tenant have a backend at
    /// `address`: looked at before each connect, on the very address that is connected to.
    pub(crate) fn may_connect(&self, policy: &AddressPolicy, address: SocketAddr) -> bool {
        policy.check(&self.site.backend_networks, address).is_ok()
    }

    /// The next backend of a pool, usable and not one of `tried`: of the first tier that has one.
    pub(crate) fn pick(&self, pool: usize, tried: &[u32]) -> Option<Pick> {
        self.pools[pool].tiers.iter().find_map(|tier| {
            let upstream = tier.pick(tried)?;
            Some(Pick {
                upstream: Rc::clone(upstream),
                cross_group: tier.cross_group,
            })
        })
    }

    /// A request came: it earns its part of a retry.
    pub(crate) fn earn_retry(&self) {
        let credit = self.retry_credit.get();
        if credit < RETRY_CREDIT_MAX {
            let earned = credit + self.site.retry_percent;
            self.retry_credit.set(earned.min(RETRY_CREDIT_MAX));
        }
    }

    /// Takes one retry from the budget; `false` when it is used up.
    pub(crate) fn spend_retry(&self) -> bool {
        match self.retry_credit.get().checked_sub(RETRY_CREDIT) {
            Some(left) => {
                self.retry_credit.set(left);
                true
            }
            None => false,
        }
    }

    /// All backends' connections.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Rc<Upstream>> {
        let tiers = self.pools.iter().flat_map(|pool| &pool.tiers);
        tiers.flat_map(|tier| &tier.upstreams)
    }

    /// The same by the identities of the backends.
    pub(crate) fn upstreams_by_key(&self) -> HashMap<&BackendKey, &Rc<Upstream>> {
        self.upstreams().map(|it| (it.key(), it)).collect()
    }
}

impl LocalTier {
    fn new(
        worker: &Worker,
        served: &ServedSite,
        tier: &Tier,
        kept: &HashMap<&BackendKey, &Rc<Upstream>>,
    ) -> LocalTier {
        let upstreams = tier.backends.iter().map(|backend| {
            let kept = kept.get(&backend.key);
            match kept.filter(|upstream| !upstream.is_retired()) {
                Some(&upstream) => Rc::clone(upstream),
                None => worker.add_upstream(|number| {
                    let state = served
                        .backend_state(&backend.key)
                        .expect("a served site has the state of each of its backends");
                    Upstream::new(number, backend.key.clone(), state, worker.index)
                }),
            }
        });
        LocalTier {
            cross_group: tier.cross_group,
            rotation: RefCell::new(Rotation::new(
                tier.backends.iter().map(|backend| backend.weight),
                worker.index,
            )),
            upstreams: upstreams.collect(),
        }
    }

    fn pick(&self, tried: &[u32]) -> Option<&Rc<Upstream>> {
        let place = self.rotation.borrow_mut().next(|place| {
            let upstream = &self.upstreams[place];
            upstream.is_usable() && !tried.contains(&upstream.number())
        });
        place.map(|place| &self.upstreams[place])
    }
}
