//! The per-core runtime under Meridian's planes, and the few other places that need the
//! kernel directly. The only crate of the workspace with unsafe code.
//!
//! One [`Runtime`] belongs to one thread. It owns an io_uring, a pool of provided receive
//! buffers, a slab of sockets, a timer wheel and a single-threaded executor whose run queue is
//! fair between classes (one class per tenant). A turn of its loop reaps completions, fires
//! timers, hands events to the owner, polls tasks for at most [`limits::TURN_NS`] and then
//! submits everything that was asked for with a single system call.
//!
//! A connection that waits for its next request is a slab entry with an armed receive: no task
//! and no buffer. See [`Socket::park`].
//!
//! There are no wakers. A leaf operation notes which task polled it, and the completion puts
//! that task on the run queue; what crosses threads is a [`Notifier`], an eventfd.

mod bounded_receive;
mod buffers;
mod busy_poll;
mod clock;
mod counter_file;
pub mod counting;
mod crowd;
pub mod datagram;
pub mod limits;
pub mod listener;
mod notifier;
mod prefetch;
pub mod process;
mod ring;
mod run_queue;
mod runtime;
mod slab;
mod socket;
pub mod supervised;
mod timers;
mod token;

pub use bounded_receive::has_bounded_receives;
pub use buffers::{PoolStatistics, RecvBuf};
pub use clock::Clock;
pub use counter_file::{CounterFile, CounterSegment, CounterWords};
pub use crowd::Origin;
pub use notifier::Notifier;
pub use ring::SetupError;
pub use run_queue::ClassId;
pub use runtime::{
    DatagramsId, Event, ListenerId, Promise, Runtime, RuntimeConfig, Statistics, Stir, TaskId,
};
pub use socket::{RecvMode, SendBuf, Socket, SocketId};
