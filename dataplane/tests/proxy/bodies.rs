//! Large bodies: intact, held back by whoever reads slowly, in bounded memory.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, PATIENCE, Peer, answer_each, aside, ok, pattern, status};
use crate::support::plane::Plane;
use socket2::SockRef;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;
const BODY_BYTES: usize = 8 * MIB;
/// Everything must be through in this time, on a busy machine too.
const LONG: Duration = Duration::from_secs(30);

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n").into_bytes()
}

/// Takes the chunks of a body apart; the payload, and how many chunks it had.
fn read_chunks(peer: &mut Peer) -> (Vec<u8>, usize) {
    let mut payload = Vec::new();
    for count in 0.. {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let byte = peer.receive(1, PATIENCE);
            assert!(!byte.is_empty(), "the body ended after {count} chunks");
            line.extend(byte);
        }
        let digits = std::str::from_utf8(&line[..line.len() - 2]).expect("a size is text");
        let size = usize::from_str_radix(digits, 16).expect("a size is a number");
        let chunk = peer.receive(size + 2, LONG);
        assert!(chunk.len() == size + 2 && chunk.ends_with(b"\r\n"));
        payload.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return (payload, count);
        }
    }
    unreachable!("a range without an end")
}

#[test]
fn eight_mib_come_down_intact_in_every_framing() {
    let body = Arc::new(pattern(BODY_BYTES));
    let served = Arc::clone(&body);
    let backend = Backend::new().serve(move |peer| {
        let body = Arc::clone(&served);
        answer_each(peer, move |head| {
            if head.starts_with("GET /chunked ") {
                let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                for (index, piece) in body.chunks(100_003).enumerate() {
                    bytes.extend(format!("{:x};i={index}\r\n", piece.len()).bytes());
                    bytes.extend_from_slice(piece);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                bytes
            } else {
                ok(&body)
            }
        });
    });
    let plane = Plane::start(&Declared::with_backends([backend]));
    let mut client = Peer::connect(plane.address());
    client.send(&get("/length"));
    let (_, received) = client.receive_response();
    assert!(received == *body, "the body with a length is another");
    client.send(&get("/chunked"));
    let head = client.receive_head();
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n"),
        "{head}"
    );
    let (received, _) = read_chunks(&mut client);
    assert!(received == *body, "the chunked body is another");
    client.send(b"GET /chunked HTTP/1.0\r\nHost: shop.test\r\n\r\n");
    let head = client.receive_head();
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    let (received, end) = client.receive_all(LONG);
    assert_eq!(end, End::Closed);
    assert!(received == *body, "the body for HTTP/1.0 is another");
    drop(client);
    assert_eq!(plane.site("requests"), 3);
    assert!(plane.site("bytes_out") > 3 * BODY_BYTES as u64);
}

#[test]
fn eight_mib_go_up_intact_in_every_framing() {
    let body = Arc::new(pattern(BODY_BYTES));
    let wanted = Arc::clone(&body);
    let backend = Backend::new().serve(move |mut peer| {
        for _ in 0..2 {
            let head = peer.receive_head();
            let received = if head.contains("\r\nTransfer-Encoding: chunked\r\n") {
                read_chunks(&mut peer).0
            } else {
                peer.receive(BODY_BYTES, LONG)
            };
            let answer = if received == *wanted { "same" } else { "other" };
            peer.send(&ok(answer.as_bytes()));
        }
        peer.receive_all(PATIENCE);
    });
    let plane = Plane::start(&Declared::with_backends([backend]));
    let mut client = Peer::connect(plane.address());
    let head = format!("PUT / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    client.send(head.as_bytes());
    client.send(&body);
    assert_eq!(client.receive_response().1, b"same");
    client.send(b"PUT / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(77_777) {
        client.send(format!("{:X}\r\n", piece.len()).as_bytes());
        client.send(piece);
        client.send(b"\r\n");
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.receive_response().1, b"same");
    drop(client);
    assert!(plane.site("bytes_in") > 2 * BODY_BYTES as u64);
    plane.finish();
}

/// What slow readers hold of a worker is bounded by construction, so their own site is served too.
#[test]
fn fifty_readers_that_stop_leave_their_site_served() {
    const READERS: usize = 50;
    let backend = Backend::new().serve(|peer| {
        answer_each(peer, |head| match head.starts_with("GET /small ") {
            true => ok(b"small"),
            false => ok(&pattern(BODY_BYTES)),
        })
    });
    let plane = Plane::start(&Declared::with_backends([backend]));
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut client = Peer::connect_narrow(plane.address(), 16 * 1024);
        client.send(&get("/small"));
        assert_eq!(client.receive_response().1, b"small");
        client.send(&get("/"));
        readers.push(client);
    }
    for client in &mut readers {
        assert_eq!(status(&client.receive_head()), 200);
    }
    for _ in 0..20 {
        let mut client = Peer::connect(plane.address());
        client.send(&get("/small"));
        assert_eq!(client.receive_response().1, b"small");
        // That of the request that was just answered is given back in a moment.
        let held = || plane.workers("buffers_in_use");
        assert!(
            eventually(10, || held() <= 2 * READERS as u64),
            "{} buffers are held",
            held()
        );
    }
    assert_eq!(plane.hits("receive_over_share"), 0);
    drop(readers);
    assert!(eventually(30, || plane.workers("buffers_in_use") == 0));
}

