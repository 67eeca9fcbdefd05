//! The loop of one worker: reap, run, submit.

use crate::bounded_receive::has_bounded_receives;
use crate::buffers::{BUFFER_GROUP, NO_BUFFER, Pool, PoolStatistics, RecvBuf};
use crate::busy_poll::BusyPoll;
use crate::clock::Clock;
use crate::crowd::{Crowd, Origin};
use crate::datagram::DatagramSocket;
use crate::limits::{BUFFERS_MAX, BUSY_POLL_NS, CATCH_UP_ROUNDS, QUANTUM_NS};
use crate::listener;
use crate::notifier::Notifier;
use crate::ring::{Completion, Ring, SetupError};
use crate::run_queue::{ClassId, RunQueue};
use crate::slab::{NO_TASK, Slab};
use crate::socket::{RecvMode, Socket, SocketId};
use crate::timers::{Deadline, Owner, Wheel};
use crate::token::{Op, Token};
use io_uring::{cqueue, opcode, squeue, types};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Kernel work that one cheap operation stands for, until measured, in nanoseconds.
const UNIT_NS_FIRST: u64 = 1_000;
/// Pauses of the core from one look for completions to the next.
const PAUSES: usize = 4;
/// System calls that the end of a run makes at most to get sockets cancelled and closed.
const CLOSING_ROUNDS: u32 = 4;
/// Sockets waiting for a buffer that a turn with other work looks at; an idle one looks at all.
const STARVED_LOOKS: usize = 256;

/// What a runtime is made with.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeConfig {
    /// Receive buffers that the worker never goes above; a power of two is best.
    pub buffers_max: u16,
    /// Whether an idle worker that is likely to get news at once looks for it for a while
    /// ([`crate::limits::BUSY_POLL_NS`]) instead of sleeping. For a worker with a core of its own.
    pub busy_polling: bool,
    /// Whether [`RecvMode::Bounded`] may ask the kernel for bounded receives, where it has them.
    pub bounded_receives: bool,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig {
            buffers_max: BUFFERS_MAX,
            busy_polling: true,
            bounded_receives: true,
        }
    }
}

/// A listener of this runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// A UDP socket of this runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DatagramsId(pub u32);

/// Why a parked socket came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stir {
    /// Bytes wait to be read (its end may follow them).
    Bytes,
    /// The peer closed or reset the connection, and nothing is left to read.
    Ended,
    /// The deadline passed, and nothing came.
    Deadline,
}

/// What the runtime tells its owner.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted. It is in [`RecvMode::Multishot`]; park it or hand it to a task.
    Accepted(ListenerId, Socket),
    /// A parked socket came back.
    Stirred {
        /// The socket, no longer parked.
        socket: Socket,
        /// What it is known as to pools that hold its id.
        id: SocketId,
        /// What it was parked with.
        tag: u64,
        /// Why.
        why: Stir,
    },
    /// Another thread called [`Notifier::notify`].
    Notified,
    /// A UDP socket has datagrams ([`Runtime::watch`]).
    Readable(DatagramsId),
}

/// Numbers of a runtime, for `status`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    /// Turns of the loop.
    pub turns: u64,
    /// Nanoseconds spent waiting for something to do.
    pub waited_ns: u64,
    /// Of these, nanoseconds in which the worker looked for it itself instead of sleeping.
    pub polled_ns: u64,
    /// Sockets that exist.
    pub sockets: u64,
    /// Times a receive found no buffer and had to wait.
    pub starved: u64,
    /// Times a receive waited because its class held its full share of the buffers.
    pub over_share: u64,
    /// Accepts that failed for want of descriptors or memory, or because of the listener; it
    /// then rests for [`crate::limits::ACCEPT_PAUSE_NS`].
    pub accept_failures: u64,
    /// Completions that belonged to nobody. Anything but 0 is a fault of ours.
    pub stale: u64,
    /// The receive buffers.
    pub pool: PoolStatistics,
}

#[derive(Debug)]
struct Listener {
    socket: Option<OwnedFd>,
    armed: bool,
    /// Rest until then after a failed accept; 0: none.
    resume_ns: u64,
}

