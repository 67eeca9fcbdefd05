//! The loop of one worker: reap, run, submit.

use crate::buffers::{BUFFER_GROUP, NO_BUFFER, Pool, PoolStatistics, RecvBuf};
use crate::clock::Clock;
use crate::limits::{
    ACCEPT_PAUSE_NS, BUFFERS_MAX, QUEUED_BUFFERS_HIGH, QUEUED_BUFFERS_LOW, SEND_BYTES_MAX, TURN_NS,
};
use crate::listener;
use crate::ring::{Completion, Ring, SetupError};
use crate::run_queue::{ClassId, RunQueue};
use crate::slab::{Entry, NO_TASK, Receiving, Slab};
use crate::socket::{RecvMode, SendBuf, Socket, SocketId};
use crate::timers::{Deadline, Owner, Wheel};
use crate::token::{Op, Token};
use io_uring::{cqueue, opcode, squeue, types};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Receive without a first try: nothing is there yet, so wait for the socket to say so.
const RECV_POLL_FIRST: u16 = 1;
/// Kernel work that one cheap operation stands for, until measured, in nanoseconds.
const UNIT_NS_FIRST: u64 = 1_000;
/// System calls that the end of a run makes at most to get sockets cancelled and closed.
const CLOSING_ROUNDS: u32 = 4;
/// Sockets waiting for a buffer that a turn with other work looks at; an idle one looks at all.
const STARVED_LOOKS: usize = 256;

/// What a runtime is made with.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeConfig {
    /// Receive buffers that the worker never goes above; a power of two is best.
    pub buffers_max: u16,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig {
            buffers_max: BUFFERS_MAX,
        }
    }
}

/// A listener of this runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

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
}

/// Wakes a runtime from any thread. Many calls before it looks count as one.
#[derive(Debug, Clone)]
pub struct Notifier {
    eventfd: Arc<OwnedFd>,
}

impl Notifier {
    fn new() -> io::Result<Notifier> {
        // SAFETY: eventfd takes two integers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Notifier {
            eventfd: Arc::new(eventfd),
        })
    }

    /// Makes the runtime deliver [`Event::Notified`].
    pub fn notify(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that outlive the call. The only failure is a full counter, which
        // wakes as well.
        unsafe { libc::write(self.eventfd.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
    }

    fn reset(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes of ours that outlive the call.
        unsafe {
            libc::read(
                self.eventfd.as_raw_fd(),
                std::ptr::from_mut(&mut count).cast(),
                8,
            )
        };
    }
}

/// Numbers of a runtime, for `status`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    /// Turns of the loop.
    pub turns: u64,
    /// Nanoseconds spent waiting for something to do.
    pub waited_ns: u64,
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
    tasks: Vec<Task>,
    free_tasks: Vec<u32>,
    queue: RunQueue,
    wheel: Wheel,
    events: VecDeque<Queued>,
    listeners: Vec<Listener>,
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
    notifier: Notifier,
    notified: bool,
    statistics: Statistics,
    #[cfg(test)]
    faults: tests::Faults,
}

