//! The thread that checks backends: when each is due, and tenants in turns.
//!
//! It waits in one epoll_wait(2) for connections, for changes of the routing and for the time. Why
//! not on the control thread's glommio: docs/decisions/0014-health-checks.md.

use super::check::{Check, Progress};
use super::handshake::TlsClient;
use super::target::{Phase, Target, Wanted};
use super::telling::Telling;
use super::timers::{Due, Timers};
use super::tls_failure::TlsFailure;
use super::turns::Turns;
use super::verdict::{Failure, Standing, Success};
use super::{HealthChecks, TrafficReport};
use crate::backend_state::Health;
use crate::peers::LostSites;
use crate::routing::{Routing, ServedSite};
use crate::tls::BackendConfigs;
use arc_swap::ArcSwap;
use meridian_model::limits::{
    HEALTH_CHECK_LATE_MS, HEALTH_CHECK_PAUSE_MS, HEALTH_CHECKS_AT_ONCE_MAX,
    HEALTH_FIRST_SPREAD_MS_MAX, HEALTH_JITTER_PERCENT, HEALTH_TLS_CLOSE_MS,
};
use meridian_model::snapshot::{BackendKey, Site, SiteId};
use meridian_sys::process::random_bytes;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::collections::HashMap;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Events that one wait may give; the others come with the next one.
const EVENTS_AT_ONCE: usize = 256;
/// The event of a call to [`HealthChecks::wake`]; targets are numbered from 0.
const WAKE: u64 = u64::MAX;

pub(super) struct Checker {
    health: Arc<HealthChecks>,
    routing: Arc<ArcSwap<Routing>>,
    /// The routing that `targets` are of; 0: none yet.
    serial: u64,
    reports: mpsc::Receiver<TrafficReport>,
    lost_sites: Arc<LostSites>,
    epoll: OwnedFd,
    targets: HashMap<u64, Target>,
    next_number: u64,
    /// Each site that has targets, with their numbers.
    sites: HashMap<SiteId, Vec<u64>>,
    by_key: HashMap<BackendKey, u64>,
    timers: Timers,
    turns: Turns,
    telling: Telling,
    tls: TlsClient,
    backend_tls: BackendConfigs,
    chance: u64,
}

