//! Backends that lie: what the client gets of it, and what those who ask next get.

use super::liar::Liar;
use super::lies::{self, Lie, Outcome, PAYLOAD, Question};
use super::rounds::try_many;
use super::stage::{Cuts, TENANTS, backend_requests, cuts, site_number, start_plane};
use crate::support::eventually;
use crate::support::message::{Message, Read, read_response};
use crate::support::peer::{End, PATIENCE, Peer};
use crate::support::plane::Plane;

/// Well beyond the time in which a connection that is not to be used again is closed.
const UPSTREAM_IDLE: &str = "8s";
const DISCARDED_WITHIN_S: u64 = 4;

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
        let plane = start_plane([liars[0].address, liars[1].address], UPSTREAM_IDLE);
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
        let received = receive_one(&mut client, lie.question == Question::Head);
        let (response, rest, end) =
            received.map_err(|what| format!("{}: {what}; {}", lie.name, self.plane.status()))?;
        let goes_on = check_lie(lie, &target, response.as_ref(), &rest, end)
            .map_err(|what| format!("{}: {what}", lie.name))?;
        let honest = format!("/m/{}/", self.cases);
        ask_honestly(&mut self.neighbour, 1, &honest)?;
        if lie.discarded && !eventually(DISCARDED_WITHIN_S, || self.liars[0].ended() > ended) {
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
        for (tenant, asked) in asked.into_iter().enumerate() {
            // Each was answered, and what was asked twice is a retry.
            assert_eq!(site_number(&status, tenant, "requests"), asked);
            let retries = site_number(&status, tenant, "retries");
            assert_eq!(backend_requests(&status, tenant), asked + retries);
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
