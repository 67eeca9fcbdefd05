//! What the workers share and only read: the snapshot with the runtime state of its parts.
//!
//! The configuration thread makes a [`Routing`] for each revision and swaps it in. Runtime state
//! of backends is keyed by identity and taken over from the revision before, so a change of one
//! site leaves every other one's state where it is, and costs what that site costs.
//!
//! A backend that is known by a name is a server for each address that the name has now; when
//! those change, the sites that use the name change, within their revision.

use crate::backend_state::{BackendState, Health};
use crate::departed::Departed;
use crate::drains::{Drains, full_name};
use crate::limits::{Meters, SiteMeters};
use crate::names::{FollowedName, Names, share};
use crate::pool_queue::PoolQueue;
use meridian_model::address_policy::{AddressPolicy, Refusal};
use meridian_model::limits::{ADDRESSES_PER_SITE_MAX, REVISIONS_REMEMBERED};
use meridian_model::snapshot::{
    Backend, BackendKey, BySite, NamedBackend, Pool, PoolId, Site, SiteId, Snapshot,
};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// A site of the snapshot with its runtime state.
#[derive(Debug)]
pub(crate) struct ServedSite {
    /// With the addresses of its names.
    site: Arc<Site>,
    /// In the order of their keys.
    backends: Box<[(BackendKey, Arc<BackendState>)]>,
    /// None where no backend is known by a name.
    resolved: Option<Box<Resolved>>,
    /// None where no backend has a limit.
    queues: Option<Box<Queues>>,
    /// None where nothing is limited.
    meters: Option<Box<SiteMeters>>,
}

/// There is one for each site: what few sites have is behind a pointer.
const _: () = assert!(size_of::<ServedSite>() <= 48);

/// Where requests wait, by pool: of those whose backends have limits.
type Queues = Vec<(PoolId, Arc<PoolQueue>)>;

/// An address of a name that is not used.
#[derive(Debug)]
pub(crate) struct RefusedAddress {
    /// The backend.
    pub(crate) backend: NamedBackend,
    /// Where it would be.
    pub(crate) address: SocketAddr,
    /// Why it must not be there.
    pub(crate) refusal: Refusal,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Routing {
    /// The compiled revision.
    pub(crate) snapshot: Snapshot,
    /// Grows by one with each routing of a plane: there are several of a revision when names
    /// change.
    pub(crate) serial: u64,
    served: BySite<Arc<ServedSite>>,
    departed: Departed,
    /// What the last routings changed, the oldest first; the last is this one. None tells of the
    /// one that the plane began with.
    changes: VecDeque<(u64, Arc<[SiteId]>)>,
}

/// What sites are joined with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joint<'a> {
    /// The names that are followed.
    pub(crate) names: &'a Names,
    /// What is used of limits.
    pub(crate) meters: &'a Meters,
    /// The backends that are drained.
    pub(crate) drains: &'a Drains,
}

/// Every backend of a site.
pub(crate) fn backends(site: &Site) -> impl Iterator<Item = &Backend> {
    let tiers = site.pools.iter().flat_map(|pool| &pool.tiers);
    tiers.flat_map(|tier| &tier.backends)
}

/// The queues of a site that had those of `before`.
fn queues(site: &Site, before: Option<&ServedSite>) -> Option<Box<Queues>> {
    let is_limited = |pool: &&Pool| {
        let mut backends = pool.tiers.iter().flat_map(|tier| &tier.backends);
        backends.any(|backend| backend.connections.is_some())
    };
    let limited = site.pools.iter().filter(is_limited);
    let queues = limited.map(|pool| {
        let kept = before.and_then(|before| before.queue(pool.id));
        (pool.id, kept.map(Arc::clone).unwrap_or_default())
    });
    let queues: Queues = queues.collect();
    (!queues.is_empty()).then(|| Box::new(queues))
}

