//! Connections: their number, their pools, and where they may go.

use crate::crowding::SOCKETS;
use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{
    Backend, Backlog, End, PATIENCE, Peer, answer_each, aside, field, ok, status,
};
use crate::support::plane::{Plane, Reserved};
use crate::support::told::{check_failures, failures_of};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

fn serve_ok() -> SocketAddr {
    Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")))
}

#[test]
fn two_thousand_idle_connections_cost_little_and_are_closed_at_the_end() {
    const CONNECTIONS: usize = 2000;
    let plane = Plane::start(&Declared::with_backends([serve_ok()]));
    let mut first = Peer::connect(plane.address());
    first.send(GET);
    first.receive_response();
    // A question costs memory too: ask before as after.
    plane.status();
    let before = plane.resident_bytes();
    let mut idle: Vec<Peer> = (0..CONNECTIONS)
        .map(|index| {
            let mut client = Peer::connect(plane.address());
            // One half between requests, the other before its first.
            if index % 2 == 0 {
                client.send(GET);
                client.receive_response();
            }
            client
        })
        .collect();
    let count = CONNECTIONS as u64 + 1;
    assert!(eventually(10, || plane.workers("idle_connections") == count));
    let each = plane.resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    eprintln!("an idle connection costs {each} bytes of resident memory");
    assert!(each < 1024, "{each} bytes for an idle connection");
    assert_eq!(plane.workers("buffers_in_use"), 0);
    assert!(plane.workers("upstream_connections") <= 2);
    for client in &mut idle {
        client.send(GET);
    }
    for client in &mut idle {
        assert_eq!(client.receive_response().1, b"ok");
    }
    drop(idle);
    drop(first);
    assert!(eventually(10, || plane.workers("connections") == 0));
    assert_eq!(plane.site("connections"), CONNECTIONS as u64 + 1);
    assert_eq!(plane.hits("stale_completion"), 0);
}

#[test]
fn two_workers_share_a_listener() {
    let declared = Declared {
        workers: 2,
        ..Declared::with_backends([serve_ok()])
    };
    let plane = Plane::start(&declared);
    let mut clients: Vec<Peer> = (0..64)
        .map(|_| {
            let mut client = Peer::connect(plane.address());
            client.send(GET);
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.receive_response().1, b"ok");
    }
    let report = plane.status();
    for worker in report["workers"].as_array().expect("there are two") {
        assert!(worker["requests"].as_u64() > Some(0), "{worker}");
    }
    assert_eq!(report["sites"][0]["requests"], 64);
    assert_eq!(report["sites"][0]["connections"], 64);
}

#[test]
fn ipv6_listener_and_backend() {
    let backend = Backend::at("[::1]:0");
    let declared = Declared::with_backends([backend.address]);
    let listeners = vec![
        Reserved::new(),
        Reserved::at(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    let plane = Plane::start_at(&declared, listeners);
    let address = plane.address_at(1);
    let mut client = Peer::connect(address);
    client.send(GET);
    let mut server = backend.accept();
    let head = server.receive_head();
    assert_eq!(field(&head, "X-Forwarded-For"), Some("::1"));
    assert_eq!(
        field(&head, "Forwarded"),
        Some("for=\"[::1]\";host=shop.test;proto=http")
    );
    let port = address.port().to_string();
    assert_eq!(field(&head, "X-Forwarded-Port"), Some(port.as_str()));
    server.send(&ok(b"six"));
    assert_eq!(client.receive_response().1, b"six");
    drop((client, server));
    plane.finish();
}

/// The plane looks for itself: a backend that another host would allow, it does not connect to.
#[test]
fn a_backend_on_a_network_that_is_not_allowed_is_never_connected_to() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]);
    let elsewhere = Declared {
        backend_networks: vec!["10.0.0.0/8".to_owned()],
        ..Declared::default()
    };
    let plane = Plane::start_elsewhere(&declared, &elsewhere);
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    assert_eq!(status(&client.receive_response().0), 503);
    assert_eq!(plane.hits("backend_refused_by_policy"), 1);
    assert!(backend.accept_within(Duration::from_millis(50)).is_none());
    drop(client);
    plane.finish();
}

#[test]
fn a_backend_that_does_not_answer_a_connect_is_too_slow() {
    let nobody = Backlog::full();
    let declared = Declared::with_backends([nobody.address]).timeouts("{ connect = \"300ms\" }");
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    let begun = Instant::now();
    client.send(GET);
    let (head, _) = client.receive_response();
    assert_eq!(status(&head), 504);
    assert!(
        begun.elapsed() >= Duration::from_millis(280),
        "it was no wait"
    );
    assert_eq!(plane.hits("connect_timeout"), 1);
    assert_eq!(
        (plane.site("requests"), plane.site("responses_5xx")),
        (1, 1)
    );
    assert_eq!(plane.site("retries"), 0);
    drop(client);
    plane.finish();
}

