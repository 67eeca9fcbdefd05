//! Over UDP: batches, both families, the rate of responses.

use crate::query::*;
use crate::responder::*;
use std::net::{SocketAddr, UdpSocket};

fn rcode(response: &[u8]) -> u8 {
    response[3] & 0xf
}

fn is_truncated(response: &[u8]) -> bool {
    response[2] & 2 != 0
}

fn answers(response: &[u8]) -> u16 {
    u16::from_be_bytes([response[6], response[7]])
}

#[test]
fn many_at_once_each_get_their_own_answer() {
    let responder = Responder::start(&Declared {
        workers: 2,
        dns: "[dns.rate]\nresponses_per_second = 1000000".to_owned(),
        ..Declared::default()
    });
    let clients: Vec<UdpSocket> = (0..8).map(|_| responder.client()).collect();
    for round in 0..10_u16 {
        for n in 0..40_u16 {
            for client in &clients {
                let mut query = plain(SHOP, 1);
                query[..2].copy_from_slice(&(round * 100 + n).to_be_bytes());
                client.send(&query).expect("it goes");
            }
        }
        for client in &clients {
            let mut ids = Vec::new();
            for _ in 0..40 {
                let mut got = [0; 512];
                let length = client.recv(&mut got).expect("it is answered");
                assert_eq!((rcode(&got), answers(&got[..length])), (0, 2));
                ids.push(u16::from_be_bytes([got[0], got[1]]));
            }
            ids.sort_unstable();
            assert!(ids.into_iter().eq(round * 100..round * 100 + 40));
        }
    }
    let counted = &responder.status()["counters"];
    assert_eq!(counted["queries"]["udp"], 3200);
    assert_eq!(counted["responses"]["service"], 3200);
    assert_eq!(counted["unsent"], 0);
    let usage = responder.ask(r#"{"op":"usage"}"#);
    let sites = usage["sites"].as_array().expect("a list");
    // An id and 14 numbers by now, of which the last is queries of DNS.
    assert_eq!((sites.len(), &sites[0][14]), (1, &3200.into()));
}

#[test]
fn both_families_are_answered_on_every_address() {
    let responder = Responder::start(&Declared {
        listen: ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"]
            .map(|it| it.parse().expect("an address"))
            .to_vec(),
        workers: 2,
        ..Declared::default()
    });
    assert_eq!(responder.addresses.len(), 4);
    for address in responder.addresses.clone() {
        let asked: SocketAddr = match address.ip().is_unspecified() {
            // The reply must come from the address that was asked, or a client does not take it.
            true if address.is_ipv4() => SocketAddr::new([127, 0, 0, 9].into(), address.port()),
            true => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
            false => address,
        };
        let any = match asked {
            SocketAddr::V4(_) => "127.0.0.1:0",
            SocketAddr::V6(_) => "[::1]:0",
        };
        let client = UdpSocket::bind(any).expect("it binds");
        client.set_read_timeout(Some(PATIENCE)).expect("it is set");
        client.connect(asked).expect("it is set");
        client.send(&plain(SHOP, 1)).expect("it goes");
        let mut got = [0; 512];
        client.recv(&mut got).expect("it is answered");
        assert_eq!(answers(&got), 2, "{asked}");
    }
}

#[test]
fn addresses_rotate() {
    let responder = Responder::with_records(&[]);
    let last = |response: Vec<u8>| response[response.len() - 4..].to_vec();
    let seen: Vec<Vec<u8>> = (0..4)
        .map(|_| last(responder.udp(&plain(SHOP, 1))))
        .collect();
    assert_ne!(seen[0], seen[1]);
    assert_eq!((&seen[0], &seen[1]), (&seen[2], &seen[3]));
}

/// What would be too much for who may be somebody else: sent cut short, or not at all.
#[test]
fn the_rate_of_responses_is_limited() {
    let responder = Responder::start(&Declared {
        dns: "[dns.rate]\nresponses_per_second = 5\nslip = 3".to_owned(),
        ..Declared::default()
    });
    let client = responder.client();
    // 100 in well under a second: 5 of the burst, perhaps some more, and a third of the others.
    let (mut whole, mut slipped) = (0, 0);
    for _ in 0..100 {
        client.send(&plain(SHOP, 1)).expect("it goes");
    }
    assert!(eventually(|| {
        responder.status()["counters"]["queries"]["udp"] == 100
    }));
    client.set_nonblocking(true).expect("it is set");
    let mut got = [0; 512];
    while let Ok(length) = client.recv(&mut got) {
        match is_truncated(&got) {
            true => {
                assert_eq!(length, plain(SHOP, 1).len(), "no more than the query");
                slipped += 1;
            }
            false => whole += 1,
        }
    }
    let (dropped, counted) = (
        responder.hits("dns_rate_dropped"),
        responder.hits("dns_rate_slipped"),
    );
    assert_eq!(whole + dropped + counted, 100);
    assert_eq!(slipped, counted);
    assert!((5..40).contains(&whole), "{whole}");
    assert!(counted >= 20 && dropped >= 40, "{counted} {dropped}");
    // Who shows a cookie of ours is who he says he is; and TCP is never limited.
    client.set_nonblocking(false).expect("it is set");
    let given = responder.tcp(&with_options(SHOP, 1, &[(COOKIE, b"01234567")]));
    let cookie = &given[given.len() - 24..];
    let shown = with_options(SHOP, 1, &[(COOKIE, cookie)]);
    for _ in 0..50 {
        assert_eq!(answers(&responder.udp(&shown)), 2);
        assert_eq!(answers(&responder.tcp(&plain(SHOP, 1))), 2);
    }
    assert_eq!(responder.hits("dns_rate_dropped"), dropped);
}

#[test]
fn exempt_networks_are_not_limited() {
    let responder = Responder::start(&Declared {
        dns: "[dns.rate]\nresponses_per_second = 1\nexempt = [\"127.0.0.0/8\"]".to_owned(),
        ..Declared::default()
    });
    for _ in 0..50 {
        assert_eq!(answers(&responder.udp(&plain(SHOP, 1))), 2);
    }
    assert_eq!(responder.hits("dns_rate_dropped"), 0);
}

/// Whether a query is answered: what comes to a full socket is lost, and is asked again.
fn is_served(responder: &Responder) -> bool {
    let client = responder.client();
    let wait = std::time::Duration::from_millis(200);
    client.set_read_timeout(Some(wait)).expect("it is set");
    eventually(|| {
        client.send(&plain(SHOP, 1)).expect("it goes");
        let mut got = [0; 512];
        client.recv(&mut got).is_ok_and(|_| answers(&got) == 2)
    })
}

/// Packets with octets changed, cut, put together: service goes on, and nothing grows with them.
#[test]
fn odd_packets_harm_nobody() {
    let responder = Responder::start(&Declared {
        dns: "[dns.rate]\nresponses_per_second = 1000000".to_owned(),
        ..Declared::default()
    });
    let client = responder.client();
    client.set_nonblocking(true).expect("it is set");
    let seed = std::env::var("PACKETS_SEED").ok();
    let mut random = seed
        .and_then(|it| it.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) | 1);
    println!("PACKETS_SEED={random}");
    let first = random;
    let count: usize = std::env::var("PACKETS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(20_000);
    let mut next = move || {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let bases = [
        with_options(
            SHOP,
            1,
            &[(8, b"\0\x01\x18\0\xcb\0\x71"), (COOKIE, b"01234567")],
        ),
        plain("lb.example.net", 6),
        [header([0, 0, 0, 1]), opt(&[(COOKIE, b"01234567")])].concat(),
        plain("missing.lb.example.net", 255),
    ];
    let memory = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|it| it.starts_with("VmRSS:"));
        let kib = line.and_then(|it| it.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.expect("it has memory")
    };
    let mut before_kib = 0;
    let mut got = [0; 2048];
    for n in 0..count {
        let mut packet = bases[next() % bases.len()].clone();
        for _ in 0..next() % 6 {
            let at = next() % packet.len();
            packet[at] = next() as u8;
        }
        if next() % 4 == 0 {
            packet.truncate(next() % (packet.len() + 1));
        }
        // A full queue of the kernel's is no reason to stop.
        let _ = client.send(&packet);
        while client.recv(&mut got).is_ok() {}
        if n == count / 2 {
            before_kib = memory(responder.pid());
        }
        if n % 5_000 == 0 {
            assert!(is_served(&responder));
        }
    }
    assert!(is_served(&responder));
    let after_kib = memory(responder.pid());
    assert!(
        after_kib < before_kib + 4096,
        "{before_kib} KiB, then {after_kib}"
    );
    let counted = responder.status();
    assert!(counted["counters"]["responses"]["formerr"].as_u64() > Some(0));
    assert!(counted["counters"]["dropped"]["no_header"].as_u64() > Some(0));
    if let Ok(log) = std::env::var("PACKETS_LOG") {
        let received = counted["counters"]["queries"]["udp"].as_u64();
        add_to_log(&log, first, received.expect("a number"));
    }
}

/// Runs add up: a line for each that passed, with the sum of all in the file.
fn add_to_log(path: &str, seed: u64, received: u64) {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let sum = before.lines().last().and_then(|it| it.rsplit_once("sum="));
    let sum: u64 = sum.and_then(|(_, sum)| sum.parse().ok()).unwrap_or(0);
    let line = format!(
        "packets seed={seed} received={received} sum={}\n",
        sum + received
    );
    std::fs::write(path, before + &line).expect("the log takes a line");
}
