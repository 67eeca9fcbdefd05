//! Clients that speak TLS: one that a test has in its hands, and a bridge by which a test speaks
//! plainly to a plane that wants TLS; and one in front of a backend that speaks plainly to a plane which
//! does not.

use super::identity::authority;
use super::peer::{End, PATIENCE, Peer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Both versions, the newer one first.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What clients of these versions have that trust the tests' authority, and remember no session.
pub(crate) fn config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority().root.clone()).expect("it is a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("they fit")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// A client of a plane.
pub(crate) struct SecurePeer {
    pub(crate) connection: ClientConnection,
    pub(crate) stream: TcpStream,
}

impl SecurePeer {
    /// Connects, and leaves the handshake to what is done first.
    pub(crate) fn connect(
        address: SocketAddr,
        name: &str,
        config: &Arc<ClientConfig>,
    ) -> SecurePeer {
        let name = ServerName::try_from(name.to_owned()).expect("it is a name");
        let connection = ClientConnection::new(Arc::clone(config), name);
        SecurePeer {
            connection: connection.expect("the configuration is good"),
            stream: Peer::connect(address).stream,
        }
    }

    /// Makes the handshake. The error is how it failed.
    pub(crate) fn shake_hands(&mut self) -> Result<(), rustls::Error> {
        self.shake_hands_until_the_last()?;
        self.flush();
        Ok(())
    }

    /// The same, with close_notify in one piece with its last message, where that is the client's.
    pub(crate) fn shake_hands_and_notify(&mut self) -> Result<(), rustls::Error> {
        self.shake_hands_until_the_last()?;
        self.connection.send_close_notify();
        let mut records = Vec::new();
        while self.connection.wants_write() {
            let written = self.connection.write_tls(&mut records);
            written.expect("a Vec takes everything");
        }
        self.stream.write_all(&records).expect("the plane takes it");
        Ok(())
    }

    fn shake_hands_until_the_last(&mut self) -> Result<(), rustls::Error> {
        while self.connection.is_handshaking() {
            self.flush();
            self.take()?;
        }
        Ok(())
    }

    /// Sends plaintext.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.connection
            .writer()
            .write_all(bytes)
            .expect("it is buffered");
        self.flush();
    }

    /// Sends the records that there are.
    pub(crate) fn flush(&mut self) {
        while self.connection.wants_write() {
            let written = self.connection.write_tls(&mut self.stream);
            written.expect("the plane takes it");
        }
    }

    fn take(&mut self) -> Result<usize, rustls::Error> {
        let read = self.connection.read_tls(&mut self.stream);
        let read = read.map_err(|error| rustls::Error::General(error.to_string()))?;
        self.connection.process_new_packets()?;
        match read {
            0 if self.connection.is_handshaking() => {
                Err(rustls::Error::General("the plane closed".to_owned()))
            }
            read => Ok(read),
        }
    }

    /// Waits until there is plaintext, which stays; or why there will be none.
    pub(crate) fn try_receive(&mut self) -> Option<rustls::Error> {
        loop {
            match self.connection.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => return None,
                Ok(_) => {}
                Err(error) => return Some(error),
            }
            match self.take() {
                Ok(0) => return Some(rustls::Error::General("the plane closed".to_owned())),
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
    }

    /// Plaintext until there is so much of it, or the end; which end that is: in order by
    /// close_notify alone.
    pub(crate) fn receive(&mut self, count: usize) -> (Vec<u8>, End) {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let mut room = vec![0; 16 * 1024];
        while bytes.len() < count {
            let wanted = room.len().min(count - bytes.len());
            match self.connection.reader().read(&mut room[..wanted]) {
                Ok(0) => return (bytes, End::Closed),
                Ok(read) => bytes.extend_from_slice(&room[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if begun.elapsed() > PATIENCE || self.take().is_err() {
                        return (bytes, End::Reset);
                    }
                }
                Err(_) => return (bytes, End::Reset),
            }
        }
        (bytes, End::Open)
    }

    /// A whole response with a Content-Length.
    pub(crate) fn receive_response(&mut self) -> (String, Vec<u8>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let (byte, _) = self.receive(1);
            let so_far = String::from_utf8_lossy(&head);
            assert!(!byte.is_empty(), "no whole head: {so_far:?}");
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("the tests' heads are text");
        let length = super::peer::field(&head, "content-length");
        let length = length.map_or(0, |value| value.parse().expect("a length is a number"));
        let (body, _) = self.receive(length);
        assert_eq!(body.len(), length, "a short body behind {head}");
        (head, body)
    }

    /// Sends close_notify.
    pub(crate) fn notify(&mut self) {
        self.connection.send_close_notify();
        self.flush();
    }
}

/// Takes plain connections, and makes one by TLS to the plane of each: an end of one side becomes
/// close_notify with the end, an end without that a reset.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
}

impl Bridge {
    /// To a plane, for as long as the test runs.
    pub(crate) fn to(plane: SocketAddr, name: &str, config: ClientConfig) -> Bridge {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let name = ServerName::try_from(name.to_owned()).expect("it is a name");
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for peer in listener.incoming().flatten() {
                let connection = ClientConnection::new(Arc::clone(&config), name.clone());
                let connection = connection.expect("the configuration is good");
                let Ok(plane) = TcpStream::connect(plane) else {
                    reset(&peer);
                    continue;
                };
                std::thread::spawn(move || {
                    let crossing = Crossing {
                        peer,
                        plane,
                        connection: connection.into(),
                        pending: Vec::new(),
                        peer_ended: false,
                        plane_ended: false,
                    };
                    crossing.run();
                });
            }
        });
        Bridge { address }
    }
}

