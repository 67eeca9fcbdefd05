//! One worker: datagrams and connections on the runtime of `sys`, and what it is told meanwhile.
//!
//! It shares nothing that it would have to lock: a new [`State`] and questions come over a channel,
//! behind a [`Notifier`](meridian_sys::Notifier).

use crate::answer::{Answerer, Asked, Outcome, Transport, Unanswered};
use crate::clients::Clients;
use crate::counters::Counts;
use crate::rate::{RateLimiter, Verdict};
use crate::seats::Seats;
use crate::state::State;
use crate::stream;
use crate::usage::SiteCounts;
use meridian_model::limits::{DNS_DRAIN_MS, DNS_FILES_KEPT, UDP_RESPONSE_BYTES_MAX};
use meridian_model::local::Dns;
use meridian_model::snapshot::SiteId;
use meridian_sys::datagram::{Batch, DatagramSocket};
use meridian_sys::limits::DATAGRAMS_MAX;
use meridian_sys::process::{Limit, limit};
use meridian_sys::{ClassId, DatagramsId, Event, Runtime, RuntimeConfig, SetupError, Socket};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

/// Receive buffers of a worker: one for each connection that is in the midst of a message, and few are.
const BUFFERS_MAX: u16 = 1024;

/// How long a query may be on its way when a stop was asked for.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Batches of datagrams that are answered of a socket at the end: as many as wait there at most.
const LAST_BATCHES: usize = 64;

/// What a worker is told or asked.
#[derive(Debug)]
pub(crate) enum Told {
    /// Answer from this from now on.
    State(Arc<State>),
    /// Say how it goes.
    Report(SyncSender<Report>),
    /// End what is under way, and then yourself.
    Stop,
}

/// How it goes with a worker.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) worker: usize,
    /// Of its zones.
    pub(crate) revision: u64,
    /// Open connections.
    pub(crate) connections: usize,
    pub(crate) counts: Counts,
    /// Of accepts.
    pub(crate) accept_failures: u64,
}

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct Equipment {
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) workers: usize,
    pub(crate) datagrams: Vec<DatagramSocket>,
    pub(crate) listeners: Vec<OwnedFd>,
    pub(crate) state: Arc<State>,
    pub(crate) settings: Dns,
    pub(crate) clients: Arc<Clients>,
    /// Unix time in seconds, which somebody else keeps right.
    pub(crate) now_s: Arc<AtomicU32>,
    pub(crate) site_counts: SiteCounts,
    pub(crate) told: Receiver<Told>,
}

/// See the module.
pub(crate) struct Worker {
    pub(crate) runtime: Runtime,
    index: usize,
    sockets: RefCell<Vec<Rc<DatagramSocket>>>,
    state: RefCell<Arc<State>>,
    told: Receiver<Told>,
    answerer: RefCell<Answerer>,
    batch: RefCell<Batch>,
    /// For the longest message.
    long_room: RefCell<Box<[u8]>>,
    limiter: RefCell<RateLimiter>,
    pub(crate) counts: RefCell<Counts>,
    site_counts: RefCell<SiteCounts>,
    pub(crate) seats: RefCell<Seats>,
    clients: Arc<Clients>,
    settings: Dns,
    /// Its share of all connections.
    connections_max: usize,
    now_s: Arc<AtomicU32>,
    rotation: Cell<u32>,
    /// A stop was asked for: when connections are closed on which nothing has begun, on the worker's
    /// clock.
    stopping_ns: Cell<Option<u64>>,
}

/// A response that stands in its room.
struct Answered {
    /// Its length, in octets.
    bytes: usize,
    /// The client is where it says.
    is_proven: bool,
    /// Whose service name was asked for.
    site: Option<SiteId>,
}

impl Worker {
    /// Makes the worker of the calling thread, which hears of datagrams and connections from then on.
    pub(crate) fn new(equipment: Equipment) -> Result<Rc<Worker>, SetupError> {
        let runtime = Runtime::new(RuntimeConfig {
            buffers_max: BUFFERS_MAX,
            // The cores are those of the other plane's workers as well.
            busy_polling: false,
            ..RuntimeConfig::default()
        })?;
        let settings = equipment.settings;
        let workers = equipment.workers;
        let files = limit(Limit::OpenFiles)
            .0
            .saturating_sub(DNS_FILES_KEPT)
            .max(1);
        let connections = u64::from(settings.tcp.connections).min(files);
        let worker = Rc::new(Worker {
            index: equipment.index,
            sockets: RefCell::default(),
            state: RefCell::new(equipment.state),
            told: equipment.told,
            answerer: RefCell::default(),
            batch: RefCell::new(Batch::new(UDP_RESPONSE_BYTES_MAX)),
            long_room: RefCell::new(vec![0; usize::from(u16::MAX)].into()),
            limiter: RefCell::new(RateLimiter::new(&settings.rate, workers)),
            counts: RefCell::default(),
            site_counts: RefCell::new(equipment.site_counts),
            seats: RefCell::default(),
            clients: equipment.clients,
            connections_max: (connections as usize).div_ceil(workers),
            settings,
            now_s: equipment.now_s,
            // Not all workers begin with the same host.
            rotation: Cell::new(equipment.index as u32),
            stopping_ns: Cell::new(None),
            runtime,
        });
        for socket in equipment.datagrams {
            let socket = Rc::new(socket);
            worker.runtime.watch(Rc::clone(&socket));
            worker.sockets.borrow_mut().push(socket);
        }
        for listener in equipment.listeners {
            worker.runtime.listen(listener);
        }
        Ok(worker)
    }

