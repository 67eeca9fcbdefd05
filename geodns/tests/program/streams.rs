//! Over TCP (RFC 7766): one after another, in pieces, too long, too many.

use crate::query::*;
use crate::responder::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn answers(response: &[u8]) -> u16 {
    u16::from_be_bytes([response[6], response[7]])
}

fn numbered(id: u16) -> Vec<u8> {
    let mut query = plain(SHOP, 1);
    query[..2].copy_from_slice(&id.to_be_bytes());
    framed(&query)
}

fn id_of(response: &[u8]) -> u16 {
    u16::from_be_bytes([response[0], response[1]])
}

/// Whether the other side has closed, waiting for that.
fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

#[test]
fn queries_may_follow_each_other_without_waiting() {
    let responder = Responder::with_records(&[]);
    let mut stream = responder.connect();
    let all: Vec<u8> = (0..2_000).flat_map(numbered).collect();
    let mut writer = stream.try_clone().expect("it can be shared");
    let writing = std::thread::spawn(move || writer.write_all(&all).expect("it reads"));
    for id in 0..2_000 {
        let response = read_framed(&mut stream).expect("it is answered");
        assert_eq!((id_of(&response), answers(&response)), (id, 2));
    }
    writing.join().expect("all was sent");
    assert_eq!(responder.status()["counters"]["queries"]["tcp"], 2_000);
}

#[test]
fn a_query_may_come_in_pieces() {
    let responder = Responder::with_records(&[]);
    let mut stream = responder.connect();
    let two = [numbered(1), numbered(2)].concat();
    for octet in two.chunks(1) {
        stream.write_all(octet).expect("it reads");
        std::thread::sleep(Duration::from_millis(1));
    }
    for id in [1, 2] {
        assert_eq!(
            id_of(&read_framed(&mut stream).expect("it is answered")),
            id
        );
    }
    // Cut anywhere, the end of one and the beginning of the next together.
    for cut in 1..two.len() {
        stream.write_all(&two[..cut]).expect("it reads");
        stream.write_all(&two[cut..]).expect("it reads");
        for id in [1, 2] {
            assert_eq!(
                id_of(&read_framed(&mut stream).expect("it is answered")),
                id
            );
        }
    }
}

#[test]
fn the_longest_message_is_read() {
    let responder = Responder::with_records(&[]);
    let mut query = plain(SHOP, 1);
    query.resize(4096, 7);
    assert_eq!(
        answers(&responder.tcp(&query)),
        2,
        "what is behind is ignored"
    );
}

/// Whoever only begins one has 10 s and as much memory as he says: nobody asks so much.
#[test]
fn who_announces_more_than_a_query_is_closed() {
    let responder = Responder::with_records(&[]);
    for of_it in [2, 3, 4097 + 2] {
        let mut query = plain(SHOP, 1);
        query.resize(4097, 7);
        let mut stream = responder.connect();
        let both = [&numbered(7)[..], &framed(&query)[..of_it]].concat();
        stream.write_all(&both).expect("it reads");
        assert_eq!(id_of(&read_framed(&mut stream).expect("it is answered")), 7);
        assert!(is_closed(&mut stream), "{of_it}");
    }
    let mut stream = responder.connect();
    stream.write_all(&[16]).expect("it reads");
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(&[1]).expect("it reads");
    assert!(is_closed(&mut stream), "in two pieces");
    let status = responder.status();
    let limits = status["limits"].as_array().expect("it is a list");
    let row = limits
        .iter()
        .find(|row| row["name"] == "dns_query_too_long");
    assert_eq!(row.expect("it is one of them")["hits"], 4);
}

/// Both in one segment: clients that read twice are not asked to wait for the second (RFC 7766 §8).
#[test]
fn length_and_message_come_together() {
    let responder = Responder::with_records(&[]);
    let mut stream = responder.connect();
    for id in 0..20 {
        stream.write_all(&numbered(id)).expect("it reads");
        let mut got = [0; 512];
        let length = stream.read(&mut got).expect("it is answered");
        let said = usize::from(u16::from_be_bytes([got[0], got[1]]));
        assert_eq!(length, 2 + said);
    }
}

