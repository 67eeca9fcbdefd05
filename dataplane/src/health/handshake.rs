//! The handshake of a check by TLS, from the first message to close_notify.
//!
//! Of a pool without TLS it shows that the backend makes a handshake (TLS 1.2 or 1.3) and holds the key of the
//! certificate that it presents. Whose certificate that is, until when it holds and who signed it
//! is not looked at, as with HAProxy's `check-ssl verify none`: what a check sends is no secret, and
//! a certificate that has run out is no reason to take a site off the air
//! (docs/decisions/0034-checks-by-tls.md). Of a pool with TLS the handshake is the one that requests
//! need, and what they would not get through by is a failed check.
//!
//! ```text
//! hello     begin: goes out behind the header of the PROXY protocol, in one piece
//! flights   advance: until both sides have finished
//! closing   close_notify is sent (RFC 8446 §6.1); a backend that was not content says so now
//! asking    instead of that, in a check by HTTP: what was written waits for the end of the handshake
//! ```

use super::tls_failure::TlsFailure;
use crate::tls::BackendConfigs;
use crate::tls::backend_configs::AnyCertificate;
use crate::tls::backend_handshake::server_name;
use meridian_model::limits::{HEALTH_TLS_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX};
use meridian_model::snapshot::{BackendKey, CheckKind, TlsCheck};
use rustix::event::epoll::EventFlags;
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What all handshakes with backends of pools without TLS have in common.
#[derive(Debug, Clone)]
pub(super) struct TlsClient(Arc<ClientConfig>);

/// With whom a handshake is made, and how.
pub(super) struct Counterpart {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Without resumption: a check is of the whole handshake, and ten thousand backends would have
    /// their tickets stored here.
    pub(super) fn new() -> io::Result<TlsClient> {
        let provider = aws_lc_rs::default_provider();
        let any = AnyCertificate(provider.signature_verification_algorithms);
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(any))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(TlsClient(Arc::new(config)))
    }

    /// Of whom a check by TLS wants a handshake that takes any certificate.
    fn anybody(&self, check: &TlsCheck, address: IpAddr) -> Counterpart {
        // An address is never sent as a name (RFC 6066 §3).
        let nameless = ServerName::IpAddress(address.into());
        Counterpart {
            config: Arc::clone(&self.0),
            name: wanted(check).unwrap_or(nameless),
        }
    }
}

impl Counterpart {
    /// With whom a check of the backend `key` makes a handshake, if it does. An error where what it is made
    /// with can not be read: that says nothing of the backend. May wait for the disk.
    pub(super) fn of(
        kind: &CheckKind,
        key: &BackendKey,
        any: &TlsClient,
        configs: &BackendConfigs,
    ) -> Result<Option<Counterpart>, ()> {
        let address = key.address().ip();
        match (kind, key.tls()) {
            (CheckKind::Tcp, _) | (CheckKind::Http(_), None) => Ok(None),
            (CheckKind::Tls(check), None) => Ok(Some(any.anybody(check, address))),
            (kind, Some(tls)) => {
                let asked = match kind {
                    CheckKind::Tls(check) => wanted(check),
                    CheckKind::Tcp | CheckKind::Http(_) => None,
                };
                Ok(Some(Counterpart {
                    config: configs.get(tls).ok_or(())?,
                    name: asked.unwrap_or_else(|| server_name(tls, address)),
                }))
            }
        }
    }
}

/// The name that a check asks for.
fn wanted(check: &TlsCheck) -> Option<ServerName<'static>> {
    let name = check.host.as_deref().map(str::to_owned);
    name.and_then(|name| ServerName::try_from(name).ok())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Handshake {
    connection: ClientConnection,
    /// Bytes that came from the backend.
    received: usize,
    /// What it answered; none where it is not asked.
    answer: Option<Vec<u8>>,
    /// It is made, and close_notify is on its way.
    is_closing: bool,
}

/// How far a handshake came.
pub(super) enum Turn {
    /// It waits for one of these.
    Waits(EventFlags),
    /// It is made, and waits, from now on, for the backend to close.
    Closes(EventFlags),
    /// It is made, and the backend has closed.
    Over,
}

/// Why it can not go on at once.
enum Stop {
    Waits(EventFlags),
    /// The backend closed, or the connection broke.
    Ended(TlsFailure),
    /// What the backend sent ends it.
    Refused(TlsFailure),
}

impl Handshake {
    /// A handshake whose first message is written behind `request`, and behind which `question` is
    /// asked; nothing is where that is empty. None without random bytes.
    pub(super) fn begin(
        with: Counterpart,
        request: &mut Vec<u8>,
        question: &[u8],
    ) -> Option<Handshake> {
        let mut connection = ClientConnection::new(with.config, with.name).ok()?;
        // It goes when the handshake is over.
        connection.writer().write_all(question).ok()?;
        while connection.wants_write() {
            connection.write_tls(request).ok()?;
        }
        Some(Handshake {
            connection,
            received: 0,
            answer: (!question.is_empty()).then(Vec::new),
            is_closing: false,
        })
    }

    /// Whether it is under way yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Puts what came of the answer behind `answer`. Says what it waits for where nothing did.
    pub(super) fn read(
        &mut self,
        stream: &mut TcpStream,
        answer: &mut Vec<u8>,
    ) -> Result<Option<EventFlags>, TlsFailure> {
        loop {
            if let Some(came) = &mut self.answer
                && !came.is_empty()
            {
                answer.append(came);
                return Ok(None);
            }
            match self.step(stream) {
                Ok(()) => {}
                Err(Stop::Waits(what)) => return Ok(Some(what)),
                Err(Stop::Ended(failure) | Stop::Refused(failure)) => return Err(failure),
            }
        }
    }

