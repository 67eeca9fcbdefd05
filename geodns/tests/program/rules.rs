//! The table of DNS.md, a test for each line, in its order: over UDP and over TCP, as a client sees it.
//!
//! Lines whose subject is a connection are in [`crate::streams`], the rate in [`crate::datagrams`]; each
//! of them is named here, so that the table is whole. Scopes are tested in `answers`, where each test says
//! who is close to whom.

use crate::query::*;
use crate::responder::*;
use crate::seen::{Seen, read};

const ZONE: &str = "lb.example.net";

/// The response over UDP, and the one over TCP.
fn both(responder: &Responder, query: &[u8]) -> [Seen; 2] {
    [responder.udp(query), responder.tcp(query)].map(read)
}

/// Of each transport: code, AA, and how many questions and answers.
fn amounts(responder: &Responder, query: &[u8]) -> [(u16, bool, u16, usize); 2] {
    both(responder, query).map(|it| (it.rcode, it.aa, it.questions, it.answer.len()))
}

fn option(seen: &Seen, code: u16) -> Option<Vec<u8>> {
    let options = seen.options.as_ref()?;
    let found = options.iter().find(|(it, _)| *it == code);
    found.map(|(_, data)| data.clone())
}

#[test]
fn ecs_malformed() {
    let responder = Responder::with_records(&[]);
    for (data, why) in [
        (&b"\0\x01\x18"[..], "under four octets"),
        (b"\0\x03\x18\0\xcb\0\x71", "an unknown family"),
        (b"\0\0\x18\0\xcb\0\x71", "no family, and a length"),
        (b"\0\x01\x21\0\xcb\0\x71\x01\x01", "SOURCE over 32"),
        (
            &[&b"\0\x02\x81\0"[..], &[1; 17]].concat(),
            "SOURCE over 128",
        ),
        (b"\0\x01\x18\0\xcb\0", "too few octets"),
        (b"\0\x01\x18\0\xcb\0\x71\0", "too many octets"),
        (b"\0\x01\x17\0\xcb\0\x71", "bits beyond SOURCE"),
        (b"\0\x01\x18\x18\xcb\0\x71", "a SCOPE in a query"),
    ] {
        for seen in both(&responder, &with_options(SHOP, A, &[(SUBNET, data)])) {
            assert_eq!((seen.rcode, seen.questions), (FORMERR, 1), "{why}");
            assert_eq!(option(&seen, SUBNET), None, "{why}");
        }
    }
}

#[test]
fn ecs_in_the_response() {
    let responder = Responder::with_records(&[]);
    for (name, rtype, rcode) in [
        (SHOP, A, NOERROR),
        (SHOP, TXT, NOERROR),
        ("missing.lb.example.net", A, NXDOMAIN),
        ("elsewhere.example", A, REFUSED),
        (SHOP, 252, NOTIMP),
    ] {
        for seen in both(&responder, &with_options(name, rtype, &[(SUBNET, V4_24)])) {
            assert_eq!(seen.rcode, rcode);
            let echoed = option(&seen, SUBNET).expect("it is echoed");
            assert_eq!((&echoed[..3], &echoed[4..]), (&V4_24[..3], &V4_24[4..]));
        }
        for seen in both(&responder, &with_options(name, rtype, &[])) {
            assert_eq!(option(&seen, SUBNET), None);
        }
    }
}

#[test]
fn scope_where_geography_was_not_used() {
    let responder = Responder::with_records(&[
        ("t", "TXT", "\"x\""),
        ("sub", "NS", "ns.sub"),
        ("ns.sub", "A", "192.0.2.9"),
    ]);
    for (name, rtype) in [
        (ZONE, A),
        ("www.acme.lb.example.net", A),
        ("t.lb.example.net", TXT),
        (ZONE, SOA),
        (ZONE, NS),
        ("missing.lb.example.net", A),
        ("x.sub.lb.example.net", A),
    ] {
        for seen in both(&responder, &with_options(name, rtype, &[(SUBNET, V4_24)])) {
            assert_eq!(option(&seen, SUBNET).as_deref(), Some(V4_24), "{name}");
        }
    }
}