#[derive(Debug, Clone, Copy)]
enum Queued {
    Accepted(ListenerId, u32),
    Stirred {
        index: u32,
        generation: u32,
        why: Stir,
    },
    Notified,
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
        let clock = Clock::start();
        let now_ns = clock.now_ns();
        let mut inner = Inner {
            ring,
            sockets: Slab::default(),
            tasks: Vec::new(),
            free_tasks: Vec::new(),
            queue: RunQueue::new(),
            wheel: Wheel::new(now_ns),
            events: VecDeque::new(),
            listeners: Vec::new(),
            starved: VecDeque::new(),
            completions: Vec::with_capacity(256),
            uncancelled: Vec::new(),
            now_ns,
            settled_ns: now_ns,
            units: 0,
            unit_ns: UNIT_NS_FIRST,
            stopping: false,
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
        self.core.inner.borrow_mut().queue.add_class()
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

    /// Opens a connection. [`Socket::poll_recv`] and the like may be used once
    /// [`Runtime::poll_connected`] is ready; dropping the socket gives up.
    pub fn start_connect(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = listener::stream_socket(address)?;
        listener::set_option(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        let (storage, bytes) = listener::boxed_storage(address);
        let mut inner = self.core.inner.borrow_mut();
        let fd = socket.into_raw_fd();
        let index = inner.sockets.insert(fd, RecvMode::OnDemand);
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

    /// Opens a connection and waits for it until `deadline_ns`.
    pub async fn connect(&self, address: SocketAddr, deadline_ns: u64) -> io::Result<Socket> {
        let socket = self.start_connect(address)?;
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
        let mut inner = self.core.inner.borrow_mut();
        let entry = &mut inner.sockets[id.index];
        if entry.generation != id.generation || !entry.parked || entry.stirred {
            return None;
        }
        entry.parked = false;
        entry.deadline.at_ns = 0;
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
            self.core.run_tasks();
            if std::mem::take(&mut self.core.inner.borrow_mut().stopping) {
                break Ok(());
            }
        };
        self.core.drop_tasks();
        result.and_then(|()| self.core.finish_closing())
    }
}

impl Core {
    /// Submits, waits when there is nothing to do, reaps and fires timers.
    fn turn(&self) -> io::Result<()> {
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        let idle = inner.queue.is_empty() && inner.events.is_empty() && !inner.stopping;
        // Before the wait: the tasks that ran may have given back the buffers that the last
        // receives wait for, and then nothing else would end the wait.
        self.pool.replenish();
        inner.feed_starved(&self.pool, if idle { usize::MAX } else { STARVED_LOOKS });
        let before_ns = self.clock.now_ns();
        if idle {
            let timeout = inner
                .next_timer_ns()
                .map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(before_ns)));
            inner.ring.enter(1, timeout)?;
        } else {
            inner.ring.enter(0, None)?;
        }
        inner.now_ns = self.clock.now_ns();
        let spent_ns = inner.now_ns - before_ns;
        if idle {
            inner.statistics.waited_ns += spent_ns;
        } else if let Some(measured_ns) = spent_ns.checked_div(inner.units) {
            // A moving average over about sixteen submits.
            inner.unit_ns = (inner.unit_ns * 15 + measured_ns.clamp(50, 50_000)) / 16;
        }
        inner.units = 0;
        inner.statistics.turns += 1;
        inner.reap(&self.pool);
        inner.fire_timers();
        if inner.now_ns - inner.settled_ns > 1_000_000_000 {
            inner.settled_ns = inner.now_ns;
            self.pool.settle();
        }
        Ok(())
    }

