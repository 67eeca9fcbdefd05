//! A new revision under traffic.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, Peer, answer_each, aside, ok, status};
use crate::support::plane::Plane;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

#[test]
fn a_request_under_way_ends_under_its_revision_and_the_next_one_sees_the_new() {
    let (old, new) = (Backend::new(), Backend::new());
    let mut plane = Plane::start(&Declared::with_backends([old.address]));
    let mut idle = Peer::connect(plane.address());
    idle.send(GET);
    let mut pooled = old.accept();
    pooled.receive_head();
    pooled.send(&ok(b"old"));
    idle.receive_response();
    let mut busy = Peer::connect(plane.address());
    busy.send(GET);
    // It takes the pooled connection; the next one makes its own.
    pooled.receive_head();
    let mut third = Peer::connect(plane.address());
    third.send(GET);
    let mut other = old.accept();
    other.receive_head();
    other.send(&ok(b"old"));
    third.receive_response();

    plane.reload(&Declared::with_backends([new.address]));
    // The pooled connection of the backend that is gone is closed, the busy one goes on.
    assert_eq!(other.receive_all(Duration::from_secs(5)).1, End::Closed);
    idle.send(GET);
    let mut fresh = new.accept();
    fresh.receive_head();
    fresh.send(&ok(b"new"));
    assert_eq!(idle.receive_response().1, b"new");
    pooled.send(&ok(b"late"));
    assert_eq!(busy.receive_response().1, b"late");
    assert_eq!(
        pooled.receive_all(Duration::from_secs(5)).1,
        End::Closed,
        "a connection of a backend that is gone is not pooled"
    );
    busy.send(GET);
    fresh.receive_head();
    fresh.send(&ok(b"new"));
    assert_eq!(busy.receive_response().1, b"new");
    assert_eq!(plane.site("requests"), 5, "counters outlive a revision");
    drop((idle, busy, third, fresh));
    plane.finish();
}

/// The way that a request goes is a place among those of its own revision's site.
#[test]
fn a_request_goes_its_way_to_the_end_though_its_route_and_pool_are_gone() {
    let (first, api) = (Backend::new(), Backend::new());
    let routed = Declared {
        pools: vec!["default".to_owned(), "api".to_owned()],
        site_keys: "pool = [{ name = \"api\" }]\n\
            route = [{ match = { path = \"/\" }, pool = \"api\", \
            response_headers = { set = { x-way = \"api\" } } }]\n"
            .to_owned(),
        ..Declared::with_backends([first.address, api.address])
    };
    let mut plane = Plane::start(&routed);
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    let mut under_way = api.accept();
    under_way.receive_head();

    plane.reload(&Declared::with_backends([first.address]));
    under_way.send(&ok(b"api"));
    let (head, body) = client.receive_response();
    assert_eq!(body, b"api");
    assert!(
        head.contains("x-way: api\r\n"),
        "what the route says of the response still holds"
    );
    assert_eq!(
        under_way.receive_all(Duration::from_secs(5)).1,
        End::Closed,
        "a connection of a pool that is gone is not pooled"
    );
    client.send(GET);
    let mut other = first.accept();
    other.receive_head();
    other.send(&ok(b"default"));
    assert_eq!(client.receive_response().1, b"default");

    plane.reload(&routed);
    client.send(GET);
    let mut again = api.accept();
    again.receive_head();
    again.send(&ok(b"api"));
    assert_eq!(client.receive_response().1, b"api");
    drop((client, other, again));
    plane.finish();
}

#[test]
fn an_unchanged_backend_keeps_its_connections() {
    let backend = Backend::new();
    let mut plane = Plane::start(&Declared::with_backends([backend.address]));
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    let mut server = backend.accept();
    server.receive_head();
    server.send(&ok(b"1"));
    client.receive_response();
    let mut declared = Declared::with_backends([backend.address]);
    declared.hostnames.push("more.test".to_owned());
    plane.reload(&declared);
    client.send(b"GET / HTTP/1.1\r\nHost: more.test\r\n\r\n");
    server.receive_head();
    server.send(&ok(b"2"));
    assert_eq!(client.receive_response().1, b"2");
    assert!(backend.accept_within(Duration::from_millis(50)).is_none());
    assert_eq!(plane.backend(0, "connections"), 1);
    drop((client, server));
    plane.finish();
}

#[test]
fn a_site_that_is_gone_is_not_found_and_comes_back() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")));
    let mut plane = Plane::start(&Declared::with_backends([backend]));
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    assert_eq!(client.receive_response().1, b"ok");
    let mut renamed = Declared::with_backends([backend]);
    renamed.hostnames = vec!["other.test".to_owned()];
    plane.reload(&renamed);
    client.send(GET);
    assert_eq!(status(&client.receive_response().0), 404);
    plane.reload(&Declared::with_backends([backend]));
    client.send(GET);
    assert_eq!(client.receive_response().1, b"ok");
}

