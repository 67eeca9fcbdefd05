//! Messages that no client may send: hellos made by hand, each wrong in one thing, and messages at the
//! wrong time. Each gets the alert that the RFCs have for it, is counted, and leaves nothing.

use super::Scene;
use super::hello::{
    EARLY_DATA, GROUPS, Hello, KEY_SHARE, PRE_SHARED_KEY, PSK_MODES, SERVER_NAME, SIGNATURES,
    VERSIONS, counted, handshake, key_share, record, server_name, words,
};
use crate::support::eventually;
use crate::support::peer::{End, PATIENCE, Peer};
use std::io::Write;

/// Alerts (RFC 8446 §6, RFC 6066 §3).
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const MISSING_EXTENSION: u8 = 109;
const UNRECOGNIZED_NAME: u8 = 112;

/// Kind and content of each record.
fn records(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        records.push((*kind, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    records
}

/// What the plane says at the end to who sent `first`, and `then` once there was an answer.
fn told(scene: &Scene, first: &[u8], then: Option<&[u8]>) -> (Option<(u8, Vec<u8>)>, End) {
    let mut peer = Peer::connect(scene.address());
    // It may be refused before it has all of it.
    let _ = peer.stream.write_all(first);
    let mut answer = Vec::new();
    if let Some(then) = then {
        answer = peer.receive(1, PATIENCE);
        let _ = peer.stream.write_all(then);
    }
    let (rest, end) = peer.receive_all(PATIENCE);
    answer.extend(rest);
    (records(&answer).pop(), end)
}

/// Each with its alert. Where a 1.3 client leaves out what it has to send, missing_extension would be
/// due (RFC 8446 §9.2), and a message that is badly made may have either of decode_error and
/// illegal_parameter; what rustls says is as fatal.
fn wrong_hellos() -> Vec<(&'static str, Vec<u8>, u8)> {
    let good = Hello::good;
    let ticket = || {
        let identity = [counted(2, &[3; 60]), vec![0; 4]].concat();
        let binders = counted(1, &[4; 32]);
        [counted(2, &identity), counted(2, &binders)].concat()
    };
    let modes = || counted(1, &[1]);
    let cases = [
        (
            "SSL 3",
            Hello {
                version: 0x0300,
                ..Hello::older()
            },
            PROTOCOL_VERSION,
        ),
        (
            "TLS 1.0",
            Hello {
                version: 0x0301,
                ..Hello::older()
            },
            PROTOCOL_VERSION,
        ),
        (
            "TLS 1.1",
            Hello {
                version: 0x0302,
                ..Hello::older()
            },
            PROTOCOL_VERSION,
        ),
        (
            "TLS 1.1, newly said",
            good().with(VERSIONS, counted(1, &words(&[0x0302]))),
            PROTOCOL_VERSION,
        ),
        (
            "versions that there are not",
            good().with(VERSIONS, counted(1, &words(&[0x0a0a, 0x0305]))),
            PROTOCOL_VERSION,
        ),
        (
            "no versions in their list",
            good().with(VERSIONS, vec![0]),
            DECODE_ERROR,
        ),
        (
            "ciphers of others",
            good().changed(|it| it.suites = vec![0x0005, 0x000a, 0x002f]),
            HANDSHAKE_FAILURE,
        ),
        (
            "no ciphers",
            good().changed(|it| it.suites = vec![]),
            DECODE_ERROR,
        ),
        (
            "signatures with SHA-1",
            Hello::older().with(SIGNATURES, counted(2, &words(&[0x0203]))),
            HANDSHAKE_FAILURE,
        ),
        (
            "no kinds of signatures",
            good().without(SIGNATURES),
            HANDSHAKE_FAILURE,
        ),
        (
            "groups of others",
            good()
                .with(GROUPS, counted(2, &words(&[30])))
                .with(KEY_SHARE, key_share(30, &[9; 56])),
            HANDSHAKE_FAILURE,
        ),
        ("no groups", good().without(GROUPS), HANDSHAKE_FAILURE),
        ("no share", good().without(KEY_SHARE), HANDSHAKE_FAILURE),
        (
            "compression",
            good().changed(|it| it.compressions = vec![1]),
            ILLEGAL_PARAMETER,
        ),
        (
            "no compression at all",
            good().changed(|it| it.compressions = vec![]),
            DECODE_ERROR,
        ),
        (
            "a share too short",
            good().with(KEY_SHARE, key_share(29, &[9; 31])),
            ILLEGAL_PARAMETER,
        ),
        (
            "a share of low order",
            good().with(KEY_SHARE, key_share(29, &[0; 32])),
            ILLEGAL_PARAMETER,
        ),
        (
            "a share that is no point",
            good()
                .with(GROUPS, counted(2, &words(&[23])))
                .with(KEY_SHARE, key_share(23, &[4; 65])),
            ILLEGAL_PARAMETER,
        ),
        (
            "an extension twice",
            good().and(GROUPS, counted(2, &words(&[29]))),
            DECODE_ERROR,
        ),
        (
            "a name without letters",
            good().with(SERVER_NAME, server_name(b"")),
            DECODE_ERROR,
        ),
        (
            "a name that is none",
            good().with(SERVER_NAME, server_name(b"shop.test\0")),
            ILLEGAL_PARAMETER,
        ),
        (
            "a name that is too long",
            good().with(SERVER_NAME, server_name(&[b'a'; 300])),
            ILLEGAL_PARAMETER,
        ),
        (
            "two names",
            good().with(
                SERVER_NAME,
                counted(
                    2,
                    &[
                        &server_name(b"shop.test")[2..],
                        &server_name(b"other.test")[2..],
                    ]
                    .concat(),
                ),
            ),
            DECODE_ERROR,
        ),
        ("no name", good().without(SERVER_NAME), UNRECOGNIZED_NAME),
        (
            "a ticket in front",
            good()
                .changed(|it| it.extensions.insert(0, (PRE_SHARED_KEY, ticket())))
                .and(PSK_MODES, modes()),
            DECODE_ERROR,
        ),
        (
            "a ticket without a mode",
            good().and(PRE_SHARED_KEY, ticket()),
            MISSING_EXTENSION,
        ),
    ];
    let mut cases: Vec<_> = (cases.into_iter())
        .map(|(what, hello, alert)| (what, hello.record(), alert))
        .collect();
    let behind = [&good().body()[..], &[0; 3]].concat();
    cases.push((
        "something behind its end",
        handshake(1, &behind),
        DECODE_ERROR,
    ));
    let body = good().body();
    let cut = handshake(1, &body[..body.len() - 5]);
    cases.push(("extensions that are cut", cut, DECODE_ERROR));
    cases
}

#[test]
fn a_hello_that_is_wrong_gets_its_alert() {
    let scene = Scene::new();
    // What they are made of is no fault of theirs.
    for hello in [Hello::good(), Hello::older()] {
        let mut peer = Peer::connect(scene.address());
        peer.send(&hello.record());
        assert_eq!(peer.receive(1, PATIENCE), [22]);
    }
    let mut wrong = Vec::new();
    let cases = wrong_hellos();
    for (what, bytes, alert) in &cases {
        let seen = told(&scene, bytes, None);
        let wanted = (Some((21, vec![2, *alert])), End::Closed);
        if seen != wanted {
            wrong.push(format!("{what}: {seen:?} and not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let nameless = 1;
    let refused = cases.len() as u64 - nameless;
    let counted = || {
        scene.plane.hits("tls_handshake_refused") == refused
            && scene.plane.hits("tls_unknown_name") == nameless
    };
    assert!(eventually(20, counted), "{}", scene.plane.status());
    assert_eq!(scene.plane.workers("tls_handshakes"), 0);
    scene.client("shop.test").notify();
    scene.plane.finish();
}

/// What may not follow the plane's first messages, with what is said to it where that is in the clear.
fn wrong_answers() -> Vec<(&'static str, Vec<u8>, Option<u8>)> {
    // X25519 with a point of the client's.
    let key = handshake(16, &counted(1, &[9; 32]));
    let change = record(20, &[1]);
    let noise = record(22, &[8; 40]);
    vec![
        (
            "the last message, in the clear",
            handshake(20, &[7; 12]),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "data in the clear",
            record(23, b"GET / HTTP/1.1\r\n\r\n"),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "another hello",
            Hello::older().record(),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "a message of a server's",
            handshake(14, &[]),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "a proof before the key",
            handshake(15, &[4, 3, 0, 0]),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "a request for a hello",
            handshake(0, &[]),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "a key that is empty",
            handshake(16, &[]),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "a key that is too short",
            handshake(16, &counted(1, &[9; 3])),
            Some(ILLEGAL_PARAMETER),
        ),
        (
            "the key twice",
            [&key[..], &key].concat(),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "the last message with no change of ciphers",
            [&key[..], &handshake(20, &[7; 12])].concat(),
            Some(UNEXPECTED_MESSAGE),
        ),
        (
            "a change of ciphers that is none",
            [&key[..], &record(20, &[2])].concat(),
            Some(DECODE_ERROR),
        ),
        (
            "noise behind the change of ciphers",
            [&key[..], &change, &noise].concat(),
            Some(BAD_RECORD_MAC),
        ),
        (
            "a kind of record that there is not",
            record(99, &[1, 2, 3]),
            Some(DECODE_ERROR),
        ),
    ]
}

#[test]
fn messages_at_the_wrong_time_get_an_alert_by_the_older_version() {
    let scene = Scene::new();
    let mut wrong = Vec::new();
    let cases = wrong_answers();
    for (what, bytes, alert) in &cases {
        let seen = told(&scene, &Hello::older().record(), Some(bytes));
        let wanted = (alert.map(|alert| (21, vec![2, alert])), End::Closed);
        if seen != wanted {
            wrong.push(format!("{what}: {seen:?} and not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = cases.len() as u64;
    let counted = || scene.plane.hits("tls_handshake_refused") == refused;
    assert!(eventually(20, counted), "{}", scene.plane.status());
    scene.client("shop.test").notify();
    scene.plane.finish();
}

#[test]
fn messages_at_the_wrong_time_get_an_alert_by_the_newer_version() {
    let scene = Scene::new();
    let change = record(20, &[1]);
    let cases = [
        ("the last message, in the clear", handshake(20, &[7; 32])),
        ("a proof in the clear", handshake(15, &[4, 3, 0, 0])),
        (
            "a key of the older version",
            handshake(16, &counted(1, &[9; 32])),
        ),
        ("another hello", Hello::good().record()),
        ("new keys in the clear", handshake(24, &[0])),
        ("the end of early data", handshake(5, &[])),
        ("noise", record(23, &[8; 40])),
        (
            "noise behind a change of ciphers",
            [&change[..], &record(23, &[8; 40])].concat(),
        ),
        ("nothing, sealed", record(23, &[])),
        ("a change of ciphers that is none", record(20, &[2])),
    ];
    for (what, bytes) in &cases {
        let (last, end) = told(&scene, &Hello::good().record(), Some(bytes));
        // By then what is said is sealed, but it is short.
        let (kind, content) = last.unwrap_or_else(|| panic!("{what}: nothing was said"));
        assert!(
            kind == 21 || (kind == 23 && content.len() == 19),
            "{what}: {kind} {content:?}"
        );
        assert_ne!(end, End::Open, "{what}");
    }
    let refused = cases.len() as u64;
    let counted = || scene.plane.hits("tls_handshake_refused") == refused;
    assert!(eventually(20, counted), "{}", scene.plane.status());
    scene.client("shop.test").notify();
    scene.plane.finish();
}

#[test]
fn nothing_is_taken_before_the_handshake_is_made_and_none_is_made_anew() {
    let scene = Scene::with(|declared, _| {
        declared.timeouts = "{ handshake = \"2s\", upstream_idle = \"1s\" }".into();
    });
    // What is sent early is thrown away or refused, and is no request.
    let hello = Hello::good().and(EARLY_DATA, vec![]).record();
    let early = record(23, &[8; 100]);
    let (_, end) = told(&scene, &[&hello[..], &early, &early].concat(), None);
    assert_ne!(end, End::Open);
    assert_eq!(scene.plane.workers("tls_handshakes"), 0);
    // R alone on a line asks for another handshake, which has no place in the newer version.
    let anew = super::s_client_says(&scene, &["-tls1_2"], "R\n");
    assert!(anew.contains("no renegotiation"), "{anew}");
    assert!(anew.contains("Secure Renegotiation IS supported"), "{anew}");
    assert!(eventually(20, || scene.plane.workers("tls_handshakes") == 1));
    scene.plane.finish();
}

/// So many are no more than so many bytes each would be, were anything kept of them.
const FLOOD: usize = 3000;

#[test]
fn wrong_handshakes_take_no_memory_that_stays() {
    let scene = Scene::new();
    let hellos: Vec<Vec<u8>> = wrong_hellos().into_iter().map(|(_, it, _)| it).collect();
    let answers: Vec<Vec<u8>> = wrong_answers().into_iter().map(|(_, it, _)| it).collect();
    let flood = |count: usize| {
        for number in 0..count {
            let mut peer = Peer::connect(scene.address());
            if number % 2 == 0 {
                let _ = peer.stream.write_all(&hellos[number / 2 % hellos.len()]);
            } else {
                let _ = peer.stream.write_all(&Hello::older().record());
                peer.receive(1, PATIENCE);
                let _ = peer.stream.write_all(&answers[number / 2 % answers.len()]);
            }
            assert_ne!(peer.receive_all(PATIENCE).1, End::Open);
        }
    };
    flood(FLOOD / 3);
    let before = scene.plane.resident_bytes();
    flood(FLOOD);
    let grown = scene.plane.resident_bytes().saturating_sub(before);
    // A connection that stays has some KiB.
    assert!(grown < FLOOD as u64 * 512, "{grown} bytes");
    scene.plane.finish();
}
