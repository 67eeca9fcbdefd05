//! Clients and backends of the tests: plain blocking sockets with a limit on every wait.

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a peer waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How a peer's side of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order (FIN).
    Closed,
    /// With a reset.
    Reset,
    /// Not at all in the time that was given.
    Open,
}

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).expect("it is a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Peer { stream }
    }

    pub(crate) fn connect(address: SocketAddr) -> Peer {
        Peer::new(TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens"))
    }

    /// Connects with a small receive buffer, which is how a slow reader looks from afar.
    pub(crate) fn connect_narrow(address: SocketAddr, receive_bytes: usize) -> Peer {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .expect("a socket can be made");
        socket
            .set_recv_buffer_size(receive_bytes)
            .expect("a small buffer is allowed");
        socket.connect(&address.into()).expect("somebody listens");
        Peer::new(socket.into())
    }

    /// Connects from an address of this machine.
    pub(crate) fn connect_from(from: IpAddr, address: SocketAddr) -> Peer {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .expect("a socket can be made");
        let from = SocketAddr::new(from, 0);
        socket.bind(&from.into()).expect("it is one of ours");
        socket.connect(&address.into()).expect("somebody listens");
        Peer::new(socket.into())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer takes it");
    }

    /// Exactly so many bytes, or fewer when no more come; never waits longer than `patience`.
    pub(crate) fn receive(&mut self, count: usize, patience: Duration) -> Vec<u8> {
        let begun = Instant::now();
        let mut bytes = vec![0; count];
        let mut got = 0;
        while got < count {
            let Some(left) = patience
                .checked_sub(begun.elapsed())
                .filter(|left| !left.is_zero())
            else {
                break;
            };
            self.stream.set_read_timeout(Some(left)).expect("not zero");
            match self.stream.read(&mut bytes[got..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => got += more,
            }
        }
        bytes.truncate(got);
        bytes
    }

    /// What comes next, or how the connection ended.
    pub(crate) fn receive_some(&mut self) -> (Vec<u8>, End) {
        let mut room = vec![0; 16 * 1024];
        match self.stream.read(&mut room) {
            Ok(0) => (Vec::new(), End::Closed),
            Ok(count) => {
                room.truncate(count);
                (room, End::Open)
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    (Vec::new(), End::Open)
                }
                _ => (Vec::new(), End::Reset),
            },
        }
    }

    /// Reads to the end; what came, and how it ended.
    pub(crate) fn receive_all(&mut self, patience: Duration) -> (Vec<u8>, End) {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let mut room = vec![0; 64 * 1024];
        loop {
            let Some(left) = patience
                .checked_sub(begun.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return (bytes, End::Open);
            };
            self.stream.set_read_timeout(Some(left)).expect("not zero");
            match self.stream.read(&mut room) {
                Ok(0) => return (bytes, End::Closed),
                Ok(more) => bytes.extend_from_slice(&room[..more]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return (bytes, End::Open),
                    _ => return (bytes, End::Reset),
                },
            }
        }
    }

    /// Reads a head, up to its empty line.
    pub(crate) fn receive_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = self.receive(1, PATIENCE);
            assert!(
                !byte.is_empty(),
                "no whole head: {:?}",
                String::from_utf8_lossy(&head)
            );
            head.extend(byte);
        }
        String::from_utf8(head).expect("the tests' heads are text")
    }

    /// Reads a whole response with a Content-Length.
    pub(crate) fn receive_response(&mut self) -> (String, Vec<u8>) {
        let head = self.receive_head();
        let length = field(&head, "content-length")
            .map_or(0, |value| value.parse().expect("a length is a number"));
        let body = self.receive(length, PATIENCE);
        assert_eq!(body.len(), length, "a short body behind {head}");
        (head, body)
    }

    /// Ends our side; the other goes on.
    pub(crate) fn end(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("it is connected");
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("it is a TCP socket");
    }
}

/// The value of a field of a head, its name in lower case.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The status of a response's head.
pub(crate) fn status(head: &str) -> u16 {
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status in {head:?}"))
}

/// A backend whose connections the test takes by hand.
#[derive(Debug)]
pub(crate) struct Backend {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Backend {
    pub(crate) fn new() -> Backend {
        Backend::at("127.0.0.1:0")
    }

    pub(crate) fn at(address: &str) -> Backend {
        let listener = TcpListener::bind(address).expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        Backend { listener, address }
    }

    /// The next connection, if one comes in time.
    pub(crate) fn accept_within(&self, patience: Duration) -> Option<Peer> {
        self.listener.set_nonblocking(true).expect("it is a socket");
        let begun = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("it is a socket");
                    return Some(Peer::new(stream));
                }
                Err(_) if begun.elapsed() > patience => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    pub(crate) fn accept(&self) -> Peer {
        self.accept_within(PATIENCE).expect("the plane connects")
    }

    /// Serves every connection with `serve` on a thread of its own, for as long as the test runs.
    pub(crate) fn serve(self, serve: impl Fn(Peer) + Clone + Send + 'static) -> SocketAddr {
        std::thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                let serve = serve.clone();
                std::thread::spawn(move || serve(Peer::new(stream)));
            }
        });
        self.address
    }
}

/// Serves requests without a body, one after the other, with the answer that `answer` makes of
/// their heads, until the other side ends.
pub(crate) fn answer_each(mut peer: Peer, answer: impl Fn(&str) -> Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1) = peer.stream.read(&mut byte) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            let reply = answer(&String::from_utf8_lossy(&head));
            if peer.stream.write_all(&reply).is_err() {
                return;
            }
            head.clear();
        }
        peer.stream.set_read_timeout(None).expect("none is allowed");
    }
}

/// A response with this body.
pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Bytes that are different at every place that a proxy could lose, double or move.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Runs `work` on a thread of its own.
pub(crate) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(work)
}

/// An address where somebody listens and no connection ever comes about: whoever waits to be accepted
/// fills the backlog, and beyond it the kernel drops what asks for a connection.
pub(crate) struct Backlog {
    pub(crate) address: SocketAddr,
    _socket: Socket,
    _filling: Vec<TcpStream>,
}

impl Backlog {
    pub(crate) fn full() -> Backlog {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).expect("loopback has a port");
        socket.listen(0).expect("it is bound");
        let address = socket.local_addr().expect("it is bound").as_socket();
        let address = address.expect("it is IPv4");
        let at_most = Duration::from_secs(1);
        let connected = std::iter::repeat_with(|| TcpStream::connect_timeout(&address, at_most));
        let filling: Vec<TcpStream> = connected.take(10).map_while(Result::ok).collect();
        assert!(filling.len() < 10, "the backlog does not end");
        Backlog {
            address,
            _socket: socket,
            _filling: filling,
        }
    }
}
