//! A name server of the tests: it says what it is told to, over UDP and TCP. Its bytes are put
//! together by hand, apart from what the plane reads them with.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A record of an answer, about the name that was asked for unless it says otherwise.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// A or AAAA.
    Address(IpAddr, u32),
    /// The name is an alias of this one.
    Alias(&'static str, u32),
    /// A or AAAA of another name.
    AddressOf(&'static str, IpAddr, u32),
}

/// What is said of a name.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// These records, as far as they are of the family that is asked for.
    Records(Vec<Record>),
    /// The same, after a while.
    Late(Duration, Vec<Record>),
    /// The same, over TCP alone.
    OverTcp(Vec<Record>),
    /// First what others make up to be believed, then the truth.
    AfterForgeries(Vec<Record>, Vec<Record>),
    /// No answer but this code.
    Code(u8),
    /// Nothing at all.
    Nothing,
}

/// RFC 1035 §4.1.1.
pub(crate) const SERVFAIL: u8 = 2;
/// RFC 1035 §4.1.1.
const NXDOMAIN: u8 = 3;

/// The addresses with a TTL of zero.
pub(crate) fn addresses(addresses: &[&str]) -> Says {
    let records = addresses.iter().map(|it| address(it));
    Says::Records(records.collect())
}

/// An address with a TTL of zero.
pub(crate) fn address(address: &str) -> Record {
    Record::Address(address.parse().expect("an address"), 0)
}

/// See the module.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    says: BTreeMap<String, Says>,
    /// The names that were asked for over UDP with the type, and over TCP.
    asked: Vec<(String, u16)>,
    asked_over_tcp: usize,
}

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;

impl NameServer {
    /// A server that knows no name, on a free port of loopback.
    pub(crate) fn start() -> NameServer {
        let (datagrams, streams) = same_port();
        let address = datagrams.local_addr().expect("it is bound");
        let book = Arc::new(Mutex::new(Book::default()));
        let of_datagrams = Arc::clone(&book);
        std::thread::spawn(move || serve_datagrams(&datagrams, &of_datagrams));
        let of_streams = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in streams.incoming().flatten() {
                serve_stream(stream, &of_streams);
            }
        });
        NameServer { address, book }
    }

    /// An address where another server of the test can be started.
    pub(crate) fn free_address() -> SocketAddr {
        let (datagrams, _) = same_port();
        datagrams.local_addr().expect("it is bound")
    }

    /// What it says of `name` from now on.
    pub(crate) fn say(&self, name: &str, says: Says) {
        let mut book = self.book.lock().expect("nobody panicked");
        book.says.insert(name.to_owned(), says);
    }

    /// How often the IPv4 addresses of `name` were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        let book = self.book.lock().expect("nobody panicked");
        let wanted = (name.to_owned(), TYPE_A);
        book.asked.iter().filter(|it| **it == wanted).count()
    }

    /// How many different names were asked for.
    pub(crate) fn names_asked(&self) -> usize {
        let book = self.book.lock().expect("nobody panicked");
        let names: BTreeSet<&str> = book.asked.iter().map(|(name, _)| &**name).collect();
        names.len()
    }

    /// How many questions came over TCP.
    pub(crate) fn asked_over_tcp(&self) -> usize {
        self.book.lock().expect("nobody panicked").asked_over_tcp
    }
}

fn same_port() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
        let address = datagrams.local_addr().expect("it is bound");
        if let Ok(streams) = TcpListener::bind(address) {
            return (datagrams, streams);
        }
    }
    panic!("no port is free for both");
}

