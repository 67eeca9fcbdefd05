//! One worker: a thread with its own ring, listeners, connections, pools and counters.

mod classes;
mod room;

pub(crate) use classes::TenantClass;

use crate::accept_queue::Accepted;
use crate::access_log::{Entry, LogQueue};
use crate::client::{self, ClientConnection, Known, Tls};
use crate::counters::{Causes, SiteCounters};
use crate::entrance::{Arrival, Entrance};
use crate::failures::Failures;
use crate::health::HealthChecks;
use crate::http::request::RequestHead;
use crate::limits::{Seat, Seats};
use crate::local_sites::LocalSites;
use crate::pages::PageWriter;
use crate::pool_queue::{Caller, Calls};
use crate::request_id::RequestIds;
use crate::routing::{Routing, ServedSite};
use crate::shared::{Shared, WorkerBoard};
use crate::site::LocalSite;
use crate::sticky::StickyKey;
use crate::tls::{BackendConfigs, Terminator};
use crate::upstream::Upstream;
use arc_swap::{ArcSwap, Cache};
use classes::Classes;
use meridian_model::limits::{
    CHANGED_SITES_AT_ONCE_MAX, FAILURE_TEXT_BYTES_MAX, LOG_TEXT_BYTES_MAX, SPARE_HEAD_BYTES_MAX,
    SPARE_HEADS_MAX, SWEEP_LOOKS_PER_TURN,
};
use meridian_model::snapshot::{Site, SiteId, TenantId};
use meridian_model::usage::NO_SITE;
use meridian_sys::{
    ClassId, Event, ListenerId, Origin, Runtime, RuntimeConfig, SetupError, Socket, SocketId, Stir,
};
use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// What of the sites that a revision changed is taken up at once, in looks of a sweep at one site; a
/// sweep does the rest. Sites of a few backends fit, and of large ones there is one a turn.
const WORK_AT_ONCE: usize = 4 * CHANGED_SITES_AT_ONCE_MAX * SITE_WORK;

/// What it takes to make a site anew, without its backends, in such looks.
const SITE_WORK: usize = 16;

/// What a tag has room for of the time when a header is due, or of the number of a seat.
const TAG_VALUE_MASK: u64 = (1 << 40) - 1;
/// The bit of a tag that says that it is a seat.
const TAG_SEAT: u64 = 1 << 57;
/// The bit that says that a handshake must come.
const TAG_AWAITED: u64 = 1 << 58;
/// The bit that says that it is where the connection's session is.
const TAG_SESSION: u64 = 1 << 59;

/// A listener of this worker.
#[derive(Debug)]
pub(crate) struct WorkerListener {
    /// The socket.
    pub(crate) socket: OwnedFd,
    /// The address it is bound to.
    pub(crate) address: SocketAddr,
    /// Whether its connections speak TLS.
    pub(crate) secure: bool,
}

/// What is known of a connection between its requests, packed into the tag of a parked socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// A client's connection.
    Client(Known),
    /// A pooled connection of the upstream with this number.
    Upstream(u32),
}

impl Tag {
    fn pack(self) -> u64 {
        match self {
            Tag::Client(Known {
                port,
                counted,
                header_due_ms,
                seat,
                tls,
            }) => {
                // Milliseconds of 34 years, and nobody has a seat who has not said whose it is.
                debug_assert!(header_due_ms <= TAG_VALUE_MASK);
                debug_assert!(header_due_ms == 0 || seat.is_none());
                let value = match (tls, seat) {
                    (Tls::Session(place), _) => TAG_SESSION | u64::from(place) << 17,
                    (_, Some(seat)) => TAG_SEAT | u64::from(seat.number()) << 17,
                    (Tls::Awaited, None) => TAG_AWAITED | (header_due_ms & TAG_VALUE_MASK) << 17,
                    (Tls::Off, None) => (header_due_ms & TAG_VALUE_MASK) << 17,
                };
                value | u64::from(port) << 1 | u64::from(counted)
            }
            Tag::Upstream(number) => 1 << 63 | u64::from(number),
        }
    }

