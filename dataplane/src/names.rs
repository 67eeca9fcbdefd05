//! The names of backends, and the addresses that they stand for.
//!
//! A name is followed as long as anybody holds its `FollowedName`, whichever sites use it: one
//! lookup at a time, made by a thread of its own (`resolver`), which waits for name servers and
//! for nothing else. What it finds goes into the routing by way of the configuration thread, so a
//! worker never asks for an address: it gets other backends, as after a change of configuration.

mod lookup;
mod memory;
pub mod message;
mod question;
pub(crate) mod resolver;
mod share;
mod system_files;
mod turns;

pub(crate) use share::share;

use arc_swap::ArcSwap;
use meridian_model::snapshot::{SiteId, TenantId};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// A name that is resolved again and again.
#[derive(Debug)]
pub(crate) struct FollowedName {
    number: u64,
    host: Arc<str>,
    found: ArcSwap<Found>,
    /// The sites that use it, and maybe some that did, each after its tenant.
    users: Mutex<BTreeSet<(TenantId, SiteId)>>,
}

/// What is known of a name.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In order; none twice.
    pub(crate) addresses: Box<[IpAddr]>,
    /// A lookup has ended, one way or the other.
    pub(crate) looked_up: bool,
    /// When an answer last gave addresses.
    pub(crate) resolved_at: Option<Instant>,
    /// When it is looked up again.
    pub(crate) next_at: Option<Instant>,
    /// What was wrong with the last lookup.
    pub(crate) fault: Option<String>,
}

/// Every name that is followed: see the module.
#[derive(Debug)]
pub(crate) struct Names {
    followed: Mutex<Followed>,
    /// Wakes the resolver when there are fresh names.
    fresh: OwnedFd,
    /// Lookups that ended without an answer.
    failed: AtomicU64,
    /// Addresses that were left out because a name has too many.
    over: AtomicU64,
    /// Addresses that were left out because the names of a site have too many together.
    over_of_site: AtomicU64,
    /// Addresses that were not used because no backend may be there.
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Followed {
    by_host: HashMap<Arc<str>, Weak<FollowedName>>,
    next_number: u64,
    /// Not known to the resolver yet, or not that a further tenant uses them.
    fresh: Vec<Weak<FollowedName>>,
    /// Not known to the configuration thread yet.
    changed: Vec<Arc<FollowedName>>,
}

impl FollowedName {
    /// What no other name ever has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The name.
    pub(crate) fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// What is known of it now.
    pub(crate) fn found(&self) -> Arc<Found> {
        self.found.load_full()
    }

    /// The sites that use it, and maybe some that did.
    pub(crate) fn users(&self) -> BTreeSet<SiteId> {
        lock(&self.users).iter().map(|&(_, site)| site).collect()
    }

    /// Their tenants, each once.
    fn tenants(&self) -> Vec<TenantId> {
        let users = lock(&self.users);
        let mut tenants = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some(&(tenant, _)) = users.range((from, Bound::Unbounded)).next() {
            tenants.push(tenant);
            from = Bound::Excluded((tenant, SiteId(u64::MAX)));
        }
        tenants
    }

    /// Forgets the users for which `is_user` does not hold.
    pub(crate) fn keep_users(&self, is_user: impl Fn(SiteId) -> bool) {
        lock(&self.users).retain(|&(_, site)| is_user(site));
    }

    /// Whether `site` is the first of `tenant`'s that uses it.
    fn add_user(&self, tenant: TenantId, site: SiteId) -> bool {
        let mut users = lock(&self.users);
        let of_tenant = (tenant, SiteId(0))..=(tenant, SiteId(u64::MAX));
        let is_first = users.range(of_tenant).next().is_none();
        users.insert((tenant, site));
        is_first
    }
}

impl Names {
    /// No names yet.
    pub(crate) fn new() -> io::Result<Arc<Names>> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Arc::new(Names {
            followed: Mutex::default(),
            fresh: eventfd(0, flags)?,
            failed: AtomicU64::new(0),
            over: AtomicU64::new(0),
            over_of_site: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// The name `host`, followed for a site of `tenant` as long as the result is held.
    pub(crate) fn follow(
        &self,
        host: &Arc<str>,
        tenant: TenantId,
        site: SiteId,
    ) -> Arc<FollowedName> {
        let mut followed = lock(&self.followed);
        let known = followed.by_host.get(host).and_then(Weak::upgrade);
        let name = known.unwrap_or_else(|| {
            let name = Arc::new(FollowedName {
                number: followed.next_number,
                host: Arc::clone(host),
                found: ArcSwap::default(),
                users: Mutex::default(),
            });
            followed.next_number += 1;
            let weak = Arc::downgrade(&name);
            followed.by_host.insert(Arc::clone(host), weak);
            name
        });
        if name.add_user(tenant, site) {
            followed.fresh.push(Arc::downgrade(&name));
            // It can only be full of wakes that were not looked at.
            let _ = rustix::io::write(&self.fresh, &1_u64.to_ne_bytes());
        }
        name
    }

    /// The names whose addresses are other than when this was last asked.
    pub(crate) fn take_changed(&self) -> Vec<Arc<FollowedName>> {
        std::mem::take(&mut lock(&self.followed).changed)
    }

    /// Every name that is followed, in order.
    pub(crate) fn all(&self) -> Vec<Arc<FollowedName>> {
        let followed = lock(&self.followed);
        let mut all: Vec<_> = followed
            .by_host
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        drop(followed);
        all.sort_by(|a, b| a.host.cmp(&b.host));
        all
    }

    /// Counts addresses that were not used because no backend may be there.
    pub(crate) fn count_refused(&self, addresses: usize) {
        self.refused.fetch_add(addresses as u64, Ordering::Relaxed);
    }

    /// Addresses that were not used because no backend may be there.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts addresses that were left out because the names of a site have too many together.
    pub(crate) fn count_over_of_site(&self, addresses: usize) {
        self.over_of_site
            .fetch_add(addresses as u64, Ordering::Relaxed);
    }

    /// Lookups that ended without an answer.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Addresses that were left out because a name has too many.
    pub(crate) fn over(&self) -> u64 {
        self.over.load(Ordering::Relaxed)
    }

    /// Addresses that were left out because the names of a site have too many together.
    pub(crate) fn over_of_site(&self) -> u64 {
        self.over_of_site.load(Ordering::Relaxed)
    }

    /// What becomes readable when there are fresh names.
    fn wake(&self) -> BorrowedFd<'_> {
        self.fresh.as_fd()
    }

    /// The names that the resolver does not know yet, or not all tenants of.
    fn take_fresh(&self) -> Vec<Weak<FollowedName>> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.fresh, &mut count);
        std::mem::take(&mut lock(&self.followed).fresh)
    }

    /// Publishes what was found; whether its addresses are other than before.
    fn publish(&self, name: &Arc<FollowedName>, found: Found) -> bool {
        let before = name.found.load();
        let changed = before.addresses != found.addresses || !before.looked_up;
        name.found.store(Arc::new(found));
        if changed {
            lock(&self.followed).changed.push(Arc::clone(name));
        }
        changed
    }

    /// Forgets a name that nobody holds any more.
    fn forget(&self, host: &str) {
        let mut followed = lock(&self.followed);
        // Somebody may have begun to follow it anew meanwhile.
        let gone = |name: &Weak<FollowedName>| name.strong_count() == 0;
        if followed.by_host.get(host).is_some_and(gone) {
            followed.by_host.remove(host);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
