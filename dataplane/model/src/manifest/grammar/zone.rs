//! `[geo]`, `[dns]` and `[[zone]]`.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeValue;

use super::plain;
use crate::desired::{Record, RecordType, SiteName};
use crate::geo::finest_of;
use crate::limits::HOSTNAME_BYTES_MAX;
use crate::local::{Dns, DnsRate, DnsTcp, GeoDatabase};
use crate::manifest::reader::{Reader, Section};
use crate::manifest::values::{self, malformed};
use crate::manifest::written::{Geo, GeoOverride, Zone};
use crate::name::{Malformed, Name};
use crate::zones::{Around, StaticRecords, WireName};

/// Service names follow the health of hosts; a longer TTL would outlive it by far.
const SERVICE_TTL_S_MAX: u32 = 24 * 60 * 60;

/// RFC 2181 §8.
const RECORD_TTL_S_MAX: u32 = i32::MAX as u32;

const RECORD_TYPES: &[(&str, RecordType)] = &[
    ("A", RecordType::A),
    ("AAAA", RecordType::Aaaa),
    ("CAA", RecordType::Caa),
    ("CNAME", RecordType::Cname),
    ("HTTPS", RecordType::Https),
    ("MX", RecordType::Mx),
    ("NS", RecordType::Ns),
    ("SRV", RecordType::Srv),
    ("TXT", RecordType::Txt),
];

pub(super) fn read_geo(reader: &mut Reader<'_>, mut section: Section<'_>) -> Geo {
    let database = section.take(reader, "database", geo_database);
    let overrides = section.tables(reader, "overrides", "geo.overrides");
    let tie_km = section.take_or(reader, "tie_km", values::integer(1, 20_000), (0, "none"));
    section.finish(reader);
    Geo {
        database,
        overrides: super::read_each(reader, overrides, read_override),
        tie_km,
    }
}

fn geo_database(value: &DeValue<'_>) -> Result<GeoDatabase, Malformed> {
    if let DeValue::Array(files) = value {
        let [v4, v6] = &**files else {
            let hint = "write [\"v4.mmdb\", \"v6.mmdb\"]";
            return Err(malformed(
                "a list must name two files, for IPv4 and for IPv6",
                hint,
            ));
        };
        return Ok(GeoDatabase::Pair {
            v4: values::text(v4.get_ref())?,
            v6: values::text(v6.get_ref())?,
        });
    }
    match values::text(value)? {
        text if text == "embedded" => Ok(GeoDatabase::Embedded),
        file => Ok(GeoDatabase::File(file)),
    }
}