    fn unpack(bits: u64) -> Tag {
        if bits >> 63 == 1 {
            Tag::Upstream(bits as u32)
        } else {
            let value = bits >> 17 & TAG_VALUE_MASK;
            let is_seat = bits & TAG_SEAT != 0;
            let tls = match bits & (TAG_AWAITED | TAG_SESSION) {
                0 => Tls::Off,
                TAG_AWAITED => Tls::Awaited,
                _ => Tls::Session(value as u32),
            };
            let is_due = !is_seat && !matches!(tls, Tls::Session(_));
            Tag::Client(Known {
                port: (bits >> 1) as u16,
                tls,
                header_due_ms: if is_due { value } else { 0 },
                seat: is_seat.then(|| Seat::of_number(value as u32)),
                counted: bits & 1 == 1,
            })
        }
    }
}

/// What a worker is given of its own.
#[derive(Debug)]
pub(crate) struct Equipment {
    /// Where it counts.
    pub(crate) pages: PageWriter,
    /// What its requests are called.
    pub(crate) request_ids: RequestIds,
    /// Where it tells of requests; none where the host has no access log.
    pub(crate) log: Option<LogQueue>,
    /// Where it accepts connections.
    pub(crate) listeners: Vec<WorkerListener>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The worker's number, from 0.
    pub(crate) index: usize,
    /// Its runtime.
    pub(crate) runtime: Runtime,
    shared: Arc<Shared>,
    routing: RefCell<Cache<Arc<ArcSwap<Routing>>, Arc<Routing>>>,
    sites: RefCell<LocalSites>,
    /// Some of them may be outdated.
    sweeping: Cell<bool>,
    pages: RefCell<PageWriter>,
    no_site: SiteCounters,
    classes: Classes,
    seats: RefCell<Seats>,
    upstreams: RefCell<Vec<Option<Rc<Upstream>>>>,
    free_upstreams: RefCell<Vec<u32>>,
    /// Of its listeners: the port, and whether it is for TLS.
    ports: RefCell<Vec<(u16, bool)>>,
    tls: Terminator,
    spare_heads: RefCell<Vec<Rc<Vec<u8>>>>,
    scratch: RefCell<Vec<u8>>,
    request_ids: RequestIds,
    failures: RefCell<Failures>,
    /// None where the host has no access log.
    log: Option<RefCell<LogQueue>>,
    /// Requests that wait for room at a backend and are to look.
    calls: Arc<Calls>,
    date: Cell<(u64, [u8; 29])>,
    connections: Cell<u64>,
    /// The last question that was answered.
    answered: Cell<u64>,
    draining: Cell<bool>,
}

impl Worker {
    /// Makes the worker of the calling thread and lets it accept connections.
    pub(crate) fn new(
        index: usize,
        shared: Arc<Shared>,
        equipment: Equipment,
    ) -> Result<Rc<Worker>, SetupError> {
        let Equipment {
            mut pages,
            request_ids,
            log,
            listeners,
        } = equipment;
        let runtime = Runtime::new(RuntimeConfig {
            busy_polling: shared.busy_polling,
            buffers_max: shared.buffers_max,
            ..RuntimeConfig::default()
        })?;
        let routing = Cache::new(Arc::clone(&shared.routing));
        let seats = Seats::new(shared.workers.len());
        let calls = Calls::new(runtime.notifier());
        let tls = Terminator::new(shared.certificates.clone());
        let worker = Rc::new(Worker {
            index,
            runtime,
            shared,
            routing: RefCell::new(routing),
            sites: RefCell::default(),
            sweeping: Cell::new(false),
            no_site: pages.counters(NO_SITE),
            pages: RefCell::new(pages),
            classes: Classes::default(),
            seats: RefCell::new(seats),
            upstreams: RefCell::default(),
            free_upstreams: RefCell::default(),
            ports: RefCell::default(),
            tls,
            spare_heads: RefCell::default(),
            scratch: RefCell::default(),
            request_ids,
            failures: RefCell::default(),
            log: log.map(RefCell::new),
            calls,
            date: Cell::new((0, [b' '; 29])),
            connections: Cell::new(0),
            answered: Cell::new(0),
            draining: Cell::new(false),
        });
        let queues = &worker.shared.accept_queues;
        queues.open(index, worker.runtime.notifier());
        for listener in listeners {
            worker.runtime.listen(listener.socket);
            let port = listener.address.port();
            worker.ports.borrow_mut().push((port, listener.secure));
        }
        worker.take_up_routing();
        Ok(worker)
    }

