//! What `status` shows of the DNS responder.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::table::{Align, Table};

/// The responder's answer to `{"op":"status"}` beyond what every plane says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DnsStatus {
    listen: Vec<String>,
    zones: Vec<Zone>,
    counters: Counters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Zone {
    zone: String,
    serial: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counters {
    queries: Queries,
    /// By kind.
    responses: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queries {
    udp: u64,
    tcp: u64,
}

impl DnsStatus {
    /// Of the answer as it came; what it does not have is empty.
    pub(crate) fn of(answer: &Value) -> DnsStatus {
        DnsStatus::deserialize(answer).unwrap_or_default()
    }

    /// Lines below the heading.
    pub(crate) fn lines(&self) -> String {
        let Queries { udp, tcp } = self.counters.queries;
        let listen = self.listen.join(", ");
        format!("dns on {listen}: {udp} queries over UDP, {tcp} over TCP\n")
    }

    pub(crate) fn tables(&self) -> [Table; 2] {
        let mut zones = Table::new(&[("ZONE", Align::Left), ("SERIAL", Align::Right)]);
        for Zone { zone, serial } in &self.zones {
            zones.row(vec![zone.clone(), serial.to_string()]);
        }
        let mut responses = Table::new(&[("RESPONSES", Align::Left), ("COUNT", Align::Right)]);
        let counted = self.counters.responses.iter();
        for (kind, count) in counted.filter(|(_, count)| **count > 0) {
            responses.row(vec![kind.clone(), count.to_string()]);
        }
        [zones, responses]
    }
}