#[test]
fn a_damaged_revision_is_refused_and_the_last_good_one_goes_on() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")));
    let mut plane = Plane::start(&Declared::with_backends([backend]));
    plane.damage_next_generation();
    let answer = plane.ask(r#"{"op":"follow"}"#).expect("it answers");
    assert_eq!(answer["revision"], 1, "{answer}");
    let words = answer["error"].as_str().unwrap_or_default();
    assert!(
        words.contains("snapshot.2"),
        "who asks is not told why: {answer}"
    );
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    assert_eq!(client.receive_response().1, b"ok");
    let answer = plane.ask(r#"{"op":"fly"}"#).expect("it answers");
    assert!(answer["error"].is_string(), "{answer}");
}

/// Clients that never stop while backends come and go: no request fails.
#[test]
fn no_request_fails_while_revisions_change() {
    let addresses: Vec<_> = (0..2)
        .map(|_| Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok"))))
        .collect();
    let declared = Declared {
        workers: 2,
        ..Declared::with_backends([addresses[0]])
    };
    let mut plane = Plane::start(&declared);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), plane.address());
            aside(move || {
                let mut client = Peer::connect(address);
                let mut served = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    client.send(GET);
                    assert_eq!(client.receive_response().1, b"ok");
                    served += 1;
                }
                served
            })
        })
        .collect();
    for revision in 0..20 {
        let backends = [addresses[revision % 2]];
        plane.reload(&Declared {
            workers: 2,
            ..Declared::with_backends(backends)
        });
        std::thread::sleep(Duration::from_millis(25));
    }
    stop.store(true, Ordering::Relaxed);
    let served: u64 = clients
        .into_iter()
        .map(|client| client.join().expect("every request is answered"))
        .sum();
    assert_eq!(plane.site("requests"), served);
    assert_eq!(plane.site("responses_2xx"), served);
    assert!(eventually(5, || plane.workers("connections") == 0));
    assert_eq!(plane.hits("stale_completion"), 0);
}

/// Backends that close their idle connections at any time, while revisions drop and bring back
/// those very backends: the numbers of connections still come out even.
#[test]
fn connections_are_counted_out_once_however_they_end() {
    let addresses: Vec<_> = (0..4u64)
        .map(|index| {
            Backend::new().serve(move |mut peer| {
                let wait = Duration::from_micros(500 + 300 * index);
                while peer.stream.peek(&mut [0]).is_ok_and(|count| count > 0) {
                    peer.receive_head();
                    if peer.stream.write_all(&ok(b"ok")).is_err() {
                        return;
                    }
                    peer.stream.set_read_timeout(Some(wait)).expect("not zero");
                }
            })
        })
        .collect();
    let site = |name: &str, address| {
        format!(
            "[[site]]\ntenant = \"acme\"\nname = \"{name}\"\nhostnames = [\"{name}.test\"]\n\
             [[site.backend]]\nname = \"b1\"\naddress = \"{address}\"\n"
        )
    };
    let declared = |turn: usize| Declared {
        more: site("one", addresses[turn % 4]) + &site("two", addresses[(turn + 1) % 4]),
        ..Declared::with_backends([addresses[(turn + 2) % 4]])
    };
    let mut plane = Plane::start(&declared(0));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = ["shop", "one", "two", "one", "two", "shop"]
        .into_iter()
        .map(|name| {
            let (stop, address) = (Arc::clone(&stop), plane.address());
            aside(move || {
                let request = format!("GET / HTTP/1.1\r\nHost: {name}.test\r\n\r\n");
                let mut client = Peer::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    client.send(request.as_bytes());
                    client.receive_response();
                }
            })
        })
        .collect();
    for turn in 1..150 {
        plane.reload(&declared(turn));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("every request is answered");
    }
    plane.finish();
}