    /// Serves until the drain ends.
    pub(crate) fn run(self: &Rc<Self>) -> std::io::Result<()> {
        let worker = Rc::clone(self);
        self.runtime.run(move |event| worker.handle(event))
    }

    fn handle(self: &Rc<Self>, event: Event) {
        match event {
            Event::Accepted(listener, socket) => self.accepted(listener, socket),
            Event::Stirred {
                socket,
                id,
                tag,
                why,
            } => match Tag::unpack(tag) {
                Tag::Upstream(number) => self.upstream_stirred(number, id, socket),
                Tag::Client(known) => {
                    let connection = ClientConnection::new(Rc::clone(self), socket, known);
                    if why == Stir::Deadline && known.header_due_ms > 0 {
                        self.board().proxy_headers_late.add(1);
                    }
                    match why {
                        Stir::Bytes => self.serve(connection),
                        Stir::Deadline => self.end_idle(connection),
                        Stir::Ended => {}
                    }
                }
            },
            Event::Notified => self.notified(),
            // No worker of this plane watches a UDP socket.
            Event::Readable(_) => {}
        }
    }

    /// The signed answer to a request that another host probes this one with.
    pub(crate) fn probed(&self, head: &RequestHead<'_>) -> Option<(String, Vec<u8>)> {
        self.shared.peers.answer(head, &self.shared, self.board())
    }

    /// Lets a connection of which bytes have come be served.
    pub(crate) fn serve(&self, connection: ClientConnection) {
        // One that was served before is its tenant's.
        let class = connection.stream().class();
        self.runtime.spawn(class, client::serve(connection));
    }

    /// Closes a connection that waits for a request.
    fn end_idle(&self, connection: ClientConnection) {
        if connection.stream().session().is_some() {
            let class = connection.stream().class();
            self.runtime.spawn(class, client::end(connection));
        }
    }

    /// This worker accepted a connection: it is served here, or by a worker that has fewer.
    fn accepted(self: &Rc<Self>, listener: ListenerId, socket: Socket) {
        let ports = self.ports.borrow();
        let (port, secure) = ports.get(listener.0 as usize).copied().unwrap_or_default();
        drop(ports);
        let arrival = self.shared.entrance.look_at(&socket);
        let queues = &self.shared.accept_queues;
        // Who is closed at once moves nowhere, and who is there when a stop was asked for neither.
        if matches!(arrival, Arrival::Client | Arrival::Proxy)
            && !self.draining.get()
            && let Some(other) = queues.claim(self.index)
        {
            let accepted = Accepted {
                descriptor: socket.into_descriptor(),
                port,
                secure,
                arrival,
            };
            self.hand_over(other, accepted);
        } else {
            queues.enter(self.index);
            self.take_in(socket, (port, secure), arrival);
        }
    }

    fn hand_over(self: &Rc<Self>, other: usize, accepted: Accepted) {
        let queues = &self.shared.accept_queues;
        match queues.hand_over(other, accepted) {
            Ok(()) => self.board().handed_over.add(1),
            Err(kept) => {
                self.board().accept_queue_full.add(1);
                queues.enter(self.index);
                self.take_over(kept);
            }
        }
    }

    /// Takes in a connection that has been on its way between workers.
    fn take_over(self: &Rc<Self>, accepted: Accepted) {
        let socket = self.runtime.adopt(accepted.descriptor);
        let Accepted { port, secure, .. } = accepted;
        self.take_in(socket, (port, secure), accepted.arrival);
    }