    fn next_event(self: &Rc<Self>) -> Option<Event> {
        loop {
            let mut inner = self.inner.borrow_mut();
            match inner.events.pop_front()? {
                Queued::Accepted(listener, index) => {
                    let socket = Socket {
                        core: Rc::clone(self),
                        index,
                    };
                    return Some(Event::Accepted(listener, socket));
                }
                Queued::Notified => {
                    inner.notified = false;
                    return Some(Event::Notified);
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

    /// Polls runnable tasks until there are none or the turn is over.
    fn run_tasks(&self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut started_ns = self.clock.now_ns();
        let turn_ends_ns = started_ns + TURN_NS;
        loop {
            let (class, index, mut work) = {
                let mut inner = self.inner.borrow_mut();
                let Some((class, index)) = inner.queue.pop() else {
                    break;
                };
                let task = &mut inner.tasks[index as usize];
                task.queued = false;
                let Some(work) = task.work.take() else {
                    continue;
                };
                task.deadline.at_ns = 0;
                (class, index, work)
            };
            self.current.set(index);
            let units_before = self.inner.borrow().units;
            let done = work.as_mut().poll(&mut context).is_ready();
            // A finished task's sockets are closed here, while the runtime is not borrowed.
            let work = (!done).then_some(work);
            self.current.set(NO_TASK);
            let ended_ns = self.clock.now_ns();
            let mut guard = self.inner.borrow_mut();
            let inner = &mut *guard;
            let kernel_ns = (inner.units - units_before.min(inner.units)) * inner.unit_ns;
            inner.queue.charge(class, ended_ns - started_ns + kernel_ns);
            let task = &mut inner.tasks[index as usize];
            task.work = work;
            if done {
                task.alive = false;
                task.deadline.at_ns = 0;
                inner.free_tasks.push(index);
            } else {
                let mut deadline = task.deadline;
                inner.wheel.file(Owner::Task(index), &mut deadline);
                inner.tasks[index as usize].deadline = deadline;
            }
            started_ns = ended_ns;
            if ended_ns >= turn_ends_ns || inner.stopping {
                break;
            }
        }
    }

    fn drop_tasks(&self) {
        let mut index = 0;
        loop {
            let work = {
                let mut inner = self.inner.borrow_mut();
                let Some(task) = inner.tasks.get_mut(index) else {
                    break;
                };
                let work = task.work.take();
                if work.is_some() {
                    task.alive = false;
                    task.deadline.at_ns = 0;
                    inner.free_tasks.push(index as u32);
                }
                work
            };
            // Dropped while the runtime is not borrowed: it closes the task's sockets.
            drop(work);
            index += 1;
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

    pub(crate) fn or_timeout<T>(
        &self,
        deadline_ns: u64,
        state: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if state.is_ready() {
            return state;
        }
        if deadline_ns != 0 && deadline_ns <= self.inner.borrow().now_ns {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
        }
        self.set_task_deadline(deadline_ns);
        Poll::Pending
    }

    /// The earliest of the deadlines that the current task waits with counts.
    fn set_task_deadline(&self, deadline_ns: u64) {
        let current = self.current.get();
        if current == NO_TASK || deadline_ns == 0 {
            return;
        }
        let mut inner = self.inner.borrow_mut();
        let deadline = &mut inner.tasks[current as usize].deadline;
        if deadline.at_ns == 0 || deadline_ns < deadline.at_ns {
            deadline.at_ns = deadline_ns;
        }
    }

    pub(crate) fn fd(&self, index: u32) -> RawFd {
        self.inner.borrow().sockets[index].fd
    }

    pub(crate) fn poll_recv(self: &Rc<Self>, index: u32) -> Poll<io::Result<Option<RecvBuf>>> {
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        let entry = &mut inner.sockets[index];
        entry.task = self.current.get();
        if entry.first_buffer != NO_BUFFER {
            let buffer = entry.first_buffer;
            entry.first_buffer = self.pool.next(buffer);
            if entry.first_buffer == NO_BUFFER {
                entry.last_buffer = NO_BUFFER;
            }
            entry.queued_buffers -= 1;
            if entry.mode == RecvMode::Multishot && entry.queued_buffers <= QUEUED_BUFFERS_LOW {
                inner.arm_recv(&self.pool, index);
            }
            return Poll::Ready(Ok(Some(self.pool.own(buffer))));
        }
        if entry.recv_errno != 0 {
            return Poll::Ready(Err(io::Error::from_raw_os_error(entry.recv_errno)));
        }
        if entry.ended {
            return Poll::Ready(Ok(None));
        }
        inner.arm_recv(&self.pool, index);
        Poll::Pending
    }

    pub(crate) fn unread(&self, index: u32, buffer: RecvBuf) {
        let buffer = buffer.disown(&self.pool);
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.sockets[index];
        self.pool.link(buffer, entry.first_buffer);
        if entry.first_buffer == NO_BUFFER {
            entry.last_buffer = buffer;
        }
        entry.first_buffer = buffer;
        entry.queued_buffers += 1;
    }

    pub(crate) fn start_send(&self, index: u32, bytes: SendBuf, more_follows: bool) {
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        let entry = &mut inner.sockets[index];
        assert!(!entry.sending && entry.send.is_none(), "one send at a time");
        assert!(
            bytes.len() <= SEND_BYTES_MAX,
            "a send has at most {SEND_BYTES_MAX} bytes"
        );
        entry.task = self.current.get();
        entry.send = Some(bytes);
        entry.sent = 0;
        entry.send_errno = 0;
        entry.send_flags = libc::MSG_NOSIGNAL | if more_follows { libc::MSG_MORE } else { 0 };
        entry.send_progress_ns = inner.now_ns;
        inner.push_send(index);
    }

    pub(crate) fn poll_sent(&self, index: u32) -> Poll<io::Result<SendBuf>> {
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.sockets[index];
        entry.task = self.current.get();
        entry.sent_wanted = entry.sending;
        if entry.sending {
            return Poll::Pending;
        }
        let bytes = entry.send.take().unwrap_or(SendBuf::Static(&[]));
        match std::mem::take(&mut entry.send_errno) {
            0 => Poll::Ready(Ok(bytes)),
            errno => Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
        }
    }

    pub(crate) fn peer_address(&self, index: u32) -> io::Result<SocketAddr> {
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.sockets[index];
        match entry.peer {
            Some(address) => Ok(address),
            None => {
                let address = listener::peer_address(entry.fd)?;
                entry.peer = Some(address);
                Ok(address)
            }
        }
    }

    pub(crate) fn is_sending(&self, index: u32) -> bool {
        self.inner.borrow().sockets[index].send.is_some()
    }

    pub(crate) fn send_progress_ns(&self, index: u32) -> u64 {
        self.inner.borrow().sockets[index].send_progress_ns
    }

    pub(crate) fn is_quiet(&self, index: u32) -> bool {
        let inner = self.inner.borrow();
        let entry = &inner.sockets[index];
        entry.first_buffer == NO_BUFFER && !entry.ended && entry.recv_errno == 0
    }

    pub(crate) fn is_broken(&self, index: u32) -> bool {
        self.inner.borrow().sockets[index].recv_errno != 0
    }

    pub(crate) fn shutdown_write(&self, index: u32) {
        // SAFETY: shutdown takes integers; the descriptor is open while the slot is in use.
        unsafe { libc::shutdown(self.fd(index), libc::SHUT_WR) };
    }

    pub(crate) fn reset_on_close(&self, index: u32) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the option value is a linger that outlives the call.
        unsafe {
            libc::setsockopt(
                self.fd(index),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                std::ptr::from_ref(&linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
    }

    pub(crate) fn set_socket_class(&self, index: u32, class: ClassId) {
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.sockets[index];
        entry.class = class;
        let mut buffer = entry.first_buffer;
        while buffer != NO_BUFFER {
            self.pool.charge(buffer, class);
            buffer = self.pool.next(buffer);
        }
    }

    pub(crate) fn set_mode(&self, index: u32, mode: RecvMode) {
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.sockets[index];
        entry.mode = mode;
        if mode == RecvMode::OnDemand && entry.multishot {
            inner.cancel_recv(index);
        }
    }

    pub(crate) fn park(&self, index: u32, deadline_ns: u64, tag: u64) -> SocketId {
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        let entry = &mut inner.sockets[index];
        // Not only our own logic: giving the bytes free under the kernel would be unsound.
        assert!(!entry.sending, "a socket that sends is not idle");
        entry.send = None;
        entry.task = NO_TASK;
        entry.parked = true;
        entry.stirred = false;
        entry.tag = tag;
        entry.deadline.at_ns = deadline_ns;
        let id = SocketId {
            index,
            generation: entry.generation,
        };
        let mut deadline = entry.deadline;
        inner.wheel.file(Owner::Socket(index), &mut deadline);
        let entry = &mut inner.sockets[index];
        entry.deadline = deadline;
        if entry.first_buffer != NO_BUFFER {
            inner.stir(index, Stir::Bytes);
        } else if entry.ended || entry.recv_errno != 0 {
            inner.stir(index, Stir::Ended);
        } else {
            inner.arm_recv(&self.pool, index);
        }
        id
    }

    pub(crate) fn close(&self, index: u32) {
        let mut guard = self.inner.borrow_mut();
        guard.begin_close(&self.pool, index);
    }
}

impl Inner {
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

    /// The kernel did not find what it was to cancel. Mostly it had just ended; but if it is
    /// still under way, between two tries of the kernel's, its socket would never be closed.
    fn cancel_again(&mut self, index: u32) {
        let entry = &self.sockets[index];
        if entry.receiving == Receiving::Cancelling {
            self.push_cancel(entry.token(Op::Recv, index), Op::Cancel);
        }
        let entry = &self.sockets[index];
        if entry.closing && entry.sending {
            self.push_cancel(entry.token(Op::Send, index), Op::Cancel);
        }
        let entry = &self.sockets[index];
        if entry.closing && matches!(entry.connecting, Some(None)) {
            self.push_cancel(entry.token(Op::Connect, index), Op::Cancel);
        }
    }

    fn arm_notifier(&mut self) {
        let fd = types::Fd(self.notifier.eventfd.as_raw_fd());
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

    /// Arms a receive when none is under way and more may come.
    fn arm_recv(&mut self, pool: &Pool, index: u32) {
        let entry = &mut self.sockets[index];
        if entry.receiving != Receiving::Off
            || entry.ended
            || entry.closing
            || entry.recv_errno != 0
            || entry.starved
            || matches!(entry.connecting, Some(None | Some(1..)))
        {
            return;
        }
        let over_share = pool.is_over_share(entry.class, entry.is_opened());
        if over_share || !pool.has_published() && !pool.grow() {
            if over_share {
                self.statistics.over_share += 1;
            } else {
                self.statistics.starved += 1;
            }
            self.starve(index);
            return;
        }
        let fd = types::Fd(entry.fd);
        let token = entry.token(Op::Recv, index);
        entry.receiving = Receiving::Armed;
        entry.multishot = entry.mode == RecvMode::Multishot;
        entry.in_flight += 1;
        let submission = match entry.mode {
            RecvMode::Multishot => opcode::RecvMulti::new(fd, BUFFER_GROUP).build(),
            RecvMode::OnDemand => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(BUFFER_GROUP)
                .ioprio(if entry.parked { RECV_POLL_FIRST } else { 0 })
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        self.push(&submission.user_data(token), 1);
    }

    fn cancel_recv(&mut self, index: u32) {
        let entry = &mut self.sockets[index];
        if entry.receiving == Receiving::Armed {
            entry.receiving = Receiving::Cancelling;
            let token = entry.token(Op::Recv, index);
            self.push_cancel(token, Op::Cancel);
        }
    }

    fn push_send(&mut self, index: u32) {
        let entry = &mut self.sockets[index];
        let Some(bytes) = &entry.send else { return };
        let rest = &bytes[entry.sent as usize..];
        #[cfg(test)]
        let rest = self.faults.shorten(rest);
        let submission = opcode::Send::new(types::Fd(entry.fd), rest.as_ptr(), rest.len() as u32)
            .flags(entry.send_flags)
            .build()
            .user_data(entry.token(Op::Send, index));
        let units = 3 + rest.len() as u64 / 4096;
        entry.sending = true;
        entry.in_flight += 1;
        self.push(&submission, units);
    }

    fn schedule(&mut self, task: u32) {
        let Some(entry) = self.tasks.get_mut(task as usize) else {
            return;
        };
        if entry.alive && !entry.queued {
            entry.queued = true;
            self.queue.push(entry.class, task);
        }
    }

    /// Something happened to a socket: its task runs, or its owner is told.
    fn wake(&mut self, index: u32, why: Stir) {
        let entry = &self.sockets[index];
        if entry.task != NO_TASK {
            let task = entry.task;
            self.schedule(task);
        } else if entry.parked {
            self.stir(index, why);
        }
    }

    fn stir(&mut self, index: u32, why: Stir) {
        let entry = &mut self.sockets[index];
        if !entry.stirred {
            entry.stirred = true;
            let generation = entry.generation;
            self.events.push_back(Queued::Stirred {
                index,
                generation,
                why,
            });
        }
    }

    fn reap(&mut self, pool: &Rc<Pool>) {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        for completion in completions.drain(..) {
            self.complete(pool, completion);
        }
        self.completions = completions;
        while let Some((index, generation)) = self.uncancelled.pop() {
            let entry = &self.sockets[index];
            if entry.generation == generation && entry.in_flight > 0 {
                self.cancel_again(index);
            }
        }
    }

    fn complete(&mut self, pool: &Rc<Pool>, completion: Completion) {
        #[cfg(test)]
        let completion = self.faults.alter(completion);
        let token = Token::unpack(completion.token);
        match token.op {
            Op::Forget => {}
            Op::Cancel => self.uncancelled.push((token.index, token.generation)),
            Op::Notified => self.complete_notified(completion),
            Op::Accept => self.complete_accept(token.index, completion),
            Op::Recv | Op::Send | Op::Connect => {
                let entry = &self.sockets[token.index];
                if entry.generation != token.generation || entry.in_flight == 0 {
                    self.statistics.stale += 1;
                    if let Some(buffer) = cqueue::buffer_select(completion.flags) {
                        pool.take(buffer, 0, ClassId::UNKNOWN);
                        pool.release(buffer);
                    }
                    return;
                }
                match token.op {
                    Op::Recv => self.complete_recv(pool, token.index, completion),
                    Op::Send => self.complete_send(token.index, completion.result),
                    _ => self.complete_connect(pool, token.index, completion.result),
                }
                let entry = &self.sockets[token.index];
                if entry.closing && entry.in_flight == 0 {
                    self.finish_close(token.index);
                }
            }
        }
    }

    fn complete_notified(&mut self, completion: Completion) {
        self.notifier.reset();
        if !self.notified {
            self.notified = true;
            self.events.push_back(Queued::Notified);
        }
        if !cqueue::more(completion.flags) {
            self.arm_notifier();
        }
    }

    fn complete_accept(&mut self, listener: u32, completion: Completion) {
        let id = ListenerId(listener);
        if completion.result >= 0 {
            let index = self.sockets.insert(completion.result, RecvMode::Multishot);
            self.events.push_back(Queued::Accepted(id, index));
        }
        if cqueue::more(completion.flags) {
            return;
        }
        self.listeners[listener as usize].armed = false;
        match completion.result {
            // What accept(2) says of one connection that came to nothing, or of no error at all.
            0.. => self.arm_accept(id),
            failed => match -failed {
                libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO => {
                    self.arm_accept(id);
                }
                // Want of descriptors or memory, or a fault that asking again at once would
                // only show again, as fast as a core can ask.
                _ if self.listeners[listener as usize].socket.is_some() => {
                    self.statistics.accept_failures += 1;
                    self.listeners[listener as usize].resume_ns = self.now_ns + ACCEPT_PAUSE_NS;
                }
                _ => {}
            },
        }
    }

    fn complete_recv(&mut self, pool: &Rc<Pool>, index: u32, completion: Completion) {
        let entry = &mut self.sockets[index];
        if !cqueue::more(completion.flags) {
            entry.receiving = Receiving::Off;
            entry.in_flight -= 1;
        }
        let class = entry.class;
        if let Some(buffer) = cqueue::buffer_select(completion.flags) {
            let bytes = completion.result.max(0) as u32;
            pool.take(buffer, bytes, class);
            if bytes == 0 || entry.closing {
                pool.release(buffer);
            } else {
                if entry.first_buffer == NO_BUFFER {
                    entry.first_buffer = buffer;
                } else {
                    pool.link(entry.last_buffer, buffer);
                }
                entry.last_buffer = buffer;
                entry.queued_buffers += 1;
                let cost_ns = (1 + u64::from(bytes) / 4096) * self.unit_ns;
                self.queue.charge(class, cost_ns);
            }
        }
        let entry = &mut self.sockets[index];
        if entry.closing {
            return;
        }
        match completion.result {
            0 => entry.ended = true,
            1.. => {}
            failed => match -failed {
                // What the kernel lacked is counted by now: arming grows the pool or waits.
                libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                    self.rearm_multishot(pool, index);
                    return;
                }
                errno => entry.recv_errno = errno,
            },
        }
        // Only a multishot receive is still under way here.
        let entry = &self.sockets[index];
        let over_share = pool.is_over_share(class, entry.is_opened());
        if entry.queued_buffers >= QUEUED_BUFFERS_HIGH || over_share {
            self.cancel_recv(index);
        }
        let why = if self.sockets[index].first_buffer == NO_BUFFER {
            Stir::Ended
        } else {
            Stir::Bytes
        };
        self.wake(index, why);
        self.rearm_multishot(pool, index);
    }

    /// A multishot receive that ended, for whatever reason, goes on when the reader keeps up.
    fn rearm_multishot(&mut self, pool: &Pool, index: u32) {
        let entry = &self.sockets[index];
        let wanted = match entry.mode {
            RecvMode::Multishot => entry.queued_buffers < QUEUED_BUFFERS_HIGH,
            // Interrupted before it received anything.
            RecvMode::OnDemand => entry.queued_buffers == 0,
        };
        if wanted && entry.receiving == Receiving::Off {
            self.arm_recv(pool, index);
        }
    }

    fn complete_send(&mut self, index: u32, result: i32) {
        let now_ns = self.now_ns;
        let entry = &mut self.sockets[index];
        entry.in_flight -= 1;
        entry.sending = false;
        if entry.closing {
            return;
        }
        match result {
            0.. => {
                entry.sent += result as u32;
                entry.send_progress_ns = now_ns;
                let whole = entry.send.as_ref().map_or(0, |bytes| bytes.len());
                if (entry.sent as usize) < whole {
                    self.push_send(index);
                }
            }
            failed => match -failed {
                libc::EINTR | libc::EAGAIN => self.push_send(index),
                errno => entry.send_errno = errno,
            },
        }
        let entry = &self.sockets[index];
        if entry.sent_wanted || entry.send_errno != 0 {
            self.wake(index, Stir::Ended);
        }
    }

    fn complete_connect(&mut self, pool: &Pool, index: u32, result: i32) {
        let entry = &mut self.sockets[index];
        entry.in_flight -= 1;
        entry.connect_address = None;
        entry.connecting = Some(Some(-result));
        if entry.closing {
            return;
        }
        if result < 0 {
            // Whoever reads hears of it too.
            entry.recv_errno = -result;
        } else if entry.parked {
            self.arm_recv(pool, index);
            return;
        }
        self.wake(index, Stir::Ended);
    }

    fn begin_close(&mut self, pool: &Pool, index: u32) {
        let entry = &mut self.sockets[index];
        entry.closing = true;
        entry.parked = false;
        entry.task = NO_TASK;
        entry.deadline.at_ns = 0;
        let mut buffer = std::mem::replace(&mut entry.first_buffer, NO_BUFFER);
        entry.last_buffer = NO_BUFFER;
        entry.queued_buffers = 0;
        while buffer != NO_BUFFER {
            let next = pool.next(buffer);
            pool.release(buffer);
            buffer = next;
        }
        let sending = entry.sending.then(|| entry.token(Op::Send, index));
        let connecting =
            matches!(entry.connecting, Some(None)).then(|| entry.token(Op::Connect, index));
        let in_flight = entry.in_flight;
        self.cancel_recv(index);
        for token in [sending, connecting].into_iter().flatten() {
            self.push_cancel(token, Op::Cancel);
        }
        if in_flight == 0 {
            self.finish_close(index);
        }
    }

    fn finish_close(&mut self, index: u32) {
        let forget = Token {
            op: Op::Forget,
            generation: 0,
            index: 0,
        }
        .pack();
        let fd = types::Fd(self.sockets[index].fd);
        self.sockets.remove(index);
        let submission = opcode::Close::new(fd)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(forget);
        self.push(&submission, 2);
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

    /// Arms the receives that waited for a buffer, oldest first, as far as buffers go. Those of
    /// a class over its share go to the end and keep nobody waiting.
    fn feed_starved(&mut self, pool: &Pool, looks_max: usize) {
        if self.starved.is_empty() || !pool.has_stirred() {
            return;
        }
        let looks = self.starved.len().min(looks_max);
        let all = looks == self.starved.len();
        for _ in 0..looks {
            if !pool.has_published() && !pool.grow() {
                break;
            }
            let Some((index, generation)) = self.starved.pop_front() else {
                break;
            };
            let entry: &mut Entry = &mut self.sockets[index];
            if entry.generation != generation || !entry.starved || entry.closing {
                continue;
            }
            if pool.is_over_share(entry.class, entry.is_opened()) {
                self.starved.push_back((index, generation));
            } else {
                entry.starved = false;
                self.arm_recv(pool, index);
            }
        }
        if all || !pool.has_published() {
            pool.settle_stir();
        }
    }

    /// Makes a receive wait for a buffer. Sockets that were closed while they waited leave their
    /// places behind; they are swept out before they are more than the living.
    fn starve(&mut self, index: u32) {
        let entry = &mut self.sockets[index];
        entry.starved = true;
        let generation = entry.generation;
        if self.starved.len() > 64 + 2 * self.sockets.live() {
            let sockets = &self.sockets;
            self.starved.retain(|&(index, generation)| {
                let entry = &sockets[index];
                entry.generation == generation && entry.starved && !entry.closing
            });
        }
        self.starved.push_back((index, generation));
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

#[cfg(test)]
mod tests;
