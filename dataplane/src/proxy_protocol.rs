//! The PROXY protocol, versions 1 and 2: how a proxy that passes TCP on says whose connection it
//! passes on (HAProxy's `proxy-protocol.txt`). Bytes in, values out, and back; no I/O.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::Range;
use std::io::Write;

pub use meridian_model::limits::PROXY_HEADER_BYTES_MAX;
pub use meridian_model::snapshot::ProxyProtocol;

/// What version 1 begins with.
const V1_START: &[u8] = b"PROXY ";
/// The longest line of version 1, with its CRLF.
const V1_BYTES_MAX: usize = 107;
/// What version 2 begins with: nothing that a text protocol takes for a line.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part of version 2 that says how long the rest is.
const V2_FIXED_BYTES: usize = 16;
/// The type of the field that has a checksum over the header.
const TLV_CRC32C: u8 = 0x03;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// No whole header yet, and nothing wrong so far.
    Partial,
    /// A header. What follows it is the client's.
    Complete(Header),
}

/// A header that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is; `None` when the proxy speaks for itself (a health check) or does
    /// not know: then it is that of the peer.
    pub ends: Option<Ends>,
    /// Bytes of the header.
    pub bytes: usize,
}

/// Both ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// It is no header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Parses the header at the start of `bytes`.
///
/// What it says of a beginning it also says of every continuation, so more than
/// [`PROXY_HEADER_BYTES_MAX`] bytes are never asked for.
///
/// # Errors
///
/// [`Malformed`], as soon as no continuation can be a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    match bytes.first() {
        None => Ok(Parsed::Partial),
        Some(b'P') => parse_v1(bytes),
        Some(_) => parse_v2(bytes),
    }
}

/// Appends the header that says that a connection has these ends; without them, that it is ours.
pub fn write(out: &mut Vec<u8>, version: ProxyProtocol, ends: Option<Ends>) {
    match version {
        ProxyProtocol::Off => {}
        ProxyProtocol::V1 => write_v1(out, ends),
        ProxyProtocol::V2 => write_v2(out, ends),
    }
}

impl Ends {
    /// The ends with v4-mapped addresses as what they stand for, when both are of one family.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Option<Ends> {
        let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
        let (source, destination) = (canonical(source), canonical(destination));
        (source.is_ipv4() == destination.is_ipv4()).then_some(Ends {
            source,
            destination,
        })
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let compared = bytes.len().min(V1_START.len());
    if bytes[..compared] != V1_START[..compared] {
        return Err(Malformed);
    }
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        // Of the longest line the CRLF is a part.
        let is_full = window.len() == V1_BYTES_MAX;
        let line = window.strip_suffix(b"\r").unwrap_or(window);
        return if is_full || line.contains(&b'\r') {
            Err(Malformed)
        } else {
            Ok(Parsed::Partial)
        };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    if line.contains(&b'\r') {
        return Err(Malformed);
    }
    Ok(Parsed::Complete(Header {
        ends: v1_ends(&line[V1_START.len().min(line.len())..])?,
        bytes: end + 1,
    }))
}

/// What stands behind `PROXY `.
fn v1_ends(text: &[u8]) -> Result<Option<Ends>, Malformed> {
    let mut words = text.split(|&byte| byte == b' ');
    let family = words.next().ok_or(Malformed)?;
    if family == b"UNKNOWN" {
        // What follows, up to the CRLF, is to be ignored.
        return Ok(None);
    }
    let mut word = || {
        let word = words.next().ok_or(Malformed)?;
        core::str::from_utf8(word).map_err(|_| Malformed)
    };
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (v1_port(word()?)?, v1_port(word()?)?);
    if word().is_ok() {
        return Err(Malformed);
    }
    let address = |text: &str| -> Result<IpAddr, Malformed> {
        match family {
            b"TCP4" => text.parse().map(IpAddr::V4).map_err(|_| Malformed),
            b"TCP6" => text.parse().map(IpAddr::V6).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    };
    Ok(Some(Ends {
        source: SocketAddr::new(address(source)?, source_port),
        destination: SocketAddr::new(address(destination)?, destination_port),
    }))
}

/// A port in decimal, without zeros before it.
fn v1_port(text: &str) -> Result<u16, Malformed> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    if !is_plain || is_padded {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let compared = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..compared] != V2_SIGNATURE[..compared] {
        return Err(Malformed);
    }
    // Each as soon as it is there.
    let is_local = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed),
    };
    let family = match bytes.get(13) {
        None => return Ok(Parsed::Partial),
        // The family of a header that speaks for the proxy itself means nothing.
        Some(_) if is_local => Family::Unspecified,
        Some(&byte) => Family::read(byte)?,
    };
    let Some(length) = bytes.get(14..V2_FIXED_BYTES) else {
        return Ok(Parsed::Partial);
    };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let end = V2_FIXED_BYTES + length;
    if end > PROXY_HEADER_BYTES_MAX || length < family.addresses_bytes() {
        return Err(Malformed);
    }
    let Some(header) = bytes.get(..end) else {
        return Ok(Parsed::Partial);
    };
    let addresses = &header[V2_FIXED_BYTES..];
    let ends = match family {
        Family::Unspecified => None,
        Family::Unix => None,
        Family::V4 => Some(Ends {
            source: v4_end(addresses, 0, 8),
            destination: v4_end(addresses, 4, 10),
        }),
        Family::V6 => Some(Ends {
            source: v6_end(addresses, 0, 32),
            destination: v6_end(addresses, 16, 34),
        }),
    };
    if family != Family::Unspecified {
        check_fields(header, V2_FIXED_BYTES + family.addresses_bytes())?;
    }
    Ok(Parsed::Complete(Header { ends, bytes: end }))
}

