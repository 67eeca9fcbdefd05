//! The operator's own records of a zone, put together by name and type.

use std::collections::{BTreeMap, HashMap};

use super::record_data::{mnemonic, record_name};
use super::{Node, Rrset, WireName, is_within, parent, record_data, rtype};
use crate::desired::{Record, RecordType};
use crate::limits::RRSET_BYTES_MAX;
use crate::name::Name;

/// What a record of a manifest can be wrong in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordFault {
    /// Its place in the list.
    pub(crate) record: usize,
    /// Which of its keys.
    pub(crate) key: &'static str,
    /// What is wrong.
    pub(crate) what: String,
    /// How to mend it.
    pub(crate) hint: String,
}

/// Records by name. See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StaticRecords {
    pub(super) nodes: HashMap<WireName, Node>,
}

/// What the records of a zone are checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// The zone.
    pub(crate) apex: &'a WireName,
    /// TTL of records that have none of their own, in seconds.
    pub(crate) ttl: u32,
    /// Names in the zone that stand for hosts.
    pub(crate) nameservers: &'a [Name],
    /// The apex is answered with the addresses of hosts.
    pub(crate) apex_is_service: bool,
}

/// Records of one name and type with where they stand.
type Sets = BTreeMap<WireName, BTreeMap<u16, (Vec<usize>, Rrset)>>;

impl StaticRecords {
    /// What is wrong with `records`, in their order.
    pub(crate) fn faults(around: Around<'_>, records: &[Record]) -> Vec<RecordFault> {
        StaticRecords::read(around, records)
            .err()
            .unwrap_or_default()
    }

    /// Puts `records` together.
    ///
    /// # Errors
    ///
    /// All that is wrong, in the order of the records.
    pub(crate) fn read(
        around: Around<'_>,
        records: &[Record],
    ) -> Result<StaticRecords, Vec<RecordFault>> {
        let mut faults = Vec::new();
        let mut sets = Sets::new();
        for (index, record) in records.iter().enumerate() {
            add(&mut sets, &mut faults, around, index, record);
        }
        check_nodes(&sets, &mut faults, around, records);
        check_below_cuts(&sets, &mut faults, around, records);
        if !faults.is_empty() {
            faults.sort_by_key(|fault| fault.record);
            return Err(faults);
        }
        let nodes = sets.into_iter().map(|(name, sets)| {
            let sets = sets.into_values().map(|(_, set)| set).collect();
            (name, Node { sets })
        });
        Ok(StaticRecords {
            nodes: nodes.collect(),
        })
    }
}

fn add(
    sets: &mut Sets,
    faults: &mut Vec<RecordFault>,
    around: Around<'_>,
    index: usize,
    record: &Record,
) {
    let Record {
        name,
        kind,
        ttl,
        data,
    } = record;
    let mut report = |key, what: String, hint: String| {
        let record = index;
        faults.push(RecordFault {
            record,
            key,
            what,
            hint,
        });
    };
    let name = record_name(name, around.apex);
    let data = record_data(*kind, data, around.apex);
    let (name, data) = match (name, data) {
        (Ok(name), Ok(data)) => (name, data),
        (name, data) => {
            if let Err(malformed) = name {
                report("name", malformed.what, malformed.hint);
            }
            if let Err(malformed) = data {
                report("data", malformed.what, malformed.hint);
            }
            return;
        }
    };
    let ttl = ttl.unwrap_or(around.ttl);
    let at_name = sets.entry(name).or_default();
    let (places, set) = at_name.entry(number(*kind)).or_insert_with(|| {
        let rtype = number(*kind);
        let data = Vec::new();
        (Vec::new(), Rrset { rtype, ttl, data })
    });
    places.push(index);
    if set.ttl != ttl {
        let what = format!(
            "{ttl} differs from the {} of the records beside it",
            set.ttl
        );
        let hint = "records of one name and type have one TTL (RFC 2181 §5.2)";
        report("ttl", what, hint.to_owned());
    }
    if set.data.contains(&data) {
        // The same record twice is the record (RFC 2181 §5).
        return;
    }
    set.data.push(data);
    let octets: usize = set.data.iter().map(|data| data.len() + 12).sum();
    if octets > RRSET_BYTES_MAX {
        let what = format!("records of one name and type have at most {RRSET_BYTES_MAX} octets");
        report("data", what, String::from("a message holds no more"));
    }
}