/// What the plane answers to a request for `host`: its status.
fn answered(plane: &Plane, host: &str) -> String {
    let mut client = Peer::connect(plane.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    status(&client.receive_response().0).to_string()
}

fn named(backend: std::net::SocketAddr, host: &str) -> Declared {
    Declared {
        hostnames: vec![host.to_owned()],
        ..Declared::with_backends([backend])
    }
}

#[test]
fn a_damaged_journal_ends_before_its_line_and_a_new_generation_heals_it() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")));
    let mut plane = Plane::start(&named(backend, "one.test"));
    plane.reload(&named(backend, "two.test"));
    assert_eq!(answered(&plane, "two.test"), "200");
    plane.write_and_damage(&named(backend, "three.test"));
    let answer = plane.announce();
    assert_eq!(answer["revision"], 2, "{answer}");
    let fault = answer["error"].as_str().expect("it says why").to_owned();
    assert!(fault.contains("journal.1: line 3: "), "{fault}");
    assert_eq!(plane.status()["config_fault"], fault);
    // What comes behind the damage stands on it.
    let answer = plane.append(&named(backend, "four.test"));
    assert_eq!(answer["error"], fault);
    assert_eq!(answered(&plane, "two.test"), "200");
    // A plane that starts now finds the same.
    plane.restart();
    assert_eq!(answered(&plane, "two.test"), "200");
    assert_eq!(plane.status()["revision"], 2);
    assert_eq!(plane.status()["config_fault"], fault);

    let answer = plane.reload_anew(&named(backend, "five.test"));
    assert_eq!(
        answer,
        serde_json::json!({ "revision": 5, "generation": 2 })
    );
    assert_eq!(answered(&plane, "five.test"), "200");
    assert_eq!(answered(&plane, "two.test"), "404");
    assert!(plane.status()["config_fault"].is_null());
}

#[test]
fn a_generation_of_the_same_revision_changes_nothing_and_is_followed() {
    let backend = Backend::new();
    let mut plane = Plane::start(&named(backend.address, "one.test"));
    let mut client = Peer::connect(plane.address());
    let get = b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n";
    client.send(get);
    let mut server = backend.accept();
    server.receive_head();
    server.send(&ok(b"1"));
    client.receive_response();
    assert_eq!(
        plane.compact(),
        serde_json::json!({ "revision": 1, "generation": 2 })
    );
    client.send(get);
    server.receive_head();
    server.send(&ok(b"2"));
    assert_eq!(client.receive_response().1, b"2");
    plane.reload(&named(backend.address, "two.test"));
    client.send(get);
    assert_eq!(status(&client.receive_response().0), 404);
    // An announcement that comes late takes nothing back.
    let late = plane.ask(r#"{"op":"follow","generation":1,"length":120}"#);
    assert_eq!(
        late.expect("it answers"),
        serde_json::json!({ "revision": 2, "generation": 2 })
    );
    client.send(get);
    assert_eq!(status(&client.receive_response().0), 404);
    drop((client, server));
    plane.finish();
}

#[test]
fn a_plane_reads_no_further_than_was_announced_and_forgives_an_unfinished_line_at_its_start() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")));
    let mut plane = Plane::start(&named(backend, "one.test"));
    let before = plane.journal_length();
    plane.write(&named(backend, "two.test"));
    let answer = plane.ask(&format!(
        "{{\"op\":\"follow\",\"generation\":1,\"length\":{before}}}"
    ));
    assert_eq!(answer.expect("it answers")["revision"], 1);
    assert_eq!(answered(&plane, "one.test"), "200");
    // Its writer died over the next line.
    plane.append_bytes(b"0123abcd {\"change\":{\"revi");
    plane.restart();
    assert_eq!(plane.status()["revision"], 2);
    assert!(plane.status()["config_fault"].is_null());
    assert_eq!(answered(&plane, "two.test"), "200");
    // Announced, it would be a fault of the writer's.
    let answer = plane.announce();
    let fault = answer["error"].as_str().expect("it says why");
    assert!(fault.contains("ends within a line"), "{fault}");
    assert_eq!(answer["revision"], 2);
}

#[test]
fn a_change_that_concerns_every_site_leaves_connections_alone() {
    let backend = Backend::new();
    let mut plane = Plane::start(&named(backend.address, "one.test"));
    let mut client = Peer::connect(plane.address());
    let get = b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n";
    client.send(get);
    let mut server = backend.accept();
    server.receive_head();
    server.send(&ok(b"1"));
    client.receive_response();
    // A peer's addresses are no place for a backend: all that a worker knows is made anew.
    let mut with_peer = named(backend.address, "one.test");
    with_peer.more = "[[peer]]\nname = \"p\"\naddresses = [\"192.0.2.1\"]\n".to_owned();
    plane.reload(&with_peer);
    client.send(get);
    server.receive_head();
    server.send(&ok(b"2"));
    assert_eq!(client.receive_response().1, b"2");
    assert_eq!(plane.site("requests"), 2);
    drop((client, server));
    plane.finish();
}

