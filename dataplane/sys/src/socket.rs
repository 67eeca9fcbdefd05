//! A connected socket, as connection code sees it.

use crate::buffers::RecvBuf;
use crate::run_queue::ClassId;
use crate::runtime::{Core, Runtime};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;

/// When a receive is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvMode {
    /// Always, with one multishot submission: cheapest for many small messages. When the
    /// reader falls behind it is cancelled, and armed again when the reader has caught up.
    Multishot,
    /// When the reader asks and nothing is there, one buffer at a time: exact backpressure.
    OnDemand,
    /// When the reader asks and nothing is there, with one submission for as many messages as come
    /// within [`crate::limits::RECV_BOUND_BYTES`]: backpressure but for so much. As
    /// [`RecvMode::OnDemand`] where the kernel has no such receive
    /// ([`crate::has_bounded_receives`]).
    Bounded,
}

/// Bytes to send; owned by the runtime while the kernel may read them.
#[derive(Debug)]
pub enum SendBuf {
    /// A receive buffer, forwarded as it is.
    Received(RecvBuf),
    /// A buffer of the caller's; it comes back from [`Socket::poll_sent`] for use again.
    Heap(Vec<u8>),
    /// A buffer that the caller keeps a share of, to send it once more if this send fails.
    Shared(Rc<Vec<u8>>),
    /// Constant bytes.
    Static(&'static [u8]),
}

impl Deref for SendBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            SendBuf::Received(buffer) => buffer,
            SendBuf::Heap(bytes) => bytes,
            SendBuf::Shared(bytes) => bytes,
            SendBuf::Static(bytes) => bytes,
        }
    }
}

impl From<RecvBuf> for SendBuf {
    fn from(buffer: RecvBuf) -> SendBuf {
        SendBuf::Received(buffer)
    }
}

impl From<Rc<Vec<u8>>> for SendBuf {
    fn from(bytes: Rc<Vec<u8>>) -> SendBuf {
        SendBuf::Shared(bytes)
    }
}

impl From<Vec<u8>> for SendBuf {
    fn from(bytes: Vec<u8>) -> SendBuf {
        SendBuf::Heap(bytes)
    }
}

/// Names a parked socket. It is worthless once the socket is closed: generations tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A connected TCP socket that belongs to this thread's [`Runtime`]. Dropping it closes it;
/// what the kernel still uses is freed only when the kernel is done.
#[derive(Debug)]
pub struct Socket {
    pub(crate) core: Rc<Core>,
    pub(crate) index: u32,
}

impl Socket {
    /// The next received bytes; `None` when the peer has ended its side. While pending, the
    /// current task runs again when that may have changed.
    pub fn poll_recv(&self) -> Poll<io::Result<Option<RecvBuf>>> {
        self.core.poll_recv(self.index)
    }

    /// Puts back bytes that belong to what is read next, such as a pipelined request. Panics
    /// on a buffer of another runtime.
    pub fn unread(&self, buffer: RecvBuf) {
        if !buffer.is_empty() {
            self.core.unread(self.index, buffer);
        }
    }

    /// Waits for received bytes until `deadline_ns` ([`io::ErrorKind::TimedOut`] after it).
    pub async fn recv(&self, deadline_ns: u64) -> io::Result<Option<RecvBuf>> {
        poll_fn(|_| self.core.or_timeout(deadline_ns, self.poll_recv())).await
    }

    /// Begins to send at most [`crate::limits::SEND_BYTES_MAX`] bytes. One send at a time:
    /// panics while another is under way, or its end was not taken with [`Socket::poll_sent`].
    ///
    /// `more_follows` lets the kernel wait with a short segment for what comes next (MSG_MORE).
    pub fn start_send(&self, bytes: impl Into<SendBuf>, more_follows: bool) {
        self.core.start_send(self.index, bytes.into(), more_follows);
    }

    /// The end of the send that was begun, with its buffer. While pending, the current task
    /// runs again when that may have changed, also when only a part was taken. A task that has
    /// not asked is woken by a failed send only.
    ///
    /// Without a send under way: an empty buffer at once.
    pub fn poll_sent(&self) -> Poll<io::Result<SendBuf>> {
        self.core.poll_sent(self.index)
    }

    /// The buffer of the last send, however that ended, to send it elsewhere. `None` when
    /// [`Socket::poll_sent`] gave it back before, or while the kernel may still read it.
    pub fn take_back(&self) -> Option<SendBuf> {
        self.core.take_back(self.index)
    }

