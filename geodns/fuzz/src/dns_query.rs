//! What must hold for any octets that are asked of the DNS responder.

use domain::base::Message;
use meridian_geodns::{Answerer, Asked, Outcome, State, Transport, Unanswered};
use meridian_model::Manifest;
use meridian_model::zones::Zones;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Octets of a header.
const HEADER_BYTES: usize = 12;
/// Of a response over UDP: with a valid cookie, and without one.
const UDP_BYTES_MAX: usize = 1232;
const UNPROVEN_BYTES_MAX: usize = 512;
/// How much of an input is cut at every octet.
const CUT_BYTES_MAX: usize = 128;

const ZONE: &str = r#"
[host]
name = "h1"
addresses = ["192.0.2.1", "2001:db8::1"]
[listen]
dns = ["127.0.0.1:53"]
[[tenant]]
name = "acme"
[[site]]
tenant = "acme"
name = "shop"
hostnames = ["shop.example.com"]
[[site.backend]]
address = "203.0.113.10:80"
[[zone]]
name = "z"
nameservers = ["h1"]
apex = "acme/shop"
[[zone.record]]
name = "c"
type = "CNAME"
data = "c2"
[[zone.record]]
name = "c2"
type = "CNAME"
data = "c"
[[zone.record]]
name = "d"
type = "NS"
data = "n.d"
[[zone.record]]
name = "n.d"
type = "A"
data = "192.0.2.53"
[[zone.record]]
name = "*.w"
type = "MX"
data = "10 a.a.a.a"
"#;

fn state() -> &'static State {
    static STATE: OnceLock<State> = OnceLock::new();
    STATE.get_or_init(|| {
        let manifest = Manifest::parse(ZONE, "zone.toml").unwrap_or_else(|it| panic!("{it}"));
        let (local, mut desired) = manifest.into_parts();
        desired.assign_ids(None);
        let zones = Zones::compile(&local, &desired, 7).unwrap_or_else(|it| panic!("{it}"));
        State::new(Arc::new(zones), "h1".into(), b"a secret", 1_800_000_000)
    })
}

static QUERIES: AtomicU64 = AtomicU64::new(0);

/// Queries that were answered, or rightly not, since the start.
pub fn queries() -> u64 {
    QUERIES.load(Ordering::Relaxed)
}

/// Panics when something does not hold.
pub fn check(input: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp { idle_ds: 100 }] {
        for is_over_rate in [false, true] {
            check_query(input, transport, is_over_rate);
        }
        for end in 0..input.len().min(CUT_BYTES_MAX) {
            check_query(&input[..end], transport, false);
        }
    }
}

fn check_query(query: &[u8], transport: Transport, is_over_rate: bool) {
    let asked = Asked {
        source: [192, 0, 2, 99].into(),
        transport,
        now_s: 1_800_000_000,
        rotation: 1,
        is_over_rate,
    };
    let mut out = vec![0xc0; 65_535];
    QUERIES.fetch_add(1, Ordering::Relaxed);
    let outcome = Answerer::default().answer(query, asked, state(), &mut out);
    let (bytes, is_proven) = match outcome {
        Outcome::Unanswered(Unanswered::NoHeader) => {
            assert!(query.len() < HEADER_BYTES, "it has a header");
            return;
        }
        Outcome::Unanswered(Unanswered::Response) => {
            assert!(query[2] & 0x80 != 0, "it is a query");
            return;
        }
        Outcome::Response {
            bytes, is_proven, ..
        } => (bytes, is_proven),
    };
    let response = &out[..bytes];
    assert_eq!(response[..2], query[..2], "it has another id");
    assert_eq!(response[2] & 0xf9, query[2] & 0x79 | 0x80, "QR, opcode, RD");
    if transport == Transport::Udp {
        let most = if is_proven {
            UDP_BYTES_MAX
        } else {
            UNPROVEN_BYTES_MAX
        };
        assert!(bytes <= most, "{bytes} octets");
    }
    check_records(response, is_over_rate);
}

/// It is whole, as somebody else reads it.
fn check_records(response: &[u8], is_over_rate: bool) {
    let message = Message::from_octets(response).expect("a message");
    let mut records = 0;
    for section in [message.answer(), message.authority(), message.additional()] {
        for record in section.expect("a section is whole") {
            record.expect("a record is whole");
            records += 1;
        }
    }
    let counts = message.header_counts();
    let counted = counts.ancount() + counts.nscount() + counts.arcount();
    assert_eq!(records, counted, "the counts are right");
    assert!(counts.qdcount() <= 1);
    if is_over_rate {
        let has_opt = u16::from(message.opt().is_some());
        assert_eq!(records, has_opt, "records for who has had enough");
        assert!(message.header().tc());
    }
}
