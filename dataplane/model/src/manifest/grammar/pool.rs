//! `[[site.pool]]` and `[[site.backend]]`.

use std::time::Duration;

use toml::de::DeValue;

use super::fleet::{Cadence, read_cadence};
use crate::desired::{
    Algorithm, HashInput, Health, HealthKind, PoolTls, ProxyProtocol, Queue, StatusRange, Sticky,
};
use crate::fields;
use crate::limits::{BACKEND_WEIGHT_MAX, TIMEOUT_MS_MAX};
use crate::manifest::reader::{Located, Reader, Section};
use crate::manifest::values::{self, malformed};
use crate::manifest::written::{Backend, Pool};
use crate::name::{Malformed, Name};

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("round-robin", Algorithm::RoundRobin),
    ("least-connections", Algorithm::LeastConnections),
    ("random", Algorithm::Random),
    ("source-hash", Algorithm::SourceHash),
    ("uri-hash", Algorithm::UriHash),
    ("consistent-hash", Algorithm::ConsistentHash(HashInput::Uri)),
    ("peak-ewma", Algorithm::PeakEwma),
];

const HASH_INPUTS: &[(&str, HashInput)] = &[("source", HashInput::Source), ("uri", HashInput::Uri)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckKind {
    Tcp,
    Tls,
    Http,
}

const CHECK_KINDS: &[(&str, CheckKind)] = &[
    ("tcp", CheckKind::Tcp),
    ("tls", CheckKind::Tls),
    ("http", CheckKind::Http),
];

pub(super) fn read_pool(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Pool> {
    let line = section.line().unwrap_or(1);
    let name_is_set = section.contains("name");
    let name = section.take(reader, "name", values::name);
    let health = section.table(reader, "health", "site.pool.health");
    let sticky = section.table(reader, "sticky", "site.pool.sticky");
    let tls = section.table(reader, "tls", "site.pool.tls");
    let queue = section.table(reader, "queue", "site.pool.queue");
    let proxy_protocol = section.take(reader, "proxy_protocol", proxy_protocol);
    let slow_start = values::duration(1, TIMEOUT_MS_MAX);
    let slow_start = section.take(reader, "slow_start", slow_start);
    let algorithm = read_algorithm(reader, &mut section);
    section.finish(reader);
    let pool = Pool {
        name: name.clone().unwrap_or(Located {
            value: Name::default_pool(),
            line,
        }),
        algorithm,
        health: health.map(|section| read_health(reader, section)),
        sticky: sticky.and_then(|section| read_sticky(reader, section)),
        tls: tls.map(|section| read_tls(reader, section)),
        proxy_protocol: proxy_protocol.map(|located| located.value),
        slow_start: slow_start.map(|located| located.value),
        queue: queue.map(|section| read_queue(reader, section)),
    };
    // A wrong name is not the name "default".
    (name.is_some() || !name_is_set).then_some(pool)
}

fn read_algorithm(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Algorithm {
    let default = (Algorithm::RoundRobin, "\"round-robin\"");
    let algorithm = section.take_or(reader, "algorithm", values::word(ALGORITHMS), default);
    let hash = section.take(reader, "hash", values::word(HASH_INPUTS));
    match (algorithm, hash) {
        (Algorithm::ConsistentHash(_), Some(hash)) => Algorithm::ConsistentHash(hash.value),
        (algorithm, None) => algorithm,
        (algorithm, Some(hash)) => {
            let what = "only algorithm = \"consistent-hash\" takes it";
            reader.report(Some(hash.line), "site.pool.hash", what, "remove the line");
            algorithm
        }
    }
}

fn proxy_protocol(value: &DeValue<'_>) -> Result<ProxyProtocol, Malformed> {
    match values::integer(1, 2)(value) {
        Ok(1u8) => Ok(ProxyProtocol::V1),
        Ok(_) => Ok(ProxyProtocol::V2),
        Err(wrong) => Err(malformed(wrong.what, "write 1 or 2, the version")),
    }
}

fn read_health(reader: &mut Reader<'_>, mut section: Section<'_>) -> Health {
    let kind = values::word(CHECK_KINDS);
    let kind = section.take_or(reader, "kind", kind, (CheckKind::Tcp, "\"tcp\""));
    let defaults = Cadence {
        interval: (Duration::from_secs(2), "2s"),
        timeout: (Duration::from_secs(1), "1s"),
        rise: (2, "2"),
        fall: (3, "3"),
    };
    let cadence = read_cadence(reader, &mut section, &defaults, "site.pool.health");
    let (interval, timeout, rise, fall) = cadence;
    let path = section.take(reader, "path", origin_form);
    let host = section.take(reader, "host", values::plain_hostname);
    let status = section.list(reader, "status", status_range);
    if section.contains("status") && !section.lists_any("status") && status.is_some() {
        let what = "names no status, so no backend would ever be up";
        let hint = "name one, or remove the line for the default of \"200-299\"";
        reader.report(section.line(), "site.pool.health.status", what, hint);
    }
    refuse_keys_of_others(reader, &section, kind);
    if let Some(host) = &host
        && kind == CheckKind::Tls
        && host.value.ends_in_number()
    {
        let name = host.value.as_str();
        let what = format!("{name:?} is no DNS name, and SNI takes no other (RFC 6066)");
        let hint = "write it like \"www.example.com\", or remove it: then no name is asked for";
        reader.report(Some(host.line), "site.pool.health.host", what, hint);
    }
    section.finish(reader);
    let kind = match kind {
        CheckKind::Tcp => HealthKind::Tcp,
        CheckKind::Tls => HealthKind::Tls {
            host: host.map(|located| located.value),
        },
        CheckKind::Http => HealthKind::Http {
            path: path.map_or_else(|| String::from("/"), |located| located.value),
            host: host.map(|located| located.value),
            status: match status {
                Some(status) => super::plain(Some(status)),
                None => vec![StatusRange {
                    first: 200,
                    last: 299,
                }],
            },
        },
    };
    Health {
        kind,
        interval,
        timeout,
        rise,
        fall,
    }
}

/// What only other kinds of a check take.
fn refuse_keys_of_others(reader: &mut Reader<'_>, section: &Section<'_>, kind: CheckKind) {
    const HTTP: (&str, &str) = (
        "only kind = \"http\" takes it",
        "remove it, or write kind = \"http\"",
    );
    const WITH_A_NAME: (&str, &str) = (
        "only kind = \"http\" and kind = \"tls\" take it",
        "remove it, or write one of these",
    );
    let refused: &[(&str, (&str, &str))] = match kind {
        CheckKind::Tcp => &[("path", HTTP), ("host", WITH_A_NAME), ("status", HTTP)],
        CheckKind::Tls => &[("path", HTTP), ("status", HTTP)],
        CheckKind::Http => &[],
    };
    for (key, (what, hint)) in refused {
        if section.contains(key) {
            let key = format!("site.pool.health.{key}");
            reader.report(section.line(), &key, *what, *hint);
        }
    }
}

fn origin_form(value: &DeValue<'_>) -> Result<String, Malformed> {
    let path = values::text(value)?;
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    if path.starts_with('/') && printable && !path.contains('#') {
        return Ok(path);
    }
    Err(malformed(
        format!("{path:?} is not a path"),
        "write it like \"/health\"",
    ))
}

/// `200`, or `"200-299"`.
fn status_range(value: &DeValue<'_>) -> Result<StatusRange, Malformed> {
    if let DeValue::Integer(_) = value {
        let status = values::integer(100u16, 599)(value)?;
        return Ok(StatusRange {
            first: status,
            last: status,
        });
    }
    let text = values::text(value)?;
    let parsed = text.split_once('-').and_then(|(first, last)| {
        Some(StatusRange {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    });
    let fits = parsed.filter(|range| 100 <= range.first && range.first <= range.last);
    fits.filter(|range| range.last <= 599).ok_or_else(|| {
        let hint = "write 200, or \"200-299\"";
        malformed(format!("{text:?} is not a range of statuses"), hint)
    })
}

fn read_sticky(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Sticky> {
    let cookie = section.require(reader, "cookie", token, "cookie = \"MSRV\"");
    let lifetime = values::duration(1000, 400 * 24 * 60 * 60 * 1000);
    let lifetime = section.take(reader, "lifetime", lifetime);
    section.finish(reader);
    Some(Sticky {
        cookie: cookie?.value,
        lifetime: lifetime.map(|located| located.value),
    })
}

/// A token of RFC 9110 §5.6.2, which is what a cookie's name and a method are.
pub(super) fn token(value: &DeValue<'_>) -> Result<String, Malformed> {
    let text = values::text(value)?;
    if fields::is_token(&text) {
        return Ok(text);
    }
    Err(malformed(
        format!("{text:?} is not a token"),
        "write letters, digits, - and _",
    ))
}

fn read_tls(reader: &mut Reader<'_>, mut section: Section<'_>) -> Located<PoolTls> {
    let verify = section.take_or(reader, "verify", values::flag, (true, "true"));
    let name = section.take(reader, "name", values::plain_hostname);
    let authorities = section.take(reader, "authorities", values::text);
    let certificate = section.take(reader, "certificate", values::name);
    let line = section.line().unwrap_or(1);
    section.finish(reader);
    Located {
        value: PoolTls {
            verify,
            name: name.map(|located| located.value),
            authorities: authorities.map(|located| located.value),
            certificate: certificate.map(|located| located.value),
        },
        line,
    }
}

fn read_queue(reader: &mut Reader<'_>, mut section: Section<'_>) -> Queue {
    let requests = values::integer(1, 1_000_000);
    let timeout = values::duration(1, TIMEOUT_MS_MAX);
    let queue = Queue {
        requests: section.take_or(reader, "requests", requests, (100, "100")),
        timeout: section.take_or(reader, "timeout", timeout, (Duration::from_secs(5), "5s")),
    };
    section.finish(reader);
    queue
}

pub(super) fn read_backend(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Backend> {
    let section_line = section.line();
    let line = section_line.unwrap_or(1);
    let pool_is_set = section.contains("pool");
    let pool = section.take(reader, "pool", values::name);
    let name_is_set = section.contains("name");
    let name = section.take(reader, "name", values::name);
    let example = "address = \"203.0.113.10:80\"";
    let address = section.require(reader, "address", values::backend_address, example);
    let group = section.take(reader, "group", values::name);
    let weight = values::integer(1, BACKEND_WEIGHT_MAX);
    let weight = section.take_or(reader, "weight", weight, (1, "1"));
    let connections = section.take(reader, "connections", values::integer(1, u32::MAX));
    let backup = section.take_or(reader, "backup", values::flag, (false, "false"));
    section.finish(reader);
    let name = match (name, name_is_set, &address) {
        (Some(name), ..) => Some(Located {
            value: name.value.to_string(),
            line: name.line,
        }),
        (None, false, Some(address)) => Some(Located {
            value: address.value.to_string(),
            line,
        }),
        (None, ..) => None,
    };
    // A wrong pool is not the pool "default".
    (pool.is_some() || !pool_is_set).then_some(Backend {
        line: section_line,
        pool,
        name,
        address,
        group,
        weight,
        connections: connections.map(|located| located.value),
        backup,
    })
}
