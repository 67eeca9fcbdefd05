//! The table "Requests" of the HTTP rules, as far as it is about bytes on the wire.

use meridian_dataplane::http::Version;
use meridian_dataplane::http::method::Method;
use meridian_dataplane::http::reject::Reject;
use meridian_dataplane::http::request::{
    BodyFraming, Parsed, RequestHead, Scheme, Target, may_be_complete, parse,
};

fn head(bytes: &[u8]) -> RequestHead<'_> {
    match parse(bytes) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
    }
}

#[track_caller]
fn assert_rejected(bytes: &[u8], expected: Reject, status: u16) {
    match parse(bytes) {
        Err(reject) => {
            assert_eq!(reject, expected, "{:?}", String::from_utf8_lossy(bytes));
            assert_eq!(reject.status(), status);
        }
        Ok(other) => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
    }
    assert_same_at_every_cut(bytes);
}

/// No beginning of it says more, or anything else.
#[track_caller]
fn assert_same_at_every_cut(bytes: &[u8]) {
    let whole = parse(bytes);
    let step = bytes.len() / 2000 + 1;
    for cut in (0..bytes.len()).step_by(step) {
        match (parse(&bytes[..cut]), &whole) {
            (Ok(Parsed::Partial), Ok(Parsed::Complete(head))) => assert!(cut < head.head_bytes),
            (Ok(Parsed::Partial), _) => {}
            (Ok(Parsed::Complete(part)), Ok(Parsed::Complete(head))) => {
                assert_eq!(part.head_bytes, head.head_bytes);
            }
            (Err(part), Err(whole)) => assert_eq!(part, *whole, "cut at {cut}"),
            (part, whole) => panic!("{part:?} at {cut}, but {whole:?}"),
        }
    }
}

/// A request with these field lines beside Host.
fn with_fields(line: &str, fields: &[&str]) -> Vec<u8> {
    let mut text = format!("{line}\r\nHost: a.example\r\n");
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn post(fields: &[&str]) -> Vec<u8> {
    with_fields("POST / HTTP/1.1", fields)
}

#[test]
fn a_plain_request() {
    let bytes = b"GET /a/b?c=d HTTP/1.1\r\nHost: A.example.:8080\r\nAccept: */*\r\n\r\nrest";
    let head = head(bytes);
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.method_text, "GET");
    assert_eq!(head.host, b"A.example");
    assert_eq!(head.authority, b"A.example.:8080");
    assert_eq!(head.target, Target::Origin(b"/a/b?c=d"));
    assert_eq!(head.target.path(), b"/a/b");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.framing, BodyFraming::None);
    assert!(head.keep_alive);
    assert_eq!(head.head_bytes, bytes.len() - b"rest".len());
    let fields: Vec<_> = head
        .fields()
        .iter()
        .map(|field| (field.name_text, field.value))
        .collect();
    assert_eq!(
        fields,
        [(&b"Host"[..], &b"A.example.:8080"[..]), (b"Accept", b"*/*")]
    );
    assert_same_at_every_cut(bytes);
}

#[test]
fn framing_that_is_clear() {
    for (fields, framing) in [
        (&["Content-Length: 0"][..], BodyFraming::Length(0)),
        (&["content-length:\t0042 "], BodyFraming::Length(42)),
        (
            &["Content-Length: 18446744073709551615"],
            BodyFraming::Length(u64::MAX),
        ),
        (&["Transfer-Encoding: chunked"], BodyFraming::Chunked),
        (&["TRANSFER-ENCODING:CHUNKED\t"], BodyFraming::Chunked),
        // Names that merely look alike frame nothing.
        (
            &["Content_Length: 5", "Transfer_Encoding: chunked"],
            BodyFraming::None,
        ),
    ] {
        let bytes = post(fields);
        assert_eq!(head(&bytes).framing, framing, "{fields:?}");
        assert_same_at_every_cut(&bytes);
    }
}

