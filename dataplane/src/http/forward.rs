//! Heads written anew for the other side (RFC 9110 §7.6).

use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;

pub use meridian_model::snapshot::FieldChange;

use super::Version;
use super::field::FieldName;
use super::forwarded_on::{self, passes_from_trusted};
use super::method::Method;
use super::request::{BodyFraming, RequestHead};
use super::response::{ResponseFraming, ResponseHead};
use super::section::{Field, Section, is_named_away};
use super::status;
use super::syntax::push_decimal;

/// The switch to the one protocol that we let anybody switch to.
const SWITCH_LINES: &[u8] = b"Upgrade: websocket\r\nConnection: Upgrade\r\n";

/// What a backend is told of a request beside the request.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Whether the client is a proxy whose forwarding fields the site believes.
    pub trusted: bool,
    /// How the client spoke to us: `http` or `https`.
    pub forwarded_proto: &'a str,
    /// The port that it spoke to.
    pub listener_port: u16,
    /// The pseudonym that the fleet shares, a token.
    pub via: &'a str,
    /// Sent as X-Request-Id in place of the client's, whose own passes when this is `None`.
    pub request_id: Option<&'a str>,
    /// What is asked for, when it is not what the client asked for.
    pub target: Option<TargetParts<'a>>,
    /// Host, when it is not the authority that the client asked for. The forwarding fields name
    /// that one all the same.
    pub host: Option<&'a [u8]>,
    /// What is changed of the client's fields.
    pub fields: &'a FieldChange,
    /// What is told of the certificate that the client showed, in whole lines.
    pub client_certificate: &'a [u8],
}

/// What is asked for, or a Location, in the three parts that it is put together of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetParts<'a> {
    /// What stands in place of what was matched.
    pub base: &'a [u8],
    /// What follows it in the path.
    pub rest: &'a [u8],
    /// The query with its `?`.
    pub query: &'a [u8],
}

impl TargetParts<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.base);
        out.extend_from_slice(self.rest);
        out.extend_from_slice(self.query);
    }
}

/// Whether a client's field of this name goes to a backend as the client sent it, as far as the
/// name says: Connection and the site may have it end here all the same.
#[inline]
pub(crate) fn passes_to_backend(name: FieldName, trusted: bool) -> bool {
    name.is_passed_in_request() || trusted && passes_from_trusted(name)
}