/// A UDP socket that is watched.
#[derive(Debug)]
struct Watched {
    /// None: not any more.
    socket: Option<Rc<DatagramSocket>>,
    /// Its event is on its way.
    queued: bool,
}

/// A task, for [`Runtime::wake`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId(u32);

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    work: Option<Work>,
    class: ClassId,
    alive: bool,
    queued: bool,
    deadline: Deadline,
}

struct Inner {
    // The ring stands first: it is closed before anything that the kernel may use is freed.
    ring: Ring,
    sockets: Slab,
    crowd: Crowd,
    tasks: Vec<Task>,
    free_tasks: Vec<u32>,
    queue: RunQueue,
    wheel: Wheel,
    events: VecDeque<Queued>,
    /// Connections that were accepted and not told of yet.
    accepted: VecDeque<(ListenerId, u32)>,
    listeners: Vec<Listener>,
    watched: Vec<Watched>,
    /// Sockets whose receive waits for a buffer.
    starved: VecDeque<(u32, u32)>,
    completions: Vec<Completion>,
    /// Sockets of which the kernel did not find the operation to cancel.
    uncancelled: Vec<(u32, u32)>,
    now_ns: u64,
    settled_ns: u64,
    /// Kernel work asked for since the last submit, in units of a cheap operation.
    units: u64,
    unit_ns: u64,
    stopping: bool,
    busy_poll: BusyPoll,
    /// Asked for and there.
    bounded_receives: bool,
    notifier: Notifier,
    notified: bool,
    statistics: Statistics,
    #[cfg(test)]
    faults: tests::Faults,
}

#[derive(Debug, Clone, Copy)]
enum Queued {
    Stirred {
        index: u32,
        generation: u32,
        why: Stir,
    },
    Notified,
    Readable(u32),
}

/// What all handles of one runtime share.
pub(crate) struct Core {
    inner: RefCell<Inner>,
    // After `inner`, so after the ring.
    pool: Rc<Pool>,
    clock: Clock,
    current: Cell<u32>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Core")
    }
}

/// A socket that somebody is going to open, and that counts as if it were there, until this is dropped.
#[derive(Debug)]
pub struct Promise {
    core: Rc<Core>,
    class: ClassId,
}

/// A handle to the runtime of this thread; clones name the same runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) core: Rc<Core>,
}

impl Runtime {
    /// Makes the runtime of the calling thread.
    pub fn new(config: RuntimeConfig) -> Result<Runtime, SetupError> {
        let ring = Ring::new()?;
        let pool = Pool::new(config.buffers_max).map_err(|source| SetupError::Other {
            step: "mapping the receive buffers",
            source,
        })?;
        let (address, entries) = pool.ring_address();
        ring.register_buffers(address, entries, BUFFER_GROUP)
            .map_err(|error| SetupError::explain("registering the receive buffers", error))?;
        pool.publish_first();
        let notifier =
            Notifier::new().map_err(|error| SetupError::explain("making an eventfd", error))?;
        let clock = Clock::of_process();
        let now_ns = clock.now_ns();
        let mut inner = Inner {
            ring,
            sockets: Slab::default(),
            crowd: Crowd::new(),
            tasks: Vec::new(),
            free_tasks: Vec::new(),
            queue: RunQueue::new(),
            wheel: Wheel::new(now_ns),
            events: VecDeque::new(),
            accepted: VecDeque::new(),
            listeners: Vec::new(),
            watched: Vec::new(),
            starved: VecDeque::new(),
            completions: Vec::with_capacity(256),
            uncancelled: Vec::new(),
            now_ns,
            settled_ns: now_ns,
            units: 0,
            unit_ns: UNIT_NS_FIRST,
            stopping: false,
            busy_poll: BusyPoll::new(config.busy_polling),
            bounded_receives: config.bounded_receives && has_bounded_receives(),
            notifier,
            notified: false,
            statistics: Statistics::default(),
            #[cfg(test)]
            faults: tests::Faults::default(),
        };
        inner.arm_notifier();
        Ok(Runtime {
            core: Rc::new(Core {
                inner: RefCell::new(inner),
                pool,
                clock,
                current: Cell::new(NO_TASK),
            }),
        })
    }