#[test]
fn framing_that_two_readers_could_read_differently() {
    for fields in [
        &["Content-Length: 4", "Transfer-Encoding: chunked"][..],
        &["Transfer-Encoding: chunked", "Content-Length: 4"],
        &["Content-Length: 4", "Content-Length: 4"],
        &["Content-Length: 4", "Content-Length: 5"],
        &["Content-Length: 4, 4"],
        &["Content-Length: 4,"],
        &["Content-Length:"],
        &["Content-Length: +4"],
        &["Content-Length: -4"],
        &["Content-Length: 4 4"],
        &["Content-Length: 0x4"],
        &["Content-Length: 4.0"],
        &["Content-Length: 18446744073709551616"],
        &["Content-Length: \u{664}"],
        &["Transfer-Encoding:"],
        &["Transfer-Encoding: ,chunked"],
        &["Transfer-Encoding: chunked,"],
        &["Transfer-Encoding: chunked, chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked, gzip"],
        &["Transfer-Encoding: chunked;a=b"],
        &["Transfer-Encoding: \"chunked\""],
        &["Transfer-Encoding: chunked gzip"],
        &["Transfer-Encoding: gzip,, chunked"],
    ] {
        assert_rejected(&post(fields), Reject::Framing, 400);
    }
    let old = with_fields("POST / HTTP/1.0", &["Transfer-Encoding: chunked"]);
    assert_rejected(&old, Reject::Framing, 400);
}

#[test]
fn a_coding_that_is_well_formed_but_unknown() {
    for coding in [
        "gzip, chunked",
        "identity",
        "xchunked",
        "chunke",
        "gzip , deflate",
    ] {
        let bytes = post(&[&format!("Transfer-Encoding: {coding}")]);
        assert_rejected(&bytes, Reject::Coding, 501);
    }
}

#[test]
fn lines_that_are_no_fields() {
    for line in [
        "A : b",
        "A\t: b",
        " A: b",
        "A: b\r\n c",
        "A: b\r\n\tc",
        ": b",
        "A",
        "A b: c",
        "A(: b",
        "A\u{e9}: b",
        "A\0: b",
        "A: b\0c",
        "A: \u{1}",
        "A: b\u{7f}",
        "A: b\u{b}c",
        "A: b\rc",
        "A: b\nC: d",
        "A: b\n",
        "A:\nB: c",
        "A: \u{1b}[31m",
    ] {
        assert_rejected(&post(&[line]), Reject::Field, 400);
        assert_rejected(&post(&["B: c", line, "D: e"]), Reject::Field, 400);
    }
    // An obs-fold of the very first line, and of Host.
    assert_rejected(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Reject::Field, 400);
}

#[test]
fn controls_are_refused_wherever_vectors_look() {
    // The tokenizer reads 16 or 32 bytes at a time: each place of a control counts.
    for place in 0..80 {
        for control in (0_u8..0x20)
            .chain([0x7f])
            .filter(|byte| !b"\t\r\n".contains(byte))
        {
            let mut value = [b'v'; 80];
            value[place] = control;
            let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\nA: ", &value[..], b"\r\n\r\n"].concat();
            assert!(
                matches!(parse(&bytes), Err(Reject::Field)),
                "{control:#x} at {place}"
            );
            let bytes = [b"GET /", &value[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            assert!(
                matches!(parse(&bytes), Err(Reject::RequestLine)),
                "{control:#x} at {place}"
            );
        }
        for wrong in [
            b' ', b'(', b',', b'/', b'@', b'[', b'{', 0x7f, 0x80, 0xff, 0, b'\t',
        ] {
            let mut name = [b'n'; 80];
            name[place] = wrong;
            let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n", &name[..], b": v\r\n\r\n"].concat();
            assert!(
                matches!(parse(&bytes), Err(Reject::Field)),
                "{wrong:#x} at {place}"
            );
        }
    }
}

#[test]
fn text_beyond_ascii_and_tabs_may_stand_in_a_value() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nA: \xc3\xa9\xff \t b\r\n\r\n";
    let head = head(bytes);
    let values: Vec<_> = head.fields().iter().map(|field| field.value).collect();
    assert_eq!(values[1], b"\xc3\xa9\xff \t b");
}

#[test]
fn line_ends_are_cr_lf() {
    for (bytes, reject) in [
        (&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], Reject::Field),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Reject::Field),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Reject::Field),
        (b"GET / HTTP/1.1\nHost: a\n\n", Reject::Field),
        (b"GET / HTTP/1.1\n\n", Reject::Field),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Reject::RequestLine),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", Reject::RequestLine),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rx", Reject::RequestLine),
        (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", Reject::RequestLine),
    ] {
        assert_rejected(bytes, reject, 400);
    }
}