#[test]
fn ecs_of_nothing() {
    let responder = Responder::with_records(&[]);
    for data in [&b"\0\x01\0\0"[..], b"\0\x02\0\0", b"\0\0\0\0"] {
        for seen in both(&responder, &with_options(SHOP, A, &[(SUBNET, data)])) {
            assert_eq!((seen.rcode, seen.answer.len()), (NOERROR, 2));
            assert_eq!(option(&seen, SUBNET).as_deref(), Some(data));
        }
    }
}

/// Private and reserved prefixes, mapped or not: the resolver's address decides, which is nowhere
/// either, and the scope is the block's.
#[test]
fn ecs_of_nowhere() {
    let responder = Responder::with_records(&[]);
    let mapped = [&b"\0\x02\x78\0"[..], &[0; 10], &[0xff, 0xff, 203, 0, 113]].concat();
    for (data, scope) in [
        (&b"\0\x01\x08\0\x0a"[..], 8),
        (b"\0\x01\x18\0\xc0\xa8\x01", 16),
        (V4_24, 24),
        (&mapped, 120),
    ] {
        for seen in both(&responder, &with_options(SHOP, A, &[(SUBNET, data)])) {
            assert_eq!((seen.rcode, seen.answer.len()), (NOERROR, 2));
            let mut echoed = data.to_vec();
            echoed[3] = scope;
            assert_eq!(option(&seen, SUBNET), Some(echoed));
        }
    }
}

#[test]
fn opt_once_and_rightly() {
    let responder = Responder::with_records(&[]);
    let question = question(SHOP, A, 1);
    let named = [&b"\x01a"[..], &opt(&[])].concat();
    let mut overrun = opt(&[(NSID, b"")]);
    *overrun.last_mut().expect("it has octets") = 9;
    for (counts, records, has_opt) in [
        ([1, 0, 0, 2], [opt(&[]), opt(&[])].concat(), true),
        ([1, 0, 0, 1], named, false),
        ([1, 1, 0, 0], opt(&[]), false),
        ([1, 0, 1, 0], opt(&[]), false),
        ([1, 0, 0, 1], overrun, true),
    ] {
        let query = [header(counts), question.clone(), records].concat();
        for seen in both(&responder, &query) {
            assert_eq!((seen.rcode, seen.questions), (FORMERR, 1));
            assert_eq!(seen.options.is_some(), has_opt);
        }
    }
}

#[test]
fn edns_version() {
    let responder = Responder::with_records(&[]);
    let opt = opt_of(4096, 1, &[]);
    let query = [header([1, 0, 0, 1]), question(SHOP, A, 1), opt].concat();
    for seen in both(&responder, &query) {
        // That the version in the response is 0 is asserted for all that are read.
        assert_eq!((seen.rcode, seen.answer.len()), (BADVERS, 0));
    }
}

#[test]
fn edns_unknown() {
    let responder = Responder::with_records(&[]);
    for seen in both(&responder, &with_options(SHOP, A, &[(65_001, b"what")])) {
        assert_eq!((seen.rcode, seen.options), (NOERROR, Some(vec![])));
        // DO came and is copied; Z is clear.
        assert_eq!(seen.octets[seen.octets.len() - 4..], [0x80, 0, 0, 0]);
    }
}