/// The addresses of a header of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Whatever stands there is to be ignored.
    Unspecified,
    V4,
    V6,
    /// Known, and no address of a client on a network.
    Unix,
}

impl Family {
    /// Datagrams do not come over TCP, so whoever says that they did is not believed at all.
    fn read(byte: u8) -> Result<Family, Malformed> {
        match byte {
            0x00 => Ok(Family::Unspecified),
            0x11 => Ok(Family::V4),
            0x21 => Ok(Family::V6),
            0x31 => Ok(Family::Unix),
            _ => Err(Malformed),
        }
    }

    fn addresses_bytes(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::V4 => 12,
            Family::V6 => 36,
            Family::Unix => 216,
        }
    }
}

fn v4_end(addresses: &[u8], ip: usize, port: usize) -> SocketAddr {
    let octets: [u8; 4] = array(addresses, ip);
    let port = u16::from_be_bytes(array(addresses, port));
    SocketAddr::new(Ipv4Addr::from(octets).into(), port)
}

fn v6_end(addresses: &[u8], ip: usize, port: usize) -> SocketAddr {
    let octets: [u8; 16] = array(addresses, ip);
    let port = u16::from_be_bytes(array(addresses, port));
    SocketAddr::new(Ipv6Addr::from(octets).into(), port)
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let part = &bytes[start..start + N];
    part.try_into().expect("as long as it was cut")
}

/// Walks the type-length-value fields behind the addresses. They are passed over, but for a
/// checksum, which must fit.
fn check_fields(header: &[u8], start: usize) -> Result<(), Malformed> {
    let mut at = start;
    let mut checksum: Option<Range<usize>> = None;
    while at < header.len() {
        let fixed = header.get(at..at + 3).ok_or(Malformed)?;
        let value_bytes = usize::from(u16::from_be_bytes([fixed[1], fixed[2]]));
        let value = at + 3..at + 3 + value_bytes;
        if value.end > header.len() {
            return Err(Malformed);
        }
        at = value.end;
        if fixed[0] == TLV_CRC32C {
            if value_bytes != 4 || checksum.is_some() {
                return Err(Malformed);
            }
            checksum = Some(value);
        }
    }
    let Some(place) = checksum else {
        return Ok(());
    };
    let said = u32::from_be_bytes(array(header, place.start));
    let mut crc = Crc32c::new();
    crc.add(&header[..place.start]);
    // Its own bytes count as zeros.
    crc.add(&[0; 4]);
    crc.add(&header[place.end..]);
    if crc.value() == said {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// CRC-32C (RFC 9260 appendix A), bit by bit: a few hundred bytes once in a connection, and only
/// where a proxy asks for it.
struct Crc32c(u32);

impl Crc32c {
    /// The polynomial of Castagnoli, mirrored.
    const POLYNOMIAL: u32 = 0x82f6_3b78;

    fn new() -> Crc32c {
        Crc32c(u32::MAX)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 ^= u32::from(byte);
            for _ in 0..8 {
                let carry = self.0 & 1;
                self.0 = (self.0 >> 1) ^ (Crc32c::POLYNOMIAL & carry.wrapping_neg());
            }
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

fn write_v1(out: &mut Vec<u8>, ends: Option<Ends>) {
    let Some(Ends {
        source,
        destination,
    }) = ends
    else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    write!(
        out,
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
    .expect("a Vec takes every byte");
}

fn write_v2(out: &mut Vec<u8>, ends: Option<Ends>) {
    out.extend_from_slice(V2_SIGNATURE);
    let Some(Ends {
        source,
        destination,
    }) = ends
    else {
        out.extend_from_slice(&[0x20, 0x00, 0, 0]);
        return;
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            let octets = |it: IpAddr| match it {
                IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
                IpAddr::V6(it) => it.octets(),
            };
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&octets(source));
            out.extend_from_slice(&octets(destination));
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 3720 B.4: 32 zeros, 32 ones, 0 to 31.
        let of = |bytes: &[u8]| {
            let mut crc = Crc32c::new();
            crc.add(bytes);
            crc.value()
        };
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
        assert_eq!(of(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(of(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(of(b"123456789"), 0xe306_9283);
    }
}