#[test]
fn one_empty_line_before_the_request_is_skipped() {
    let bytes = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(head(bytes).head_bytes, bytes.len());
    assert_same_at_every_cut(bytes);
    for bytes in [
        &b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\tGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_rejected(bytes, Reject::RequestLine, 400);
    }
}

#[test]
fn request_lines_that_are_none() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / a HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /",
        "GET HTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /# HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET http:/a HTTP/1.1",
        "GET ://a/ HTTP/1.1",
        "GET 1http://a/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/1.12",
        "GET / HTTP/1.",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET / HTTP/a.b",
        "GET / HTTP/2",
        "GET / HTTP/2.0x",
        "GET / HTTP/1,1",
        "GET / HTTPS/1.1",
        "GET / ICY/1.1",
    ] {
        assert_rejected(&with_fields(line, &[]), Reject::RequestLine, 400);
    }
}

#[test]
fn versions() {
    for line in [
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/3.1",
        "PRI * HTTP/2.0",
    ] {
        assert_rejected(&with_fields(line, &[]), Reject::Version, 505);
    }
    for line in ["GET /x HTTP/1.2", "GET /x HTTP/1.9"] {
        let bytes = with_fields(line, &["A: b"]);
        let head = head(&bytes);
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.target, Target::Origin(b"/x"));
        assert_eq!(head.method_text, "GET");
        assert_eq!(head.fields().len(), 2);
        assert_eq!(head.head_bytes, bytes.len());
        assert!(head.keep_alive);
        assert_same_at_every_cut(&bytes);
    }
    assert_rejected(b"GET / HTTP/1.2\r\nHost: a\n\r\n", Reject::Field, 400);
    assert_rejected(b"GET / HTTP/1.2\r\nHost : a\r\n\r\n", Reject::Field, 400);
    assert_rejected(b"GET / HTTP/1.2\nHost: a\r\n\r\n", Reject::RequestLine, 400);
    assert_eq!(
        head(&with_fields("GET / HTTP/1.0", &[])).version,
        Version::Http10
    );
}

#[test]
fn one_host_and_a_valid_one() {
    assert_rejected(b"GET / HTTP/1.1\r\n\r\n", Reject::Host, 400);
    assert_rejected(b"GET / HTTP/1.0\r\n\r\n", Reject::Host, 400);
    for hosts in [
        "Host: a\r\nHost: a",
        "Host: a\r\nHost: b",
        "Host: a\r\nhOST:",
        "Host:",
        "Host: a, b",
        "Host: u@a",
        "Host: u:p@a",
        "Host: :80",
        "Host: .",
        "Host: a:",
        "Host: a:b",
        "Host: a:65536",
        "Host: a b",
        "Host: a/b",
        "Host: [::1",
        "Host: a\u{e9}",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\n{hosts}\r\n\r\n").into_bytes();
        assert_rejected(&bytes, Reject::Host, 400);
    }
}

