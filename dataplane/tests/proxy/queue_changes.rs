//! Requests in line while the configuration changes: they go to the backends that there are by then,
//! and none fails for it.

use super::balancing::ask_for;
use super::health::{Server, becomes};
use super::queueing::{Watched, body, hold, one_each, waiting};
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Peer, answer_each, ok};
use crate::support::plane::Plane;
use std::time::Duration;

const QUEUE: &str = "queue = { requests = 100, timeout = \"60s\" }";

/// Longer than who waits goes without a look.
const LOOKS: Duration = Duration::from_millis(2500);

fn asking(plane: &Plane, path: &str) -> Peer {
    let mut client = Peer::connect(plane.address());
    client.send(&ask_for(path));
    client
}

/// More than retries may be made at once.
fn line(plane: &Plane, count: usize) -> Vec<Peer> {
    let line = (0..count).map(|at| asking(plane, &format!("/hold/{at}")));
    let line = line.collect();
    assert!(waiting(plane, count as u64));
    line
}

fn done(mut plane: Plane) {
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

/// The backend that is removed is down, as everybody knew: nobody in line is sent there.
#[test]
fn who_waits_is_not_sent_to_a_backend_that_was_removed_because_it_is_down() {
    let mut killed = Server::start(|peer| answer_each(peer, |_| ok(b"killed")));
    let two = Watched::default();
    let backends = [killed.address(), two.serve("two")];
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", rise = 1, fall = 1 }";
    let pool = format!("{QUEUE}, {health}");
    let mut plane = Plane::start(&one_each(backends, &pool));
    becomes(&plane, 0, "up");
    killed.kill();
    becomes(&plane, 0, "down");
    becomes(&plane, 1, "up");
    let mut held = hold(&plane, 1, "/hold/first");
    let mut line = line(&plane, 40);
    let failures = plane.backend(0, "failures");
    let left = format!(
        "[[site.backend]]\nname = \"b2\"\naddress = \"{}\"\nconnections = 1\n",
        backends[1]
    );
    plane.reload(&Declared {
        more: left,
        ..one_each([], &pool)
    });
    std::thread::sleep(LOOKS);
    assert_eq!(
        plane.workers("waiting"),
        40,
        "they wait for the one that is left"
    );
    two.allow(41);
    assert_eq!(body(&mut held), "two");
    for client in &mut line {
        assert_eq!(body(client), "two");
    }
    assert_eq!((plane.site("retries"), plane.site("refused")), (0, 0));
    assert_eq!(plane.hits("connect_refused"), failures);
    drop((held, line));
    done(plane);
}

/// Nor does who waits under a revision whose pool is gone: what was known of its backends stays.
#[test]
fn who_waits_for_a_pool_that_is_gone_knows_which_of_its_backends_are_down() {
    let mut killed = Server::start(|peer| answer_each(peer, |_| ok(b"killed")));
    let two = Watched::default();
    let backends = [killed.address(), two.serve("two")];
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", rise = 1, fall = 1 }";
    let declared = one_each(backends, &format!("{QUEUE}, {health}"));
    let mut plane = Plane::start(&declared);
    killed.kill();
    becomes(&plane, 0, "down");
    becomes(&plane, 1, "up");
    let mut held = hold(&plane, 1, "/hold/first");
    let mut line = line(&plane, 40);
    // The site goes on without any.
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    std::thread::sleep(LOOKS);
    assert_eq!(plane.workers("waiting"), 40);
    two.allow(41);
    assert_eq!(body(&mut held), "two");
    for client in &mut line {
        assert_eq!(body(client), "two");
    }
    assert_eq!((plane.site("retries"), plane.site("refused")), (0, 0));
    drop((held, line));
    // It is as new when it comes back where nobody checks it.
    let bare = one_each(backends, QUEUE);
    plane.reload(&bare);
    assert_eq!(plane.status()["backends"][0]["state"], "unchecked");
    done(plane);
}

/// What is added to relieve the line relieves it.
#[test]
fn who_waits_gets_a_backend_that_was_added() {
    let (one, two) = (Watched::default(), Watched::default());
    let (first, second) = (one.serve("one"), two.serve("two"));
    let mut plane = Plane::start(&one_each([first], QUEUE));
    let mut held = hold(&plane, 0, "/hold/first");
    let mut line: Vec<Peer> = Vec::new();
    for at in 0..6 {
        line.push(asking(&plane, &format!("/hold/{at}")));
        assert!(waiting(&plane, at + 1));
    }
    two.allow(6);
    plane.reload(&one_each([first, second], QUEUE));
    for client in &mut line {
        assert_eq!(body(client), "two");
    }
    assert_eq!(two.held().len(), 6);
    one.allow(1);
    assert_eq!(body(&mut held), "one");
    drop((held, line));
    done(plane);
}

/// Nor does who was at a backend already, and waits for another one.
#[test]
fn who_waits_after_a_try_gets_a_backend_that_was_added() {
    let two = Watched::default();
    let three = Watched::default();
    let one = Backend::new().serve(|mut peer| {
        loop {
            let (head, _) = peer.receive_some();
            if head.is_empty() || head.starts_with(b"GET /crash ") {
                return;
            }
            peer.send(&ok(b"one"));
        }
    });
    let (second, third) = (two.serve("two"), three.serve("three"));
    let mut plane = Plane::start(&one_each([one, second], QUEUE));
    super::balancing::order(&plane, "drain", "b1");
    let mut held = hold(&plane, 1, "/hold/first");
    super::balancing::order(&plane, "ready", "b1");
    let mut retried = asking(&plane, "/crash");
    assert!(waiting(&plane, 1));
    plane.reload(&one_each([one, second, third], QUEUE));
    assert_eq!(body(&mut retried), "three");
    two.allow(1);
    assert_eq!(body(&mut held), "two");
    drop((held, retried));
    done(plane);
}