#[test]
fn payload_size() {
    let addresses: Vec<String> = (0..60).map(|it| format!("192.0.2.{it}")).collect();
    let all: Vec<_> = addresses.iter().map(|it| ("big", "A", &**it)).collect();
    let responder = Responder::with_records(&all);
    let sized = |payload: u16, options: &[(u16, &[u8])]| {
        let opt = opt_of(payload, 0, options);
        let question = question("big.lb.example.net", A, 1);
        [header([1, 0, 0, 1]), question, opt].concat()
    };
    let [given, _] = both(&responder, &sized(4096, &[(COOKIE, b"01234567")]));
    let cookie = option(&given, COOKIE).expect("it is given");
    for (payload, fits) in [
        (4096, true),
        (1232, true),
        (1000, false),
        (512, false),
        (0, false),
    ] {
        let query = sized(payload, &[(COOKIE, &cookie)]);
        let [udp, tcp] = both(&responder, &query);
        let seen = (udp.tc, udp.answer.len());
        assert_eq!(seen, (!fits, if fits { 60 } else { 0 }), "{payload}");
        assert!(udp.octets.len() <= usize::from(payload).clamp(512, 1232));
        assert_eq!((tcp.tc, tcp.answer.len()), (false, 60));
    }
}

#[test]
fn questions_other_than_one() {
    let responder = Responder::with_records(&[]);
    let two = [
        header([2, 0, 0, 0]),
        question(SHOP, A, 1),
        question(SHOP, A, 1),
    ]
    .concat();
    for query in [&two[..], &header([0; 4])] {
        assert_eq!(amounts(&responder, query), [(FORMERR, false, 0, 0); 2]);
    }
    let alone = |cookie: &[u8]| [header([0, 0, 0, 1]), opt(&[(COOKIE, cookie)])].concat();
    let [given, _] = both(&responder, &alone(b"01234567"));
    let cookie = option(&given, COOKIE).expect("it is given");
    let mut wrong = cookie.clone();
    wrong[23] ^= 1;
    for (cookie, rcode) in [
        (&b"01234567"[..], NOERROR),
        (&cookie, NOERROR),
        (&wrong, BADCOOKIE),
    ] {
        for seen in both(&responder, &alone(cookie)) {
            assert_eq!((seen.rcode, seen.questions), (rcode, 0));
            assert_eq!(option(&seen, COOKIE).map(|it| it.len()), Some(24));
        }
    }
}

