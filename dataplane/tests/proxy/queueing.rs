//! Backends that may have so many requests at a time, and requests that wait for room there.

use super::balancing::{ask_for, connect_to, order};
use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Peer, answer_each, field, ok, status};
use crate::support::plane::Plane;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A backend that keeps what it was asked for, and answers `/hold...` once it may.
#[derive(Clone, Default)]
pub(super) struct Watched {
    asked: Arc<Mutex<Vec<String>>>,
    there: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// So many more may be answered.
    permits: Arc<AtomicUsize>,
}

impl Watched {
    pub(super) fn serve(&self, name: &'static str) -> SocketAddr {
        let watched = self.clone();
        Backend::new().serve(move |peer| {
            let watched = watched.clone();
            answer_each(peer, move |head| watched.answer(name, head));
        })
    }

    fn answer(&self, name: &str, head: &str) -> Vec<u8> {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let there = self.there.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(there, Ordering::SeqCst);
        let holds = path.starts_with("/hold");
        self.asked.lock().expect("nobody panicked").push(path);
        let may_go = || {
            let less = |permits: usize| permits.checked_sub(1);
            let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
            self.permits.fetch_update(set, fetch, less).is_ok()
        };
        while holds && !may_go() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.there.fetch_sub(1, Ordering::SeqCst);
        ok(name.as_bytes())
    }

    pub(super) fn allow(&self, count: usize) {
        self.permits.fetch_add(count, Ordering::SeqCst);
    }

    /// What it was asked for of what it held.
    pub(super) fn held(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("nobody panicked");
        let held = asked.iter().filter(|path| path.starts_with("/hold"));
        held.cloned().collect()
    }
}

/// Backends that take one request at a time each.
pub(super) fn one_each(backends: impl IntoIterator<Item = SocketAddr>, pool: &str) -> Declared {
    let declared = Declared::with_backends(backends);
    Declared {
        workers: 2,
        site_keys: format!("pool = {{ {pool} }}\n"),
        backend_keys: vec!["connections = 1".to_owned(); declared.backends.len()],
        ..declared
    }
}

pub(super) fn waiting(plane: &Plane, count: u64) -> bool {
    eventually(10, || plane.workers("waiting") == count)
}

/// A request that a backend has by now.
pub(super) fn hold(plane: &Plane, backend: usize, path: &str) -> Peer {
    let mut client = Peer::connect(plane.address());
    client.send(&ask_for(path));
    assert!(eventually(10, || plane.backend(backend, "in_flight") == 1));
    client
}

pub(super) fn body(client: &mut Peer) -> String {
    let (head, body) = client.receive_response();
    assert_eq!(status(&head), 200, "{head}");
    String::from_utf8(body).expect("names are text")
}

