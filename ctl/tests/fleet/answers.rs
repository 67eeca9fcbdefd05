//! A client of DNS: one question over UDP, and the addresses of the answer.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// The addresses that a name has, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) addresses: BTreeSet<Ipv4Addr>,
    /// The first of them, which changes from answer to answer.
    pub(crate) first: Option<Ipv4Addr>,
    /// In seconds.
    pub(crate) ttl: u32,
}

/// Asks for the A records of `name`, for a visitor of the /24 that begins with these bytes (RFC 7871).
/// `None` when nobody answers in time.
pub(crate) fn ask(server: SocketAddr, name: &str, subnet: [u8; 3]) -> Option<Answer> {
    let mut query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01".to_vec();
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(b"\0\0\x01\0\x01");
    let question_end = query.len();
    query.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\0");
    query.extend_from_slice(&subnet);
    let client = UdpSocket::bind("0.0.0.0:0").ok()?;
    client.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    client.connect(server).ok()?;
    client.send(&query).ok()?;
    let mut response = [0; 1232];
    let length = client.recv(&mut response).ok()?;
    let response = &response[..length];
    assert_eq!(response[3] & 0xf, 0, "the answer is no error: {response:?}");
    Some(addresses(response, question_end))
}

fn addresses(response: &[u8], mut at: usize) -> Answer {
    let count = u16::from_be_bytes([response[6], response[7]]);
    let mut answer = Answer {
        addresses: BTreeSet::new(),
        first: None,
        ttl: 0,
    };
    for _ in 0..count {
        // An owner is a pointer, or labels that end with one or with the root.
        while response[at] != 0 && response[at] < 0xc0 {
            at += 1 + usize::from(response[at]);
        }
        at += if response[at] == 0 { 1 } else { 2 };
        let fixed: [u8; 10] = response[at..at + 10].try_into().expect("it is whole");
        assert_eq!(fixed[..4], [0, 1, 0, 1], "an A record");
        answer.ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let data: [u8; 4] = response[at + 10..at + 14].try_into().expect("it is whole");
        let address = Ipv4Addr::from(data);
        answer.first = answer.first.or(Some(address));
        answer.addresses.insert(address);
        at += 14;
    }
    answer
}
