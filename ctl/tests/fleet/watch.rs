//! Asks every responder again and again, and counts how often each withdrew a host and named it again.

use crate::faults::{Expected, Question, everybody};
use crate::rig::{ALL, FALL, INTERVAL_MS, RISE, Rig, TIMEOUT_MS};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How much longer than it may take by DESIGN §7 something takes on a machine with other tests.
pub(crate) const SLACK: f64 = 5.0;

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(10);

/// In which a dead host leaves the answers (DESIGN §7).
pub(crate) fn leaves_within() -> Duration {
    Duration::from_millis((FALL + 2) * INTERVAL_MS + TIMEOUT_MS)
}

/// In which one that came back is named again: seen, heard of, and for two intervals not contradicted.
pub(crate) fn returns_within() -> Duration {
    Duration::from_millis((RISE + 3) * INTERVAL_MS + 2 * TIMEOUT_MS)
}

/// As long as this run allows for what should take `within`.
pub(crate) fn allowed(within: Duration) -> Duration {
    let slack = std::env::var("FLEET_SLACK").ok();
    let slack = slack.and_then(|it| it.parse().ok()).unwrap_or(SLACK);
    within.mul_f64(slack)
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Whom each responder names for [`ALL`].
    seen: BTreeMap<usize, BTreeSet<usize>>,
    /// By responder and host: withdrawals, returns.
    times: BTreeMap<(usize, usize), (u32, u32)>,
    looks: u64,
}

impl Watch {
    /// Waits until each host names every one. What was answered until all of them ran does not count.
    pub(crate) fn begin(rig: &Rig) -> Watch {
        let mut watch = Watch::default();
        watch.until(rig, &everybody(rig), returns_within());
        // It may have become so after the last look.
        watch.look(rig);
        watch.times.clear();
        watch
    }

    /// Looks at each responder that runs.
    fn look(&mut self, rig: &Rig) {
        for responder in 0..rig.len() {
            if !rig.hosts[responder].is_running() {
                self.seen.remove(&responder);
                continue;
            }
            let Some(named) = rig.named(responder, ALL, responder) else {
                panic!("the responder of h{responder} is silent");
            };
            assert!(!named.is_empty(), "h{responder} names nobody");
            self.looks += 1;
            let before = self.seen.insert(responder, named.clone());
            for host in before.iter().flatten().filter(|it| !named.contains(it)) {
                self.times.entry((responder, *host)).or_default().0 += 1;
            }
            let before = before.as_ref();
            for host in named
                .iter()
                .filter(|&it| before.is_some_and(|was| !was.contains(it)))
            {
                self.times.entry((responder, *host)).or_default().1 += 1;
            }
        }
    }

    /// Looks on until all answers are as expected; how long that took.
    pub(crate) fn until(&mut self, rig: &Rig, expected: &Expected, within: Duration) -> Duration {
        let begun = Instant::now();
        loop {
            self.look(rig);
            let wrong = wrong(rig, expected);
            let took = begun.elapsed();
            if wrong.is_empty() {
                return took;
            }
            assert!(
                took < allowed(within),
                "after {took:?} ({within:?} on a machine that is not busy): {}",
                wrong.join(", ")
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Looks on: it stays so.
    pub(crate) fn stays(&mut self, rig: &Rig, expected: &Expected, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.look(rig);
            let wrong = wrong(rig, expected);
            assert!(wrong.is_empty(), "{}", wrong.join(", "));
            std::thread::sleep(PAUSE);
        }
    }

    /// A fault is over: each host was withdrawn once by each responder at most, and returned once.
    pub(crate) fn finish(&mut self) -> u64 {
        for (&(responder, host), &(withdrawn, returned)) in &self.times {
            assert!(
                withdrawn <= 1 && returned <= 1,
                "h{responder} withdrew h{host} {withdrawn} times, and named it again {returned} times"
            );
        }
        self.times.clear();
        std::mem::take(&mut self.looks)
    }
}

fn wrong(rig: &Rig, expected: &Expected) -> Vec<String> {
    let mut wrong = Vec::new();
    for (
        Question {
            responder,
            name,
            near,
        },
        hosts,
    ) in expected
    {
        let named = rig.named(*responder, name, *near);
        if named.as_ref() != Some(hosts) {
            wrong.push(format!(
                "h{responder} names {named:?} for {name} near g{near}, not {hosts:?}"
            ));
        }
    }
    wrong
}
