//! How a plane ends, and how another one goes on in its place.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, PATIENCE, Peer, answer_each, aside, field, ok};
use crate::support::plane::Plane;
use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

#[test]
fn a_drain_ends_what_is_under_way_and_closes_the_rest() {
    let backend = Backend::new();
    let mut plane = Plane::start(&Declared::with_backends([backend.address]));
    let address = plane.address();
    let mut idle = Peer::connect(address);
    idle.send(GET);
    let mut server = backend.accept();
    server.receive_head();
    server.send(&ok(b"1"));
    idle.receive_response();
    let mut silent = Peer::connect(address);
    let mut busy = Peer::connect(address);
    busy.send(GET);
    server.receive_head();
    let mut half = Peer::connect(address);
    half.send(b"GET / HTTP/1.1\r\nHost: sh");
    assert!(eventually(5, || plane.workers("connections") == 4
        && plane.workers("idle_connections") == 2));

    plane.signal("TERM");
    assert_eq!(idle.receive_all(PATIENCE), (vec![], End::Closed));
    assert_eq!(silent.receive_all(PATIENCE), (vec![], End::Closed));
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody accepts any more"
    );
    assert_eq!(plane.status()["draining"], true);
    // What has begun is served to its end, and told that it was the last.
    half.send(b"op.test\r\n\r\n");
    let mut second = backend.accept();
    second.receive_head();
    second.send(&ok(b"half"));
    let (head, body) = half.receive_response();
    assert_eq!(body, b"half");
    assert_eq!(field(&head, "Connection"), Some("close"));
    server.send(&ok(b"busy"));
    let (head, body) = busy.receive_response();
    assert_eq!(body, b"busy");
    assert_eq!(field(&head, "Connection"), Some("close"));
    drop((half, busy));
    assert_eq!(plane.wait(5).code(), Some(0));
}

#[test]
fn a_worker_that_has_drained_keeps_nobody_waiting() {
    let backend = Backend::new();
    let declared = Declared {
        workers: 2,
        ..Declared::with_backends([backend.address])
    };
    let mut plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    let mut server = backend.accept();
    server.receive_head();
    plane.signal("TERM");
    // The other worker has nothing to do any more and ends at once.
    assert!(eventually(5, || plane.status()["draining"] == true));
    let begun = Instant::now();
    assert_eq!(plane.status()["draining"], true);
    assert!(begun.elapsed() < Duration::from_millis(1500));
    server.send(&ok(b"last"));
    assert_eq!(client.receive_response().1, b"last");
    drop(client);
    assert_eq!(plane.wait(5).code(), Some(0));
}

#[test]
fn a_response_that_a_stop_cuts_off_does_not_look_complete() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]).timeouts("{ drain = \"200ms\" }");
    let mut plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    // For HTTP/1.0 a body without a length ends with the connection.
    client.send(b"GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n");
    let mut server = backend.accept();
    server.receive_head();
    server.send(b"HTTP/1.1 200 OK\r\n\r\nhalf");
    client.receive_head();
    plane.signal("TERM");
    assert_eq!(plane.wait(5).code(), Some(0));
    assert_eq!(client.receive_all(PATIENCE).1, End::Reset);
}

#[test]
fn a_drain_has_an_end() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]).timeouts("{ drain = \"400ms\" }");
    let mut plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    let mut server = backend.accept();
    server.receive_head();
    plane.signal("TERM");
    let begun = Instant::now();
    assert_eq!(plane.wait(5).code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(350));
    assert_ne!(client.receive_all(PATIENCE).1, End::Open);
}

#[test]
fn a_second_signal_stops_now() {
    let backend = Backend::new();
    let mut plane = Plane::start(&Declared::with_backends([backend.address]));
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    let mut server = backend.accept();
    server.receive_head();
    plane.signal("TERM");
    assert!(eventually(5, || plane.status()["draining"] == true));
    plane.signal("INT");
    plane.wait(2);
    assert_ne!(client.receive_all(PATIENCE).1, End::Open);
}