impl ServedSite {
    /// A site with the state that its backends had before.
    fn new(
        declared: &Arc<Site>,
        (before, departed): (Option<&ServedSite>, &Departed),
        policy: &AddressPolicy,
        joint: Joint<'_>,
    ) -> Arc<ServedSite> {
        let (site, resolved) = resolve(declared, policy, joint.names);
        let mut backends: Vec<_> = backends(&site)
            .map(|backend| {
                let kept = before.and_then(|before| before.backend_state(&backend.key));
                let state = kept.unwrap_or_else(|| {
                    let draining = joint.drains.contains(&site, &backend.key);
                    match departed.find(&backend.key) {
                        Some(state) => {
                            state.set_draining(draining);
                            state.set_health(Health::Unchecked, "it came back");
                            state
                        }
                        None => Arc::new(BackendState::new(draining)),
                    }
                });
                state.limit(backend.connections.map(u32::from));
                (backend.key.clone(), state)
            })
            .collect();
        backends.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Arc::new(ServedSite {
            backends: backends.into(),
            queues: queues(&site, before),
            meters: (joint.meters).of(&site, before.and_then(ServedSite::meters)),
            site,
            resolved,
        })
    }

    /// The site as it was compiled.
    pub(crate) fn declared(&self) -> &Arc<Site> {
        (self.resolved.as_deref()).map_or(&self.site, |resolved| &resolved.declared)
    }

    /// Its names, one for each backend that is known by one, in the order of their numbers.
    fn names(&self) -> &[Arc<FollowedName>] {
        (self.resolved.as_deref()).map_or(&[], |resolved| &resolved.names)
    }

    /// How many backends it takes to make it anew, those by name among them that have no address.
    pub(crate) fn size(&self) -> usize {
        self.backends.len() + self.names().len()
    }

    /// The site with a backend for each address of its names.
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The state of one of its backends.
    pub(crate) fn backend_state(&self, key: &BackendKey) -> Option<Arc<BackendState>> {
        let place = self.backends.binary_search_by(|(it, _)| it.cmp(key));
        place.ok().map(|place| Arc::clone(&self.backends[place].1))
    }

    /// Where requests wait for the backends of a pool; none where these have no limits.
    pub(crate) fn queue(&self, pool: PoolId) -> Option<&Arc<PoolQueue>> {
        let mut queues = self.queues.iter().flat_map(|queues| queues.iter());
        queues.find(|(id, _)| *id == pool).map(|(_, queue)| queue)
    }

    /// What is used of its limits.
    pub(crate) fn meters(&self) -> Option<&SiteMeters> {
        self.meters.as_deref()
    }

    /// The states of the backend that is called `name`, TENANT/SITE/POOL/BACKEND: one of each
    /// address. `None` when it has no backend of that name.
    pub(crate) fn states_of(&self, name: &str) -> Option<Vec<&BackendState>> {
        let states = self.backends.iter();
        let states = states.filter(|(key, _)| full_name(&self.site, key) == name);
        let states: Vec<_> = states.map(|(_, state)| &**state).collect();
        // Of one that is known by a name there may be no address.
        let is_named = || {
            let declared = self.declared();
            declared.pools.iter().any(|pool| {
                let mut named = pool.tiers.iter().flat_map(|tier| &tier.named);
                named.any(|backend| {
                    let (tenant, site) = (&declared.tenant, &declared.name);
                    format!("{tenant}/{site}/{}/{}", pool.name, backend.name) == name
                })
            })
        };
        (!states.is_empty() || is_named()).then_some(states)
    }

    /// Addresses of its names that are not used.
    pub(crate) fn refused(&self) -> &[RefusedAddress] {
        (self.resolved.as_deref()).map_or(&[], |resolved| &resolved.refused)
    }

    /// Whether the first lookup of one of its names has not ended yet.
    pub(crate) fn awaits_names(&self) -> bool {
        (self.resolved.as_deref()).is_some_and(|resolved| resolved.awaits_names)
    }
}