/// Over TCP: [`crate::streams`].
#[test]
fn responses_are_not_answered() {
    let responder = Responder::with_records(&[]);
    let client = responder.client();
    let mut response = plain(SHOP, A);
    response[2] |= 0x80;
    for octets in [&response[..], &response[..11], b""] {
        client.send(octets).expect("it goes");
    }
    client.send(&plain(SHOP, A)).expect("it goes");
    let mut got = [0; 512];
    // The first that comes is the answer to the last.
    let length = client.recv(&mut got).expect("it is answered");
    assert_eq!(read(got[..length].to_vec()).answer.len(), 2);
    let dropped = &responder.status()["counters"]["dropped"];
    assert_eq!(
        (&dropped["response"], &dropped["no_header"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn octets_behind() {
    let responder = Responder::with_records(&[]);
    let query = [&plain(SHOP, A)[..], b"more"].concat();
    assert_eq!(amounts(&responder, &query), [(NOERROR, true, 1, 2); 2]);
}

#[test]
fn pointer_in_the_question() {
    let responder = Responder::with_records(&[]);
    let query = [&header([1, 0, 0, 0])[..], b"\x03www\xc0\x0c\0\x01\0\x01"].concat();
    assert_eq!(amounts(&responder, &query), [(FORMERR, false, 0, 0); 2]);
}

#[test]
fn opcodes_transfers_and_other_zones() {
    let responder = Responder::with_records(&[]);
    // NOTIFY and UPDATE among them (4, 5).
    for opcode in 1..16 {
        let mut query = plain(SHOP, SOA);
        query[2] |= opcode << 3;
        assert_eq!(amounts(&responder, &query), [(NOTIMP, false, 1, 0); 2]);
    }
    for rtype in [251, 252] {
        assert_eq!(
            amounts(&responder, &plain(ZONE, rtype)),
            [(NOTIMP, false, 1, 0); 2]
        );
    }
    let outside = plain("elsewhere.example", A);
    assert_eq!(amounts(&responder, &outside), [(REFUSED, false, 1, 0); 2]);
}

#[test]
fn classes_and_types() {
    let responder = Responder::with_records(&[]);
    for (rtype, class, rcode) in [
        (A, 2, REFUSED),
        (A, 4, REFUSED),
        (A, 254, REFUSED),
        (A, 255, REFUSED),
        (0, 1, FORMERR),
        (41, 1, FORMERR),
        (250, 1, FORMERR),
        (249, 1, NOTIMP),
        (253, 1, NOTIMP),
        (254, 1, NOTIMP),
    ] {
        let query = [header([1, 0, 0, 0]), question(SHOP, rtype, class)].concat();
        assert_eq!(
            amounts(&responder, &query),
            [(rcode, false, 1, 0); 2],
            "{rtype} {class}"
        );
    }
}

#[test]
fn ds_at_a_delegation() {
    let responder = Responder::with_records(&[("sub", "NS", "ns.elsewhere.example.")]);
    for seen in both(&responder, &plain("sub.lb.example.net", DS)) {
        assert_eq!((seen.rcode, seen.aa, seen.answer.len()), (NOERROR, true, 0));
        assert!(seen.authority[0].contains(" SOA "));
    }
}

#[test]
fn cname_within_the_zone() {
    let responder =
        Responder::with_records(&[("one", "CNAME", "two"), ("two", "CNAME", "shop.acme")]);
    let one = "one.lb.example.net";
    for seen in both(&responder, &plain(one, A)) {
        assert_eq!((seen.rcode, seen.answer.len()), (NOERROR, 4));
    }
    for seen in both(&responder, &with_options(one, A, &[(SUBNET, V4_24)])) {
        assert_eq!(seen.answer, [format!("{one} 40 CNAME two.{ZONE}.")]);
    }
    assert_eq!(
        amounts(&responder, &plain(one, CNAME)),
        [(NOERROR, true, 1, 1); 2]
    );
}

#[test]
fn any_octet_in_a_label() {
    let responder = Responder::with_records(&[("*", "TXT", "\"any\"")]);
    let octets = [&b"\x05\0\xff.\x2a "[..], &name(ZONE)].concat();
    let query = [&header([1, 0, 0, 0])[..], &octets, b"\0\x10\0\x01"].concat();
    assert_eq!(amounts(&responder, &query), [(NOERROR, true, 1, 1); 2]);
}

#[test]
fn case() {
    let responder = Responder::with_records(&[]);
    let query = plain("ShOp.AcMe.lb.EXAMPLE.net", A);
    for seen in both(&responder, &query) {
        assert_eq!(seen.octets[12..query.len()], query[12..]);
        assert_eq!(seen.answer.len(), 2);
    }
}

#[test]
fn negatives() {
    let responder = Responder::with_records(&[("a.b", "TXT", "\"x\"")]);
    for (name, rtype, rcode) in [
        ("missing.lb.example.net", A, NXDOMAIN),
        (SHOP, TXT, NOERROR),
        // Empty non-terminals.
        ("b.lb.example.net", TXT, NOERROR),
        ("acme.lb.example.net", A, NOERROR),
    ] {
        for seen in both(&responder, &plain(name, rtype)) {
            assert_eq!((seen.rcode, seen.aa, seen.answer.len()), (rcode, true, 0));
            let soa = &seen.authority[0];
            // The TTL is that of the negative answer, as MINIMUM is.
            assert!(
                soa.starts_with("lb.example.net 20 SOA ") && soa.ends_with(" 20"),
                "{soa}"
            );
        }
    }
}

#[test]
fn any() {
    let responder = Responder::with_records(&[("t", "TXT", "\"x\""), ("t", "A", "192.0.2.7")]);
    for seen in both(&responder, &plain("t.lb.example.net", ANY)) {
        assert_eq!(seen.answer.len(), 1);
    }
    for seen in both(&responder, &plain(SHOP, ANY)) {
        assert!(seen.answer[0].contains("HINFO"), "{:?}", seen.answer);
    }
}

#[test]
fn glue() {
    let addresses: Vec<String> = (0..30).map(|it| format!("192.0.2.{it}")).collect();
    let mut records = vec![
        ("sub", "NS", "ns.sub"),
        ("other", "NS", "ns.other"),
        ("ns.other", "A", "192.0.2.53"),
    ];
    records.extend(addresses.iter().map(|it| ("ns.sub", "A", &**it)));
    let responder = Responder::with_records(&records);
    for seen in both(&responder, &plain("x.other.lb.example.net", A)) {
        assert_eq!(
            (seen.rcode, seen.aa, seen.authority.len()),
            (NOERROR, false, 1)
        );
        assert_eq!(seen.additional, ["ns.other.lb.example.net 40 A 192.0.2.53"]);
    }
    let [udp, tcp] = both(&responder, &plain("x.sub.lb.example.net", A));
    assert!(udp.tc && udp.additional.is_empty());
    assert_eq!((tcp.tc, tcp.additional.len()), (false, 30));
}

/// The rest of that line: [`crate::streams`].
#[test]
fn tcp_keepalive_option() {
    let responder = Responder::with_records(&[]);
    let [udp, tcp] = both(&responder, &with_options(SHOP, A, &[(KEEPALIVE, b"")]));
    assert_eq!(option(&udp, KEEPALIVE), None);
    assert_eq!(option(&tcp, KEEPALIVE), Some(vec![0, 100]));
}

#[test]
fn cookies() {
    let responder = Responder::with_records(&[]);
    for seen in both(&responder, &with_options(SHOP, A, &[(COOKIE, b"01234567")])) {
        let cookie = option(&seen, COOKIE).expect("it is given");
        assert_eq!((cookie.len(), &cookie[..8]), (24, &b"01234567"[..]));
        // Version 1, and three octets that are reserved (RFC 9018 §4).
        assert_eq!(cookie[8..12], [1, 0, 0, 0]);
        assert_eq!(seen.answer.len(), 2);
    }
    for length in [0, 1, 7, 9, 15, 41] {
        let query = with_options(SHOP, A, &[(COOKIE, &vec![7; length])]);
        assert_eq!(
            amounts(&responder, &query),
            [(FORMERR, false, 1, 0); 2],
            "{length}"
        );
    }
}

/// The rate, slip, exempt networks and cookies: [`crate::datagrams`].
#[test]
fn answers_are_not_much_larger_than_queries() {
    let text = format!("\"{}\"", "x".repeat(250));
    let long: Vec<_> = (0..4).map(|_| ()).map(|()| text.clone()).collect();
    let data = long.join(" ");
    let responder = Responder::with_records(&[("t", "TXT", &data)]);
    let [udp, tcp] = both(&responder, &with_options("t.lb.example.net", TXT, &[]));
    assert!(udp.tc && udp.octets.len() <= 512, "no cookie came along");
    assert_eq!((tcp.tc, tcp.answer.len()), (false, 1));
}

#[test]
fn names_of_the_host() {
    let responder = Responder::with_records(&[]);
    for (name, rcode, count) in [
        ("id.server", NOERROR, 1),
        ("hostname.bind", NOERROR, 1),
        ("version.bind", REFUSED, 0),
        ("authors.bind", REFUSED, 0),
    ] {
        let query = [header([1, 0, 0, 0]), question(name, TXT, 3)].concat();
        for seen in both(&responder, &query) {
            assert_eq!((seen.rcode, seen.answer.len()), (rcode, count), "{name}");
            assert!(seen.answer.iter().all(|it| it.contains("ams-1")));
        }
    }
    for seen in both(&responder, &with_options(SHOP, A, &[(NSID, b"")])) {
        assert_eq!(option(&seen, NSID).as_deref(), Some(&b"ams-1"[..]));
    }
}

/// That it is halved while a host of the group is down: `answers`.
#[test]
fn ttl() {
    let responder = Responder::with_records(&[]);
    for seen in both(&responder, &plain(SHOP, A)) {
        assert!(
            seen.answer.iter().all(|it| it.contains(" 40 A ")),
            "{:?}",
            seen.answer
        );
    }
}
