//! A worker's connections to one backend.
//!
//! An [`Upstream`] belongs to one backend of one site, so its connections are never shared
//! between tenants. It lives as long as requests use it; once a revision drops the backend it is
//! retired, and what comes back to it is closed instead of pooled.

use crate::backend_state::{BackendState, Experience, Health, Load};
use crate::counters::BackendCounters;
use crate::stream::BackendStream;
use crate::tls::BackendSession;
use crate::tls::backend_handshake::BackendClient;
use meridian_model::snapshot::BackendKey;
use meridian_sys::{RecvMode, Runtime, Socket, SocketId};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// What it is known as to the runtime, in the tag of its parked sockets.
    number: u32,
    key: BackendKey,
    state: Arc<BackendState>,
    experience: Arc<Experience>,
    counters: Arc<[BackendCounters]>,
    worker: usize,
    idle: RefCell<Vec<Idle>>,
    /// How handshakes are made with it; none: it does not speak TLS.
    tls: Option<Box<BackendClient>>,
    retired: Cell<bool>,
}

/// An open connection that nobody uses.
#[derive(Debug)]
struct Idle {
    id: SocketId,
    session: Option<Box<RefCell<BackendSession>>>,
}

impl Upstream {
    /// The connections of a worker, one of so many, to the backend `key`.
    pub(crate) fn new(
        number: u32,
        key: BackendKey,
        state: Arc<BackendState>,
        (worker, workers): (usize, usize),
    ) -> Rc<Upstream> {
        let experience = Arc::clone(state.experience());
        Rc::new(Upstream {
            number,
            tls: BackendClient::of(&key),
            key,
            state,
            counters: Arc::clone(experience.counters(workers)),
            experience,
            worker,
            idle: RefCell::new(Vec::new()),
            retired: Cell::new(false),
        })
    }

    /// The backend's identity.
    pub(crate) fn key(&self) -> &BackendKey {
        &self.key
    }

    /// The number it was made with.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether the backend is one of these, be it of another revision.
    pub(crate) fn is_among(&self, others: &[Rc<Upstream>]) -> bool {
        others.iter().any(|other| other.key == self.key)
    }

    /// Where the backend listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.key.address()
    }

    /// How handshakes are made with it; none: it does not speak TLS.
    pub(crate) fn tls(&self) -> Option<&BackendClient> {
        self.tls.as_deref()
    }

    /// This worker's counters of the backend.
    pub(crate) fn counters(&self) -> &BackendCounters {
        &self.counters[self.worker]
    }

    /// Whether a request may go to the backend that might as well go elsewhere.
    pub(crate) fn is_usable(&self) -> bool {
        self.state.is_usable()
    }

    /// Whether it does not answer: then not even a request that is drawn to it may go there.
    pub(crate) fn is_down(&self) -> bool {
        self.state.health() == Health::Down
    }

    /// The part of its weight that the backend has ([`BackendState::share`]).
    pub(crate) fn share(&self, slow_start_ns: u64, now_ns: u64) -> u32 {
        self.state.share(slow_start_ns, now_ns)
    }

    /// What is known of the backend whatever the revision.
    pub(crate) fn state(&self) -> &BackendState {
        &self.state
    }

    /// The backend's load.
    pub(crate) fn load(&self) -> &Load {
        self.experience.load()
    }

    /// An open connection that nobody uses, the one used last first.
    pub(crate) fn take_idle(&self, runtime: &Runtime) -> Option<BackendStream> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { id, session }) = idle.pop() {
            if let Some(socket) = runtime.unpark(id) {
                return Some(BackendStream::new(socket, session));
            }
            // It stirred and is on its way to `forget_idle`. Whoever takes an id off the list
            // counts it: the number of a retired upstream may be another's by then.
            self.counters().connections.subtract(1);
        }
        None
    }

    /// Takes back a connection whose last response ended well; closes it when it cannot be used
    /// again. `keep_for` is how long the pool, and the backend as far as it said, will keep it.
    pub(crate) fn put_idle(
        &self,
        stream: BackendStream,
        keep_for: Duration,
        tag: u64,
        idle_max: usize,
    ) {
        if self.retired.get()
            || !stream.is_quiet()
            || keep_for.is_zero()
            || self.idle.borrow().len() >= idle_max
        {
            self.close(stream);
            return;
        }
        let (socket, session) = stream.into_parts();
        socket.set_mode(RecvMode::Bounded);
        let deadline_ns = socket.runtime().deadline(keep_for);
        let id = socket.park(deadline_ns, tag);
        self.idle.borrow_mut().push(Idle { id, session });
    }

    /// A pooled connection stirred (closed by the backend, out of time, or sent what nobody
    /// asked for): it is closed.
    pub(crate) fn forget_idle(&self, id: SocketId, socket: Socket) {
        let mut idle = self.idle.borrow_mut();
        if let Some(place) = idle.iter().position(|other| other.id == id) {
            let Idle { session, .. } = idle.remove(place);
            self.counters().connections.subtract(1);
            BackendStream::new(socket, session).close();
        }
    }

    /// Closes a connection of this backend.
    pub(crate) fn close(&self, stream: BackendStream) {
        self.counters().connections.subtract(1);
        stream.close();
    }

    /// A connection of this backend became a tunnel: it is in use until [`Upstream::end_tunnel`].
    pub(crate) fn begin_tunnel(&self) {
        self.counters().in_flight.add(1);
    }

    /// The tunnel ended, and its connection with it.
    pub(crate) fn end_tunnel(&self) {
        self.counters().in_flight.subtract(1);
        self.counters().connections.subtract(1);
    }

    /// The backend is gone from the site: pooled connections are closed, others when they end.
    pub(crate) fn retire(&self, runtime: &Runtime) {
        self.retired.set(true);
        while let Some(stream) = self.take_idle(runtime) {
            self.close(stream);
        }
    }

    /// Whether the backend is gone from its site.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }
}
