//! The limits of the runtime. Each is counted when it is hit, in [`crate::Statistics`].

/// Entries of the submission queue. A full queue is submitted early; nothing is lost.
pub const SQ_ENTRIES: u32 = 1024;
/// Entries of the completion queue. The kernel keeps what overflows (NODROP) and says so.
pub const CQ_ENTRIES: u32 = 8192;
/// How long an idle worker looks for completions itself before it sleeps, in nanoseconds. About
/// twice what a short exchange with a backend nearby takes.
pub const BUSY_POLL_NS: u64 = 80_000;
/// CPU time after which a turn ends and everything asked for is submitted, in nanoseconds; what the
/// kernel is expected to need for that is part of it.
pub const TURN_NS: u64 = 200_000;
/// How often in one turn the kernel is asked for more completions while it says that there are;
/// it gives some twenty at a time.
pub const CATCH_UP_ROUNDS: u32 = 32;
/// CPU time that a class may use in one round of the run queue, in nanoseconds.
pub const QUANTUM_NS: i64 = 50_000;
/// Lines in which those wait whose tenant is not known yet, by what network they come from.
pub const STRANGER_LINES: u32 = 64;
/// The debt that a class can carry from one round into the next, in nanoseconds.
pub const DEBT_NS_MAX: i64 = 400_000;
/// Bytes that a receive can put into one buffer.
pub const RECV_BYTES_MAX: usize = RECV_BUFFER_BYTES - HEADROOM_BYTES - TAILROOM_BYTES;
/// Length of a receive buffer, in bytes. Half of it makes a body of 1 MiB cost half as much
/// again: every receive and send wakes the other side's TCP, however few bytes it moves.
pub const RECV_BUFFER_BYTES: usize = 64 * 1024;
/// Distance between two receive buffers, in bytes. More than their length, and no power of two:
/// the buffers' first lines, which every request touches, would else all compete for the same
/// few sets of the caches.
pub const RECV_STRIDE_BYTES: usize = 68 * 1024;
/// How far into its stride a buffer begins grows by this much from one buffer to the next, in
/// bytes, until [`RECV_COLOURS`] are used up.
pub const RECV_COLOUR_BYTES: usize = 128;
/// Number of different beginnings.
pub const RECV_COLOURS: usize = 32;
/// Room kept free in front of received bytes, so that a rewritten head can be put before the
/// body that came with the old one, in bytes.
pub const HEADROOM_BYTES: usize = 1024;
/// Room kept free behind received bytes, for the end of a chunk, in bytes.
pub const TAILROOM_BYTES: usize = 64;
/// Bytes that one send can be begun with.
pub const SEND_BYTES_MAX: usize = 1 << 30;
/// Bytes of one connection that wait in the kernel to be sent for the first time, beyond which it
/// takes no further send. What is on its way, as much as the network asks for, is not counted.
pub const UNSENT_BYTES_MAX: i32 = 256 * 1024;
/// Receive buffers that a worker starts with, and never goes below.
pub const BUFFERS_MIN: u16 = 64;
/// Receive buffers that a worker never goes above, whatever it was made with.
pub const BUFFERS_MAX: u16 = 16384;
/// Buffers that one connection may have waiting before its multishot receive is cancelled.
pub const QUEUED_BUFFERS_HIGH: u16 = 4;
/// Waiting buffers at which a cancelled receive is armed again.
pub const QUEUED_BUFFERS_LOW: u16 = 1;
/// Bytes that a bounded receive brings in all before it ends: what it brings beyond what was asked
/// for, and so what a connection may have waiting that nobody reads.
pub const RECV_BOUND_BYTES: u32 = RECV_BYTES_MAX as u32;
/// Length of one tick of the timer wheel as a power of two of nanoseconds (16.8 ms).
pub const TICK_SHIFT: u32 = 24;
/// Slots of the timer wheel; a later deadline passes through the wheel more than once.
pub const WHEEL_SLOTS: usize = 4096;
/// Connections that wait to be accepted, per listener; the kernel caps it at net.core.somaxconn.
/// The same as that of meridianctl, who opens the listeners of planes that it starts.
pub const BACKLOG: i32 = 4096;
/// After a failed accept (no descriptors, no memory) the listener rests this long, in nanoseconds.
pub const ACCEPT_PAUSE_NS: u64 = 100_000_000;
/// Datagrams that one call receives or sends. More at once gain nothing.
pub const DATAGRAMS_MAX: usize = 64;
/// Octets of a datagram that are kept; what is behind is dropped. More than any query has.
pub const DATAGRAM_BYTES_MAX: usize = 2048;
/// Octets that wait at a UDP socket, in each direction. The kernel doubles it for its own needs, and
/// caps it at net.core.rmem_max and wmem_max; it drops datagrams for which there is no room.
pub const DATAGRAM_SOCKET_BYTES: i32 = 1024 * 1024;

const _: () = assert!(RECV_BYTES_MAX > 60 * 1024);
const _: () = assert!(RECV_BUFFER_BYTES + RECV_COLOUR_BYTES * RECV_COLOURS <= RECV_STRIDE_BYTES);
// While one buffer goes out the next one is waiting already.
const _: () = assert!(UNSENT_BYTES_MAX as usize >= 4 * RECV_BUFFER_BYTES);
const _: () = assert!(BUFFERS_MAX.is_power_of_two() && BUFFERS_MIN.is_power_of_two());
const _: () = assert!(BUFFERS_MIN < BUFFERS_MAX && BUFFERS_MAX <= 32768);
const _: () = assert!(QUEUED_BUFFERS_LOW < QUEUED_BUFFERS_HIGH);
const _: () = assert!(WHEEL_SLOTS.is_power_of_two());
const _: () = assert!(QUANTUM_NS as u64 * 2 <= TURN_NS);
