//! The config log comes back as it was written, and no damage passes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use meridian_model::certificate::{CertificateContent, Digest, KeyKind};
use meridian_model::config_log::{
    FORMAT, Header, LogFault, SnapshotParts, decode, decode_local, encode, encode_local,
};
use meridian_model::desired::{
    AccessLog, Algorithm, Backend, BackendAddress, Certificate, ClientCertificates,
    ClientVerification, Desired, FieldRules, Group, HashInput, Health, HealthKind, IdCounters,
    Match, Outcome, Owner, Pool, Record, RecordType, Redirect, Respond, Route, Site, StatusRange,
    Steering, Suspension, Tenant, TenantLimits, Zone,
};
use meridian_model::location::Location;
use meridian_model::name::{DomainName, Hostname, Name};
use meridian_model::rare::Rare;
use meridian_model::snapshot::{CertificateId, PoolId, SiteId, TenantId, TlsVersion};
use meridian_model::{Local, Manifest};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const SAMPLE: &str = include_str!("fixtures/sample.toml");

fn header() -> Header {
    Header {
        format: FORMAT,
        store: String::from("a store"),
        revision: 7,
        generation: 3,
    }
}

fn sample() -> (Local, Desired) {
    let manifest = Manifest::parse(SAMPLE, "sample.toml").unwrap();
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    (local, desired)
}

#[test]
fn the_sample_comes_back() {
    let (local, desired) = sample();
    let text = encode(&header(), &desired);
    assert_eq!(decode(text.as_bytes()), Ok((header(), desired)));
    assert_eq!(decode_local(encode_local(&local).as_bytes()), Ok(local));
}

/// What a reader of parts makes of a file.
fn in_parts(bytes: &[u8]) -> Result<(Header, usize), LogFault> {
    let SnapshotParts {
        header,
        others,
        parts,
        sites,
        checksum: _,
    } = SnapshotParts::new(bytes)?;
    let mut objects = others.tenants.len() + others.groups.len() + others.peers.len();
    objects += others.zones.len() + others.certificates.len();
    let mut read = 0;
    for part in parts {
        read += part.read()?.len();
    }
    assert_eq!(read, sites);
    Ok((header, objects + read))
}

#[test]
fn read_in_parts_it_is_the_same_and_so_is_its_damage() {
    let (_, desired) = sample();
    let text = encode(&header(), &desired);
    let objects = text.lines().count() - 3;
    assert_eq!(in_parts(text.as_bytes()), Ok((header(), objects)));
    for place in (0..text.len()).step_by(13) {
        assert!(
            in_parts(&text.as_bytes()[..place]).is_err(),
            "cut at {place}"
        );
        let mut damaged = text.clone().into_bytes();
        damaged[place] ^= 4;
        assert!(in_parts(&damaged).is_err(), "damaged at {place}");
    }
    let doubled: String = text.lines().flat_map(|line| [line, "\n"]).collect();
    for number in 0..text.lines().count() {
        let mut lines: Vec<&str> = doubled.lines().collect();
        lines.insert(number, lines[number]);
        let doubled = lines.join("\n") + "\n";
        assert!(
            in_parts(doubled.as_bytes()).is_err(),
            "line {number} doubled"
        );
    }
}

#[test]
fn damage_to_any_single_byte_is_found() {
    let (local, desired) = sample();
    let mut snapshot = encode(&header(), &desired).into_bytes();
    let mut settings = encode_local(&local).into_bytes();
    for at in 0..snapshot.len() {
        // Each bit alone, and all of them.
        for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            snapshot[at] ^= mask;
            assert!(decode(&snapshot).is_err(), "byte {at} with mask {mask:#x}");
            snapshot[at] ^= mask;
        }
    }
    for at in 0..settings.len() {
        for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            settings[at] ^= mask;
            assert!(
                decode_local(&settings).is_err(),
                "byte {at} with mask {mask:#x}"
            );
            settings[at] ^= mask;
        }
    }
}

#[test]
fn a_file_that_is_cut_or_extended_anywhere_is_refused() {
    let (_, desired) = sample();
    let text = encode(&header(), &desired);
    for length in 0..text.len() {
        assert!(
            decode(&text.as_bytes()[..length]).is_err(),
            "cut to {length} bytes"
        );
    }
    assert!(decode(format!("{text}\n").as_bytes()).is_err());
    assert!(decode(format!("{text}{text}").as_bytes()).is_err());
}

