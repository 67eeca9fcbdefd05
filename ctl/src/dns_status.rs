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
    geography: Option<Geography>,
}

/// What visitors are located by.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Geography {
    /// `embedded`, or the files.
    database: Value,
    /// Whose data it is, where that must be said.
    attribution: Option<String>,
    fault: Option<String>,
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
        let geography = self.geography.as_ref().map(Geography::lines);
        format!(
            "dns on {listen}: {udp} queries over UDP, {tcp} over TCP\n{}",
            geography.unwrap_or_default()
        )
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

impl Geography {
    fn lines(&self) -> String {
        let database = match &self.database {
            Value::Array(files) => {
                let files: Vec<&str> = files.iter().filter_map(Value::as_str).collect();
                files.join(", ")
            }
            named => named.as_str().unwrap_or("none").to_owned(),
        };
        let attribution = match &self.attribution {
            Some(whose) => format!(" ({whose})"),
            None => String::new(),
        };
        let fault = match &self.fault {
            Some(fault) => format!("geography is not as the manifest has it: {fault}\n"),
            None => String::new(),
        };
        format!("visitors are located by {database}{attribution}\n{fault}")
    }
}

#[cfg(test)]
mod tests {
    use super::DnsStatus;
    use serde_json::json;

    #[test]
    fn it_says_what_visitors_are_located_by() {
        let lines = |geography| {
            let status = json!({ "listen": ["192.0.2.1:53"], "geography": geography });
            DnsStatus::of(&status).lines()
        };
        let dns = "dns on 192.0.2.1:53: 0 queries over UDP, 0 over TCP\n";
        assert_eq!(
            lines(
                json!({ "database": "embedded", "attribution": "Data by X", "fault": "a: gone" })
            ),
            format!(
                "{dns}visitors are located by embedded (Data by X)\n\
                 geography is not as the manifest has it: a: gone\n"
            )
        );
        let pair = json!({ "database": ["/v4.mmdb", "/v6.mmdb"], "fault": null });
        assert_eq!(
            lines(pair),
            format!("{dns}visitors are located by /v4.mmdb, /v6.mmdb\n")
        );
        assert_eq!(lines(json!(null)), dns);
    }
}
