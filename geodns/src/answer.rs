//! From the octets of a query to those of its response.

use crate::cookie::Verdict;
use crate::gist::Gist;
use crate::message::{Full, Message};
use crate::query::{Edns, HEADER_BYTES, Query, Rcode, option};
use crate::resolution::{Circumstances, Records, Resolution};
use crate::state::State;
use meridian_model::limits::{UDP_RESPONSE_BYTES_MAX, UNPROVEN_RESPONSE_BYTES_MAX};
use meridian_model::zones::rtype;
use std::net::IpAddr;

pub use crate::parse::Unanswered;

/// What a client takes that says nothing of its size (RFC 1035 §4.2.1), in octets.
const UDP_BYTES_MIN: usize = 512;

/// Octets of the longest message (RFC 1035 §4.2.2).
const MESSAGE_BYTES_MAX: usize = u16::MAX as usize;

/// Octets of an OPT record without options (RFC 6891 §6.1.2).
const OPT_FIXED_BYTES: usize = 11;

/// Bits of a header's second field (RFC 1035 §4.1.1, RFC 4035 §3.1.6).
mod flag {
    pub(super) const RESPONSE: u16 = 0x8000;
    pub(super) const AUTHORITATIVE: u16 = 0x0400;
    pub(super) const TRUNCATED: u16 = 0x0200;
    /// What is copied from the query: the opcode, RD and CD.
    pub(super) const COPIED: u16 = 0x7910;
}

/// Who asks, how and when.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Who sent the query.
    pub source: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// Unix time, in seconds.
    pub now_s: u32,
    /// Which of several addresses comes first, modulo their number.
    pub rotation: u32,
    /// Its sender has had enough of late: it gets no records, and is told to ask over TCP (TC).
    pub is_over_rate: bool,
}

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram, whose sender may be somebody else.
    Udp,
    /// Over a connection.
    Tcp {
        /// How long it stays open while it is idle, in tenths of a second (RFC 7828 §3.1).
        idle_ds: u16,
    },
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It gets no response.
    Unanswered(Unanswered),
    /// It gets this one.
    Response {
        /// Octets of it.
        bytes: usize,
        /// A server cookie of ours came along: the client is where it says that it is.
        is_proven: bool,
        /// What it says.
        gist: Gist,
    },
}

/// Answers queries, one after another: it holds what would be allocated for each of them.
#[derive(Debug, Default)]
pub struct Answerer {
    addresses: Vec<IpAddr>,
    options: Vec<u8>,
}

impl Answerer {
    /// Writes the response to `query` into `out`, which holds at least 512 octets: what a datagram
    /// may always have (RFC 1035 §4.2.1).
    ///
    /// # Panics
    ///
    /// When `out` is shorter.
    pub fn answer(&mut self, query: &[u8], asked: Asked, state: &State, out: &mut [u8]) -> Outcome {
        assert!(out.len() >= UDP_BYTES_MIN, "a response has room");
        let parsed = match Query::read(query) {
            Ok(parsed) => parsed,
            Err(why) => return Outcome::Unanswered(why),
        };
        let cookie = parsed.edns.and_then(|edns| edns.options.cookie);
        let verdict = cookie.map(|it| state.cookie_keys().verdict(&it, asked.source, asked.now_s));
        let is_proven = verdict.is_some_and(|verdict| verdict.is_valid);
        let circumstances = Circumstances {
            source: asked.source,
            rotation: asked.rotation,
            cookie_is_valid: cookie
                .filter(|cookie| cookie.has_server_part())
                .map(|_| is_proven),
        };
        let resolution = Resolution::new(state, &parsed, circumstances, &mut self.addresses);
        self.options.clear();
        if let Some(edns) = &parsed.edns {
            let reply = Reply {
                edns,
                asked,
                verdict,
                state,
            };
            reply.write_options(&resolution, &mut self.options);
        }
        let room = room(&parsed, asked.transport, is_proven).min(out.len());
        let question = parsed.question.as_ref();
        let response = Response {
            query: &parsed,
            // As it came, in its case.
            question: question.map(|question| &query[HEADER_BYTES..question.end()]),
            resolution: &resolution,
            options: &self.options,
        };
        let (bytes, is_truncated) = response.write(&mut out[..room], asked.is_over_rate);
        let edns = parsed.edns.as_ref();
        let gist = Gist {
            kind: resolution.kind(),
            site: resolution.site,
            group: resolution.group,
            has_subnet: edns.is_some_and(|edns| edns.options.subnet.is_some()),
            is_truncated,
        };
        Outcome::Response {
            bytes,
            is_proven,
            gist,
        }
    }
}

/// Octets that a response may have.
fn room(query: &Query, transport: Transport, is_proven: bool) -> usize {
    let Transport::Udp = transport else {
        return MESSAGE_BYTES_MAX;
    };
    let wanted = query.edns.map_or(0, |edns| usize::from(edns.payload_bytes));
    let most = match is_proven {
        true => UDP_RESPONSE_BYTES_MAX,
        // Nobody is to be flooded with answers that somebody else asked for (RFC 5358).
        false => UNPROVEN_RESPONSE_BYTES_MAX,
    };
    wanted.clamp(UDP_BYTES_MIN, most)
}

