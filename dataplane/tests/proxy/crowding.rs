//! One tenant's connections and the others', where there are about as many as there may be.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, Peer, answer_each, field, ok, status};
use crate::support::plane::Plane;
use std::net::SocketAddr;
use std::time::Duration;

/// Of 528 descriptors 204 are for clients, and 259 for clients and backends (docs/operations.md,
/// `CLIENT_DESCRIPTORS_PERCENT`).
pub(crate) const OPEN_FILES: u64 = 528;
pub(crate) const CLIENTS: usize = 204;
pub(crate) const SOCKETS: u64 = 259;

pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
pub(crate) const GET_QUIET: &[u8] = b"GET / HTTP/1.1\r\nHost: quiet.test\r\n\r\n";

pub(crate) fn serve_ok() -> SocketAddr {
    Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")))
}

/// A site of a tenant `quiet` beside the one with these backends.
pub(crate) fn beside_quiet(backends: impl IntoIterator<Item = SocketAddr>) -> Declared {
    Declared {
        more: format!(
            "[[tenant]]\nname = \"quiet\"\n\
             [[site]]\ntenant = \"quiet\"\nname = \"shop\"\nhostnames = [\"quiet.test\"]\n\
             [[site.backend]]\naddress = \"{}\"\n",
            serve_ok()
        ),
        ..Declared::with_backends(backends)
    }
}

pub(crate) fn ask(client: &mut Peer, request: &[u8]) -> u16 {
    client.send(request);
    status(&client.receive_response().0)
}

/// However long it was promised that its connections are kept.
#[test]
fn a_tenant_with_many_idle_connections_makes_room_before_one_with_few() {
    let declared = Declared {
        site_timeouts: "{ keep_alive = \"1d\" }".to_owned(),
        ..beside_quiet([serve_ok()])
    };
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let mut quiet: Vec<Peer> = (0..5).map(|_| Peer::connect(plane.address())).collect();
    for client in &mut quiet {
        assert_eq!(ask(client, GET_QUIET), 200);
    }
    // A browser opens connections ahead of need.
    let mut ahead: Vec<Peer> = (0..5).map(|_| Peer::connect(plane.address())).collect();
    assert!(eventually(10, || plane.workers("connections") == 10));
    let mut hoard: Vec<Peer> = Vec::new();
    for _ in 0..2 * CLIENTS {
        let mut client = Peer::connect(plane.address());
        assert_eq!(ask(&mut client, GET), 200);
        hoard.push(client);
    }
    let closed = plane.hits("client_connections");
    assert!((205..=225).contains(&closed), "{closed} were closed");
    for client in quiet.iter_mut().chain(&mut ahead) {
        assert_eq!(ask(client, GET_QUIET), 200);
    }
    // Those that were idle longest went.
    for client in &mut hoard[..closed as usize] {
        let end = client.receive_all(Duration::from_secs(10));
        assert_eq!(end, (Vec::new(), End::Closed));
    }
    assert_eq!(ask(&mut hoard[closed as usize], GET), 200);
    assert_eq!(plane.hits("clients_turned_away"), 0);
    drop((quiet, ahead, hoard));
    plane.stop();
}

/// Nobody ends them for others, so there are not as many as there may be connections.
#[test]
fn tunnels_of_a_tenant_leave_room_for_others() {
    let backend = Backend::new().serve(|mut peer| {
        let head = peer.receive_head();
        if field(&head, "upgrade").is_none() {
            return peer.send(&ok(b"plain"));
        }
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
        peer.receive_all(Duration::from_secs(60));
    });
    let plane = Plane::start_with_open_files(&beside_quiet([backend]), OPEN_FILES);
    let mut tunnels = Vec::new();
    let mut refused = 0;
    for _ in 0..CLIENTS {
        let mut client = Peer::connect(plane.address());
        client.send(
            b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        );
        let head = client.receive_head();
        match status(&head) {
            101 => tunnels.push(client),
            503 => {
                assert_eq!(field(&head, "retry-after"), Some("1"), "{head}");
                refused += 1;
            }
            _ => panic!("{head}"),
        }
    }
    // Two connections each: three quarters of all.
    let of_tunnels = 2 * tunnels.len() as u64;
    let share = SOCKETS * 3 / 4;
    assert!(
        (share - 5..=share + 5).contains(&of_tunnels),
        "{of_tunnels}"
    );
    assert_eq!(plane.hits("limit_share"), refused);
    assert_eq!(plane.site("refused"), refused);
    quiet_is_served(&plane);
    assert_eq!(plane.hits("out_of_resources"), 0);
    // What ends leaves room.
    tunnels.truncate(10);
    assert!(eventually(10, || plane.workers("connections") < 20));
    let mut client = Peer::connect(plane.address());
    assert_eq!(ask(&mut client, GET), 200);
    drop((tunnels, client));
    plane.stop();
}

