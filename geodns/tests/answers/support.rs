//! States of tests, and what is answered from them.

use crate::seen::{Seen, read};
use meridian_geodns::{Answerer, Asked, Gist, Outcome, State, Transport};
use meridian_model::Manifest;
use meridian_model::zones::Zones;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const NOW_S: u32 = 1_800_000_000;

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
    state_with(records, "")
}

/// The same with these lines of the manifest more.
pub(crate) fn state_with(records: &[(&str, &str, &str)], more: &str) -> State {
    let mut text = FLEET.to_owned();
    for (name, rtype, data) in records {
        text.push_str(&format!(
            "[[zone.record]]\nname = '{name}'\ntype = \"{rtype}\"\ndata = '{data}'\n"
        ));
    }
    text.push_str(more);
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

pub(crate) const UDP: Transport = Transport::Udp;
pub(crate) const TCP: Transport = Transport::Tcp { idle_ds: 100 };

pub(crate) fn asked(source: &str, transport: Transport) -> Asked {
    Asked {
        source: source.parse::<IpAddr>().expect("an address"),
        transport,
        now_s: NOW_S,
        rotation: 0,
        is_over_rate: false,
    }
}

/// The response over UDP.
pub(crate) fn ask(state: &State, query: &[u8]) -> Seen {
    ask_over(state, query, UDP)
}

pub(crate) fn ask_over(state: &State, query: &[u8], transport: Transport) -> Seen {
    ask_as(state, query, asked("198.51.100.77", transport)).0
}

/// The response, whether its client is proven to be where it says, and what it is counted as.
pub(crate) fn ask_as(state: &State, query: &[u8], asked: Asked) -> (Seen, bool, Gist) {
    // What was there before looks like pointers, each to the next.
    let mut out = vec![0xc0; 65_535];
    match Answerer::default().answer(query, asked, state, &mut out) {
        Outcome::Unanswered(why) => panic!("{why:?}"),
        Outcome::Response {
            bytes,
            is_proven,
            gist,
        } => {
            if asked.transport == UDP {
                let beyond = &out[1232..];
                assert!(
                    beyond.iter().all(|it| *it == 0xc0),
                    "nothing beyond its room"
                );
            }
            out.truncate(bytes);
            (read(out), is_proven, gist)
        }
    }
}

/// Whether the client of this query is proven to be where it says.
pub(crate) fn is_proven(state: &State, query: &[u8]) -> bool {
    ask_as(state, query, asked("198.51.100.77", UDP)).1
}

/// What the response over UDP is counted as.
pub(crate) fn gist(state: &State, query: &[u8]) -> Gist {
    ask_as(state, query, asked("198.51.100.77", UDP)).2
}
