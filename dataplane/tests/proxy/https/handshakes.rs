//! Handshakes that come in pieces, late, wrong or too many at a time: each is made or told of, and leaves nothing.

use super::{GET, Scene, any};
use crate::support::eventually;
use crate::support::peer::{End, PATIENCE, Peer, pattern, status};
use crate::support::secure::SecurePeer;
use meridian_model::limits::TLS_HANDSHAKES_PER_CLIENT_MAX;
use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A message of a client that begins a handshake, as bytes, with who goes on with it.
fn begun(scene: &Scene, name: &str) -> (SecurePeer, Vec<u8>) {
    let mut client = scene.connect(name, &any());
    let mut hello = Vec::new();
    let written = client.connection.write_tls(&mut hello);
    written.expect("a Vec takes everything");
    (client, hello)
}

fn goes_on(mut client: SecurePeer, what: &str) {
    let shaken = client.shake_hands();
    assert!(shaken.is_ok(), "{what}: {shaken:?}");
    client.send(GET);
    assert_eq!(status(&client.receive_response().0), 200, "{what}");
    client.notify();
}

#[test]
fn a_hello_may_come_in_any_two_parts() {
    let scene = Scene::new();
    let (_, hello) = begun(&scene, "shop.test");
    // Each is some bytes longer or shorter than the others.
    for at in 1..hello.len() + 8 {
        let (mut client, hello) = begun(&scene, "shop.test");
        let (first, second) = hello.split_at(at.min(hello.len() - 1));
        client.stream.write_all(first).expect("the plane takes it");
        if at % 16 == 0 {
            sleep(Duration::from_millis(2));
        }
        client.stream.write_all(second).expect("the plane takes it");
        goes_on(client, &format!("at {at}"));
    }
    assert_eq!(scene.plane.hits("tls_handshake_refused"), 0);
    scene.plane.finish();
}

#[test]
fn a_hello_may_come_in_single_bytes_and_in_short_records() {
    let scene = Scene::new();
    let (mut client, hello) = begun(&scene, "shop.test");
    for byte in &hello {
        client
            .stream
            .write_all(&[*byte])
            .expect("the plane takes it");
        sleep(Duration::from_micros(200));
    }
    goes_on(client, "bytes");
    for length in [1, 7, 100] {
        let (mut client, hello) = begun(&scene, "shop.test");
        for part in hello[5..].chunks(length) {
            let record = [&[22, 3, 1, 0, part.len() as u8], part].concat();
            client
                .stream
                .write_all(&record)
                .expect("the plane takes it");
        }
        goes_on(client, &format!("records of {length}"));
    }
    scene.plane.finish();
}

/// A hello with another length, so that it never ends.
fn endless(hello: &[u8], bytes: usize) -> Vec<u8> {
    let mut message = vec![1, 0, 0xff, 0xff];
    message.extend_from_slice(&hello[9..]);
    message.resize(bytes, 0);
    let records = message.chunks(16 * 1024).flat_map(|part| {
        let length = (part.len() as u16).to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    });
    records.collect()
}

#[test]
fn what_is_no_handshake_is_told_so_and_leaves_nothing() {
    let scene = Scene::new();
    let (client, hello) = begun(&scene, "shop.test");
    drop(client);
    let changed = |at: usize, byte: u8| {
        let mut changed = hello.clone();
        changed[at] = byte;
        changed
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a request", GET.to_vec()),
        ("noise", pattern(3000)),
        (
            "SSL 2",
            b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10".repeat(8),
        ),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40]),
        ("data", vec![23, 3, 3, 0, 4, 1, 2, 3, 4]),
        (
            "a change of ciphers",
            vec![20, 3, 3, 0, 1, 1, 20, 3, 3, 0, 1, 1],
        ),
        (
            "the last message first",
            [&[22, 3, 3, 0, 16, 20, 0, 0, 12][..], &[7; 12]].concat(),
        ),
        ("no message at all", vec![22, 3, 1, 0, 0]),
        (
            "a record too long",
            [&[22, 3, 1, 0xff, 0xff][..], &[0; 100]].concat(),
        ),
        ("another kind of message", changed(5, 2)),
        ("a version that there is not", changed(1, 9)),
        (
            "a message shorter than it says it is",
            changed(8, hello[8].wrapping_sub(9)),
        ),
        ("a session id too long", changed(43, 200)),
        ("a hello without an end", endless(&hello, 40_000)),
        ("a hello twice", [&hello[..], &hello].concat()),
    ];
    for (what, bytes) in &cases {
        let mut peer = Peer::connect(scene.address());
        // It may be refused before it has all of it.
        let _ = peer.stream.write_all(bytes);
        let (answer, end) = peer.receive_all(PATIENCE);
        assert_ne!(end, End::Open, "{what}");
        let is_alert = match *what {
            // That comes behind our first messages, and has keys already.
            "a hello twice" => answer.first() == Some(&22),
            _ => answer.first() == Some(&21) && answer.get(5) == Some(&2),
        };
        let says_nothing = answer.is_empty() && *what == "an alert";
        assert!(is_alert || says_nothing, "{what}: {answer:?}, {end:?}");
    }
    let refused = cases.len() as u64;
    let all_counted = || scene.plane.hits("tls_handshake_refused") == refused;
    assert!(eventually(20, all_counted), "{}", scene.plane.status());
    goes_on(scene.client("shop.test"), "and then");
    scene.plane.finish();
}

