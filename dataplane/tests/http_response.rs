//! Heads that backends send, and how their bodies end.

use meridian_dataplane::http::Version;
use meridian_dataplane::http::method::Method;
use meridian_dataplane::http::response::{
    BadResponse, Parsed, ResponseFraming, ResponseHead, parse, parse_after_upgrade,
};

fn head_for(bytes: &[u8], method: Method) -> ResponseHead<'_> {
    match parse(bytes, method) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn response(line: &str, fields: &[&str]) -> Vec<u8> {
    let mut text = format!("{line}\r\n");
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn ok(fields: &[&str]) -> Vec<u8> {
    response("HTTP/1.1 200 OK", fields)
}

#[track_caller]
fn assert_bad(bytes: &[u8], expected: BadResponse) {
    let whole = parse(bytes, Method::Get);
    assert!(
        matches!(whole, Err(bad) if bad == expected),
        "{whole:?} of {:?}",
        String::from_utf8_lossy(bytes)
    );
    let step = bytes.len() / 2000 + 1;
    for cut in (0..bytes.len()).step_by(step) {
        match parse(&bytes[..cut], Method::Get) {
            Ok(Parsed::Partial) => {}
            Err(bad) => assert_eq!(bad, expected, "cut at {cut}"),
            Ok(other) => panic!("{other:?} at {cut}"),
        }
    }
}

#[test]
fn a_plain_response() {
    let bytes = b"HTTP/1.1 200 Very OK\r\nContent-Length: 05\r\nServer: x\r\n\r\nhello";
    let head = head_for(bytes, Method::Get);
    assert_eq!(head.status, 200);
    assert_eq!(head.reason, "Very OK");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.framing, ResponseFraming::Length(5));
    assert!(head.reusable);
    assert!(!head.is_interim());
    assert_eq!(head.head_bytes, bytes.len() - 5);
    for cut in 0..head.head_bytes {
        assert!(
            matches!(parse(&bytes[..cut], Method::Get), Ok(Parsed::Partial)),
            "{cut}"
        );
    }
}

#[test]
fn the_end_of_the_body() {
    for (line, fields, framing, reusable) in [
        (
            "HTTP/1.1 200 OK",
            &["Transfer-Encoding: Chunked"][..],
            ResponseFraming::Chunked,
            true,
        ),
        ("HTTP/1.1 200 OK", &[], ResponseFraming::UntilClose, false),
        (
            "HTTP/1.1 200 OK",
            &["Content-Length: 0"],
            ResponseFraming::Length(0),
            true,
        ),
        (
            "HTTP/1.1 200 OK",
            &["Content-Length: 7", "Connection: close"],
            ResponseFraming::Length(7),
            false,
        ),
        (
            "HTTP/1.0 200 OK",
            &["Content-Length: 7"],
            ResponseFraming::Length(7),
            false,
        ),
        (
            "HTTP/1.0 200 OK",
            &["Content-Length: 7", "Connection: Keep-Alive"],
            ResponseFraming::Length(7),
            true,
        ),
        (
            "HTTP/1.0 200 OK",
            &["Connection: keep-alive"],
            ResponseFraming::UntilClose,
            false,
        ),
        (
            "HTTP/1.1 204 No",
            &["Content-Length: 7"],
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 304 No",
            &["Transfer-Encoding: chunked"],
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 100 Continue",
            &["Content-Length: 7"],
            ResponseFraming::None,
            true,
        ),
    ] {
        let bytes = response(line, fields);
        let head = head_for(&bytes, Method::Get);
        assert_eq!(head.framing, framing, "{line} {fields:?}");
        assert_eq!(head.reusable, reusable, "{line} {fields:?}");
    }
}

