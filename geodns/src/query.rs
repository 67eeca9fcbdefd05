//! What a query asks, once it was parsed: plain values that no packet is behind any more, so that
//! the response can be written over it.

use crate::client_subnet::ClientSubnet;
use crate::cookie::Cookie;
use meridian_model::limits::ENCODED_NAME_BYTES_MAX;

/// Length of a header (RFC 1035 §4.1.1), in octets.
pub(crate) const HEADER_BYTES: usize = 12;

/// A response code, those of EDNS among them (IANA "DNS RCODEs").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rcode(pub(crate) u16);

impl Rcode {
    pub(crate) const NOERROR: Rcode = Rcode(0);
    pub(crate) const FORMERR: Rcode = Rcode(1);
    pub(crate) const NXDOMAIN: Rcode = Rcode(3);
    pub(crate) const NOTIMP: Rcode = Rcode(4);
    pub(crate) const REFUSED: Rcode = Rcode(5);
    pub(crate) const BADVERS: Rcode = Rcode(16);
    pub(crate) const BADCOOKIE: Rcode = Rcode(23);
}

/// Classes that we know.
pub(crate) mod class {
    pub(crate) const IN: u16 = 1;
    pub(crate) const CH: u16 = 3;
}

/// A message that was read as a query, as far as it could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// Its first two octets.
    pub(crate) id: u16,
    /// QR, opcode and the bits behind them, as they came.
    pub(crate) flags: u16,
    /// The one question that it has.
    pub(crate) question: Option<Question>,
    /// The OPT record that it has.
    pub(crate) edns: Option<Edns>,
    /// Why it can not be answered as it is meant.
    pub(crate) fault: Option<Rcode>,
}

/// The question of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// In lower case.
    pub(crate) name: QuestionName,
    /// QTYPE.
    pub(crate) rtype: u16,
    /// QCLASS.
    pub(crate) class: u16,
}

impl Question {
    /// Where the question ends in its message, for its name is not compressed.
    pub(crate) fn end(&self) -> usize {
        HEADER_BYTES + self.name.octets().len() + 4
    }
}

/// A whole name in wire form and lower case.
#[derive(Clone, Copy)]
pub(crate) struct QuestionName {
    octets: [u8; ENCODED_NAME_BYTES_MAX],
    length: u8,
}

impl QuestionName {
    /// The name that `octets` begin with, in lower case. `None` when it is compressed, too long
    /// or cut off.
    pub(crate) fn parse(octets: &[u8]) -> Option<QuestionName> {
        let mut length = 0;
        loop {
            let label = usize::from(*octets.get(length)?);
            // The two bits above are those of a compression pointer (RFC 1035 §4.1.4).
            if label > 63 {
                return None;
            }
            length += 1 + label;
            if label == 0 {
                break;
            }
        }
        let mut name = QuestionName {
            octets: [0; ENCODED_NAME_BYTES_MAX],
            length: u8::try_from(length).ok()?,
        };
        let copy = name.octets.get_mut(..length)?;
        copy.copy_from_slice(octets.get(..length)?);
        // Lengths of labels are below the letters.
        copy.make_ascii_lowercase();
        Some(name)
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl PartialEq for QuestionName {
    fn eq(&self, other: &QuestionName) -> bool {
        self.octets() == other.octets()
    }
}

impl Eq for QuestionName {}

impl std::fmt::Debug for QuestionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.octets().escape_ascii())
    }
}

/// The OPT record of a query (RFC 6891 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The requestor's UDP payload size, as it came.
    pub(crate) payload_bytes: u16,
    /// Its version.
    pub(crate) version: u8,
    /// DO.
    pub(crate) dnssec_ok: bool,
    /// Options that we know.
    pub(crate) options: Options,
}

/// What a query's options amount to. Those that we do not know are ignored (RFC 6891 §6.1.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// RFC 7871.
    pub(crate) subnet: Option<ClientSubnet>,
    /// RFC 7873.
    pub(crate) cookie: Option<Cookie>,
    /// The name of this server is asked for (RFC 5001).
    pub(crate) nsid: bool,
    /// How long an idle connection stays is asked for (RFC 7828).
    pub(crate) keepalive: bool,
}