#[test]
fn who_goes_away_in_the_middle_leaves_nothing() {
    let scene = Scene::new();
    let (client, hello) = begun(&scene, "shop.test");
    drop(client);
    for at in (1..hello.len()).step_by(20) {
        let mut peer = Peer::connect(scene.address());
        peer.send(&hello[..at]);
        match at % 3 {
            0 => peer.reset(),
            1 => drop(peer),
            _ => {
                peer.end();
                assert_eq!(peer.receive_all(PATIENCE), (vec![], End::Closed));
            }
        }
    }
    // After the plane has answered.
    for resets in [true, false] {
        let (mut client, hello) = begun(&scene, "shop.test");
        client.stream.write_all(&hello).expect("the plane takes it");
        let mut room = [0; 64];
        let read = client.stream.read(&mut room);
        assert!(read.is_ok_and(|read| read > 0));
        if resets {
            Peer::new(client.stream).reset();
        }
    }
    let gone = |count: u64| scene.plane.hits("tls_handshake_aborted") >= count;
    assert!(eventually(20, || gone(hello.len() as u64 / 20)));
    assert_eq!(scene.plane.hits("tls_handshake_refused"), 0);
    scene.plane.finish();
}

#[test]
fn a_slow_handshake_is_cut() {
    let scene = Scene::with(|declared, _| {
        declared.timeouts = "{ handshake = \"400ms\", upstream_idle = \"1s\" }".into()
    });
    let begun_at = Instant::now();
    let silent = Peer::connect(scene.address());
    let (mut stuck, hello) = begun(&scene, "shop.test");
    stuck
        .stream
        .write_all(&hello[..100])
        .expect("the plane takes it");
    let (mut half, hello) = begun(&scene, "shop.test");
    half.stream.write_all(&hello).expect("the plane takes it");
    let mut trickling = Peer::connect(scene.address());
    let mut seen = End::Open;
    for byte in &hello {
        if trickling.stream.write_all(&[*byte]).is_err() {
            seen = End::Reset;
            break;
        }
        sleep(Duration::from_millis(20));
    }
    assert!(seen == End::Reset || begun_at.elapsed() > Duration::from_secs(2));
    for peer in [
        silent,
        Peer::new(stuck.stream),
        Peer::new(half.stream),
        trickling,
    ] {
        let mut peer = peer;
        assert_ne!(peer.receive_all(PATIENCE).1, End::Open);
    }
    // Who said nothing was idle.
    assert_eq!(scene.plane.hits("tls_handshake_timeout"), 3);
    goes_on(scene.client("shop.test"), "and then");
    scene.plane.finish();
}

#[test]
fn one_client_has_so_many_handshakes_at_a_time() {
    let scene = Scene::new();
    let (client, hello) = begun(&scene, "shop.test");
    drop(client);
    let mut under_way = Vec::new();
    for _ in 0..TLS_HANDSHAKES_PER_CLIENT_MAX + 5 {
        let mut peer = Peer::connect(scene.address());
        peer.send(&hello[..50]);
        under_way.push(peer);
    }
    let counted = || scene.plane.hits("tls_handshakes_over_limit") == 5;
    assert!(eventually(20, counted), "{}", scene.plane.status());
    under_way.clear();
    let makes_one = || scene.connect("shop.test", &any()).shake_hands().is_ok();
    assert!(eventually(20, makes_one));
    scene.plane.finish();
}

#[test]
fn who_has_a_connection_goes_on_while_one_client_has_all_the_handshakes_it_may() {
    let scene = Scene::new();
    let mut clients: Vec<_> = (0..8).map(|_| scene.client("shop.test")).collect();
    let mut under_way = Vec::new();
    let over = || scene.plane.hits("tls_handshakes_over_limit") > 0;
    let (client, hello) = begun(&scene, "shop.test");
    drop(client);
    while !over() {
        for _ in 0..64 {
            let mut peer = Peer::connect(scene.address());
            peer.send(&hello[..50]);
            under_way.push(peer);
        }
        for client in &mut clients {
            client.send(GET);
            assert_eq!(status(&client.receive_response().0), 200);
        }
    }
    // It is one client's limit, and he has more connections than that.
    let another = scene.connect("shop.test", &any()).shake_hands();
    assert!(another.is_err());
    for client in &mut clients {
        client.send(GET);
        assert_eq!(status(&client.receive_response().0), 200);
        client.notify();
    }
    drop((under_way, clients));
    scene.plane.finish();
}