/// More sites than a worker takes up before it acknowledges: what it has not come to yet is not to
/// be noticed.
#[test]
fn a_revision_of_very_many_sites_is_seen_at_once_and_frees_no_backend_late() {
    const CROWD: usize = 300;
    let crowd = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"crowd")));
    let (old, new) = (Backend::new(), Backend::new());
    let declared = |backend, first_byte: &str| {
        let site = |number| {
            format!(
                "[[site]]\ntenant = \"acme\"\nname = \"s{number}\"\nhostnames = [\"s{number}.test\"]\n\
                 timeouts = {{ first_byte = \"{first_byte}\" }}\n[[site.backend]]\naddress = \"{crowd}\"\n"
            )
        };
        Declared {
            more: (0..CROWD).map(site).collect(),
            ..named(backend, "one.test")
        }
    };
    let mut plane = Plane::start(&declared(old.address, "7s"));
    let get = b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n";
    let (mut idle, mut busy) = (
        Peer::connect(plane.address()),
        Peer::connect(plane.address()),
    );
    let mut served = Vec::new();
    for client in [&mut idle, &mut busy] {
        client.send(get);
        let mut server = old.accept();
        server.receive_head();
        served.push(server);
    }
    let (mut pooled, mut late) = (served.remove(0), served.remove(0));
    pooled.send(&ok(b"old"));
    idle.receive_response();
    for number in 0..CROWD {
        assert_eq!(answered(&plane, &format!("s{number}.test")), "200");
    }
    plane.reload(&declared(new.address, "8s"));
    late.send(&ok(b"late"));
    assert_eq!(busy.receive_response().1, b"late");
    assert_eq!(
        late.receive_all(Duration::from_secs(5)).1,
        End::Closed,
        "a connection of a backend that is gone is not pooled"
    );
    assert_eq!(pooled.receive_all(Duration::from_secs(5)).1, End::Closed);
    idle.send(get);
    let mut fresh = new.accept();
    fresh.receive_head();
    fresh.send(&ok(b"new"));
    assert_eq!(idle.receive_response().1, b"new");
    for number in 0..CROWD {
        assert_eq!(answered(&plane, &format!("s{number}.test")), "200");
    }
    assert!(old.accept_within(Duration::from_millis(50)).is_none());
    drop((idle, busy, pooled, late, fresh, old, new));
    // The crowd's backend was never gone: each site has the one connection that it began with.
    let kept = eventually(10, || plane.workers("upstream_connections") == CROWD as u64);
    assert!(kept, "{}", plane.workers("upstream_connections"));
}

/// Connections to one backend that were opened without a header of the PROXY protocol are not used
/// once the pool asks for it, nor the other way round.
#[test]
fn a_pool_that_begins_to_send_headers_uses_no_connection_from_before() {
    let backend = Backend::new();
    let plain = Declared::with_backends([backend.address]);
    let sending = Declared {
        site_keys: "pool = { proxy_protocol = 1 }\n".to_owned(),
        ..plain.clone()
    };
    let mut plane = Plane::start(&plain);
    let mut client = Peer::connect(plane.address());
    let own = client.stream.local_addr().expect("it has one");
    client.send(GET);
    let mut first = backend.accept();
    assert!(first.receive_head().starts_with("GET "));
    first.send(&ok(b"1"));
    client.receive_response();

    plane.reload(&sending);
    assert_eq!(first.receive_all(Duration::from_secs(5)).1, End::Closed);
    client.send(GET);
    let mut second = backend.accept();
    let (listener, port) = (plane.address(), own.port());
    let header = format!(
        "PROXY TCP4 {} {} {port} {}\r\nGET ",
        own.ip(),
        listener.ip(),
        listener.port()
    );
    let head = second.receive_head();
    assert!(head.starts_with(&header), "{head}");
    second.send(&ok(b"2"));
    client.receive_response();
    assert_eq!(second.receive_all(Duration::from_secs(5)).1, End::Closed);

    plane.reload(&plain);
    client.send(GET);
    let mut third = backend.accept();
    assert!(third.receive_head().starts_with("GET "));
    third.send(&ok(b"3"));
    assert_eq!(client.receive_response().1, b"3");
    assert_eq!(plane.site("responses_2xx"), 3);
    drop((client, third));
    plane.finish();
}

/// What a site denies, trusts and whether it is served holds from the next request on, also on
/// connections that are open.
#[test]
fn an_open_connection_is_denied_and_suspended_and_served_again() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")));
    let open = Declared::with_backends([backend]);
    let with = |site: &str| Declared {
        site_keys: format!("{site}\n"),
        ..open.clone()
    };
    let mut plane = Plane::start(&open);
    let mut client = Peer::connect(plane.address());
    for (declared, expected) in [
        (with("deny_networks = [\"127.0.0.1/32\"]"), 403),
        (with("suspended = true"), 503),
        (open.clone(), 200),
    ] {
        plane.reload(&declared);
        client.send(GET);
        assert_eq!(status(&client.receive_response().0), expected);
    }
    assert_eq!((plane.hits("denied"), plane.hits("suspended")), (1, 1));
    assert_eq!(plane.site("requests"), 3);
    drop(client);
    // The pooled connection goes with its backend.
    plane.reload(&Declared::default());
    plane.finish();
}