/// The addresses of the host's interfaces are known to the plane alone, so this is seen at the
/// connect.
#[test]
fn the_proxy_is_no_backend_of_its_own_under_any_address() {
    let Some(ip) = address_beyond_loopback() else {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return;
    };
    let listener = Reserved::new();
    let looped = SocketAddr::new(ip, listener.address.port());
    let declared = Declared {
        backend_networks: vec![format!("{ip}/32"), "127.0.0.0/8".to_owned()],
        ..Declared::with_backends([looped])
    };
    let plane = Plane::start_at(&declared, vec![listener]);
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    assert_eq!(status(&client.receive_response().0), 503);
    assert_eq!(plane.hits("backend_refused_by_policy"), 1);
    assert_eq!(plane.hits("no_backend"), 1);
    drop(client);
    plane.finish();
}

/// The address that this machine would send from; nothing is sent.
fn address_beyond_loopback() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[test]
fn a_client_that_ends_after_pipelining_gets_every_answer() {
    let plane = Plane::start(&Declared::with_backends([serve_ok()]));
    let mut client = Peer::connect(plane.address());
    client.send(&GET.repeat(200));
    client.end();
    let (bytes, end) = client.receive_all(PATIENCE);
    assert_eq!(end, End::Closed);
    let text = String::from_utf8(bytes).expect("answers are text");
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 200);
    assert!(text.ends_with("\r\n\r\nok"));
    assert_eq!(plane.site("requests"), 200);
    assert_eq!(plane.site("bytes_in"), 200 * GET.len() as u64);
    assert_eq!(plane.site("bytes_out"), text.len() as u64);
}

/// Retries must not double the load of backends that are all in trouble.
#[test]
fn retries_have_a_budget() {
    let refused = [Reserved::new(), Reserved::new()];
    let plane = Plane::start(&Declared::with_backends(
        refused.iter().map(|it| it.address),
    ));
    let mut client = Peer::connect(plane.address());
    for _ in 0..100 {
        client.send(GET);
        assert_eq!(status(&client.receive_response().0), 502);
    }
    let (retries, not_made) = (plane.site("retries"), plane.hits("retry_budget"));
    assert_eq!(retries + not_made, 100);
    // Sixteen at once, and one for each five requests.
    assert!((30..=40).contains(&retries), "{retries} retries");
    // It is the backends that failed, and no limit that the site has chosen.
    assert_eq!(plane.site("refused"), 0);
    assert_eq!(plane.hits("connect_refused"), 100);
    drop(client);
    plane.finish();
}

#[test]
fn a_site_chooses_its_retry_budget() {
    let refused = [Reserved::new(), Reserved::new()];
    let site = |name: &str, percent: u32| {
        let head = format!(
            "[[site]]\ntenant = \"acme\"\nname = \"{name}\"\nhostnames = [\"{name}.test\"]\n\
             retry = {{ percent = {percent} }}\n"
        );
        refused.iter().fold(head, |text, it| {
            text + &format!("[[site.backend]]\naddress = \"{}\"\n", it.address)
        })
    };
    let declared = Declared {
        more: site("always", 100) + &site("hardly", 1),
        ..Declared::default()
    };
    let plane = Plane::start(&declared);
    for (name, wanted) in [("always", 100), ("hardly", 17)] {
        let mut client = Peer::connect(plane.address());
        for _ in 0..100 {
            client.send(format!("GET / HTTP/1.1\r\nHost: {name}.test\r\n\r\n").as_bytes());
            assert_eq!(status(&client.receive_response().0), 502);
        }
        let report = plane.status();
        let mut sites = report["sites"].as_array().expect("there are some").iter();
        let site = sites.find(|site| site["site"] == name).expect("it is");
        // The first sixteen are for nothing; a hundredth of a retry comes with each request.
        assert!(
            site["retries"]
                .as_u64()
                .is_some_and(|it| it.abs_diff(wanted) <= 1),
            "{site}"
        );
        assert_eq!(site["requests"], 100);
    }
    plane.finish();
}

