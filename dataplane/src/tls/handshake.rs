//! A handshake, from the client's first byte to the session.

use super::clients::VerifiedClient;
use super::hello::{HelloReader, alert, or_unexpected};
use super::records::{give_back, owe, take_alerts};
use super::session::Session;
use crate::client::{self, ClientConnection};
use crate::counters::Counter;
use crate::shared::WorkerBoard;
use crate::site::LocalSite;
use crate::worker::Worker;
use meridian_model::limits::TLS_HANDSHAKE_BYTES_MAX;
use meridian_model::snapshot::TlsVersion;
use meridian_sys::limits::HEADROOM_BYTES;
use meridian_sys::{RecvBuf, Socket};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, Error, HandshakeKind, ProtocolVersion, ServerConfig};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;

/// Why there is no session.
enum Failure {
    /// It took too long.
    Late,
    /// Its site's tenant has no room for one more.
    OverLimit,
    /// The client went away.
    Gone,
    /// The client asks for no site that has certificates.
    UnknownName,
    /// Its site's certificates can not be had.
    NoCertificate,
    /// Its site asks for a certificate, and what it showed is none, or none of an authority of the site.
    ClientCertificate(Vec<u8>),
    /// What it sent is no handshake, or none that we take; it is told by these bytes.
    Refused(Vec<u8>),
}

impl Failure {
    /// Where it is counted.
    fn counter<'b>(&self, board: &'b WorkerBoard) -> &'b Counter {
        match self {
            Failure::Late => &board.tls_late,
            Failure::OverLimit => &board.tls_over_limit,
            Failure::Gone => &board.tls_gone,
            Failure::UnknownName => &board.tls_unknown_names,
            Failure::NoCertificate => &board.tls_without_certificate,
            Failure::ClientCertificate(_) => &board.tls_clients_refused,
            Failure::Refused(_) => &board.tls_refused,
        }
    }

    /// What the client is told.
    fn alert(self) -> Vec<u8> {
        match self {
            // Nobody is there to read it, or who is there does not read.
            Failure::Late | Failure::OverLimit | Failure::Gone => Vec::new(),
            Failure::UnknownName => alert(AlertDescription::UnrecognisedName),
            Failure::NoCertificate => alert(AlertDescription::InternalError),
            Failure::ClientCertificate(bytes) | Failure::Refused(bytes) => bytes,
        }
    }
}

/// Makes the handshake. Gives the connection when a request has begun behind it; else it waits for
/// one by itself, or was closed.
pub(crate) async fn make(mut connection: ClientConnection) -> Option<ClientConnection> {
    let worker = Rc::clone(connection.worker());
    let timeouts = worker.with_routing(|routing| routing.snapshot.timeouts);
    let Ok(client) = connection.stream().peer_address() else {
        worker.board().tls_gone.add(1);
        return None;
    };
    let Some(entered) = worker.tls().enter(client.ip()) else {
        worker.board().tls_over_limit.add(1);
        return None;
    };
    let made = Handshake {
        worker: &worker,
        socket: connection.socket(),
        deadline_ns: worker.runtime.deadline(timeouts.handshake),
        records: Vec::new(),
        last: None,
    }
    .run()
    .await;
    match made {
        Ok(session) => {
            connection.secure(session);
            drop(entered);
            if connection.stream().is_quiet() {
                connection.park(timeouts.keep_alive);
                return None;
            }
            Some(connection)
        }
        Err(failure) => {
            failure.counter(worker.board()).add(1);
            let alert = failure.alert();
            if !alert.is_empty() {
                let write_ns = timeouts.write.as_nanos() as u64;
                let _ = connection.socket().send(alert, write_ns).await;
                if worker.has_share(connection.socket().class()) {
                    client::linger(connection.stream(), &worker.runtime).await;
                }
            }
            None
        }
    }
}

struct Handshake<'c> {
    worker: &'c Worker,
    socket: &'c Socket,
    deadline_ns: u64,
    /// What came and is not done with.
    records: Vec<u8>,
    /// What came last, of which `records` has a copy.
    last: Option<RecvBuf>,
}

/// How far the connection is with what came.
enum Step {
    /// It waits for more.
    More,
    /// It is through, with what came of a request already.
    Over(Option<RecvBuf>),
    /// The client has said that it sends nothing more.
    Notified,
}