fn number(kind: RecordType) -> u16 {
    match kind {
        RecordType::A => rtype::A,
        RecordType::Aaaa => rtype::AAAA,
        RecordType::Caa => rtype::CAA,
        RecordType::Cname => rtype::CNAME,
        RecordType::Https => rtype::HTTPS,
        RecordType::Mx => rtype::MX,
        RecordType::Ns => rtype::NS,
        RecordType::Srv => rtype::SRV,
        RecordType::Txt => rtype::TXT,
    }
}

/// What may stand together at one name.
fn check_nodes(sets: &Sets, faults: &mut Vec<RecordFault>, around: Around<'_>, records: &[Record]) {
    let of_hosts = around.nameservers.iter();
    let of_hosts: Vec<WireName> = of_hosts
        .filter_map(|name| around.apex.child(name.as_str().as_bytes()))
        .collect();
    for (name, at_name) in sets {
        let places = at_name.iter().flat_map(|(&kind, (places, set))| {
            let count = set.data.len();
            places.iter().map(move |&place| (kind, count, place))
        });
        for (kind, count, place) in places {
            let is_apex = name == around.apex;
            let is_address = matches!(kind, rtype::A | rtype::AAAA);
            let is_alias_or_cut = matches!(kind, rtype::CNAME | rtype::NS);
            let (what, hint) = if kind == rtype::CNAME && (is_apex || at_name.len() > 1) {
                (
                    "a CNAME can not stand beside other records (RFC 2181 §10.1)",
                    "give its target's records instead, or remove the others",
                )
            } else if kind == rtype::CNAME && count > 1 {
                (
                    "a name has one CNAME (RFC 2181 §10.1)",
                    "remove all but one",
                )
            } else if kind == rtype::NS && is_apex {
                (
                    "the zone's own NS records are those of its nameservers",
                    "add a host to nameservers, or delegate a name below the apex",
                )
            } else if kind == rtype::NS && name.octets().starts_with(b"\x01*") {
                (
                    "a wildcard can not be delegated (RFC 4592 §4.2)",
                    "delegate each name",
                )
            } else if is_address && is_apex && around.apex_is_service {
                (
                    "the apex has the addresses of hosts already",
                    "remove the record, or the zone's apex",
                )
            } else if (is_address || is_alias_or_cut) && of_hosts.contains(name) {
                (
                    "this is the name of a name server, with the addresses of its host",
                    "call it otherwise",
                )
            } else {
                continue;
            };
            report(faults, records, place, what, hint);
        }
    }
}

/// At and below a delegation there is glue alone (RFC 1034 §4.2.1).
fn check_below_cuts(
    sets: &Sets,
    faults: &mut Vec<RecordFault>,
    around: Around<'_>,
    records: &[Record],
) {
    let cuts: Vec<&WireName> = sets
        .iter()
        .filter(|(name, at_name)| *name != around.apex && at_name.contains_key(&rtype::NS))
        .map(|(name, _)| name)
        .collect();
    for (name, at_name) in sets {
        for cut in cuts
            .iter()
            .filter(|cut| is_within(name.octets(), cut.octets()))
        {
            for (&kind, (places, _)) in at_name {
                let is_glue = matches!(kind, rtype::A | rtype::AAAA);
                // Beside the delegation a CNAME has been reported as that.
                let is_own = name == *cut && matches!(kind, rtype::NS | rtype::CNAME);
                if is_glue || is_own {
                    continue;
                }
                for &place in places {
                    let what = "its name belongs to a zone that is delegated";
                    let hint = "only NS, and the A and AAAA of its name servers, can stand here";
                    report(faults, records, place, what, hint);
                }
            }
        }
    }
}

fn report(faults: &mut Vec<RecordFault>, records: &[Record], place: usize, what: &str, hint: &str) {
    let record = &records[place];
    faults.push(RecordFault {
        record: place,
        key: "name",
        what: format!("{} {}: {what}", record.name, mnemonic(record.kind)),
        hint: hint.to_owned(),
    });
}

/// Adds the empty names between the apex and each other name.
pub(super) fn add_empty_non_terminals(nodes: &mut HashMap<WireName, Node>, apex: &WireName) {
    let names: Vec<WireName> = nodes.keys().cloned().collect();
    for name in names {
        let mut above = parent(name.octets());
        while let Some(name) = above.filter(|name| name.len() > apex.octets().len()) {
            if nodes.contains_key(name) {
                break;
            }
            if let Some(empty) = WireName::new(name) {
                nodes.insert(empty, Node::default());
            }
            above = parent(name);
        }
    }
}
