//! A handshake with a backend, from the connection to the session.
//!
//! It is made by the task of the request that needs the connection, in its tenant's class and within the
//! time that a connection may take. Nothing of the request has gone before it is over.

use super::backend_configs::BackendConfigs;
use super::records::{give_back, owe, take_alerts};
use super::session::BackendSession;
use crate::http::reject::Reject;
use meridian_model::limits::{BACKEND_TICKETS_MAX, TLS_HANDSHAKE_BYTES_MAX};
use meridian_model::snapshot::{BackendKey, BackendTls, TlsVersion};
use meridian_sys::{RecvBuf, Runtime, Socket};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{CertificateError, ClientConfig, Error, ProtocolVersion};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// From one look whether a configuration was made to the next: it takes the time of a file, once for
/// each backend and worker.
const CONFIG_LOOK: Duration = Duration::from_millis(2);

/// How a worker makes handshakes with one backend, and the sessions that it has with it.
#[derive(Debug)]
pub(crate) struct BackendClient {
    tls: Arc<BackendTls>,
    name: ServerName<'static>,
    /// With the backend's tickets, and its age ([`BackendConfigs::age`]).
    config: RefCell<Option<(u64, Arc<ClientConfig>)>>,
}

impl BackendClient {
    /// Of the backend `key`, if it speaks TLS.
    pub(crate) fn of(key: &BackendKey) -> Option<Box<BackendClient>> {
        let tls = key.tls()?;
        Some(Box::new(BackendClient {
            name: server_name(tls, key.address().ip()),
            tls: Arc::clone(tls),
            config: RefCell::new(None),
        }))
    }

    /// Makes a handshake over `socket`, which was just connected, with `first` in front of it in the
    /// clear.
    pub(crate) async fn connect(
        &self,
        configs: &BackendConfigs,
        key: &BackendKey,
        socket: &Socket,
        first: Vec<u8>,
        deadline_ns: u64,
    ) -> Result<BackendSession, Reject> {
        let runtime = socket.runtime();
        let config = self.config(configs, &runtime, deadline_ns).await?;
        let tls = UnbufferedClientConnection::new(config, self.name.clone());
        let tls = tls.map_err(|error| reject_of(&error))?;
        let handshake = Handshake {
            socket,
            deadline_ns,
            records: Vec::new(),
            last: None,
            received: 0,
        };
        handshake.run(tls, key, first).await
    }

    async fn config(
        &self,
        configs: &BackendConfigs,
        runtime: &Runtime,
        deadline_ns: u64,
    ) -> Result<Arc<ClientConfig>, Reject> {
        let age = configs.age();
        if let Some((of_age, config)) = &*self.config.borrow()
            && *of_age == age
        {
            return Ok(Arc::clone(config));
        }
        let asked = configs.ask(&self.tls);
        while asked.answer().is_none() {
            if runtime.now_ns() >= deadline_ns {
                return Err(Reject::BackendTlsUnready);
            }
            let look_ns = runtime.deadline(CONFIG_LOOK);
            runtime.stirred(look_ns.min(deadline_ns)).await;
        }
        let config = asked.answer().cloned().flatten();
        let config = config.ok_or(Reject::BackendTlsUnready)?;
        let mut own = ClientConfig::clone(&config);
        own.resumption = Resumption::in_memory_sessions(SESSIONS);
        let own = Arc::new(own);
        *self.config.borrow_mut() = Some((age, Arc::clone(&own)));
        Ok(own)
    }
}

/// What rustls is asked for: it keeps [`BACKEND_TICKETS_MAX`] tickets of a server, and room for one server
/// more than it has.
const SESSIONS: usize = 2 * BACKEND_TICKETS_MAX;

/// Whom a backend at `address` is to be.
pub(crate) fn server_name(tls: &BackendTls, address: IpAddr) -> ServerName<'static> {
    let name = tls.name.as_deref();
    let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    name.unwrap_or_else(|| ServerName::IpAddress(address.to_canonical().into()))
}

/// What a handshake that rustls ended amounts to.
pub(crate) fn reject_of(error: &Error) -> Reject {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Reject::BackendExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Reject::BackendMisnamed
            }
            _ => Reject::BackendUntrusted,
        },
        Error::AlertReceived(_) => Reject::BackendAlert,
        _ => Reject::BackendHandshake,
    }
}

struct Handshake<'c> {
    socket: &'c Socket,
    deadline_ns: u64,
    /// What came and is not done with.
    records: Vec<u8>,
    /// What came last, of which `records` has a copy.
    last: Option<RecvBuf>,
    /// Bytes in all.
    received: usize,
}

impl Handshake<'_> {
    async fn run(
        mut self,
        mut tls: UnbufferedClientConnection,
        key: &BackendKey,
        first: Vec<u8>,
    ) -> Result<BackendSession, Reject> {
        let mut owed = first;
        while !self.advance(&mut tls, &mut owed).await? {
            self.send(&mut owed).await?;
            self.receive().await?;
        }
        self.give_back()?;
        let version = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        };
        // What is still owed goes with the request.
        Ok(BackendSession::new(tls, key.site(), version, owed))
    }

    /// Has the connection take what came. Says whether the handshake is over.
    async fn advance(
        &mut self,
        tls: &mut UnbufferedClientConnection,
        owed: &mut Vec<u8>,
    ) -> Result<bool, Reject> {
        let mut taken = 0;
        let is_over = loop {
            let records = &mut self.records[taken..];
            let UnbufferedStatus { discard, state } = tls.process_tls_records(records);
            let is_over = match state {
                Ok(ConnectionState::EncodeTlsData(encode)) => {
                    owe(owed, encode);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(false),
                Ok(ConnectionState::WriteTraffic(_)) => Some(true),
                // It closes, or speaks before it is asked.
                Ok(_) => return Err(Reject::BackendHandshake),
                Err(fault) => {
                    take_alerts(tls, owed);
                    // It is told why, as far as it takes that at once.
                    let _ = self.send(owed).await;
                    return Err(reject_of(&fault));
                }
            };
            taken += discard;
            if let Some(is_over) = is_over {
                break is_over;
            }
        };
        self.records.drain(..taken);
        Ok(is_over)
    }

    /// Waits for more.
    async fn receive(&mut self) -> Result<(), Reject> {
        self.last = None;
        match self.socket.recv(self.deadline_ns).await {
            Ok(Some(buffer)) => {
                self.received += buffer.len();
                self.records.extend_from_slice(&buffer);
                self.last = Some(buffer);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return Err(Reject::BackendHandshakeSlow);
            }
            Ok(None) | Err(_) => return Err(Reject::BackendHandshake),
        }
        match self.received > TLS_HANDSHAKE_BYTES_MAX {
            true => Err(Reject::BackendHandshake),
            false => Ok(()),
        }
    }

    /// Sends what the connection has for the backend.
    async fn send(&mut self, owed: &mut Vec<u8>) -> Result<(), Reject> {
        if owed.is_empty() {
            return Ok(());
        }
        let now_ns = self.socket.runtime().now_ns();
        let left_ns = self.deadline_ns.saturating_sub(now_ns);
        let sent = self.socket.send(std::mem::take(owed), left_ns).await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Reject::BackendHandshakeSlow),
            // It may have said why before.
            Err(_) => Ok(()),
        }
    }

    /// What came behind the handshake, such as tickets, is read next.
    fn give_back(&mut self) -> Result<(), Reject> {
        match give_back(self.socket, self.last.take(), &self.records) {
            true => Ok(()),
            false => Err(Reject::BackendHandshake),
        }
    }
}
