//! The client's first message: which site it asks for.
//!
//! rustls reads the message to that end, and reads it once more when it is known what the site's
//! handshakes are made with: a few microseconds, for which nothing of it is read by anybody else.

use meridian_model::limits::TLS_HELLO_BYTES_MAX;
use rustls::server::Acceptor;
use rustls::{AlertDescription, Error};

/// A fatal alert before there are keys (RFC 8446 §6): its record, its level and what it says.
pub(super) fn alert(what: AlertDescription) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, u8::from(what)]
}

/// What a client is told that sent what nobody expects, where nothing is said of it yet. An alert is
/// not answered (RFC 8446 §6.2).
pub(super) fn or_unexpected(told: Vec<u8>, fault: &Error) -> Vec<u8> {
    match fault {
        Error::AlertReceived(_) => told,
        _ if told.is_empty() => alert(AlertDescription::UnexpectedMessage),
        _ => told,
    }
}

/// What the client wants, as far as it is of interest before a site is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The name that it asks for (RFC 6066 §3), as a hostname is written here; none without one.
    pub(super) name: Option<String>,
}

/// Reads a ClientHello in whatever parts it comes.
pub(super) struct HelloReader {
    acceptor: Acceptor,
    bytes: usize,
}

impl HelloReader {
    pub(super) fn new() -> HelloReader {
        HelloReader {
            acceptor: Acceptor::default(),
            bytes: 0,
        }
    }

    /// Takes what came. Gives what the client wants once it is all there; the error is what it is
    /// told instead. No more is to be given then.
    pub(super) fn take(&mut self, mut part: &[u8]) -> Result<Option<Wanted>, Vec<u8>> {
        self.bytes += part.len();
        while !part.is_empty() {
            if let Err(_full) = self.acceptor.read_tls(&mut part) {
                return Err(alert(AlertDescription::DecodeError));
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let name = hello.server_name().map(|name| {
                        let name = name.to_ascii_lowercase();
                        name.strip_suffix('.').map_or(name.clone(), str::to_owned)
                    });
                    return Ok(Some(Wanted { name }));
                }
                Ok(None) => {}
                Err((fault, mut told)) => {
                    let mut bytes = Vec::new();
                    // A Vec takes everything.
                    let _ = told.write_all(&mut bytes);
                    return Err(or_unexpected(bytes, &fault));
                }
            }
        }
        match self.bytes > TLS_HELLO_BYTES_MAX {
            true => Err(alert(AlertDescription::DecodeError)),
            false => Ok(None),
        }
    }
}
