//! One question under way at one name server: over UDP, and over TCP when the answer is too
//! long for it. Nothing here waits; [`Question::advance`] is called when there may be news.

use super::message::{self, Answer, Family, Reply};
use meridian_model::limits::{
    LOOKUP_ANSWER_BYTES_MAX, LOOKUP_ATTEMPT_MS, LOOKUP_DATAGRAM_BYTES_MAX,
    LOOKUP_DATAGRAMS_AT_ONCE_MAX,
};
use meridian_sys::process::random_bytes;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(super) struct Question {
    bytes: Vec<u8>,
    server: SocketAddr,
    transport: Transport,
    deadline: Instant,
}

#[derive(Debug)]
enum Transport {
    Udp(UdpSocket),
    Tcp(Stream),
}

/// A question over TCP: two bytes of length before each message (RFC 1035 §4.2.2).
#[derive(Debug)]
struct Stream {
    stream: TcpStream,
    to_send: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

/// How a question stands.
#[derive(Debug)]
pub(super) enum Progress {
    /// The answer may still come.
    Waiting,
    /// It came.
    Answered(Answer),
    /// It will not come; why.
    Failed(Fault),
}

/// Why a question got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// With the server, in words.
    pub(super) what: String,
    /// The time was up.
    pub(super) is_silence: bool,
}

impl Question {
    /// Asks `server` for addresses of `host`, from a port and with a number that nobody can know.
    pub(super) fn ask(
        host: &str,
        family: Family,
        server: SocketAddr,
        now: Instant,
    ) -> Result<Question, Fault> {
        let fault = |what: String| Fault {
            what: format!("{server}: {what}"),
            is_silence: false,
        };
        let id = random_bytes().map_err(|error| fault(error.to_string()))?;
        let bytes = message::question(host, family, u16::from_ne_bytes(id))
            .ok_or_else(|| fault("this is no name that can be asked for".to_owned()))?;
        let transport = datagrams(server, &bytes).map_err(|error| fault(error.to_string()))?;
        Ok(Question {
            bytes,
            server,
            transport: Transport::Udp(transport),
            deadline: now + Duration::from_millis(LOOKUP_ATTEMPT_MS),
        })
    }

    /// What is to be waited for.
    pub(super) fn interest(&self) -> PollFd<'_> {
        match &self.transport {
            Transport::Udp(socket) => PollFd::new(socket, PollFlags::IN),
            Transport::Tcp(talk) if talk.sent < talk.to_send.len() => {
                PollFd::new(&talk.stream, PollFlags::OUT)
            }
            Transport::Tcp(talk) => PollFd::new(&talk.stream, PollFlags::IN),
        }
    }

    /// When the server has had its time.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes up what came.
    pub(super) fn advance(&mut self, now: Instant) -> Progress {
        let reply = match &mut self.transport {
            Transport::Udp(socket) => receive_datagrams(socket, &self.bytes),
            Transport::Tcp(talk) => talk.advance(&self.bytes),
        };
        match reply {
            Ok(Some(Reply::Answer(answer))) => Progress::Answered(answer),
            Ok(Some(Reply::Truncated)) => self.ask_over_tcp(now),
            Ok(Some(Reply::Fault(what))) => self.failed(what),
            Ok(None) if self.deadline <= now => Progress::Failed(Fault {
                what: format!("{}: no answer within {LOOKUP_ATTEMPT_MS} ms", self.server),
                is_silence: true,
            }),
            Ok(None) => Progress::Waiting,
            Err(error) => self.failed(error.to_string()),
        }
    }

    fn ask_over_tcp(&mut self, now: Instant) -> Progress {
        if matches!(self.transport, Transport::Tcp(_)) {
            return self.failed("answered in part over TCP, too".to_owned());
        }
        match Stream::connect(self.server, &self.bytes) {
            Ok(talk) => {
                self.transport = Transport::Tcp(talk);
                self.deadline = now + Duration::from_millis(LOOKUP_ATTEMPT_MS);
                Progress::Waiting
            }
            Err(error) => self.failed(error.to_string()),
        }
    }

    fn failed(&self, what: String) -> Progress {
        Progress::Failed(Fault {
            what: format!("{}: {what}", self.server),
            is_silence: false,
        })
    }
}

/// Sends `bytes` from a socket that takes datagrams of `server` alone.
fn datagrams(server: SocketAddr, bytes: &[u8]) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(bytes)?;
    Ok(socket)
}

fn receive_datagrams(socket: &UdpSocket, question: &[u8]) -> io::Result<Option<Reply>> {
    let mut room = [0; LOOKUP_DATAGRAM_BYTES_MAX];
    for _ in 0..LOOKUP_DATAGRAMS_AT_ONCE_MAX {
        match socket.recv(&mut room) {
            Ok(count) => {
                if let Some(reply) = message::read(&room[..count], question) {
                    return Ok(Some(reply));
                }
            }
            Err(error) if is_for_later(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Stream {
    /// Begins to connect.
    fn connect(server: SocketAddr, question: &[u8]) -> io::Result<Stream> {
        let family = match server {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &server) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let length = question.len() as u16;
        Ok(Stream {
            stream: TcpStream::from(socket),
            to_send: [&length.to_be_bytes(), question].concat(),
            sent: 0,
            received: Vec::new(),
        })
    }

    fn advance(&mut self, question: &[u8]) -> io::Result<Option<Reply>> {
        while self.sent < self.to_send.len() {
            match self.stream.write(&self.to_send[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if is_for_later(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        loop {
            let wanted = match self.received.first_chunk() {
                None => 2,
                Some(length) => 2 + usize::from(u16::from_be_bytes(*length)),
            };
            if wanted > LOOKUP_ANSWER_BYTES_MAX {
                let what = format!("answers with more than {LOOKUP_ANSWER_BYTES_MAX} bytes");
                return Err(io::Error::new(ErrorKind::InvalidData, what));
            }
            let have = self.received.len();
            if wanted > 2 && have >= wanted {
                let reply = message::read(&self.received[2..wanted], question);
                let foreign = || io::Error::new(ErrorKind::InvalidData, "answered something else");
                return reply.map(Some).ok_or_else(foreign);
            }
            if wanted == 2 && have >= 2 {
                return Err(io::Error::new(ErrorKind::InvalidData, "answered nothing"));
            }
            self.received.resize(wanted, 0);
            let read = self.stream.read(&mut self.received[have..]);
            self.received.truncate(have + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if is_for_later(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected
    )
}
