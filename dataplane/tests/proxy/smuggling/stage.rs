//! Two tenants on one worker, and clients that send them what is hard to read.

use super::oddities::{self, Addressee, Fate, PLAIN, Shape};
use crate::support::manifest::Declared;
use crate::support::message::{Message, Read, read_response};
use crate::support::peer::{End, PATIENCE, Peer};
use crate::support::plane::{Plane, number};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The tenants with their sites.
pub(super) const TENANTS: [(&str, &str); 2] = [("acme", "shop.test"), ("rival", "den.test")];

/// A plane with a site of each tenant, and one backend each, whose connections are kept idle for
/// `upstream_idle`: nothing may be left at the end, though the backends are still there.
pub(super) fn start_plane(backends: [SocketAddr; 2], upstream_idle: &str) -> Plane {
    let (tenant, host) = TENANTS[1];
    let address = backends[1];
    Plane::start(&Declared {
        more: format!(
            "[[tenant]]\nname = \"{tenant}\"\n\
             [[site]]\ntenant = \"{tenant}\"\nname = \"den\"\nhostnames = [\"{host}\"]\n\
             [[site.backend]]\nname = \"b1\"\naddress = \"{address}\"\n"
        ),
        ..Declared::with_backends([backends[0]])
            .timeouts(&format!("{{ upstream_idle = \"{upstream_idle}\" }}"))
    })
}

/// The one that the request is for; `target` is in the path of no other request.
pub(super) fn addressee(tenant: usize, other_host: &'static str, target: String) -> Addressee {
    let (tenant, host) = TENANTS[tenant];
    Addressee {
        tenant,
        host,
        other_host,
        target,
    }
}

/// Which request is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Plain(usize),
    Odd(usize),
}

/// A request that was made up.
pub(super) struct Asked {
    pub(super) to: Addressee,
    pub(super) name: &'static str,
    pub(super) fate: Fate,
    pub(super) shape: Shape,
}

impl Kind {
    pub(super) fn ask(self, to: Addressee) -> Asked {
        match self {
            Kind::Plain(kind) => Asked {
                name: "an ordinary request",
                fate: Fate::Passes,
                shape: oddities::plain(kind, &to),
                to,
            },
            Kind::Odd(index) => {
                let count = oddities::all().count();
                let odd = oddities::all().nth(index % count).expect("there are some");
                Asked {
                    name: odd.name,
                    fate: odd.fate,
                    shape: odd.shape(&to),
                    to,
                }
            }
        }
    }
}

pub(super) fn kinds() -> impl Strategy<Value = Kind> {
    let count = oddities::all().count();
    prop_oneof![
        (0..PLAIN).prop_map(Kind::Plain),
        (0..count).prop_map(Kind::Odd),
    ]
}

/// Where what is sent is cut in pieces, and how long the rest waits.
#[derive(Clone, Debug)]
pub(super) struct Cuts(Vec<(Index, u64)>);

pub(super) fn cuts() -> impl Strategy<Value = Cuts> {
    prop::collection::vec((any::<Index>(), 0..1500_u64), 0..6).prop_map(Cuts)
}

impl Cuts {
    /// All in one piece.
    pub(super) fn none() -> Cuts {
        Cuts(Vec::new())
    }

    /// Sends it in pieces. An error is no fault: who was refused need not take the rest.
    pub(super) fn send(&self, peer: &mut Peer, bytes: &[u8]) {
        use std::io::Write;
        let mut places: Vec<(usize, u64)> = self
            .0
            .iter()
            .map(|(index, pause_us)| (index.index(bytes.len().max(1)), *pause_us))
            .collect();
        places.sort_unstable();
        let mut sent = 0;
        for (place, pause_us) in places.into_iter().chain([(bytes.len(), 0)]) {
            if peer.stream.write_all(&bytes[sent..place]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_micros(pause_us));
            sent = place;
        }
    }
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) responses: Vec<Message>,
    /// What is no whole response.
    pub(super) rest: Vec<u8>,
    pub(super) end: End,
}

/// Reads responses until the connection ends, of which the one with a number in `heads` answers a
/// HEAD. Once there are `wanted` of them our side ends.
pub(super) fn receive(peer: &mut Peer, wanted: usize, heads: &[usize]) -> Result<Got, String> {
    let begun = Instant::now();
    let (mut bytes, mut responses) = (Vec::new(), Vec::new());
    let mut has_ended = false;
    loop {
        if responses.len() >= wanted && !has_ended {
            has_ended = true;
            // It may have been reset by now.
            let _ = peer.stream.shutdown(std::net::Shutdown::Write);
        }
        let (more, end) = peer.receive_some();
        bytes.extend_from_slice(&more);
        loop {
            let to_head = heads.contains(&responses.len());
            match read_response(&bytes, to_head, end == End::Closed) {
                Read::Whole(message) => {
                    bytes.drain(..message.bytes);
                    // Interim responses are of the one that follows.
                    if message.status() >= 200 {
                        responses.push(message);
                    }
                }
                Read::Partial(_) => break,
                Read::Broken(what) => return Err(format!("a response with {what}")),
            }
        }
        if end != End::Open {
            return Ok(Got {
                responses,
                rest: bytes,
                end,
            });
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("no end after {} responses", responses.len()));
        }
    }
}

/// The requests of a connection, each with a target of its own.
pub(super) fn ask(kinds: &[(usize, Kind)], case: u64) -> Vec<Asked> {
    let numbered = kinds.iter().enumerate();
    numbered
        .map(|(place, (tenant, kind))| {
            let target = format!("/m/{case}.{place}/");
            kind.ask(addressee(*tenant, TENANTS[1 - tenant].1, target))
        })
        .collect()
}

/// The requests up to the one that ends the connection.
pub(super) fn read_part(asked: &[Asked]) -> &[Asked] {
    let last = asked.iter().position(|asked| asked.fate.ends());
    &asked[..last.map_or(asked.len(), |last| last + 1)]
}

/// Which of them are HEAD requests.
pub(super) fn heads(asked: &[Asked]) -> Vec<usize> {
    let places = asked.iter().enumerate();
    let heads = places.filter(|(_, asked)| asked.shape.is_head());
    heads.map(|(place, _)| place).collect()
}

/// Nothing of the other tenant is in these bytes.
pub(super) fn check_secrets(bytes: &[u8], other: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    match text.contains(&format!("secret-{other}")) {
        true => Err(format!("what is {other}'s: {text:?}")),
        false => Ok(()),
    }
}

/// Requests that were counted at a tenant's only backend.
pub(super) fn backend_requests(status: &Value, tenant: usize) -> u64 {
    let site = ["acme/shop/", "rival/den/"][tenant];
    let backends = status["backends"].as_array().expect("there are backends");
    let of_site = |row: &&Value| {
        row["backend"]
            .as_str()
            .is_some_and(|name| name.starts_with(site))
    };
    number(
        backends.iter().find(of_site).expect("it has one"),
        "requests",
    )
}

/// A number of a tenant's site.
pub(super) fn site_number(status: &Value, tenant: usize, column: &str) -> u64 {
    let sites = status["sites"].as_array().expect("there are sites");
    let site = sites.iter().find(|row| row["tenant"] == TENANTS[tenant].0);
    number(site.expect("it has one"), column)
}
