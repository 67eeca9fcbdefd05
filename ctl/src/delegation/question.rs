//! One question to one name server: over UDP, and over TCP when the answer does not fit (RFC 7766 §5).

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rtype};
use domain::base::message::RecordSection;
use domain::base::record::ParsedRecord;
use domain::base::{Message, Name, ToName};
use domain::rdata::{A, Aaaa, Ns};
use meridian_model::zones::{WireName, rtype};

use crate::limits::DNS_TRY;

/// How often a server is asked over UDP.
const TRIES: u32 = 2;

/// What a datagram of an answer may have, in octets: the DNS flag day's size.
const PAYLOAD_BYTES: u16 = 1232;

/// A message that fits into nothing else.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) name: WireName,
    pub(crate) rtype: u16,
    /// The server is to find it out (RD).
    pub(crate) is_recursive: bool,
}

/// An answer, as far as delegations need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) rcode: u8,
    /// AA.
    pub(crate) is_authoritative: bool,
    pub(crate) answer: Vec<Told>,
    pub(crate) authority: Vec<Told>,
    pub(crate) additional: Vec<Told>,
}

/// A record that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) owner: WireName,
    pub(crate) what: What,
}

/// What a record says, of those types that count here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    NameServer(WireName),
    Address(IpAddr),
    Soa,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// Nothing came in time.
    Silent,
    /// The kernel says so.
    Io(String),
    /// What came is no answer to it.
    Malformed,
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoReply::Silent => f.write_str("did not answer in time"),
            NoReply::Io(error) => f.write_str(error),
            NoReply::Malformed => f.write_str("answered what is no answer"),
        }
    }
}

impl From<io::Error> for NoReply {
    fn from(error: io::Error) -> NoReply {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => NoReply::Silent,
            _ => NoReply::Io(error.to_string()),
        }
    }
}

impl Question {
    /// Asks `server`, until `deadline` at most.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn ask(&self, server: SocketAddr, deadline: Instant) -> Result<Reply, NoReply> {
        let query = self.query(RandomState::new().build_hasher().finish() as u16);
        let mut last = NoReply::Silent;
        for _ in 0..TRIES {
            match ask_by_udp(server, &query, deadline) {
                Ok(message) if is_truncated(&message) => {
                    let message = ask_by_tcp(server, &query, deadline)?;
                    return self.read(&message).ok_or(NoReply::Malformed);
                }
                Ok(message) => return self.read(&message).ok_or(NoReply::Malformed),
                Err(no_reply) => last = no_reply,
            }
        }
        Err(last)
    }

    fn query(&self, id: u16) -> Vec<u8> {
        let mut query = id.to_be_bytes().to_vec();
        query.extend([u8::from(self.is_recursive), 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        query.extend_from_slice(self.name.octets());
        query.extend(self.rtype.to_be_bytes());
        query.extend(Class::IN.to_int().to_be_bytes());
        // OPT (RFC 6891 §6.1.2): the root, its type, the payload, nothing else.
        query.push(0);
        query.extend(rtype::OPT.to_be_bytes());
        query.extend(PAYLOAD_BYTES.to_be_bytes());
        query.extend([0; 6]);
        query
    }

    fn read(&self, message: &[u8]) -> Option<Reply> {
        let message = Message::from_octets(message).ok()?;
        let question = message.sole_question().ok()?;
        let is_ours = wire_name(question.qname())? == self.name
            && question.qtype().to_int() == self.rtype
            && message.header().qr();
        if !is_ours {
            return None;
        }
        Some(Reply {
            rcode: message.header().rcode().to_int(),
            is_authoritative: message.header().aa(),
            answer: all_told(message.answer().ok()?)?,
            authority: all_told(message.authority().ok()?)?,
            additional: all_told(message.additional().ok()?)?,
        })
    }
}

/// None: a record is malformed.
fn all_told(section: RecordSection<'_, &[u8]>) -> Option<Vec<Told>> {
    let records = section.map(|record| told(&record.ok()?));
    let all: Option<Vec<Option<Told>>> = records.collect();
    Some(all?.into_iter().flatten().collect())
}

/// Within: none where its type does not count here.
fn told(record: &ParsedRecord<'_, &[u8]>) -> Option<Option<Told>> {
    let what = match record.rtype() {
        Rtype::A => {
            let record = record.to_record::<A>().ok()??;
            What::Address(record.data().addr().into())
        }
        Rtype::AAAA => {
            let record = record.to_record::<Aaaa>().ok()??;
            What::Address(record.data().addr().into())
        }
        Rtype::NS => {
            let record = record.to_record::<Ns<_>>().ok()??;
            What::NameServer(wire_name(record.data().nsdname())?)
        }
        Rtype::SOA => What::Soa,
        _ => return Some(None),
    };
    let owner = wire_name(&record.owner())?;
    Some(Some(Told { owner, what }))
}

fn wire_name(name: &impl ToName) -> Option<WireName> {
    let name: Name<Vec<u8>> = name.to_name();
    WireName::new(name.as_octets())
}

/// The address of these octets: of an A or an AAAA record.
pub(super) fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

fn left(deadline: Instant) -> Result<Duration, NoReply> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(NoReply::Silent),
        left => Ok(left.min(DNS_TRY)),
    }
}

/// What came back with the query's id. Others may write to the port; only `server` is heard.
fn ask_by_udp(server: SocketAddr, query: &[u8], deadline: Instant) -> Result<Vec<u8>, NoReply> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.send(query)?;
    let until = Instant::now() + left(deadline)?;
    let mut room = vec![0; MESSAGE_BYTES_MAX];
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        let length = socket.recv(&mut room)?;
        if room[..length].get(..2) == query.get(..2) {
            room.truncate(length);
            return Ok(room);
        }
    }
}

fn ask_by_tcp(server: SocketAddr, query: &[u8], deadline: Instant) -> Result<Vec<u8>, NoReply> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let length = (query.len() as u16).to_be_bytes();
    stream.write_all(&[&length[..], query].concat())?;
    let mut length = [0; 2];
    read_exactly(&mut stream, &mut length, deadline)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    read_exactly(&mut stream, &mut message, deadline)?;
    Ok(message)
}

fn read_exactly(
    stream: &mut TcpStream,
    mut room: &mut [u8],
    deadline: Instant,
) -> Result<(), NoReply> {
    while !room.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(room)? {
            0 => return Err(NoReply::Malformed),
            count => room = &mut room[count..],
        }
    }
    Ok(())
}

/// TC.
fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 2 != 0)
}
