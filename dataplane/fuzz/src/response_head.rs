//! What must hold for any bytes that a backend sends as a head.

use meridian_dataplane::http::Version;
use meridian_dataplane::http::field::FieldName;
use meridian_dataplane::http::forward::{
    FieldChange, ResponseContext, write_interim_head, write_response_head, write_switch_head,
};
use meridian_dataplane::http::method::Method;
use meridian_dataplane::http::response::{
    BadResponse, Parsed, ResponseFraming, ResponseHead, parse, parse_after_upgrade,
};

use super::request_head::{assert_crlf_only, assert_fields_are_lines};

const PSEUDONYM: &str = "meridian-fuzz";

/// Panics when something does not hold.
pub fn check(input: &[u8]) {
    for method in [Method::Get, Method::Head] {
        let whole = outcome(input, method);
        let step = input.len() / 512 + 1;
        for cut in (0..input.len()).step_by(step) {
            match (outcome(&input[..cut], method), whole) {
                (Outcome::Partial, Outcome::Complete(head_bytes)) => assert!(cut < head_bytes),
                (Outcome::Partial, _) => {}
                (part, whole) => assert_eq!(part, whole, "cut at {cut}"),
            }
        }
        if let Ok(Parsed::Complete(head)) = parse(input, method) {
            check_head(input, &head, method);
        }
    }
    check_after_upgrade(input);
}

/// Where a switch was asked for everything is as ever, but that it may come.
fn check_after_upgrade(input: &[u8]) {
    match (parse_after_upgrade(input), outcome(input, Method::Get)) {
        (Ok(Parsed::Complete(head)), as_ever) if head.is_switch() => {
            assert_eq!(as_ever, Outcome::Bad(BadResponse::Switching));
            assert!(!head.is_interim() && !head.reusable);
            let mut written = Vec::new();
            write_switch_head(&mut written, &head, PSEUDONYM, &FieldChange::default(), b"");
            assert_crlf_only(&written);
            match parse_after_upgrade(&written) {
                Ok(Parsed::Complete(again)) => {
                    assert!(again.is_switch());
                    assert_eq!(again.head_bytes, written.len());
                }
                Err(BadResponse::FieldsMany) if head.fields().len() > 90 => {}
                Err(BadResponse::HeadLong) if head.head_bytes > 31 * 1024 => {}
                other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&written)),
            }
        }
        (Ok(Parsed::Complete(head)), as_ever) => {
            assert_eq!(as_ever, Outcome::Complete(head.head_bytes));
        }
        (Ok(Parsed::Partial), as_ever) => assert_eq!(as_ever, Outcome::Partial),
        (Err(bad), as_ever) => assert_eq!(as_ever, Outcome::Bad(bad)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Partial,
    Complete(usize),
    Bad(BadResponse),
}

fn outcome(bytes: &[u8], method: Method) -> Outcome {
    match parse(bytes, method) {
        Ok(Parsed::Partial) => Outcome::Partial,
        Ok(Parsed::Complete(head)) => Outcome::Complete(head.head_bytes),
        Err(bad) => Outcome::Bad(bad),
    }
}

fn check_head(input: &[u8], head: &ResponseHead<'_>, method: Method) {
    assert!((100..=599).contains(&head.status));
    assert_ne!(head.status, 101);
    assert_crlf_only(&input[..head.head_bytes]);
    assert_fields_are_lines(&input[..head.head_bytes], head.fields());
    if matches!(head.status, 100..=199 | 204 | 304) || method == Method::Head {
        assert_eq!(head.framing, ResponseFraming::None);
    }
    if head.framing == ResponseFraming::UntilClose {
        assert!(!head.reusable);
    }
    if head.is_interim() {
        let mut written = Vec::new();
        write_interim_head(&mut written, head, PSEUDONYM);
        check_written(&written, head, method, |again| {
            assert_eq!(again.fields().values(FieldName::Connection).count(), 0);
        });
        return;
    }
    for (client_version, keep_alive) in [
        (Version::Http11, true),
        (Version::Http11, false),
        (Version::Http10, true),
        (Version::Http10, false),
    ] {
        let framing = head.framing_to_client(client_version);
        let mut written = Vec::new();
        let context = ResponseContext {
            client_version,
            keep_alive,
            framing,
            via: PSEUDONYM,
            now_date: b"Sun, 06 Nov 1994 08:49:37 GMT",
            fields: &FieldChange::default(),
            own_lines: [b"", b""],
        };
        write_response_head(&mut written, head, &context);
        check_written(&written, head, method, |again| {
            assert_eq!(again.framing, framing);
            let ends_with_connection = framing == ResponseFraming::UntilClose;
            assert_eq!(again.reusable, keep_alive && !ends_with_connection);
            assert!(again.fields().contains(FieldName::Date));
            if client_version == Version::Http10 {
                assert!(!again.fields().contains(FieldName::TransferEncoding));
            }
            assert_eq!(again.absent_length, head.absent_length);
        });
    }
}

fn check_written(
    written: &[u8],
    head: &ResponseHead<'_>,
    method: Method,
    check: impl Fn(&ResponseHead<'_>),
) {
    assert_crlf_only(written);
    let again = match parse(written, method) {
        Ok(Parsed::Complete(again)) => again,
        // What we add may pass a limit that the backend's head kept.
        Err(BadResponse::FieldsMany) if head.fields().len() > 90 => return,
        Err(BadResponse::HeadLong) if head.head_bytes > 31 * 1024 => return,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(written)),
    };
    assert_eq!(again.head_bytes, written.len());
    assert_eq!(again.status, head.status);
    assert_eq!(again.version, Version::Http11);
    let fields = again.fields();
    for name in [
        FieldName::KeepAlive,
        FieldName::ProxyConnection,
        FieldName::Upgrade,
    ] {
        assert!(!fields.contains(name), "{name:?}");
    }
    if matches!(head.status, 100..=199 | 204) {
        assert!(!fields.contains(FieldName::ContentLength));
        assert!(!fields.contains(FieldName::TransferEncoding));
    }
    let cookies = |head: &ResponseHead<'_>| head.fields().values(FieldName::SetCookie).count();
    assert_eq!(cookies(&again), cookies(head));
    check(&again);
}