    /// Goes on as far as it can.
    pub(super) fn advance(&mut self, stream: &mut TcpStream) -> Result<Turn, TlsFailure> {
        let was_closing = self.is_closing;
        let stop = loop {
            if let Err(stop) = self.step(stream) {
                break stop;
            }
        };
        match stop {
            Stop::Waits(what) if self.is_closing && !was_closing => Ok(Turn::Closes(what)),
            Stop::Waits(what) => Ok(Turn::Waits(what)),
            // With TLS 1.3 a backend refuses a client's Finished, or a client without a certificate,
            // when the client is already through (RFC 8446 §4.4.2.4).
            Stop::Refused(refused @ TlsFailure::Alert(_)) => Err(refused),
            Stop::Refused(_) | Stop::Ended(_) if self.is_closing => Ok(Turn::Over),
            Stop::Refused(failure) | Stop::Ended(failure) => Err(failure),
        }
    }

    /// What it comes to when its time is over.
    pub(super) fn conclude(&self, timeout: Duration) -> Result<(), TlsFailure> {
        match self.is_closing {
            true => Ok(()),
            false => Err(TlsFailure::NoHandshake(timeout)),
        }
    }

    /// The version that was agreed upon.
    pub(super) fn version(&self) -> &'static str {
        match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        }
    }

    /// Sends what there is to send, then takes one piece.
    fn step(&mut self, stream: &mut TcpStream) -> Result<(), Stop> {
        if self.answer.is_none() && !self.is_closing && !self.connection.is_handshaking() {
            // In one piece with our last flight.
            self.connection.send_close_notify();
            self.is_closing = true;
        }
        let broken = match self.send(stream) {
            Ok(()) => None,
            // The backend may have said why before.
            Err(Stop::Ended(failure)) => Some(failure),
            Err(stop) => return Err(stop),
        };
        match self.connection.read_tls(stream) {
            Ok(0) => return Err(Stop::Ended(broken.unwrap_or(TlsFailure::Ended))),
            Ok(bytes) => self.received += bytes,
            Err(error) => {
                let stop = stop(&error, EventFlags::IN);
                return Err(broken.map_or(stop, Stop::Ended));
            }
        }
        let of_answer = self.answer.as_ref().map_or(0, |_| RESPONSE_HEAD_BYTES_MAX);
        if self.received > HEALTH_TLS_BYTES_MAX + of_answer {
            return Err(Stop::Refused(TlsFailure::TooLong));
        }
        match self.connection.process_new_packets() {
            Ok(state) => {
                if state.plaintext_bytes_to_read() > 0 {
                    let mut reader = self.connection.reader();
                    // What of it can not be read yet is no error.
                    let _ = match &mut self.answer {
                        Some(answer) => reader.read_to_end(answer),
                        // Who speaks first: it is no part of the handshake, and thrown away.
                        None => io::copy(&mut reader, &mut io::sink()).map(|_| 0),
                    };
                }
                Ok(())
            }
            Err(error) => {
                // The backend is told by an alert, where it takes one at once.
                let _ = self.connection.write_tls(stream);
                Err(Stop::Refused(TlsFailure::of(&error)))
            }
        }
    }

    fn send(&mut self, stream: &mut TcpStream) -> Result<(), Stop> {
        while self.connection.wants_write() {
            let written = self.connection.write_tls(stream);
            written.map_err(|error| stop(&error, EventFlags::OUT))?;
        }
        Ok(())
    }
}

fn stop(error: &io::Error, for_this: EventFlags) -> Stop {
    match error.kind() {
        // What was interrupted is still to be had: the wait ends at once.
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Stop::Waits(for_this),
        kind => Stop::Ended(TlsFailure::Broken(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::name::Hostname;

    fn hello(host: Option<&str>) -> Vec<u8> {
        let client = TlsClient::new().expect("the configuration is good");
        let check = TlsCheck {
            host: host.map(Into::into),
        };
        let mut request = b"PROXY UNKNOWN\r\n".to_vec();
        let with = client.anybody(&check, [192, 0, 2, 1].into());
        let begun = Handshake::begin(with, &mut request, b"");
        assert!(begun.is_some_and(|it| !it.connection.wants_write()));
        request
    }

    fn holds(bytes: &[u8], text: &str) -> bool {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    }

    /// Whatever name a manifest takes is sent, and an address never.
    #[test]
    fn every_name_of_a_check_is_sent() {
        let longest = format!("{}.test", ["a"; 124].join("."));
        for name in ["shop.example.com", "a", "_x.1.a-b.xn--p1ai", &longest] {
            let name = Hostname::parse(name).expect("it is a hostname");
            assert!(!name.ends_in_number());
            assert!(
                holds(&hello(Some(name.as_str())), name.as_str()),
                "{name:?}"
            );
        }
        let nameless = hello(None);
        assert!(!holds(&nameless, "192.0.2.1"));
        assert!(nameless.starts_with(b"PROXY UNKNOWN\r\n\x16\x03\x01"));
        assert!(nameless.len() < 1024, "it goes out in one packet");
    }
}
