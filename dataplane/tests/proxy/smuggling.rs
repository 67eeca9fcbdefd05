//! Nobody's request is hidden in another's, and nobody gets what is another's: requests and
//! responses that two readers could take for different ones, between two tenants on one worker.

mod liar;
mod lies;
mod message;
mod oddities;
mod recorder;
mod rounds;
mod servers;
mod stage;

use crate::support::eventually;
use crate::support::peer::{End, PATIENCE, Peer};
use crate::support::plane::{Plane, number};
use liar::Liar;
use lies::{Lie, Outcome, PAYLOAD, Question};
use message::{Message, Read, read_response};
use oddities::Fate;
use proptest::prelude::*;
use proptest::sample::Index;
use recorder::{Recorder, Seen};
use rounds::try_many;
use serde_json::Value;
use servers::Server;
use stage::{Asked, Cuts, Got, Kind, TENANTS, addressee, cuts, kinds, receive, start_plane};
use std::collections::BTreeSet;

/// A number of a tenant's only backend.
fn backend_requests(status: &Value, tenant: usize) -> u64 {
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

fn site_number(status: &Value, tenant: usize, column: &str) -> u64 {
    let sites = status["sites"].as_array().expect("there are sites");
    let site = sites.iter().find(|row| row["tenant"] == TENANTS[tenant].0);
    number(site.expect("it has one"), column)
}

/// A plane between clients and two recorders, and what must have been counted.
struct Recorded {
    plane: Plane,
    recorders: [Recorder; 2],
    cases: u64,
    whole: [u64; 2],
    cut: [u64; 2],
    /// Targets whose bodies were refused: they may be seen, but never whole.
    refused_in_body: BTreeSet<String>,
}

impl Recorded {
    fn start() -> Recorded {
        let recorders = TENANTS.map(|(tenant, host)| Recorder::start(tenant, host));
        Recorded {
            plane: start_plane([recorders[0].address, recorders[1].address]),
            recorders,
            cases: 0,
            whole: [0; 2],
            cut: [0; 2],
            refused_in_body: BTreeSet::new(),
        }
    }

    /// The requests that were seen whole, and that nothing was seen that should not have been.
    fn take(&mut self, tenant: usize) -> Result<Vec<Seen>, String> {
        let record = self.recorders[tenant].take();
        if let Some(fault) = record.faults.first() {
            return Err(format!("seen by {}: {fault}", TENANTS[tenant].0));
        }
        let (whole, cut): (Vec<Seen>, Vec<Seen>) =
            record.seen.into_iter().partition(|seen| seen.whole);
        self.whole[tenant] += whole.len() as u64;
        self.cut[tenant] += cut.len() as u64;
        Ok(whole)
    }

    /// Sends a connection's requests and compares everything with what each is to become of.
    fn check(
        &mut self,
        kinds: &[(usize, Kind)],
        cuts: &Cuts,
        ends_first: bool,
    ) -> Result<(), String> {
        self.cases += 1;
        let asked = ask(kinds, self.cases);
        let bytes: Vec<u8> = asked.iter().flat_map(|asked| asked.shape.bytes()).collect();
        let mut peer = Peer::connect(self.plane.address());
        cuts.send(&mut peer, &bytes);
        let read = read_part(&asked);
        let wanted = if ends_first { 0 } else { read.len() };
        let got = receive(&mut peer, wanted, &heads(read))?;
        check_responses(read, &got)?;
        for tenant in 0..TENANTS.len() {
            let seen = self.take(tenant)?;
            let name = TENANTS[tenant].0;
            let passed: Vec<&Asked> = read
                .iter()
                .filter(|asked| asked.fate.passes() && asked.to.tenant == name)
                .collect();
            if seen.len() != passed.len() {
                return Err(format!(
                    "{name} saw {seen:?}, not {} requests",
                    passed.len()
                ));
            }
            for (seen, asked) in seen.iter().zip(passed) {
                if !seen.target.ends_with(&asked.to.target) || seen.body != asked.shape.payload {
                    return Err(format!("{}: {name} saw {seen:?}", asked.name));
                }
            }
        }
        for asked in read {
            if matches!(asked.fate, Fate::RefusedInBody(_)) {
                self.refused_in_body.insert(asked.to.target.clone());
            }
        }
        Ok(())
    }

    /// Sends one tenant bytes of which nobody knows what they are: what was seen is what was
    /// answered, in that order, and by that tenant alone.
    fn check_changed(
        &mut self,
        tenant: usize,
        kinds: &[Kind],
        changes: &[Change],
        cuts: &Cuts,
    ) -> Result<(), String> {
        self.cases += 1;
        let mut bytes = Vec::new();
        for (place, kind) in kinds.iter().enumerate() {
            // The other tenant is not named: nothing of this may reach it.
            let target = format!("/m/{}.{place}/", self.cases);
            let asked = kind.ask(addressee(tenant, "nobody2.test", target));
            if !asked.shape.is_head() {
                bytes.extend(asked.shape.bytes());
            }
        }
        for change in changes {
            change.apply(&mut bytes, TENANTS[tenant].1);
        }
        let mut peer = Peer::connect(self.plane.address());
        cuts.send(&mut peer, &bytes);
        let got = receive(&mut peer, 0, &[])?;
        let context = || format!("{:?}", String::from_utf8_lossy(&bytes));
        let (own, other) = (TENANTS[tenant].0, TENANTS[1 - tenant].0);
        let mut answered = Vec::new();
        for response in &got.responses {
            check_secrets(&response.body, other)?;
            match response.field("x-tenant") {
                Some(name) if name == own => {
                    answered.push(response.field("x-target").unwrap_or_default().to_owned());
                }
                None if response.status() >= 400 || response.status() == 204 => {}
                _ => return Err(format!("{:?} to {}", response.line, context())),
            }
        }
        check_secrets(&got.rest, other)?;
        let seen = self
            .take(tenant)
            .map_err(|fault| format!("{fault} of {}", context()))?;
        let seen: Vec<String> = seen.into_iter().map(|seen| seen.target).collect();
        if seen != answered {
            return Err(format!(
                "{own} saw {seen:?}, answers were {answered:?}, of {}",
                context()
            ));
        }
        let others = self.take(1 - tenant)?;
        if !others.is_empty() {
            return Err(format!("{other} saw {others:?} of {}", context()));
        }
        Ok(())
    }

    /// Nothing reached a backend that was not counted, and each answer was.
    fn finish(mut self) {
        let status = self.plane.settle();
        for tenant in 0..TENANTS.len() {
            let name = TENANTS[tenant].0;
            assert_eq!(
                self.take(tenant).map(|seen| seen.len()),
                Ok(0),
                "{name} at the end"
            );
            let counted = backend_requests(&status, tenant);
            // What was refused with the first bytes of its body was counted and never sent.
            let seen = self.whole[tenant] + self.cut[tenant];
            assert!(
                seen <= counted,
                "{name} saw {seen} requests, {counted} were counted"
            );
            let good = site_number(&status, tenant, "responses_2xx");
            assert_eq!(good, self.whole[tenant], "answers of {name}");
            assert_eq!(site_number(&status, tenant, "retries"), 0);
        }
        eprintln!(
            "{} cases, {:?} requests whole, {:?} cut",
            self.cases, self.whole, self.cut
        );
        self.plane.finish();
    }
}

fn ask(kinds: &[(usize, Kind)], case: u64) -> Vec<Asked> {
    let numbered = kinds.iter().enumerate();
    numbered
        .map(|(place, (tenant, kind))| {
            let target = format!("/m/{case}.{place}/");
            kind.ask(addressee(*tenant, TENANTS[1 - tenant].1, target))
        })
        .collect()
}

/// The requests up to the one that ends the connection.
fn read_part(asked: &[Asked]) -> &[Asked] {
    let last = asked.iter().position(|asked| asked.fate.ends());
    &asked[..last.map_or(asked.len(), |last| last + 1)]
}

/// Which of them are HEAD requests.
fn heads(asked: &[Asked]) -> Vec<usize> {
    let places = asked.iter().enumerate();
    let heads = places.filter(|(_, asked)| asked.shape.is_head());
    heads.map(|(place, _)| place).collect()
}

fn check_secrets(bytes: &[u8], other: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    match text.contains(&format!("secret-{other}")) {
        true => Err(format!("what is {other}'s: {text:?}")),
        false => Ok(()),
    }
}

/// Each request got its own answer, and nothing else came.
fn check_responses(read: &[Asked], got: &Got) -> Result<(), String> {
    let lines: Vec<&str> = got.responses.iter().map(|it| it.line.as_str()).collect();
    let context = || {
        let names: Vec<_> = read
            .iter()
            .map(|asked| (asked.name, asked.to.tenant))
            .collect();
        format!("{lines:?} and {:?} to {names:?}", got.end)
    };
    if got.responses.len() != read.len() || !got.rest.is_empty() || got.end != End::Closed {
        return Err(context());
    }
    for (asked, response) in read.iter().zip(&got.responses) {
        let status = response.status();
        let right = match asked.fate {
            Fate::Passes | Fate::PassesLast => {
                status == 200
                    && response.field("x-tenant") == Some(asked.to.tenant)
                    && response
                        .field("x-target")
                        .is_some_and(|it| it.ends_with(&asked.to.target))
            }
            Fate::Refused(wanted)
            | Fate::RefusedInBody(wanted)
            | Fate::Answered(wanted)
            | Fate::AnsweredLast(wanted) => {
                status == wanted && response.field("x-tenant").is_none()
            }
        };
        let other = TENANTS.iter().find(|(name, _)| *name != asked.to.tenant);
        check_secrets(&response.body, other.expect("there are two").0)?;
        if !right {
            return Err(format!(
                "{}: {:?} among {}",
                asked.name,
                response.line,
                context()
            ));
        }
    }
    Ok(())
}

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, Index),
    Delete(Index, usize),
    Replace(Index, u8),
    Double(Index, usize),
}

