//! What is told of the hosts: for each its state, since when, why, and what was last seen of it.

use super::ask::Failure;
use super::fleet::{Vote, Why};
use super::opinion::Sight;
use super::{Counts, Thread};
use jiff::Timestamp;
use meridian_model::probe::Answer;
use serde_json::{Value, json};
use std::time::Duration;

/// Sites that a host can not serve and that are named; there may be very many.
const SITES_NAMED: usize = 20;

/// What is remembered of a host for who asks.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// When it was withdrawn or returned last.
    changed_at: Option<Timestamp>,
    /// Why.
    pub(super) reason: String,
    probes: u64,
    failures: u64,
    /// When a probe passed last.
    answered_at: Option<Timestamp>,
    took: Duration,
    /// Why the last probe failed; none: it passed.
    failure: Option<String>,
    pub(super) incarnation: Option<u64>,
    pub(super) revision: Option<u64>,
    pub(super) load_percent: Option<u8>,
}

impl Row {
    /// A probe has ended.
    pub(super) fn probed(&mut self, outcome: &Result<Answer, Failure>, took: Duration) {
        self.probes += 1;
        match outcome {
            Ok(_) => {
                self.answered_at = Some(Timestamp::now());
                self.took = took;
                self.failure = None;
            }
            Err(failure) => {
                self.failures += 1;
                self.failure = Some(failure.to_string());
            }
        }
    }

    /// It was withdrawn, or has returned.
    pub(super) fn changed(&mut self, why: Why, is_withdrawn: bool) {
        self.changed_at = Some(Timestamp::now());
        self.reason = match why {
            Why::Vote(Vote {
                voters, against, ..
            }) => format!("{against} of {voters} see it down"),
            Why::Isolated => "no other host answers this one".to_owned(),
            Why::AloneOfTwo => "it does not answer, and this host's own proxy does".to_owned(),
            Why::NotProbed => "it is not probed any more".to_owned(),
        };
        if let (true, Some(failure)) = (is_withdrawn, &self.failure) {
            self.reason = format!("{}: {failure}", self.reason);
        }
    }
}

impl Thread {
    pub(super) fn report(&self) -> Value {
        let now = self.now();
        let state = self.published.state();
        let hosts = self.hosts.iter().map(|host| {
            let name = &host.name;
            let group = host.group.and_then(|it| state.zones.groups.get(it.index()));
            let row = self.rows.get(name);
            let vote = self.fleet.vote(name, now);
            let is_probed = self.probers.contains_key(name);
            let view = self.fleet.view_of(name);
            let lost = self.lost.get(name);
            json!({
                "host": &**name,
                "group": group.map(|it| &*it.name),
                "state": if self.fleet.is_withdrawn(name) { "down" } else { "up" },
                "changed_at": row.and_then(|it| it.changed_at).map(|it| it.to_string()),
                "reason": row.map_or("", |it| &it.reason),
                "probe": host.probe.map(|it| it.to_string()),
                "seen": match self.fleet.sight(name) {
                    _ if !is_probed => "not_probed",
                    Sight::Unknown => "unknown",
                    Sight::Up => "up",
                    Sight::Down => "down",
                },
                "failure": row.and_then(|it| it.failure.as_deref()),
                "voters": vote.voters,
                "against": vote.against,
                "view_age_ms": view.map(|at| now.saturating_sub(at).as_millis() as u64),
                "answered_at": row.and_then(|it| it.answered_at).map(|it| it.to_string()),
                "answered_within_ms": row.map(|it| it.took.as_secs_f64() * 1000.0),
                "probes": row.map(|it| it.probes),
                "probe_failures": row.map(|it| it.failures),
                "incarnation": row.and_then(|it| it.incarnation).map(|it| format!("{it:016x}")),
                "revision": row.and_then(|it| it.revision),
                "load_percent": row.and_then(|it| it.load_percent),
                "sites_lost": lost.map_or(0, |it| it.len()),
                "sites_lost_first": lost.into_iter().flat_map(|it| it.iter().take(SITES_NAMED))
                    .map(|it| &**it).collect::<Vec<&str>>(),
            })
        });
        json!({
            "isolated": self.fleet.is_isolated(),
            "hosts": hosts.collect::<Vec<_>>(),
            "limits": self.counts.limits(),
        })
    }
}

impl Counts {
    /// Limits by the words that docs/operations.md explains, and how often each was met.
    fn limits(self) -> Value {
        let rows = [
            ("hosts_not_probed", self.not_probed),
            ("probe_without_resources", self.without_resources),
            ("probe_answer_forged", self.forged),
        ];
        rows.map(|(name, hits)| json!({ "name": name, "hits": hits }))
            .into_iter()
            .collect()
    }
}