    /// A connection that is counted to this worker begins.
    fn take_in(self: &Rc<Self>, socket: Socket, (port, secure): (u16, bool), arrival: Arrival) {
        self.connections.set(self.connections.get() + 1);
        self.board().accepted.add(1);
        if let Ok(peer) = socket.peer_address() {
            socket.set_class(self.shared.entrance.line_of(peer.ip()));
        }
        // Nobody is closed for somebody who may not come in.
        let may_come_in = matches!(arrival, Arrival::Client | Arrival::Proxy);
        let has_room = !may_come_in || self.make_room(socket.class());
        let timeouts = self.with_routing(|routing| routing.snapshot.timeouts);
        let known = Known {
            port,
            counted: false,
            seat: None,
            tls: if secure { Tls::Awaited } else { Tls::Off },
            header_due_ms: match arrival {
                Arrival::Proxy => self.runtime.deadline(timeouts.head).div_ceil(1_000_000),
                Arrival::Client | Arrival::Denied | Arrival::Gone => 0,
            },
        };
        let connection = ClientConnection::new(Rc::clone(self), socket, known);
        if !has_room {
            self.board().clients_turned_away.add(1);
            return;
        }
        match arrival {
            // A browser opens connections ahead of need: until its first byte a connection
            // is idle, and the time for a head has not begun.
            // By TLS it has said something before that.
            Arrival::Client if secure => connection.park(timeouts.handshake),
            Arrival::Client => connection.park(timeouts.keep_alive),
            // A proxy has its client already, so nothing keeps it from saying so.
            Arrival::Proxy => connection.park(timeouts.head),
            Arrival::Denied => self.board().clients_denied.add(1),
            Arrival::Gone => {}
        }
    }

    fn upstream(&self, number: u32) -> Option<Rc<Upstream>> {
        let upstreams = self.upstreams.borrow();
        upstreams.get(number as usize).cloned().flatten()
    }

    fn upstream_stirred(&self, number: u32, id: SocketId, socket: Socket) {
        match self.upstream(number) {
            Some(upstream) => upstream.forget_idle(id, socket),
            None => drop(socket),
        }
    }

    /// Another thread has news: a revision, a drain, a question about our numbers, or a place at a
    /// backend for a request that waits.
    fn notified(self: &Rc<Self>) {
        self.wake_called();
        self.tls.wake_waiting(&self.runtime);
        self.take_up_routing();
        self.sweep();
        if self.shared.draining.load(Ordering::Acquire) && !self.draining.get() {
            self.begin_drain();
        }
        // Behind the drain: what comes at the last moment has some time for its request.
        let queues = &self.shared.accept_queues;
        queues.empty(self.index, |accepted| self.take_over(accepted));
        self.end_if_drained();
        let questions = self.shared.questions.load(Ordering::Acquire);
        if self.answered.replace(questions) != questions {
            let failures = self.failures.borrow();
            self.shared
                .each_question(|question| question.answer(self.index, &failures));
            self.publish();
        }
    }

    /// Takes up the newest routing: sites that it changed or dropped are forgotten, with the
    /// connections of backends that are gone, before its revision is acknowledged. Where they are
    /// many, a sweep does that after it: until it has come by, [`Worker::site`] and
    /// [`Worker::before_pooling`] let nobody see what is outdated.
    fn take_up_routing(&self) {
        let routing = Arc::clone(self.routing.borrow_mut().load());
        let served = self.board().routing.get();
        if served == routing.serial {
            return;
        }
        match routing.changed_since(served, CHANGED_SITES_AT_ONCE_MAX) {
            Some(changed) => {
                let mut work = 0;
                for id in changed {
                    if work > WORK_AT_ONCE {
                        self.begin_sweep();
                        break;
                    }
                    work += self.bring_up_to_date(&routing, id);
                }
            }
            None => self.begin_sweep(),
        }
        self.board().revision.publish(routing.snapshot.revision);
        self.board().routing.publish(routing.serial);
    }

    fn begin_sweep(&self) {
        self.sites.borrow_mut().begin_sweep();
        self.sweeping.set(true);
    }

    /// Looks at some of the sites that a revision may have outdated, and comes back for the rest.
    fn sweep(&self) {
        if !self.sweeping.get() {
            return;
        }
        let routing = Arc::clone(self.routing.borrow_mut().load());
        let mut work = 0;
        while work < SWEEP_LOOKS_PER_TURN {
            let next = self.sites.borrow_mut().next_unswept();
            let Some(id) = next else {
                break;
            };
            work += self.bring_up_to_date(&routing, id);
        }
        self.sweeping.set(self.sites.borrow().is_sweeping());
        if self.sweeping.get() {
            self.runtime.notifier().notify();
        }
    }