/// What tends to be read in two ways; `HOST` is the tenant's.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\"",
    "\x0b",
    "\u{a0}",
    "0",
    "a",
    "\r\n",
    "\r\n ",
    "\n\r\n",
    "\r\n\r\n",
    "0\r\n\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: HOST\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "GET /hidden HTTP/1.1\r\nHost: HOST\r\n\r\n",
];

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), any::<Index>()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        2 => (any::<Index>(), 1..4_usize).prop_map(|(at, count)| Change::Delete(at, count)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        1 => (any::<Index>(), 1..60_usize).prop_map(|(at, count)| Change::Double(at, count)),
    ];
    prop::collection::vec(change, 0..4)
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, host: &str) {
        let range = |at: &Index, count: usize, length: usize| {
            let at = at.index(length + 1);
            at..(at + count).min(length)
        };
        match self {
            Change::Insert(at, piece) => {
                let at = at.index(bytes.len() + 1);
                let piece = piece.get(PIECES).replace("HOST", host);
                bytes.splice(at..at, piece.into_bytes());
            }
            Change::Delete(at, count) => {
                bytes.drain(range(at, *count, bytes.len()));
            }
            Change::Replace(at, byte) => {
                let place = range(at, 1, bytes.len());
                bytes[place].fill(*byte);
            }
            Change::Double(at, count) => {
                let place = range(at, *count, bytes.len());
                let again = bytes[place.clone()].to_vec();
                bytes.splice(place.start..place.start, again);
            }
        }
    }
}

