//! Forwarding fields of a request that comes from a proxy which the site believes: what it says is
//! kept, and our own peer stands behind it.

use super::field::FieldName;
use super::forward::{RequestContext, write_address, write_forwarded_element, write_number};
use super::request::RequestHead;

/// Whether a field of this name goes on as it is when it comes from a trusted peer, and not
/// otherwise. X-Forwarded-For and Forwarded are written anew, with our part behind theirs. Names
/// with underscores are left out: many proxies pass on what their own clients sent of them.
pub(super) fn passes_from_trusted(name: FieldName) -> bool {
    matches!(
        name,
        FieldName::XForwarded
            | FieldName::XForwardedHost
            | FieldName::XForwardedPort
            | FieldName::XForwardedProto
    )
}

/// Appends what [`passes_from_trusted`] leaves to us. X-Forwarded-For and Forwarded are one line
/// each: programs that read the first or the last line only still see all of the way.
pub(super) fn write_fields(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    context: &RequestContext<'_>,
) {
    let fields = head.fields();
    out.extend_from_slice(b"X-Forwarded-For: ");
    for value in fields.values(FieldName::XForwardedFor) {
        write_part(out, value);
    }
    let address_start = out.len();
    write_address(out, context.client.to_canonical());
    let address = address_start..out.len();
    out.extend_from_slice(b"\r\n");
    let knows_proto = fields.contains(FieldName::XForwardedProto);
    if !knows_proto {
        out.extend_from_slice(b"X-Forwarded-Proto: ");
        out.extend_from_slice(context.forwarded_proto.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if !fields.contains(FieldName::XForwardedHost) {
        out.extend_from_slice(b"X-Forwarded-Host: ");
        out.extend_from_slice(head.authority);
        out.extend_from_slice(b"\r\n");
    }
    // Beside a scheme that the proxy names our own port would only be wrong.
    if !knows_proto && !fields.contains(FieldName::XForwardedPort) {
        let port = u64::from(context.listener_port);
        write_number(out, b"X-Forwarded-Port: ", port);
    }
    out.extend_from_slice(b"Forwarded: ");
    for value in fields.values(FieldName::Forwarded) {
        // Behind an open quote our own element would be a part of theirs.
        if closes_its_quotes(value) {
            write_part(out, value);
        }
    }
    write_forwarded_element(out, address, head, context);
    out.extend_from_slice(b"\r\n");
}

fn write_part(out: &mut Vec<u8>, value: &[u8]) {
    if !value.is_empty() {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// Whether every quoted string in a value (RFC 9110 §5.6.4) ends.
fn closes_its_quotes(value: &[u8]) -> bool {
    let mut within = false;
    let mut escaped = false;
    for &byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within => escaped = true,
            b'"' => within = !within,
            _ => {}
        }
    }
    !within
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_closed_or_not() {
        for closed in [&b""[..], b"for=a", b"for=\"[::1]\"", b"a=\"\\\"\"", b"\\"] {
            assert!(closes_its_quotes(closed), "{closed:?}");
        }
        for open in [&b"\""[..], b"for=\"a", b"a=\"\\\"", b"a=\"b\";c=\""] {
            assert!(!closes_its_quotes(open), "{open:?}");
        }
    }
}
