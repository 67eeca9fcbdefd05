//! `meridianctl explain`: why a client gets the answer of DNS that it gets.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::asking::ask_responder;
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::plane_socket;
use crate::state_directory::StateDirectory;
use crate::table::{Align, Table};

/// How long the responder may take to answer: it may be making a table.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The responder's answer as far as people are shown it; JSON passes all of it on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Explanation {
    error: Option<String>,
    /// The name is in no zone, or not in its zone.
    absent: Option<bool>,
    name: String,
    zone: String,
    site: Option<String>,
    steering: Option<String>,
    /// Types of the operator's records.
    records: Vec<String>,
    client: String,
    /// None: nobody is located.
    matched: Option<String>,
    source: Value,
    place: Option<Place>,
    ranking: Vec<Ranked>,
    groups: Vec<Group>,
    answers: Vec<Answer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Place {
    location: Location,
    country: Option<String>,
    basis: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location {
    lat: f64,
    lon: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ranked {
    name: String,
    tier: u64,
    distance_km: Option<f64>,
    bias_km: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    /// None: of hosts without one.
    name: Option<String>,
    has_backends: bool,
    hosts_up: u64,
    hosts: Vec<Host>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Host {
    name: String,
    up: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(rename = "type")]
    rtype: String,
    rcode: String,
    ttl: Option<u32>,
    scope: u8,
    group: Option<String>,
    addresses: Vec<String>,
    alias: Option<String>,
}

/// Asks the responder and shows what it says.
///
/// # Errors
/// Exit 1 when there is no such name, 2 when that is no name, 3 when the responder does not answer, 4
/// when this user may not ask.
pub(crate) fn run(call: &cli::Explain, output: Output) -> Result<(), Failure> {
    let state = StateDirectory::resolve(call.state.directory.as_deref())?;
    let answer = ask_responder(&state, ANSWER_WITHIN, |socket, within| {
        plane_socket::explain(socket, &call.name, &call.client, within)
    })?;
    let explanation = Explanation::deserialize(&answer).map_err(|error| {
        Failure::new(
            Exit::Unreachable,
            format!("what the responder answered is no answer: {error}"),
        )
    })?;
    if let Some(fault) = explanation.error {
        return Err(match explanation.absent {
            Some(true) => {
                Failure::input(format!("{fault}; `meridianctl get zone` shows all zones"))
            }
            Some(false) => Failure::call(fault),
            None => Failure::new(Exit::Unreachable, fault),
        });
    }
    output.answer(|| explanation.text(), || answer);
    Ok(())
}

impl Explanation {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.subject());
        // Where the visitor is changes nothing of the others.
        let is_located = self.steering.as_deref() == Some("geo");
        if is_located {
            text.push_str(&format!("client {}: {}\n", self.client, self.decided()));
            text.push_str(&self.whereabouts());
        } else {
            text.push_str(&format!("client {}: as everybody\n", self.client));
        }
        for table in [self.groups(is_located), self.answers()] {
            let table = table.render();
            if !table.is_empty() {
                text.push('\n');
                text.push_str(&table);
            }
        }
        text
    }

    fn subject(&self) -> String {
        let Explanation {
            name, zone, site, ..
        } = self;
        let is_what = match (site, self.steering.as_deref()) {
            (Some(site), Some("geo")) => {
                format!("the service name of {site}: the closest healthy group")
            }
            (Some(site), _) => format!("the service name of {site}: every healthy host"),
            (None, _) => "no service name".to_owned(),
        };
        let records = match &self.records[..] {
            [] => String::new(),
            types => format!("; it has records: {}", types.join(", ")),
        };
        format!("{name} of the zone {zone} is {is_what}{records}")
    }

    /// What decided about the prefix.
    fn decided(&self) -> String {
        let Some(matched) = &self.matched else {
            return "nobody is located, for no groups are ranked".to_owned();
        };
        let named = |kind: &str| self.source.get(kind).and_then(Value::as_str);
        let by = if let Some(prefix) = named("override") {
            format!("by the manifest's override of {prefix}")
        } else if let Some(prefix) = named("reserved") {
            format!(
                "{prefix} is private or reserved, so the address of the resolver decides; shown is \
                 what a resolver there is answered"
            )
        } else {
            match self.place.as_ref().map(|place| place.basis.as_str()) {
                None => "by nothing: no database knows where it is".to_owned(),
                Some("coordinates") => "by coordinates of the database".to_owned(),
                Some("state") => "by the centre of a state or province".to_owned(),
                Some(_) => "by the centre of its country".to_owned(),
            }
        };
        format!("as all of {matched}, {by}")
    }

    fn whereabouts(&self) -> String {
        let Some(place) = &self.place else {
            return String::new();
        };
        let Location { lat, lon } = place.location;
        let country = match &place.country {
            Some(country) => format!(", {country}"),
            None => String::new(),
        };
        format!("it seems to be at {lat:.2}, {lon:.2}{country}\n")
    }

    /// From near to far where that counts, those that are in no ranking last.
    fn groups(&self, is_located: bool) -> Table {
        let mut table = Table::new(&[
            ("GROUP", Align::Left),
            ("TIER", Align::Right),
            ("DISTANCE", Align::Right),
            ("BIAS", Align::Right),
            ("HOSTS UP", Align::Right),
            ("DOWN", Align::Left),
            ("BACKENDS", Align::Left),
        ]);
        let ranked = |group: &Group| {
            let mut all = self.ranking.iter().enumerate();
            let name = group.name.as_deref();
            all.find(|(_, it)| is_located && Some(&*it.name) == name)
        };
        let mut groups: Vec<_> = self.groups.iter().map(|it| (ranked(it), it)).collect();
        groups.sort_by_key(|(ranked, _)| ranked.map_or(usize::MAX, |(place, _)| place));
        for (ranked, group) in groups {
            let ranked = ranked.map(|(_, it)| it);
            let down = group.hosts.iter().filter(|host| !host.up);
            let down: Vec<&str> = down.map(|host| host.name.as_str()).collect();
            let dash = || "-".to_owned();
            let km = ranked.and_then(|it| it.distance_km);
            table.row(vec![
                group.name.clone().unwrap_or_else(dash),
                ranked.map_or_else(dash, |it| it.tier.to_string()),
                km.map_or_else(dash, |it| format!("{it:.0} km")),
                ranked.map_or_else(dash, |it| format!("{} km", it.bias_km)),
                format!("{} of {}", group.hosts_up, group.hosts.len()),
                if down.is_empty() {
                    dash()
                } else {
                    down.join(", ")
                },
                if group.has_backends { "yes" } else { "none" }.to_owned(),
            ]);
        }
        table
    }

    fn answers(&self) -> Table {
        let mut table = Table::new(&[
            ("ANSWER", Align::Left),
            ("TTL", Align::Right),
            ("SCOPE", Align::Right),
            ("GROUP", Align::Left),
            ("ADDRESSES", Align::Left),
        ]);
        for answer in &self.answers {
            let addresses = match (&answer.alias, &answer.addresses[..]) {
                (Some(alias), _) => format!("CNAME {alias}: ask for that"),
                (None, []) if answer.rcode == "NOERROR" => "none of that type".to_owned(),
                (None, []) => answer.rcode.clone(),
                (None, addresses) => addresses.join(", "),
            };
            table.row(vec![
                answer.rtype.clone(),
                answer.ttl.map_or("-".to_owned(), |ttl| format!("{ttl} s")),
                format!("/{}", answer.scope),
                answer.group.clone().unwrap_or("-".to_owned()),
                addresses,
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn explained(source: &Value, place: &Value) -> String {
        let answer = json!({
            "name": "shop.acme.z.", "zone": "z.", "site": "acme/shop", "steering": "geo",
            "records": ["TXT"], "client": "192.0.2.0/24", "matched": "192.0.0.0/16",
            "source": source, "place": place,
            "ranking": [
                { "name": "nyc", "tier": 0, "distance_km": 12.6, "bias_km": -5 },
                { "name": "ams", "tier": 1, "distance_km": null, "bias_km": 0 },
            ],
            "groups": [
                { "name": "ams", "has_backends": false, "hosts_up": 1, "hosts": [{ "name": "a1", "up": true }] },
                { "name": "nyc", "has_backends": true, "hosts_up": 0, "hosts": [{ "name": "n1", "up": false }] },
            ],
            "answers": [
                { "type": "A", "rcode": "NOERROR", "ttl": 30, "scope": 16, "group": "ams", "addresses": ["192.0.2.1"] },
                { "type": "AAAA", "rcode": "NOERROR", "ttl": null, "scope": 0, "addresses": [] },
            ],
        });
        let explanation = Explanation::deserialize(&answer).expect("it is an answer");
        explanation.text()
    }

    fn rows(text: &str) -> Vec<Vec<&str>> {
        text.lines()
            .map(|line| line.split_whitespace().collect())
            .collect()
    }

    #[test]
    fn people_are_told_who_is_close_and_who_is_well() {
        let place = json!({ "location": { "lat": 40.7, "lon": -74.0 }, "country": "US", "basis": "coordinates" });
        let text = explained(&json!("database"), &place);
        let rows = rows(&text);
        assert!(text.starts_with(
            "shop.acme.z. of the zone z. is the service name of acme/shop: the closest healthy group; \
             it has records: TXT\n\
             client 192.0.2.0/24: as all of 192.0.0.0/16, by coordinates of the database\n\
             it seems to be at 40.70, -74.00, US\n"
        ), "{text}");
        for row in [
            "nyc 0 13 km -5 km 0 of 1 n1 yes",
            "ams 1 - 0 km 1 of 1 - none",
            "A 30 s /16 ams 192.0.2.1",
            "AAAA - /0 - none of that type",
        ] {
            let cells: Vec<&str> = row.split(' ').collect();
            assert!(rows.contains(&cells), "{row:?} is not in {text}");
        }
        let at = |name: &str| rows.iter().position(|row| row.first() == Some(&name));
        assert!(at("nyc") < at("ams"), "the closest first: {text}");
    }

    #[test]
    fn each_source_is_told_by_its_name() {
        let country = json!({ "basis": "country" });
        let state = json!({ "basis": "state" });
        for (source, place, said) in [
            (
                json!({ "override": "192.0.2.0/28" }),
                json!(null),
                "override of 192.0.2.0/28",
            ),
            (
                json!({ "reserved": "10.0.0.0/8" }),
                json!(null),
                "10.0.0.0/8 is private",
            ),
            (json!("database"), country, "centre of its country"),
            (json!("database"), state, "centre of a state"),
            (json!("none"), json!(null), "by nothing"),
        ] {
            let text = explained(&source, &place);
            assert!(text.contains(said), "{said:?} is not in {text}");
        }
    }
}