/// What the options of a response depend on.
struct Reply<'a> {
    edns: &'a Edns,
    asked: Asked,
    verdict: Option<Verdict>,
    state: &'a State,
}

impl Reply<'_> {
    fn write_options(&self, resolution: &Resolution<'_>, out: &mut Vec<u8>) {
        let options = &self.edns.options;
        if options.nsid {
            put_option(out, option::NSID, self.state.identity().as_bytes());
        }
        // What is malformed says nothing that could be echoed (RFC 7871 §7.2.1).
        if let Some(subnet) = options
            .subnet
            .filter(|_| resolution.rcode != Rcode::FORMERR)
        {
            let (data, length) = subnet.echo(resolution.scope_bits);
            put_option(out, option::CLIENT_SUBNET, &data[..length]);
        }
        if let Some(verdict) = &self.verdict {
            put_option(out, option::COOKIE, &verdict.reply);
        }
        if let (Transport::Tcp { idle_ds }, true) = (self.asked.transport, options.keepalive) {
            put_option(out, option::KEEPALIVE, &idle_ds.to_be_bytes());
        }
    }
}

fn put_option(out: &mut Vec<u8>, code: u16, data: &[u8]) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

/// A response before it is written.
struct Response<'a> {
    query: &'a Query,
    question: Option<&'a [u8]>,
    resolution: &'a Resolution<'a>,
    options: &'a [u8],
}

/// Records of each section, as they were written.
#[derive(Default)]
struct Counts {
    answer: u16,
    authority: u16,
    additional: u16,
}

impl Response<'_> {
    /// Returns its length, and whether something is missing. Where it `is_empty`, all is.
    fn write(&self, out: &mut [u8], is_empty: bool) -> (usize, bool) {
        let edns = self.query.edns.as_ref();
        let opt_bytes = edns.map_or(0, |_| OPT_FIXED_BYTES + self.options.len());
        // OPT is always there, so its room is kept; it is the last record.
        let (head, _) = out.split_at_mut(out.len() - opt_bytes);
        let mut message = Message::new(head);
        let mut counts = Counts::default();
        let sections = match is_empty {
            true => self.write_question(&mut message).and(Err(Full)),
            false => self.write_sections(&mut message, &mut counts),
        };
        let is_truncated = sections.is_err();
        let length = message.length();
        let mut message = Message::new(out);
        message.skip_to(length);
        if let Some(edns) = edns {
            self.write_opt(edns, &mut message)
                .expect("its room was kept");
            counts.additional += 1;
        }
        let flags = flag::RESPONSE
            | self.query.flags & flag::COPIED
            | if self.resolution.authoritative {
                flag::AUTHORITATIVE
            } else {
                0
            }
            | if is_truncated { flag::TRUNCATED } else { 0 }
            | self.resolution.rcode.0 & 0xf;
        message.set_header([
            self.query.id,
            flags,
            u16::from(self.question.is_some()),
            counts.answer,
            counts.authority,
            counts.additional,
        ]);
        (message.length(), is_truncated)
    }

    fn write_question(&self, message: &mut Message<'_>) -> Result<(), Full> {
        self.question.map_or(Ok(()), |it| message.question(it))
    }

    /// [`Full`]: something that must not be left out is missing.
    fn write_sections(&self, message: &mut Message<'_>, counts: &mut Counts) -> Result<(), Full> {
        let resolution = self.resolution;
        self.write_question(message)?;
        let class = resolution.class;
        let mut all = |records: &Records<'_>, count: &mut u16| -> Result<(), Full> {
            *count += message.records(records, class)?;
            Ok(())
        };
        for records in resolution.answer.iter().chain(&resolution.more) {
            all(records, &mut counts.answer)?;
        }
        if let Some(records) = &resolution.authority {
            all(records, &mut counts.authority)?;
        }
        for records in &resolution.glue {
            all(records, &mut counts.additional)?;
        }
        for records in &resolution.sibling_glue {
            // Whoever misses it can ask for it (RFC 9471 §3.2).
            let _ = all(records, &mut counts.additional);
        }
        Ok(())
    }

    fn write_opt(&self, edns: &Edns, message: &mut Message<'_>) -> Result<(), Full> {
        message.put(&[0])?;
        message.put(&rtype::OPT.to_be_bytes())?;
        message.put(&(UDP_RESPONSE_BYTES_MAX as u16).to_be_bytes())?;
        // The upper octet of the code, version 0, and DO as it came (RFC 6891 §6.1.3, RFC 3225 §3).
        let dnssec_ok = if edns.dnssec_ok { 0x80 } else { 0 };
        message.put(&[(self.resolution.rcode.0 >> 4) as u8, 0, dnssec_ok, 0])?;
        message.put(&(self.options.len() as u16).to_be_bytes())?;
        message.put(self.options)
    }
}
