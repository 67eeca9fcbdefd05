//! One TLS connection after its handshake: records on the socket's side, plaintext on ours.
//!
//! It keeps no buffer while nothing passes. What comes is decrypted from the buffer that the kernel
//! filled into another of the pool, as much at a time as that has room for; of a record that came in
//! part only what came of it is kept, until the rest is there. What goes is encrypted in one piece
//! for each send.
//!
//! ```text
//! socket   received ─ partial (a record's beginning) ─ connection ─ plain ─ whoever reads
//! socket   sending  ─ owed (alerts, tickets)         ─ connection ─ bytes ─ whoever writes
//! ```
//!
//! A connection whose end did not come with close_notify is broken and not ended (RFC 8446 §6.1):
//! who cuts it must not have what came before taken for all of it.

use super::clients::VerifiedClient;
use super::records::{
    FRAGMENT_BYTES_MAX, RECORD_OVERHEAD_BYTES, is_whole, missing_bytes, owe, take_alerts,
    unfinished,
};
use super::side::Side;
use meridian_model::limits::TLS_PARTIAL_BYTES_MAX;
use meridian_model::snapshot::{SiteId, TlsVersion};
use meridian_sys::limits::HEADROOM_BYTES;
use meridian_sys::{ClassId, RecvBuf, SendBuf, Socket};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    AppDataRecord, ConnectionState, EncryptError, UnbufferedStatus, WriteTraffic,
};
use std::io::{self, ErrorKind};
use std::task::Poll;
use std::time::Duration;

/// From one look for a buffer to the next, while all are in use.
const BUFFER_LOOK: Duration = Duration::from_millis(10);

/// A client's.
pub(crate) type Session = SessionOf<UnbufferedServerConnection>;

/// A backend's.
pub(crate) type BackendSession = SessionOf<UnbufferedClientConnection>;

/// See the module.
pub(crate) struct SessionOf<S> {
    connection: S,
    /// The site that a client asked for (SNI), or that a backend is one of.
    site: SiteId,
    version: TlsVersion,
    end: End,
    /// close_notify is on its way, or was sent.
    is_closing: bool,
    /// Nothing can be sent any more.
    is_spent: bool,
    /// The beginning of what no whole message was made of yet.
    partial: Vec<u8>,
    /// Of it, what the connection has seen: whole records, of which it may have moved what is inside, so
    /// that they are records no more.
    seen: usize,
    /// Since when there is such a beginning, and nothing to read came; 0 when there is none.
    partial_since_ns: u64,
    /// Records that nobody has looked at.
    received: Option<RecvBuf>,
    /// Plaintext that was put back.
    plain: Option<RecvBuf>,
    /// Records that go out before anything else.
    owed: Vec<u8>,
    /// Plaintext of the last send that has not ended well, where it may be sent elsewhere.
    sent: Option<SendBuf>,
    /// Whose certificate a client showed, where its site asks for that.
    client: Option<Box<VerifiedClient>>,
    /// Plaintext of the send under way.
    sending_bytes: u32,
    /// Records of it, in bytes.
    sealed_bytes: u32,
    /// When it is closed if no request comes, on the worker's clock.
    pub(crate) idle_until_ns: u64,
}

/// How far the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It may send more.
    Open,
    /// It sent close_notify.
    Notified,
    /// It ended without that.
    Truncated,
    /// It sent what is no TLS.
    Faulty,
    /// It ended with an alert that says that it does not go on with us.
    Alerted,
}

/// What a piece of records amounted to.
struct Opened {
    /// So much of it is done with.
    taken: usize,
    /// There was no more room for plaintext.
    is_full: bool,
}

