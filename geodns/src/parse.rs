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

/// The same messages by the `domain` crate: both read the same questions and the same OPT, and agree on
/// what is malformed but for what DNS.md has refused besides.
#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::iana::{OptRcode, Rtype};
    use domain::base::message_builder::MessageBuilder;
    use domain::base::opt::{ClientSubnet, Cookie, UnknownOptData};
    use domain::base::{Message, Name, Question as TheirQuestion, ToName};
    use proptest::prelude::*;

    /// Name in lower case, type and class.
    type Asked = (Vec<u8>, u16, u16);
    /// Size, version and DO.
    type Opt = (u16, u8, bool);

    /// What a message amounts to, as the other implementation has it.
    #[derive(Debug, PartialEq, Eq)]
    struct Theirs {
        question: Option<Asked>,
        /// When there is exactly one OPT.
        edns: Option<Opt>,
        is_malformed: bool,
    }

    fn theirs(octets: &[u8]) -> Option<Theirs> {
        let message = Message::from_octets(octets).ok()?;
        let mut theirs = Theirs {
            question: None,
            edns: None,
            is_malformed: true,
        };
        let mut questions = message.question();
        let mut all = Vec::new();
        for question in &mut questions {
            let Ok(question) = question else {
                return Some(theirs);
            };
            all.push(question);
        }
        if let [question] = &all[..] {
            // It may be compressed here, and is then told apart by the caller.
            let name: Name<Vec<u8>> = question.qname().to_name();
            let name = name.as_slice().to_ascii_lowercase();
            let numbers = (question.qtype().to_int(), question.qclass().to_int());
            theirs.question = Some((name, numbers.0, numbers.1));
        }
        let mut opts = 0;
        let mut section = questions.answer().ok();
        let mut place = 0;
        while let Some(mut records) = section {
            for record in &mut records {
                let Ok(record) = record else {
                    return Some(theirs);
                };
                if record.rtype() == Rtype::OPT {
                    opts += 1;
                    let is_misplaced = place < 2 || !record.owner().is_root();
                    if is_misplaced || opts > 1 {
                        return Some(theirs);
                    }
                    let Some(opt) = message.opt() else {
                        return Some(theirs);
                    };
                    theirs.edns = Some((opt.udp_payload_size(), opt.version(), opt.dnssec_ok()));
                    let options = opt.opt();
                    let is_whole = options.iter::<UnknownOptData<_>>().all(|it| it.is_ok());
                    let are_right = is_whole
                        && options.iter::<ClientSubnet>().all(|it| it.is_ok())
                        && options.iter::<Cookie>().all(|it| it.is_ok());
                    if !are_right && opt.version() == 0 {
                        return Some(theirs);
                    }
                }
            }
            place += 1;
            section = records.next_section().ok().flatten();
        }
        theirs.is_malformed = place != 3;
        Some(theirs)
    }

    fn built(
        name: &[u8],
        rtype: u16,
        class: u16,
        options: &[(u16, Vec<u8>)],
        dnssec_ok: bool,
    ) -> Vec<u8> {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_id(0x1234);
        let mut message = message.question();
        let name = Name::from_octets(name.to_vec()).expect("it is a name");
        message
            .push(TheirQuestion::new(name, rtype.into(), class.into()))
            .expect("it fits");
        let mut message = message.additional();
        message
            .opt(|opt| {
                opt.set_udp_payload_size(1400);
                opt.set_dnssec_ok(dnssec_ok);
                opt.set_rcode(OptRcode::NOERROR);
                for (code, data) in options {
                    let length = u16::try_from(data.len()).expect("it is short");
                    opt.push_raw_option((*code).into(), length, |target| {
                        use domain::dep::octseq::OctetsBuilder;
                        target.append_slice(data)
                    })?;
                }
                Ok(())
            })
            .expect("it fits");
        message.finish()
    }

    fn ours(query: &Query) -> (Option<Asked>, Option<Opt>) {
        let question = query.question.as_ref();
        let question = question.map(|it| (it.name.octets().to_vec(), it.rtype, it.class));
        let edns = query.edns;
        (
            question,
            edns.map(|it| (it.payload_bytes, it.version, it.dnssec_ok)),
        )
    }

    /// None of them begins a pointer: those of records are not followed here, and so never wrong.
    fn any_octet() -> impl Strategy<Value = u8> + Clone {
        0..0xc0_u8
    }

    fn any_name() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::collection::vec(any_octet(), 1..12), 0..6).prop_map(
            |labels| {
                let labels = labels
                    .into_iter()
                    .map(|label| [&[label.len() as u8][..], &label].concat());
                [labels.collect::<Vec<_>>().concat(), vec![0]].concat()
            },
        )
    }

    fn any_option() -> impl Strategy<Value = (u16, Vec<u8>)> {
        prop_oneof![
            (proptest::array::uniform3(any_octet()), 0..=24_u8).prop_map(|(address, bits)| {
                let octets = usize::from(bits.div_ceil(8));
                let mut kept = address[..octets].to_vec();
                if let (Some(last), 1..) = (kept.last_mut(), bits % 8) {
                    *last &= 0xff << (8 - bits % 8);
                }
                (8, [&[0, 1, bits, 0][..], &kept].concat())
            }),
            prop_oneof![Just(8_usize), 16..=40_usize].prop_map(|length| (10, vec![7; length])),
            Just((3, Vec::new())),
            Just((11, Vec::new())),
            (
                5_000..60_000_u16,
                proptest::collection::vec(any_octet(), 0..20)
            ),
        ]
    }

    proptest! {
        /// Whatever the other implementation builds we read as it does.
        #[test]
        fn what_others_build_is_read_as_they_mean_it(
            name in any_name(),
            rtype: u16,
            class: u16,
            options in proptest::collection::vec(any_option(), 0..5),
            dnssec_ok: bool,
        ) {
            let octets = built(&name, rtype, class, &options, dnssec_ok);
            let query = Query::read(&octets).expect("it is a query");
            prop_assert_eq!(query.fault, None);
            let question = (name.to_ascii_lowercase(), rtype, class);
            prop_assert_eq!(ours(&query), (Some(question), Some((1400, 0, dnssec_ok))));
            let read = query.edns.expect("it has one").options;
            let has = |code| options.iter().any(|(it, _)| *it == code);
            prop_assert_eq!(
                (read.subnet.is_some(), read.cookie.is_some(), read.nsid, read.keepalive),
                (has(8), has(10), has(3), has(11))
            );
        }

        /// And whatever became of it on the way: where they find fault so do we, and where only we
        /// do, it is for one of our reasons.
        #[test]
        fn both_find_the_same_fault(
            name in any_name(),
            options in proptest::collection::vec(any_option(), 0..5),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any_octet()), 0..4),
            cut in any::<prop::sample::Index>(),
            is_cut in prop::bool::weighted(0.2),
        ) {
            let mut octets = built(&name, 1, 1, &options, true);
            for (at, octet) in changes {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
            if is_cut {
                octets.truncate(cut.index(octets.len()));
            }
            let (Ok(query), Some(theirs)) = (Query::read(&octets), theirs(&octets)) else {
                let is_short = octets.len() < HEADER_BYTES;
                prop_assert!(is_short || octets[2] & 0x80 != 0);
                return Ok(());
            };
            if query.flags & OPCODE != 0 {
                return Ok(());
            }
            // How options of another version look nobody knows.
            if query.fault == Some(Rcode::BADVERS) {
                return Ok(());
            }
            let is_refused = query.fault == Some(Rcode::FORMERR);
            if theirs.is_malformed {
                prop_assert!(is_refused, "{:?}\n{:?}", query, theirs);
                return Ok(());
            }
            let (question, edns) = ours(&query);
            if !is_refused {
                prop_assert_eq!(&question, &theirs.question);
                prop_assert_eq!(edns, theirs.edns);
                return Ok(());
            }
            // A question that is compressed or not one; a subnet or a cookie that they take.
            let is_ours = question.is_none() || edns.is_some_and(|(_, version, _)| version == 0);
            prop_assert!(is_ours, "{:?}\n{:?}", query, theirs);
        }
    }
}
