//! What goes through behind a 101, and what it costs. The handshake and the ends are in the
//! conversations `tests/wire/tunnel*`.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, PATIENCE, Peer, aside, pattern};
use crate::support::plane::Plane;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

const ASKED: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(60);

/// Asks for a tunnel over a connection, and grants it.
fn open_over(mut client: Peer, backend: &Backend) -> (Peer, Peer) {
    client.send(ASKED);
    let mut server = backend.accept();
    server.receive_head();
    server.send(SWITCHED);
    client.receive_head();
    (client, server)
}

fn open(plane: &Plane, backend: &Backend) -> (Peer, Peer) {
    open_over(Peer::connect(plane.address()), backend)
}

/// Bytes of the heads that a client of [`open`] receives.
fn answer_bytes() -> u64 {
    (SWITCHED.len() + b"Via: 1.1 meridian-wire\r\n".len()) as u64
}

#[test]
fn one_side_ends_and_the_other_goes_on_for_as_long_as_it_likes() {
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let body = pattern(3 * MIB);
    let (client, server) = open(&plane, &backend);
    let (client_of_second, server_of_second) = open(&plane, &backend);
    for (mut first, mut second) in [(client, server), (server_of_second, client_of_second)] {
        first.send(b"that is all");
        first.end();
        let (bytes, end) = second.receive_all(PATIENCE);
        assert_eq!((&*bytes, end), (&b"that is all"[..], End::Closed));
        // Longer than any time that a request has for one of its steps would be too long for a
        // test; that none is asked for is in tunnel_idle_not_response_gap.
        let sender = {
            let body = body.clone();
            aside(move || {
                second.send(&body);
                second.end();
                second
            })
        };
        let (received, end) = first.receive_all(LONG);
        assert_eq!(end, End::Closed);
        assert!(received == body, "the other half brought something else");
        sender.join().expect("it was sent");
    }
    let status = plane.settle();
    let site = &status["sites"][0];
    let both = (body.len() + b"that is all".len()) as u64;
    assert_eq!(site["bytes_in"], 2 * ASKED.len() as u64 + both);
    assert_eq!(site["bytes_out"], 2 * answer_bytes() + both);
    assert_eq!(
        (&site["requests"], &site["responses_2xx"]),
        (&2.into(), &2.into())
    );
    assert_eq!(site["cut"], 0);
    plane.finish();
}

/// Both sides send at once, and neither reads until its peer is held back.
#[test]
fn readers_that_do_not_read_hold_their_senders_back_in_bounded_memory() {
    const TUNNELS: usize = 8;
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let body = Arc::new(pattern(16 * MIB));
    let (first, other) = open(&plane, &backend);
    let before = plane.resident_bytes();
    let mut peers = vec![first, other];
    for _ in 1..TUNNELS {
        let (client, server) = open(&plane, &backend);
        peers.extend([client, server]);
    }
    let sent = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = peers
        .iter()
        .map(|peer| {
            // The kernel would take megabytes from us that nobody has read.
            let small = SockRef::from(&peer.stream).set_send_buffer_size(64 * 1024);
            small.expect("a small buffer is allowed");
            let mut stream = peer.stream.try_clone().expect("it can be shared");
            stream.set_write_timeout(Some(LONG)).expect("not zero");
            let (body, sent) = (Arc::clone(&body), Arc::clone(&sent));
            aside(move || {
                for piece in body.chunks(64 * 1024) {
                    stream.write_all(piece).expect("it flows in the end");
                    sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut so_far = 0;
    let held = eventually(20, || {
        std::thread::sleep(Duration::from_millis(300));
        so_far == std::mem::replace(&mut so_far, sent.load(Ordering::Relaxed))
    });
    assert!(held && so_far > 0, "{so_far} bytes, and still more");
    let all = (2 * TUNNELS * body.len()) as u64;
    assert!(
        so_far < all / 2,
        "nobody was held back before {so_far} bytes"
    );
    let grown = plane.resident_bytes().saturating_sub(before);
    eprintln!("{TUNNELS} tunnels that stand still: {grown} bytes more resident");
    assert!(grown < 16 * MIB as u64, "memory grew by {grown} bytes");
    // One in each direction, and what came while the receives of the requests were stopped.
    let buffers = plane.workers("buffers_in_use");
    eprintln!("and {buffers} buffers");
    assert!(buffers <= 3 * TUNNELS as u64, "{buffers} buffers are held");
    let readers: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            let body = Arc::clone(&body);
            aside(move || assert!(peer.receive(body.len(), LONG) == *body, "other bytes came"))
        })
        .collect();
    for thread in senders.into_iter().chain(readers) {
        thread.join().expect("all of it passes");
    }
    let status = plane.settle();
    assert_eq!(status["sites"][0]["cut"], 0);
    plane.finish();
}

#[test]
fn what_a_client_sends_before_the_switch_waits_in_bounded_memory() {
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let before = plane.resident_bytes();
    let body = Arc::new(pattern(32 * MIB));
    let mut client = Peer::connect(plane.address());
    client.send(ASKED);
    let sent = Arc::new(AtomicU64::new(0));
    let sender = {
        let mut stream = client.stream.try_clone().expect("it can be shared");
        stream.set_write_timeout(Some(LONG)).expect("not zero");
        let (body, sent) = (Arc::clone(&body), Arc::clone(&sent));
        aside(move || {
            for piece in body.chunks(64 * 1024) {
                stream.write_all(piece).expect("it flows in the end");
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        })
    };
    let mut server = backend.accept();
    server.receive_head();
    let mut so_far = 0;
    let held = eventually(20, || {
        std::thread::sleep(Duration::from_millis(300));
        so_far == std::mem::replace(&mut so_far, sent.load(Ordering::Relaxed))
    });
    assert!(
        held && so_far < body.len() as u64 / 2,
        "{so_far} bytes ahead"
    );
    let grown = plane.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "memory grew by {grown} bytes");
    server.stream.set_nonblocking(true).expect("it is a socket");
    let early = server.stream.read(&mut [0]);
    assert_eq!(
        early.expect_err("nothing may come").kind(),
        io::ErrorKind::WouldBlock
    );
    server
        .stream
        .set_nonblocking(false)
        .expect("it is a socket");
    server.send(SWITCHED);
    assert!(
        server.receive(body.len(), LONG) == *body,
        "other bytes came"
    );
    sender.join().expect("all of it passes");
    drop((client, server));
    plane.finish();
}

#[test]
fn a_side_that_takes_nothing_is_cut_off() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]).timeouts("{ write = \"400ms\" }");
    let plane = Plane::start(&declared);
    let narrow = Peer::connect_narrow(plane.address(), 16 * 1024);
    let (mut client, mut server) = open_over(narrow, &backend);
    let piece = vec![b'x'; 64 * 1024];
    server
        .stream
        .set_write_timeout(Some(LONG))
        .expect("not zero");
    while server.stream.write_all(&piece).is_ok() {}
    assert!(eventually(10, || plane.hits("write_timeout") == 1));
    assert_eq!(client.receive_all(PATIENCE).1, End::Reset);

    let (mut client, server) = open(&plane, &backend);
    client
        .stream
        .set_write_timeout(Some(LONG))
        .expect("not zero");
    while client.stream.write_all(&piece).is_ok() {}
    assert!(eventually(10, || plane.hits("tunnel_write_timeout") == 1));
    assert_eq!(plane.site("cut"), 2);
    drop((client, server));
    plane.finish();
}