fn read_override(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<GeoOverride> {
    let example = "prefix = \"203.0.113.0/24\"";
    let prefix = section.require(reader, "prefix", visitors, example);
    let group = section.require(reader, "group", values::name, "group = \"ams\"");
    section.finish(reader);
    Some(GeoOverride {
        prefix: prefix?,
        group: group?,
    })
}

/// A network that is no finer than what is ever decided (DNS.md).
fn visitors(value: &DeValue<'_>) -> Result<IpNet, Malformed> {
    let hint = |network: IpNet| format!("write \"{}\"", finest_of(network).0);
    if let Ok(address) = values::text(value)?.parse::<IpAddr>() {
        let what = format!("\"{address}\" is not a network");
        return Err(malformed(what, hint(address.into())));
    }
    let network = values::network(value)?;
    let (_, bits) = finest_of(network);
    match network.prefix_len() > bits {
        false => Ok(network),
        true => {
            let what = format!("{network} is finer than a /{bits}, and decisions are not");
            Err(malformed(what, hint(network)))
        }
    }
}

pub(super) fn read_dns(reader: &mut Reader<'_>, mut section: Section<'_>) -> Dns {
    let rate = section.table(reader, "rate", "dns.rate");
    let tcp = section.table(reader, "tcp", "dns.tcp");
    section.finish(reader);
    Dns {
        rate: rate
            .map(|section| read_rate(reader, section))
            .unwrap_or_default(),
        tcp: tcp
            .map(|section| read_tcp(reader, section))
            .unwrap_or_default(),
    }
}

fn read_rate(reader: &mut Reader<'_>, mut section: Section<'_>) -> DnsRate {
    let DnsRate {
        responses_per_second,
        slip,
        exempt,
    } = DnsRate::default();
    let rate = values::integer(1, 1_000_000);
    let rate_default = (responses_per_second, "1000");
    let responses_per_second = section.take_or(reader, "responses_per_second", rate, rate_default);
    let slip = section.take_or(reader, "slip", values::integer(1, 100), (slip, "2"));
    let listed = section.list(reader, "exempt", values::network);
    section.finish(reader);
    DnsRate {
        responses_per_second,
        slip,
        exempt: listed.map_or(exempt, |listed| plain(Some(listed))),
    }
}

fn read_tcp(reader: &mut Reader<'_>, mut section: Section<'_>) -> DnsTcp {
    let DnsTcp {
        idle,
        connections,
        connections_per_client,
    } = DnsTcp::default();
    let count = || values::integer(1u32, 1_000_000);
    let idle_range = values::duration(100, 60 * 60 * 1000);
    let tcp = DnsTcp {
        idle: section.take_or(reader, "idle", idle_range, (idle, "10s")),
        connections: section.take_or(reader, "connections", count(), (connections, "10000")),
        connections_per_client: section.take_or(
            reader,
            "connections_per_client",
            count(),
            (connections_per_client, "100"),
        ),
    };
    section.finish(reader);
    tcp
}

pub(super) fn read_zone(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Zone> {
    let name = section.require(
        reader,
        "name",
        values::domain_name,
        "name = \"lb.example.net\"",
    );
    let nameservers = section.list(reader, "nameservers", values::name);
    let ttl = || values::integer(1, SERVICE_TTL_S_MAX);
    let service_ttl = section.take_or(reader, "ttl", ttl(), (30, "30"));
    let negative_ttl = section.take_or(reader, "negative_ttl", ttl(), (30, "30"));
    let contact = section.take(reader, "contact", values::domain_name);
    let apex = section.take(reader, "apex", site_name);
    let records = section.tables(reader, "record", "zone.record");
    let records = super::read_each(reader, records, read_record);
    // Without a name, which has been reported, the records are looked at all the same.
    let apex_name = match &name {
        Some(zone) => WireName::from(&zone.value),
        None => WireName::root(),
    };
    let known: Vec<Name> = plain(nameservers.clone());
    let around = Around {
        apex: &apex_name,
        ttl: service_ttl,
        nameservers: &known,
        apex_is_service: apex.is_some(),
    };
    let records = check_records(reader, around, records);
    if nameservers.as_ref().is_none_or(Vec::is_empty) && !section.contains("nameservers") {
        section.report_missing(reader, "nameservers", "nameservers = [\"ams-1\"]");
    }
    section.finish(reader);
    Some(Zone {
        name,
        nameservers: nameservers.unwrap_or_default(),
        ttl: service_ttl,
        negative_ttl,
        contact: contact.map(|located| located.value),
        apex,
        records,
    })
}

fn site_name(value: &DeValue<'_>) -> Result<SiteName, Malformed> {
    SiteName::try_from(values::text(value)?)
}

/// A record with the lines of its keys; of a TTL that is the zone's, that of its data.
struct WrittenRecord {
    record: Record,
    name_line: u32,
    ttl_line: u32,
    data_line: u32,
}

fn read_record(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<WrittenRecord> {
    let name = section.require(reader, "name", record_name, "name = \"www\"");
    let kind = section.require(reader, "type", values::word(RECORD_TYPES), "type = \"TXT\"");
    let ttl = section.take(reader, "ttl", values::integer(0, RECORD_TTL_S_MAX));
    let data = section.require(reader, "data", values::text, "data = '\"hello\"'");
    section.finish(reader);
    let (name, data) = (name?, data?);
    let ttl_line = ttl.as_ref().map_or(data.line, |located| located.line);
    Some(WrittenRecord {
        record: Record {
            name: name.value,
            kind: kind?.value,
            ttl: ttl.map(|located| located.value),
            data: data.value,
        },
        name_line: name.line,
        ttl_line,
        data_line: data.line,
    })
}

/// Reports what is wrong with the records of a zone, each at its own line.
fn check_records(
    reader: &mut Reader<'_>,
    around: Around<'_>,
    written: Vec<WrittenRecord>,
) -> Vec<Record> {
    let lines: Vec<[u32; 3]> = written
        .iter()
        .map(|it| [it.name_line, it.ttl_line, it.data_line])
        .collect();
    let records: Vec<Record> = written.into_iter().map(|it| it.record).collect();
    for fault in StaticRecords::faults(around, &records) {
        let [name_line, ttl_line, data_line] = lines[fault.record];
        let line = match fault.key {
            "name" => name_line,
            "ttl" => ttl_line,
            _ => data_line,
        };
        let key = format!("zone.record.{}", fault.key);
        reader.report(Some(line), &key, fault.what, fault.hint);
    }
    records
}

fn record_name(value: &DeValue<'_>) -> Result<String, Malformed> {
    let name = values::text(value)?;
    let lower = name.to_ascii_lowercase();
    let labels_fit = lower
        .split('.')
        .all(|label| (1..=63).contains(&label.len()));
    if lower == "@" || (labels_fit && lower.len() <= HOSTNAME_BYTES_MAX) {
        return Ok(lower);
    }
    let hint = "write it relative to the zone, as in \"www\", or \"@\" for the apex";
    Err(malformed(
        format!("{name:?} is not the name of a record"),
        hint,
    ))
}
