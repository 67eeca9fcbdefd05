//! What `status` shows of the hosts of the fleet, as the DNS responder sees them.

use serde::Deserialize;
use serde_json::Value;

use crate::table::{Align, Table};

/// The responder's answer to `{"op":"status"}`, as far as hosts go.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HostStatus {
    isolated: Option<bool>,
    hosts: Vec<Host>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Host {
    host: String,
    group: Option<String>,
    /// `up`, or `down`: left out of the answers.
    state: String,
    changed_at: Option<String>,
    /// Why it changed last.
    reason: String,
    /// What this responder itself sees: `up`, `down`, `unknown`, `not_probed`.
    seen: String,
    /// Why its last probe failed.
    failure: Option<String>,
    voters: u64,
    against: u64,
    sites_lost: u64,
}

impl HostStatus {
    /// Of the answer as it came; what it does not have is empty.
    pub(crate) fn of(answer: &Value) -> HostStatus {
        HostStatus::deserialize(answer).unwrap_or_default()
    }

    /// A line below the heading, where there is something to say of all of them.
    pub(crate) fn line(&self) -> &'static str {
        match self.isolated {
            Some(true) => "no other host answers this one: it may be cut off\n",
            _ => "",
        }
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&[
            ("HOST", Align::Left),
            ("GROUP", Align::Left),
            ("STATE", Align::Left),
            ("SINCE", Align::Left),
            ("SEEN", Align::Left),
            ("AGAINST", Align::Right),
            ("SITES LOST", Align::Right),
            ("WHY", Align::Left),
        ]);
        for host in &self.hosts {
            let second = host.changed_at.as_deref();
            let second = second.and_then(|at| at.split(['.', 'Z']).next());
            // Why it is as it is, or else what is wrong with it all the same.
            let why = match (&host.reason, &host.failure) {
                (_, Some(failure)) if host.state == "up" => failure,
                (reason, _) => reason,
            };
            table.row(vec![
                host.host.clone(),
                host.group.clone().unwrap_or_default(),
                host.state.clone(),
                second.map_or_else(String::new, |second| format!("{second}Z")),
                host.seen.replace('_', " "),
                format!("{} of {}", host.against, host.voters),
                host.sites_lost.to_string(),
                why.clone(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::HostStatus;
    use serde_json::json;

    #[test]
    fn a_host_has_a_row_that_says_why() {
        let status = HostStatus::of(&json!({ "isolated": false, "hosts": [
            { "host": "ams-1", "group": "ams", "state": "up", "changed_at": null, "reason": "",
              "seen": "up", "failure": null, "voters": 2, "against": 0, "sites_lost": 3 },
            { "host": "nyc-1", "group": null, "state": "down",
              "changed_at": "2026-01-02T03:04:05.6789Z", "reason": "2 of 2 see it down: gone",
              "seen": "down", "failure": "gone", "voters": 2, "against": 2, "sites_lost": 0 },
            { "host": "sin-1", "state": "up", "reason": "", "seen": "down",
              "failure": "no answer within 500 ms", "voters": 2, "against": 1, "sites_lost": 0 },
        ]}));
        let text = status.table().render();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|it| !it.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(lines[1], ["ams-1", "ams", "up", "up", "0 of 2", "3"]);
        let since = "2026-01-02T03:04:05Z";
        let why = "2 of 2 see it down: gone";
        assert_eq!(
            lines[2],
            ["nyc-1", "down", since, "down", "2 of 2", "0", why]
        );
        assert_eq!(
            lines[3],
            [
                "sin-1",
                "up",
                "down",
                "1 of 2",
                "0",
                "no answer within 500 ms"
            ]
        );
        assert_eq!(status.line(), "");
        let isolated = HostStatus::of(&json!({ "isolated": true }));
        assert!(isolated.line().contains("cut off"));
        assert_eq!(HostStatus::of(&json!({})).table().render(), "");
    }
}
