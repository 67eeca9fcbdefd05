//! One worker's part of the limits: which connections are whose, and what it holds of the rates.

use super::bucket::{Lease, Terms};
use super::meter::{Meter, SiteMeters};
use meridian_model::snapshot::{Allowance, Limits, Site, SiteId, TenantId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A site as one worker's connections know it, from its first request there until the process
/// ends. Given to sites in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat(u32);

impl Seat {
    /// Its number, which fits the tag of a parked connection.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The one with this number.
    pub(crate) fn of_number(number: u32) -> Seat {
        Seat(number)
    }
}

/// See the module. A site keeps its place for as long as the process lives, as it keeps its
/// counters.
#[derive(Debug)]
pub(crate) struct Seats {
    workers: usize,
    tenants: HashMap<TenantId, Rc<Account>>,
    numbers: HashMap<SiteId, Seat>,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    tenant: Rc<Account>,
    site: Account,
}

/// What this worker has of a tenant or of a site.
#[derive(Debug, Default)]
struct Account {
    /// Open connections.
    connections: Cell<u64>,
    /// None while nothing is limited.
    watched: RefCell<Option<Watched>>,
    lease: Cell<Lease>,
}

#[derive(Debug, Clone)]
struct Watched {
    meter: Arc<Meter>,
    connections_max: Option<u32>,
    rate: Option<Terms>,
}

impl Seats {
    /// Of one of `workers` workers. Their clocks are one ([`meridian_sys::Clock`]).
    pub(crate) fn new(workers: usize) -> Seats {
        Seats {
            workers,
            tenants: HashMap::new(),
            numbers: HashMap::new(),
            places: Vec::new(),
        }
    }

    /// The seat of a site, whose limits are those of `site` from now on.
    pub(crate) fn of_site(
        &mut self,
        site: &Site,
        meters: Option<&SiteMeters>,
        now_ns: u64,
    ) -> Seat {
        let tenant = Rc::clone(self.tenants.entry(site.tenant_id).or_default());
        let seat = match self.numbers.get(&site.id) {
            Some(&seat) => seat,
            None => {
                let seat = Seat(self.places.len() as u32);
                self.places.push(Place {
                    tenant: Rc::clone(&tenant),
                    site: Account::default(),
                });
                self.numbers.insert(site.id, seat);
                seat
            }
        };
        let limits = site.limits.as_deref();
        let watched = |meter: Option<&Arc<Meter>>, of: fn(&Limits) -> Allowance| {
            let Allowance { connections, rate } = of(limits?);
            Some(Watched {
                meter: Arc::clone(meter?),
                connections_max: connections,
                rate: rate.map(|rate| Terms::new(rate, self.workers)),
            })
        };
        let of_tenant = meters.and_then(|it| it.tenant.as_ref());
        tenant.watch(watched(of_tenant, |limits| limits.tenant), now_ns);
        let of_site = meters.and_then(|it| it.site.as_ref());
        let place = &self.places[seat.0 as usize];
        place
            .site
            .watch(watched(of_site, |limits| limits.site), now_ns);
        seat
    }

    /// One connection more; whether there may be.
    pub(crate) fn take(&self, seat: Seat) -> bool {
        let Place { tenant, site } = &self.places[seat.0 as usize];
        if !tenant.enter() {
            return false;
        }
        let entered = site.enter();
        if !entered {
            tenant.leave();
        }
        entered
    }

    /// One connection less.
    pub(crate) fn leave(&self, seat: Seat) {
        let Place { tenant, site } = &self.places[seat.0 as usize];
        tenant.leave();
        site.leave();
    }

    /// One request more, of which the worker's clock says that it came at `now_ns`. The error is how
    /// long it takes until there may be one.
    pub(crate) fn spend(&self, seat: Seat, now_ns: u64) -> Result<(), Duration> {
        let Place { tenant, site } = &self.places[seat.0 as usize];
        // What a site is refused its tenant keeps for others.
        site.spend(now_ns)?;
        let spent = tenant.spend(now_ns);
        if spent.is_err() {
            site.unspend();
        }
        spent
    }
}

impl Account {
    fn enter(&self) -> bool {
        let watched = self.watched.borrow();
        match watched.as_ref().map(|it| (&it.meter, it.connections_max)) {
            Some((meter, Some(most))) if !meter.try_enter(most) => return false,
            Some((meter, None)) => meter.enter(1),
            Some((_, Some(_))) | None => {}
        }
        self.connections.set(self.connections.get() + 1);
        true
    }

    fn leave(&self) {
        self.connections.set(self.connections.get() - 1);
        if let Some(watched) = &*self.watched.borrow() {
            watched.meter.leave(1);
        }
    }

    fn spend(&self, now_ns: u64) -> Result<(), Duration> {
        let watched = self.watched.borrow();
        let Some((Some(terms), meter)) = watched.as_ref().map(|it| (it.rate, &it.meter)) else {
            return Ok(());
        };
        let mut lease = self.lease.get();
        let spent = lease.spend(&meter.bucket, terms, now_ns);
        self.lease.set(lease);
        spent
    }

    fn unspend(&self) {
        let is_limited = |watched: &Watched| watched.rate.is_some();
        if self.watched.borrow().as_ref().is_some_and(is_limited) {
            let mut lease = self.lease.get();
            lease.unspend();
            self.lease.set(lease);
        }
    }

    /// Counts where `next` says from now on, what is open already too.
    fn watch(&self, next: Option<Watched>, now_ns: u64) {
        let mut watched = self.watched.borrow_mut();
        let meter = |it: &Option<Watched>| it.as_ref().map(|it| Arc::as_ptr(&it.meter));
        let terms = |it: &Option<Watched>| it.as_ref().and_then(|it| it.rate);
        let is_other = meter(&watched) != meter(&next);
        if is_other {
            let open = self.connections.get();
            next.iter().for_each(|it| it.meter.enter(open));
            watched.iter().for_each(|it| it.meter.leave(open));
        }
        if is_other || terms(&watched) != terms(&next) {
            // What is held of the old rate is none of the new one's.
            self.lease.set(Lease::default());
            if let Some((meter, Some(terms))) = next.as_ref().map(|it| (&it.meter, it.rate)) {
                meter.bucket.settle(terms, now_ns);
            }
        }
        *watched = next;
    }
}
