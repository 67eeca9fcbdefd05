//! A message in more than one record once the handshake is over, from a client that writes its records
//! itself: the connection moves what it has seen of such, so that they are records no more.

use super::{Scene, of};
use crate::support::secure::config;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::version::TLS13;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

const HANDSHAKE: u8 = 22;
/// KeyUpdate (RFC 8446 §4.6.3).
const KEY_UPDATE: u8 = 24;

/// What a client of TLS 1.3 seals its records with.
struct Records {
    stream: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Records {
    /// Of a client that has made its handshake.
    fn after_handshake(scene: &Scene) -> Records {
        let mut config = config(&[&TLS13]);
        config.enable_secret_extraction = true;
        let mut client = scene.connect("shop.test", &Arc::new(config));
        client.shake_hands().expect("it is the site's name");
        client.flush();
        let stream = client.stream;
        let secrets = client.connection.dangerous_extract_secrets();
        let ExtractedSecrets { tx, rx: _ } = secrets.expect("they may be extracted");
        let (sequence, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = tx else {
            panic!("it is the first of the suites");
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("it is long enough");
        Records {
            stream,
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().expect("it has 12 bytes"),
            sequence,
        }
    }

    /// One record (RFC 8446 §5.2).
    fn sealed(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        let length = (content.len() + 1 + AES_128_GCM.tag_len()) as u16;
        let header = [&[23, 3, 3][..], &length.to_be_bytes()].concat();
        let mut sealed = [content, &[kind]].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        (self.key)
            .seal_in_place_append_tag(nonce, Aad::from(&header), &mut sealed)
            .expect("it is short enough");
        [header, sealed].concat()
    }

    fn send(&mut self, bytes: &[u8]) {
        // It may have been closed before it has all of it.
        let _ = self.stream.write_all(bytes);
    }
}

/// With what looks like the header of a record where the second one's would be, of which nothing is
/// missing, the worker went round for ever.
#[test]
fn what_was_taken_apart_is_not_read_as_records_again() {
    let scene = Scene::new();
    let mut client = Records::after_handshake(&scene);
    let begin = [KEY_UPDATE, 0, 0x0f, 0xa0];
    for at in [13, 17, 18, 22] {
        let mut second = [0; 200];
        second[at..at + 5].copy_from_slice(&[23, 3, 3, 0xff, 0xff]);
        let mut both = client.sealed(HANDSHAKE, &begin);
        both.extend(client.sealed(HANDSHAKE, &second));
        client.send(&both);
        client.send(&[23, 3, 3, 0, 32, 1, 1, 1]);
        // The one worker goes on.
        let mut other = scene.client("shop.test");
        other
            .connection
            .writer()
            .write_all(super::GET)
            .expect("it has room");
        other.flush();
        client = Records::after_handshake(&scene);
    }
    drop(client);
    let mut last = scene.connect("shop.test", &of(&TLS13));
    last.shake_hands().expect("the worker is there");
}

/// In three records, each of them in two pieces, the last behind the others: a message as good as another.
#[test]
fn a_message_may_come_in_many_records_and_pieces() {
    let scene = Scene::new();
    let mut client = Records::after_handshake(&scene);
    let update = [KEY_UPDATE, 0, 0, 1, 0];
    let mut sealed = Vec::new();
    for part in [&update[..2], &update[2..4], &update[4..]] {
        sealed.push(client.sealed(HANDSHAKE, part));
    }
    for record in sealed {
        let (first, rest) = record.split_at(9);
        client.send(first);
        std::thread::sleep(std::time::Duration::from_millis(20));
        client.send(rest);
    }
    client
        .stream
        .set_read_timeout(Some(std::time::Duration::from_millis(300)))
        .expect("it is longer than nothing");
    // It was no fault: the tickets apart, nothing is said to it, and it stays open.
    let mut bytes = [0; 4096];
    loop {
        match std::io::Read::read(&mut client.stream, &mut bytes) {
            Ok(0) => panic!("it was closed"),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
}