/// A stream of which every byte is counted.
struct Counted {
    stream: TcpStream,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(room)?;
        self.received.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Of a library for WebSocket, which would have 128 KiB for each connection.
fn small() -> Option<WebSocketConfig> {
    Some(WebSocketConfig::default().read_buffer_size(4096))
}

/// A server of a real library for WebSocket that sends back what it gets.
fn serve_echoes() -> SocketAddr {
    Backend::new().serve(|peer| {
        peer.stream.set_read_timeout(None).expect("none is allowed");
        let Ok(mut socket) = tungstenite::accept_with_config(peer.stream, small()) else {
            return;
        };
        while let Ok(message) = socket.read() {
            if !message.is_close() && socket.send(message).is_err() {
                return;
            }
        }
    })
}

/// What a client's socket says `turn` times, and whether it comes back.
fn echo(socket: &mut WebSocket<Counted>, name: usize, turn: usize) {
    let said = match turn % 3 {
        0 => Message::text(format!("{name} says {turn}")),
        1 => Message::binary(pattern(name * 37 % 5000)),
        _ => Message::binary(vec![turn as u8; 70_000]),
    };
    socket.send(said.clone()).expect("the tunnel takes it");
    assert_eq!(
        socket.read().expect("it comes back"),
        said,
        "{name}, {turn}"
    );
}

/// Clients and servers of a real library, and a thousand tunnels between them that live through
/// revisions which take away and bring back their backends, their hostname and their time.
#[test]
fn a_thousand_websockets_live_through_changes_of_configuration() {
    const THREADS: usize = 8;
    const EACH: usize = 125;
    const ROUNDS: usize = 8;
    let backends = [serve_echoes(), serve_echoes()];
    let declared = Declared {
        workers: 2,
        ..Declared::with_backends(backends)
    };
    let mut plane = Plane::start(&declared);
    let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let round = Arc::new(Barrier::new(THREADS + 1));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (address, round) = (plane.address(), Arc::clone(&round));
            let stop = Arc::clone(&stop);
            let (sent, received) = (Arc::clone(&sent), Arc::clone(&received));
            aside(move || {
                let mut sockets: Vec<_> = (0..EACH)
                    .map(|_| {
                        let stream = Peer::connect(address).stream;
                        stream.set_read_timeout(Some(LONG)).expect("not zero");
                        let (sent, received) = (Arc::clone(&sent), Arc::clone(&received));
                        let counted = Counted {
                            stream,
                            sent,
                            received,
                        };
                        let asked = "ws://shop.test/chat";
                        let opened =
                            tungstenite::client::client_with_config(asked, counted, small());
                        opened.expect("it switches").0
                    })
                    .collect();
                round.wait();
                let mut last = false;
                for turn in 0.. {
                    for (index, socket) in sockets.iter_mut().enumerate() {
                        echo(socket, thread * EACH + index, turn);
                    }
                    if last {
                        break;
                    }
                    last = stop.load(Ordering::Relaxed);
                }
                for socket in &mut sockets {
                    socket.close(None).expect("the tunnel takes it");
                    while socket.read().is_ok() {}
                }
            })
        })
        .collect();
    round.wait();
    assert_eq!(plane.workers("connections"), 1000);
    let elsewhere = Declared {
        workers: 2,
        hostnames: vec!["other.test".to_owned()],
        site_timeouts: "{ tunnel_idle = \"1ms\" }".to_owned(),
        ..Declared::default()
    };
    let only = |index: usize| Declared {
        workers: 2,
        ..Declared::with_backends([backends[index]])
    };
    for _ in 0..ROUNDS {
        for next in [&only(0), &elsewhere, &only(1), &declared] {
            plane.reload(next);
            std::thread::sleep(Duration::from_millis(25));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("every echo is right");
    }
    let status = plane.settle();
    let site = &status["sites"][0];
    for (column, wanted) in [
        ("requests", 1000),
        ("responses_2xx", 1000),
        ("connections", 1000),
        ("cut", 0),
        ("bytes_in", sent.load(Ordering::Relaxed)),
        ("bytes_out", received.load(Ordering::Relaxed)),
    ] {
        assert_eq!(site[column], wanted, "{column}");
    }
    plane.finish();
}

