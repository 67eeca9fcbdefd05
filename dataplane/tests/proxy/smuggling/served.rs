//! Odd requests in front of nginx and Apache: what they took for requests.

use super::oddities::{self, Fate};
use super::rounds::try_many;
use super::servers::Server;
use super::stage::{
    Cuts, Kind, TENANTS, ask, backend_requests, check_secrets, cuts, heads, kinds, read_part,
    receive, start_plane,
};
use crate::support::eventually;
use crate::support::message::Message;
use crate::support::peer::{End, Peer};
use crate::support::plane::Plane;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A plane between clients and a server that others wrote.
struct Served {
    plane: Plane,
    server: Server,
    cases: u64,
    /// Targets that each tenant's server must have in its log.
    passed: [BTreeSet<String>; 2],
    /// Targets that it may have, refused by us within their bodies.
    refused_in_body: [BTreeSet<String>; 2],
}

impl Served {
    fn start(server: Server) -> Served {
        Served {
            plane: start_plane(server.addresses, "1s"),
            server,
            cases: 0,
            passed: Default::default(),
            refused_in_body: Default::default(),
        }
    }

    /// Sends a connection's requests; the server may refuse some of what we pass, but each answer
    /// is of the request in its place.
    fn check(&mut self, kinds: &[(usize, Kind)], cuts: &Cuts) -> Result<(), String> {
        self.cases += 1;
        let asked = ask(kinds, self.cases);
        let bytes: Vec<u8> = asked.iter().flat_map(|asked| asked.shape.bytes()).collect();
        let read = read_part(&asked);
        let mut peer = Peer::connect(self.plane.address());
        cuts.send(&mut peer, &bytes);
        let got = receive(&mut peer, read.len(), &heads(read))?;
        let lines: Vec<&str> = got.responses.iter().map(|it| it.line.as_str()).collect();
        // A server need not wait for a body to answer: then nothing behind that body is read.
        let closes = |it: &Message| it.field("connection") == Some("close");
        let ends_early = got.responses.last().is_some_and(closes);
        if got.responses.len() != read.len() && !ends_early || got.end != End::Closed {
            let names: Vec<_> = read.iter().map(|asked| asked.name).collect();
            return Err(format!("{lines:?} and {:?} to {names:?}", got.end));
        }
        for (asked, response) in read.iter().zip(&got.responses) {
            let tenant = usize::from(asked.to.tenant != TENANTS[0].0);
            let target = response.field("x-target");
            let right = match asked.fate {
                Fate::Passes | Fate::PassesLast => {
                    self.passed[tenant].insert(asked.to.target.clone());
                    response.field("x-tenant") == Some(asked.to.tenant)
                        // A server that refuses does not always say what.
                        && target.map_or(response.status() >= 400, |target| {
                            target.contains(&asked.to.target)
                        })
                }
                Fate::RefusedInBody(status) => {
                    self.refused_in_body[tenant].insert(asked.to.target.clone());
                    response.status() == status || response.field("x-tenant").is_some()
                }
                Fate::Refused(status) | Fate::Answered(status) | Fate::AnsweredLast(status) => {
                    response.status() == status && target.is_none()
                }
            };
            check_secrets(&response.body, TENANTS[1 - tenant].0)?;
            if !right {
                return Err(format!("{}: {response:?}", asked.name));
            }
        }
        Ok(())
    }

    /// What the logs have is what was sent, each once, and no more than was counted.
    fn finish(self) {
        let status = self.plane.settle();
        for (tenant, (name, _)) in TENANTS.into_iter().enumerate() {
            let passed = &self.passed[tenant];
            let is_complete = || self.server.log(tenant).len() >= passed.len();
            eventually(10, is_complete);
            let log = self.server.log(tenant);
            let counted = backend_requests(&status, tenant);
            assert!(
                log.len() as u64 <= counted,
                "{} of {counted} in the log",
                log.len()
            );
            let mut left = passed.clone();
            for line in &log {
                let from = line
                    .find("/m/")
                    .unwrap_or_else(|| panic!("in the log: {line:?}"));
                let mut parts = line[from..].splitn(4, '/');
                let number = parts.nth(2).unwrap_or_default();
                let target = format!("/m/{number}/");
                let expected =
                    left.remove(&target) || self.refused_in_body[tenant].contains(&target);
                assert!(expected, "in the log of {}: {line:?}", name);
            }
            assert!(left.is_empty(), "not in the log: {left:?}");
        }
        eprintln!("{} cases", self.cases);
        self.plane.finish();
    }
}

/// Every oddity between requests of the other tenant, then any of them in any order.
fn serve_odd_requests(name: &str, server: Server) {
    let mut stage = Served::start(server);
    for index in 0..oddities::all().count() {
        for tenant in 0..TENANTS.len() {
            let other = 1 - tenant;
            let kinds = [
                (other, Kind::Plain(index)),
                (tenant, Kind::Odd(index)),
                (other, Kind::Plain(0)),
            ];
            let checked = stage.check(&kinds, &Cuts::none());
            checked.unwrap_or_else(|what| panic!("{what}"));
        }
    }
    let connection = prop::collection::vec((0..TENANTS.len(), kinds()), 1..6);
    try_many(name, 400, &(connection, cuts()), |(kinds, cuts)| {
        stage.check(&kinds, &cuts)
    });
    stage.finish();
}

#[test]
fn nginx_sees_what_was_asked_and_no_more() {
    if let Some(server) = Server::nginx() {
        serve_odd_requests("nginx", server);
    }
}

#[test]
fn apache_sees_what_was_asked_and_no_more() {
    if let Some(server) = Server::apache() {
        serve_odd_requests("apache", server);
    }
}
