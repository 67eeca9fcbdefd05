//! Limits of tenants and sites over all workers, and their changes. What a client is told is in the
//! conversations `tests/wire/limit_*`.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Peer, aside, field, status};
use crate::support::plane::{Plane, number};
use std::time::{Duration, Instant};

const ASKED: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
/// What a site answers by itself.
const ANSWERS: &str = "route = [{ match = { path = \"/\" }, respond = { body = \"hi\" } }]\n";

/// Two workers; `acme/shop` with these lines, `acme/blog`, and `other/site`, which nobody limits.
fn declared(tenant_keys: &str, site_keys: &str) -> Declared {
    let site = |tenant: &str, name: &str| {
        format!(
            "[[site]]\ntenant = \"{tenant}\"\nname = \"{name}\"\nhostnames = [\"{name}.test\"]\n\
             {ANSWERS}"
        )
    };
    Declared {
        workers: 2,
        tenant_keys: tenant_keys.to_owned(),
        site_keys: format!("{site_keys}\n{ANSWERS}"),
        more: format!(
            "{}[[tenant]]\nname = \"other\"\n{}",
            site("acme", "blog"),
            site("other", "site")
        ),
        ..Declared::default()
    }
}

/// The status of the answer to a request for a host.
fn get(client: &mut Peer, host: &str) -> u16 {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    status(&client.receive_response().0)
}

/// A connection that carried a request, and the status of its answer.
fn connected(plane: &Plane, host: &str) -> (Peer, u16) {
    let mut client = Peer::connect(plane.address());
    let status = get(&mut client, host);
    (client, status)
}

fn open_tunnel(plane: &Plane, backend: &Backend) -> (Peer, Peer) {
    let mut client = Peer::connect(plane.address());
    client.send(ASKED);
    let mut server = backend.accept();
    server.receive_head();
    server.send(SWITCHED);
    assert_eq!(status(&client.receive_head()), 101);
    (client, server)
}

/// Many connections ask as fast as they can. What passes is held against the bound that
/// `limits/bucket.rs` states, over the time that a client's clock shows, which is longer than the
/// proxy's.
#[test]
fn a_tenants_rate_holds_over_all_workers_and_sites() {
    const RATE: f64 = 400.0;
    const BURST: f64 = 80.0;
    const CLIENTS: usize = 24;
    let limits = format!("limits = {{ requests_per_second = {RATE}, burst = {BURST} }}");
    let plane = Plane::start(&declared(&limits, ""));
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let address = plane.address();
            let host = if number % 2 == 0 {
                "shop.test"
            } else {
                "blog.test"
            };
            aside(move || {
                let mut client = Peer::connect(address);
                let mut passed = 0_u32;
                while begun.elapsed() < Duration::from_secs(2) {
                    match get(&mut client, host) {
                        200 => passed += 1,
                        429 => {}
                        other => panic!("{other}"),
                    }
                }
                passed
            })
        })
        .collect();
    let passed: u32 = clients
        .into_iter()
        .map(|it| it.join().expect("it ends"))
        .sum();
    let passed = f64::from(passed);
    let most = RATE * begun.elapsed().as_secs_f64() + 1.25 * BURST + 1.0;
    assert!(passed <= most, "{passed} passed, at most {most} may");
    assert!(passed >= BURST + 2.0 * RATE / 5.0, "only {passed} passed");
    let report = plane.settle();
    let busy = report["workers"].as_array().expect("there are workers");
    assert!(busy.iter().all(|worker| number(worker, "requests") > 0));
    let refused: u64 = (report["sites"].as_array().expect("there are sites").iter())
        .map(|site| number(site, "refused"))
        .sum();
    assert!(refused > 0);
    assert_eq!(plane.hits("limit_rate"), refused);
    // Nobody else is refused for it.
    assert_eq!(connected(&plane, "site.test").1, 200);
    plane.finish();
}