/// Each oddity with a request of either tenant before and behind it.
#[test]
fn every_odd_request_becomes_what_it_is_to() {
    let mut stage = Recorded::start();
    for index in 0..oddities::all().count() {
        for tenant in 0..TENANTS.len() {
            let kinds = [
                (1 - tenant, Kind::Plain(index)),
                (tenant, Kind::Odd(index)),
                (1 - tenant, Kind::Plain(0)),
            ];
            let checked = stage.check(&kinds, &Cuts::none(), tenant == 0);
            checked.unwrap_or_else(|what| panic!("{what}"));
        }
    }
    stage.finish();
}

#[test]
fn odd_requests_in_any_order_cut_anywhere() {
    let mut stage = Recorded::start();
    let connection = prop::collection::vec((0..TENANTS.len(), kinds()), 1..6);
    try_many(
        "odd",
        1500,
        &(connection, cuts(), any::<bool>()),
        |(kinds, cuts, ends_first)| stage.check(&kinds, &cuts, ends_first),
    );
    stage.finish();
}

#[test]
fn requests_with_bytes_changed_reach_their_tenant_alone() {
    let mut stage = Recorded::start();
    let connection = prop::collection::vec(kinds(), 1..5);
    let strategy = (0..TENANTS.len(), connection, changes(), cuts());
    try_many(
        "changed",
        3000,
        &strategy,
        |(tenant, kinds, changes, cuts)| stage.check_changed(tenant, &kinds, &changes, &cuts),
    );
    stage.finish();
}

/// A plane between clients and two backends that lie when they are asked to.
struct LiedTo {
    plane: Plane,
    liars: [Liar; 2],
    /// A client of the second tenant whose connection lasts.
    neighbour: Peer,
    cases: u64,
}

impl LiedTo {
    fn start() -> LiedTo {
        let liars = TENANTS.map(|(tenant, _)| Liar::start(tenant));
        let plane = start_plane([liars[0].address, liars[1].address]);
        let neighbour = Peer::connect(plane.address());
        LiedTo {
            plane,
            liars,
            neighbour,
            cases: 0,
        }
    }

    /// Asks for a lie, then for the truth, and for the neighbour's truth between.
    fn check(&mut self, index: usize, cuts: &Cuts) -> Result<(), String> {
        self.cases += 1;
        let lie = lies::all().nth(index).expect("there are so many");
        let target = format!("/lie/{index}/{}/", self.cases);
        let ended = self.liars[0].ended();
        self.liars[0].cut_next(cuts.clone());
        let mut client = Peer::connect(self.plane.address());
        client.send(question(lie, &target).as_bytes());
        let (response, rest, end) = receive_one(&mut client, lie.question == Question::Head)?;
        let goes_on = check_lie(lie, &target, response.as_ref(), &rest, end)
            .map_err(|what| format!("{}: {what}", lie.name))?;
        let honest = format!("/m/{}/", self.cases);
        ask_honestly(&mut self.neighbour, 1, &honest)?;
        if lie.discarded && !eventually(5, || self.liars[0].ended() > ended) {
            return Err(format!("{}: its connection was not closed", lie.name));
        }
        if !goes_on {
            client = Peer::connect(self.plane.address());
        }
        ask_honestly(&mut client, 0, &honest).map_err(|what| format!("after {}: {what}", lie.name))
    }