/// Appends the head that a backend gets. The body goes behind it as it is, or
/// chunked, as `head.framing` says. Max-Forwards of an OPTIONS request is sent
/// lower by one; a request with 0 is answered by us and never comes here.
pub fn write_request_head(out: &mut Vec<u8>, head: &RequestHead<'_>, context: &RequestContext<'_>) {
    // What we add is below 400 bytes, but for the authority, which stands in it three times.
    out.reserve(head.head_bytes + 3 * head.authority.len() + 512);
    let target = context.target.as_ref();
    write_first_lines(out, head, target, context.host.unwrap_or(head.authority));

    let change = context.fields;
    // Most sites drop nothing and most clients name nothing away: one test for both.
    let some_end_here = head.connection().names_others || !change.dropped.is_empty();
    let passes = |field: Field<'_>| match field.name {
        FieldName::Other => {
            !(some_end_here && (head.names_away(field) || change.drops(field.name_text)))
        }
        FieldName::Cookie | FieldName::SetCookie => {
            !(some_end_here && change.drops(field.name_text))
        }
        FieldName::XForwarded => {
            context.trusted && !(some_end_here && change.drops(field.name_text))
        }
        FieldName::Expect => head.version == Version::Http11,
        FieldName::MaxForwards => head.method != Method::Options,
        FieldName::XRequestId => context.request_id.is_none(),
        name => passes_to_backend(name, context.trusted),
    };
    head.fields().copy_lines(out, passes);
    out.extend_from_slice(&change.added);

    write_forwarding_fields(out, head, context);
    out.extend_from_slice(context.client_certificate);
    write_via(out, head.version, context.via);
    if let Some(request_id) = context.request_id {
        out.extend_from_slice(b"X-Request-Id: ");
        out.extend_from_slice(request_id.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(hops) = head.max_forwards {
        write_number(out, b"Max-Forwards: ", hops.saturating_sub(1));
    }
    // Both are for one hop, which Connection has to say (RFC 9110 §7.8, §10.1.4): in one line,
    // since servers are about that look at the first alone.
    match (head.upgrade_websocket, head.takes_trailers) {
        (false, false) => {}
        (false, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
        (true, false) => out.extend_from_slice(SWITCH_LINES),
        (true, true) => out.extend_from_slice(
            b"TE: trailers\r\nUpgrade: websocket\r\nConnection: Upgrade, TE\r\n",
        ),
    }
    match head.framing {
        BodyFraming::None => {}
        BodyFraming::Length(length) => write_number(out, b"Content-Length: ", length),
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the first two lines of the head that a backend gets where nothing of them is changed:
/// what is asked for, and of which host.
pub fn write_asked(out: &mut Vec<u8>, head: &RequestHead<'_>) {
    write_first_lines(out, head, None, head.authority);
}

#[inline]
fn write_first_lines(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    target: Option<&TargetParts<'_>>,
    host: &[u8],
) {
    out.extend_from_slice(head.method_text.as_bytes());
    out.push(b' ');
    match target {
        None => head.target.write(out),
        Some(target) => target.write(out),
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
}

/// What a client is told of a response beside the response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContext<'a> {
    /// The client's version.
    pub client_version: Version,
    /// Whether we keep the client's connection. Not with a body that ends with the
    /// connection, whatever is said here.
    pub keep_alive: bool,
    /// How the body will be sent: [`ResponseHead::framing_to_client`].
    pub framing: ResponseFraming,
    /// The pseudonym that the fleet shares, a token.
    pub via: &'a str,
    /// The time in the form of RFC 9110 §5.6.7, for a response without Date.
    pub now_date: &'a [u8],
    /// What is changed of the backend's fields.
    pub fields: &'a FieldChange,
    /// Whole lines that come to them.
    pub own_lines: [&'a [u8]; 2],
}

/// Appends the head of a final response that a client gets.
pub fn write_response_head(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    context: &ResponseContext<'_>,
) {
    debug_assert!(
        !head.is_interim() && !head.is_switch(),
        "interim responses and switches have writers of their own"
    );
    out.reserve(head.head_bytes + 256);
    write_status_line(out, head.status, head.reason);
    copy_response_fields(out, head, context.fields);
    out.extend_from_slice(&context.fields.added);
    context
        .own_lines
        .iter()
        .for_each(|lines| out.extend_from_slice(lines));
    if !head.fields().contains(FieldName::Date) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(context.now_date);
        out.extend_from_slice(b"\r\n");
    }
    write_via(out, head.version, context.via);
    match context.framing {
        ResponseFraming::None => {
            if let Some(length) = head.absent_length {
                write_number(out, b"Content-Length: ", length);
            }
        }
        ResponseFraming::Length(length) => write_number(out, b"Content-Length: ", length),
        ResponseFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        ResponseFraming::UntilClose => {}
    }
    if !context.keep_alive || context.framing == ResponseFraming::UntilClose {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if context.client_version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an interim response (100, 103) that a client gets. It has
/// neither a length nor a Date of ours; never for an HTTP/1.0 client.
pub fn write_interim_head(out: &mut Vec<u8>, head: &ResponseHead<'_>, via: &str) {
    debug_assert!(head.is_interim(), "a final response has framing");
    out.reserve(head.head_bytes + 128);
    write_status_line(out, head.status, head.reason);
    copy_response_fields(out, head, &FieldChange::default());
    write_via(out, head.version, via);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of the response (101) behind which the tunnel begins; whole lines that come to
/// its fields are in `own_lines`.
pub fn write_switch_head(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    via: &str,
    fields: &FieldChange,
    own_lines: &[u8],
) {
    debug_assert!(head.is_switch(), "every other response goes on in HTTP");
    out.reserve(head.head_bytes + 128);
    write_status_line(out, head.status, head.reason);
    copy_response_fields(out, head, fields);
    out.extend_from_slice(&fields.added);
    out.extend_from_slice(own_lines);
    write_via(out, head.version, via);
    out.extend_from_slice(SWITCH_LINES);
    out.extend_from_slice(b"\r\n");
}

fn write_status_line(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = match reason {
        "" => status::reason(code),
        reason => reason,
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(code));
    // The space stands even before an empty reason (RFC 9112 §4).
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn copy_response_fields(out: &mut Vec<u8>, head: &ResponseHead<'_>, change: &FieldChange) {
    let fields: &Section<'_> = head.fields();
    let names_others = head.connection().names_others;
    let drops_some = !change.dropped.is_empty();
    fields.copy_lines(out, |field| {
        let passes = match field.name {
            FieldName::Other => !(names_others && is_named_away(fields, field.name_text)),
            name => name.is_passed_in_response(),
        };
        passes && !(drops_some && change.drops(field.name_text))
    });
}

/// X-Forwarded-* as software reads it, and Forwarded as RFC 7239 has it.
fn write_forwarding_fields(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    context: &RequestContext<'_>,
) {
    if context.trusted {
        forwarded_on::write_fields(out, head, context);
        return;
    }
    let client = context.client.to_canonical();
    let proto = context.forwarded_proto.as_bytes();
    let address_start = out.len() + b"X-Forwarded-For: ".len();
    out.extend_from_slice(b"X-Forwarded-For: ");
    write_address(out, client);
    let address = address_start..out.len();
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    out.extend_from_slice(proto);
    out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
    out.extend_from_slice(head.authority);
    write_number(
        out,
        b"\r\nX-Forwarded-Port: ",
        u64::from(context.listener_port),
    );

    out.extend_from_slice(b"Forwarded: ");
    write_forwarded_element(out, address, head, context);
    out.extend_from_slice(b"\r\n");
}

/// What Forwarded says of one hop, ours (RFC 7239 §4). The client's address is in `out` already.
pub(super) fn write_forwarded_element(
    out: &mut Vec<u8>,
    address: Range<usize>,
    head: &RequestHead<'_>,
    context: &RequestContext<'_>,
) {
    // An IPv6 address is in brackets, and those are in quotes (RFC 7239 §6).
    let (open, close): (&[u8], &[u8]) = match context.client.to_canonical() {
        IpAddr::V4(_) => (b"", b""),
        IpAddr::V6(_) => (b"\"[", b"]\""),
    };
    out.extend_from_slice(b"for=");
    out.extend_from_slice(open);
    out.extend_from_within(address);
    out.extend_from_slice(close);
    // A host with a port or brackets is no token. An authority that was parsed
    // holds nothing that would need escaping in quotes.
    let quote: &[u8] = match head
        .authority
        .iter()
        .any(|byte| matches!(byte, b':' | b'['))
    {
        true => b"\"",
        false => b"",
    };
    out.extend_from_slice(b";host=");
    out.extend_from_slice(quote);
    out.extend_from_slice(head.authority);
    out.extend_from_slice(quote);
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(context.forwarded_proto.as_bytes());
}

pub(super) fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                push_decimal(out, u64::from(octet));
            }
        }
        IpAddr::V6(address) => {
            write!(out, "{address}").expect("a Vec takes every byte");
        }
    }
}

/// A Via line of our own behind those that came: lines of one name are one list.
fn write_via(out: &mut Vec<u8>, received: Version, pseudonym: &str) {
    out.extend_from_slice(match received {
        Version::Http10 => b"Via: 1.0 ",
        Version::Http11 => b"Via: 1.1 ",
    });
    out.extend_from_slice(pseudonym.as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.extend_from_slice(name);
    push_decimal(out, number);
    out.extend_from_slice(b"\r\n");
}
