//! The load on a server while it is changed: short requests to the site that changes and to
//! others, and responses that take long.

use std::time::{Duration, Instant};

use super::configuration::Sites;
use super::sample::ms_between;
use crate::failure::Failure;
use crate::generator::{Exchange, Going, Pace, Plan};
use crate::quantity;

/// Much less than saturates a proxy on one core, so that what a change takes can be seen.
const SHORT_PER_SECOND: f64 = 1000.0;
/// Keep-alive connections of short requests: enough for every worker to have some.
const SHORT_CONNECTIONS: usize = 64;
/// Of so many requests in a row three ask the site that changes. The number has no divisor in
/// common with that of the connections, so that each connection comes to ask it.
const HOSTS: u32 = 5;
const LONGEST: Duration = Duration::from_secs(3600);
/// Failed requests that are told of one by one.
const FAILED_TOLD: usize = 20;
/// Requests that are due or in flight at the end are waited for: a slow server is no failing one.
const DRAIN: Duration = Duration::from_secs(30);

/// Responses that take long.
#[derive(Clone, Copy)]
pub(super) struct Long {
    pub(super) ms: u64,
    /// Begun each second.
    pub(super) per_second: f64,
}

/// Load that goes on.
pub(super) struct Traffic {
    short: Going,
    long: Going,
}

/// What became of it.
pub(super) struct Seen {
    short: Vec<Exchange>,
    long: Vec<Exchange>,
    refused: u64,
    unanswered: u64,
}

impl Traffic {
    pub(super) fn begin(sites: &Sites, long: Long) -> Result<Self, Failure> {
        let changing = sites.hostname(sites.changing());
        let (scheme, secure) = match &sites.certified {
            Some(certified) => ("https", Some(certified.client.named(&changing)?)),
            None => ("http", None),
        };
        let target = |path: &str| {
            quantity::target(&format!("{scheme}://{}{path}", sites.listen)).map_err(Failure::new)
        };
        // A connection by TLS is one site's.
        let hosts = if secure.is_some() { 1 } else { HOSTS };
        let hosts = (0..hosts).map(|turn| match turn {
            0 | 2 | 4 => changing.clone(),
            _ => sites.hostname(turn * (sites.changing() / HOSTS)),
        });
        let short = Plan {
            secure,
            target: target("/b/100")?,
            hosts: hosts.collect(),
            pace: Pace::Open {
                requests_per_second: SHORT_PER_SECOND,
            },
            connections: SHORT_CONNECTIONS,
            warm_up: Duration::ZERO,
            duration: LONGEST,
            drain: DRAIN,
            keeps_exchanges: true,
            closes: false,
        };
        let length = Duration::from_millis(long.ms);
        let at_once = (long.per_second * length.as_secs_f64()).ceil() as usize;
        let long = Plan {
            target: target(&format!("/drip/{}", long.ms))?,
            hosts: vec![changing],
            pace: Pace::Open {
                requests_per_second: long.per_second,
            },
            connections: 2 * at_once + 2,
            drain: DRAIN + length * 2,
            ..short.clone()
        };
        Ok(Self {
            short: Going::begin(short),
            long: Going::begin(long),
        })
    }

    /// No more long responses are begun; those under way go on.
    pub(super) fn end_long(&self) {
        self.long.stop();
    }

    pub(super) fn end(self) -> Result<Seen, Failure> {
        let long = self.long.end()?;
        let short = self.short.end()?;
        Ok(Seen {
            refused: short.refused + long.refused,
            // Those that never found a free connection; those in flight are exchanges.
            unanswered: short.never_sent + long.never_sent,
            short: short.exchanges,
            long: long.exchanges,
        })
    }
}

impl Seen {
    /// Requests without a whole 2xx response, and connections refused: short and long ones.
    pub(super) fn failed(&self) -> (u64, u64) {
        let count = |exchanges: &[Exchange]| {
            let failed = exchanges.iter().filter(|exchange| !is_good(exchange));
            failed.count() as u64
        };
        let short = count(&self.short) + self.refused + self.unanswered;
        (short, count(&self.long))
    }

