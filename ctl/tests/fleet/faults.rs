//! What fails, what is to be answered while it does, and how it is mended.

use crate::rig::{ALL, CHECK_MS, CHECKS, GEO, INTERVAL_MS, Rig, TIMEOUT_MS};
use crate::watch::{Watch, leaves_within, returns_within};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of a host: it refuses connections.
    Kill(usize),
    /// The proxy of a host hangs: it takes connections, and says nothing.
    Hang(usize),
    /// A host with its links: nothing of it is heard.
    Dead(usize),
    /// All links of a host: it lives.
    Alone(usize),
    /// The link between two hosts.
    Link(usize, usize),
    /// The last backend of a host's group.
    Backend(usize),
}

/// What a responder is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) responder: usize,
    pub(crate) name: &'static str,
    /// For visitors who are closest to this host.
    pub(crate) near: usize,
}

/// Whom each is to name.
pub(crate) type Expected = BTreeMap<Question, BTreeSet<usize>>;

/// How long it took to be answered rightly, and again when it was over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) leaving: Duration,
    pub(crate) returning: Duration,
    pub(crate) looks: u64,
}

impl Fault {
    fn begin(self, rig: &mut Rig) {
        match self {
            Fault::Kill(host) => rig.hosts[host].kill(),
            Fault::Hang(host) => rig.hosts[host].signal_proxy(Signal::STOP),
            Fault::Dead(host) => {
                each_link(rig, host, |rig, other| rig.place.cut(other, host));
                rig.hosts[host].kill();
            }
            Fault::Alone(host) => each_link(rig, host, |rig, other| rig.place.cut(host, other)),
            Fault::Link(one, other) => rig.place.cut(one, other),
            Fault::Backend(host) => rig.stop_backend(host),
        }
    }

    fn end(self, rig: &mut Rig) {
        match self {
            Fault::Kill(host) => rig.restart(host),
            Fault::Hang(host) => rig.hosts[host].signal_proxy(Signal::CONT),
            Fault::Dead(host) => {
                each_link(rig, host, |rig, other| rig.place.mend(other, host));
                rig.restart(host);
            }
            Fault::Alone(host) => each_link(rig, host, |rig, other| rig.place.mend(host, other)),
            Fault::Link(one, other) => rig.place.mend(one, other),
            Fault::Backend(host) => rig.start_backend(host),
        }
    }

    /// Whom a responder does not name while this lasts; `None`: it is not there.
    fn missed_by(self, responder: usize, hosts: usize) -> Option<BTreeSet<usize>> {
        let is_end = |one, other| responder == one || responder == other;
        match self {
            Fault::Kill(host) | Fault::Dead(host) if responder == host => None,
            Fault::Kill(host) | Fault::Dead(host) | Fault::Hang(host) => Some([host].into()),
            // In a fleet of two each takes the other for dead. In a larger one who reaches nobody withdraws
            // nobody.
            Fault::Alone(host) if responder != host => Some([host].into()),
            Fault::Alone(host) if hosts == 2 => Some([1 - host].into()),
            // The third says that it lives, and on a tie it is who decides that does not reach it.
            Fault::Link(one, other) if is_end(one, other) => Some([one + other - responder].into()),
            Fault::Alone(_) | Fault::Link(..) | Fault::Backend(_) => Some([].into()),
        }
    }

    /// What is answered while this lasts.
    fn expected(self, rig: &Rig) -> Expected {
        let mut expected = Expected::new();
        for responder in 0..rig.len() {
            let Some(missed) = self.missed_by(responder, rig.len()) else {
                continue;
            };
            let named: BTreeSet<usize> = (0..rig.len()).filter(|it| !missed.contains(it)).collect();
            for near in 0..rig.len() {
                // The closest that is named and has a backend. Host n stands at 10 n² degrees.
                let can_serve = named.iter().filter(|&&it| self != Fault::Backend(it));
                let closest =
                    can_serve.min_by_key(|&&it| (it != near, (it * it).abs_diff(near * near)));
                let at = |name| Question {
                    responder,
                    name,
                    near,
                };
                expected.insert(at(GEO), closest.into_iter().copied().collect());
                expected.insert(at(ALL), named.clone());
            }
        }
        expected
    }

    fn leaves_within(self) -> Duration {
        match self {
            Fault::Backend(_) => backend_within(),
            _ => leaves_within(),
        }
    }

    fn returns_within(self) -> Duration {
        match self {
            Fault::Backend(_) => backend_within(),
            _ => returns_within(),
        }
    }

    /// Has it begin and end, and looks at what is answered all the while.
    pub(crate) fn play(self, rig: &mut Rig, watch: &mut Watch) -> Took {
        let all = everybody(rig);
        let steady = Duration::from_millis(3 * INTERVAL_MS);
        self.begin(rig);
        let expected = self.expected(rig);
        let leaving = watch.until(rig, &expected, self.leaves_within());
        watch.stays(rig, &expected, steady);
        self.end(rig);
        let returning = watch.until(rig, &all, self.returns_within());
        watch.stays(rig, &all, steady);
        Took {
            leaving,
            returning,
            looks: watch.finish(),
        }
    }
}

/// A check that fails in a row, jittered and to its timeout, then a probe that tells of it.
fn backend_within() -> Duration {
    let checks = (CHECKS + 1) * CHECK_MS * 11 / 10 + CHECK_MS;
    Duration::from_millis(checks + INTERVAL_MS + TIMEOUT_MS)
}

/// What is answered while nothing fails.
pub(crate) fn everybody(rig: &Rig) -> Expected {
    let all: BTreeSet<usize> = (0..rig.len()).collect();
    let mut expected = Expected::new();
    for responder in 0..rig.len() {
        for near in 0..rig.len() {
            let at = |name| Question {
                responder,
                name,
                near,
            };
            expected.insert(at(ALL), all.clone());
            expected.insert(at(GEO), [near].into());
        }
    }
    expected
}

fn each_link(rig: &Rig, host: usize, each: impl Fn(&Rig, usize)) {
    for other in (0..rig.len()).filter(|&it| it != host) {
        each(rig, other);
    }
}
