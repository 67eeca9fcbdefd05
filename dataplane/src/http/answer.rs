//! Responses of our own.

use super::Version;
use super::forward::TargetParts;
use super::reject::Reject;
use super::status;
use super::syntax::push_decimal;
use meridian_model::probe::FIELD;
use meridian_model::snapshot::Answer;

/// Methods that we serve, for a 405 and for OPTIONS (RFC 9110 §10.2.1). A backend
/// may take others, which pass through.
pub const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What an answer of ours is told of the request that it answers.
#[derive(Clone, Copy, Debug)]
pub struct AnswerContext {
    /// The client's version.
    pub client_version: Version,
    /// Whether we keep the client's connection.
    pub keep_alive: bool,
    /// It answers a HEAD.
    pub head_only: bool,
}

impl AnswerContext {
    /// Of a request that was not understood: the connection ends with the answer.
    pub const NOT_UNDERSTOOD: AnswerContext = AnswerContext {
        client_version: Version::Http11,
        keep_alive: false,
        head_only: false,
    };
}

/// Appends the answer to a request that we refuse. It names the request's id, for whom the
/// client asks what happened, and in how many seconds it is worth another try, where that is known
/// (RFC 9110 §10.2.3). `own_lines` are whole lines that go with it. `date` is in the form of RFC 9110 §5.6.7.
pub fn write_reject(
    out: &mut Vec<u8>,
    reject: Reject,
    retry_after_s: Option<u32>,
    request_id: &[u8],
    own_lines: &[u8],
    date: &[u8],
    context: AnswerContext,
) {
    let context = AnswerContext {
        keep_alive: context.keep_alive && !reject.closes(),
        ..context
    };
    let request_id = ("X-Request-Id", request_id);
    match retry_after_s {
        None => write_answer(
            out,
            reject.status(),
            &[request_id],
            own_lines,
            date,
            context,
        ),
        Some(seconds) => {
            let mut digits = Vec::with_capacity(10);
            push_decimal(&mut digits, u64::from(seconds));
            let fields = [("Retry-After", digits.as_slice()), request_id];
            write_answer(out, reject.status(), &fields, own_lines, date, context);
        }
    }
}

/// Appends the answer to a probe by another host, with what its field holds; the connection ends with
/// it.
pub fn write_probe_answer(out: &mut Vec<u8>, signed: &str, body: &[u8], date: &[u8]) {
    out.reserve(body.len() + 512);
    out.extend_from_slice(b"HTTP/1.1 200 OK");
    write_field(out, "\r\nDate", date);
    write_field(out, FIELD, signed.as_bytes());
    out.extend_from_slice(b"Content-Type: application/json\r\nContent-Length: ");
    push_decimal(out, body.len() as u64);
    write_field(out, "\r\nCache-Control", b"no-store");
    write_connection(out, AnswerContext::NOT_UNDERSTOOD);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Appends the answer to `OPTIONS *` and to an OPTIONS request that may go no
/// further (RFC 9110 §7.6.2, §9.3.7).
pub fn write_options_answer(out: &mut Vec<u8>, date: &[u8], context: AnswerContext) {
    write_answer(out, 204, &[("Allow", ALLOW.as_bytes())], b"", date, context);
}

/// Appends the answer that a route gives, with what stands in Location and whole lines that go
/// with it.
pub fn write_route_answer(
    out: &mut Vec<u8>,
    answer: &Answer,
    location: Option<TargetParts<'_>>,
    own_lines: &[u8],
    date: &[u8],
    context: AnswerContext,
) {
    let Answer {
        status,
        location: _, // worked out for this request
        fields,
        body,
    } = answer;
    out.reserve(fields.len() + body.len() + 512);
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(*status));
    out.push(b' ');
    out.extend_from_slice(status::reason(*status).as_bytes());
    write_field(out, "\r\nDate", date);
    if let Some(TargetParts { base, rest, query }) = location {
        out.extend_from_slice(b"Location: ");
        [base, rest, query]
            .iter()
            .for_each(|part| push_uri(out, part));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(fields);
    out.extend_from_slice(own_lines);
    if *status == 405 && !has_line_of(fields, b"allow:") {
        write_field(out, "Allow", ALLOW.as_bytes());
    }
    // They have no content, and no length of one (RFC 9110 §8.6).
    let has_no_content = matches!(status, 204 | 304);
    if !has_no_content {
        out.extend_from_slice(b"Content-Length: ");
        push_decimal(out, body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    write_connection(out, context);
    out.extend_from_slice(b"\r\n");
    if !context.head_only && !has_no_content {
        out.extend_from_slice(body);
    }
}

/// Appends a whole response with some fields of its own. Its body is one line of plain text, the
/// status itself: it names no site, no tenant and no reason that another tenant could learn from.
/// A 405 carries Allow.
pub(super) fn write_answer(
    out: &mut Vec<u8>,
    code: u16,
    fields: &[(&str, &[u8])],
    own_lines: &[u8],
    date: &[u8],
    context: AnswerContext,
) {
    let reason = status::reason(code);
    let has_no_content = matches!(code, 204 | 304);
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(code));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    write_field(out, "\r\nDate", date);
    if !has_no_content {
        // Three digits, a space, the reason and a line end.
        let body_bytes = 3 + 1 + reason.len() + 1;
        out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
        push_decimal(out, body_bytes as u64);
        out.extend_from_slice(b"\r\n");
    }
    if code == 405 {
        write_field(out, "Allow", ALLOW.as_bytes());
    }
    for (name, value) in fields {
        write_field(out, name, value);
    }
    out.extend_from_slice(own_lines);
    write_connection(out, context);
    out.extend_from_slice(b"\r\n");
    if !has_no_content && !context.head_only {
        push_decimal(out, u64::from(code));
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.push(b'\n');
    }
}

/// Appends what a client has to be told of its connection: HTTP/1.0 takes one for ended that is
/// not said to stay (RFC 9112 §9.3).
fn write_connection(out: &mut Vec<u8>, context: AnswerContext) {
    match (context.keep_alive, context.client_version) {
        (false, _) => write_field(out, "Connection", b"close"),
        (true, Version::Http10) => write_field(out, "Connection", b"keep-alive"),
        (true, Version::Http11) => {}
    }
}

/// Appends a part of a URI. What came in a request line may hold characters that no URI has
/// (RFC 3986 §2), which a reader of Location could take for something else.
pub(super) fn push_uri(out: &mut Vec<u8>, part: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in part {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xf));
                out.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
            }
            byte => out.push(byte),
        }
    }
}

fn has_line_of(lines: &[u8], start: &[u8]) -> bool {
    let mut lines = lines.split(|&byte| byte == b'\n');
    lines.any(|line| {
        line.get(..start.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(start))
    })
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