    /// Wakes this runtime from other threads.
    pub fn notifier(&self) -> Notifier {
        self.core.inner.borrow().notifier.clone()
    }

    /// The worker's clock as read at the start of this turn, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.core.inner.borrow().now_ns
    }

    /// The worker's clock read now, in nanoseconds: for latencies.
    pub fn clock_ns(&self) -> u64 {
        self.core.clock.now_ns()
    }

    /// A deadline `after` from the start of this turn.
    pub fn deadline(&self, after: Duration) -> u64 {
        let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns().saturating_add(after_ns)
    }

    /// Accepts connections from `listener` from now on.
    pub fn listen(&self, listener: OwnedFd) -> ListenerId {
        let mut inner = self.core.inner.borrow_mut();
        let id = ListenerId(inner.listeners.len() as u32);
        inner.listeners.push(Listener {
            socket: Some(listener),
            armed: false,
            resume_ns: 0,
        });
        inner.arm_accept(id);
        id
    }

    /// Tells of datagrams at `socket` from now on, with [`Event::Readable`]. Once told, it tells of
    /// those that come later: whoever leaves some there says so with [`Runtime::look_again`].
    pub fn watch(&self, socket: Rc<DatagramSocket>) -> DatagramsId {
        let mut inner = self.core.inner.borrow_mut();
        let id = inner.watched.len() as u32;
        inner.watched.push(Watched {
            socket: Some(socket),
            queued: false,
        });
        inner.arm_readable(id);
        DatagramsId(id)
    }

    /// Tells of the datagrams of a socket once more, after everything else had its turn.
    pub fn look_again(&self, id: DatagramsId) {
        self.core.inner.borrow_mut().tell_readable(id.0);
    }

    /// Tells of no more datagrams, and closes the sockets of which nobody else has a share.
    pub fn stop_watching(&self) {
        let mut inner = self.core.inner.borrow_mut();
        for index in 0..inner.watched.len() {
            if inner.watched[index].socket.take().is_some() {
                let token = Token {
                    op: Op::Readable,
                    generation: 0,
                    index: index as u32,
                };
                inner.push_cancel(token.pack(), Op::Forget);
            }
        }
    }

    /// Makes a connection of this runtime's of one that another runtime accepted and gave away
    /// ([`Socket::into_descriptor`]). It is in [`RecvMode::Multishot`]; park it or hand it to a task.
    pub fn adopt(&self, descriptor: OwnedFd) -> Socket {
        let mut inner = self.core.inner.borrow_mut();
        let fd = descriptor.into_raw_fd();
        let index = inner.insert(fd, RecvMode::Multishot, ClassId::UNKNOWN);
        Socket {
            core: Rc::clone(&self.core),
            index,
        }
    }

    /// Stops accepting on every listener. The sockets stay open as long as somebody else (the
    /// supervisor) holds them, so clients wait in the backlog and are not refused.
    pub fn stop_listening(&self) {
        let mut inner = self.core.inner.borrow_mut();
        for index in 0..inner.listeners.len() {
            if inner.listeners[index].armed {
                let token = Token {
                    op: Op::Accept,
                    generation: 0,
                    index: index as u32,
                };
                inner.push_cancel(token.pack(), Op::Forget);
            }
            inner.listeners[index].socket = None;
        }
    }

    /// Makes a class for the run queue and the buffers: one per tenant, kept by the caller.
    pub fn add_class(&self) -> ClassId {
        let mut inner = self.core.inner.borrow_mut();
        inner.crowd.add_class();
        inner.queue.add_class()
    }

    /// Runs `work` as a task of its own, from this turn on.
    pub fn spawn(&self, class: ClassId, work: impl Future<Output = ()> + 'static) {
        let mut inner = self.core.inner.borrow_mut();
        let index = match inner.free_tasks.pop() {
            Some(index) => index,
            None => {
                inner.tasks.push(Task {
                    work: None,
                    class,
                    alive: false,
                    queued: false,
                    deadline: Deadline::default(),
                });
                inner.tasks.len() as u32 - 1
            }
        };
        let task = &mut inner.tasks[index as usize];
        task.work = Some(Box::pin(work));
        task.class = class;
        task.alive = true;
        task.deadline.at_ns = 0;
        inner.schedule(index);
    }

    /// Moves the task that runs now to another class: its tenant became known.
    pub fn set_class(&self, class: ClassId) {
        let current = self.core.current.get();
        if current != NO_TASK {
            self.core.inner.borrow_mut().tasks[current as usize].class = class;
        }
    }

    /// Opens a connection, which is one of `class`. [`Socket::poll_recv`] and the like may be used once
    /// [`Runtime::poll_connected`] is ready; dropping the socket gives up.
    pub fn start_connect(&self, address: SocketAddr, class: ClassId) -> io::Result<Socket> {
        let socket = listener::stream_socket(address)?;
        listener::set_stream_options(socket.as_raw_fd())?;
        let (storage, bytes) = listener::boxed_storage(address);
        let mut inner = self.core.inner.borrow_mut();
        let fd = socket.into_raw_fd();
        let index = inner.insert(fd, RecvMode::OnDemand, class);
        let entry = &mut inner.sockets[index];
        let submission =
            opcode::Connect::new(types::Fd(fd), std::ptr::from_ref(&*storage).cast(), bytes)
                .build()
                .user_data(entry.token(Op::Connect, index));
        entry.connect_address = Some(storage);
        entry.connecting = Some(None);
        entry.in_flight += 1;
        inner.push(&submission, 3);
        Ok(Socket {
            core: Rc::clone(&self.core),
            index,
        })
    }

    /// Whether the connection is open; an error when it was refused or failed otherwise.
    pub fn poll_connected(&self, socket: &Socket) -> Poll<io::Result<()>> {
        let mut inner = self.core.inner.borrow_mut();
        let entry = &mut inner.sockets[socket.index];
        match entry.connecting {
            None | Some(Some(0)) => Poll::Ready(Ok(())),
            Some(Some(errno)) => Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
            Some(None) => {
                entry.task = self.core.current.get();
                Poll::Pending
            }
        }
    }

    /// Opens a connection of `class` and waits for it until `deadline_ns`.
    pub async fn connect(
        &self,
        address: SocketAddr,
        class: ClassId,
        deadline_ns: u64,
    ) -> io::Result<Socket> {
        let socket = self.start_connect(address, class)?;
        poll_fn(|_| {
            self.core
                .or_timeout(deadline_ns, self.poll_connected(&socket))
        })
        .await?;
        Ok(socket)
    }

    /// Waits until something happens to a socket that this task polled, or until `deadline_ns`
    /// (0: none). It may end early: look at the state again and wait again.
    pub async fn stirred(&self, deadline_ns: u64) {
        let mut first = true;
        poll_fn(|_| {
            if std::mem::take(&mut first) && (deadline_ns == 0 || deadline_ns > self.now_ns()) {
                self.core.set_task_deadline(deadline_ns);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// A receive buffer that nothing was received into, charged to `class`: all of it but its first
    /// `headroom` bytes, which hold whatever they held. It is for bytes that stand for received ones
    /// or for what is sent, such as those that were decrypted or encrypted. `None` while all are in
    /// use.
    pub fn blank_buffer(&self, class: ClassId, headroom: usize) -> Option<RecvBuf> {
        self.core.pool.blank(class, headroom)
    }

    /// What is pending fails with [`io::ErrorKind::TimedOut`] after `deadline_ns` (0: never), and is
    /// looked at again then.
    pub fn or_timeout<T>(
        &self,
        deadline_ns: u64,
        state: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.core.or_timeout(deadline_ns, state)
    }

    /// Has the task that runs now run again at `at_ns` at the latest.
    pub fn run_again(&self, at_ns: u64) {
        self.core.set_task_deadline(at_ns);
    }

    /// The task that runs now.
    pub fn current_task(&self) -> TaskId {
        TaskId(self.core.current.get())
    }

    /// Has a task look at its state again, as if something had happened to a socket of its. If it
    /// ended meanwhile, nothing happens, or another that has its place looks in vain.
    pub fn wake(&self, task: TaskId) {
        self.core.inner.borrow_mut().schedule(task.0);
    }

    /// Lets every other task of the run queue go first.
    pub async fn yield_now(&self) {
        let mut first = true;
        poll_fn(|_| {
            if std::mem::take(&mut first) {
                let current = self.core.current.get();
                self.core.inner.borrow_mut().schedule(current);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Takes a parked socket back for use. `None` when it is closed, or when something already
    /// happened to it, so that [`Event::Stirred`] is on its way.
    pub fn unpark(&self, id: SocketId) -> Option<Socket> {
        let mut guard = self.core.inner.borrow_mut();
        let inner = &mut *guard;
        let entry = &mut inner.sockets[id.index];
        if entry.generation != id.generation || !entry.parked || entry.stirred {
            return None;
        }
        entry.parked = false;
        entry.deadline.at_ns = 0;
        inner.crowd.unpark(id.index, entry.class, entry.origin());
        Some(Socket {
            core: Rc::clone(&self.core),
            index: id.index,
        })
    }

    /// Ids of all parked sockets with their tags: for closing idle connections when draining.
    pub fn parked(&self) -> Vec<(SocketId, u64)> {
        let inner = self.core.inner.borrow();
        inner
            .sockets
            .indices()
            .filter_map(|index| {
                let entry = &inner.sockets[index];
                (entry.fd >= 0 && entry.parked && !entry.stirred).then_some((
                    SocketId {
                        index,
                        generation: entry.generation,
                    },
                    entry.tag,
                ))
            })
            .collect()
    }

    /// At most so many parked sockets with their tags: each of the class that has most of them, and there
    /// of the one that was parked first; of strangers of the line that has most. With those that were parked
    /// in this turn, or without. Takes time by the number of classes that have any and by `count`.
    pub fn idlest(&self, origin: Origin, count: usize, fresh: bool) -> Vec<(SocketId, u64)> {
        let inner = self.core.inner.borrow();
        let turn = (!fresh).then(|| inner.turn());
        let found = inner.crowd.idlest(origin, count, turn).into_iter();
        found
            .map(|index| {
                let entry = &inner.sockets[index];
                let id = SocketId {
                    index,
                    generation: entry.generation,
                };
                (id, entry.tag)
            })
            .collect()
    }

    /// Sockets that exist.
    pub fn sockets(&self) -> u64 {
        self.core.inner.borrow().sockets.live() as u64
    }

    /// Of these, the idle ones: parked, and nothing has happened to them yet.
    pub fn idle(&self, origin: Origin) -> u64 {
        self.core.inner.borrow().crowd.parked(origin)
    }

    /// Sockets that are not idle, and promised ones. Not those that [`Event::Accepted`] was not told of yet.
    pub fn busy(&self) -> u64 {
        self.core.inner.borrow().crowd.busy_all()
    }

    /// Of these, those of a class; of a stranger's line.
    pub fn busy_of(&self, class: ClassId) -> u64 {
        self.core.inner.borrow().crowd.busy(class)
    }

    /// Of these, those of all strangers.
    pub fn busy_strangers(&self) -> u64 {
        self.core.inner.borrow().crowd.busy_strangers()
    }

    /// Sockets of a class, idle or not.
    pub fn sockets_of(&self, class: ClassId) -> u64 {
        self.core.inner.borrow().crowd.sockets(class)
    }

    /// Connections that were accepted, and of which [`Event::Accepted`] is to tell.
    pub fn accepted(&self) -> usize {
        self.core.inner.borrow().accepted.len()
    }

    /// Counts a socket of `class` that is not there yet.
    pub fn promise(&self, class: ClassId) -> Promise {
        self.core.inner.borrow_mut().crowd.enter(class);
        Promise {
            core: Rc::clone(&self.core),
            class,
        }
    }

    /// Makes [`Runtime::run`] return after the current turn.
    pub fn stop(&self) {
        self.core.inner.borrow_mut().stopping = true;
    }

    /// Numbers for `status`.
    pub fn statistics(&self) -> Statistics {
        let inner = self.core.inner.borrow();
        Statistics {
            sockets: inner.sockets.live() as u64,
            pool: self.core.pool.statistics(),
            ..inner.statistics
        }
    }

    /// Runs until [`Runtime::stop`]. Tasks that are left are dropped, which closes their sockets.
    pub fn run(&self, mut on_event: impl FnMut(Event)) -> io::Result<()> {
        let result = loop {
            if let Err(error) = self.core.turn() {
                break Err(error);
            }
            // Only those that are there now: a handler that parks a socket with bytes left in
            // it makes an event at once, and must not keep the tasks from running.
            let events = self.core.inner.borrow().events.len();
            for _ in 0..events {
                let Some(event) = self.core.next_event() else {
                    break;
                };
                on_event(event);
            }
            self.tell_accepted(&mut on_event);
            self.core.run_tasks();
            if std::mem::take(&mut self.core.inner.borrow_mut().stopping) {
                break Ok(());
            }
        };
        self.core.drop_tasks();
        result.and_then(|()| self.core.finish_closing())
    }

    /// Tells of connections that were accepted, as long as a class may work in one round; the others
    /// wait until the tasks had their turn. Whoever came pays for it: with the class of the unknown.
    fn tell_accepted(&self, on_event: &mut impl FnMut(Event)) {
        if self.accepted() == 0 {
            return;
        }
        let clock = &self.core.clock;
        let began_ns = clock.now_ns();
        let mut now_ns = began_ns;
        while now_ns - began_ns < QUANTUM_NS as u64
            && let Some((listener, index)) = self.core.next_accepted()
        {
            let socket = Socket {
                core: Rc::clone(&self.core),
                index,
            };
            on_event(Event::Accepted(listener, socket));
            let ended_ns = clock.now_ns();
            let mut guard = self.core.inner.borrow_mut();
            let inner = &mut *guard;
            // Its line, wherever it is by now.
            let class = inner.sockets[index].class;
            inner.queue.charge(class, ended_ns - now_ns + inner.unit_ns);
            now_ns = ended_ns;
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.core.inner.borrow_mut().crowd.leave(self.class);
    }
}

impl Core {
    /// Submits, waits when there is nothing to do, reaps and fires timers.
    fn turn(&self) -> io::Result<()> {
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        let has_events = !inner.events.is_empty() || !inner.accepted.is_empty();
        let idle = inner.queue.is_empty() && !has_events && !inner.stopping;
        // Before the wait: the tasks that ran may have given back the buffers that the last
        // receives wait for, and then nothing else would end the wait.
        self.pool.replenish();
        inner.feed_starved(&self.pool, if idle { usize::MAX } else { STARVED_LOOKS });
        // What is submitted mostly completes at once: only then there is something to wait for.
        if idle && inner.ring.queued() == 0 {
            inner.wait(&self.clock)?;
        } else {
            inner.submit(&self.clock)?;
        }
        inner.statistics.turns += 1;
        inner.reap(&self.pool);
        inner.catch_up(&self.pool, &self.clock)?;
        inner.fire_timers();
        if inner.now_ns - inner.settled_ns > 1_000_000_000 {
            inner.settled_ns = inner.now_ns;
            self.pool.settle();
        }
        Ok(())
    }

    /// The next connection that was accepted: from now on it counts.
    fn next_accepted(&self) -> Option<(ListenerId, u32)> {
        let mut inner = self.inner.borrow_mut();
        let (listener, index) = inner.accepted.pop_front()?;
        inner.crowd.enter(ClassId::UNKNOWN);
        Some((listener, index))
    }

    fn next_event(self: &Rc<Self>) -> Option<Event> {
        loop {
            let mut inner = self.inner.borrow_mut();
            match inner.events.pop_front()? {
                Queued::Notified => {
                    inner.notified = false;
                    return Some(Event::Notified);
                }
                Queued::Readable(index) => {
                    let watched = &mut inner.watched[index as usize];
                    watched.queued = false;
                    if watched.socket.is_some() {
                        return Some(Event::Readable(DatagramsId(index)));
                    }
                }
                Queued::Stirred {
                    index,
                    generation,
                    why,
                } => {
                    let entry = &mut inner.sockets[index];
                    if entry.generation != generation || !entry.parked {
                        continue;
                    }
                    entry.parked = false;
                    entry.stirred = false;
                    entry.deadline.at_ns = 0;
                    // What came after the event was queued counts for more: a request that
                    // arrives with the deadline is served.
                    let why = if entry.first_buffer != NO_BUFFER {
                        Stir::Bytes
                    } else if entry.ended || entry.recv_errno != 0 {
                        Stir::Ended
                    } else {
                        why
                    };
                    return Some(Event::Stirred {
                        id: SocketId { index, generation },
                        tag: entry.tag,
                        why,
                        socket: Socket {
                            core: Rc::clone(self),
                            index,
                        },
                    });
                }
            }
        }
    }

    /// Gives the kernel what closing asked for: the cancels, then the closes they lead to.
    fn finish_closing(&self) -> io::Result<()> {
        for _ in 0..CLOSING_ROUNDS {
            let mut guard = self.inner.borrow_mut();
            let inner = &mut *guard;
            if inner.ring.queued() == 0 {
                break;
            }
            inner.ring.enter(0, None)?;
            inner.now_ns = self.clock.now_ns();
            inner.reap(&self.pool);
        }
        Ok(())
    }
}

impl Inner {
    /// The number of this turn, which comes again after many.
    fn turn(&self) -> u32 {
        self.statistics.turns as u32
    }

    fn submit(&mut self, clock: &Clock) -> io::Result<()> {
        let before_ns = clock.now_ns();
        self.ring.enter(0, None)?;
        self.now_ns = clock.now_ns();
        if let Some(measured_ns) = (self.now_ns - before_ns).checked_div(self.units) {
            // A moving average over about sixteen submits.
            self.unit_ns = (self.unit_ns * 15 + measured_ns.clamp(50, 50_000)) / 16;
        }
        self.units = 0;
        Ok(())
    }

    /// Brings in all that the kernel has by now. It gives a few completions at a time, in the order
    /// in which they came: left there, those of one tenant stand behind all of another, and the run
    /// queue, which is there to be fair, does not know of them.
    fn catch_up(&mut self, pool: &Rc<Pool>, clock: &Clock) -> io::Result<()> {
        for _ in 0..CATCH_UP_ROUNDS {
            if !self.ring.has_news() {
                break;
            }
            self.ring.enter(0, None)?;
            // It took long, and it took along what reaping asked for.
            self.now_ns = clock.now_ns();
            self.units = 0;
            self.reap(pool);
        }
        Ok(())
    }

    /// Waits for something to do, or for the next deadline.
    fn wait(&mut self, clock: &Clock) -> io::Result<()> {
        let before_ns = clock.now_ns();
        let task_waits = self.tasks.len() > self.free_tasks.len();
        if self.busy_poll.is_worth_it(task_waits) && self.poll(clock, before_ns) {
            self.ring.enter(0, None)?;
        } else {
            let timeout = self
                .next_timer_ns()
                .map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(clock.now_ns())));
            self.ring.enter(1, timeout)?;
        }
        self.now_ns = clock.now_ns();
        self.statistics.waited_ns += self.now_ns - before_ns;
        self.busy_poll.learn(task_waits, before_ns, self.now_ns);
        Ok(())
    }

    /// Looks for completions for a while. Says whether there are any.
    fn poll(&mut self, clock: &Clock, before_ns: u64) -> bool {
        let mut now_ns = before_ns;
        let mut found = false;
        while !found && now_ns - before_ns < BUSY_POLL_NS {
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            found = self.ring.has_news();
            now_ns = clock.now_ns();
        }
        self.statistics.polled_ns += now_ns - before_ns;
        found
    }

    /// Queues a submission that is worth `units` cheap operations of the kernel.
    fn push(&mut self, submission: &squeue::Entry, units: u64) {
        self.units += units;
        #[cfg(test)]
        let submission = &self.faults.divert(submission);
        self.ring.push(submission);
    }

    /// Cancels the operation of `token`; a refusal of the kernel comes back as `refusal`.
    fn push_cancel(&mut self, token: u64, refusal: Op) {
        let answer = Token {
            op: refusal,
            ..Token::unpack(token)
        };
        let submission = opcode::AsyncCancel::new(token)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(answer.pack());
        self.push(&submission, 1);
    }

    fn arm_notifier(&mut self) {
        let fd = types::Fd(self.notifier.descriptor());
        let token = Token {
            op: Op::Notified,
            generation: 0,
            index: 0,
        }
        .pack();
        let submission = opcode::PollAdd::new(fd, libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(token);
        self.push(&submission, 1);
    }

    fn arm_readable(&mut self, index: u32) {
        let Some(socket) = &self.watched[index as usize].socket else {
            return;
        };
        let fd = types::Fd(socket.descriptor());
        let token = Token {
            op: Op::Readable,
            generation: 0,
            index,
        }
        .pack();
        let submission = opcode::PollAdd::new(fd, libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(token);
        self.push(&submission, 1);
    }

    fn tell_readable(&mut self, index: u32) {
        let watched = &mut self.watched[index as usize];
        if watched.socket.is_some() && !watched.queued {
            watched.queued = true;
            self.events.push_back(Queued::Readable(index));
        }
    }

    fn arm_accept(&mut self, id: ListenerId) {
        let listener = &mut self.listeners[id.0 as usize];
        listener.resume_ns = 0;
        let Some(socket) = &listener.socket else {
            return;
        };
        let fd = types::Fd(socket.as_raw_fd());
        listener.armed = true;
        let token = Token {
            op: Op::Accept,
            generation: 0,
            index: id.0,
        }
        .pack();
        let submission = opcode::AcceptMulti::new(fd)
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(token);
        self.push(&submission, 1);
    }

    fn next_timer_ns(&self) -> Option<u64> {
        let resume = self
            .listeners
            .iter()
            .map(|listener| listener.resume_ns)
            .filter(|&at_ns| at_ns != 0);
        self.wheel.next_ns().into_iter().chain(resume).min()
    }

    fn fire_timers(&mut self) {
        let now_ns = self.now_ns;
        while let Some(owner) = self.wheel.expired(now_ns) {
            match owner {
                Owner::Task(index) => {
                    let mut deadline = self.tasks[index as usize].deadline;
                    let due = self.wheel.due(owner, &mut deadline, now_ns);
                    self.tasks[index as usize].deadline = deadline;
                    if due {
                        self.schedule(index);
                    }
                }
                Owner::Socket(index) => {
                    let mut deadline = self.sockets[index].deadline;
                    let due = self.wheel.due(owner, &mut deadline, now_ns);
                    self.sockets[index].deadline = deadline;
                    if due && self.sockets[index].parked {
                        self.stir(index, Stir::Deadline);
                    }
                }
            }
        }
        for index in 0..self.listeners.len() {
            let resume_ns = self.listeners[index].resume_ns;
            if resume_ns != 0 && resume_ns <= now_ns {
                self.arm_accept(ListenerId(index as u32));
            }
        }
    }
}

impl Drop for Core {
    /// Ends everything that the kernel does with memory of ours before that memory is freed.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        let _ = inner.ring.enter(0, None);
        let _ = inner.ring.cancel_everything();
        let mut completions = Vec::new();
        for _ in 0..CLOSING_ROUNDS {
            let _ = inner.ring.enter(0, None);
            inner.ring.reap(&mut completions);
        }
        for completion in completions {
            let token = Token::unpack(completion.token);
            if token.op == Op::Accept && completion.result >= 0 {
                // SAFETY: the kernel made this descriptor for us and nobody else knows of it.
                drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
            }
            let ended = !cqueue::more(completion.flags);
            if matches!(token.op, Op::Recv | Op::Send | Op::Connect) && ended {
                let entry = &mut inner.sockets[token.index];
                if entry.generation == token.generation {
                    entry.in_flight = entry.in_flight.saturating_sub(1);
                }
            }
        }
        for index in inner.sockets.indices() {
            let entry = &mut inner.sockets[index];
            if entry.fd < 0 {
                continue;
            }
            if entry.in_flight > 0 {
                // The kernel did not say that it is done with these bytes: better to lose them.
                let _ = ManuallyDrop::new(entry.send.take());
                let _ = ManuallyDrop::new(entry.connect_address.take());
                let _ = ManuallyDrop::new(Rc::clone(&self.pool));
            }
            // SAFETY: the slot is in use, so the descriptor is open and ours.
            drop(unsafe { OwnedFd::from_raw_fd(entry.fd) });
        }
    }
}

mod completions;
mod sockets;
mod tasks;
#[cfg(test)]
mod tests;