/// Twenty clients that read 8 MiB each at a crawl, and only then at full speed: what is on its
/// way stays in the kernel, the backend is held back, and every byte arrives.
#[test]
fn slow_readers_hold_the_backend_back_in_bounded_memory() {
    const READERS: usize = 20;
    let body = Arc::new(pattern(BODY_BYTES));
    let (served, taken) = (Arc::clone(&body), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&taken);
    let backend = Backend::new().serve(move |mut peer| {
        peer.receive_head();
        peer.stream.set_write_timeout(Some(LONG)).expect("not zero");
        // The kernel would take megabytes from us that nobody has read.
        SockRef::from(&peer.stream)
            .set_send_buffer_size(64 * 1024)
            .expect("a small buffer is allowed");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        peer.send(head.as_bytes());
        for piece in served.chunks(64 * 1024) {
            peer.send(piece);
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    let plane = Plane::start(&Declared::with_backends([backend]));
    let before = plane.resident_bytes();
    let address = plane.address();
    let mut clients: Vec<Peer> = (0..READERS)
        .map(|_| {
            let mut client = Peer::connect_narrow(address, 16 * 1024);
            client.send(&get("/"));
            client
        })
        .collect();
    let mut received: Vec<Vec<u8>> = clients
        .iter_mut()
        .map(|client| {
            assert_eq!(status(&client.receive_head()), 200);
            Vec::with_capacity(BODY_BYTES)
        })
        .collect();
    let mut grown = 0;
    for _ in 0..10 {
        for (client, received) in clients.iter_mut().zip(&mut received) {
            received.extend(client.receive(2048, PATIENCE));
        }
        std::thread::sleep(Duration::from_millis(30));
        grown = grown.max(plane.resident_bytes().saturating_sub(before));
    }
    let held_back = taken.load(Ordering::Relaxed);
    eprintln!("held back after {held_back} bytes");
    assert!(
        held_back < (READERS * 2 * MIB) as u64,
        "backends have sent {held_back} bytes to readers that read next to nothing"
    );
    assert!(grown < 16 * MIB as u64, "memory grew by {grown} bytes");
    let readers: Vec<_> = clients
        .into_iter()
        .zip(received)
        .map(|(mut client, mut received)| {
            aside(move || {
                let missing = BODY_BYTES - received.len();
                received.extend(client.receive(missing, LONG));
                received
            })
        })
        .collect();
    for reader in readers {
        let received = reader.join().expect("it reads");
        assert!(received == *body, "a slow reader's body is another");
    }
    let grown = plane.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "memory grew by {grown} bytes");
    eprintln!("{READERS} slow readers: {grown} bytes more resident");
    plane.finish();
}

#[test]
fn a_backend_that_reads_slowly_holds_the_client_back() {
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let mut client = Peer::connect(plane.address());
    let head = format!(
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n",
        64 * MIB
    );
    client.send(head.as_bytes());
    let mut server = backend.accept();
    server.receive_head();
    let before = plane.resident_bytes();
    client
        .stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("not zero");
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while let Ok(count) = client.stream.write(&piece) {
        sent += count;
        assert!(sent < 64 * MIB, "nobody held the client back");
    }
    let grown = plane.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "memory grew by {grown} bytes");
    let reading = aside(move || server.receive_all(PATIENCE));
    assert!(
        eventually(5, || client.stream.write(&piece).is_ok()),
        "a backend that reads again lets the client go on"
    );
    drop(client);
    let (received, end) = reading.join().expect("it reads");
    assert!(received.len() >= sent, "{} of {sent} came", received.len());
    assert_ne!(end, End::Open);
    plane.finish();
}

#[test]
fn a_reader_without_progress_is_cut_off() {
    let backend = Backend::new().serve(|mut peer| {
        peer.receive_head();
        let _ = peer.stream.write_all(&ok(&vec![b'x'; 32 * MIB]));
        peer.receive_all(PATIENCE);
    });
    let declared = Declared::with_backends([backend]).timeouts("{ write = \"300ms\" }");
    let plane = Plane::start(&declared);
    let mut client = Peer::connect_narrow(plane.address(), 16 * 1024);
    client.send(&get("/"));
    client.receive_head();
    assert!(eventually(10, || plane.hits("write_timeout") == 1));
    assert_eq!(client.receive_all(PATIENCE).1, End::Reset);
    assert_eq!(plane.site("cut"), 1);
    drop(client);
    plane.finish();
}

/// Both bodies at once: a backend that answers with what it is sent, while it is sent.
#[test]
fn an_echo_streams_in_both_directions_at_once() {
    let body = Arc::new(pattern(BODY_BYTES));
    let backend = Backend::new().serve(|mut peer| {
        peer.receive_head();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        peer.send(head.as_bytes());
        let mut room = vec![0; 48 * 1024];
        let mut left = BODY_BYTES;
        while left > 0 {
            let count = peer.stream.read(&mut room).expect("it flows");
            peer.send(&room[..count]);
            left -= count;
        }
        peer.receive_all(PATIENCE);
    });
    let plane = Plane::start(&Declared::with_backends([backend]));
    let mut client = Peer::connect(plane.address());
    let head =
        format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    client.send(head.as_bytes());
    let sender = {
        let mut stream = client.stream.try_clone().expect("it can be shared");
        let body = Arc::clone(&body);
        aside(move || stream.write_all(&body).expect("it flows"))
    };
    client.receive_head();
    let received = client.receive(BODY_BYTES, LONG);
    sender.join().expect("it was sent");
    assert!(received == *body, "the echo is another");
    drop(client);
    plane.finish();
}

#[test]
fn a_client_that_goes_away_in_a_download_ends_it_upstream() {
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let mut client = Peer::connect(plane.address());
    client.send(&get("/"));
    let mut server = backend.accept();
    server.receive_head();
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nx");
    client.receive_head();
    drop(client);
    let begun = Instant::now();
    let piece = vec![b'x'; 64 * 1024];
    while server.stream.write_all(&piece).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "the backend may send for ever");
    }
    assert!(eventually(5, || plane.hits("client_abort") == 1));
    drop(server);
    plane.finish();
}