/// Numbers of options (IANA "DNS EDNS0 Option Codes").
pub(crate) mod option {
    pub(crate) const NSID: u16 = 3;
    pub(crate) const CLIENT_SUBNET: u16 = 8;
    pub(crate) const COOKIE: u16 = 10;
    pub(crate) const KEEPALIVE: u16 = 11;
}

/// An option is malformed, or overruns the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedOption;

impl Options {
    /// Reads the data of an OPT record.
    pub(crate) fn read(mut data: &[u8]) -> Result<Options, MalformedOption> {
        let mut options = Options::default();
        while !data.is_empty() {
            let Some((&[code_high, code_low, length_high, length_low], rest)) =
                data.split_first_chunk()
            else {
                return Err(MalformedOption);
            };
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let (value, rest) = rest.split_at_checked(length).ok_or(MalformedOption)?;
            data = rest;
            match u16::from_be_bytes([code_high, code_low]) {
                option::CLIENT_SUBNET => {
                    let subnet = ClientSubnet::parse(value).ok_or(MalformedOption)?;
                    // Nobody says what two are; the first is as good as any.
                    options.subnet.get_or_insert(subnet);
                }
                option::COOKIE => {
                    let cookie = Cookie::parse(value).ok_or(MalformedOption)?;
                    // All but the first are ignored (RFC 7873 §5.2).
                    options.cookie.get_or_insert(cookie);
                }
                option::NSID => options.nsid = true,
                option::KEEPALIVE => options.keepalive = true,
                _ => {}
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_octets_in_lower_case() {
        let name = |octets: &[u8]| QuestionName::parse(octets).map(|it| it.octets().to_vec());
        assert_eq!(name(b"\x03WwW\0rest"), Some(b"\x03www\0".to_vec()));
        assert_eq!(name(b"\0"), Some(b"\0".to_vec()));
        assert_eq!(name(b"\x04\0.\xffA\0"), Some(b"\x04\0.\xffa\0".to_vec()));
        for wrong in [
            &b""[..],
            b"\x01a",
            b"\x03ab\0",
            b"\xc0\x0c",
            b"\x01a\xc0\x0c",
            b"\x40",
        ] {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
        let long = vec![[&b"\x3f"[..], &[b'a'; 63]].concat(); 4].concat();
        // 255 octets, and one more.
        assert_eq!(
            name(&[&b"\x3d"[..], &long[3..], b"\0"].concat()).map(|it| it.len()),
            Some(255)
        );
        assert_eq!(name(&[&b"\x3e"[..], &long[2..], b"\0"].concat()), None);
    }

    #[test]
    fn options_are_read_to_the_last_octet() {
        assert_eq!(Options::read(b""), Ok(Options::default()));
        let unknown = Options::read(b"\0\x09\0\x02ab\0\x0c\0\0");
        assert_eq!(unknown, Ok(Options::default()));
        let read = Options::read(b"\0\x03\0\0\0\x0b\0\0").expect("both are right");
        assert!(read.nsid && read.keepalive);
        for wrong in [&b"\0"[..], b"\0\x03\0", b"\0\x03\0\x01", b"\0\x03\0\0\0"] {
            assert_eq!(Options::read(wrong), Err(MalformedOption), "{wrong:?}");
        }
    }

    #[test]
    fn the_first_cookie_counts() {
        let twice = b"\0\x0a\0\x08aaaaaaaa\0\x0a\0\x08bbbbbbbb";
        let read = Options::read(twice).expect("both are right");
        assert_eq!(read.cookie, Cookie::parse(b"aaaaaaaa"));
        assert_eq!(
            Options::read(b"\0\x0a\0\x08aaaaaaaa\0\x0a\0\x07bbbbbbb"),
            Err(MalformedOption)
        );
    }
}