#[test]
fn a_tenants_connections_are_those_of_all_workers_and_its_tunnels() {
    let backend = Backend::new();
    let plane = Plane::start(&Declared {
        backends: vec![backend.address],
        ..declared("limits = { connections = 4 }", "")
    });
    let first = open_tunnel(&plane, &backend);
    let second = open_tunnel(&plane, &backend);
    let (mut third, third_status) = connected(&plane, "shop.test");
    let (fourth, fourth_status) = connected(&plane, "blog.test");
    assert_eq!((third_status, fourth_status), (200, 200));
    for host in ["shop.test", "blog.test"] {
        for _ in 0..8 {
            assert_eq!(connected(&plane, host).1, 503, "{host}");
        }
    }
    assert_eq!(plane.hits("limit_connections"), 16);
    let (mut other, other_status) = connected(&plane, "site.test");
    assert_eq!(other_status, 200);
    // From one of its sites to the other it stays one of its tenant's.
    assert_eq!(get(&mut third, "blog.test"), 200);
    // A connection of somebody else does not become one of the tenant's; it is closed.
    assert_eq!(get(&mut other, "shop.test"), 503);
    assert_eq!(other.receive_all(Duration::from_secs(5)).0, b"");
    // Those that go to somebody else make room, and so do those that end, idle or tunnels.
    assert_eq!(get(&mut third, "site.test"), 200);
    let (fifth, fifth_status) = connected(&plane, "shop.test");
    assert_eq!(fifth_status, 200);
    let mut kept = Vec::new();
    let mut is_let_in = || {
        let (client, status) = connected(&plane, "blog.test");
        kept.push(client);
        status == 200
    };
    drop(fourth);
    assert!(eventually(5, &mut is_let_in), "an idle one ended");
    drop(first);
    assert!(eventually(5, &mut is_let_in), "a tunnel ended");
    assert!(!is_let_in());
    drop((second, third, fifth, kept));
    plane.finish();
}

#[test]
fn a_limit_that_changes_finds_what_is_open_already() {
    let backend = Backend::new();
    let limited = |tenant: &str, site: &str| Declared {
        backends: vec![backend.address],
        ..declared(tenant, site)
    };
    let mut plane = Plane::start(&limited("", ""));
    let tunnel = open_tunnel(&plane, &backend);
    let mut idle: Vec<Peer> = (0..4).map(|_| connected(&plane, "shop.test").0).collect();
    let status_of_new = |plane: &Plane| connected(plane, "shop.test").1;
    assert_eq!(status_of_new(&plane), 200);
    for (tenant, site) in [
        ("", "limits = { connections = 5 }"),
        ("limits = { connections = 5 }", ""),
        (
            "limits = { connections = 3 }",
            "limits = { connections = 7 }",
        ),
    ] {
        plane.reload(&limited(tenant, site));
        // The ones of before are gone by then, so nothing but what is held here is open.
        assert!(
            !eventually(1, || status_of_new(&plane) == 200),
            "five are open, and more with {tenant} {site}"
        );
        // Who is in stays in, also when there are more than there may be by now.
        assert!(
            idle.iter_mut()
                .all(|client| get(client, "shop.test") == 200)
        );
    }
    plane.reload(&limited(
        "limits = { connections = 6 }",
        "limits = { connections = 6 }",
    ));
    assert!(eventually(5, || status_of_new(&plane) == 200));
    plane.reload(&limited("", ""));
    idle.extend((0..8).map(|_| Peer::connect(plane.address())));
    assert!(
        idle.iter_mut()
            .all(|client| get(client, "shop.test") == 200)
    );
    drop((tunnel, idle));
    plane.finish();
}

#[test]
fn a_rate_that_changes_holds_from_the_next_request_on() {
    let mut plane = Plane::start(&declared(
        "",
        "limits = { requests_per_second = 1, burst = 1 }",
    ));
    let mut client = Peer::connect(plane.address());
    while get(&mut client, "shop.test") == 200 {}
    client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let (head, _) = client.receive_response();
    assert_eq!(
        (status(&head), field(&head, "retry-after")),
        (429, Some("1"))
    );
    let fast = "limits = { requests_per_second = 100000 }";
    plane.reload(&declared("", fast));
    // It was empty, and has something again at once.
    assert!(eventually(5, || get(&mut client, "shop.test") == 200));
    for _ in 0..100 {
        assert_eq!(get(&mut client, "shop.test"), 200);
    }
    plane.reload(&declared(
        "limits = { requests_per_second = 1, burst = 1 }",
        fast,
    ));
    assert!(eventually(5, || get(&mut client, "shop.test") == 429));
    plane.reload(&declared("", ""));
    assert_eq!(get(&mut client, "shop.test"), 200);
    drop(client);
    plane.finish();
}