/// Requests that take their time are no idle connections either.
#[test]
fn slow_uploads_of_a_tenant_leave_room_for_others() {
    let backend = Backend::new().serve(|mut peer| {
        peer.receive_all(Duration::from_secs(60));
    });
    let declared = beside_quiet([backend])
        .timeouts("{ body = { bytes_per_second = 1, window = \"60s\" }, first_byte = \"60s\" }");
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let mut uploads: Vec<Peer> = Vec::new();
    for number in 1..=CLIENTS as u64 {
        let mut client = Peer::connect(plane.address());
        client.send(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\nx");
        uploads.push(client);
        // Some at a time: before they were looked at there may be more than there are descriptors.
        let seen = || plane.backend(0, "in_flight") + plane.hits("limit_share");
        assert!(number % 20 > 0 || eventually(20, || seen() == number));
    }
    // Who has no share is refused, and does not stay.
    let share = SOCKETS * 3 / 4 / 2;
    assert!(eventually(10, || {
        let refused = plane.hits("limit_share");
        refused >= CLIENTS as u64 - share - 5 && plane.workers("connections") <= share + 5
    }));
    quiet_is_served(&plane);
    assert_eq!(plane.hits("out_of_resources"), 0);
    drop(uploads);
    plane.stop();
}

/// Nor are heads that do not end; and beside them nobody's idle connections are closed for want of room
/// that is there.
#[test]
fn clients_that_do_not_say_whose_they_are_leave_room_for_others() {
    let declared = beside_quiet([serve_ok()]).timeouts("{ head = \"60s\" }");
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let mut quiet: Vec<Peer> = (0..40).map(|_| Peer::connect(plane.address())).collect();
    for client in &mut quiet {
        assert_eq!(ask(client, GET_QUIET), 200);
    }
    let mut slow: Vec<Peer> = Vec::new();
    for number in 1..=CLIENTS as u64 + 100 {
        let mut client = Peer::connect(plane.address());
        // It may be closed as it comes.
        let _ = std::io::Write::write_all(&mut client.stream, b"GET / HT");
        slow.push(client);
        // Some at a time: of many that come at once it is not known which are slow.
        let seen = || plane.workers("connections") + plane.hits("clients_turned_away");
        assert!(number % 20 > 0 || eventually(20, || seen() == 40 + number));
    }
    assert!(plane.hits("clients_turned_away") > 0);
    assert_eq!(plane.hits("accept_failed"), 0);
    // Who is known already is served as ever, over its connection and over new ones to its backend.
    for client in &mut quiet {
        assert_eq!(ask(client, GET_QUIET), 200);
    }
    assert_eq!(plane.hits("client_connections"), 0);
    // And so is who comes with a whole request, or from elsewhere with a part of one: of eight networks
    // hardly one stands in the line of the slow ones.
    assert_eq!(ask(&mut Peer::connect(plane.address()), GET_QUIET), 200);
    let (part, rest) = GET_QUIET.split_at(20);
    let elsewhere = (1..=8).map(|network| [127, 0, network, 1]);
    let mut elsewhere: Vec<Peer> = elsewhere
        .map(|from| Peer::connect_from(from.into(), plane.address()))
        .collect();
    for client in &mut elsewhere {
        client.send(part);
    }
    std::thread::sleep(Duration::from_millis(200));
    let served = elsewhere.iter_mut().filter_map(|client| {
        std::io::Write::write_all(&mut client.stream, rest).ok()?;
        let line = client.receive(12, Duration::from_secs(10));
        (line == b"HTTP/1.1 200").then_some(())
    });
    let served = served.count();
    assert!(served >= 5, "{served} of 8");
    drop(elsewhere);
    drop(slow);
    assert!(eventually(10, || plane.workers("connections") == 40));
    assert_eq!(ask(&mut Peer::connect(plane.address()), GET_QUIET), 200);
    plane.stop();
}

/// New clients of the quiet tenant, some at a time, with connections to its backend.
pub(crate) fn quiet_is_served(plane: &Plane) {
    let mut quiet: Vec<Peer> = (0..5).map(|_| Peer::connect(plane.address())).collect();
    for client in &mut quiet {
        client.send(GET_QUIET);
    }
    for client in &mut quiet {
        let (head, _) = client.receive_response();
        assert_eq!(status(&head), 200, "{head}");
    }
}