    /// Answers until a stop was asked for and is done.
    pub(crate) fn run(self: &Rc<Self>) -> io::Result<()> {
        self.runtime.run(|event| match event {
            Event::Readable(id) => {
                self.datagrams(id);
            }
            Event::Accepted(_, socket) => self.accepted(socket),
            Event::Notified => self.notified(),
            // Nothing is parked here.
            Event::Stirred { .. } => {}
        })
    }

    /// Answers a batch of datagrams. More are for the next turn; whether there may be.
    fn datagrams(&self, id: DatagramsId) -> bool {
        let sockets = self.sockets.borrow();
        let Some(socket) = sockets.get(id.0 as usize) else {
            return false;
        };
        let mut batch = self.batch.borrow_mut();
        let received = match batch.receive(socket) {
            Ok(received) => received,
            Err(_) => {
                self.counts.borrow_mut().receive_failures += 1;
                // It was an error of one datagram, and others may wait behind it.
                self.runtime.look_again(id);
                return true;
            }
        };
        batch.answer(received, |source, query, room| {
            self.answer_datagram(source, query, room)
        });
        let sent = batch.send(socket);
        let mut counts = self.counts.borrow_mut();
        counts.udp += received as u64;
        counts.unsent += sent.failed as u64;
        let may_be_more = received == DATAGRAMS_MAX;
        if may_be_more {
            self.runtime.look_again(id);
        }
        may_be_more
    }

    fn answer_datagram(&self, source: SocketAddr, query: &[u8], room: &mut [u8]) -> Option<usize> {
        // Nobody can be answered at that port.
        if source.port() == 0 {
            return None;
        }
        let Answered {
            bytes,
            is_proven,
            site,
        } = self.answer(query, source.ip(), Transport::Udp, room)?;
        let verdict = match is_proven {
            true => Verdict::Send,
            false => {
                let now_ns = self.runtime.now_ns();
                self.limiter.borrow_mut().judge(source.ip(), now_ns)
            }
        };
        // What is dropped is no answer that anybody pays for.
        if verdict != Verdict::Drop {
            self.site_counts.borrow_mut().count(site);
        }
        match verdict {
            Verdict::Send => Some(bytes),
            Verdict::Drop => {
                self.counts.borrow_mut().rate_dropped += 1;
                None
            }
            Verdict::Slip => {
                self.counts.borrow_mut().rate_slipped += 1;
                let asked = self.asked(source.ip(), Transport::Udp, true);
                let state = self.state.borrow();
                let outcome = self
                    .answerer
                    .borrow_mut()
                    .answer(query, asked, &state, room);
                match outcome {
                    Outcome::Response { bytes, .. } => Some(bytes),
                    Outcome::Unanswered(_) => None,
                }
            }
        }
    }

    /// Answers a message; none: it gets no response.
    fn answer(
        &self,
        query: &[u8],
        source: IpAddr,
        transport: Transport,
        room: &mut [u8],
    ) -> Option<Answered> {
        let asked = self.asked(source, transport, false);
        let state = self.state.borrow();
        let outcome = self
            .answerer
            .borrow_mut()
            .answer(query, asked, &state, room);
        let mut counts = self.counts.borrow_mut();
        match outcome {
            Outcome::Response {
                bytes,
                is_proven,
                gist,
            } => {
                let groups = &state.zones.groups;
                let group = gist.group.and_then(|it| groups.get(usize::from(it.0)));
                counts.response(&gist, group.map(|it| &it.name));
                Some(Answered {
                    bytes,
                    is_proven,
                    site: gist.site,
                })
            }
            Outcome::Unanswered(why) => {
                match why {
                    Unanswered::NoHeader => counts.no_header += 1,
                    Unanswered::Response => counts.responses += 1,
                }
                None
            }
        }
    }