fn serve_datagrams(socket: &UdpSocket, book: &Arc<Mutex<Book>>) {
    let mut room = [0; 512];
    while let Ok((count, client)) = socket.recv_from(&mut room) {
        let question = Question::read(&room[..count]);
        let says = {
            let mut book = book.lock().expect("nobody panicked");
            book.asked.push((question.name.clone(), question.kind));
            book.says.get(&question.name).cloned()
        };
        let send = |bytes: &[u8]| {
            let _ = socket.send_to(bytes, client);
        };
        match says {
            None => send(&question.answer(NXDOMAIN, &[])),
            Some(Says::Nothing) => {}
            Some(Says::Code(code)) => send(&question.answer(code, &[])),
            Some(Says::Records(records)) => send(&question.answer(0, &records)),
            Some(Says::OverTcp(_)) => {
                let mut cut = question.answer(0, &[]);
                cut[2] |= 2;
                send(&cut);
            }
            Some(Says::Late(after, records)) => {
                let socket = socket.try_clone().expect("it can be shared");
                std::thread::spawn(move || {
                    std::thread::sleep(after);
                    let _ = socket.send_to(&question.answer(0, &records), client);
                });
            }
            Some(Says::AfterForgeries(forged, records)) => {
                let forged = question.answer(0, &forged);
                let mut of_other_number = forged.clone();
                of_other_number[1] ^= 1;
                send(&of_other_number);
                let mut of_other_name = forged.clone();
                of_other_name[13] ^= 1;
                send(&of_other_name);
                // The right number and question from another port.
                let stranger = UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
                stranger.send_to(&forged, client).expect("it can be sent");
                send(&forged[..11]);
                send(&question.answer(0, &records));
            }
        }
    }
}

fn serve_stream(mut stream: TcpStream, book: &Arc<Mutex<Book>>) {
    let mut length = [0; 2];
    if stream.read_exact(&mut length).is_err() {
        return;
    }
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    if stream.read_exact(&mut bytes).is_err() {
        return;
    }
    let question = Question::read(&bytes);
    let says = {
        let mut book = book.lock().expect("nobody panicked");
        book.asked_over_tcp += 1;
        book.says.get(&question.name).cloned()
    };
    let Some(Says::OverTcp(records)) = says else {
        return;
    };
    let answer = question.answer(0, &records);
    let whole = [&(answer.len() as u16).to_be_bytes(), &answer[..]].concat();
    // In pieces, as a network may bring it.
    for piece in whole.chunks(7) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

struct Question {
    bytes: Vec<u8>,
    name: String,
    kind: u16,
}

impl Question {
    fn read(bytes: &[u8]) -> Question {
        let mut labels = Vec::new();
        let mut at = 12;
        while bytes[at] != 0 {
            let end = at + 1 + usize::from(bytes[at]);
            labels.push(String::from_utf8_lossy(&bytes[at + 1..end]).into_owned());
            at = end;
        }
        assert_eq!(bytes.len(), at + 5, "one question and nothing else");
        Question {
            bytes: bytes.to_vec(),
            name: labels.join("."),
            kind: u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]),
        }
    }

    fn answer(&self, code: u8, records: &[Record]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[2] |= 0x80;
        bytes[3] = 0x80 | code;
        let mut count = 0_u16;
        for record in records {
            let (owner, address, ttl_s) = match record {
                Record::Address(address, ttl_s) => (vec![0xc0, 12], *address, *ttl_s),
                Record::AddressOf(name, address, ttl_s) => (encoded(name), *address, *ttl_s),
                Record::Alias(target, ttl_s) => {
                    let target = encoded(target);
                    add(&mut bytes, &[0xc0, 12], TYPE_CNAME, *ttl_s, &target);
                    count += 1;
                    continue;
                }
            };
            let (kind, data) = match address {
                IpAddr::V4(address) => (TYPE_A, address.octets().to_vec()),
                IpAddr::V6(address) => (TYPE_AAAA, address.octets().to_vec()),
            };
            if kind == self.kind {
                add(&mut bytes, &owner, kind, ttl_s, &data);
                count += 1;
            }
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        bytes
    }
}

fn add(bytes: &mut Vec<u8>, owner: &[u8], kind: u16, ttl_s: u32, data: &[u8]) {
    bytes.extend(owner);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(ttl_s.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