#[test]
fn a_second_plane_on_the_same_state_is_refused() {
    let plane = Plane::start(&Declared::default());
    let output = plane.start_another();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains(&plane.pid().to_string()), "{words}");
    plane.finish();
}

/// kill -9 under load, with listeners that outlive the process: clients that connect meanwhile
/// wait and are served within a second of the new one's start; none is refused.
#[test]
fn clients_wait_in_the_backlog_while_a_killed_plane_is_replaced() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")));
    let mut plane = Plane::start_with_listener_of_ours(&Declared::with_backends([backend]));
    let address = plane.address();
    let mut client = Peer::connect(address);
    client.send(GET);
    assert_eq!(client.receive_response().1, b"ok");
    plane.signal("KILL");
    assert_eq!(plane.wait(5).code(), None);
    assert_ne!(client.receive_all(PATIENCE).1, End::Open);
    let (asks, asked) = mpsc::channel();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let asks = asks.clone();
            aside(move || {
                let mut client = Peer::connect(address);
                client.send(GET);
                asks.send(()).expect("it is waited for");
                assert_eq!(client.receive_response().1, b"ok");
            })
        })
        .collect();
    for _ in &waiting {
        asked.recv_timeout(PATIENCE).expect("nobody is refused");
    }
    let begun = Instant::now();
    plane.spawn();
    for client in waiting {
        client.join().expect("all are served");
    }
    let taken = begun.elapsed();
    eprintln!("the last was served {taken:?} after the start");
    assert!(taken < Duration::from_secs(1), "it took {taken:?}");
    assert!(eventually(5, || plane.site("requests") == 100));
    assert!(eventually(5, || plane.workers("connections") == 0));
}

/// The listener outlives a plane that drains, and who connects meanwhile is its successor's.
#[test]
fn a_plane_that_drains_leaves_newcomers_to_its_successor() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]);
    let mut plane = Plane::start_with_listener_of_ours(&declared);
    let address = plane.address();
    let mut busy = Peer::connect(address);
    busy.send(GET);
    let mut server = backend.accept();
    server.receive_head();
    plane.signal("TERM");
    assert!(eventually(5, || plane.status()["draining"] == true));
    let mut newcomer = Peer::connect(address);
    newcomer.send(GET);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(plane.workers("connections"), 1);
    server.send(&ok(b"last"));
    assert_eq!(busy.receive_response().1, b"last");
    drop(busy);
    assert_eq!(plane.wait(5).code(), Some(0));
    plane.spawn();
    let mut server = backend.accept();
    server.receive_head();
    server.send(&ok(b"first"));
    assert_eq!(newcomer.receive_response().1, b"first");
    drop((newcomer, server));
    plane.finish();
}

#[test]
fn a_plane_without_configuration_says_what_is_missing() {
    let state = tempfile::tempdir().expect("there is room");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_meridian-dataplane"))
        .arg("--state")
        .arg(state.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut words = String::new();
    let mut stderr = child.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut words).expect("it is text");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert!(words.contains("config/local"), "{words}");
    assert!(words.contains("meridianctl up"), "{words}");
}

#[test]
fn a_connection_whose_proxy_names_it_within_a_drain_does_not_hold_it_up() {
    let declared = Declared {
        listen: "proxy_protocol_from = [\"127.0.0.0/8\"]".to_owned(),
        ..Declared::default()
    };
    let mut plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    client.send(b"PROXY TCP4 192.0.2.7 ");
    assert!(eventually(10, || {
        plane.workers("connections") == 1 && plane.workers("idle_connections") == 0
    }));
    plane.signal("TERM");
    assert!(eventually(10, || plane.status()["draining"] == true));
    client.send(b"192.0.2.1 5000 80\r\n");
    // Of 30 s that a drain has.
    assert_eq!(plane.wait(20).code(), Some(0));
    assert_eq!(client.receive_all(PATIENCE), (vec![], End::Closed));
}