    fn asked(&self, source: IpAddr, transport: Transport, is_over_rate: bool) -> Asked {
        let rotation = self.rotation.get();
        self.rotation.set(rotation.wrapping_add(1));
        Asked {
            source: source.to_canonical(),
            transport,
            now_s: self.now_s.load(Ordering::Relaxed),
            rotation,
            is_over_rate,
        }
    }

    /// Answers a message that came over TCP: `take` is given the response. Whether there is one.
    pub(crate) fn answer_stream(
        &self,
        query: &[u8],
        source: IpAddr,
        take: impl FnOnce(&[u8]),
    ) -> bool {
        self.counts.borrow_mut().tcp += 1;
        let idle_ds = self.settings.tcp.idle.as_millis() / 100;
        let transport = Transport::Tcp {
            idle_ds: u16::try_from(idle_ds).unwrap_or(u16::MAX),
        };
        let mut room = self.long_room.borrow_mut();
        match self.answer(query, source, transport, &mut room) {
            Some(Answered { bytes, site, .. }) => {
                self.site_counts.borrow_mut().count(site);
                take(&room[..bytes]);
                true
            }
            None => false,
        }
    }

    /// How long a connection may be silent.
    pub(crate) fn idle(&self) -> Duration {
        self.settings.tcp.idle
    }

    /// A new connection is never refused for want of room: the one that was idle longest is closed.
    fn accepted(self: &Rc<Self>, socket: Socket) {
        // It may have gone meanwhile.
        let Ok(peer) = socket.peer_address() else {
            return;
        };
        self.counts.borrow_mut().connections += 1;
        let per_client = self.settings.tcp.connections_per_client;
        let Some(seat) = self.clients.enter(peer.ip(), per_client) else {
            self.counts.borrow_mut().client_connections += 1;
            return;
        };
        let mut seats = self.seats.borrow_mut();
        if seats.taken() >= self.connections_max
            && let Some(task) = seats.evict_idlest()
        {
            self.counts.borrow_mut().evicted += 1;
            if let Some(task) = task {
                self.runtime.wake(task);
            }
        }
        let place = seats.take();
        drop(seats);
        let worker = Rc::clone(self);
        self.runtime.spawn(ClassId::UNKNOWN, async move {
            stream::serve(&worker, &socket, peer.ip(), place).await;
            drop(seat);
            worker.left(place);
        });
    }

    fn left(&self, place: usize) {
        let mut seats = self.seats.borrow_mut();
        seats.leave(place);
        if self.stopping_ns.get().is_some() && seats.taken() == 0 {
            self.runtime.stop();
        }
    }

    fn notified(self: &Rc<Self>) {
        while let Ok(told) = self.told.try_recv() {
            match told {
                Told::State(state) => *self.state.borrow_mut() = state,
                Told::Report(to) => {
                    // Who asked may have gone.
                    let _ = to.try_send(self.report());
                }
                Told::Stop => self.stop(),
            }
        }
    }

    fn report(&self) -> Report {
        Report {
            worker: self.index,
            revision: self.state.borrow().zones.revision,
            connections: self.seats.borrow().taken(),
            counts: self.counts.borrow().clone(),
            accept_failures: self.runtime.statistics().accept_failures,
        }
    }

    /// Nothing new is taken; what came is answered.
    fn stop(self: &Rc<Self>) {
        if self.stopping_ns.get().is_some() {
            return;
        }
        let runtime = &self.runtime;
        let until_ns = runtime.deadline(Duration::from_millis(DNS_DRAIN_MS));
        self.stopping_ns.set(Some(runtime.deadline(LAST_WORD)));
        runtime.stop_listening();
        let sockets = self.sockets.borrow().len();
        for id in (0..sockets).map(|at| DatagramsId(at as u32)) {
            // A flood keeps nobody from ending.
            let mut batches = 0..LAST_BATCHES;
            while batches.next().is_some() && self.datagrams(id) {}
        }
        runtime.stop_watching();
        self.sockets.borrow_mut().clear();
        if self.seats.borrow().taken() == 0 {
            runtime.stop();
            return;
        }
        let tasks = self.seats.borrow().tasks();
        tasks.into_iter().for_each(|task| runtime.wake(task));
        let runtime = runtime.clone();
        self.runtime.spawn(ClassId::UNKNOWN, async move {
            while runtime.now_ns() < until_ns {
                runtime.stirred(until_ns).await;
            }
            runtime.stop();
        });
    }

    /// When a connection is closed on which nothing has begun, at the latest; none: nobody says.
    pub(crate) fn last_word_ns(&self) -> Option<u64> {
        self.stopping_ns.get()
    }
}
