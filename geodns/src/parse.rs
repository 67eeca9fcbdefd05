//! Reading a message as a query (RFC 1035 §4.1), as far as it can be read.

use crate::query::{Edns, HEADER_BYTES, Options, Query, Question, QuestionName, Rcode};
use meridian_model::zones::rtype;

/// QR (RFC 1035 §4.1.1).
const RESPONSE: u16 = 0x8000;
/// Where the opcode stands.
const OPCODE: u16 = 0x7800;
/// DO, in the lower half of an OPT's TTL (RFC 6891 §6.1.4).
const DNSSEC_OK: u16 = 0x8000;

/// Octets of a record behind its name, before its data (RFC 1035 §4.1.3).
const RECORD_FIXED_BYTES: usize = 10;

/// Why a message is no query, so that nothing is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// It is shorter than a header.
    NoHeader,
    /// It is a response (QR): an answer to one could be answered without end.
    Response,
}

impl Query {
    /// Reads `message`; octets behind it are ignored.
    pub(crate) fn read(message: &[u8]) -> Result<Query, Unanswered> {
        let header: &[u8; HEADER_BYTES] = message.first_chunk().ok_or(Unanswered::NoHeader)?;
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let flags = field(2);
        if flags & RESPONSE != 0 {
            return Err(Unanswered::Response);
        }
        let mut query = Query {
            id: field(0),
            flags,
            question: None,
            edns: None,
            fault: None,
        };
        let counts = [field(4), field(6), field(8), field(10)];
        let is_malformed = query.read_sections(message, counts).is_none();
        let version = query.edns.map_or(0, |edns| edns.version);
        query.fault = if flags & OPCODE != 0 {
            // What such a message has to look like is not ours to judge.
            Some(Rcode::NOTIMP)
        } else if is_malformed {
            Some(Rcode::FORMERR)
        } else if version > 0 {
            Some(Rcode::BADVERS)
        } else {
            None
        };
        Ok(query)
    }

    /// `None`: FORMERR, with what was read until then.
    fn read_sections(&mut self, message: &[u8], counts: [u16; 4]) -> Option<()> {
        let [questions, answers, authorities, additionals] = counts;
        let mut at = HEADER_BYTES;
        for _ in 0..questions {
            let name = QuestionName::parse(message.get(at..)?)?;
            let end = at + name.octets().len();
            let fixed: &[u8; 4] = message.get(end..)?.first_chunk()?;
            at = end + fixed.len();
            // Of several none is the one that is answered (RFC 9619 §4).
            if questions == 1 {
                self.question = Some(Question {
                    name,
                    rtype: u16::from_be_bytes([fixed[0], fixed[1]]),
                    class: u16::from_be_bytes([fixed[2], fixed[3]]),
                });
            }
        }
        for _ in 0..u32::from(answers) + u32::from(authorities) {
            let record = Record::read(message, at)?;
            at = record.end;
            if record.rtype == rtype::OPT {
                return None;
            }
        }
        for _ in 0..additionals {
            let record = Record::read(message, at)?;
            at = record.end;
            if record.rtype == rtype::OPT {
                self.read_opt(&record)?;
            }
        }
        let asks_for_cookie = self.edns.is_some_and(|edns| edns.options.cookie.is_some());
        match questions {
            1 => Some(()),
            // RFC 7873 §5.4.
            0 if asks_for_cookie => Some(()),
            _ => None,
        }
    }

    fn read_opt(&mut self, record: &Record<'_>) -> Option<()> {
        if self.edns.is_some() || !record.name_is_root {
            return None;
        }
        let [_, version, flags_high, flags_low] = record.ttl;
        let options = Options::read(record.data);
        self.edns = Some(Edns {
            payload_bytes: record.class,
            version,
            dnssec_ok: u16::from_be_bytes([flags_high, flags_low]) & DNSSEC_OK != 0,
            options: options.unwrap_or_default(),
        });
        // How options of another version look is not known; that is answered with BADVERS.
        (options.is_ok() || version > 0).then_some(())
    }
}

/// A record of a query, of which only OPT counts.
struct Record<'a> {
    name_is_root: bool,
    rtype: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'a [u8],
    /// Where the next one begins in the message.
    end: usize,
}

impl<'a> Record<'a> {
    /// `None`: it is cut off.
    fn read(message: &'a [u8], at: usize) -> Option<Record<'a>> {
        let name_end = name_end(message, at)?;
        let fixed: &[u8; RECORD_FIXED_BYTES] = message.get(name_end..)?.first_chunk()?;
        let &[t0, t1, c0, c1, a, b, c, d, l0, l1] = fixed;
        let data_at = name_end + RECORD_FIXED_BYTES;
        let end = data_at + usize::from(u16::from_be_bytes([l0, l1]));
        Some(Record {
            name_is_root: message[at] == 0,
            rtype: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: [a, b, c, d],
            data: message.get(data_at..end)?,
            end,
        })
    }
}

/// Where a name of a record ends. Nobody follows its pointers: which name it is does not matter.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return (at + 2 <= message.len()).then_some(at + 2),
            // Kinds of labels that nobody uses any more (RFC 6891 §5).
            _ => return None,
        }
    }
}
