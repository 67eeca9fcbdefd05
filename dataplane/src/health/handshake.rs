//! The handshake of a check by TLS, from the first message to close_notify.
//!
//! What it shows is that the backend makes a handshake (TLS 1.2 or 1.3) and holds the key of the
//! certificate that it presents. Whose certificate that is, until when it holds and who signed it
//! is not looked at, as with HAProxy's `check-ssl verify none`: what a check sends is no secret, and
//! a certificate that has run out is no reason to take a site off the air
//! (docs/decisions/0034-checks-by-tls.md).
//!
//! ```text
//! hello     begin: goes out behind the header of the PROXY protocol, in one piece
//! flights   advance: until both sides have finished
//! closing   close_notify is sent (RFC 8446 §6.1); a backend that was not content says so now
//! ```

use super::tls_failure::TlsFailure;
use meridian_model::limits::HEALTH_TLS_BYTES_MAX;
use meridian_model::snapshot::TlsCheck;
use rustix::event::epoll::EventFlags;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What all handshakes of this host have in common.
#[derive(Debug, Clone)]
pub(super) struct TlsClient(Arc<ClientConfig>);

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
}

/// See the module.
#[derive(Debug)]
pub(super) struct Handshake {
    connection: ClientConnection,
    /// Bytes that came from the backend.
    received: usize,
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
    /// A handshake with `address`, whose first message is written behind `request`. None without
    /// random bytes.
    pub(super) fn begin(
        client: &TlsClient,
        check: &TlsCheck,
        address: SocketAddr,
        request: &mut Vec<u8>,
    ) -> Option<Handshake> {
        // An address is never sent as a name (RFC 6066 §3).
        let nameless = ServerName::IpAddress(address.ip().into());
        let name = check.host.as_deref().map(str::to_owned);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let name = name.unwrap_or(nameless);
        let mut connection = ClientConnection::new(Arc::clone(&client.0), name).ok()?;
        while connection.wants_write() {
            connection.write_tls(request).ok()?;
        }
        Some(Handshake {
            connection,
            received: 0,
            is_closing: false,
        })
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
        if !self.is_closing && !self.connection.is_handshaking() {
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
        if self.received > HEALTH_TLS_BYTES_MAX {
            return Err(Stop::Refused(TlsFailure::TooLong));
        }
        match self.connection.process_new_packets() {
            Ok(state) => {
                if state.plaintext_bytes_to_read() > 0 {
                    // Who speaks first: it is no part of the handshake, and thrown away.
                    let _ = io::copy(&mut self.connection.reader(), &mut io::sink());
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

/// Takes any certificate whose key signed the handshake (RFC 8446 §4.4.3, RFC 5246 §7.4.3).
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
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
        let address = SocketAddr::from(([192, 0, 2, 1], 443));
        let begun = Handshake::begin(&client, &check, address, &mut request);
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
