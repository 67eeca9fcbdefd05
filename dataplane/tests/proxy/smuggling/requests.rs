//! Odd requests in front of backends that record: what each is to become of, and what was counted.

use super::changes::{Change, changes};
use super::oddities::{self, Fate};
use super::recorder::{Recorder, Seen};
use super::rounds::try_many;
use super::stage::{
    Asked, Cuts, Got, Kind, TENANTS, addressee, ask, backend_requests, check_secrets, cuts, heads,
    kinds, read_part, receive, site_number, start_plane,
};
use crate::support::peer::{End, Peer};
use crate::support::plane::Plane;
use proptest::prelude::*;
use std::collections::BTreeSet;

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
            plane: start_plane([recorders[0].address, recorders[1].address], "1s"),
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
        for (tenant, (name, _)) in TENANTS.into_iter().enumerate() {
            let seen = self.take(tenant)?;
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
                // 502 or 504: a backend had not understood what we sent as we had meant it.
                None if matches!(response.status(), 204 | 400..=499 | 501 | 505 | 508) => {}
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
        for (tenant, (name, _)) in TENANTS.into_iter().enumerate() {
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
