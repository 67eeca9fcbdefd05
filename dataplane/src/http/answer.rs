//! Responses of our own.

use super::reject::Reject;
use super::status;
use super::syntax::push_decimal;

/// Methods that we serve, for a 405 and for OPTIONS (RFC 9110 §10.2.1). A backend
/// may take others, which pass through.
pub const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Appends a whole response. Its body is one line of plain text, the status itself:
/// it names no site, no tenant and no reason that another tenant could learn from.
///
/// `date` is in the form of RFC 9110 §5.6.7, `close` says that we end the connection
/// with it, `head_only` that it answers a HEAD, `retry_after` is in seconds, `extra`
/// are fields to add. A 405 carries Allow.
pub fn write_answer(
    out: &mut Vec<u8>,
    code: u16,
    date: &[u8],
    close: bool,
    head_only: bool,
    retry_after: Option<u32>,
    extra: &[(&str, &str)],
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
    if let Some(seconds) = retry_after {
        out.extend_from_slice(b"Retry-After: ");
        push_decimal(out, u64::from(seconds));
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in extra {
        write_field(out, name, value.as_bytes());
    }
    if close {
        write_field(out, "Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    if !has_no_content && !head_only {
        push_decimal(out, u64::from(code));
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.push(b'\n');
    }
}

/// Appends the answer to a request that we refuse.
pub fn write_reject(
    out: &mut Vec<u8>,
    reject: Reject,
    date: &[u8],
    close: bool,
    head_only: bool,
    retry_after: Option<u32>,
) {
    let close = close || reject.closes();
    write_answer(
        out,
        reject.status(),
        date,
        close,
        head_only,
        retry_after,
        &[],
    );
}

/// Appends the answer to `OPTIONS *` and to an OPTIONS request that may go no
/// further (RFC 9110 §7.6.2, §9.3.7).
pub fn write_options_answer(out: &mut Vec<u8>, date: &[u8], close: bool) {
    write_answer(out, 204, date, close, false, None, &[("Allow", ALLOW)]);
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