impl Checker {
    /// The checker of the backends of `routing`.
    pub(super) fn new(
        health: Arc<HealthChecks>,
        routing: Arc<ArcSwap<Routing>>,
        reports: mpsc::Receiver<TrafficReport>,
        backend_tls: BackendConfigs,
        lost_sites: Arc<LostSites>,
    ) -> std::io::Result<Checker> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, &health.wake, wake, epoll::EventFlags::IN)?;
        let now = Instant::now();
        Ok(Checker {
            turns: Turns::new(health.under_way_max),
            health,
            routing,
            serial: 0,
            reports,
            lost_sites,
            epoll,
            targets: HashMap::new(),
            next_number: 0,
            sites: HashMap::new(),
            by_key: HashMap::new(),
            timers: Timers::new(now),
            telling: Telling::new(now),
            tls: TlsClient::new()?,
            backend_tls,
            chance: u64::from_ne_bytes(random_bytes()?),
        })
    }

    /// Checks as long as the process lives.
    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let now = Instant::now();
            self.take_up_routing(now);
            self.take_reports(now);
            self.fire_timers(now);
            let is_behind = self.begin_checks(now);
            self.telling.turn_over(now);
            self.wait(is_behind, &mut events);
            let now = Instant::now();
            for event in events.drain(..) {
                match event.data.u64() {
                    WAKE => self.health.forget_wakes(),
                    number => self.advance(number, now),
                }
            }
        }
    }

    /// Takes up what changed since it last did, in proportion to that.
    fn take_up_routing(&mut self, now: Instant) {
        let routing = self.routing.load();
        if routing.serial == self.serial {
            return;
        }
        let routing = Arc::clone(&routing);
        let changed = match self.serial {
            0 => None,
            serial => routing.changed_since(serial, usize::MAX),
        };
        let changed = changed.unwrap_or_else(|| {
            let known = self.sites.keys().copied();
            let served = routing.snapshot.sites.iter().map(|(id, _)| id);
            served.chain(known).collect()
        });
        self.serial = routing.serial;
        for id in changed {
            self.take_up_site(id, routing.served(id).map(|it| &**it), now);
            self.lost_sites.look_at(id);
        }
    }

    /// Targets that a site still has keep what is known of them.
    fn take_up_site(&mut self, id: SiteId, served: Option<&ServedSite>, now: Instant) {
        let before = self.sites.remove(&id).unwrap_or_default();
        let mut numbers = Vec::new();
        if let Some(served) = served {
            for wanted in Wanted::of_site(served) {
                numbers.push(self.take_up_target(wanted, served.site(), now));
            }
        }
        let mut kept = numbers.clone();
        kept.sort_unstable();
        for number in before {
            if kept.binary_search(&number).is_err() {
                self.remove(number, served);
            }
        }
        if !numbers.is_empty() {
            self.sites.insert(id, numbers);
        }
    }

    fn take_up_target(&mut self, wanted: Wanted, site: &Arc<Site>, now: Instant) -> u64 {
        if let Some(&number) = self.by_key.get(&wanted.key)
            && let Some(target) = self.targets.get_mut(&number)
            && target.is(&wanted)
        {
            let is_changed = target.take_up(wanted, site);
            if is_changed && matches!(target.phase, Phase::Waiting) {
                self.plan_first(number, now);
            }
            return number;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.by_key.insert(wanted.key.clone(), number);
        self.targets.insert(number, wanted.into_target(site));
        self.plan_first(number, now);
        number
    }

    /// Looks at a backend no more; its site is served like this now, if it is.
    fn remove(&mut self, number: u64, served: Option<&ServedSite>) {
        let Some(target) = self.targets.remove(&number) else {
            return;
        };
        if matches!(target.phase, Phase::UnderWay(..)) {
            self.turns.end(target.tenant());
        }
        // Another may have its key by now, with a state of its own.
        if self.by_key.get(&target.key) == Some(&number) {
            self.by_key.remove(&target.key);
        }
        // Of one that is gone what is known stays: requests that began before may still be sent
        // there. It is as new should it come back.
        let stays = served.and_then(|served| served.backend_state(&target.key));
        if stays.is_some_and(|state| Arc::ptr_eq(&state, &target.state)) {
            let reason = "not checked any more";
            target.state.set_health(Health::Unchecked, reason);
        }
    }

    /// A first check comes by chance within an interval, so that checks do not march in step.
    fn plan_first(&mut self, number: u64, now: Instant) {
        let spread = match self.targets.get(&number) {
            Some(target) => target.how.interval,
            None => return,
        };
        let spread = spread.min(Duration::from_millis(HEALTH_FIRST_SPREAD_MS_MAX));
        let wait = spread.mul_f64(self.chance());
        self.plan(number, now + wait);
    }

    /// The next check comes an interval after the last one began, give or take a tenth.
    fn plan_next(&mut self, number: u64, began: Instant, now: Instant) {
        let Some(interval) = self.targets.get(&number).map(|it| it.how.interval) else {
            return;
        };
        let jitter = HEALTH_JITTER_PERCENT / 100.0 * (2.0 * self.chance() - 1.0);
        self.plan(number, now.max(began + interval.mul_f64(1.0 + jitter)));
    }

    fn plan(&mut self, number: u64, at: Instant) {
        if let Some(target) = self.targets.get_mut(&number) {
            target.timer = Some(self.timers.set(at, number));
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some((due, numbers)) = self.timers.take(now) {
            for number in numbers {
                self.fire(due, number, now);
            }
        }
    }

    fn fire(&mut self, due: Due, number: u64, now: Instant) {
        let Some(target) = self.targets.get_mut(&number) else {
            return;
        };
        if target.timer != Some(due) {
            return;
        }
        target.timer = None;
        match &mut target.phase {
            Phase::Ready => {}
            Phase::Waiting => {
                let due = self.timers.at(due);
                self.hasten(number, due);
            }
            Phase::UnderWay(check, _) => {
                let concluded = check.conclude();
                self.conclude(number, &concluded, now);
            }
        }
    }

    /// Begins checks that are due. Whether there are more than are begun at once.
    fn begin_checks(&mut self, now: Instant) -> bool {
        for _ in 0..HEALTH_CHECKS_AT_ONCE_MAX {
            let Some((number, due)) = self.turns.take() else {
                return false;
            };
            let is_ready = |it: &Target| matches!(it.phase, Phase::Ready);
            if !self.targets.get(&number).is_some_and(is_ready) {
                continue;
            }
            if now > due + Duration::from_millis(HEALTH_CHECK_LATE_MS) {
                self.health.late.fetch_add(1, Ordering::Relaxed);
            }
            self.begin(number, now);
        }
        true
    }

    fn begin(&mut self, number: u64, now: Instant) {
        let Some(target) = self.targets.get_mut(&number) else {
            return;
        };
        if !target.is_used() {
            target.standing = Standing::Unknown;
            target.phase = Phase::Waiting;
            let reason = "this host does not use its group";
            target.state.set_health(Health::Unchecked, reason);
            self.plan_next(number, now, now);
            return;
        }
        if let Err(refusal) = target.may_connect(&self.routing.load().snapshot.policy) {
            self.conclude(number, &Err(Failure::Refused(refusal)), now);
            return;
        }
        let (how, key) = (&target.how, &target.key);
        let begun = Check::begin(how, key, &self.tls, &self.backend_tls).and_then(|check| {
            let data = epoll::EventData::new_u64(number);
            // Of memory or watches of the user there may be none left.
            let added = epoll::add(&self.epoll, &check, data, epoll::EventFlags::OUT);
            added.map(|()| check).map_err(|_| Failure::Resources)
        });
        match begun {
            Ok(check) => {
                let deadline = now + target.how.timeout;
                let tenant = target.tenant();
                target.phase = Phase::UnderWay(Box::new(check), now);
                self.turns.begin(tenant);
                self.plan(number, deadline);
            }
            Err(failure) => self.conclude(number, &Err(failure), now),
        }
    }

    fn advance(&mut self, number: u64, now: Instant) {
        let Some(target) = self.targets.get_mut(&number) else {
            return;
        };
        let Phase::UnderWay(check, began) = &mut target.phase else {
            return;
        };
        let (what, until) = match check.advance() {
            Progress::Waits(what) => (what, None),
            Progress::Closes(what) => {
                let closed = now + Duration::from_millis(HEALTH_TLS_CLOSE_MS);
                (what, Some(closed.min(*began + check.timeout())))
            }
            Progress::Over(over) => return self.conclude(number, &over, now),
        };
        let data = epoll::EventData::new_u64(number);
        if epoll::modify(&self.epoll, check, data, what).is_err() {
            return self.conclude(number, &Err(Failure::Resources), now);
        }
        if let Some(until) = until {
            self.plan(number, until);
        }
    }

    /// A check has ended; its connection ends with it.
    fn conclude(&mut self, number: u64, over: &Result<Success, Failure>, now: Instant) {
        let Some(target) = self.targets.get_mut(&number) else {
            return;
        };
        let mut began = now;
        if let Phase::UnderWay(_, since) = target.phase {
            began = since;
            self.turns.end(target.site.tenant_id);
        }
        target.phase = Phase::Waiting;
        match over {
            Err(Failure::Resources) => {
                let pause = Duration::from_millis(HEALTH_CHECK_PAUSE_MS);
                target.pauses_until = Some(now + pause);
                self.health
                    .without_resources
                    .fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => target.state.experience().checks.add(1),
            Err(failure) => {
                target.state.experience().checks.add(1);
                target.state.experience().check_failures.add(1);
                if matches!(failure, Failure::Tls(TlsFailure::TooLong)) {
                    self.health.too_long.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.judge(number, over, now);
        self.plan_next(number, began, now);
    }

    /// What requests met since it last looked.
    fn take_reports(&mut self, now: Instant) {
        while let Ok(TrafficReport { key, failure }) = self.reports.try_recv() {
            let Some(&number) = self.by_key.get(&key) else {
                continue;
            };
            let Some(target) = self.targets.get(&number) else {
                continue;
            };
            match target.standing {
                Standing::Up(_) => self.judge(number, &Err(Failure::Traffic(failure)), now),
                // It would end as the last one did, and there may be thousands of requests.
                Standing::Unknown if target.pauses_until > Some(now) => {}
                // One request is not to say what only the first check says: that is made now.
                Standing::Unknown => self.hasten(number, now),
                // Requests go to one that is down only when they were on their way.
                Standing::Down(_) => {}
            }
        }
    }

    /// Has the next check of a target not wait for its time.
    fn hasten(&mut self, number: u64, now: Instant) {
        if let Some(target) = self.targets.get_mut(&number)
            && matches!(target.phase, Phase::Waiting)
        {
            target.timer = None;
            target.phase = Phase::Ready;
            let tenant = target.tenant();
            self.turns.add(tenant, number, now);
        }
    }

    fn judge(&mut self, number: u64, over: &Result<Success, Failure>, now: Instant) {
        let Some(target) = self.targets.get_mut(&number) else {
            return;
        };
        let passed = match over {
            Err(Failure::Resources) => return,
            over => over.is_ok(),
        };
        let (rise, fall) = (target.how.rise, target.how.fall);
        target.standing = target.standing.after(passed, rise, fall);
        let health = match target.standing {
            Standing::Unknown => Health::Unchecked,
            Standing::Up(_) => Health::Up,
            Standing::Down(_) => Health::Down,
        };
        let before = target.state.health();
        if before == health {
            return;
        }
        let reason: &dyn Display = match over {
            Ok(success) => success,
            Err(failure) => failure,
        };
        let reason = reason.to_string();
        target.state.set_health(health, &reason);
        self.lost_sites.look_at(target.site.id);
        if (before, health) != (Health::Unchecked, Health::Up) {
            let (name, address) = (target.full_name(), target.key.address());
            let line = format!("backend {name} at {address} is {}: {reason}", health.word());
            self.telling.tell(now, &line);
        }
    }

    /// Waits until there is something to do; whole milliseconds, so that checks which are due
    /// within one begin together.
    fn wait(&mut self, is_behind: bool, events: &mut Vec<epoll::Event>) {
        let timers = self.timers.next();
        let next = timers.into_iter().chain(self.telling.due()).min();
        let wait = match is_behind {
            true => Some(Duration::ZERO),
            false => next.map(|at| at.saturating_duration_since(Instant::now())),
        };
        let wait = wait.map(|wait| {
            let millis = wait.as_nanos().div_ceil(1_000_000);
            Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
        });
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        // An error is an interruption: then there are no events, and all else is looked at.
        let _ = epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref());
    }

    /// A number from 0 up to 1, by splitmix64: to keep checks out of step takes no better one.
    fn chance(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / 2_f64.powi(64)
    }
}

#[cfg(test)]
mod tests;