#[test]
fn lines_that_are_lost_doubled_or_moved_are_found() {
    let (_, desired) = sample();
    let text = encode(&header(), &desired);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for index in 0..lines.len() {
        let mut lost = lines.clone();
        lost.remove(index);
        assert!(
            decode(lost.concat().as_bytes()).is_err(),
            "line {index} lost"
        );
        let mut doubled = lines.clone();
        doubled.insert(index, lines[index]);
        assert!(
            decode(doubled.concat().as_bytes()).is_err(),
            "line {index} doubled"
        );
        if index > 0 {
            let mut moved = lines.clone();
            moved.swap(index - 1, index);
            assert!(
                decode(moved.concat().as_bytes()).is_err(),
                "line {index} moved"
            );
        }
    }
    // The same number of whole lines, each valid, from another file.
    let mut other = header();
    other.revision = 8;
    let other = encode(&other, &desired);
    let other_header = other.split_inclusive('\n').next().unwrap();
    let mixed = [other_header, &lines[1..].concat()].concat();
    assert!(decode(mixed.as_bytes()).is_err());
}

#[test]
fn a_fault_says_which_line_and_what() {
    let (local, desired) = sample();
    let text = encode(&header(), &desired);
    let said = |text: &str| decode(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(said(""), "line 1: the end marker is missing");
    assert_eq!(
        said("hello\n"),
        "line 1: does not begin with a checksum and a space"
    );
    assert_eq!(said(text.trim_end()), "line 9: is cut off");
    let damaged = text.replacen("acme", "ACME", 1);
    let fault = said(&damaged);
    assert!(
        fault.starts_with("line 3: the checksum should be "),
        "{fault}"
    );
    assert!(fault.ends_with(": the line is damaged"), "{fault}");
    assert_eq!(
        said(&encode_local(&local)),
        "line 1: must be the header of a snapshot"
    );
    let fault = decode_local(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(fault, "line 1: must be the header of local settings");
    let mut newer = header();
    newer.format = FORMAT + 1;
    let fault = said(&encode(&newer, &desired));
    assert_eq!(fault, "line 1: has format 3, and this version reads 1 to 2");
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?".prop_map(|text| Name::parse(&text).unwrap())
}

fn hostname() -> impl Strategy<Value = Hostname> {
    r"(\*\.)?[a-z0-9_]{1,9}\.[a-z]{1,9}".prop_map(|text| Hostname::parse(&text).unwrap())
}

fn domain_name() -> impl Strategy<Value = DomainName> {
    r"[a-z0-9]{1,9}\.[a-z]{1,9}".prop_map(|text| DomainName::parse(&text).unwrap())
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![Just(Owner::Api), name().prop_map(Owner::Manifest)]
}

fn socket_address() -> impl Strategy<Value = SocketAddr> {
    let v4 = (any::<[u8; 4]>(), 1..=u16::MAX)
        .prop_map(|(ip, port)| SocketAddr::from((Ipv4Addr::from(ip), port)));
    let v6 = (any::<[u8; 16]>(), 1..=u16::MAX)
        .prop_map(|(ip, port)| SocketAddr::from((Ipv6Addr::from(ip), port)));
    prop_oneof![v4, v6]
}

fn tenant() -> impl Strategy<Value = Tenant> {
    let count = || option::of(any::<u32>());
    (
        any::<u64>(),
        owner(),
        name(),
        (count(), count(), count()),
        option::of(vec(socket_address(), 0..3)),
    )
        .prop_map(
            |(id, owner, name, (sites, connections, requests_per_second), networks)| Tenant {
                id: TenantId(id),
                owner,
                name,
                limits: TenantLimits {
                    sites,
                    connections,
                    requests_per_second,
                    burst: requests_per_second.map(|rate| rate / 2 + 1),
                    head_bytes: connections.map(u64::from),
                    body_bytes: sites.map(u64::from),
                },
                backend_networks: networks.map(|networks| {
                    networks
                        .into_iter()
                        .map(|address| address.ip().into())
                        .collect()
                }),
                suspended: id.is_multiple_of(2),
            },
        )
}

fn group() -> impl Strategy<Value = Group> {
    let degrees = || prop::num::f64::NORMAL;
    (
        owner(),
        name(),
        option::of((degrees(), degrees())),
        any::<i32>(),
    )
        .prop_map(|(owner, name, location, bias_km)| Group {
            owner,
            name,
            location: location.map(|(lat, lon)| Location { lat, lon }),
            bias_km,
        })
}

fn zone() -> impl Strategy<Value = Zone> {
    let record = (any::<String>(), option::of(any::<u32>()), any::<String>()).prop_map(
        |(name, ttl, data)| Record {
            name,
            kind: RecordType::Txt,
            ttl,
            data,
        },
    );
    (
        owner(),
        domain_name(),
        vec(name(), 0..3),
        any::<u32>(),
        vec(record, 0..3),
    )
        .prop_map(|(owner, name, nameservers, ttl, records)| Zone {
            owner,
            name,
            nameservers,
            ttl,
            negative_ttl: ttl,
            contact: None,
            apex: None,
            records,
        })
}

fn certificate() -> impl Strategy<Value = Certificate> {
    let digest = || any::<[u8; 32]>().prop_map(Digest);
    let key = prop_oneof![
        Just(KeyKind::P256),
        Just(KeyKind::P384),
        Just(KeyKind::Ed25519),
        Just(KeyKind::Rsa)
    ];
    let dates = (any::<i64>(), any::<i64>());
    let content = (
        digest(),
        digest(),
        vec(hostname(), 0..3),
        any::<String>(),
        dates,
        key,
    );
    let content = content.prop_map(
        |(digest, fingerprint, names, issuer, (not_before, not_after), key)| CertificateContent {
            digest,
            fingerprint,
            names: names.into(),
            issuer: issuer.into(),
            not_before,
            not_after,
            key,
        },
    );
    (any::<u64>(), owner(), name(), content).prop_map(|(id, owner, name, content)| Certificate {
        id: CertificateId(id),
        owner,
        tenant: name.clone(),
        name,
        content,
    })
}

fn backend() -> impl Strategy<Value = Backend> {
    let address = prop_oneof![
        socket_address().prop_map(BackendAddress::Ip),
        (hostname(), any::<u16>()).prop_map(|(host, port)| BackendAddress::Name { host, port }),
    ];
    (
        any::<String>(),
        address,
        option::of(name()),
        any::<u32>(),
        option::of(any::<u32>()),
        any::<bool>(),
    )
        .prop_map(
            |(name, address, group, weight, connections, backup)| Backend {
                name,
                address,
                group,
                weight,
                connections,
                backup,
            },
        )
}

fn health() -> impl Strategy<Value = Health> {
    let http =
        (any::<String>(), option::of(hostname()), any::<u16>()).prop_map(|(path, host, first)| {
            HealthKind::Http {
                path,
                host,
                status: vec![StatusRange { first, last: first }],
            }
        });
    let tls = option::of(hostname()).prop_map(|host| HealthKind::Tls { host });
    let kind = prop_oneof![Just(HealthKind::Tcp), tls, http];
    (kind, any::<u64>(), any::<u32>()).prop_map(|(kind, interval_ms, rise)| Health {
        kind,
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(interval_ms),
        rise,
        fall: rise,
    })
}

fn pool() -> impl Strategy<Value = Pool> {
    let algorithm = prop_oneof![
        Just(Algorithm::RoundRobin),
        Just(Algorithm::PeakEwma),
        Just(Algorithm::ConsistentHash(HashInput::Source)),
    ];
    (
        any::<u64>(),
        name(),
        algorithm,
        option::of(health()),
        vec(backend(), 0..4),
    )
        .prop_map(|(id, name, algorithm, health, backends)| {
            let mut pool = Pool::of_name(name);
            pool.id = PoolId(id);
            pool.algorithm = algorithm;
            pool.health = health.map(Box::new);
            pool.backends = backends;
            pool
        })
}

fn route() -> impl Strategy<Value = Route> {
    let outcome = prop_oneof![
        name().prop_map(Outcome::Pool),
        any::<String>().prop_map(|to| Outcome::Redirect(Redirect {
            to,
            status: 302,
            keep_path: true,
        })),
        any::<String>().prop_map(|body| Outcome::Respond(Respond {
            status: 200,
            body,
            content_type: String::from("text/plain"),
        })),
    ];
    (
        option::of(any::<String>()),
        vec((any::<String>(), any::<String>()), 0..3),
        outcome,
        field_rules(),
    )
        .prop_map(|(path, headers, outcome, rules)| Route {
            matching: Match {
                path,
                headers,
                ..Match::default()
            },
            outcome,
            rewrite_prefix: rules.remove.first().cloned(),
            request_headers: rules,
            response_headers: FieldRules::default(),
        })
}

fn field_rules() -> impl Strategy<Value = FieldRules> {
    let fields = || vec((any::<String>(), any::<String>()), 0..3);
    (fields(), fields(), vec(any::<String>(), 0..3)).prop_map(|(set, add, remove)| FieldRules {
        set,
        add,
        remove,
    })
}

fn site() -> impl Strategy<Value = Site> {
    let ids = (any::<u64>(), owner(), name(), name());
    let lists = (vec(hostname(), 0..4), vec(pool(), 1..3), vec(route(), 0..3));
    let rules = field_rules();
    (ids, lists, option::of(0.0..1.0f64), any::<bool>(), rules).prop_map(
        |(
            (id, owner, tenant, name),
            (hostnames, pools, routes),
            sample,
            redirect_to_https,
            rules,
        )| Site {
            id: SiteId(id),
            owner,
            tenant,
            name: name.clone(),
            hostnames,
            suspended: redirect_to_https,
            certificates: vec![name.clone()],
            minimum_tls: if redirect_to_https {
                TlsVersion::V1_3
            } else {
                TlsVersion::V1_2
            },
            client_certificates: redirect_to_https.then(|| {
                Box::new(ClientCertificates {
                    verify: ClientVerification::Optional,
                    authorities: name.to_string(),
                })
            }),
            redirect_to_https,
            hsts: None,
            steering: if redirect_to_https {
                Steering::Geo
            } else {
                Steering::All
            },
            timeouts: Default::default(),
            limits: Default::default(),
            trusted_networks: Vec::new(),
            deny_networks: if redirect_to_https {
                vec!["198.51.100.0/24".parse().expect("a network")]
            } else {
                Vec::new()
            },
            access_log: sample.map(|sample| AccessLog { sample }),
            retry: None,
            pools,
            encoded_slashes: redirect_to_https,
            request_headers: Rare::default(),
            response_headers: rules.into(),
            routes,
        },
    )
}

fn desired() -> impl Strategy<Value = Desired> {
    let lists = (
        vec(tenant(), 0..3),
        vec(group(), 0..3),
        vec(zone(), 0..2),
        vec(certificate(), 0..2),
        vec((name(), option::of(name())), 0..3),
        vec(site(), 0..3),
    );
    (any::<u64>(), lists).prop_map(
        |(id, (tenants, groups, zones, certificates, suspensions, sites))| Desired {
            ids: IdCounters {
                tenant: id,
                site: id,
                pool: id,
                certificate: id,
            },
            tenants,
            groups,
            peers: Vec::new(),
            zones,
            certificates,
            suspensions: suspensions
                .into_iter()
                .map(|(tenant, site)| Suspension { tenant, site })
                .collect(),
            sites: sites.into_iter().map(std::sync::Arc::new).collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_state_comes_back(
        store in any::<String>(),
        revision in any::<u64>(),
        generation in any::<u64>(),
        desired in desired(),
    ) {
        let header = Header { format: FORMAT, store, revision, generation };
        let text = encode(&header, &desired);
        prop_assert_eq!(decode(text.as_bytes()), Ok((header, desired)));
    }

    #[test]
    fn any_damaged_byte_of_any_state_is_found(
        desired in desired(),
        places in vec((any::<prop::sample::Index>(), 1..=255u8), 1..40),
    ) {
        let mut bytes = encode(&header(), &desired).into_bytes();
        for (place, mask) in places {
            let at = place.index(bytes.len());
            bytes[at] ^= mask;
            prop_assert!(decode(&bytes).is_err(), "byte {} with mask {:#x}", at, mask);
            bytes[at] ^= mask;
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode_local(&bytes).is_err());
    }
}

/// As the versions before format 2 wrote it: with every key of a site.
#[test]
fn a_log_of_the_format_before_is_read() {
    let (_, desired) = sample();
    let mut old = header();
    old.format = 1;
    let mut text = String::new();
    for line in encode(&old, &desired).lines() {
        let json = &line[9..];
        if json.starts_with("{\"end\":") {
            break;
        }
        let json = match json.starts_with("{\"site\":") {
            true => {
                let site: serde_json::Value = serde_json::from_str(json).unwrap();
                let id = site["site"]["id"].as_u64();
                let site = desired.sites.iter().find(|site| Some(site.id.0) == id);
                serde_json::json!({ "site": **site.unwrap() }).to_string()
            }
            false => json.to_owned(),
        };
        text += &format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    }
    let (lines, checksum) = (text.lines().count() + 1, crc32fast::hash(text.as_bytes()));
    let end = format!("{{\"end\":{{\"lines\":{lines},\"checksum\":{checksum}}}}}");
    text += &format!("{:08x} {end}\n", crc32fast::hash(end.as_bytes()));
    assert!(text.contains("\":null"), "it has what is not set");
    assert_eq!(decode(text.as_bytes()), Ok((old, desired)));
}
