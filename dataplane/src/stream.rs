//! A connection as those see it who read and write messages: a socket, behind TLS where it has made a
//! handshake.
//!
//! Each call is the socket's of the same name. What is not TLS pays one branch for it.

use crate::tls::{BackendSession, SessionOf, Side};
use meridian_model::snapshot::{SiteId, TlsVersion};
use meridian_sys::{ClassId, RecvBuf, RecvMode, SendBuf, Socket};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

/// See the module.
pub(crate) struct StreamOf<S> {
    socket: Socket,
    tls: Option<Box<RefCell<SessionOf<S>>>>,
}

/// A client's.
pub(crate) type Stream = StreamOf<UnbufferedServerConnection>;

/// A backend's.
pub(crate) type BackendStream = StreamOf<UnbufferedClientConnection>;

impl StreamOf<UnbufferedClientConnection> {
    /// The buffer of the last send, as [`Socket::take_back`] gives it: as it was before it was
    /// encrypted.
    pub(crate) fn take_back(&self) -> Option<SendBuf> {
        match &self.tls {
            None => self.socket.take_back(),
            Some(session) => session.borrow_mut().take_back(),
        }
    }

    /// Whether the backend ended it by an alert of TLS.
    pub(crate) fn is_alerted(&self) -> bool {
        let is_alerted = |session: &RefCell<BackendSession>| session.borrow().is_alerted();
        self.tls.as_deref().is_some_and(is_alerted)
    }

    /// Closes it, by TLS with close_notify where nothing is being sent.
    pub(crate) fn close(self) {
        if let Some(session) = &self.tls {
            session.borrow_mut().say_goodbye(&self.socket);
        }
    }
}

impl<S> std::fmt::Debug for StreamOf<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Stream")
            .field("socket", &self.socket)
            .field("tls", &self.tls)
            .finish()
    }
}

impl<S: Side> StreamOf<S> {
    /// The connection of `socket`, whose handshake was made where there is a session.
    pub(crate) fn new(socket: Socket, tls: Option<Box<RefCell<SessionOf<S>>>>) -> StreamOf<S> {
        StreamOf { socket, tls }
    }

    /// The socket itself. Whoever reads or writes there speaks no TLS.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket with its session.
    pub(crate) fn into_parts(self) -> (Socket, Option<Box<RefCell<SessionOf<S>>>>) {
        (self.socket, self.tls)
    }

    /// From here on it speaks TLS.
    pub(crate) fn secure(&mut self, session: SessionOf<S>) {
        self.tls = Some(Box::new(RefCell::new(session)));
    }

    /// Its session, where it speaks TLS.
    pub(crate) fn session(&self) -> Option<&RefCell<SessionOf<S>>> {
        self.tls.as_deref()
    }

    /// The site that the client asked for when it made its handshake, and the version of TLS.
    pub(crate) fn tls(&self) -> Option<(SiteId, TlsVersion)> {
        let session = self.tls.as_ref()?.borrow();
        Some((session.site(), session.version()))
    }

    /// See [`Socket::poll_recv`]. What comes by TLS and has no end in order is an error.
    pub(crate) fn poll_recv(&self) -> Poll<io::Result<Option<RecvBuf>>> {
        match &self.tls {
            None => self.socket.poll_recv(),
            Some(session) => session.borrow_mut().poll_recv(&self.socket),
        }
    }

    /// See [`Socket::recv`].
    pub(crate) async fn recv(&self, deadline_ns: u64) -> io::Result<Option<RecvBuf>> {
        if self.tls.is_none() {
            return self.socket.recv(deadline_ns).await;
        }
        let runtime = self.socket.runtime();
        poll_fn(|_| runtime.or_timeout(deadline_ns, self.poll_recv())).await
    }

    /// See [`Socket::unread`].
    pub(crate) fn unread(&self, buffer: RecvBuf) {
        match &self.tls {
            None => self.socket.unread(buffer),
            Some(session) => session.borrow_mut().unread(buffer),
        }
    }

    /// See [`Socket::start_send`].
    pub(crate) fn start_send(&self, bytes: impl Into<SendBuf>, more_follows: bool) {
        match &self.tls {
            None => self.socket.start_send(bytes, more_follows),
            Some(session) => {
                let bytes = bytes.into();
                (session.borrow_mut()).start_send(&self.socket, bytes, more_follows);
            }
        }
    }

    /// See [`Socket::poll_sent`]: how many bytes went.
    pub(crate) fn poll_sent(&self) -> Poll<io::Result<usize>> {
        match &self.tls {
            None => self.socket.poll_sent().map_ok(|sent| sent.len()),
            Some(session) => session.borrow_mut().poll_sent(&self.socket),
        }
    }

    /// See [`Socket::send`]: how many bytes went.
    pub(crate) async fn send(&self, bytes: Vec<u8>, stall_ns: u64) -> io::Result<usize> {
        if self.tls.is_none() {
            let sent = self.socket.send(bytes, stall_ns).await?;
            return Ok(sent.len());
        }
        self.start_send(bytes, false);
        let runtime = self.socket.runtime();
        poll_fn(|_| {
            let sent = self.poll_sent();
            let stalled_ns = self.send_progress_ns().saturating_add(stall_ns);
            runtime.or_timeout(stalled_ns, sent)
        })
        .await
    }

    /// See [`Socket::is_sending`].
    pub(crate) fn is_sending(&self) -> bool {
        self.socket.is_sending()
    }

    /// See [`Socket::sent_bytes`].
    pub(crate) fn sent_bytes(&self) -> u64 {
        match &self.tls {
            None => self.socket.sent_bytes(),
            Some(session) => session.borrow().sent_bytes(&self.socket),
        }
    }

    /// See [`Socket::send_progress_ns`].
    pub(crate) fn send_progress_ns(&self) -> u64 {
        self.socket.send_progress_ns()
    }

    /// See [`Socket::is_quiet`].
    pub(crate) fn is_quiet(&self) -> bool {
        let is_quiet = |session: &RefCell<SessionOf<S>>| session.borrow().is_quiet();
        self.socket.is_quiet() && self.tls.as_deref().is_none_or(is_quiet)
    }

    /// See [`Socket::is_broken`].
    pub(crate) fn is_broken(&self) -> bool {
        self.socket.is_broken()
    }

    /// See [`Socket::is_reset`].
    pub(crate) fn is_reset(&self) -> bool {
        self.socket.is_reset()
    }

    /// Ends our side, so that the peer knows that it has everything: by TLS with close_notify. To be
    /// called until it is ready, first when the end of the last send was seen; receiving goes on.
    pub(crate) fn poll_shutdown(&self) -> Poll<()> {
        match &self.tls {
            None => {
                self.socket.shutdown_write();
                Poll::Ready(())
            }
            Some(session) => session.borrow_mut().poll_shutdown(&self.socket),
        }
    }

    /// See [`Socket::reset_on_close`].
    pub(crate) fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    /// See [`Socket::peer_address`].
    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.socket.peer_address()
    }

    /// See [`Socket::local_address`].
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_address()
    }

    /// See [`Socket::set_class`].
    pub(crate) fn set_class(&self, class: ClassId) {
        self.socket.set_class(class);
        self.tls
            .iter()
            .for_each(|session| session.borrow().charge(class));
    }

    /// See [`Socket::class`].
    pub(crate) fn class(&self) -> ClassId {
        self.socket.class()
    }

    /// See [`Socket::set_mode`].
    pub(crate) fn set_mode(&self, mode: RecvMode) {
        self.socket.set_mode(mode);
    }
}