/// Far more idle upstream connections than one: each is used again, none is lost.
#[test]
fn pooled_connections_are_used_again() {
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let mut clients: Vec<Peer> = (0..50).map(|_| Peer::connect(plane.address())).collect();
    for client in &mut clients {
        client.send(GET);
    }
    let mut servers: Vec<Peer> = (0..50).map(|_| backend.accept()).collect();
    assert_eq!(plane.backend(0, "in_flight"), 50);
    for server in &mut servers {
        server.receive_head();
        server.send(&ok(b"1"));
    }
    for client in &mut clients {
        client.receive_response();
    }
    assert!(eventually(5, || plane.backend(0, "in_flight") == 0));
    assert_eq!(plane.backend(0, "connections"), 50);
    for client in &mut clients {
        client.send(GET);
    }
    for server in &mut servers {
        server.receive_head();
        server.send(&ok(b"2"));
    }
    for client in &mut clients {
        assert_eq!(client.receive_response().1, b"2");
    }
    assert!(backend.accept_within(Duration::from_millis(50)).is_none());
    assert_eq!(plane.backend(0, "requests"), 100);
    drop((clients, servers));
    plane.finish();
}

/// Of 528 descriptors 204 are for clients (docs/operations.md, `CLIENT_DESCRIPTORS_PERCENT`).
const OPEN_FILES: u64 = 528;

/// New clients are served in place of those that were idle longest, and of those alone.
#[test]
fn at_the_limit_of_descriptors_the_idlest_clients_make_room() {
    let declared = Declared::with_backends([serve_ok()]).timeouts("{ upstream_idle = \"1s\" }");
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let ask = |client: &mut Peer| {
        client.send(GET);
        assert_eq!(client.receive_response().1, b"ok");
    };
    let mut clients: Vec<Peer> = Vec::new();
    for _ in 0..400 {
        let mut client = Peer::connect(plane.address());
        ask(&mut client);
        clients.push(client);
    }
    let closed = plane.hits("client_connections");
    assert!((196..=210).contains(&closed), "{closed} were closed");
    assert_eq!(plane.workers("connections"), 400 - closed);
    assert_eq!(plane.hits("accept_failed"), 0);
    let (first, last) = clients.split_at_mut(closed as usize);
    for client in first {
        assert_eq!(client.receive_all(PATIENCE), (Vec::new(), End::Closed));
    }
    for client in last {
        ask(client);
    }
    drop(clients);
    plane.finish();
}

/// Pooled connections are nobody's to hoard: they make room before anybody is refused.
#[test]
fn pooled_connections_make_room_for_others() {
    let backend = serve_ok();
    let declared = Declared::with_backends([backend; 400]).timeouts("{ upstream_idle = \"1d\" }");
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let mut client = Peer::connect(plane.address());
    for request in 0..800 {
        client.send(GET);
        assert_eq!(client.receive_response().1, b"ok", "request {request}");
    }
    assert!(plane.hits("upstream_connections") > 0);
    assert_eq!(plane.hits("out_of_resources"), 0);
}

/// Want of descriptors for a backend's connection is ours: 503, and nothing against the backend.
#[test]
fn want_of_descriptors_is_no_fault_of_a_backend() {
    // With what they may have of a backend's there is room for them all.
    const CLIENTS: usize = 150;
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]);
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    // At once, for a full backlog would delay the rest.
    let accepting = aside(move || {
        let accepted = std::iter::from_fn(|| backend.accept_within(Duration::from_secs(2)));
        accepted.collect::<Vec<Peer>>()
    });
    let mut clients: Vec<Peer> = (0..CLIENTS)
        .map(|_| {
            let mut client = Peer::connect(plane.address());
            client.send(GET);
            client
        })
        .collect();
    let mut servers = accepting.join().expect("it only accepts");
    let refused = (CLIENTS - servers.len()) as u64;
    assert!(refused >= 10, "only {refused} clients found no descriptor");
    // All are one tenant's, which may have three quarters of what there is.
    let causes = ["out_of_resources", "limit_share"];
    let refusals = || causes.map(|it| plane.hits(it)).iter().sum::<u64>();
    assert!(eventually(10, || refusals() == refused));
    for server in &mut servers {
        server.receive_head();
        server.send(&ok(b"ok"));
    }
    let mut statuses = Vec::new();
    for client in &mut clients {
        statuses.push(status(&client.receive_response().0));
    }
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(503) as u64), (servers.len(), refused));
    assert_eq!(plane.hits("limit_share"), refused);
    assert_eq!(plane.site("responses_5xx"), refused);
    assert_eq!(plane.site("retries"), 0);
    assert_eq!(plane.backend(0, "failures"), 0);
    assert_eq!(plane.hits("connect_refused"), 0);
    drop((clients, servers));
    plane.finish();
}