#[test]
fn responses_and_scraps_end_the_connection() {
    let responder = Responder::with_records(&[]);
    let mut response = plain(SHOP, 1);
    response[2] |= 0x80;
    for wrong in [&response[..], &response[..11], b""] {
        let mut stream = responder.connect();
        // What came before is answered all the same.
        let both = [numbered(7), framed(wrong), numbered(8)].concat();
        stream.write_all(&both).expect("it reads");
        assert_eq!(id_of(&read_framed(&mut stream).expect("it is answered")), 7);
        assert!(is_closed(&mut stream));
    }
    let dropped = &responder.status()["counters"]["dropped"];
    assert_eq!(
        (&dropped["response"], &dropped["no_header"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn who_ends_his_side_gets_his_answers_first() {
    let responder = Responder::with_records(&[]);
    let mut stream = responder.connect();
    stream
        .write_all(&[numbered(1), numbered(2)].concat())
        .expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("it ends");
    for id in [1, 2] {
        assert_eq!(
            id_of(&read_framed(&mut stream).expect("it is answered")),
            id
        );
    }
    assert!(is_closed(&mut stream));
}

fn with_limits(limits: &str) -> Responder {
    Responder::start(&Declared {
        dns: format!("[dns.tcp]\n{limits}"),
        ..Declared::default()
    })
}

#[test]
fn a_silent_connection_is_closed_and_octets_alone_keep_none_open() {
    let responder = with_limits("idle = \"700ms\"");
    let begun = Instant::now();
    let mut silent = responder.connect();
    let mut slow = responder.connect();
    let mut busy = responder.connect();
    let mut was_closed = false;
    for octet in numbered(1).iter().cycle().take(40) {
        was_closed |= slow.write_all(&[*octet]).is_err();
        busy.write_all(&numbered(2)).expect("it is kept");
        read_framed(&mut busy).expect("it is answered");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(was_closed, "an octet now and then is no message");
    assert!(is_closed(&mut silent));
    assert!(begun.elapsed() > Duration::from_millis(700));
    assert!(responder.status()["counters"]["idle_closed"].as_u64() >= Some(2));
    // The limit is told to who asks for it: in tenths of a second (RFC 7828).
    let told = responder.tcp(&with_options(SHOP, 1, &[(KEEPALIVE, b"")]));
    assert_eq!(told[told.len() - 6..], [0, 11, 0, 2, 0, 7]);
}

#[test]
fn a_client_has_so_many_connections_and_no_more() {
    let responder = with_limits("connections_per_client = 3");
    let kept: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = responder.connect();
            stream.write_all(&numbered(1)).expect("it reads");
            read_framed(&mut stream).expect("it is answered");
            stream
        })
        .collect();
    let mut fourth = responder.connect();
    let _ = fourth.write_all(&numbered(1));
    assert!(is_closed(&mut fourth));
    assert_eq!(responder.hits("dns_connections_per_client"), 1);
    drop(kept);
    assert!(eventually(
        || responder.status()["workers"][0]["connections"] == 0
    ));
    assert_eq!(answers(&responder.tcp(&plain(SHOP, 1))), 2);
}

#[test]
fn at_the_limit_the_idlest_makes_room() {
    let responder = with_limits("connections = 3\nconnections_per_client = 1000");
    let mut streams: Vec<TcpStream> = (0..3).map(|_| responder.connect()).collect();
    let exchange = |stream: &mut TcpStream| {
        stream.write_all(&numbered(1)).expect("it reads");
        read_framed(stream).expect("it is answered")
    };
    // The second one is the idlest then.
    for at in [1, 0, 2] {
        exchange(&mut streams[at]);
    }
    let mut fourth = responder.connect();
    exchange(&mut fourth);
    assert!(is_closed(&mut streams[1]));
    exchange(&mut streams[0]);
    exchange(&mut streams[2]);
    assert_eq!(responder.hits("dns_connections"), 1);
    // A crowd, of which none says anything: the newest are served all the same.
    let crowd: Vec<TcpStream> = (0..100).map(|_| responder.connect()).collect();
    let mut last = responder.connect();
    exchange(&mut last);
    assert_eq!(responder.status()["workers"][0]["connections"], 3);
    drop(crowd);
}

/// Who asks and does not read holds a connection for the idle limit and not much memory.
#[test]
fn who_does_not_read_is_cut_off() {
    let responder = with_limits("idle = \"500ms\"");
    let mut stream = responder.connect();
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .expect("it is set");
    let many: Vec<u8> = (0..1_000).flat_map(numbered).collect();
    let mut sent = 0;
    while let Ok(bytes) = stream.write(&many[sent % many.len()..]) {
        sent += bytes;
        assert!(sent < 200_000_000, "it reads on and on");
    }
    assert!(eventually(
        || responder.status()["workers"][0]["connections"] == 0
    ));
    assert_eq!(answers(&responder.tcp(&plain(SHOP, 1))), 2);
}
