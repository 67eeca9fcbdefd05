//! `meridianctl get zone NAME`: what the zone above has to hold for a zone, and whether it does.

use std::net::{IpAddr, SocketAddr};

use meridian_model::zones::WireName;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli;
use crate::delegation::{Check, Delegated, Standing, check};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::table::{Align, Table};

/// Who tells which servers the zone above has (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Resolvers of it that count (MAXNS).
const RESOLVERS_MAX: usize = 3;

/// A zone as `up` tells of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Zone {
    name: String,
    owner: String,
    ttl: u32,
    negative_ttl: u32,
    records: Vec<Value>,
    delegation: Vec<Delegated>,
}

/// Shows the one zone of `answer`.
///
/// # Errors
/// Exit 1 when the zone above does not hold what it has to, or holds what leads elsewhere; 3 when
/// nobody could say.
pub(crate) fn show(call: &cli::Get, mut answer: Value, output: Output) -> Result<(), Failure> {
    let object = &answer["objects"][0];
    let zone = Zone::deserialize(object).unwrap_or_default();
    let Some(name) = WireName::parse(&zone.name) else {
        return Err(Failure::input(format!(
            "{:?} is no name of a zone",
            zone.name
        )));
    };
    if call.no_check {
        output.answer(|| text(&zone, None), || answer.clone());
        return Ok(());
    }
    let resolvers = resolvers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    let checked = check(&name, &zone.delegation, &call.servers, &resolvers);
    answer["objects"][0]["check"] = json!(checked);
    output.answer(|| text(&zone, Some(&checked)), || answer.clone());
    match (checked.is_right(), checked.is_unknown()) {
        (true, _) => Ok(()),
        // The answer said it all.
        (false, true) => Err(Failure::new(Exit::Unreachable, "")),
        (false, false) => Err(Failure::new(Exit::Input, "")),
    }
}

/// Those that /etc/resolv.conf names; none: the one of this machine (resolv.conf(5)).
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next())??;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, 53))
    });
    let named: Vec<SocketAddr> = named.take(RESOLVERS_MAX).collect();
    match named.is_empty() {
        true => vec![SocketAddr::from(([127, 0, 0, 1], 53))],
        false => named,
    }
}

fn text(zone: &Zone, check: Option<&Check>) -> String {
    let Zone {
        name,
        owner,
        ttl,
        negative_ttl,
        records,
        delegation,
    } = zone;
    let mut text = format!(
        "{name} of {owner}: service names for {ttl} s, negative answers for {negative_ttl} s, {} records\n\
         the zone above, or the registrar, has to hold:\n\n",
        records.len()
    );
    text.push_str(&table(delegation, check).render());
    let Some(check) = check else {
        return text;
    };
    let above = check.parent.as_deref();
    let above = above.map_or(String::new(), |above| format!(" of {above}"));
    if let Some(fault) = &check.fault {
        text.push_str(&format!("\nnobody was asked whether it does: {fault}\n"));
    } else {
        let asked: Vec<String> = check
            .servers
            .iter()
            .map(|it| it.address.to_string())
            .collect();
        text.push_str(&format!(
            "\nasked: the servers{above} {}\n",
            asked.join(", ")
        ));
    }
    for server in &check.servers {
        if let Some(fault) = &server.fault {
            text.push_str(&format!("{} {fault}\n", server.address));
        }
    }
    for Delegated { name, rtype, data } in &check.not_ours {
        text.push_str(&format!(
            "not ours: {name} {rtype} {data}, which leads to who does not serve {}; take it out\n",
            zone.name
        ));
    }
    text
}

fn table(delegation: &[Delegated], check: Option<&Check>) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("TYPE", Align::Left),
        ("DATA", Align::Left),
        ("THERE", Align::Left),
    ]);
    for (place, Delegated { name, rtype, data }) in delegation.iter().enumerate() {
        let verdict = check.and_then(|check| check.verdicts.get(place));
        let said = match verdict {
            None => "not looked for".to_owned(),
            Some(verdict) => match verdict.standing {
                Standing::There => "yes".to_owned(),
                Standing::Unknown => "unknown".to_owned(),
                Standing::Missing => {
                    let at: Vec<String> = verdict
                        .missing_at
                        .iter()
                        .map(SocketAddr::to_string)
                        .collect();
                    format!("MISSING at {}", at.join(", "))
                }
            },
        };
        table.row(vec![name.clone(), rtype.clone(), data.clone(), said]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_everybody_reads_them() {
        let text = "# nameserver 192.0.2.9\nsearch test\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 \n\
                    nameserver nowhere\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let told: Vec<String> = resolvers(text).iter().map(SocketAddr::to_string).collect();
        assert_eq!(told, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert_eq!(resolvers("").len(), 1);
    }
}