#[test]
fn a_backend_that_takes_nothing_is_too_slow() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]).timeouts("{ write = \"300ms\" }");
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    client.send(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000000\r\n\r\n");
    let server = backend.accept();
    let sender = {
        let mut stream = client.stream.try_clone().expect("it can be shared");
        aside(move || while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {})
    };
    let (head, _) = client.receive_response();
    assert_eq!(status(&head), 504);
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert_eq!(plane.hits("first_byte_timeout"), 1);
    drop(client);
    drop(server);
    sender.join().expect("it was let go");
    plane.finish();
}

/// A backend that refuses an upload and closes, with most of it unread: that resets our
/// connection to it, and its answer must get through all the same.
#[test]
fn an_early_refusal_reaches_a_client_that_still_sends() {
    let backend = Backend::new().serve(|mut peer| {
        peer.receive_head();
        peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
    });
    let plane = Plane::start(&Declared::with_backends([backend]));
    for _ in 0..20 {
        let mut client = Peer::connect(plane.address());
        client.send(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000000\r\n\r\n");
        let sender = {
            let mut stream = client.stream.try_clone().expect("it can be shared");
            aside(move || while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {})
        };
        let (head, body) = client.receive_response();
        assert_eq!((status(&head), &*body), (413, &b"big"[..]));
        drop(client);
        sender.join().expect("it was let go");
    }
    assert_eq!(plane.site("responses_4xx"), 20);
    plane.finish();
}

/// The kernel takes more of a send only once a third of what it holds has gone; for a reader
/// like this one that is longer than `write`, though it never stops.
#[test]
fn a_reader_that_is_slow_but_steady_is_not_cut_off() {
    let backend = Backend::new();
    let declared = Declared::with_backends([backend.address]).timeouts("{ write = \"600ms\" }");
    let plane = Plane::start(&declared);
    let server = aside(move || {
        let mut peer = backend.accept();
        peer.receive_head();
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
        let piece = vec![0; 1 << 20];
        while peer.stream.write_all(&piece).is_ok() {}
    });
    let mut client = Peer::connect_narrow(plane.address(), 64 * 1024);
    client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.receive_head();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let got = client.receive(16 * 1024, PATIENCE);
        assert_eq!(got.len(), 16 * 1024, "cut after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(40));
    }
    assert_eq!(plane.hits("write_timeout"), 0);
    // One that stops is cut off as ever.
    assert!(eventually(5, || plane.hits("write_timeout") == 1));
    client.reset();
    server.join().expect("the backend ends");
    plane.finish();
}