#[test]
fn the_authority_of_an_absolute_target_wins() {
    for (target, host, authority, written, path) in [
        ("http://b.example", "b.example", "b.example", "/", "/"),
        (
            "http://b.example:81/p?q",
            "b.example",
            "b.example:81",
            "/p?q",
            "/p",
        ),
        (
            "HTTP://B.example.?q/r",
            "B.example",
            "B.example.",
            "/?q/r",
            "/",
        ),
        ("http://[::1]:8080//x", "[::1]", "[::1]:8080", "//x", "//x"),
    ] {
        let bytes = with_fields(&format!("GET {target} HTTP/1.1"), &[]);
        let head = head(&bytes);
        assert_eq!(head.host, host.as_bytes());
        assert_eq!(head.authority, authority.as_bytes());
        assert_eq!(head.scheme, Some(Scheme::Http));
        assert_eq!(head.target.path(), path.as_bytes());
        let mut out = Vec::new();
        head.target.write(&mut out);
        assert_eq!(out, written.as_bytes());
        assert_same_at_every_cut(&bytes);
    }
    for target in [
        "http://",
        "http:///p",
        "http://u@b/",
        "http://b:x/",
        "http://a,b/",
        "http://:80/",
    ] {
        assert_rejected(
            &with_fields(&format!("GET {target} HTTP/1.1"), &[]),
            Reject::Host,
            400,
        );
    }
    // Host has to be there and valid even so.
    assert_rejected(b"GET http://a/ HTTP/1.1\r\n\r\n", Reject::Host, 400);
    assert_rejected(
        b"GET http://a/ HTTP/1.1\r\nHost: a, b\r\n\r\n",
        Reject::Host,
        400,
    );
}

#[test]
fn a_scheme_has_to_fit_the_listener() {
    let plain = with_fields("GET http://a/ HTTP/1.1", &[]);
    assert_eq!(head(&plain).check_scheme(false), Ok(()));
    assert_eq!(head(&plain).check_scheme(true), Err(Reject::Scheme));
    let secure = with_fields("GET hTTps://a/ HTTP/1.1", &[]);
    assert_eq!(head(&secure).check_scheme(true), Ok(()));
    assert_eq!(head(&secure).check_scheme(false), Err(Reject::Scheme));
    let origin = with_fields("GET / HTTP/1.1", &[]);
    assert_eq!(head(&origin).check_scheme(true), Ok(()));
    assert_eq!(head(&origin).check_scheme(false), Ok(()));
    assert_rejected(
        &with_fields("GET ftp://a/ HTTP/1.1", &[]),
        Reject::Scheme,
        421,
    );
}

#[test]
fn methods_that_are_refused_close() {
    for line in [
        "CONNECT a.example:443 HTTP/1.1",
        "TRACE / HTTP/1.1",
        "CONNECT / HTTP/1.0",
    ] {
        let bytes = with_fields(line, &[]);
        assert_rejected(&bytes, Reject::Method, 405);
        assert!(Reject::Method.closes());
    }
    let bytes = with_fields("PROPFIND / HTTP/1.1", &[]);
    assert_eq!(head(&bytes).method, Method::Other);
    assert_eq!(head(&bytes).method_text, "PROPFIND");
}

#[test]
fn options_and_max_forwards() {
    let of = |line: &str, fields: &[&str]| {
        let bytes = with_fields(line, fields);
        let head = head(&bytes);
        (head.max_forwards, head.target == Target::Asterisk)
    };
    assert_eq!(of("OPTIONS * HTTP/1.1", &[]), (None, true));
    assert_eq!(of("OPTIONS http://a HTTP/1.1", &[]), (None, true));
    assert_eq!(of("OPTIONS http://a/ HTTP/1.1", &[]), (None, false));
    assert_eq!(
        of("OPTIONS / HTTP/1.1", &["Max-Forwards: 0"]),
        (Some(0), false)
    );
    let many = "Max-Forwards: 99999999999999999999";
    assert_eq!(of("OPTIONS / HTTP/1.1", &[many]), (Some(u64::MAX), false));
    // It concerns no other method.
    assert_eq!(of("GET / HTTP/1.1", &["Max-Forwards: x"]), (None, false));
    for fields in [
        &["Max-Forwards: x"][..],
        &["Max-Forwards:"],
        &["Max-Forwards: 1", "Max-Forwards: 1"],
    ] {
        assert_rejected(
            &with_fields("OPTIONS / HTTP/1.1", fields),
            Reject::MaxForwards,
            400,
        );
    }
}

