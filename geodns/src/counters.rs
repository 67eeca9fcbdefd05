//! What a worker counts: plain numbers of its own, which it hands out when it is asked.

use crate::gist::{Gist, Kind};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// See the module. All since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Messages that came over UDP.
    pub(crate) udp: u64,
    /// Messages that came over TCP.
    pub(crate) tcp: u64,
    /// Responses by their kinds.
    kinds: [u64; Kind::COUNT],
    /// Responses to queries with a subnet.
    pub(crate) with_subnet: u64,
    /// Responses with TC.
    pub(crate) truncated: u64,
    /// Messages shorter than a header.
    pub(crate) no_header: u64,
    /// Messages that were responses.
    pub(crate) responses: u64,
    /// Responses that were not sent because of the rate.
    pub(crate) rate_dropped: u64,
    /// Responses that only said to ask over TCP, because of the rate.
    pub(crate) rate_slipped: u64,
    /// Responses that the kernel did not take.
    pub(crate) unsent: u64,
    /// Failed calls to receive datagrams.
    pub(crate) receive_failures: u64,
    /// Connections that were accepted.
    pub(crate) connections: u64,
    /// Of these, those of a client that had as many as it may.
    pub(crate) client_connections: u64,
    /// Connections that were closed for others, being idle the longest.
    pub(crate) evicted: u64,
    /// Connections that were closed for announcing a query that is too long.
    pub(crate) too_long: u64,
    /// Connections that were closed for being idle.
    pub(crate) idle: u64,
    /// Answers by the group that was the nearest.
    pub(crate) groups: HashMap<Arc<str>, u64>,
}

impl Counts {
    /// Counts a response; `group` names the one of its gist.
    pub(crate) fn response(&mut self, gist: &Gist, group: Option<&Arc<str>>) {
        self.kinds[gist.kind as usize] += 1;
        self.with_subnet += u64::from(gist.has_subnet);
        self.truncated += u64::from(gist.is_truncated);
        if let Some(group) = group {
            match self.groups.get_mut(group) {
                Some(count) => *count += 1,
                None => {
                    self.groups.insert(Arc::clone(group), 1);
                }
            }
        }
    }

    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, other: &Counts) {
        let Counts {
            udp,
            tcp,
            kinds,
            with_subnet,
            truncated,
            no_header,
            responses,
            rate_dropped,
            rate_slipped,
            unsent,
            receive_failures,
            connections,
            client_connections,
            evicted,
            too_long,
            idle,
            groups,
        } = other;
        self.udp += udp;
        self.tcp += tcp;
        for (sum, count) in self.kinds.iter_mut().zip(kinds) {
            *sum += count;
        }
        self.with_subnet += with_subnet;
        self.truncated += truncated;
        self.no_header += no_header;
        self.responses += responses;
        self.rate_dropped += rate_dropped;
        self.rate_slipped += rate_slipped;
        self.unsent += unsent;
        self.receive_failures += receive_failures;
        self.connections += connections;
        self.client_connections += client_connections;
        self.evicted += evicted;
        self.too_long += too_long;
        self.idle += idle;
        for (group, count) in groups {
            *self.groups.entry(Arc::clone(group)).or_default() += count;
        }
    }

    /// The numbers that there is one of.
    pub(crate) fn report(&self) -> Value {
        let kinds = Kind::ALL.into_iter().zip(self.kinds);
        let kinds: serde_json::Map<String, Value> = kinds
            .map(|(kind, count)| (kind.word().to_owned(), count.into()))
            .collect();
        json!({
            "queries": { "udp": self.udp, "tcp": self.tcp },
            "responses": kinds,
            "with_subnet": self.with_subnet,
            "truncated": self.truncated,
            "dropped": { "no_header": self.no_header, "response": self.responses },
            "unsent": self.unsent,
            "receive_failures": self.receive_failures,
            "connections": self.connections,
            "idle_closed": self.idle,
            "groups": self.groups.iter().map(|(name, count)| (name.to_string(), (*count).into()))
                .collect::<serde_json::Map<String, Value>>(),
        })
    }

    /// Limits by the words that docs/operations.md explains, and how often each was met; the last two
    /// are of [`crate::usage::Usage`].
    pub(crate) fn limits(&self, unbacked: u64, unwritten: u64) -> Value {
        let rows = [
            ("dns_rate_dropped", self.rate_dropped),
            ("dns_rate_slipped", self.rate_slipped),
            ("dns_connections", self.evicted),
            ("dns_connections_per_client", self.client_connections),
            ("dns_query_too_long", self.too_long),
            ("counters_unbacked", unbacked),
            ("slots_unwritten", unwritten),
        ];
        rows.map(|(name, hits)| json!({ "name": name, "hits": hits }))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::snapshot::SiteId;

    #[test]
    fn sums_are_of_every_number() {
        let mut one = Counts::default();
        let gist = Gist {
            kind: Kind::Service,
            site: Some(SiteId(7)),
            group: None,
            has_subnet: true,
            is_truncated: true,
        };
        let group: Arc<str> = "ams".into();
        one.response(&gist, Some(&group));
        one.udp = 1;
        one.tcp = 2;
        one.rate_dropped = 3;
        one.evicted = 4;
        one.too_long = 5;
        let mut sum = one.clone();
        sum.add(&one);
        let report = sum.report();
        assert_eq!(report["queries"], json!({ "udp": 2, "tcp": 4 }));
        assert_eq!(report["responses"]["service"], 2);
        assert_eq!((sum.with_subnet, sum.truncated), (2, 2));
        assert_eq!(report["groups"], json!({ "ams": 2 }));
        assert_eq!(sum.limits(7, 8)[0]["hits"], 6);
        assert_eq!(sum.limits(7, 8)[2]["hits"], 8);
        assert_eq!(sum.limits(7, 8)[4]["hits"], 10);
        assert_eq!(sum.limits(7, 8)[5]["hits"], 7);
    }
}
