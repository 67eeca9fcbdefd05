//! A site as one worker serves it: the compiled site with this worker's rotation, upstream
//! connections, counters and retry budget.

use crate::backend_state::Outcome;
use crate::balance::{Balance, WHOLE};
use crate::counters::SiteCounters;
use crate::http::section::Section;
use crate::limits::Seat;
use crate::pool_queue::{OneOf, PoolQueue, TierOf, Wish};
use crate::routing::{Routing, ServedSite};
use crate::sticky::{Tag, Visitor, set_cookie_line};
use crate::upstream::Upstream;
use crate::worker::{TenantClass, Worker};
use meridian_model::address_policy::AddressPolicy;
use meridian_model::limits::RETRY_BURST;
use meridian_model::snapshot::{
    Algorithm, BackendKey, HashInput, Pool, PoolId, Site, Sticky, Tier,
};
use meridian_sys::ClassId;
use std::cell::Cell;
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
    /// Its tenant keeps it for as long.
    _class: Rc<TenantClass>,
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
    sticky: Option<Arc<Sticky>>,
    /// Where its backends have limits.
    queue: Option<Arc<PoolQueue>>,
}

#[derive(Debug)]
struct LocalTier {
    cross_group: bool,
    algorithm: Algorithm,
    /// 0: none.
    slow_start_ns: u64,
    balance: Balance,
    upstreams: Box<[Rc<Upstream>]>,
    /// What cookies call them; empty where there are none.
    tags: Box<[Tag]>,
    /// One of them has a limit.
    is_limited: bool,
}

/// What a pick comes to.
#[derive(Debug)]
pub(crate) enum Picked {
    /// A backend.
    Backend(Pick),
    /// All that might be picked are full, or others wait for them: what is to be waited for.
    Full(Wish),
    /// There is none that may be used.
    Nobody,
}

/// A backend that was picked.
#[derive(Debug)]
pub(crate) struct Pick {
    /// Its connections.
    pub(crate) upstream: Rc<Upstream>,
    /// It belongs to another group than this host.
    pub(crate) cross_group: bool,
    algorithm: Algorithm,
    /// What the pool's cookies call it, where it has any.
    pub(crate) tag: Option<Tag>,
    /// That it counts there, where its pool looks at that.
    pub(crate) load: Option<Load>,
}