#[test]
fn an_idle_tunnel_costs_little_and_holds_no_buffer() {
    const TUNNELS: usize = 1000;
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let warm: Vec<_> = (0..50).map(|_| open(&plane, &backend)).collect();
    plane.status();
    let before = plane.resident_bytes();
    let mut tunnels: Vec<_> = (0..TUNNELS).map(|_| open(&plane, &backend)).collect();
    for (client, server) in &mut tunnels {
        client.send(b"ping");
        assert_eq!(server.receive(4, PATIENCE), b"ping");
        server.send(b"pong");
        assert_eq!(client.receive(4, PATIENCE), b"pong");
    }
    assert!(eventually(10, || plane.workers("buffers_in_use") == 0));
    assert_eq!(plane.backend(0, "in_flight"), (TUNNELS + warm.len()) as u64);
    let each = plane.resident_bytes().saturating_sub(before) / TUNNELS as u64;
    eprintln!("an idle tunnel costs {each} bytes of resident memory");
    assert!(each < 2048, "{each} bytes for an idle tunnel");
    drop((warm, tunnels));
    plane.finish();
}

/// A site of a thousand hostnames is some 100 KiB: a tunnel that held on to the one that it was
/// opened under would show.
#[test]
fn tunnels_let_go_of_the_revisions_that_they_were_opened_under() {
    const REVISIONS: usize = 60;
    let backend = Backend::new();
    let declared = |revision: usize| {
        let mut declared = Declared::with_backends([backend.address]);
        let names = (1..1000).map(|name| format!("{name}.{}.r{revision}.test", "x".repeat(60)));
        declared.hostnames.extend(names);
        declared
    };
    let mut plane = Plane::start(&declared(0));
    let mut tunnels = Vec::new();
    let mut grown = Vec::new();
    for open_tunnels in [false, true] {
        let before = plane.resident_bytes();
        for revision in 1..=REVISIONS {
            plane.reload(&declared(revision + REVISIONS * usize::from(open_tunnels)));
            if open_tunnels {
                tunnels.push(open(&plane, &backend));
            }
        }
        grown.push(plane.resident_bytes() as i64 - before as i64);
    }
    eprintln!("grown by {grown:?} bytes, without and with tunnels");
    assert!(grown[1] < 3 * MIB as i64, "{grown:?} bytes");
    let (client, server) = &mut tunnels[0];
    client.send(b"ping");
    assert_eq!(server.receive(4, PATIENCE), b"ping");
    drop(tunnels);
    plane.finish();
}

#[test]
fn a_drain_leaves_tunnels_alone_until_its_end() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]).timeouts("{ drain = \"2s\" }");
    let mut plane = Plane::start(&declared);
    let (mut client, mut server) = open(&plane, &backend);
    plane.signal("TERM");
    assert!(eventually(5, || plane.status()["draining"] == true));
    client.send(b"ping");
    assert_eq!(server.receive(4, PATIENCE), b"ping");
    server.send(b"pong");
    assert_eq!(client.receive(4, PATIENCE), b"pong");
    assert_eq!(plane.wait(10).code(), Some(0));
    assert_ne!(client.receive_all(PATIENCE).1, End::Open);
    assert_ne!(server.receive_all(PATIENCE).1, End::Open);

    // Where the last of them ends before, the drain does too.
    let declared = Declared::with_backends([backend.address]).timeouts("{ drain = \"1h\" }");
    let mut plane = Plane::start(&declared);
    let (client, server) = open(&plane, &backend);
    plane.signal("TERM");
    assert!(eventually(5, || plane.status()["draining"] == true));
    drop((client, server));
    assert_eq!(plane.wait(10).code(), Some(0));
}