#[test]
fn the_answer_to_head_has_a_length_but_no_body() {
    let bytes = ok(&["Content-Length: 7"]);
    let head = head_for(&bytes, Method::Head);
    assert_eq!(head.framing, ResponseFraming::None);
    assert_eq!(head.absent_length, Some(7));
    assert!(head.reusable);
    let bytes = ok(&[]);
    let head = head_for(&bytes, Method::Head);
    assert_eq!(
        (head.framing, head.absent_length),
        (ResponseFraming::None, None)
    );
    assert!(head.reusable);
    // Neither a 204 nor an interim response says a length.
    for line in ["HTTP/1.1 204 No Content", "HTTP/1.1 103 Early Hints"] {
        let bytes = response(line, &["Content-Length: 7"]);
        assert_eq!(head_for(&bytes, Method::Head).absent_length, None);
    }
}

#[test]
fn framing_that_two_readers_could_read_differently() {
    for fields in [
        &["Content-Length: 4", "Transfer-Encoding: chunked"][..],
        &["Content-Length: 4", "Content-Length: 4"],
        &["Content-Length: 4, 4"],
        &["Content-Length: -4"],
        &["Content-Length: four"],
        &["Content-Length: 99999999999999999999"],
        &["Transfer-Encoding: gzip"],
        &["Transfer-Encoding: gzip, chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding:"],
    ] {
        assert_bad(&ok(fields), BadResponse::Framing);
    }
    let old = response("HTTP/1.0 200 OK", &["Transfer-Encoding: chunked"]);
    assert_bad(&old, BadResponse::Framing);
}

#[test]
fn status_lines() {
    for (line, status, reason) in [
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.0 404 Not\tFound ", 404, "Not\tFound "),
        ("HTTP/1.1 599 x", 599, "x"),
        ("HTTP/1.1 200 \u{e9}", 200, ""),
    ] {
        let bytes = response(line, &[]);
        let head = head_for(&bytes, Method::Get);
        assert_eq!((head.status, head.reason), (status, reason));
    }
    for line in [
        "HTTP/1.1 20",
        "HTTP/1.1 2000 x",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 20x OK",
        "HTTP/1.1200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        " HTTP/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
        "HTTP/1.1",
        "200 OK",
        "<html>",
    ] {
        assert_bad(
            &response(line, &["Content-Length: 0"]),
            BadResponse::StatusLine,
        );
    }
    for line in [
        "HTTP/1.1 099 x",
        "HTTP/1.1 000 x",
        "HTTP/1.1 600 x",
        "HTTP/1.1 999 x",
    ] {
        assert_bad(&response(line, &[]), BadResponse::Status);
    }
    assert_bad(
        &response("HTTP/1.1 101 x", &["Upgrade: websocket"]),
        BadResponse::Switching,
    );
}

#[test]
fn a_switch_is_to_websocket_and_for_whoever_asked() {
    let switching = "HTTP/1.1 101 Switching Protocols";
    let named = ["Upgrade: WebSocket", "Connection: keep-alive, upgrade"];
    let bytes = [&response(switching, &named)[..], b"\x81\0"].concat();
    let Ok(Parsed::Complete(head)) = parse_after_upgrade(&bytes) else {
        panic!("it was asked for");
    };
    assert!(head.is_switch() && !head.is_interim() && !head.reusable);
    assert_eq!(head.framing, ResponseFraming::None);
    assert_eq!(head.head_bytes, bytes.len() - 2);
    for cut in 0..head.head_bytes {
        let part = parse_after_upgrade(&bytes[..cut]);
        assert!(
            matches!(part, Ok(Parsed::Partial)),
            "cut at {cut}: {part:?}"
        );
    }
    assert_bad(&bytes, BadResponse::Switching);

    for (line, fields) in [
        (switching, &[][..]),
        (switching, &named[..1]),
        (switching, &named[1..]),
        (switching, &["Upgrade: h2c", "Connection: upgrade"]),
        (
            switching,
            &["Upgrade: websocket, h2c", "Connection: upgrade"],
        ),
        (
            switching,
            &["Upgrade: websocket", "Upgrade: websocket", named[1]],
        ),
        ("HTTP/1.0 101 Switching Protocols", &named),
    ] {
        let answer = response(line, fields);
        let parsed = parse_after_upgrade(&answer);
        assert!(
            matches!(parsed, Err(BadResponse::Switching)),
            "{line} {fields:?}: {parsed:?}"
        );
    }
    let refused = response(
        "HTTP/1.1 426 Upgrade Required",
        &["Content-Length: 0", named[0]],
    );
    let Ok(Parsed::Complete(head)) = parse_after_upgrade(&refused) else {
        panic!("a backend need not switch");
    };
    assert!(!head.is_switch() && head.reusable);
}

