//! Which backend a request goes to, with two workers that know of each other's requests.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, PATIENCE, Peer, answer_each, ok, status};
use crate::support::plane::{Plane, number};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Chi-squared stays under it but once in a million, for one and for two degrees of freedom: these
/// tests draw other numbers each time.
const CRITICAL: [f64; 2] = [23.93, 27.63];

/// A backend that answers with `name`, to `/hold` only once it is let go.
fn named(name: &'static str, let_go: &Arc<AtomicBool>) -> SocketAddr {
    let let_go = Arc::clone(let_go);
    Backend::new().serve(move |peer| {
        let let_go = Arc::clone(&let_go);
        answer_each(peer, move |head| {
            while head.starts_with("GET /hold ") && !let_go.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            ok(name.as_bytes())
        });
    })
}

/// A backend that answers with `name` after so long, to POST once it has four bytes of a body.
fn named_reader(name: &'static str, takes: Duration) -> SocketAddr {
    Backend::new().serve(move |mut peer| {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match peer.receive(1, PATIENCE).as_slice() {
                    [] => return,
                    byte => head.extend_from_slice(byte),
                }
            }
            let body = if head.starts_with(b"POST ") { 4 } else { 0 };
            if peer.receive(body, PATIENCE).len() < body {
                return;
            }
            std::thread::sleep(takes);
            peer.send(&ok(name.as_bytes()));
        }
    })
}

fn with_pool(backends: impl IntoIterator<Item = SocketAddr>, pool: &str) -> Declared {
    Declared {
        workers: 2,
        site_keys: format!("pool = {{ {pool} }}\n"),
        ..Declared::with_backends(backends)
    }
}

pub(super) fn ask_for(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n").into_bytes()
}

/// The name of the backend that a request goes to.
fn answered(client: &mut Peer, path: &str) -> String {
    client.send(&ask_for(path));
    let (head, body) = client.receive_response();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    String::from_utf8(body).expect("names are text")
}

/// A connection that this worker has.
pub(super) fn connect_to(plane: &Plane, worker: usize) -> Peer {
    let accepted = || number(&plane.status()["workers"][worker], "accepted");
    // They stay until then: newcomers go to the worker that has fewer.
    let mut elsewhere = Vec::new();
    for _ in 0..100 {
        let before = accepted();
        let mut client = Peer::connect(plane.address());
        // Once it is answered, it was accepted.
        answered(&mut client, "/");
        if accepted() > before {
            return client;
        }
        elsewhere.push(client);
    }
    panic!("worker {worker} gets nothing");
}

/// One connection to each worker.
fn connect_to_both(plane: &Plane) -> [Peer; 2] {
    [connect_to(plane, 0), connect_to(plane, 1)]
}

fn chi_squared(picked: &BTreeMap<String, u64>, parts: &[(&str, f64)]) -> f64 {
    let (total, whole) = (
        picked.values().sum::<u64>() as f64,
        parts.iter().map(|it| it.1).sum::<f64>(),
    );
    let statistic = parts.iter().map(|(name, part)| {
        let (seen, expected) = (
            picked.get(*name).map_or(0.0, |&it| it as f64),
            total * part / whole,
        );
        (seen - expected).powi(2) / expected
    });
    statistic.sum()
}

/// How often each backend answers `each` requests over each of these connections, in turn.
fn picks(clients: &mut [Peer; 2], each: u64) -> BTreeMap<String, u64> {
    let mut picked = BTreeMap::new();
    for _ in 0..each {
        for client in clients.iter_mut() {
            *picked.entry(answered(client, "/")).or_default() += 1;
        }
    }
    picked
}