#[test]
fn keep_alive_is_what_version_and_connection_say() {
    for (line, fields, keep_alive) in [
        ("GET / HTTP/1.1", &[][..], true),
        ("GET / HTTP/1.1", &["Connection: close"], false),
        ("GET / HTTP/1.1", &["Connection: Keep-Alive"], true),
        ("GET / HTTP/1.1", &["Connection: x, CLOSE , y"], false),
        (
            "GET / HTTP/1.1",
            &["Connection: keep-alive", "Connection: close"],
            false,
        ),
        ("GET / HTTP/1.1", &["Connection: closed"], true),
        ("GET / HTTP/1.0", &[], false),
        ("GET / HTTP/1.0", &["Connection: keep-alive"], true),
        ("GET / HTTP/1.0", &["Connection: keep-alive, close"], false),
    ] {
        assert_eq!(
            head(&with_fields(line, fields)).keep_alive,
            keep_alive,
            "{line} {fields:?}"
        );
    }
}

#[test]
fn upgrade_is_websocket_alone_and_named_by_connection() {
    for (line, fields, asked) in [
        (
            "GET / HTTP/1.1",
            &["Connection: Upgrade", "Upgrade: WebSocket"][..],
            true,
        ),
        (
            "GET / HTTP/1.1",
            &["Connection: keep-alive, upgrade", "Upgrade: websocket"],
            true,
        ),
        ("GET / HTTP/1.1", &["Upgrade: websocket"], false),
        ("GET / HTTP/1.1", &["Connection: upgrade"], false),
        (
            "GET / HTTP/1.1",
            &["Connection: upgrade", "Upgrade: h2c"],
            false,
        ),
        (
            "GET / HTTP/1.1",
            &["Connection: upgrade", "Upgrade: h2c, websocket"],
            false,
        ),
        (
            "GET / HTTP/1.1",
            &["Connection: upgrade", "Upgrade: websocket", "Upgrade: h2c"],
            false,
        ),
        (
            "POST / HTTP/1.1",
            &["Connection: upgrade", "Upgrade: websocket"],
            false,
        ),
        (
            "GET / HTTP/1.1",
            &[
                "Connection: upgrade",
                "Upgrade: websocket",
                "Content-Length: 0",
            ],
            true,
        ),
        (
            "GET / HTTP/1.1",
            &[
                "Connection: upgrade",
                "Upgrade: websocket",
                "Content-Length: 1",
            ],
            false,
        ),
        (
            "GET / HTTP/1.0",
            &["Connection: upgrade", "Upgrade: websocket"],
            false,
        ),
    ] {
        assert_eq!(
            head(&with_fields(line, fields)).upgrade_websocket,
            asked,
            "{line} {fields:?}"
        );
    }
}

#[test]
fn expect_and_te_count_in_http_1_1() {
    let fields = &["Expect: 100-Continue", "TE: gzip, trailers"];
    let new = with_fields("POST / HTTP/1.1", fields);
    assert!(head(&new).expect_continue);
    assert!(head(&new).takes_trailers);
    let old = with_fields("POST / HTTP/1.0", fields);
    assert!(!head(&old).expect_continue);
    assert!(!head(&old).takes_trailers);
}

#[test]
fn a_loop_is_seen_in_any_via() {
    let bytes = post(&["Via: 1.1 a", "via: 1.0 b, 1.1 Us (x)"]);
    assert!(head(&bytes).via_contains("us"));
    assert!(!head(&bytes).via_contains("u"));
    assert_eq!(Reject::Loop.status(), 508);
}

#[test]
fn the_line_is_limited_as_soon_as_it_is_too_long() {
    let line = |target_bytes: usize| {
        let overhead = "GET / HTTP/1.1".len();
        format!("GET /{} HTTP/1.1", "a".repeat(target_bytes - overhead))
    };
    let longest = with_fields(&line(8192), &[]);
    assert_eq!(head(&longest).head_bytes, longest.len());
    assert_rejected(&with_fields(&line(8193), &[]), Reject::RequestLineLong, 414);
    // Nothing need follow, and no space need come.
    assert!(matches!(parse(&[b'G'; 8193]), Ok(Parsed::Partial)));
    assert!(matches!(parse(&[b'G'; 8194]), Err(Reject::RequestLineLong)));
    // What was wrong before the limit stays wrong for that reason.
    let mut wrong = vec![b'a'; 10_000];
    wrong[100] = b'(';
    assert_rejected(&wrong, Reject::RequestLine, 400);
}

