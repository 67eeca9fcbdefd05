//! Clients that speak TLS: what they offer, and the bytes of a connection by TLS or as they are.
//!
//! One version and one cipher are offered, and X25519 before the curve of the certificate, so that all
//! servers do the same work: whoever answers at all has agreed on AES-128-GCM.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::Serialize;

use crate::failure::Failure;
use crate::quantity::Target;

/// The protocol that ALPN agrees on (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";
/// A handshake that is waited for takes no longer.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub(crate) enum Version {
    #[value(name = "1.2")]
    #[serde(rename = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    #[serde(rename = "1.3")]
    V1_3,
}

impl Version {
    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// What clients are told of TLS.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct TlsOptions {
    /// With https: the certificate in PEM that has signed the server's.
    #[arg(long)]
    trust: Option<PathBuf>,
    /// With https: the version of TLS.
    #[arg(long, value_enum, default_value_t = Version::V1_3)]
    tls: Version,
}

/// How the handshakes of some connections are made.
#[derive(Clone, Debug)]
pub(crate) struct SecureClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl SecureClient {
    /// For a target; `None` where it is no https. The name of the server is `host`, or else the
    /// target's. Sessions are not resumed.
    pub(crate) fn of(
        target: &Target,
        host: Option<&str>,
        options: &TlsOptions,
    ) -> Result<Option<Self>, Failure> {
        if !target.is_secure {
            return Ok(None);
        }
        let trust = (options.trust.as_ref()).ok_or_else(|| {
            Failure::new("https needs --trust FILE, and verifies nothing without")
        })?;
        let config = config(trust, options.tls)?;
        let name = host.unwrap_or(&target.authority);
        let name = name.rsplit_once(':').map_or(name, |(host, _)| host);
        Ok(Some(Self {
            config: Arc::new(config),
            name: server_name(name)?,
        }))
    }

    /// By TLS 1.3, for a server of that name whose certificate the one in `root` has signed.
    pub(crate) fn trusting(root: &Path, name: &str) -> Result<Self, Failure> {
        let config = config(root, Version::V1_3)?;
        Ok(Self {
            config: Arc::new(config),
            name: server_name(name)?,
        })
    }

    /// The same, for a server of another name.
    pub(crate) fn named(&self, name: &str) -> Result<Self, Failure> {
        Ok(Self {
            config: Arc::clone(&self.config),
            name: server_name(name)?,
        })
    }

    /// The same, with a memory of sessions that is empty.
    pub(crate) fn remembering(&self) -> Self {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::in_memory_sessions(4);
        Self {
            config: Arc::new(config),
            name: self.name.clone(),
        }
    }

    /// A client's side of a connection before its handshake.
    pub(crate) fn begin(&self) -> io::Result<ClientConnection> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Failure> {
    ServerName::try_from(name.to_owned()).map_err(Failure::at(name))
}

/// Sessions are not resumed.
fn config(root: &Path, version: Version) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(root);
    let certificate = certificate.map_err(Failure::at(root.display()))?;
    let added = roots.add(certificate);
    added.map_err(Failure::at(root.display()))?;
    let versions: &[_] = match version {
        Version::V1_2 => &[&TLS12],
        Version::V1_3 => &[&TLS13],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(offered()))
        .with_protocol_versions(versions)
        .map_err(Failure::at("TLS"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn offered() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    // OpenSSL shows a certificate only to who offers its curve (RFC 8422 §4); the first is agreed upon.
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1];
    provider
}

/// A connection of a client. What is read and written is plaintext; both may stop short with
/// `WouldBlock`, as a socket does.
pub(crate) struct Wire {
    stream: TcpStream,
    session: Option<Box<ClientConnection>>,
}

impl Wire {
    /// Connects, and makes the handshake where there is one to make.
    pub(crate) fn open(
        address: SocketAddr,
        limit: Duration,
        secure: Option<&SecureClient>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        let Some(secure) = secure else {
            let session = None;
            return Ok(Self { stream, session });
        };
        stream.set_read_timeout(Some(HANDSHAKE_LIMIT))?;
        let mut session = Box::new(secure.begin()?);
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self {
            stream,
            session: Some(session),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// What the server has shown, in DER; empty without TLS.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let session = self.session.as_ref();
        let shown = session.and_then(|session| session.peer_certificates()?.first());
        shown.map_or(Vec::new(), |shown| shown.to_vec())
    }

    /// Whether a read that comes up short has taken all that there was.
    pub(crate) fn is_drained_by_short_read(&self) -> bool {
        self.session.is_none()
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.stream.read(room);
        };
        loop {
            match session.reader().read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            session.read_tls(&mut self.stream)?;
            session.process_new_packets().map_err(io::Error::other)?;
            send_records(session, &mut self.stream)?;
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.stream.write(bytes);
        };
        let written = session.writer().write(bytes)?;
        send_records(session, &mut self.stream)?;
        Ok(written)
    }

    /// Sends what the socket did not take before, as far as it does now.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => send_records(session, &mut self.stream),
            None => Ok(()),
        }
    }
}

/// Sends the records that there are, as far as the socket takes them.
pub(crate) fn send_records(
    session: &mut ClientConnection,
    stream: &mut TcpStream,
) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(stream) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
