//! Who waits for room at a backend stands in nobody's way but of those who wait for the same, and
//! changes of configuration lose no place and give none twice.

use super::balancing::ask_for;
use super::queueing::{Watched, body, hold, one_each, waiting};
use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Peer, field, ok, status};
use crate::support::plane::Plane;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const QUEUE: &str = "queue = { requests = 10, timeout = \"60s\" }";

fn asking(plane: &Plane, path: &str) -> Peer {
    let mut client = Peer::connect(plane.address());
    client.send(&ask_for(path));
    client
}

/// Ends when nothing is left of the backends.
fn done(mut plane: Plane) {
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

#[test]
fn a_backend_that_comes_back_still_has_the_requests_that_it_had() {
    let (one, two, other) = (
        Watched::default(),
        Watched::default(),
        Watched::default().serve("other"),
    );
    let backends = [one.serve("one"), two.serve("two")];
    let mut plane = Plane::start(&one_each(backends, QUEUE));
    let mut held = [
        asking(&plane, "/hold/first"),
        asking(&plane, "/hold/second"),
    ];
    let both_have = |plane: &Plane| {
        eventually(10, || {
            (0..2).all(|backend| plane.backend(backend, "in_flight") == 1)
        })
    };
    assert!(both_have(&plane));
    plane.reload(&one_each([other], QUEUE));
    plane.reload(&one_each(backends, QUEUE));
    assert!(both_have(&plane), "they are at work as before");
    let mut more = [
        asking(&plane, "/hold/third"),
        asking(&plane, "/hold/fourth"),
    ];
    assert!(waiting(&plane, 2));
    // Each takes one in when it has ended its own: one after the other, lest one take in both.
    for backend in [&one, &two] {
        backend.allow(1);
        assert!(eventually(10, || backend.held().len() == 2));
    }
    one.allow(1);
    two.allow(1);
    for client in held.iter_mut().chain(&mut more) {
        let _ = body(client);
    }
    assert_eq!((one.held().len(), two.held().len()), (2, 2));
    assert!(eventually(10, || {
        (0..2).all(|backend| plane.backend(backend, "in_flight") == 0)
    }));
    // Neither has lost its place, nor has it two.
    let mut again = [asking(&plane, "/hold/fifth"), asking(&plane, "/hold/sixth")];
    assert!(both_have(&plane));
    let mut last = asking(&plane, "/hold/last");
    assert!(waiting(&plane, 1));
    // The first to end takes in the last.
    one.allow(2);
    two.allow(2);
    for client in again.iter_mut().chain([&mut last]) {
        let _ = body(client);
    }
    drop((held, more, again, last));
    done(plane);
}

#[test]
fn who_may_not_have_the_idle_backend_leaves_it_to_others() {
    let two = Watched::default();
    // It closes the connection on who asks for /crash.
    let one = Backend::new().serve(|mut peer| {
        loop {
            let (head, _) = peer.receive_some();
            if head.is_empty() || head.starts_with(b"GET /crash ") {
                return;
            }
            peer.send(&ok(b"one"));
        }
    });
    let mut plane = Plane::start(&one_each([one, two.serve("two")], QUEUE));
    super::balancing::order(&plane, "drain", "b1");
    let mut held = hold(&plane, 1, "/hold/first");
    super::balancing::order(&plane, "ready", "b1");
    let mut retried = asking(&plane, "/crash");
    assert!(
        waiting(&plane, 1),
        "it was at the first, and waits for the other"
    );
    let mut client = Peer::connect(plane.address());
    for _ in 0..5 {
        client.send(&ask_for("/"));
        assert_eq!(body(&mut client), "one");
    }
    // What a change brings is for those who come after it, and for those who wait.
    let new = Watched::default().serve("new");
    plane.reload(&one_each([new], QUEUE));
    client.send(&ask_for("/"));
    assert_eq!(body(&mut client), "new");
    assert_eq!(body(&mut retried), "new");
    two.allow(1);
    assert_eq!(body(&mut held), "two");
    drop((held, retried, client));
    done(plane);
}

#[test]
fn a_line_of_one_backends_visitors_is_not_in_the_way_of_the_others() {
    let (one, two) = (Watched::default(), Watched::default());
    let backends = [one.serve("one"), two.serve("two")];
    let pool = "queue = { requests = 1, timeout = \"60s\" }, sticky = { cookie = \"MSRV\" }";
    let plane = Plane::start(&one_each(backends, pool));
    let mut client = Peer::connect(plane.address());
    let mut cookies = [const { String::new() }; 2];
    while cookies.iter().any(String::is_empty) {
        client.send(&ask_for("/"));
        let (head, body) = client.receive_response();
        let cookie = field(&head, "Set-Cookie").and_then(|line| line.split(';').next());
        let place = usize::from(body == b"two");
        cookies[place] = cookie.expect("it is a new visitor").to_owned();
    }
    let visit = |path: &str, cookie: &str| {
        let mut client = Peer::connect(plane.address());
        let head = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\nCookie: {cookie}\r\n\r\n");
        client.send(head.as_bytes());
        client
    };
    let mut held = visit("/hold/first", &cookies[0]);
    assert!(eventually(10, || plane.backend(0, "in_flight") == 1));
    let mut behind = visit("/hold/second", &cookies[0]);
    assert!(waiting(&plane, 1), "the line is full");
    assert_eq!(body(&mut visit("/", &cookies[1])), "two");
    assert_eq!(body(&mut asking(&plane, "/")), "two");
    let mut refused = visit("/", &cookies[0]);
    assert_eq!(status(&refused.receive_response().0), 503);
    one.allow(2);
    assert_eq!(
        (body(&mut held), body(&mut behind)),
        ("one".into(), "one".into())
    );
    drop((client, held, behind, refused));
    done(plane);
}

#[test]
fn a_lowered_limit_holds_whoever_ends() {
    let one = Watched::default();
    let address = one.serve("one");
    let of = |most: usize| Declared {
        backend_keys: vec![format!("connections = {most}")],
        ..one_each([address], QUEUE)
    };
    let mut plane = Plane::start(&of(3));
    let mut held = ["/hold/1", "/hold/2", "/hold/3"].map(|path| asking(&plane, path));
    assert!(eventually(10, || plane.backend(0, "in_flight") == 3));
    let mut last = asking(&plane, "/hold/4");
    assert!(waiting(&plane, 1));
    plane.reload(&of(1));
    one.allow(2);
    assert!(eventually(10, || plane.backend(0, "in_flight") == 1));
    // Longer than who waits goes without a look.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!((one.held().len(), plane.workers("waiting")), (3, 1));
    one.allow(2);
    for client in held.iter_mut().chain([&mut last]) {
        assert_eq!(body(client), "one");
    }
    drop((held, last));
    done(plane);
}

#[test]
fn time_in_line_is_not_the_body_s() {
    let hold = Arc::new(AtomicBool::new(true));
    let is_held = Arc::clone(&hold);
    let one = Backend::new().serve(move |mut peer| {
        loop {
            let (head, _) = peer.receive_some();
            if head.is_empty() {
                return;
            }
            if head.starts_with(b"PUT ") {
                peer.send(b"HTTP/1.1 100 Continue\r\n\r\n");
                assert_eq!(peer.receive(4, Duration::from_secs(10)), b"body");
            }
            while is_held.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            peer.send(&ok(b"one"));
        }
    });
    let declared = Declared {
        site_timeouts: "{ body = { bytes_per_second = 10, window = \"1s\" } }".to_owned(),
        ..one_each([one], QUEUE)
    };
    let plane = Plane::start(&declared);
    let mut held = super::queueing::hold(&plane, 0, "/");
    let mut client = Peer::connect(plane.address());
    client.send(
        b"PUT / HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert!(waiting(&plane, 1));
    std::thread::sleep(Duration::from_secs(2));
    hold.store(false, Ordering::Relaxed);
    assert_eq!(body(&mut held), "one");
    assert_eq!(status(&client.receive_head()), 100);
    client.send(b"body");
    assert_eq!(body(&mut client), "one");
    drop((held, client));
    done(plane);
}