/// What came of a site's names, as far as they are resolved.
#[derive(Debug)]
struct Resolved {
    declared: Arc<Site>,
    /// In the order of their numbers.
    names: Box<[Arc<FollowedName>]>,
    refused: Box<[RefusedAddress]>,
    awaits_names: bool,
}

/// A site with the addresses of its names, where it has any.
fn resolve(
    declared: &Arc<Site>,
    policy: &AddressPolicy,
    names: &Names,
) -> (Arc<Site>, Option<Box<Resolved>>) {
    if declared.named_backends().next().is_none() {
        return (Arc::clone(declared), None);
    }
    let follow =
        |backend: &NamedBackend| names.follow(&backend.host, declared.tenant_id, declared.id);
    let mut followed: Vec<_> = declared.named_backends().map(follow).collect();
    let found: Vec<_> = followed.iter().map(|name| name.found()).collect();
    let counts: Vec<usize> = found.iter().map(|it| it.addresses.len()).collect();
    // Before they are checked: what is refused costs as much.
    let shares = share(&counts, ADDRESSES_PER_SITE_MAX);
    let over = counts.iter().sum::<usize>() - shares.iter().sum::<usize>();
    names.count_over_of_site(over);
    let mut refused = Vec::new();
    // In the same order.
    let mut usable = found.iter().zip(shares);
    let site = declared.with_addresses(|backend| {
        let Some((found, share)) = usable.next() else {
            return Vec::new();
        };
        let addresses = found.addresses[..share].iter();
        let addresses = addresses.map(|&ip| SocketAddr::new(ip, backend.port));
        let allowed =
            addresses.filter(
                |&address| match policy.check(&declared.backend_networks, address) {
                    Ok(()) => true,
                    Err(refusal) => {
                        refused.push(RefusedAddress {
                            backend: backend.clone(),
                            address,
                            refusal,
                        });
                        false
                    }
                },
            );
        allowed.collect()
    });
    drop(usable);
    names.count_refused(refused.len());
    followed.sort_unstable_by_key(|name| name.number());
    let resolved = Resolved {
        declared: Arc::clone(declared),
        names: followed.into(),
        refused: refused.into(),
        awaits_names: found.iter().any(|it| !it.looked_up),
    };
    (Arc::new(site), Some(Box::new(resolved)))
}

impl Routing {
    /// The first revision of a plane.
    pub(crate) fn new(snapshot: Snapshot, joint: Joint<'_>) -> Routing {
        let policy = &snapshot.policy;
        let departed = Departed::default();
        let served =
            (snapshot.sites).map(|site| ServedSite::new(site, (None, &departed), policy, joint));
        Routing {
            departed,
            changes: VecDeque::new(),
            serial: 1,
            snapshot,
            served,
        }
    }

    /// The revision after this one, in which `changed` is other than here.
    pub(crate) fn next(
        &self,
        snapshot: Snapshot,
        mut changed: Vec<SiteId>,
        joint: Joint<'_>,
    ) -> Routing {
        let policy_changed = snapshot.policy != self.snapshot.policy;
        if policy_changed {
            // What a name may lead to is for the policy to say.
            let named = self.served.iter().filter(|(_, it)| !it.names().is_empty());
            changed.extend(named.map(|(id, _)| id));
        }
        let mut served = self.served.clone();
        for &id in &changed {
            let Some(site) = snapshot.sites.get(id) else {
                served.remove(id);
                continue;
            };
            let before = self.served.get(id).map(|it| &**it);
            let is_same = |before: &ServedSite| {
                Arc::ptr_eq(before.declared(), site)
                    && (before.names().is_empty() || !policy_changed)
            };
            if !before.is_some_and(is_same) {
                let before = (before, &self.departed);
                let site = ServedSite::new(site, before, &snapshot.policy, joint);
                served.insert(id, site);
            }
        }
        self.followed_by(snapshot, served, changed)
    }