#[test]
fn least_connections_are_those_of_the_whole_host() {
    let let_go = Arc::new(AtomicBool::new(false));
    let [busy, one, two] = ["busy", "one", "two"].map(|name| named(name, &let_go));
    let pool = "algorithm = \"least-connections\"";
    let mut plane = Plane::start(&with_pool([busy], pool));
    let mut holding: Vec<Peer> = (0..3).map(|_| connect_to(&plane, 0)).collect();
    for client in &mut holding {
        client.send(&ask_for("/hold"));
    }
    assert!(eventually(10, || plane.backend(0, "in_flight") == 3));

    // A backend that a revision leaves as it was keeps its load. Neither worker gives it more.
    plane.reload(&with_pool([busy, one, two], pool));
    let mut clients = connect_to_both(&plane);
    let picked = picks(&mut clients, 150);
    assert_eq!(picked.get("busy"), None, "{picked:?}");
    let statistic = chi_squared(&picked, &[("one", 1.0), ("two", 1.0)]);
    assert!(statistic < CRITICAL[0], "{picked:?}");

    // What has ended counts no more, wherever it was counted.
    let_go.store(true, Ordering::Relaxed);
    for client in &mut holding {
        assert_eq!(client.receive_response().1, b"busy");
    }
    assert!(eventually(10, || plane.backend(0, "in_flight") == 0));
    let picked = picks(&mut clients, 150);
    let statistic = chi_squared(&picked, &[("busy", 1.0), ("one", 1.0), ("two", 1.0)]);
    assert!(statistic < CRITICAL[1], "{picked:?}");
    assert_eq!(plane.site("retries"), 0);
    drop((holding, clients));
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

#[test]
fn a_tunnel_counts_to_the_load_of_its_backend() {
    let backend = Backend::new();
    let other = named("other", &Arc::new(AtomicBool::new(true)));
    let pool = "algorithm = \"least-connections\"";
    let mut plane = Plane::start(&with_pool([backend.address], pool));
    // Two of them: a worker may see the other worker's request that has just ended.
    let tunnels = [(); 2].map(|()| {
        let mut client = Peer::connect(plane.address());
        client.send(
            b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        );
        let mut server = backend.accept();
        server.receive_head();
        server.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
        client.receive_head();
        (client, server)
    });
    plane.reload(&with_pool([backend.address, other], pool));
    let mut clients = connect_to_both(&plane);
    assert_eq!(
        picks(&mut clients, 20),
        BTreeMap::from([("other".to_owned(), 40)])
    );
    // Their end gives the places back: soon the backend is asked again.
    drop(tunnels);
    let asked = eventually(10, || {
        clients[0].send(&ask_for("/"));
        match backend.accept_within(Duration::from_millis(20)) {
            Some(mut server) => {
                server.receive_head();
                server.send(&ok(b"back"));
                clients[0].receive_response().1 == b"back"
            }
            None => {
                clients[0].receive_response();
                false
            }
        }
    });
    assert!(asked);
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

#[test]
fn consistent_hashing_is_the_same_on_all_workers_and_moves_only_the_changed_share() {
    let let_go = Arc::new(AtomicBool::new(true));
    let backends = ["one", "two", "three"].map(|name| named(name, &let_go));
    let pool = "algorithm = \"consistent-hash\"";
    let weighted = |count: usize| Declared {
        backend_keys: ["weight = 1", "weight = 2", "weight = 3"]
            .map(str::to_owned)
            .to_vec(),
        ..with_pool(backends.into_iter().take(count), pool)
    };
    let mut plane = Plane::start(&weighted(3));
    let mut clients = connect_to_both(&plane);
    let mut places = || -> Vec<String> {
        let places = (0..300).map(|number| {
            let path = format!("/item/{number}");
            let [one, other] = clients.each_mut().map(|client| answered(client, &path));
            assert_eq!(one, other, "the workers disagree of {path}");
            one
        });
        places.collect()
    };
    let before = places();
    let mut picked = BTreeMap::new();
    for name in &before {
        *picked.entry(name.clone()).or_default() += 1;
    }
    let parts = [("one", 1.0), ("two", 2.0), ("three", 3.0)];
    assert!(chi_squared(&picked, &parts) < CRITICAL[1], "{picked:?}");
    plane.reload(&weighted(2));
    for (before, after) in before.iter().zip(places()) {
        assert!(*before == after || before == "three");
    }
    plane.reload(&weighted(3));
    assert_eq!(before, places());
    assert_eq!(plane.site("retries"), 0);
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

#[test]
fn a_slow_backend_gets_few_requests_by_peak_ewma() {
    let slow = Backend::new().serve(|peer| {
        answer_each(peer, |_| {
            std::thread::sleep(Duration::from_millis(400));
            ok(b"slow")
        });
    });
    let let_go = Arc::new(AtomicBool::new(true));
    let [one, two] = ["one", "two"].map(|name| named(name, &let_go));
    let mut plane = Plane::start(&with_pool([slow, one, two], "algorithm = \"peak-ewma\""));
    let mut clients = connect_to_both(&plane);
    let picked = picks(&mut clients, 150);
    let of_slow = picked.get("slow").copied().unwrap_or_default();
    // A third by weight; the first tells all workers how slow it is.
    assert!(of_slow < 20, "{picked:?}");
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

/// A body that takes its time, and one that is given up.
#[test]
fn a_client_that_sends_slowly_does_not_make_its_backend_slow_by_peak_ewma() {
    let fast = named_reader("fast", Duration::ZERO);
    let slow = named_reader("slow", Duration::from_millis(200));
    let mut plane = Plane::start(&with_pool([fast, slow], "algorithm = \"peak-ewma\""));
    let mut clients = connect_to_both(&plane);
    picks(&mut clients, 10);
    for ends in [true, false] {
        let mut slow = Peer::connect(plane.address());
        slow.send(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\r\n");
        for byte in [b"1", b"2", b"3"] {
            std::thread::sleep(Duration::from_millis(700));
            slow.send(byte);
        }
        if ends {
            slow.send(b"4");
            assert_eq!(slow.receive_response().1, b"fast");
        } else {
            drop(slow);
            assert!(eventually(10, || plane.site("cut") == 1));
        }
        // With the client's 2 s it would be the slower one.
        let picked = picks(&mut clients, 10);
        assert!(picked["fast"] >= 15, "{ends}: {picked:?}");
    }
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

/// Nor one that waits for a 100 (Continue) which it does not need, and that this backend never says.
#[test]
fn a_client_that_waits_for_continue_does_not_make_its_backend_slow_by_peak_ewma() {
    let fast = named_reader("fast", Duration::ZERO);
    let slow = named_reader("slow", Duration::from_millis(200));
    let declared = with_pool([fast, slow], "algorithm = \"peak-ewma\"");
    let mut plane = Plane::start(&declared.timeouts("{ first_byte = \"1s\" }"));
    let mut clients = connect_to_both(&plane);
    picks(&mut clients, 10);
    // Over new connections: one that was used before may just have been closed.
    for ends in [true, true, false, false] {
        let mut waiting: Vec<Peer> = (0..4).map(|_| Peer::connect(plane.address())).collect();
        for client in &mut waiting {
            client.send(
                b"POST / HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\n\
                  Content-Length: 4\r\n\r\n",
            );
        }
        if ends {
            for client in &mut waiting {
                assert_eq!(status(&client.receive_response().0), 504);
            }
        } else {
            std::thread::sleep(Duration::from_millis(500));
        }
        drop(waiting);
        let picked = picks(&mut clients, 10);
        assert!(picked["fast"] >= 15, "{ends}: {picked:?}");
    }
    assert_eq!(
        plane.backend(0, "failures") + plane.backend(1, "failures"),
        0
    );
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

/// A try that fails quickly is no reason to ask again.
#[test]
fn a_backend_that_refuses_is_not_the_fastest_by_peak_ewma() {
    let refusing = crate::support::plane::Reserved::new();
    let one = named("one", &Arc::new(AtomicBool::new(true)));
    let pool = "algorithm = \"peak-ewma\"";
    let mut plane = Plane::start(&with_pool([refusing.address, one], pool));
    let mut clients = connect_to_both(&plane);
    assert_eq!(
        picks(&mut clients, 50),
        BTreeMap::from([("one".to_owned(), 100)])
    );
    // Uniformly it would be half of them.
    let retries = plane.site("retries");
    assert!((1..10).contains(&retries), "{retries}");
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

pub(super) fn order(plane: &Plane, op: &str, backend: &str) -> Value {
    let question = json!({ "op": op, "backend": format!("acme/shop/default/{backend}") });
    plane.ask(&question.to_string()).expect("it answers")
}

#[test]
fn a_drained_backend_gets_no_new_requests_and_the_next_tier_is_asked() {
    let let_go = Arc::new(AtomicBool::new(false));
    let backends = ["own", "backup", "far", "far backup"].map(|name| named(name, &let_go));
    let keys = [
        "",
        "backup = true",
        "group = \"nyc\"",
        "group = \"nyc\"\nbackup = true",
    ];
    let declared = Declared {
        workers: 2,
        host: "group = \"ams\"".to_owned(),
        backend_keys: keys.map(str::to_owned).to_vec(),
        more: "[[group]]\nname = \"ams\"\n[[group]]\nname = \"nyc\"\n".to_owned(),
        ..Declared::with_backends(backends)
    };
    let mut plane = Plane::start(&declared);
    let mut clients = connect_to_both(&plane);
    let all = |name: &str| BTreeMap::from([(name.to_owned(), 8)]);
    assert_eq!(picks(&mut clients, 4), all("own"));
    let mut under_way = connect_to(&plane, 0);
    under_way.send(&ask_for("/hold"));
    assert!(eventually(10, || plane.backend(0, "in_flight") == 1));
    let none = |plane: &Plane| {
        (
            plane.site("cross_group"),
            plane.site("retries"),
            plane.hits("no_backend"),
        )
    };

    let answer = order(&plane, "drain", "b1");
    assert_eq!(
        (&answer["changed"], &answer["draining"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(plane.status()["backends"][0]["state"], "draining");
    assert_eq!(picks(&mut clients, 4), all("backup"));
    assert_eq!(none(&plane), (0, 0, 0));
    order(&plane, "drain", "b2");
    assert_eq!(picks(&mut clients, 4), all("far"));
    assert_eq!(none(&plane), (8, 0, 0));
    order(&plane, "drain", "b3");
    assert_eq!(picks(&mut clients, 4), all("far backup"));
    assert_eq!(none(&plane), (16, 0, 0));
    order(&plane, "drain", "b4");
    for client in &mut clients {
        client.send(&ask_for("/"));
        assert_eq!(status(&client.receive_response().0), 503);
    }
    assert_eq!(none(&plane), (16, 0, 2));
    // What was under way ends well, whatever was said since.
    let_go.store(true, Ordering::Relaxed);
    assert_eq!(under_way.receive_response().1, b"own");

    plane.restart();
    let mut clients = connect_refused(&plane);
    order(&plane, "ready", "b1");
    assert_eq!(answered(&mut clients, "/"), "own");
    assert_eq!(plane.status()["backends"][1]["state"], "draining");
    let again = order(&plane, "ready", "b1");
    assert_eq!(again["changed"], json!(false));
    assert!(order(&plane, "drain", "none")["error"].is_string());
    assert!(order(&plane, "ready", "none")["error"].is_string());
}

#[test]
fn a_backend_that_is_ready_again_comes_to_its_weight_slowly() {
    let let_go = Arc::new(AtomicBool::new(true));
    let backends = ["one", "two"].map(|name| named(name, &let_go));
    let mut plane = Plane::start(&with_pool(backends, "slow_start = \"10m\""));
    let mut clients = connect_to_both(&plane);
    let even = [("one", 1.0), ("two", 1.0)];
    // In turn, as ever.
    assert!(chi_squared(&picks(&mut clients, 50), &even) < CRITICAL[0]);
    order(&plane, "drain", "b1");
    order(&plane, "ready", "b1");
    let picked = picks(&mut clients, 150);
    // One in a hundred, and a little more as time goes by; it would be half of them.
    let of_one = picked.get("one").copied().unwrap_or_default();
    assert!(of_one < 30, "{picked:?}");

    std::thread::sleep(Duration::from_millis(100));
    plane.reload(&with_pool(backends, "slow_start = \"100ms\""));
    assert!(chi_squared(&picks(&mut clients, 150), &even) < CRITICAL[0]);
    drop(clients);
    plane.reload(&Declared {
        workers: 2,
        ..Declared::default()
    });
    plane.finish();
}

/// A heavy backend that was away, or full for a moment, has its share again at once.
#[test]
fn heavy_backends_that_were_away_have_their_share_at_once() {
    let let_go = Arc::new(AtomicBool::new(false));
    let backends = ["one", "two"].map(|name| named(name, &let_go));
    let limited = |connections: &str| Declared {
        workers: 1,
        backend_keys: vec![format!("weight = 60000\n{connections}"); 2],
        ..Declared::with_backends(backends)
    };
    let mut plane = Plane::start(&limited(""));
    let mut client = Peer::connect(plane.address());
    let mut picks = |each: u64| {
        let mut picked = BTreeMap::new();
        for _ in 0..each {
            *picked.entry(answered(&mut client, "/")).or_default() += 1;
        }
        picked
    };
    order(&plane, "drain", "b1");
    assert_eq!(picks(4), BTreeMap::from([("two".to_owned(), 4)]));
    order(&plane, "ready", "b1");
    let is_even = |picked: &BTreeMap<String, u64>| {
        let of = |name| picked.get(name).copied().unwrap_or_default();
        of("one") >= 9 && of("two") >= 9
    };
    let picked = picks(20);
    assert!(is_even(&picked), "{picked:?}");

    plane.reload(&limited("connections = 1"));
    let mut held = connect_to(&plane, 0);
    held.send(&ask_for("/hold"));
    let is_held = || (0..2).any(|backend| plane.backend(backend, "in_flight") == 1);
    assert!(eventually(10, is_held));
    assert_eq!(picks(4).len(), 1, "one is full");
    let_go.store(true, Ordering::Relaxed);
    held.receive_response();
    assert!(eventually(10, || !is_held()));
    let picked = picks(20);
    assert!(is_even(&picked), "{picked:?}");
    drop((held, client));
    plane.reload(&Declared::default());
    plane.finish();
}

/// A connection whose first request finds nobody.
fn connect_refused(plane: &Plane) -> Peer {
    let mut client = Peer::connect(plane.address());
    client.send(&ask_for("/"));
    assert_eq!(status(&client.receive_response().0), 503);
    client
}
