//! What must hold for any bytes that a client sends as a head.

use std::net::IpAddr;

use meridian_dataplane::http::field::FieldName;
use meridian_dataplane::http::forward::{FieldChange, RequestContext, write_request_head};
use meridian_dataplane::http::reject::Reject;
use meridian_dataplane::http::request::{BodyFraming, Parsed, RequestHead, may_be_complete, parse};
use meridian_dataplane::http::section::Section;

const PSEUDONYM: &str = "meridian-fuzz";

/// Panics when something does not hold.
pub fn check(input: &[u8]) {
    let whole = outcome(input);
    for cut in cuts(input.len()) {
        let part = outcome(&input[..cut]);
        match (part, whole) {
            (Outcome::Partial, Outcome::Complete(head_bytes)) => {
                assert!(
                    cut < head_bytes,
                    "a whole head of {head_bytes} was partial at {cut}"
                );
                assert!(
                    may_be_complete(input, cut),
                    "a head that is whole was not looked at"
                );
            }
            (Outcome::Partial, _) => {}
            (part, whole) => assert_eq!(part, whole, "cut at {cut}"),
        }
    }
    if let Ok(Parsed::Complete(head)) = parse(input) {
        check_head(input, &head);
        for client in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"] {
            let client = client.parse().expect("an address");
            check_forwarded(&head, client, false);
            check_forwarded(&head, client, true);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Partial,
    Complete(usize),
    Reject(Reject),
}

fn outcome(bytes: &[u8]) -> Outcome {
    match parse(bytes) {
        Ok(Parsed::Partial) => Outcome::Partial,
        Ok(Parsed::Complete(head)) => Outcome::Complete(head.head_bytes),
        Err(reject) => Outcome::Reject(reject),
    }
}

/// Every place in a short input, some of a long one.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = length / 512 + 1;
    (0..length).step_by(step)
}

fn check_head(input: &[u8], head: &RequestHead<'_>) {
    assert!(head.head_bytes <= input.len());
    let bytes = &input[..head.head_bytes];
    assert!(bytes.ends_with(b"\r\n\r\n"));
    assert_crlf_only(bytes);
    let lines = assert_fields_are_lines(bytes, head.fields());
    let count = |name: &str| lines.iter().filter(|(other, _)| other == name).count();
    assert_eq!(count("host"), 1);
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    match head.framing {
        BodyFraming::None => assert_eq!((lengths, codings), (0, 0)),
        BodyFraming::Length(_) => assert_eq!((lengths, codings), (1, 0)),
        BodyFraming::Chunked => assert_eq!((lengths, codings), (0, 1)),
    }
    assert!(!head.host.is_empty());
    assert!(head.authority.starts_with(head.host));
    assert!(head.target.path().starts_with(b"/") || head.target.path() == b"*");
    for field in head.fields().iter() {
        assert!(!field.name_text.is_empty());
        assert!(field.line.starts_with(field.name_text));
        assert_eq!(field.line[field.name_text.len()], b':');
        assert!(field.line.ends_with(b"\r\n"));
        assert!(
            !field
                .value
                .iter()
                .any(|&byte| byte != b'\t' && byte.is_ascii_control())
        );
        assert_eq!(field.value, field.value.trim_ascii());
    }
}