    /// Whether a send was begun whose end was not yet taken with [`Socket::poll_sent`].
    pub fn is_sending(&self) -> bool {
        self.core.is_sending(self.index)
    }

    /// Bytes that the kernel took of a send that has not ended well: of one under way, or of the
    /// last one when it failed. 0 once [`Socket::poll_sent`] gave its buffer back.
    pub fn sent_bytes(&self) -> u64 {
        self.core.sent_bytes(self.index)
    }

    /// When the kernel last took bytes of the send under way, on the worker's clock.
    pub fn send_progress_ns(&self) -> u64 {
        self.core.send_progress_ns(self.index)
    }

    /// Sends everything; [`io::ErrorKind::TimedOut`] when no byte was taken for `stall_ns`.
    pub async fn send(&self, bytes: impl Into<SendBuf>, stall_ns: u64) -> io::Result<SendBuf> {
        self.start_send(bytes, false);
        poll_fn(|_| {
            let sent = self.poll_sent();
            let stalled_ns = self.send_progress_ns().saturating_add(stall_ns);
            self.core.or_timeout(stalled_ns, sent)
        })
        .await
    }

    /// Whether the peer, as far as completions tell, can still be used: it has sent nothing
    /// that was not read, and has not closed.
    pub fn is_quiet(&self) -> bool {
        self.core.is_quiet(self.index)
    }

    /// Whether a reset or another error was seen while receiving.
    pub fn is_broken(&self) -> bool {
        self.core.is_broken(self.index)
    }

    /// Whether the connection was reset or is in error, by the kernel's word: that is known, too, while
    /// nothing is received because what came waits to be read. A system call.
    pub fn is_reset(&self) -> bool {
        self.core.is_reset(self.index)
    }

    /// Ends our side (FIN) at once, so after the end of the last send was seen; receiving goes on.
    pub fn shutdown_write(&self) {
        self.core.shutdown_write(self.index);
    }

    /// Resets the connection when it is closed, so that the peer can not take what it got for
    /// a complete message (SO_LINGER of zero).
    pub fn reset_on_close(&self) {
        self.core.reset_on_close(self.index);
    }

    /// The address of the peer; the kernel is asked once per connection.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        self.core.peer_address(self.index)
    }

    /// The address that the peer connected to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.core.local_address(self.index)
    }

    /// Has [`Socket::peer_address`] and [`Socket::local_address`] say this until it is closed: the
    /// peer speaks for somebody else.
    pub fn assume_addresses(&self, peer: SocketAddr, local: SocketAddr) {
        self.core.assume_addresses(self.index, peer, local);
    }

    /// Counts this connection's kernel time and its buffers, those that wait to be read too, to
    /// a class from now on.
    pub fn set_class(&self, class: ClassId) {
        self.core.set_socket_class(self.index, class);
    }

    /// The class that this connection counts to.
    pub fn class(&self) -> ClassId {
        self.core.socket_class(self.index)
    }

    /// Bytes that were sent and that the peer has not acknowledged (SIOCOUTQ): what tells a slow
    /// reader from one that does not read, for the kernel takes more only when much has gone.
    pub fn unacknowledged_bytes(&self) -> io::Result<u32> {
        crate::listener::unacknowledged_bytes(self.core.fd(self.index))
    }

    /// Chooses when receives are armed from now on.
    pub fn set_mode(&self, mode: RecvMode) {
        self.core.set_mode(self.index, mode);
    }

    /// Leaves the socket to the runtime until something happens: bytes, its end, or the
    /// deadline (0: none). It then comes back as [`crate::Event::Stirred`] with `tag`. Bytes
    /// that are already there bring it back at once. Panics while a send is under way.
    pub fn park(self, deadline_ns: u64, tag: u64) -> SocketId {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used again and never dropped; the `Rc` is moved out once.
        let core = unsafe { std::ptr::read(&this.core) };
        core.park(this.index, deadline_ns, tag)
    }

    /// Gives the connection away, to the runtime of another thread ([`Runtime::adopt`]). Panics when
    /// anything was asked of it but its addresses: it is for connections that were just accepted.
    pub fn into_descriptor(self) -> OwnedFd {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used again and never dropped; the `Rc` is moved out once.
        let core = unsafe { std::ptr::read(&this.core) };
        core.give_away(this.index)
    }

    /// The runtime that this socket belongs to.
    pub fn runtime(&self) -> Runtime {
        Runtime {
            core: Rc::clone(&self.core),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.core.close(self.index);
    }
}