    /// The first of them: when they were sent, in milliseconds since the change was asked for,
    /// for how long they lasted, and with which status they ended, if any.
    pub(super) fn failures(&self, since: Instant) -> Vec<serde_json::Value> {
        let kinds = [("short", &self.short), ("long", &self.long)];
        let all = kinds.into_iter().flat_map(|(kind, exchanges)| {
            let failed = exchanges.iter().filter(|exchange| !is_good(exchange));
            failed.map(move |exchange| (kind, exchange))
        });
        let told = all.take(FAILED_TOLD).map(|(kind, exchange)| {
            let sent_ms = ms_between(since, exchange.sent) - ms_between(exchange.sent, since);
            serde_json::json!({
                "kind": kind,
                "sent_ms": sent_ms,
                "took_ms": ms_between(exchange.sent, exchange.ended),
                "status": exchange.status,
            })
        });
        told.collect()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn requests(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Requests to the site that changes, in the order in which they were sent.
    fn to_changing(&self) -> Vec<Exchange> {
        let short = self.short.iter().filter(|it| it.host % 2 == 0);
        let mut all: Vec<Exchange> = short.chain(&self.long).copied().collect();
        all.retain(is_good);
        all.sort_by_key(|exchange| exchange.sent);
        all
    }

    /// When the first request was sent behind which all are answered by the new backend.
    pub(super) fn settled(&self) -> Option<Instant> {
        settled(&self.to_changing())
    }

    /// When the new backend's first answer had come.
    pub(super) fn first_new(&self) -> Option<Instant> {
        let new = self.to_changing().into_iter().filter(is_from_new);
        new.map(|exchange| exchange.ended).min()
    }

    /// Requests sent after `live` that the old backend answered.
    pub(super) fn stale(&self, live: Instant) -> usize {
        let later = self.to_changing().into_iter().filter(|it| it.sent > live);
        later.filter(|exchange| !is_from_new(exchange)).count()
    }

    /// The slowest short request that ended after `since` and was due before `until`; its time is
    /// counted from then, so that whoever stalls is charged for all who would have come.
    pub(super) fn slowest(&self, since: Instant, until: Instant) -> Duration {
        let within = |it: &&Exchange| it.ended >= since && it.due <= until;
        let short = self.short.iter().filter(within);
        let took = short.map(|it| it.ended.saturating_duration_since(it.due));
        took.max().unwrap_or_default()
    }
}

fn is_good(exchange: &Exchange) -> bool {
    exchange.status.is_some_and(|it| (200..300).contains(&it))
}

fn is_from_new(exchange: &Exchange) -> bool {
    exchange.backend == Some(b'n')
}

fn settled(in_order: &[Exchange]) -> Option<Instant> {
    let old = in_order.iter().rposition(|it| !is_from_new(it));
    let first = old.map_or(0, |last| last + 1);
    in_order.get(first).map(|exchange| exchange.sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(begin: Instant, sent_ms: u64, took_ms: u64, backend: u8) -> Exchange {
        let sent = begin + Duration::from_millis(sent_ms);
        Exchange {
            host: 0,
            due: sent,
            sent,
            ended: sent + Duration::from_millis(took_ms),
            status: Some(200),
            backend: Some(backend),
        }
    }

    /// A new backend that is seen once, then the old one again: the trap of a connection that
    /// comes back to a pool.
    #[test]
    fn one_late_answer_of_the_old_backend_is_seen() {
        let begin = Instant::now();
        let seen = Seen {
            short: vec![
                exchange(begin, 0, 1, b'o'),
                exchange(begin, 10, 1, b'n'),
                exchange(begin, 30, 1, b'o'),
                exchange(begin, 40, 7, b'n'),
            ],
            long: vec![exchange(begin, 5, 100, b'o')],
            refused: 1,
            unanswered: 0,
        };
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(seen.settled(), Some(at(40)));
        assert_eq!(seen.first_new(), Some(at(11)));
        assert_eq!(seen.stale(at(11)), 1);
        assert_eq!(seen.stale(at(30)), 0, "sent before it was live");
        assert_eq!(seen.failed(), (1, 0));
        assert_eq!(seen.slowest(at(0), at(39)), Duration::from_millis(1));
        assert_eq!(seen.slowest(at(0), at(40)), Duration::from_millis(7));
    }

    #[test]
    fn what_never_changed_never_settled() {
        let begin = Instant::now();
        assert_eq!(settled(&[exchange(begin, 0, 1, b'o')]), None);
        assert_eq!(settled(&[]), None);
    }
}
