//! Messages put together by hand, read whole, cut and changed.

use super::*;

const HOST: &str = "app.internal";
/// Where the name of a question stands in every message.
const POINTER_TO_HOST: [u8; 2] = [0xc0, 12];

/// An answer of this flags' low byte and these records to the question for `family`.
fn answer(family: Family, flags: [u8; 2], records: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let asked = question(HOST, family, 0x1234).expect("it is a name");
    let mut bytes = asked.clone();
    bytes[2] = 0x80 | flags[0];
    bytes[3] = flags[1];
    bytes[7] = records.len() as u8;
    bytes.extend(records.concat());
    (asked, bytes)
}

fn record(owner: &[u8], kind: u8, ttl_s: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [owner, &[0, kind, 0, 1]].concat();
    bytes.extend(ttl_s.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn a(ttl_s: u32, last: u8) -> Vec<u8> {
    record(&POINTER_TO_HOST, 1, ttl_s, &[10, 0, 0, last])
}

fn read_answer(records: &[Vec<u8>]) -> Option<Reply> {
    let (asked, bytes) = answer(Family::V4, [1, 0x80], records);
    read(&bytes, &asked)
}

fn addresses(ttl_s: u32, addresses: &[&str]) -> Option<Reply> {
    let addresses = addresses.iter().map(|it| it.parse().expect("an address"));
    Some(Reply::Answer(Answer::Addresses {
        addresses: addresses.collect(),
        ttl_s,
    }))
}

#[test]
fn a_question_is_what_the_standard_says() {
    let asked = question(HOST, Family::V6, 0xabcd).expect("it is a name");
    let expected = b"\xab\xcd\x01\x00\0\x01\0\0\0\0\0\0\x03app\x08internal\0\0\x1c\0\x01";
    assert_eq!(asked, expected);
    assert_eq!(question("", Family::V4, 1), None);
    assert_eq!(question(&"a".repeat(64), Family::V4, 1), None);
    let longest = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61),
    ]
    .join(".");
    assert!(question(&longest, Family::V4, 1).is_some());
}

#[test]
fn addresses_with_the_least_ttl() {
    let both = read_answer(&[a(60, 1), a(30, 2)]);
    assert_eq!(both, addresses(30, &["10.0.0.1", "10.0.0.2"]));
    assert_eq!(read_answer(&[]), Some(Reply::Answer(Answer::NoAddress)));
    let data = "2001:db8::1".parse::<std::net::Ipv6Addr>().expect("one");
    let v6 = record(&POINTER_TO_HOST, 28, 7, &data.octets());
    let (asked, bytes) = answer(Family::V6, [1, 0x80], &[v6]);
    assert_eq!(read(&bytes, &asked), addresses(7, &["2001:db8::1"]));
}

#[test]
fn aliases_are_followed_within_the_answer() {
    let real = b"\x04real\x07example\0";
    let alias = record(&POINTER_TO_HOST, 5, 20, real);
    let target = record(real, 1, 60, &[10, 0, 0, 9]);
    let other = record(b"\x05other\0", 1, 1, &[10, 0, 0, 66]);
    let followed = read_answer(&[target.clone(), other, alias.clone()]);
    assert_eq!(followed, addresses(20, &["10.0.0.9"]));
    // Letter case means nothing.
    let shouted = record(b"\x04REAL\x07Example\0", 1, 60, &[10, 0, 0, 9]);
    assert_eq!(
        read_answer(&[alias.clone(), shouted]),
        addresses(20, &["10.0.0.9"])
    );
    assert_eq!(
        read_answer(std::slice::from_ref(&alias)),
        Some(Reply::Answer(Answer::NoAddress))
    );
    // An alias of itself ends in no answer at all, in bounded time.
    let looped = record(&POINTER_TO_HOST, 5, 20, &POINTER_TO_HOST);
    let unreadable = Some(Reply::Fault("answered what can not be read".to_owned()));
    assert_eq!(read_answer(&[looped]), unreadable);
}

#[test]
fn what_is_not_an_answer_to_the_question_is_passed_over() {
    let (asked, bytes) = answer(Family::V4, [1, 0x80], &[a(60, 1)]);
    assert!(read(&bytes, &asked).is_some());
    for place in [0, 1, 2, 5, 14, 27] {
        let mut wrong = bytes.clone();
        wrong[place] ^= 0x81;
        assert_eq!(read(&wrong, &asked), None, "byte {place}");
    }
    // The question itself, come back.
    assert_eq!(read(&asked, &asked), None);
}

#[test]
fn words_of_servers_that_do_not_tell() {
    let of = |flags| {
        let (asked, bytes) = answer(Family::V4, flags, &[]);
        read(&bytes, &asked)
    };
    assert_eq!(of([1, 0x83]), Some(Reply::Answer(Answer::NoName)));
    assert_eq!(of([3, 0x80]), Some(Reply::Truncated));
    let fault = |what: &str| Some(Reply::Fault(what.to_owned()));
    assert_eq!(of([1, 0x82]), fault("answered SERVFAIL"));
    assert_eq!(of([1, 0x85]), fault("answered REFUSED"));
}

#[test]
fn an_answer_that_is_cut_or_changed_anywhere_is_no_panic() {
    let (asked, bytes) = answer(Family::V4, [1, 0x80], &[a(60, 1), a(60, 2)]);
    for end in 0..bytes.len() {
        let reply = read(&bytes[..end], &asked);
        assert_ne!(reply, addresses(60, &["10.0.0.1", "10.0.0.2"]), "{end}");
    }
    for place in 0..bytes.len() {
        for value in [0, 1, 0x3f, 0xc0, 0xff] {
            let mut changed = bytes.clone();
            changed[place] = value;
            let _ = read(&changed, &asked);
        }
    }
}
