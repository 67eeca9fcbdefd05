//! Queries octet by octet, and responses as another implementation, the `domain` crate, reads them.

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::opt::UnknownOptData;
use domain::base::{Message, ParsedName, Record};
use domain::rdata::AllRecordData;
use meridian_geodns::{Answerer, Asked, Outcome, State, Transport};
use meridian_model::Manifest;
use meridian_model::zones::Zones;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const NOW_S: u32 = 1_800_000_000;

type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;

const FLEET: &str = r#"
[host]
name = "ams-1"
group = "ams"
addresses = ["192.0.2.1", "2001:db8::1"]

[listen]
dns = ["127.0.0.1:53"]

[fleet]
name = "example"
secret = "fleet.key"

[[group]]
name = "ams"
location = { lat = 52.37, lon = 4.90 }

[[group]]
name = "nyc"
location = { lat = 40.71, lon = -74.0 }

[[peer]]
name = "nyc-1"
group = "nyc"
addresses = ["198.51.100.1"]
probe = "http://198.51.100.1:80"

[[tenant]]
name = "acme"

[[site]]
tenant = "acme"
name = "shop"
hostnames = ["shop.example.com"]
steering = "geo"
[[site.backend]]
address = "203.0.113.10:80"

[[site]]
tenant = "acme"
name = "www"
hostnames = ["www.example.com"]
[[site.backend]]
address = "203.0.113.12:80"

[[zone]]
name = "lb.example.net"
nameservers = ["ams-1", "nyc-1"]
apex = "acme/www"
ttl = 40
negative_ttl = 20
"#;

/// A state whose zone has these records more: name, type and data of each.
pub(crate) fn state(records: &[(&str, &str, &str)]) -> State {
    let mut text = FLEET.to_owned();
    for (name, rtype, data) in records {
        text.push_str(&format!(
            "[[zone.record]]\nname = '{name}'\ntype = \"{rtype}\"\ndata = '{data}'\n"
        ));
    }
    let manifest = Manifest::parse(&text, "test.toml").unwrap_or_else(|it| panic!("{it}"));
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    let zones = Zones::compile(&local, &desired, 7).unwrap_or_else(|it| panic!("{it}"));
    State::new(
        Arc::new(zones),
        "ams-1".into(),
        b"a secret of the fleet",
        NOW_S,
    )
}

/// A name in wire form.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// A header with RD and these counts.
pub(crate) fn header(counts: [u8; 4]) -> Vec<u8> {
    let mut octets = vec![0x12, 0x34, 0x01, 0];
    for count in counts {
        octets.extend_from_slice(&[0, count]);
    }
    octets
}

pub(crate) fn question(text: &str, rtype: u16, class: u16) -> Vec<u8> {
    [&name(text)[..], &rtype.to_be_bytes(), &class.to_be_bytes()].concat()
}

/// A query in the class IN without EDNS.
pub(crate) fn plain(text: &str, rtype: u16) -> Vec<u8> {
    [header([1, 0, 0, 0]), question(text, rtype, 1)].concat()
}

/// An OPT record: 4096 octets, version 0, DO.
pub(crate) fn opt(options: &[(u16, &[u8])]) -> Vec<u8> {
    opt_of(4096, 0, options)
}

pub(crate) fn opt_of(payload: u16, version: u8, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (code, value) in options {
        data.extend_from_slice(&code.to_be_bytes());
        data.extend_from_slice(&(value.len() as u16).to_be_bytes());
        data.extend_from_slice(value);
    }
    let mut octets = vec![0, 0, 41];
    octets.extend_from_slice(&payload.to_be_bytes());
    // The flags that nobody knows are set, too.
    octets.extend_from_slice(&[0, version, 0xff, 0xff]);
    octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
    octets.extend_from_slice(&data);
    octets
}

/// A query in the class IN with EDNS.
pub(crate) fn with_options(text: &str, rtype: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    [header([1, 0, 0, 1]), question(text, rtype, 1), opt(options)].concat()
}

/// A response as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) octets: Vec<u8>,
    pub(crate) rcode: u16,
    pub(crate) aa: bool,
    pub(crate) tc: bool,
    pub(crate) questions: u16,
    /// Owner, TTL, type and data of each.
    pub(crate) answer: Vec<String>,
    pub(crate) authority: Vec<String>,
    pub(crate) additional: Vec<String>,
    /// Of OPT.
    pub(crate) options: Option<Vec<(u16, Vec<u8>)>>,
    pub is_proven: bool,
}

pub(crate) const UDP: Transport = Transport::Udp;
pub(crate) const TCP: Transport = Transport::Tcp { idle_ds: 100 };

pub(crate) fn asked(source: &str, transport: Transport) -> Asked {
    Asked {
        source: source.parse::<IpAddr>().expect("an address"),
        transport,
        now_s: NOW_S,
        rotation: 0,
    }
}

/// The response over UDP.
pub(crate) fn ask(state: &State, query: &[u8]) -> Seen {
    ask_over(state, query, UDP)
}

pub(crate) fn ask_over(state: &State, query: &[u8], transport: Transport) -> Seen {
    // What was there before looks like pointers, each to the next.
    let mut out = vec![0xc0; 65_535];
    let asked = asked("198.51.100.77", transport);
    match Answerer::default().answer(query, asked, state, &mut out) {
        Outcome::Unanswered(why) => panic!("{why:?}"),
        Outcome::Response { bytes, is_proven } => {
            if transport == UDP {
                let beyond = &out[1232..];
                assert!(
                    beyond.iter().all(|it| *it == 0xc0),
                    "nothing beyond its room"
                );
            }
            out.truncate(bytes);
            read(out, is_proven)
        }
    }
}

fn read(octets: Vec<u8>, is_proven: bool) -> Seen {
    let message = Message::from_octets(octets.clone()).expect("a message");
    let header = message.header();
    assert!(header.qr() && !header.ra() && !header.z() && !header.ad());
    let opts = message.additional().expect("it is whole");
    let opts = opts.filter(|it| it.as_ref().is_ok_and(|it| it.rtype() == Rtype::OPT));
    assert!(opts.count() <= 1);
    let options = message.opt().map(|record| {
        assert_eq!((record.udp_payload_size(), record.version()), (1232, 0));
        let data = record.opt();
        let all = data.iter::<UnknownOptData<_>>();
        all.map(|it| it.expect("an option"))
            .map(|it| (it.code().to_int(), it.as_slice().to_vec()))
            .collect()
    });
    let rcode = message.opt_rcode().to_int();
    assert!(options.is_some() || Rcode::checked_from_int(rcode as u8).is_some());
    Seen {
        rcode,
        aa: header.aa(),
        tc: header.tc(),
        questions: message.header_counts().qdcount(),
        answer: records(message.answer().expect("it is whole")),
        authority: records(message.authority().expect("it is whole")),
        additional: records(message.additional().expect("it is whole")),
        options,
        octets,
        is_proven,
    }
}

fn records(section: RecordSection<'_, Vec<u8>>) -> Vec<String> {
    let mut written = Vec::new();
    for record in section {
        let record = record.expect("a record");
        if record.rtype() == Rtype::OPT {
            continue;
        }
        let class = match record.class() {
            Class::IN => String::new(),
            class => format!("{class} "),
        };
        let record: Record<ParsedName<&[u8]>, Data<'_>> =
            record.to_any_record().expect("its data is right");
        written.push(format!(
            "{} {} {class}{} {}",
            record.owner(),
            record.ttl().as_secs(),
            record.rtype(),
            record.data()
        ));
    }
    written
}
