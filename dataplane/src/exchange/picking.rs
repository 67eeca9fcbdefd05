//! How a request comes to its backend: its visitor's, or the one that the pool's algorithm picks, at
//! once or after a wait for room there.

use super::Exchange;
use crate::balance::stable_hash;
use crate::http::reject::Reject;
use crate::pool_queue::{PoolQueue, Waiter, Wish};
use crate::site::{LocalSite, Pick, Picked};
use crate::sticky::{Tag, Visitor};
use crate::worker::Worker;
use meridian_model::snapshot::HashInput;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether a name was resolved that a request waits for.
const NAMES_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How often a request that waits for room looks by itself: what ends at a backend wakes it, that a
/// backend came up or was given more room does not.
const QUEUE_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Why a request comes to no backend.
pub(super) enum Unpicked {
    /// There is none that may be used.
    Nobody,
    /// There was no room.
    Refused(Reject),
    /// The client did not wait.
    ClientGone,
}

/// A request in line, until it leaves.
struct InLine<'w> {
    worker: &'w Worker,
    site: Rc<LocalSite>,
    pool: usize,
    queue: Arc<PoolQueue>,
    waiter: Arc<Waiter>,
    /// It left with what it was given.
    left: bool,
}

impl Exchange<'_> {
    /// The first backend that is tried.
    pub(super) async fn first_pick(&mut self) -> Result<Pick, Unpicked> {
        let picked = self.look(&[], false);
        if matches!(picked, Picked::Nobody) && self.request.site.awaits_names() {
            // Few requests come here.
            Box::pin(self.await_names()).await?;
            return self.pick(&[]).await;
        }
        self.wait_for(picked, &[]).await
    }

    /// The backend of another try, as long as the budget lasts: the same, or one of those that were
    /// not tried. Nobody gets in line for a try that may not be made, and where there is nobody
    /// to try, nothing is spent.
    pub(super) async fn pick_again(
        &mut self,
        before: Pick,
        stays: bool,
        tried: &[u32],
    ) -> Result<Pick, Unpicked> {
        let next = match stays {
            true => Picked::Backend(before),
            false => {
                // Its place there is another's now.
                drop(before);
                self.look(tried, false)
            }
        };
        if !matches!(next, Picked::Nobody) && !self.request.site.spend_retry() {
            self.worker.board().retries_refused.add(1);
            return Err(Unpicked::Nobody);
        }
        self.wait_for(next, tried).await
    }

    /// A backend of the pool that the request was routed to, but those that were tried.
    async fn pick(&mut self, tried: &[u32]) -> Result<Pick, Unpicked> {
        let picked = self.look(tried, false);
        self.wait_for(picked, tried).await
    }

    async fn wait_for(&mut self, picked: Picked, tried: &[u32]) -> Result<Pick, Unpicked> {
        match picked {
            Picked::Backend(pick) => Ok(pick),
            Picked::Nobody => Err(Unpicked::Nobody),
            // Large beside what each request needs.
            Picked::Full(wish) => Box::pin(self.stand_in_line(wish, tried)).await,
        }
    }

    /// Looks for a backend: as one who comes, or as the `first` of those who wait.
    fn look(&self, tried: &[u32], first: bool) -> Picked {
        let (site, pool) = (&self.request.site, self.request.forward().pool);
        let now_ns = self.worker.runtime.now_ns();
        if let Some(tag) = self.request.visitor.and_then(Visitor::tag) {
            match site.stay(pool, tag, tried, first) {
                Picked::Nobody => {}
                picked => return picked,
            }
        }
        site.pick(pool, tried, now_ns, first, |input| self.hash_of(input))
    }

    /// Waits for a place at a backend, as long as the pool says.
    async fn stand_in_line(&self, wish: Wish, tried: &[u32]) -> Result<Pick, Unpicked> {
        let runtime = &self.worker.runtime;
        let pool = self.request.forward().pool;
        let Some(rules) = self.request.site.site().pools[pool].queue.clone() else {
            return Err(Unpicked::Refused(Reject::QueueFull));
        };
        let deadline_ns = match self.queue_deadline_ns.get() {
            0 => runtime.deadline(rules.timeout),
            of_earlier_try => of_earlier_try,
        };
        self.queue_deadline_ns.set(deadline_ns);
        let mut line = self.enter(wish, rules.requests)?;
        loop {
            if let Some(pick) = line.take() {
                return Ok(pick);
            }
            // With much behind its head nothing is received that would tell.
            if self.client.is_broken() || self.client.is_reset() {
                return Err(Unpicked::ClientGone);
            }
            if line.is_first() {
                match self.look(tried, true) {
                    Picked::Backend(pick) => return Ok(pick),
                    Picked::Nobody => return Err(Unpicked::Nobody),
                    // It may be another one now: the backend of its visitor went down.
                    Picked::Full(wish) if !wish.is_like(line.waiter.wish()) => {
                        drop(line);
                        line = self.enter(wish, rules.requests)?;
                        continue;
                    }
                    Picked::Full(_) => {}
                }
            }
            if deadline_ns <= runtime.now_ns() {
                return Err(Unpicked::Refused(Reject::QueueSlow));
            }
            let look_ns = runtime.deadline(QUEUE_LOOK_INTERVAL).min(deadline_ns);
            runtime.stirred(look_ns).await;
        }
    }

    fn enter(&self, wish: Wish, most: u32) -> Result<InLine<'_>, Unpicked> {
        let pool = self.request.forward().pool;
        let site = Rc::clone(&self.request.site);
        let Some(queue) = site.queue(pool).map(Arc::clone) else {
            return Err(Unpicked::Nobody);
        };
        let notifier = self.worker.runtime.notifier();
        let Some(waiter) = queue.enter(wish, most, notifier) else {
            return Err(Unpicked::Refused(Reject::QueueFull));
        };
        self.worker.begin_waiting(&waiter);
        Ok(InLine {
            worker: self.worker,
            site,
            pool,
            queue,
            waiter,
            left: false,
        })
    }

    /// The hash of what a pool may go by, the same on every host.
    fn hash_of(&self, input: HashInput) -> u64 {
        match input {
            HashInput::Source => {
                match self.client.peer_address().map(|it| it.ip().to_canonical()) {
                    Ok(IpAddr::V4(address)) => stable_hash(&address.octets()),
                    Ok(IpAddr::V6(address)) => stable_hash(&address.octets()),
                    Err(_) => 0,
                }
            }
            // It stands between the first two spaces of the head that we wrote.
            HashInput::Uri => {
                let mut words = self.request.head.split(|&byte| byte == b' ');
                stable_hash(words.nth(1).unwrap_or_default())
            }
        }
    }

    /// Waits for the first lookup of a name to end, as long as a connection may take: after a
    /// change of configuration no request is to fail because it came first.
    async fn await_names(&mut self) -> Result<(), Unpicked> {
        let runtime = &self.worker.runtime;
        let deadline_ns = runtime.deadline(self.request.site.site().timeouts.connect);
        while self.request.site.awaits_names() && runtime.now_ns() < deadline_ns {
            if self.client.is_broken() {
                return Err(Unpicked::ClientGone);
            }
            let look_ns = runtime.deadline(NAMES_LOOK_INTERVAL).min(deadline_ns);
            runtime.stirred(look_ns).await;
            self.request.site = self.worker.resolved(&self.request.site);
        }
        Ok(())
    }

    /// What a response of this backend has the visitor remember that it does not yet.
    pub(super) fn tag_to_set(&self, picked: &Pick) -> Option<Tag> {
        let visitor = self.request.visitor?;
        let is_known = |tag: &Tag| visitor.tag().is_some_and(|known| known.is(*tag));
        picked.tag.filter(|tag| !is_known(tag))
    }

    /// The line of a final response that sets the pool's cookie; empty where it is set already, or
    /// there is none.
    pub(super) fn cookie_line(&self) -> Vec<u8> {
        let Some(visitor) = self.request.visitor else {
            return Vec::new();
        };
        let board = self.worker.board();
        let pool = self.request.forward().pool;
        match self.new_tag {
            Some(tag) => {
                board.sticky_set.add(1);
                if matches!(visitor, Visitor::Unknown(_)) {
                    board.sticky_unknown.add(1);
                }
                self.request.site.set_cookie_line(pool, tag)
            }
            None => {
                board.sticky_kept.add(1);
                Vec::new()
            }
        }
    }
}

impl InLine<'_> {
    fn is_first(&self) -> bool {
        self.queue.is_first(&self.waiter)
    }

    /// The place that it was given.
    fn take(&mut self) -> Option<Pick> {
        if !self.waiter.is_granted() {
            return None;
        }
        self.leave()
    }

    fn leave(&mut self) -> Option<Pick> {
        if self.left {
            return None;
        }
        self.left = true;
        self.worker.end_waiting(&self.waiter);
        let key = self.queue.leave(&self.waiter)?;
        self.site.take_given(self.pool, &key)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // What it was given meanwhile goes to the next.
        drop(self.leave());
    }
}
