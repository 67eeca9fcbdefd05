//! Questions to a name server and its answers, as bytes (RFC 1035 §4).
//!
//! Without EDNS: an answer that does not fit 512 bytes comes over TCP, which every name server
//! has to speak (RFC 7766), and nothing has to be found out about any.

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, Rtype, ToName};
use domain::dep::octseq::Array;
use domain::rdata::{A, Aaaa, Cname};
use meridian_model::limits::{ENCODED_NAME_BYTES_MAX, LOOKUP_QUESTION_BYTES_MAX};
use std::net::IpAddr;
use std::str::FromStr;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4: A.
    V4,
    /// IPv6: AAAA.
    V6,
}

/// What a name server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, for so long.
    Addresses {
        /// At least one; in the order of the answer.
        addresses: Vec<IpAddr>,
        /// The least of the records on the way to them.
        ttl_s: u32,
    },
    /// The name has no address of this family.
    NoAddress,
    /// There is no such name.
    NoName,
}

/// What a message amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answer(Answer),
    /// There is more than fits a datagram.
    Truncated,
    /// The server can not or will not tell; its word for it.
    Fault(String),
}

/// The question for the addresses of `host`; `None` where it is no name of the DNS.
pub fn question(host: &str, family: Family, id: u16) -> Option<Vec<u8>> {
    let name = Name::<Array<ENCODED_NAME_BYTES_MAX>>::from_str(host).ok()?;
    let mut builder =
        MessageBuilder::from_target(Array::<LOOKUP_QUESTION_BYTES_MAX>::new()).ok()?;
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let kind = match family {
        Family::V4 => Rtype::A,
        Family::V6 => Rtype::AAAA,
    };
    builder.push((name, kind, Class::IN)).ok()?;
    Some(builder.finish().as_ref().to_vec())
}

/// Reads what came in answer to `question`; `None` when it is no answer to it: whoever sent it
/// may be guessing, so it changes nothing.
pub fn read(bytes: &[u8], question: &[u8]) -> Option<Reply> {
    let message = Message::from_octets(bytes).ok()?;
    let question = Message::from_octets(question).ok()?;
    if !message.is_answer(&question) {
        return None;
    }
    if message.header().tc() {
        return Some(Reply::Truncated);
    }
    match message.header().rcode() {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Some(Reply::Answer(Answer::NoName)),
        other => return Some(Reply::Fault(format!("answered {other}"))),
    }
    Some(match addresses(&message) {
        Some((addresses, _)) if addresses.is_empty() => Reply::Answer(Answer::NoAddress),
        Some((addresses, ttl_s)) => Reply::Answer(Answer::Addresses { addresses, ttl_s }),
        None => Reply::Fault("answered what can not be read".to_owned()),
    })
}

/// The addresses at the end of the aliases, with the least TTL on the way.
fn addresses(message: &Message<&[u8]>) -> Option<(Vec<IpAddr>, u32)> {
    let canonical = message.canonical_name()?;
    let mut ttl_s = u32::MAX;
    let answer = message.answer().ok()?;
    for alias in answer.limit_to::<Cname<_>>() {
        ttl_s = ttl_s.min(alias.ok()?.ttl().as_secs());
    }
    let mut addresses = Vec::new();
    for record in answer.limit_to_in::<A>() {
        let record = record.ok()?;
        if record.owner().name_eq(&canonical) {
            ttl_s = ttl_s.min(record.ttl().as_secs());
            addresses.push(IpAddr::V4(record.data().addr()));
        }
    }
    for record in answer.limit_to_in::<Aaaa>() {
        let record = record.ok()?;
        if record.owner().name_eq(&canonical) {
            ttl_s = ttl_s.min(record.ttl().as_secs());
            addresses.push(IpAddr::V6(record.data().addr()));
        }
    }
    Some((addresses, ttl_s))
}

#[cfg(test)]
mod tests;
