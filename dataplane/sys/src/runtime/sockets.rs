//! What connection code asks of a socket, and what is asked of the kernel for it.

use super::{Core, Inner, Stir};
use crate::bounded_receive::bounded;
use crate::buffers::{BUFFER_GROUP, NO_BUFFER, Pool, RecvBuf};
use crate::limits::{QUEUED_BUFFERS_LOW, RECV_BOUND_BYTES, SEND_BYTES_MAX};
use crate::listener;
use crate::run_queue::ClassId;
use crate::slab::{Entry, NO_TASK, Receiving};
use crate::socket::{RecvMode, SendBuf, SocketId};
use crate::timers::Owner;
use crate::token::{Op, Token};
use io_uring::{opcode, squeue, types};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Poll;

/// Receive without a first try: nothing is there yet, so wait for the socket to say so.
const RECV_POLL_FIRST: u16 = 1;

impl Core {
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
            0 => {
                entry.sent = 0;
                Poll::Ready(Ok(bytes))
            }
            errno => Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
        }
    }

    pub(crate) fn take_back(&self, index: u32) -> Option<SendBuf> {
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.sockets[index];
        match entry.sending {
            true => None,
            false => entry.send.take(),
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

    pub(crate) fn local_address(&self, index: u32) -> io::Result<SocketAddr> {
        let inner = self.inner.borrow();
        let entry = &inner.sockets[index];
        match &entry.local {
            Some(address) => Ok(**address),
            None => listener::local_address(entry.fd),
        }
    }

    pub(crate) fn assume_addresses(&self, index: u32, peer: SocketAddr, local: SocketAddr) {
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.sockets[index];
        entry.peer = Some(peer);
        entry.local = Some(Box::new(local));
    }

    pub(crate) fn is_sending(&self, index: u32) -> bool {
        self.inner.borrow().sockets[index].send.is_some()
    }

    pub(crate) fn sent_bytes(&self, index: u32) -> u64 {
        u64::from(self.inner.borrow().sockets[index].sent)
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

    pub(crate) fn is_reset(&self, index: u32) -> bool {
        // Errors are told whatever is asked for. A half-close is none of them.
        let mut asked = libc::pollfd {
            fd: self.fd(index),
            events: 0,
            revents: 0,
        };
        // SAFETY: one entry, which outlives the call; the descriptor is open while the slot is in use.
        let told = unsafe { libc::poll(&raw mut asked, 1, 0) };
        told > 0 && asked.revents & (libc::POLLERR | libc::POLLHUP) != 0
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

    pub(crate) fn socket_class(&self, index: u32) -> ClassId {
        self.inner.borrow().sockets[index].class
    }

    pub(crate) fn set_socket_class(&self, index: u32, class: ClassId) {
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        let entry = &mut inner.sockets[index];
        inner.crowd.leave(entry.class);
        inner.crowd.enter(class);
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
        if mode != RecvMode::Multishot && entry.multishot {
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
        entry.sent = 0;
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
        let turn = inner.turn();
        let entry = &inner.sockets[index];
        inner.crowd.park(index, entry.class, entry.origin(), turn);
        if entry.first_buffer != NO_BUFFER {
            inner.stir(index, Stir::Bytes);
        } else if entry.ended || entry.recv_errno != 0 {
            inner.stir(index, Stir::Ended);
        } else {
            inner.arm_recv(&self.pool, index);
        }
        id
    }

    pub(crate) fn give_away(&self, index: u32) -> OwnedFd {
        let mut inner = self.inner.borrow_mut();
        let entry = &inner.sockets[index];
        // Not only our own logic: a descriptor under the kernel's feet would be another thread's.
        assert!(
            entry.in_flight == 0
                && entry.first_buffer == NO_BUFFER
                && !entry.starved
                && entry.connecting.is_none(),
            "a connection in use stays where it is"
        );
        let fd = entry.fd;
        inner.remove(index);
        // SAFETY: the slot was in use, so the descriptor is open and ours, and nothing else has it now.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    pub(crate) fn close(&self, index: u32) {
        let mut guard = self.inner.borrow_mut();
        guard.begin_close(&self.pool, index);
    }
}

impl Inner {
    /// A socket more, of this class.
    pub(super) fn insert(&mut self, fd: RawFd, mode: RecvMode, class: ClassId) -> u32 {
        self.crowd.enter(class);
        let index = self.sockets.insert(fd, mode);
        self.sockets[index].class = class;
        index
    }

    /// One less.
    fn remove(&mut self, index: u32) {
        self.crowd.leave(self.sockets[index].class);
        self.sockets.remove(index);
    }

    /// Arms a receive when none is under way and more may come.
    pub(super) fn arm_recv(&mut self, pool: &Pool, index: u32) {
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
            RecvMode::Bounded if self.bounded_receives => {
                let receive = opcode::RecvMulti::new(fd, BUFFER_GROUP).build();
                bounded(receive, RECV_BOUND_BYTES)
            }
            RecvMode::OnDemand | RecvMode::Bounded => {
                opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                    .buf_group(BUFFER_GROUP)
                    .ioprio(if entry.parked { RECV_POLL_FIRST } else { 0 })
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
        };
        self.push(&submission.user_data(token), 1);
    }

    pub(super) fn cancel_recv(&mut self, index: u32) {
        let entry = &mut self.sockets[index];
        if entry.receiving == Receiving::Armed {
            entry.receiving = Receiving::Cancelling;
            let token = entry.token(Op::Recv, index);
            self.push_cancel(token, Op::Cancel);
        }
    }

    pub(super) fn push_send(&mut self, index: u32) {
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

    pub(super) fn begin_close(&mut self, pool: &Pool, index: u32) {
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

    pub(super) fn finish_close(&mut self, index: u32) {
        let forget = Token {
            op: Op::Forget,
            generation: 0,
            index: 0,
        }
        .pack();
        let fd = types::Fd(self.sockets[index].fd);
        self.remove(index);
        let submission = opcode::Close::new(fd)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(forget);
        self.push(&submission, 2);
    }

    /// The kernel did not find what it was to cancel. Mostly it had just ended; but if it is
    /// still under way, between two tries of the kernel's, its socket would never be closed.
    pub(super) fn cancel_again(&mut self, index: u32) {
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

    /// Arms the receives that waited for a buffer, oldest first, as far as buffers go. Those of
    /// a class over its share go to the end and keep nobody waiting.
    pub(super) fn feed_starved(&mut self, pool: &Pool, looks_max: usize) {
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
    pub(super) fn starve(&mut self, index: u32) {
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