    /// The sites that use one of these names.
    pub(crate) fn users(&self, names: &[Arc<FollowedName>]) -> BTreeSet<SiteId> {
        let mut sites = BTreeSet::new();
        for name in names {
            name.keep_users(|site| self.uses(site, name));
            sites.extend(name.users());
        }
        sites
    }

    /// The same revision with `sites` as the addresses of their names are now.
    pub(crate) fn resolved(&self, sites: &BTreeSet<SiteId>, joint: Joint<'_>) -> Routing {
        let mut served = self.served.clone();
        for &id in sites {
            if let Some(before) = self.served.get(id) {
                let policy = &self.snapshot.policy;
                let earlier = (Some(&**before), &self.departed);
                let site = ServedSite::new(before.declared(), earlier, policy, joint);
                served.insert(id, site);
            }
        }
        let changed = sites.iter().copied().collect();
        self.followed_by(self.snapshot.clone(), served, changed)
    }

    fn uses(&self, site: SiteId, name: &Arc<FollowedName>) -> bool {
        let served = self.served.get(site);
        let find = |names: &[Arc<FollowedName>]| {
            names.binary_search_by_key(&name.number(), |name| name.number())
        };
        served.is_some_and(|served| find(served.names()).is_ok())
    }

    fn followed_by(
        &self,
        snapshot: Snapshot,
        served: BySite<Arc<ServedSite>>,
        changed: Vec<SiteId>,
    ) -> Routing {
        let mut changes = self.changes.clone();
        if changes.len() >= REVISIONS_REMEMBERED {
            changes.pop_front();
        }
        let serial = self.serial + 1;
        let departed = self.departed_by(&served, &changed);
        changes.push_back((serial, changed.into()));
        Routing {
            departed,
            snapshot,
            serial,
            served,
            changes,
        }
    }

    /// Those that departed before, and with the change to `served`.
    fn departed_by(&self, served: &BySite<Arc<ServedSite>>, changed: &[SiteId]) -> Departed {
        let mut departed = self.departed.clone();
        for &id in changed {
            let (before, after) = (self.served.get(id), served.get(id));
            let before = before.iter().flat_map(|before| before.backends.iter());
            for (key, state) in before {
                let stays = after.is_some_and(|after| after.backend_state(key).is_some());
                if !stays {
                    departed.add(key, state);
                }
            }
        }
        departed.forget_unused();
        departed
    }

    /// The site with this full name, TENANT/SITE.
    pub(crate) fn served_by_name(&self, full_name: &str) -> Option<&Arc<ServedSite>> {
        let (tenant, name) = full_name.split_once('/')?;
        let mut sites = self.snapshot.sites.iter();
        let found = sites.find(|(_, site)| *site.tenant == *tenant && *site.name == *name);
        found.and_then(|(id, _)| self.served(id))
    }

    /// The site with this id.
    pub(crate) fn served(&self, id: SiteId) -> Option<&Arc<ServedSite>> {
        self.served.get(id)
    }

    /// The state of every backend.
    pub(crate) fn backend_states(&self) -> impl Iterator<Item = &BackendState> {
        let served = self.served.iter();
        served.flat_map(|(_, served)| served.backends.iter().map(|(_, state)| &**state))
    }

    /// The sites that may be other than they were in the routing `serial`, some of them maybe
    /// twice; `None` when that is not known, or they are more than `most`.
    pub(crate) fn changed_since(&self, serial: u64, most: usize) -> Option<Vec<SiteId>> {
        let (oldest, _) = self.changes.front()?;
        if serial + 1 < *oldest {
            return None;
        }
        let mut changed = Vec::new();
        for (_, sites) in self.changes.iter().filter(|(later, _)| *later > serial) {
            if changed.len() + sites.len() > most {
                return None;
            }
            changed.extend_from_slice(sites);
        }
        Some(changed)
    }
}