#[test]
fn lines_that_are_no_fields() {
    for line in [
        "A : b",
        " A: b",
        "A: b\r\n c",
        ": b",
        "A",
        "A: b\0",
        "A: b\nC: d",
        "A: b\n",
        "A: b\rc",
    ] {
        assert_bad(&ok(&["Content-Length: 0", line]), BadResponse::Field);
    }
    assert_bad(b"HTTP/1.1 200 OK\nA: b\r\n\r\n", BadResponse::Field);
    assert_bad(b"HTTP/1.1 200 OK\r\nA: b\r\n\n", BadResponse::Field);
    assert_bad(b"HTTP/1.1 200\n\n", BadResponse::Field);
}

#[test]
fn limits() {
    let with = |count: usize| ok(&vec!["a:b"; count]);
    assert!(matches!(
        parse(&with(100), Method::Get),
        Ok(Parsed::Complete(_))
    ));
    assert_bad(&with(101), BadResponse::FieldsMany);
    let start = "HTTP/1.1 200 OK\r\nA: ";
    let of_bytes = |bytes: usize| {
        format!("{start}{}\r\n\r\n", "v".repeat(bytes - start.len() - 4)).into_bytes()
    };
    let longest = of_bytes(32 * 1024);
    assert_eq!(head_for(&longest, Method::Get).head_bytes, longest.len());
    assert_bad(&of_bytes(32 * 1024 + 1), BadResponse::HeadLong);
    assert_bad(
        &ok(&[&format!("Connection: {}", "x,".repeat(101))]),
        BadResponse::FieldsMany,
    );
}

#[test]
fn a_backend_announces_how_long_it_keeps_the_connection() {
    for (fields, seconds) in [
        (&["Keep-Alive: timeout=5, max=100"][..], Some(5)),
        (&["Keep-Alive: max=1,TIMEOUT=7"], Some(7)),
        (&["Keep-Alive: timeout=5", "Keep-Alive: timeout=3"], Some(3)),
        (&["Keep-Alive: timeout=x"], None),
        (&["Keep-Alive: timeout=99999999999"], None),
        (&["Keep-Alive: xtimeout=5"], None),
        (&["Connection: keep-alive"], None),
    ] {
        assert_eq!(
            head_for(&ok(fields), Method::Get).keep_alive_timeout,
            seconds,
            "{fields:?}"
        );
    }
}

#[test]
fn how_the_body_goes_to_the_client() {
    let until_close = ok(&[]);
    let head = head_for(&until_close, Method::Get);
    assert_eq!(
        head.framing_to_client(Version::Http11),
        ResponseFraming::Chunked
    );
    assert_eq!(
        head.framing_to_client(Version::Http10),
        ResponseFraming::UntilClose
    );
    let chunked = ok(&["Transfer-Encoding: chunked"]);
    let head = head_for(&chunked, Method::Get);
    assert_eq!(
        head.framing_to_client(Version::Http11),
        ResponseFraming::Chunked
    );
    assert_eq!(
        head.framing_to_client(Version::Http10),
        ResponseFraming::UntilClose
    );
    let length = ok(&["Content-Length: 3"]);
    let head = head_for(&length, Method::Get);
    assert_eq!(
        head.framing_to_client(Version::Http10),
        ResponseFraming::Length(3)
    );
}