#[test]
fn the_head_is_limited_as_soon_as_it_is_too_long() {
    let of_bytes = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nA: ";
        format!("{start}{}\r\n\r\n", "v".repeat(bytes - start.len() - 4)).into_bytes()
    };
    let longest = of_bytes(32 * 1024);
    assert_eq!(head(&longest).head_bytes, 32 * 1024);
    assert_rejected(&of_bytes(32 * 1024 + 1), Reject::HeadLong, 431);
    let mut behind_empty_line = b"\r\n".to_vec();
    behind_empty_line.extend_from_slice(&longest);
    assert_eq!(head(&behind_empty_line).head_bytes, 32 * 1024 + 2);
    let endless = [&b"GET / HTTP/1.1\r\nHost: a\r\nA: "[..], &[b'v'; 40_000]].concat();
    assert!(matches!(
        parse(&endless[..32 * 1024 - 1]),
        Ok(Parsed::Partial)
    ));
    assert!(matches!(
        parse(&endless[..32 * 1024]),
        Err(Reject::HeadLong)
    ));
    assert_rejected(&endless, Reject::HeadLong, 431);
}

#[test]
fn the_number_of_fields_is_limited() {
    let with = |count: usize| post(&vec!["a:b"; count - 1]);
    assert_eq!(head(&with(100)).fields().len(), 100);
    assert_rejected(&with(101), Reject::FieldsMany, 431);
    // Options in Connection are names of fields.
    let options = |count: usize| post(&[&format!("Connection: {}", vec!["x"; count].join(","))]);
    assert!(matches!(parse(&options(32)), Ok(Parsed::Complete(_))));
    assert_rejected(&options(33), Reject::FieldsMany, 431);
    let long = |bytes: usize| post(&[&format!("Connection: {}", "x".repeat(bytes))]);
    assert!(matches!(parse(&long(1024)), Ok(Parsed::Complete(_))));
    assert_rejected(&long(1025), Reject::FieldsMany, 431);
}

#[test]
fn a_head_that_comes_in_pieces_is_looked_at_when_it_is_whole() {
    let bytes = post(&["A: b", "C: d"]);
    for from in 0..bytes.len() {
        assert!(may_be_complete(&bytes, from), "from {from}");
        for until in from..bytes.len() {
            assert!(
                !may_be_complete(&bytes[..until], from),
                "from {from} until {until}"
            );
        }
    }
    assert!(
        may_be_complete(b"GET / HTTP/1.1\n\n", 15),
        "bare line ends are to be refused"
    );
    assert!(
        may_be_complete(&[b'G'; 8194], 8193),
        "the limit of the line"
    );
    assert!(!may_be_complete(&[b'G'; 9000], 8999));
    assert!(
        may_be_complete(&[b'G'; 32 * 1024], 32 * 1024 - 1),
        "the limit of the head"
    );
    assert!(!may_be_complete(b"", 0));
    assert!(!may_be_complete(b"\r\n", 9));
}

#[test]
fn several_requests_in_one_buffer_are_taken_one_by_one() {
    let bytes = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n";
    let first = head(bytes);
    assert_eq!(first.target.path(), b"/1");
    let second = head(&bytes[first.head_bytes..]);
    assert_eq!(second.target.path(), b"/2");
    assert_eq!(first.head_bytes + second.head_bytes, bytes.len());
}

#[test]
fn every_wire_error_closes() {
    for reject in [
        Reject::RequestLine,
        Reject::RequestLineLong,
        Reject::Version,
        Reject::Method,
        Reject::Field,
        Reject::HeadLong,
        Reject::FieldsMany,
        Reject::Framing,
        Reject::Coding,
        Reject::Host,
        Reject::MaxForwards,
        Reject::Scheme,
        Reject::Chunk,
        Reject::TrailersLong,
        Reject::HeadSlow,
    ] {
        assert!(reject.closes(), "{reject:?}");
    }
    assert!(!Reject::NoSite.closes());
}