/// What a backend gets is a head in itself, says the same, and leaves no room for
/// what the client must not say.
fn check_forwarded(head: &RequestHead<'_>, client: IpAddr, trusted: bool) {
    let fields = FieldChange::default();
    let context = RequestContext {
        client,
        trusted,
        forwarded_proto: "http",
        listener_port: 8080,
        via: PSEUDONYM,
        request_id: Some("fuzz-1"),
        target: None,
        host: None,
        fields: &fields,
        client_certificate: b"",
    };
    let mut written = b"before".to_vec();
    write_request_head(&mut written, head, &context);
    let written = &written[b"before".len()..];
    assert_crlf_only(written);

    let again = match parse(written) {
        Ok(Parsed::Complete(again)) => again,
        // What we add may pass a limit that the client's head kept.
        Err(Reject::FieldsMany) if head.fields().len() > 80 => return,
        Err(Reject::HeadLong) if head.head_bytes > 30 * 1024 => return,
        Err(Reject::RequestLineLong) if head.head_bytes > 8 * 1024 => return,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(written)),
    };
    assert_eq!(again.head_bytes, written.len());
    assert_eq!(again.method_text, head.method_text);
    assert_eq!(again.authority, head.authority);
    assert_eq!(again.scheme, None);
    assert_eq!(again.framing, head.framing);
    assert_eq!(again.expect_continue, head.expect_continue);
    assert_eq!(
        again.max_forwards,
        head.max_forwards.map(|hops| hops.saturating_sub(1))
    );
    assert!(again.keep_alive);
    assert_eq!(again.upgrade_websocket, head.upgrade_websocket);
    assert!(again.via_contains(PSEUDONYM));
    let (mut target, mut target_again) = (Vec::new(), Vec::new());
    head.target.write(&mut target);
    again.target.write(&mut target_again);
    assert_eq!(target, target_again);

    let count = |name: FieldName| again.fields().values(name).count();
    for name in [
        FieldName::KeepAlive,
        FieldName::ProxyConnection,
        FieldName::ProxyAuthentication,
        FieldName::Http2Settings,
        FieldName::Proxy,
        FieldName::Underscored,
        FieldName::FramingLookalike,
    ] {
        assert_eq!(count(name), 0, "{name:?}");
    }
    let switches = usize::from(head.upgrade_websocket);
    assert_eq!(count(FieldName::Upgrade), switches);
    assert_eq!(count(FieldName::XForwardedFor), 1);
    assert_eq!(count(FieldName::Forwarded), 1);
    let theirs = |name: FieldName| head.fields().values(name).count();
    if trusted {
        let (proto, host) = (FieldName::XForwardedProto, FieldName::XForwardedHost);
        assert_eq!(count(proto), theirs(proto).max(1));
        assert_eq!(count(host), theirs(host).max(1));
        let (other, port) = (FieldName::XForwarded, FieldName::XForwardedPort);
        assert_eq!(count(other), theirs(other));
        assert!(count(port) >= theirs(port) && count(port) <= theirs(port).max(1));
    } else {
        assert_eq!(count(FieldName::XForwardedProto), 1);
        assert_eq!(count(FieldName::XForwardedHost), 1);
        assert_eq!(count(FieldName::XForwardedPort), 1);
        assert_eq!(count(FieldName::XForwarded), 0);
    }
    assert_eq!(count(FieldName::XRequestId), 1);
    let of_this_hop = usize::from(head.takes_trailers || head.upgrade_websocket);
    assert_eq!(count(FieldName::Connection), of_this_hop);
    assert_eq!(count(FieldName::Te), usize::from(head.takes_trailers));
    assert_eq!(
        count(FieldName::Cookie),
        head.fields().values(FieldName::Cookie).count()
    );
}

/// Whoever splits the head at CRLF, and its lines at the first colon, sees the same
/// fields. Gives their names in lower case, and their values.
pub(crate) fn assert_fields_are_lines(head: &[u8], fields: &Section<'_>) -> Vec<(String, Vec<u8>)> {
    let mut rest = head;
    let mut lines = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    assert_eq!(lines.pop(), Some(&b""[..]), "the empty line at the end");
    let first = lines
        .iter()
        .position(|line| !line.is_empty())
        .expect("a start line");
    let split: Vec<(String, Vec<u8>)> = lines[first + 1..]
        .iter()
        .map(|line| {
            let colon = line.iter().position(|&byte| byte == b':').expect("a colon");
            let name = String::from_utf8(line[..colon].to_vec()).expect("a name in ASCII");
            (
                name.to_ascii_lowercase(),
                line[colon + 1..].trim_ascii().to_vec(),
            )
        })
        .collect();
    let found: Vec<(String, Vec<u8>)> = fields
        .iter()
        .map(|field| {
            let name = String::from_utf8_lossy(field.name_text);
            (name.to_ascii_lowercase(), field.value.to_vec())
        })
        .collect();
    assert_eq!(found, split);
    split
}

/// No line end but CRLF, and no NUL.
pub(crate) fn assert_crlf_only(bytes: &[u8]) {
    for (at, &byte) in bytes.iter().enumerate() {
        let next = bytes.get(at + 1);
        match byte {
            b'\r' => assert_eq!(next, Some(&b'\n'), "a bare CR at {at}"),
            b'\n' => assert_eq!(bytes[at.wrapping_sub(1)], b'\r', "a bare LF at {at}"),
            0 => panic!("a NUL at {at}"),
            _ => {}
        }
    }
}