    /// Forgets a site that the revision changed or dropped, with the connections of backends that
    /// are gone. Gives how much work that was, in looks at one site.
    fn bring_up_to_date(&self, routing: &Routing, id: SiteId) -> usize {
        let Some(local) = self.sites.borrow().get(id).cloned() else {
            return 1;
        };
        let replacement = routing.served(id);
        if replacement.is_some_and(|served| Arc::ptr_eq(served.site(), local.site())) {
            return 1;
        }
        let work = SITE_WORK + local.upstreams().count();
        if replacement.is_none_or(|served| served.site().tls != local.site().tls) {
            self.tls.forget(id);
        }
        let replacement =
            replacement.map(|served| Rc::new(LocalSite::new(self, routing, served, Some(&local))));
        match &replacement {
            Some(new) => self.sites.borrow_mut().insert(Rc::clone(new)),
            None => drop(self.sites.borrow_mut().remove(id)),
        }
        self.retire_upstreams_missing_from(replacement.as_deref(), &local);
        work + replacement.map_or(0, |new| new.upstreams().count())
    }

    fn retire_upstreams_missing_from(&self, replacement: Option<&LocalSite>, old: &LocalSite) {
        let kept = replacement.map(LocalSite::upstreams_by_key);
        for upstream in old.upstreams() {
            let is_kept = (kept.as_ref()).is_some_and(|kept| kept.contains_key(upstream.key()));
            if !is_kept {
                upstream.retire(&self.runtime);
                self.upstreams.borrow_mut()[upstream.number() as usize] = None;
                self.free_upstreams.borrow_mut().push(upstream.number());
            }
        }
    }

    /// To be called before a connection to a backend of this site is pooled: where the backend is
    /// gone with a revision that was acknowledged, it knows so then.
    pub(crate) fn before_pooling(&self, site: &Site) {
        if self.sweeping.get() {
            let routing = Arc::clone(self.routing.borrow_mut().load());
            self.bring_up_to_date(&routing, site.id);
        }
    }

    /// The site that serves `host` (lower-case, no port, no trailing dot), as this worker has it.
    pub(crate) fn site(&self, host: &[u8]) -> Option<Rc<LocalSite>> {
        let mut cache = self.routing.borrow_mut();
        let routing = cache.load();
        let site = routing.snapshot.hostnames.find(host)?;
        if let Some(local) = self.sites.borrow().get(site.id)
            && Arc::ptr_eq(local.declared(), site)
            && !self.sweeping.get()
        {
            return Some(Rc::clone(local));
        }
        let served = routing.served(site.id)?;
        let old = self.sites.borrow().get(site.id).cloned();
        if let Some(old) = &old
            && Arc::ptr_eq(old.site(), served.site())
        {
            return Some(Rc::clone(old));
        }
        let local = Rc::new(LocalSite::new(self, routing, served, old.as_deref()));
        self.sites.borrow_mut().insert(Rc::clone(&local));
        if let Some(old) = old {
            self.retire_upstreams_missing_from(Some(&local), &old);
        }
        Some(local)
    }

    /// A site as the newest revision has it that this worker took up; `None` where it is gone.
    pub(crate) fn newest(&self, id: SiteId) -> Option<Rc<LocalSite>> {
        if self.sweeping.get() {
            let routing = Arc::clone(self.routing.borrow_mut().load());
            self.bring_up_to_date(&routing, id);
        }
        self.sites.borrow().get(id).cloned()
    }

    /// The same site with the addresses that its names have by now.
    pub(crate) fn resolved(&self, site: &Rc<LocalSite>) -> Rc<LocalSite> {
        match self.sites.borrow().get(site.site().id) {
            Some(newer) if Arc::ptr_eq(newer.declared(), site.declared()) => Rc::clone(newer),
            _ => Rc::clone(site),
        }
    }