#[test]
fn no_more_than_the_limit_are_at_a_backend_and_the_others_come_in_order() {
    let watched = Watched::default();
    let address = watched.serve("one");
    let pool = "queue = { requests = 10, timeout = \"60s\" }";
    let mut plane = Plane::start(&one_each([address], pool));
    let mut clients: Vec<Peer> = (0..6).map(|at| connect_to(&plane, at % 2)).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(&ask_for(&format!("/hold/{at}")));
        // The first is there, the others behind it, of both workers.
        assert!(waiting(&plane, at as u64));
    }
    assert!(eventually(10, || watched.held().len() == 1));
    assert_eq!(plane.backend(0, "in_flight"), 1);
    watched.allow(6);
    for client in &mut clients {
        assert_eq!(body(client), "one");
    }
    let in_order: Vec<String> = (0..6).map(|at| format!("/hold/{at}")).collect();
    assert_eq!(watched.held(), in_order);
    assert_eq!(watched.most.load(Ordering::SeqCst), 1);
    assert_eq!((plane.workers("queued"), plane.workers("waiting")), (5, 0));
    assert_eq!(plane.hits("queue_full") + plane.hits("queue_timeout"), 0);
    // All of it came through one door: with many at once it stays so.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let address = plane.address();
            std::thread::spawn(move || {
                let mut client = Peer::connect(address);
                for _ in 0..50 {
                    client.send(&ask_for("/"));
                    assert_eq!(body(&mut client), "one");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("each got its answers");
    }
    assert_eq!(watched.most.load(Ordering::SeqCst), 1);
    assert_eq!(plane.workers("waiting"), 0);
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

#[test]
fn a_queue_has_its_length_and_its_time_and_who_leaves_makes_room() {
    let watched = Watched::default();
    let address = watched.serve("one");
    let queue = |timeout: &str| {
        let pool = format!("queue = {{ requests = 1, timeout = {timeout:?} }}");
        one_each([address], &pool)
    };
    let mut plane = Plane::start(&queue("60s"));
    let mut first = hold(&plane, 0, "/hold/first");
    let mut gone = Peer::connect(plane.address());
    gone.send(&ask_for("/hold/gone"));
    assert!(waiting(&plane, 1));
    let mut refused = Peer::connect(plane.address());
    refused.send(&ask_for("/hold/refused"));
    let (head, _) = refused.receive_response();
    assert_eq!(
        (status(&head), field(&head, "Retry-After")),
        (503, Some("1"))
    );
    assert_eq!(plane.hits("queue_full"), 1);
    gone.reset();
    assert!(waiting(&plane, 0));
    assert!(eventually(10, || plane.hits("client_abort") == 1));
    // More than we take from a client ahead stands before its reset.
    let mut gone = Peer::connect(plane.address());
    gone.send(&ask_for("/hold/gone"));
    gone.send(&[b'x'; 600_000]);
    assert!(waiting(&plane, 1));
    gone.reset();
    assert!(waiting(&plane, 0));
    assert!(eventually(10, || plane.hits("client_abort") == 2));
    // The connection of who was refused is good for another try.
    refused.send(&ask_for("/hold/second"));
    assert!(waiting(&plane, 1));
    watched.allow(2);
    assert_eq!(
        (body(&mut first), body(&mut refused)),
        ("one".to_owned(), "one".to_owned())
    );
    assert_eq!(watched.held(), ["/hold/first", "/hold/second"]);

    plane.reload(&queue("200ms"));
    let mut third = hold(&plane, 0, "/hold/third");
    refused.send(&ask_for("/hold/late"));
    let (head, _) = refused.receive_response();
    assert_eq!(
        (status(&head), field(&head, "Retry-After")),
        (503, Some("1"))
    );
    assert!(field(&head, "Connection").is_none(), "{head}");
    assert_eq!(
        (plane.hits("queue_full"), plane.hits("queue_timeout")),
        (1, 1)
    );
    // Without a queue nobody waits.
    plane.reload(&one_each([address], ""));
    refused.send(&ask_for("/hold/never"));
    assert_eq!(status(&refused.receive_response().0), 503);
    assert_eq!(
        (plane.hits("queue_full"), plane.hits("queue_timeout")),
        (2, 1)
    );
    assert_eq!(plane.site("refused"), 3);
    watched.allow(1);
    assert_eq!(body(&mut third), "one");
    drop((first, refused, third));
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

#[test]
fn who_waits_gets_the_backend_that_comes_back_and_visitors_wait_for_theirs() {
    let (one, two) = (Watched::default(), Watched::default());
    let backends = [one.serve("one"), two.serve("two")];
    let pool = "queue = { requests = 10, timeout = \"60s\" }, sticky = { cookie = \"MSRV\" }";
    let mut plane = Plane::start(&one_each(backends, pool));
    order(&plane, "drain", "b2");
    let mut first = hold(&plane, 0, "/hold/first");
    let mut second = Peer::connect(plane.address());
    second.send(&ask_for("/second"));
    assert!(waiting(&plane, 1));
    // Nothing ends, and nobody wakes it.
    order(&plane, "ready", "b2");
    assert_eq!(body(&mut second), "two");
    one.allow(1);
    let (head, _) = first.receive_response();
    let cookie = field(&head, "Set-Cookie").expect("it is a new visitor");
    let cookie = cookie
        .split(';')
        .next()
        .expect("a split has a part")
        .to_owned();

    order(&plane, "drain", "b2");
    drop(first);
    let mut first = hold(&plane, 0, "/hold/again");
    order(&plane, "ready", "b2");
    let mut visitor = Peer::connect(plane.address());
    visitor.send(
        format!("GET /visit HTTP/1.1\r\nHost: shop.test\r\nCookie: {cookie}\r\n\r\n").as_bytes(),
    );
    assert!(waiting(&plane, 1));
    for _ in 0..4 {
        // Those who may go elsewhere do not stand behind it.
        second.send(&ask_for("/second"));
        assert_eq!(body(&mut second), "two");
    }
    assert_eq!(plane.workers("waiting"), 1);
    one.allow(1);
    assert_eq!(
        (body(&mut first), body(&mut visitor)),
        ("one".to_owned(), "one".to_owned())
    );
    drop((first, second, visitor));
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}