impl<S> std::fmt::Debug for SessionOf<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("site", &self.site)
            .field("version", &self.version)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<S: Side> SessionOf<S> {
    /// Of a connection whose handshake for `site` is over, and everything of it sent but `owed`.
    pub(crate) fn new(
        connection: S,
        site: SiteId,
        version: TlsVersion,
        owed: Vec<u8>,
    ) -> SessionOf<S> {
        SessionOf {
            connection,
            site,
            version,
            end: End::Open,
            is_closing: false,
            is_spent: false,
            partial: Vec::new(),
            seen: 0,
            partial_since_ns: 0,
            received: None,
            plain: None,
            owed,
            sent: None,
            client: None,
            sending_bytes: 0,
            sealed_bytes: 0,
            idle_until_ns: 0,
        }
    }

    /// The client's close_notify came right behind its handshake.
    pub(super) fn end_reading(&mut self) {
        self.end = End::Notified;
    }

    /// The same, of a client that is known to be this one.
    pub(crate) fn of_client(mut self, client: Option<VerifiedClient>) -> SessionOf<S> {
        self.client = client.map(Box::new);
        self
    }

    /// Whose certificate a client showed, where its site asked for that.
    pub(crate) fn client(&self) -> Option<&VerifiedClient> {
        self.client.as_deref()
    }

    /// The site that a client asked for, or that a backend is one of.
    pub(crate) fn site(&self) -> SiteId {
        self.site
    }

    /// The version that was agreed upon.
    pub(crate) fn version(&self) -> TlsVersion {
        self.version
    }

    /// Whether the peer has sent nothing that was not read, and not ended its side.
    pub(crate) fn is_quiet(&self) -> bool {
        self.end == End::Open
            && self.plain.is_none()
            && self.received.is_none()
            && self.partial.is_empty()
    }

    /// Whether there is plaintext that was not read, or may be without anything being received.
    pub(crate) fn has_unread(&self) -> bool {
        self.plain.is_some() || self.received.is_some()
    }

    /// Whether the peer may send more.
    pub(crate) fn is_open(&self) -> bool {
        self.end == End::Open
    }

    /// Whether the peer said by an alert that it does not go on.
    pub(crate) fn is_alerted(&self) -> bool {
        self.end == End::Alerted
    }

    /// The next plaintext; `None` once the peer has ended its side in order.
    pub(crate) fn poll_recv(&mut self, socket: &Socket) -> Poll<io::Result<Option<RecvBuf>>> {
        if let Some(plain) = self.plain.take() {
            return Poll::Ready(Ok(Some(plain)));
        }
        loop {
            match self.end {
                End::Open => {}
                End::Notified => return Poll::Ready(Ok(None)),
                End::Truncated => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                End::Faulty | End::Alerted => {
                    return Poll::Ready(Err(ErrorKind::InvalidData.into()));
                }
            }
            let received = match self.received.take() {
                Some(received) => received,
                None => match socket.poll_recv() {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Some(received))) => received,
                    Poll::Ready(Ok(None)) => {
                        self.end = End::Truncated;
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                },
            };
            let runtime = socket.runtime();
            let Some(mut plain) = runtime.blank_buffer(socket.class(), HEADROOM_BYTES) else {
                self.received = Some(received);
                runtime.run_again(runtime.deadline(BUFFER_LOOK));
                return Poll::Pending;
            };
            plain.truncate(0);
            if let Err(fault) = self.open(received, &mut plain) {
                self.refuse(&fault, socket);
            }
            if !plain.is_empty() {
                self.partial_since_ns = 0;
                return Poll::Ready(Ok(Some(plain)));
            }
            if self.partial_since_ns == 0 && !self.partial.is_empty() {
                self.partial_since_ns = runtime.now_ns();
            }
        }
    }

    /// Since when the beginning of a record is kept, and nothing to read came, on the worker's clock.
    pub(crate) fn partial_since_ns(&self) -> Option<u64> {
        (!self.partial.is_empty() && self.partial_since_ns > 0).then_some(self.partial_since_ns)
    }

    /// Puts back plaintext that belongs to what is read next. Panics when some was put back that
    /// nobody has read since.
    pub(crate) fn unread(&mut self, buffer: RecvBuf) {
        assert!(self.plain.is_none(), "what was put back is read first");
        self.plain = (!buffer.is_empty()).then_some(buffer);
    }

    /// What waits to be read is paid for by `class` from now on.
    pub(crate) fn charge(&self, class: ClassId) {
        for buffer in [&self.plain, &self.received].into_iter().flatten() {
            buffer.charge(class);
        }
    }

    /// Opens records as far as `plain` has room. What comes behind that waits.
    fn open(&mut self, mut received: RecvBuf, plain: &mut RecvBuf) -> Result<(), rustls::Error> {
        while !self.partial.is_empty() && !received.is_empty() {
            if plain.room() < FRAGMENT_BYTES_MAX {
                self.received = Some(received);
                return Ok(());
            }
            let missing = missing_bytes(&self.partial[self.seen..]);
            let count = missing.min(received.len());
            self.partial.reserve_exact(missing);
            self.partial.extend_from_slice(&received[..count]);
            received.advance(count);
            if is_whole(&self.partial[self.seen..]) {
                let mut partial = std::mem::take(&mut self.partial);
                let opened = self.take_records(&mut partial, plain)?;
                if count == 0 && opened.taken == 0 {
                    return Err(rustls::Error::General("it goes on no more".to_owned()));
                }
                self.seen = 0;
                if opened.taken < partial.len() {
                    partial.drain(..opened.taken);
                    self.seen = if opened.is_full { 0 } else { partial.len() };
                    self.partial = partial;
                }
            }
            self.check_partial()?;
        }
        if received.is_empty() || self.end != End::Open {
            return Ok(());
        }
        let unseen = unfinished(&received).len();
        let opened = self.take_records(&mut received, plain)?;
        received.advance(opened.taken);
        if opened.is_full && !received.is_empty() {
            self.received = Some(received);
        } else if self.end == End::Open {
            self.seen = received.len().saturating_sub(unseen);
            self.partial = received.to_vec();
            self.check_partial()?;
        }
        Ok(())
    }

    fn check_partial(&self) -> Result<(), rustls::Error> {
        match self.partial.len() > TLS_PARTIAL_BYTES_MAX {
            true => Err(rustls::Error::General("a message is too long".to_owned())),
            false => Ok(()),
        }
    }

    /// Has the connection take whole records from the front of `records`.
    fn take_records(
        &mut self,
        records: &mut [u8],
        plain: &mut RecvBuf,
    ) -> Result<Opened, rustls::Error> {
        let mut taken = 0;
        loop {
            if plain.room() < FRAGMENT_BYTES_MAX {
                return Ok(Opened {
                    taken,
                    is_full: true,
                });
            }
            let UnbufferedStatus { discard, state } =
                self.connection.process(&mut records[taken..]);
            let mut is_over = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let AppDataRecord { discard, payload } = record?;
                        let fits = plain.append(payload);
                        assert!(fits, "a record has at most {FRAGMENT_BYTES_MAX} bytes");
                        taken += discard;
                    }
                }
                ConnectionState::EncodeTlsData(encode) => {
                    owe(&mut self.owed, encode);
                    // It has asked for another handshake, and is told that there is none (RFC 5246
                    // §7.2.2): nothing else is said here with this version.
                    if self.version == TlsVersion::V1_2 {
                        return Err(rustls::Error::General("no renegotiation".to_owned()));
                    }
                }
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::PeerClosed => {
                    self.end = End::Notified;
                    is_over = true;
                }
                ConnectionState::WriteTraffic(_) => is_over = true,
                // Nothing is read early, and no handshake is left or begun anew.
                _ => return Err(rustls::Error::General("out of turn".to_owned())),
            }
            taken += discard;
            if is_over {
                return Ok(Opened {
                    taken,
                    is_full: false,
                });
            }
        }
    }

    /// The peer did what TLS does not allow: it is told by an alert, and nothing else is read or
    /// sent. Or it said that we did.
    fn refuse(&mut self, fault: &rustls::Error, socket: &Socket) {
        self.end = match fault {
            rustls::Error::AlertReceived(_) => End::Alerted,
            _ => End::Faulty,
        };
        self.partial = Vec::new();
        self.seen = 0;
        self.received = None;
        take_alerts(&mut self.connection, &mut self.owed);
        self.is_spent = true;
        if !socket.is_sending() && !self.owed.is_empty() {
            socket.start_send(std::mem::take(&mut self.owed), false);
        }
    }

    /// Begins to send `bytes`, as [`Socket::start_send`] does.
    pub(crate) fn start_send(&mut self, socket: &Socket, bytes: SendBuf, more_follows: bool) {
        let sealed = match self.is_spent {
            true => Err(Unsealed::Over),
            false => self.seal(socket, &bytes),
        };
        match sealed {
            Ok(records) => {
                self.sending_bytes = bytes.len() as u32;
                self.sealed_bytes = records.len() as u32;
                socket.start_send(records, more_follows);
            }
            Err(_) => self.is_spent = true,
        }
        if S::KEEPS_SENT {
            self.sent = Some(bytes);
        }
    }

    /// The plaintext of the last send, to send it elsewhere, unless it went well.
    pub(crate) fn take_back(&mut self) -> Option<SendBuf> {
        self.sent.take()
    }

    /// Says close_notify as far as the kernel takes it at once: the connection is closed next.
    pub(crate) fn say_goodbye(&mut self, socket: &Socket) {
        if self.is_spent || socket.is_sending() {
            return;
        }
        self.is_spent = true;
        if let Some(last) = self.seal_end() {
            socket.start_send(last, false);
        }
    }

    /// The end of the send that was begun: how many bytes of plaintext went.
    pub(crate) fn poll_sent(&mut self, socket: &Socket) -> Poll<io::Result<usize>> {
        match socket.poll_sent() {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(_)) if self.is_spent => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            Poll::Ready(Ok(_)) => {
                self.sent = None;
                Poll::Ready(Ok(std::mem::take(&mut self.sending_bytes) as usize))
            }
        }
    }

    /// Of a send that has not ended well: plaintext in what the kernel took, as near as the records
    /// say, which are all of one size but the last.
    pub(crate) fn sent_bytes(&self, socket: &Socket) -> u64 {
        let sealed = u64::from(self.sealed_bytes).max(1);
        socket.sent_bytes() * u64::from(self.sending_bytes) / sealed
    }

    /// Ends our side, once what is on its way is gone: close_notify, then FIN.
    pub(crate) fn poll_shutdown(&mut self, socket: &Socket) -> Poll<()> {
        if !self.is_closing {
            if socket.poll_sent().is_pending() {
                return Poll::Pending;
            }
            self.is_closing = true;
            let last = match self.is_spent {
                // An alert that had to wait.
                true => std::mem::take(&mut self.owed),
                false => self.seal_end().unwrap_or_default(),
            };
            self.is_spent = true;
            if !last.is_empty() {
                socket.start_send(last, false);
            }
        }
        if socket.poll_sent().is_pending() {
            return Poll::Pending;
        }
        socket.shutdown_write();
        Poll::Ready(())
    }

    /// Records of `bytes`, behind those that are owed.
    fn seal(&mut self, socket: &Socket, bytes: &[u8]) -> Result<SendBuf, Unsealed> {
        let records = bytes.len().div_ceil(FRAGMENT_BYTES_MAX).max(1);
        let needed = bytes.len() + records * RECORD_OVERHEAD_BYTES + self.owed.len();
        let blank = socket.runtime().blank_buffer(socket.class(), 0);
        if let Some(mut room) = blank.filter(|blank| needed <= blank.len())
            && let Ok(count) = self.seal_into(bytes, &mut room)
        {
            room.truncate(count);
            return Ok(SendBuf::Received(room));
        }
        let mut room = vec![0; needed];
        let mut sealed = self.seal_into(bytes, &mut room);
        if let Err(Unsealed::Needs(needed)) = sealed {
            // What the connection itself has to say comes on top.
            room.resize(needed + self.owed.len(), 0);
            sealed = self.seal_into(bytes, &mut room);
        }
        room.truncate(sealed?);
        Ok(SendBuf::Heap(room))
    }

    fn seal_into(&mut self, bytes: &[u8], room: &mut [u8]) -> Result<usize, Unsealed> {
        self.write(room, |writer, room| writer.encrypt(bytes, room))
    }

    /// A record of close_notify, behind those that are owed.
    fn seal_end(&mut self) -> Option<Vec<u8>> {
        let mut room = vec![0; self.owed.len() + 256];
        let sealed = self.write(&mut room, |writer, room| writer.queue_close_notify(room));
        room.truncate(sealed.ok()?);
        Some(room)
    }

    /// Puts what is owed into `room`, and what `write` writes behind it. Nothing is done of it where
    /// there is an error.
    fn write(
        &mut self,
        room: &mut [u8],
        write: impl FnOnce(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<usize, Unsealed> {
        let mut taken = 0;
        let mut writing = loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process(&mut self.partial[taken..]);
            taken += discard;
            match state.map_err(|_| Unsealed::Over)? {
                ConnectionState::EncodeTlsData(encode) => owe(&mut self.owed, encode),
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::PeerClosed => self.end = End::Notified,
                ConnectionState::WriteTraffic(writing) => break writing,
                _ => return Err(Unsealed::Over),
            }
        };
        self.partial.drain(..taken);
        self.seen = self.seen.saturating_sub(taken);
        let Some((front, behind)) = room.split_at_mut_checked(self.owed.len()) else {
            return Err(Unsealed::Needs(room.len()));
        };
        let written = match write(&mut writing, behind) {
            Ok(written) => written,
            Err(EncryptError::InsufficientSize(short)) => {
                return Err(Unsealed::Needs(short.required_size));
            }
            Err(EncryptError::EncryptExhausted) => return Err(Unsealed::Over),
        };
        front.copy_from_slice(&self.owed);
        let count = self.owed.len() + written;
        self.owed = Vec::new();
        Ok(count)
    }
}

/// Why bytes were not made records of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsealed {
    /// There must be so much room for what the connection writes.
    Needs(usize),
    /// There is nothing to send any more.
    Over,
}
