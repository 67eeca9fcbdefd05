//! What the zone above has to hold for one of ours: the NS records that delegate it, and the addresses
//! of its name servers, which stand in the zone itself and can not be found without them (glue). At a
//! registrar these are the name servers of a domain and its host objects.
//!
//! ```text
//! the running up    records: as the zone compiles
//! who asks          parent: the servers of the zone above, and what they hold; question: the wire
//! ```

mod parent;
mod question;

use meridian_model::zones::{WireName, Zone, Zones, rtype};
use meridian_model::{Desired, Local};
use serde::{Deserialize, Serialize};

pub(crate) use parent::{Check, Standing, check};

/// A record that the zone above has to hold, in presentation form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Delegated {
    pub(crate) name: String,
    /// NS, A or AAAA.
    #[serde(rename = "type")]
    pub(crate) rtype: String,
    pub(crate) data: String,
}

/// Those of each zone, with its name in presentation form. A zone that does not compile has none: it is
/// not answered from either.
pub(crate) fn records(local: &Local, desired: &Desired) -> Vec<(String, Vec<Delegated>)> {
    let Ok(zones) = Zones::compile(local, desired, 0) else {
        return Vec::new();
    };
    let of_zone = |zone: &Zone| (zone.apex.to_string(), of_zone(zone));
    zones.all().map(of_zone).collect()
}

fn of_zone(zone: &Zone) -> Vec<Delegated> {
    let sets = |name: &[u8], rtype: u16| {
        let set = zone.node(name).and_then(|node| node.set(rtype));
        set.map_or(&[][..], |set| &set.data)
    };
    let targets = sets(zone.apex.octets(), rtype::NS);
    let targets: Vec<WireName> = targets.iter().filter_map(|it| WireName::new(it)).collect();
    let record = |name: &WireName, rtype: &str, data: String| Delegated {
        name: name.to_string(),
        rtype: rtype.to_owned(),
        data,
    };
    let mut records: Vec<Delegated> = targets
        .iter()
        .map(|target| record(&zone.apex, "NS", target.to_string()))
        .collect();
    for target in &targets {
        for (rtype, mnemonic) in [(rtype::A, "A"), (rtype::AAAA, "AAAA")] {
            let addresses = sets(target.octets(), rtype).iter();
            let addresses = addresses.filter_map(|it| question::address(it));
            records.extend(addresses.map(|it| record(target, mnemonic, it.to_string())));
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::Manifest;

    #[test]
    fn a_zone_needs_its_name_servers_and_their_addresses_above() {
        let text = "[host]\nname = \"h1\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\"]\n\
                    [listen]\ndns = [\"127.0.0.1:53\"]\n\
                    [fleet]\nname = \"f\"\n[[peer]]\nname = \"h2\"\naddresses = [\"198.51.100.1\"]\n\
                    [[peer]]\nname = \"h3\"\naddresses = [\"198.51.100.3\"]\n\
                    [[zone]]\nname = \"lb.example.net\"\nnameservers = [\"h1\", \"h2\"]\n";
        let manifest = Manifest::parse(text, "h1.toml").expect("it is right");
        let (local, desired) = manifest.into_parts();
        let all = records(&local, &desired);
        let [(zone, records)] = &all[..] else {
            panic!("one zone: {all:?}");
        };
        assert_eq!(zone, "lb.example.net.");
        let lines: Vec<String> = records
            .iter()
            .map(|it| format!("{} {} {}", it.name, it.rtype, it.data))
            .collect();
        assert_eq!(
            lines,
            [
                "lb.example.net. NS h1.lb.example.net.",
                "lb.example.net. NS h2.lb.example.net.",
                "h1.lb.example.net. A 192.0.2.1",
                "h1.lb.example.net. AAAA 2001:db8::1",
                "h2.lb.example.net. A 198.51.100.1",
            ]
        );
    }
}
