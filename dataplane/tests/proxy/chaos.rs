//! Clients and backends that do anything at any time: nothing may be left behind, and whatever looks
//! like an answer is one.

use crate::support::manifest::Declared;
use crate::support::message::{Message, Read as Answer, read_response};
use crate::support::peer::{Backend, End, Peer, aside};
use crate::support::plane::{Plane, number};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CLIENTS: u64 = 8;
const CONNECTIONS_PER_CLIENT: u64 = 60;

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// The seed is printed; `SEED` runs one again.
#[test]
fn nothing_is_left_behind_and_no_answer_is_wrong_whatever_peers_do() {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    eprintln!("SEED={seed}");
    let turns = Arc::new(AtomicU64::new(seed));
    let backends: Vec<_> = (0..3)
        .map(|_| {
            let turns = Arc::clone(&turns);
            Backend::new().serve(move |peer| {
                let dice = Dice(turns.fetch_add(0x1234_5678_9abc_def1, Ordering::Relaxed));
                misbehave_behind(peer, dice);
            })
        })
        .collect();
    let declared = Declared {
        workers: 2,
        ..Declared::with_backends(backends).timeouts(
            "{ first_byte = \"300ms\", response_gap = \"300ms\", upstream_idle = \"1s\" }",
        )
    };
    let plane = Plane::start(&declared);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = plane.address();
            aside(move || {
                let mut dice = Dice(seed ^ (client << 32));
                for _ in 0..CONNECTIONS_PER_CLIENT {
                    misbehave_before(Peer::connect(address), &mut dice);
                }
            })
        })
        .collect();
    for client in clients {
        client
            .join()
            .expect("a client of the test itself never fails");
    }
    let status = plane.settle();
    let site = &status["sites"][0];
    let classes = [
        "responses_2xx",
        "responses_3xx",
        "responses_4xx",
        "responses_5xx",
    ];
    let sum: u64 = classes.iter().map(|class| number(site, class)).sum();
    assert_eq!(number(site, "requests"), sum);
    assert!(
        sum > CLIENTS * CONNECTIONS_PER_CLIENT / 4,
        "only {sum} were served"
    );
    plane.finish();
}

fn misbehave_before(mut peer: Peer, dice: &mut Dice) {
    let requests: &[&[u8]] = &[
        b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n",
        b"GET /b HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n\r\n",
        b"POST /c HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT /d HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET /e HTTP/1.1\r\nHost: other.test\r\n\r\n",
        b"POST /f HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\nonly the beginning",
        b"GET /g HTTP/1.1\r\nHost : shop.test\r\n\r\n",
        b"PUT /h HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ];
    let mut bytes = Vec::new();
    for _ in 0..=dice.roll(4) {
        bytes.extend_from_slice(requests[dice.roll(requests.len() as u64) as usize]);
    }
    if dice.roll(6) == 0 {
        bytes.truncate(dice.roll(bytes.len() as u64) as usize);
    }
    let cut = dice.roll(bytes.len() as u64 + 1) as usize;
    for part in [&bytes[..cut], &bytes[cut..]] {
        if peer.stream.write_all(part).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_micros(dice.roll(800)));
    }
    match dice.roll(6) {
        0 => peer.reset(),
        1 => drop(peer),
        2 => {
            peer.receive(dice.roll(300) as usize, Duration::from_millis(50));
            peer.reset();
        }
        3 => {
            let _ = peer.stream.shutdown(std::net::Shutdown::Write);
            check_answers(peer.receive_all(Duration::from_millis(500)));
        }
        _ => check_answers(peer.receive_all(Duration::from_millis(60))),
    }
}

/// Whole answers are those of a backend or ours, and what is no whole one is cut with a reset.
fn check_answers((mut bytes, end): (Vec<u8>, End)) {
    loop {
        match read_response(&bytes, false, end == End::Closed) {
            Answer::Whole(message) => {
                check_answer(&message);
                bytes.drain(..message.bytes);
            }
            Answer::Partial(_) => break,
            Answer::Broken(what) => panic!("a response with {what}"),
        }
    }
    let rest = String::from_utf8_lossy(&bytes);
    assert!(
        end != End::Closed || rest.is_empty(),
        "an end in order after {rest:?}"
    );
}

fn check_answer(message: &Message) {
    let status = message.status();
    let right = match status {
        200 => {
            // To its end a body is all that came, also what answered the rest of a request.
            message.body == b"hello" || message.body.starts_with(b"until the end")
        }
        103 | 204 | 302 => message.body.is_empty(),
        400 | 404 | 408 | 502 | 503 | 504 => {
            let words = message.line.strip_prefix("HTTP/1.1 ");
            message.body == format!("{}\n", words.unwrap_or_default()).as_bytes()
        }
        _ => false,
    };
    let body = String::from_utf8_lossy(&message.body);
    assert!(right, "{:?} with {body:?}", message.line);
}

fn misbehave_behind(mut peer: Peer, mut dice: Dice) {
    let answers: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200",
        b"",
    ];
    let mut room = vec![0; 16 * 1024];
    loop {
        match peer.stream.read(&mut room) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        std::thread::sleep(Duration::from_micros(dice.roll(1500)));
        let answer = answers[dice.roll(answers.len() as u64) as usize];
        let (pieces, pause_us) = match dice.roll(6) {
            // It trickles, and it hangs in the middle.
            0 => (1, 2_000),
            1 => (answer.len() / 2 + 1, 400_000),
            _ => (answer.len() + 1, 0),
        };
        for piece in answer.chunks(pieces) {
            if peer.stream.write_all(piece).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_micros(pause_us));
        }
        match dice.roll(8) {
            0 => return peer.reset(),
            1 => return,
            _ => {}
        }
    }
}
