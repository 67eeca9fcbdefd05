//! How a request comes to its backend: its visitor's, or the one that the pool's algorithm picks, at
//! once or after a wait for room there.

use super::Exchange;
use crate::balance::stable_hash;
use crate::http::reject::Reject;
use crate::pool_queue::{PoolQueue, Waiter, Wish};
use crate::site::{LocalSite, Pick, Picked};
use crate::sticky::{Tag, Visitor};
use crate::upstream::Upstream;
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

/// How often one does that stands behind others: whether there is a newer revision, or its client is
/// gone. When it is the first it looks as often as the first.
const QUEUE_LOOK_INTERVAL_BEHIND: Duration = Duration::from_secs(1);

/// Why a request comes to no backend.
pub(super) enum Unpicked {
    /// There is none that may be used.
    Nobody,
    /// There was no room.
    Refused(Reject),
    /// The client did not wait.
    ClientGone,
}

/// The pool of a request in a revision after the one that it began under.
///
/// Its rules stay those that it began under. But where it has to wait for a backend, or finds none,
/// it goes by what there is now: what it waits for may be gone, and what it needs may be there.
pub(super) struct Newer {
    site: Rc<LocalSite>,
    pool: usize,
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

impl<'c> Exchange<'c> {
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
        tried: &[Rc<Upstream>],
    ) -> Result<Pick, Unpicked> {
        let next = match stays {
            true => Picked::Backend(before),
            false => {
                // Its place there is another's now.
                drop(before);
                self.look_again(tried)
            }
        };
        if !matches!(next, Picked::Nobody) && !self.request.site.spend_retry() {
            self.worker.board().retries_refused.add(1);
            return Err(Unpicked::Nobody);
        }
        self.wait_for(next, tried).await
    }

    /// A backend of the pool that the request was routed to, but those that were tried.
    async fn pick(&mut self, tried: &[Rc<Upstream>]) -> Result<Pick, Unpicked> {
        let picked = self.look_again(tried);
        self.wait_for(picked, tried).await
    }

    /// Looks for a backend once more: there may be others by now.
    fn look_again(&mut self, tried: &[Rc<Upstream>]) -> Picked {
        match self.look(tried, false) {
            Picked::Nobody => self.look_at_newer(tried).unwrap_or(Picked::Nobody),
            picked => picked,
        }
    }

    /// Where its backends are picked: the site, and the place of the pool there.
    pub(super) fn home(&self) -> (&Rc<LocalSite>, usize) {
        match &self.newer {
            Some(newer) => (&newer.site, newer.pool),
            None => (&self.request.site, self.request.forward().pool),
        }
    }

    /// Goes by the newest revision of its pool, where that has backends for it: what is found there
    /// by one who comes. `None` where it does so already, or finds nothing, and goes on as before.
    fn look_at_newer(&mut self, tried: &[Rc<Upstream>]) -> Option<Picked> {
        let (site, pool) = self.home();
        let newest = self.worker.newest(site.site().id)?;
        if Rc::ptr_eq(&newest, site) {
            return None;
        }
        let pool = newest.place_of(site.site().pools[pool].id)?;
        let newer = Box::new(Newer { site: newest, pool });
        let before = self.newer.replace(newer);
        match self.look(tried, false) {
            Picked::Nobody => {
                self.newer = before;
                None
            }
            picked => Some(picked),
        }
    }

    async fn wait_for(&mut self, picked: Picked, tried: &[Rc<Upstream>]) -> Result<Pick, Unpicked> {
        match picked {
            Picked::Backend(pick) => Ok(pick),
            Picked::Nobody => Err(Unpicked::Nobody),
            // Large beside what each request needs.
            Picked::Full(wish) => Box::pin(self.stand_in_line(wish, tried)).await,
        }
    }

    /// Looks for a backend: as one who comes, or as the `first` of those who wait.
    fn look(&self, tried: &[Rc<Upstream>], first: bool) -> Picked {
        let (site, pool) = self.home();
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
    async fn stand_in_line(
        &mut self,
        wish: Wish,
        tried: &[Rc<Upstream>],
    ) -> Result<Pick, Unpicked> {
        let runtime = &self.worker.runtime;
        let _other_end = runtime.promise(self.request.site.class());
        let (site, pool) = self.home();
        let Some(rules) = site.site().pools[pool].queue.clone() else {
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
            let picked = match self.look_at_newer(tried) {
                None if line.waiter.is_first() => Some(self.look(tried, true)),
                picked => picked,
            };
            match picked {
                Some(Picked::Backend(pick)) => return Ok(pick),
                Some(Picked::Nobody) => return Err(Unpicked::Nobody),
                // It may be another one now: there is a newer revision, or the backend of its
                // visitor went down.
                Some(Picked::Full(wish)) if wish != *line.waiter.wish() => {
                    line = self.change(line, wish)?;
                    continue;
                }
                Some(Picked::Full(_)) | None => {}
            }
            if deadline_ns <= runtime.now_ns() {
                return Err(Unpicked::Refused(Reject::QueueSlow));
            }
            let interval = match line.waiter.is_first() {
                true => QUEUE_LOOK_INTERVAL,
                false => QUEUE_LOOK_INTERVAL_BEHIND,
            };
            let look_ns = runtime.deadline(interval).min(deadline_ns);
            runtime.stirred(look_ns).await;
        }
    }

    /// Stands at the end of the line, unless `most` do already.
    fn enter(&self, wish: Wish, most: u32) -> Result<InLine<'c>, Unpicked> {
        let (site, pool) = self.home();
        let Some(queue) = site.queue(pool).map(Arc::clone) else {
            return Err(Unpicked::Nobody);
        };
        let Some(waiter) = queue.enter(wish, most, self.worker.caller()) else {
            return Err(Unpicked::Refused(Reject::QueueFull));
        };
        self.worker.board().queued.add(1);
        Ok(self.in_line(queue, waiter))
    }

    /// Waits for something else from here on, and has come no later for that.
    fn change(&self, line: InLine<'c>, wish: Wish) -> Result<InLine<'c>, Unpicked> {
        let (site, pool) = self.home();
        let Some(queue) = site.queue(pool).map(Arc::clone) else {
            return Err(Unpicked::Nobody);
        };
        let before = Arc::clone(&line.waiter);
        let is_same = Arc::ptr_eq(&queue, &line.queue);
        drop(line);
        let before = is_same.then_some(&*before);
        match queue.enter_again(wish, before, self.worker.caller()) {
            Some(waiter) => Ok(self.in_line(queue, waiter)),
            None => Err(Unpicked::Refused(Reject::QueueFull)),
        }
    }

    fn in_line(&self, queue: Arc<PoolQueue>, waiter: Arc<Waiter>) -> InLine<'c> {
        let (site, pool) = self.home();
        self.worker.board().waiting.add(1);
        InLine {
            worker: self.worker,
            site: Rc::clone(site),
            pool,
            queue,
            waiter,
            left: false,
        }
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
        let _other_end = runtime.promise(self.request.site.class());
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
        let (site, pool) = self.home();
        match self.new_tag {
            Some(tag) => {
                board.sticky_set.add(1);
                if matches!(visitor, Visitor::Unknown(_)) {
                    board.sticky_unknown.add(1);
                }
                site.set_cookie_line(pool, tag, self.connection.is_secure())
            }
            None => {
                board.sticky_kept.add(1);
                Vec::new()
            }
        }
    }
}

impl InLine<'_> {
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
        self.worker.board().waiting.subtract(1);
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