    /// How the current task is called when there is room at a backend for it.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            task: self.runtime.current_task(),
            calls: Arc::clone(&self.calls),
        }
    }

    /// Wakes those that were given a place at a backend, or may find one.
    fn wake_called(&self) {
        while let Some(task) = self.calls.take() {
            self.runtime.wake(task);
        }
    }

    /// What cookies are made with.
    pub(crate) fn sticky_key(&self) -> &StickyKey {
        &self.shared.sticky_key
    }

    /// The class of a tenant in the run queue.
    pub(crate) fn class_of(&self, tenant: TenantId) -> Rc<TenantClass> {
        self.classes.of(tenant, &self.runtime)
    }

    /// The seat of a site, with the limits that it has now.
    pub(crate) fn seat_of(&self, served: &ServedSite) -> Seat {
        let mut seats = self.seats.borrow_mut();
        seats.of_site(served.site(), served.meters(), self.runtime.now_ns())
    }

    /// Which connections are whose, and what is left of rates.
    pub(crate) fn seats(&self) -> Ref<'_, Seats> {
        self.seats.borrow()
    }

    /// This worker's counters of a site.
    pub(crate) fn counters_of(&self, site: SiteId) -> SiteCounters {
        self.pages.borrow_mut().counters(site)
    }

    /// This worker's counters of what belongs to no site.
    pub(crate) fn counters_of_no_site(&self) -> &SiteCounters {
        &self.no_site
    }

    /// Numbers a new upstream.
    pub(crate) fn add_upstream(&self, make: impl FnOnce(u32) -> Rc<Upstream>) -> Rc<Upstream> {
        let mut upstreams = self.upstreams.borrow_mut();
        let number = self.free_upstreams.borrow_mut().pop().unwrap_or_else(|| {
            upstreams.push(None);
            upstreams.len() as u32 - 1
        });
        let upstream = make(number);
        upstreams[number as usize] = Some(Rc::clone(&upstream));
        upstream
    }

    /// The tag under which a pooled connection of an upstream is parked.
    pub(crate) fn upstream_tag(number: u32) -> u64 {
        Tag::Upstream(number).pack()
    }

    /// The tag under which a client's connection is parked.
    pub(crate) fn client_tag(known: Known) -> u64 {
        Tag::Client(known).pack()
    }

    /// The pseudonym in Via, and the timeouts that hold until the site is known.
    pub(crate) fn with_routing<T>(&self, read: impl FnOnce(&Routing) -> T) -> T {
        read(self.routing.borrow_mut().load())
    }

    /// Whether connections are to be closed after their current request.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// What handshakes with backends are made with.
    pub(crate) fn backend_tls(&self) -> &BackendConfigs {
        &self.shared.backend_tls
    }

    /// Its part of TLS.
    pub(crate) fn tls(&self) -> &Terminator {
        &self.tls
    }

    /// Who may come in.
    pub(crate) fn entrance(&self) -> &Entrance {
        &self.shared.entrance
    }

    /// The checks of backends.
    pub(crate) fn health(&self) -> &HealthChecks {
        &self.shared.health
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.shared.workers.len()
    }

    /// What this worker shows of itself.
    pub(crate) fn board(&self) -> &WorkerBoard {
        &self.shared.workers[self.index]
    }

    /// The counters of bad ends.
    pub(crate) fn causes(&self) -> &Causes {
        &self.board().causes
    }

    /// What its requests are called.
    pub(crate) fn request_ids(&self) -> &RequestIds {
        &self.request_ids
    }

    /// Whether anybody writes an access log.
    pub(crate) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Tells of a request of `site` that is over: the access log if `logged`, and who asks for
    /// failures if it is one.
    pub(crate) fn tell(&self, site: SiteId, mut entry: Entry<'_>, logged: bool) {
        entry.cut_texts(LOG_TEXT_BYTES_MAX);
        if logged
            && let Some(log) = &self.log
            && !log.borrow_mut().put(&entry)
        {
            self.board().log_lost.add(1);
        }
        if entry.cause.is_some() {
            entry.cut_texts(FAILURE_TEXT_BYTES_MAX);
            let forgotten = self.failures.borrow_mut().keep(site, &entry);
            self.board().failures_forgotten.add(forgotten);
        }
    }

    /// The time for Date (RFC 9110 §5.6.7), written anew once a second.
    pub(crate) fn date(&self) -> [u8; 29] {
        let now = self.shared.wall_seconds.load(Ordering::Relaxed);
        let (written, text) = self.date.get();
        if written == now {
            return text;
        }
        let formatted = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
        let text = formatted.as_bytes().try_into().unwrap_or([b' '; 29]);
        self.date.set((now, text));
        text
    }

    /// An empty buffer for a head.
    pub(crate) fn take_head(&self) -> Rc<Vec<u8>> {
        self.spare_heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back a buffer of [`Worker::take_head`].
    pub(crate) fn give_head(&self, mut head: Rc<Vec<u8>>) {
        let Some(bytes) = Rc::get_mut(&mut head) else {
            return;
        };
        let mut spare = self.spare_heads.borrow_mut();
        if spare.len() < SPARE_HEADS_MAX && bytes.capacity() <= SPARE_HEAD_BYTES_MAX {
            bytes.clear();
            spare.push(head);
        }
    }

    /// An empty buffer to write a response head into, for a moment: there is only one.
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        let mut scratch = self.scratch.take();
        scratch.clear();
        scratch
    }

    /// Takes back the buffer of [`Worker::take_scratch`].
    pub(crate) fn give_scratch(&self, scratch: Vec<u8>) {
        self.scratch.replace(scratch);
    }

    /// A client's connection was closed.
    pub(crate) fn connection_closed(&self) {
        self.connections.set(self.connections.get() - 1);
        self.shared.accept_queues.leave(self.index);
        self.end_if_drained();
    }

    /// Ends where a stop was asked for, and nothing is left or on its way here.
    fn end_if_drained(&self) {
        if self.draining.get()
            && self.connections.get() == 0
            && self.runtime.accepted() == 0
            && self.shared.accept_queues.close(self.index)
        {
            self.runtime.stop();
        }
    }

    fn begin_drain(self: &Rc<Self>) {
        self.draining.set(true);
        self.runtime.stop_listening();
        for (id, tag) in self.runtime.parked() {
            if let Some(connection) = self.take_idle_client(id, tag) {
                self.end_idle(connection);
            }
        }
        let worker = Rc::clone(self);
        let ends_ns = self
            .runtime
            .deadline(self.with_routing(|routing| routing.snapshot.timeouts.drain));
        self.runtime.spawn(ClassId::UNKNOWN, async move {
            while worker.runtime.now_ns() < ends_ns {
                worker.runtime.stirred(ends_ns).await;
            }
            worker.runtime.stop();
        });
    }

    /// Says the last of itself.
    pub(crate) fn end(&self) {
        self.shared.accept_queues.end(self.index);
        self.publish();
        self.board().ended.publish(1);
    }

    fn publish(&self) {
        let numbers = self.runtime.statistics();
        let board = self.board();
        board.connections.publish(self.connections.get());
        board
            .idle_connections
            .publish(self.runtime.idle(Origin::Accepted));
        board.sockets.publish(numbers.sockets);
        board.turns.publish(numbers.turns);
        let now_ns = self.shared.origin.elapsed().as_nanos() as u64;
        board.looked_ns.publish(now_ns);
        board.waited_ns.publish(numbers.waited_ns);
        board.polled_ns.publish(numbers.polled_ns);
        board.starved.publish(numbers.starved);
        board.over_share.publish(numbers.over_share);
        board.accept_failures.publish(numbers.accept_failures);
        board.stale.publish(numbers.stale);
        board.buffers.publish(u64::from(numbers.pool.buffers));
        board
            .buffers_max
            .publish(u64::from(numbers.pool.buffers_max));
        board.buffers_in_use.publish(u64::from(numbers.pool.in_use));
        board.published.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_parked_connection_comes_back_out_of_its_tag() {
        for port in [0, 80, u16::MAX] {
            for counted in [false, true] {
                for (header_due_ms, seat) in [
                    (0, None),
                    (1, None),
                    (5_000, None),
                    (TAG_VALUE_MASK, None),
                    (0, Some(0)),
                    (0, Some(u32::MAX)),
                ] {
                    for tls in [
                        Tls::Off,
                        Tls::Awaited,
                        Tls::Session(0),
                        Tls::Session(u32::MAX),
                    ] {
                        let is_session = matches!(tls, Tls::Session(_));
                        // A session keeps its seat itself.
                        if is_session && (header_due_ms > 0 || seat.is_some())
                            || tls == Tls::Awaited && seat.is_some()
                        {
                            continue;
                        }
                        let known = Known {
                            port,
                            counted,
                            header_due_ms,
                            seat: seat.map(Seat::of_number),
                            tls,
                        };
                        let tag = Tag::Client(known);
                        assert_eq!(Tag::unpack(tag.pack()), tag);
                    }
                }
            }
        }
        for number in [0, 7, u32::MAX] {
            let tag = Tag::Upstream(number);
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }
}