/// Where clients and what was let in are more than all there is, nobody is left without an answer beyond
/// that, and whoever is, is counted (docs/decisions/0046).
#[test]
fn beyond_all_there_is_no_client_is_closed_that_there_is_room_for() {
    const CLIENTS: usize = 200;
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]);
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let accepting = aside(move || {
        let accepted = std::iter::from_fn(|| backend.accept_within(Duration::from_secs(2)));
        accepted.collect::<Vec<Peer>>()
    });
    let mut clients: Vec<Peer> = (0..CLIENTS)
        .map(|_| {
            let mut client = Peer::connect(plane.address());
            // It may have been closed by then.
            let _ = client.stream.write_all(GET);
            client
        })
        .collect();
    let mut servers = accepting.join().expect("it only accepts");
    for server in &mut servers {
        server.receive_head();
        server.send(&ok(b"ok"));
    }
    let (mut served, mut refused, mut closed) = (0, 0, 0);
    for client in &mut clients {
        match &*client.receive(12, PATIENCE) {
            b"HTTP/1.1 200" => served += 1,
            b"HTTP/1.1 503" => refused += 1,
            b"" => closed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (served, served + refused + closed),
        (servers.len(), CLIENTS)
    );
    assert_eq!(plane.hits("limit_share"), refused as u64);
    let more_than_there_are = (CLIENTS + served).saturating_sub(SOCKETS as usize);
    assert!(
        closed <= more_than_there_are,
        "{closed} of {more_than_there_are}"
    );
    let told = plane.hits("clients_turned_away") + plane.hits("client_connections");
    assert_eq!(told, closed as u64);
    assert_eq!(plane.backend(0, "failures"), 0);
    drop((clients, servers));
    plane.finish();
}

/// A connection that one tenant's request left behind is not used for another's, though both
/// named the same backend.
#[test]
fn tenants_share_no_connection_to_the_backend_that_both_have() {
    let backend = Backend::new();
    let address = backend.address;
    let declared = Declared {
        more: format!(
            "[[tenant]]\nname = \"rival\"\n\
             [[site]]\ntenant = \"rival\"\nname = \"den\"\nhostnames = [\"den.test\"]\n\
             [[site.backend]]\nname = \"b1\"\naddress = \"{address}\"\n"
        ),
        ..Declared::with_backends([address])
    };
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    let mut servers = Vec::new();
    for host in ["shop.test", "den.test"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let mut server = backend.accept();
        assert_eq!(field(&server.receive_head(), "host"), Some(host));
        server.send(&ok(host.as_bytes()));
        assert_eq!(client.receive_response().1, host.as_bytes());
        servers.push((host, server));
    }
    // Each finds its own again.
    for (host, server) in &mut servers {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(field(&server.receive_head(), "host"), Some(*host));
        server.send(&ok(b"again"));
        assert_eq!(client.receive_response().1, b"again");
    }
    assert!(backend.accept_within(Duration::from_millis(50)).is_none());
    drop((client, servers));
    plane.finish();
}

#[test]
fn a_proxy_has_the_time_of_a_head_once_for_its_header() {
    let declared = Declared {
        listen: "proxy_protocol_from = [\"127.0.0.0/8\"]".to_owned(),
        ..Declared::default()
    }
    .timeouts("{ head = \"3s\" }");
    let plane = Plane::start(&declared);
    let begun = Instant::now();
    let mut client = Peer::connect(plane.address());
    std::thread::sleep(Duration::from_millis(2500));
    client.send(b"PROXY TCP4 192.0.2.7 ");
    assert_eq!(client.receive_all(PATIENCE), (vec![], End::Closed));
    // From its first byte on it would have had until 5.5 s.
    assert!(begun.elapsed() < Duration::from_millis(5400));
    assert_eq!(plane.hits("proxy_header_timeout"), 1);
    plane.finish();
}

#[test]
fn a_client_that_is_gone_before_its_address_is_asked_for_has_a_cause() {
    let plane = Plane::start(&Declared::default());
    plane.signal("STOP");
    let mut client = Peer::connect(plane.address());
    client.send(b"GET /gone HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.reset();
    plane.signal("CONT");
    assert!(eventually(10, || plane.hits("client_abort") == 1));
    let failures = failures_of(&plane, "-/-");
    let told = |name: &str| failures[0][name].clone();
    assert_eq!(
        (told("cause"), told("path")),
        ("client_abort".into(), "/gone".into())
    );
    check_failures(&failures, &plane.status()).expect("one of each");
    plane.finish();
}