/// How a server of these versions shows a certificate, and asks for none.
pub(crate) fn serving(
    versions: &[&'static SupportedProtocolVersion],
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("they fit")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key fits")
}

/// Takes connections by TLS, and makes a plain one to a backend of each whose handshake is over. A header of the
/// PROXY protocol stands in front of it, and is passed on.
pub(crate) struct BackendBridge {
    pub(crate) address: SocketAddr,
}

impl BackendBridge {
    /// To a backend, for as long as the test runs.
    pub(crate) fn to(backend: SocketAddr, config: ServerConfig) -> BackendBridge {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for plane in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                std::thread::spawn(move || BackendBridge::cross(plane, backend, config));
            }
        });
        BackendBridge { address }
    }

    fn cross(mut plane: TcpStream, backend: SocketAddr, config: Arc<ServerConfig>) {
        let header = read_proxy_header(&mut plane);
        let mut connection = ServerConnection::new(config).expect("the configuration is good");
        while connection.is_handshaking() {
            if connection.complete_io(&mut plane).is_err() {
                return;
            }
        }
        let Ok(mut peer) = TcpStream::connect(backend) else {
            return reset(&plane);
        };
        // What came in one piece with the end of the handshake.
        let mut pending = Vec::new();
        let _ = connection.reader().read_to_end(&mut pending);
        if peer.write_all(&header).is_err() {
            return reset(&plane);
        }
        let crossing = Crossing {
            peer,
            plane,
            connection: connection.into(),
            pending,
            peer_ended: false,
            plane_ended: false,
        };
        crossing.run();
    }
}

/// What stands in front of the first record: of version 1 a line, of version 2 a length behind 14
/// bytes.
fn read_proxy_header(stream: &mut TcpStream) -> Vec<u8> {
    let mut first = [0];
    let mut header = Vec::new();
    match stream.peek(&mut first) {
        Ok(1) if first[0] == b'P' => {
            while !header.ends_with(b"\n") && take(stream, 1, &mut header) {}
        }
        Ok(1) if first[0] == b'\r' && take(stream, 16, &mut header) => {
            let length = usize::from(header[15]);
            take(stream, length, &mut header);
        }
        _ => {}
    }
    header
}

fn take(stream: &mut TcpStream, count: usize, bytes: &mut Vec<u8>) -> bool {
    let mut taken = vec![0; count];
    let is_there = stream.read_exact(&mut taken).is_ok();
    bytes.extend(taken);
    is_there
}

struct Crossing {
    peer: TcpStream,
    plane: TcpStream,
    connection: Connection,
    /// For the peer.
    pending: Vec<u8>,
    peer_ended: bool,
    plane_ended: bool,
}

/// A side is broken, and so must the other be.
struct Broken;

impl Crossing {
    fn run(mut self) {
        for stream in [&self.peer, &self.plane] {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_nonblocking(true);
        }
        while !(self.peer_ended && self.plane_ended && self.pending.is_empty()) {
            if self.step().is_err() {
                reset(&self.peer);
                reset(&self.plane);
                return;
            }
        }
    }

    fn step(&mut self) -> Result<(), Broken> {
        self.wait();
        self.take_from_peer()?;
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.plane) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Err(Broken),
            }
        }
        if self.peer_ended && !self.connection.wants_write() {
            let _ = self.plane.shutdown(Shutdown::Write);
        }
        self.take_from_plane()?;
        self.give_to_peer()
    }

    fn wait(&self) {
        let mut looked_at = Vec::new();
        let mut look = |stream, reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            if !flags.is_empty() {
                looked_at.push(PollFd::from_borrowed_fd(stream, flags));
            }
        };
        let writes = self.connection.wants_write();
        let has_pending = !self.pending.is_empty();
        let peer_reads = !self.peer_ended && !writes && !self.connection.is_handshaking();
        use std::os::fd::AsFd;
        look(self.peer.as_fd(), peer_reads, has_pending);
        look(
            self.plane.as_fd(),
            !self.plane_ended && !has_pending,
            writes,
        );
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let _ = poll(&mut looked_at, Some(&patience));
    }

    fn take_from_peer(&mut self) -> Result<(), Broken> {
        // Who has not made his handshake yet has told the plane nothing of what he sent.
        if self.peer_ended || self.connection.wants_write() || self.connection.is_handshaking() {
            return Ok(());
        }
        let mut room = vec![0; 32 * 1024];
        match self.peer.read(&mut room) {
            Ok(0) => {
                self.peer_ended = true;
                self.connection.send_close_notify();
            }
            Ok(read) => {
                let written = self.connection.writer().write_all(&room[..read]);
                written.expect("it is buffered");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(Broken),
        }
        Ok(())
    }

    fn take_from_plane(&mut self) -> Result<(), Broken> {
        if self.plane_ended || !self.pending.is_empty() {
            return Ok(());
        }
        match self.connection.read_tls(&mut self.plane) {
            // Nothing was said that could be taken for the whole of something.
            Ok(0) if self.connection.is_handshaking() => {
                (self.peer_ended, self.plane_ended) = (true, true);
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Broken),
        }
        self.connection.process_new_packets().map_err(|_| Broken)?;
        let mut room = vec![0; 32 * 1024];
        loop {
            match self.connection.reader().read(&mut room) {
                Ok(0) => {
                    self.plane_ended = true;
                    return Ok(());
                }
                Ok(read) => self.pending.extend_from_slice(&room[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The end without close_notify.
                Err(_) => {
                    let _ = self.give_to_peer();
                    return Err(Broken);
                }
            }
        }
    }

    fn give_to_peer(&mut self) -> Result<(), Broken> {
        while !self.pending.is_empty() {
            match self.peer.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Broken),
            }
        }
        if self.plane_ended {
            let _ = self.peer.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}

fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