impl Handshake<'_> {
    async fn run(mut self) -> Result<Session, Failure> {
        let site = self.site().await?;
        let class = site.class();
        // From here on the site's tenant pays, when it is his turn.
        self.worker.runtime.set_class(class);
        self.socket.set_class(class);
        self.worker.runtime.yield_now().await;
        if !self.worker.has_share(class) {
            return Err(Failure::OverLimit);
        }
        let config = self.config(&site).await.ok_or(Failure::NoCertificate)?;
        let internal = |_| Failure::Refused(alert(AlertDescription::InternalError));
        let mut tls = UnbufferedServerConnection::new(config).map_err(internal)?;
        let mut owed = Vec::new();
        let (plain, is_notified) = loop {
            let step = self.advance(&mut tls, &mut owed);
            match step? {
                Step::Over(plain) => break (plain, false),
                // It may have come for a ticket.
                Step::Notified if !tls.is_handshaking() => break (None, true),
                Step::Notified => return Err(Failure::Gone),
                Step::More => {
                    self.send(&mut owed).await?;
                    self.receive().await?;
                }
            }
        };
        let has_request = plain.is_some() || !self.records.is_empty();
        if !has_request {
            self.send(&mut owed).await?;
        }
        self.give_back()?;
        self.count(&tls);
        let version = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        };
        let rules = site.site().tls.as_ref();
        let client = match rules.and_then(|tls| tls.rules.clients.as_ref()) {
            None => None,
            Some(rules) => {
                let client = VerifiedClient::new(rules, tls.peer_certificates());
                Some(client.ok_or(Failure::Gone)?)
            }
        };
        // What is still owed, such as tickets, goes with the response.
        let mut session = Session::new(tls, site.site().id, version, owed).of_client(client);
        plain.into_iter().for_each(|plain| session.unread(plain));
        if is_notified {
            session.end_reading();
        }
        Ok(session)
    }

    /// The site that the client asks for.
    async fn site(&mut self) -> Result<Rc<LocalSite>, Failure> {
        let mut reader = HelloReader::new();
        loop {
            let before = self.records.len();
            self.receive().await?;
            let wanted = reader.take(&self.records[before..]);
            if let Some(wanted) = wanted.map_err(Failure::Refused)? {
                let name = wanted.name.ok_or(Failure::UnknownName)?;
                let site = self.worker.site(name.as_bytes());
                let site = site.filter(|site| site.site().tls.is_some());
                return site.ok_or(Failure::UnknownName);
            }
            if !self.worker.has_share(self.socket.class()) {
                return Err(Failure::OverLimit);
            }
        }
    }

    /// What its handshakes are made with.
    async fn config(&self, site: &LocalSite) -> Option<Arc<ServerConfig>> {
        let (terminator, runtime) = (self.worker.tls(), &self.worker.runtime);
        let (id, tls) = (site.site().id, site.site().tls.as_ref()?);
        if let Some(config) = terminator.kept(id, tls) {
            return Some(config);
        }
        let pending = terminator.load(runtime, site.site(), tls);
        while pending.answer().is_none() && runtime.now_ns() < self.deadline_ns {
            runtime.stirred(self.deadline_ns).await;
        }
        terminator.end_waiting(runtime, &pending);
        let config = pending.answer().cloned().flatten()?;
        terminator.kept.borrow_mut().keep(id, tls, &config);
        Some(config)
    }

    /// Has the connection take what came.
    fn advance(
        &mut self,
        tls: &mut UnbufferedServerConnection,
        owed: &mut Vec<u8>,
    ) -> Result<Step, Failure> {
        let mut taken = 0;
        let step = loop {
            let records = &mut self.records[taken..];
            let UnbufferedStatus { discard, state } = tls.process_tls_records(records);
            let over = match state {
                Ok(ConnectionState::EncodeTlsData(encode)) => {
                    owe(owed, encode);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Step::More),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Step::Over(None)),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let blank =
                        (self.worker.runtime).blank_buffer(self.socket.class(), HEADROOM_BYTES);
                    // All are in use, and the client did not even wait for us.
                    let mut plain = blank.ok_or(Failure::Gone)?;
                    plain.truncate(0);
                    while let Some(record) = traffic.next_record() {
                        let fits = record.is_ok_and(|record| plain.append(record.payload));
                        assert!(fits, "one record fits an empty buffer");
                    }
                    Some(Step::Over(Some(plain)))
                }
                Ok(ConnectionState::PeerClosed) => Some(Step::Notified),
                Ok(_) => return Err(Failure::Gone),
                Err(fault) => {
                    // By then it may have keys, and so the alert.
                    take_alerts(tls, owed);
                    let told = or_unexpected(std::mem::take(owed), &fault);
                    return Err(match fault {
                        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
                            Failure::ClientCertificate(told)
                        }
                        _ => Failure::Refused(told),
                    });
                }
            };
            taken += discard;
            if let Some(step) = over {
                break step;
            }
        };
        self.records.drain(..taken);
        Ok(step)
    }

    /// Waits for more. What may come at once behind a handshake is no part of it: what counts is what
    /// is still waiting for its end.
    async fn receive(&mut self) -> Result<(), Failure> {
        self.last = None;
        if self.records.len() > TLS_HANDSHAKE_BYTES_MAX {
            return Err(Failure::Refused(alert(AlertDescription::DecodeError)));
        }
        match self.socket.recv(self.deadline_ns).await {
            Ok(Some(buffer)) => {
                self.records.extend_from_slice(&buffer);
                self.last = Some(buffer);
                Ok(())
            }
            Ok(None) => Err(Failure::Gone),
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Failure::Late),
            Err(_) => Err(Failure::Gone),
        }
    }

    /// Sends what the connection has for the client.
    async fn send(&mut self, owed: &mut Vec<u8>) -> Result<(), Failure> {
        if owed.is_empty() {
            return Ok(());
        }
        let left_ns = self
            .deadline_ns
            .saturating_sub(self.worker.runtime.now_ns());
        let sent = self.socket.send(std::mem::take(owed), left_ns).await;
        sent.map(drop).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Failure::Late,
            _ => Failure::Gone,
        })
    }

    /// What came behind the handshake is read next.
    fn give_back(&mut self) -> Result<(), Failure> {
        match give_back(self.socket, self.last.take(), &self.records) {
            true => Ok(()),
            false => Err(Failure::Refused(Vec::new())),
        }
    }

    fn count(&self, tls: &UnbufferedServerConnection) {
        let board = self.worker.board();
        board.tls_handshakes.add(1);
        if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
            board.tls_resumed.add(1);
        }
    }
}