/// A request that is counted to the load of its backend until this is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    upstream: Rc<Upstream>,
    /// Who gets the place then.
    gate: Option<Arc<PoolQueue>>,
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
                .map(|tier| LocalTier::new(worker, served, (pool, tier), &kept))
                .collect(),
            sticky: pool.sticky.clone(),
            queue: served.queue(pool.id).map(Arc::clone),
        });
        let class = worker.class_of(site.tenant_id);
        LocalSite {
            class: class.id(),
            _class: class,
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
    /// `now_ns` is on the worker's clock; `key` gives the hash of what a pool goes by. Where others
    /// wait, none is picked but for who is `first` of them.
    pub(crate) fn pick(
        &self,
        pool: usize,
        tried: &[Rc<Upstream>],
        now_ns: u64,
        first: bool,
        key: impl Fn(HashInput) -> u64,
    ) -> Picked {
        let local = &self.pools[pool];
        for (at, tier) in local.tiers.iter().enumerate() {
            if !tier.is_limited {
                if let Some(place) = tier.pick(tried, now_ns, &key) {
                    return Picked::Backend(local.picked(tier, place));
                }
                continue;
            }
            let wish = || {
                Wish::Any(OneOf {
                    of: TierOf {
                        site: Arc::clone(&self.site),
                        tier: (pool, at),
                    },
                    tried: tier.keys_of(tried),
                })
            };
            let queue = local.queue.as_ref().filter(|it| it.is_used());
            if first || !queue.is_some_and(|it| it.has_like(&wish())) {
                // Another worker may have taken the last place in between: then it is full.
                while let Some(place) = tier.pick(tried, now_ns, &key) {
                    if let Some(pick) = local.take(tier, place) {
                        return Picked::Backend(pick);
                    }
                }
            }
            if tier.has_usable(tried) {
                return Picked::Full(wish());
            }
        }
        Picked::Nobody
    }

    /// Who asks with these fields, where the pool's visitors stay with their backends.
    pub(crate) fn visitor(&self, pool: usize, fields: &Section<'_>) -> Option<Visitor> {
        let pool = &self.pools[pool];
        let sticky = pool.sticky.as_deref()?;
        let knows = |tag| pool.find(tag).is_some();
        Some(Visitor::new(sticky, fields, knows))
    }

    /// The backend of a pool that a visitor was with: unless it is down, or one of `tried`. Where
    /// others wait for it, who is `first` of them gets it.
    pub(crate) fn stay(
        &self,
        pool: usize,
        tag: Tag,
        tried: &[Rc<Upstream>],
        first: bool,
    ) -> Picked {
        let local = &self.pools[pool];
        let Some((tier, place)) = local.find(tag) else {
            return Picked::Nobody;
        };
        let upstream = &tier.upstreams[place];
        if upstream.is_down() || upstream.is_among(tried) {
            return Picked::Nobody;
        }
        if !tier.is_limited {
            return Picked::Backend(local.picked(tier, place));
        }
        let wish = || Wish::Only(upstream.key().clone());
        let queue = local.queue.as_ref().filter(|it| it.is_used());
        let others_wait = !first && queue.is_some_and(|it| it.has_like(&wish()));
        let taken = (!others_wait).then(|| local.take(tier, place));
        match taken.flatten() {
            Some(pick) => Picked::Backend(pick),
            None => Picked::Full(wish()),
        }
    }

    /// The backend where a request that waited was given a place: that is this one's from here on.
    pub(crate) fn take_given(&self, pool: usize, key: &BackendKey) -> Option<Pick> {
        let local = &self.pools[pool];
        local.tiers.iter().find_map(|tier| {
            let mut upstreams = tier.upstreams.iter();
            let place = upstreams.position(|upstream| upstream.key() == key)?;
            let mut pick = local.picked_uncounted(tier, place);
            pick.load = Some(local.load(tier, place));
            Some(pick)
        })
    }

    /// The place that a pool has here; `None` where it is gone.
    pub(crate) fn place_of(&self, pool: PoolId) -> Option<usize> {
        self.site.pools.iter().position(|it| it.id == pool)
    }

    /// Where requests wait for the backends of a pool, where these have limits.
    pub(crate) fn queue(&self, pool: usize) -> Option<&Arc<PoolQueue>> {
        self.pools[pool].queue.as_ref()
    }

    /// The line that sets a pool's cookie to the backend of this tag.
    pub(crate) fn set_cookie_line(&self, pool: usize, tag: Tag, secure: bool) -> Vec<u8> {
        let sticky = self.pools[pool].sticky.as_deref();
        sticky.map_or_else(Vec::new, |sticky| set_cookie_line(sticky, tag, secure))
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

impl LocalPool {
    /// The backend of this tag. All of them are looked at, whichever it is.
    fn find(&self, tag: Tag) -> Option<(&LocalTier, usize)> {
        let mut found = None;
        for tier in &self.tiers {
            for (place, &other) in tier.tags.iter().enumerate() {
                if tag.is(other) {
                    found = Some((tier, place));
                }
            }
        }
        found
    }

    fn picked_uncounted(&self, tier: &LocalTier, place: usize) -> Pick {
        Pick {
            upstream: Rc::clone(&tier.upstreams[place]),
            cross_group: tier.cross_group,
            algorithm: tier.algorithm,
            tag: tier.tags.get(place).copied(),
            load: None,
        }
    }

    /// A backend without a limit. It counts there, where the algorithm looks at that.
    fn picked(&self, tier: &LocalTier, place: usize) -> Pick {
        let mut pick = self.picked_uncounted(tier, place);
        if matches!(
            tier.algorithm,
            Algorithm::LeastConnections | Algorithm::PeakEwma
        ) {
            pick.upstream.load().begin();
            pick.load = Some(self.load(tier, place));
        }
        pick
    }

    /// A backend of a tier with limits, unless it is full.
    fn take(&self, tier: &LocalTier, place: usize) -> Option<Pick> {
        if !tier.upstreams[place].load().try_begin() {
            return None;
        }
        let mut pick = self.picked_uncounted(tier, place);
        pick.load = Some(self.load(tier, place));
        Some(pick)
    }

    /// What ends a request that was counted.
    fn load(&self, tier: &LocalTier, place: usize) -> Load {
        let queue = self.queue.as_ref().filter(|_| tier.is_limited);
        Load {
            upstream: Rc::clone(&tier.upstreams[place]),
            gate: queue.map(Arc::clone),
        }
    }
}

impl LocalTier {
    fn new(
        worker: &Worker,
        served: &ServedSite,
        (pool, tier): (&Pool, &Tier),
        kept: &HashMap<&BackendKey, &Rc<Upstream>>,
    ) -> LocalTier {
        let upstreams = tier.backends.iter().map(|backend| {
            let kept = kept.get(&backend.key);
            match kept.filter(|upstream| !upstream.is_retired()) {
                Some(&upstream) => Rc::clone(upstream),
                None => worker.add_upstream(|number| {
                    // As long as any worker has it, it is the one that it was: `departed`.
                    let state = served
                        .backend_state(&backend.key)
                        .expect("a served site has the state of each of its backends");
                    let of_workers = (worker.index, worker.workers());
                    Upstream::new(number, backend.key.clone(), state, of_workers)
                }),
            }
        });
        let algorithm = pool.algorithm;
        LocalTier {
            cross_group: tier.cross_group,
            algorithm,
            slow_start_ns: u64::from(pool.slow_start_ms) * 1_000_000,
            balance: Balance::new(
                algorithm,
                &tier.backends,
                worker.index,
                worker.request_ids().seed(),
            ),
            upstreams: upstreams.collect(),
            is_limited: tier.backends.iter().any(|it| it.connections.is_some()),
            tags: match &pool.sticky {
                None => Box::default(),
                Some(_) => {
                    let backends = tier.backends.iter();
                    let tags = backends.map(|it| worker.sticky_key().tag(served.site(), &it.key));
                    tags.collect()
                }
            },
        }
    }

    /// Whether there is one that may be used, full or not.
    fn has_usable(&self, tried: &[Rc<Upstream>]) -> bool {
        let mut upstreams = self.upstreams.iter();
        upstreams.any(|it| it.is_usable() && !it.is_among(tried))
    }

    /// Those of `tried` that are of this tier, in its order.
    fn keys_of(&self, tried: &[Rc<Upstream>]) -> Box<[BackendKey]> {
        if tried.is_empty() {
            return Box::default();
        }
        let those = self.upstreams.iter().filter(|it| it.is_among(tried));
        those.map(|upstream| upstream.key().clone()).collect()
    }

    fn is_full(&self, place: usize) -> bool {
        self.is_limited && self.upstreams[place].load().is_full()
    }

    fn pick(
        &self,
        tried: &[Rc<Upstream>],
        now_ns: u64,
        key: impl Fn(HashInput) -> u64,
    ) -> Option<usize> {
        let share = |place: usize| {
            let upstream = &self.upstreams[place];
            if !upstream.is_usable() || upstream.is_among(tried) || self.is_full(place) {
                return 0;
            }
            match self.slow_start_ns {
                0 => WHOLE,
                slow_start_ns => upstream.share(slow_start_ns, now_ns),
            }
        };
        let load = |place: usize| {
            let load = self.upstreams[place].load();
            match self.algorithm {
                Algorithm::PeakEwma => load.expected_us(now_ns),
                _ => u64::from(load.in_flight()),
            }
        };
        self.balance.pick(share, load, key)
    }
}

impl Pick {
    /// A try at the backend ended like this after so long; for pools that go by it.
    pub(crate) fn observe(&self, outcome: Outcome, took_ns: u64, now_ns: u64) {
        if self.algorithm == Algorithm::PeakEwma {
            self.upstream.load().observe(outcome, took_ns, now_ns);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.upstream.load().end();
        if let Some(queue) = &self.gate {
            queue.pass_on(self.upstream.key(), self.upstream.state());
        }
    }
}