    fn finish(self) {
        drop(self.neighbour);
        let status = self.plane.settle();
        let asked = [2 * self.cases, self.cases];
        for tenant in 0..TENANTS.len() {
            // Each was answered, and what was asked twice is a retry.
            assert_eq!(site_number(&status, tenant, "requests"), asked[tenant]);
            let retries = site_number(&status, tenant, "retries");
            assert_eq!(backend_requests(&status, tenant), asked[tenant] + retries);
        }
        eprintln!("{} cases", self.cases);
        self.plane.finish();
    }
}

fn question(lie: &Lie, target: &str) -> String {
    let host = TENANTS[0].1;
    match lie.question {
        Question::Get => format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        Question::Head => format!("HEAD {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        Question::PartOfPost => {
            format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\npart")
        }
    }
}

/// The next final response, if a whole one comes, and what came behind it or of it.
fn receive_one(peer: &mut Peer, to_head: bool) -> Result<(Option<Message>, Vec<u8>, End), String> {
    let begun = std::time::Instant::now();
    let mut bytes = Vec::new();
    loop {
        let (more, end) = peer.receive_some();
        bytes.extend_from_slice(&more);
        loop {
            match read_response(&bytes, to_head, end == End::Closed) {
                Read::Broken(what) => return Err(format!("a response with {what}")),
                Read::Partial(_) => break,
                Read::Whole(message) => {
                    bytes.drain(..message.bytes);
                    if message.status() >= 200 {
                        return Ok((Some(message), bytes, end));
                    }
                }
            }
        }
        if end != End::Open {
            return Ok((None, bytes, end));
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!(
                "neither a response nor an end: {:?}",
                String::from_utf8_lossy(&bytes)
            ));
        }
    }
}

/// Whether the client's connection goes on; an error when the client got what it should not.
fn check_lie(
    lie: &Lie,
    target: &str,
    response: Option<&Message>,
    rest: &[u8],
    end: End,
) -> Result<bool, String> {
    let context = || {
        format!(
            "{:?}, {:?}, {end:?}",
            response,
            String::from_utf8_lossy(rest)
        )
    };
    if String::from_utf8_lossy(rest).contains("poison") {
        return Err(context());
    }
    let Some(response) = response else {
        let cut = lie.outcome == Outcome::Broken && end == End::Reset;
        return if cut { Ok(false) } else { Err(context()) };
    };
    let is_own = response.field("x-target").is_none();
    let right = match lie.outcome {
        Outcome::Whole(status) => {
            let body = match lie.question {
                Question::Head => "",
                _ if matches!(status, 204 | 304) || lie.name.ends_with("nothing") => "",
                _ => PAYLOAD,
            };
            response.status() == status
                && response.field("x-target") == Some(target)
                && response.body == body.as_bytes()
        }
        Outcome::Refused | Outcome::Broken => response.status() == 502 && is_own,
    };
    match right && rest.is_empty() {
        true => Ok(end == End::Open && response.field("connection") != Some("close")),
        false => Err(context()),
    }
}

/// A request that a backend answers as one does.
fn ask_honestly(peer: &mut Peer, tenant: usize, target: &str) -> Result<(), String> {
    let (name, host) = TENANTS[tenant];
    peer.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    let (response, rest, _) = receive_one(peer, false)?;
    let right = response.as_ref().is_some_and(|response| {
        response.field("x-target") == Some(target) && response.field("x-tenant") == Some(name)
    });
    match right && rest.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{name} got {response:?} and {:?}",
            String::from_utf8_lossy(&rest)
        )),
    }
}

/// Each lie in one piece, then all of them in any pieces.
#[test]
fn no_lie_of_a_backend_is_taken_for_an_answer() {
    let mut stage = LiedTo::start();
    let count = lies::all().count();
    for index in 0..count {
        let checked = stage.check(index, &Cuts::none());
        checked.unwrap_or_else(|what| panic!("{what}"));
    }
    try_many("lies", 1000, &(0..count, cuts()), |(index, cuts)| {
        stage.check(index, &cuts)
    });
    stage.finish();
}

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
            plane: start_plane(server.addresses),
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
        for tenant in 0..TENANTS.len() {
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
                assert!(expected, "in the log of {}: {line:?}", TENANTS[tenant].0);
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
