//! Bodies by TLS: whole both ways, and nothing that was cut or changed on its way is taken for one.

use super::{GET, Scene, alert, of};
use crate::support::peer::{Backend, End, PATIENCE, Peer, field, pattern, status};
use crate::support::secure::SecurePeer;
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::SocketAddr;

/// Sends each request's body back.
fn echoing() -> SocketAddr {
    Backend::new().serve(|mut peer| {
        let mut head = Vec::new();
        while let [byte] = peer.receive(1, PATIENCE)[..] {
            head.push(byte);
            if head.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&head).into_owned();
                let length = field(&text, "content-length").map_or(0, |it| it.parse().unwrap());
                peer.send(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
                );
                let mut left: usize = length;
                while left > 0 {
                    let part = peer.receive(left.min(50_000), PATIENCE);
                    if part.is_empty() {
                        return;
                    }
                    left -= part.len();
                    peer.send(&part);
                }
                head.clear();
            }
        }
    })
}

#[test]
fn bodies_are_intact_both_ways_in_records_of_every_length() {
    let scene = Scene::with(|declared, _| declared.backends = vec![echoing()]);
    for version in [&TLS12, &TLS13] {
        for (length, record) in [
            (1, 1),
            (3_000, 1),
            (70_000, 33),
            (300_000, 1_000),
            (2_000_000, 16_384),
            (5_000_000, 0),
        ] {
            let mut client = scene.connect("shop.test", &of(version));
            client.shake_hands().expect("both are spoken");
            let body = pattern(length);
            let head =
                format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {length}\r\n\r\n");
            client.send(head.as_bytes());
            // What comes back has to be read meanwhile.
            let mut reader = SecureReader::of(client, &body, record);
            let (head, got) = reader.run();
            assert_eq!(status(&head), 200);
            assert!(
                got == body,
                "{length} in records of {record} by {version:?}"
            );
        }
    }
    scene.plane.finish();
}

/// Sends a body and reads the response beside that.
struct SecureReader<'b> {
    client: SecurePeer,
    left: &'b [u8],
    record: usize,
}

impl<'b> SecureReader<'b> {
    fn of(client: SecurePeer, body: &'b [u8], record: usize) -> SecureReader<'b> {
        SecureReader {
            client,
            left: body,
            record,
        }
    }

    fn run(&mut self) -> (String, Vec<u8>) {
        let mut got = Vec::new();
        let wanted = |got: &[u8]| {
            let end = got.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
            let head = String::from_utf8_lossy(&got[..end]).into_owned();
            let length: usize = field(&head, "content-length")?.parse().ok()?;
            Some((end, length, head))
        };
        let stream = self.client.stream.try_clone().expect("it can be shared");
        stream.set_nonblocking(true).expect("it is a socket");
        loop {
            let connection = &mut self.client.connection;
            if !self.left.is_empty() && !connection.wants_write() {
                let part = match self.record {
                    0 => self.left.len().min(64 * 1024),
                    record => record.min(self.left.len()),
                };
                let written = connection.writer().write(&self.left[..part]);
                self.left = &self.left[written.expect("it is buffered")..];
                if self.record == 33 && self.left.len().is_multiple_of(7) {
                    // Keys may change in the middle, where there is such a message.
                    let _ = connection.refresh_traffic_keys();
                }
            }
            while connection.wants_write() && connection.write_tls(&mut self.client.stream).is_ok()
            {
            }
            if connection.read_tls(&mut self.client.stream).is_ok() {
                connection.process_new_packets().expect("it is TLS");
                let mut room = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = connection.reader().read(&mut room) {
                    got.extend_from_slice(&room[..read]);
                }
            }
            if let Some((end, length, head)) = wanted(&got[..got.len().min(4096)])
                && got.len() >= end + length
            {
                stream.set_nonblocking(false).expect("it is a socket");
                self.client.notify();
                return (head, got.split_off(end));
            }
        }
    }
}

#[test]
fn what_was_cut_is_not_taken_for_all() {
    let scene = Scene::new();
    // A request whose end is missing, with an end that anybody could have made.
    let mut client = scene.client("shop.test");
    client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n");
    let mut peer = Peer::new(client.stream);
    peer.end();
    let (_, end) = peer.receive_all(PATIENCE);
    assert_eq!(end, End::Closed);
    assert_eq!(scene.plane.site("requests"), 0);
    assert_eq!(scene.plane.hits("client_abort"), 1);
    // A record of which a bit was changed on its way.
    let mut client = scene.client("shop.test");
    let mut record = Vec::new();
    client
        .connection
        .writer()
        .write_all(GET)
        .expect("it is buffered");
    client
        .connection
        .write_tls(&mut record)
        .expect("a Vec takes it");
    let last = record.len() - 1;
    record[last] ^= 1;
    client
        .stream
        .write_all(&record)
        .expect("the plane takes it");
    let error = loop {
        client
            .connection
            .read_tls(&mut client.stream)
            .expect("an answer");
        if let Err(error) = client.connection.process_new_packets() {
            break error;
        }
    };
    assert_eq!(error, alert(AlertDescription::BadRecordMac));
    assert_eq!(scene.plane.site("requests"), 0);
    drop((client, peer));
    scene.plane.finish();
}
