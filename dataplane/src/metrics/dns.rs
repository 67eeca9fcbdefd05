//! What the DNS responder of this host counts, for a scrape: asked for over its local socket, as
//! `status` and `usage` ask. Where DNS is not answered here there is none of it.

use super::exposition::{Exposition, Kind, Labels, Value};
use meridian_model::limits::GEO_GROUPS_MAX;
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{self, Column};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a scrape waits for each of its answers.
const WITHIN: Duration = Duration::from_secs(2);

/// The longest answer that is read, in bytes: a million sites with all their numbers are less.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What a responder said.
#[derive(Debug, Default)]
pub(super) struct Responder {
    /// It answered; else the rest is empty.
    is_up: bool,
    /// Its status, without what there is one of for each zone.
    status: Json,
    /// Queries by site, those for no service name among them.
    pub(super) queries: HashMap<SiteId, u64>,
}

/// A site with a series of its own.
pub(super) struct SiteQueries {
    pub(super) labels: Labels,
    pub(super) queries: u64,
}

impl Responder {
    /// Asks whoever answers at `socket`; none: nobody is meant to, for there is no socket.
    pub(super) fn ask(socket: &Path) -> Option<Responder> {
        if !socket.exists() {
            return None;
        }
        Some(Responder::asked(socket).unwrap_or_default())
    }

    fn asked(socket: &Path) -> io::Result<Responder> {
        let status = question(socket, &json!({ "op": "status", "brief": true }))?;
        let usage = question(socket, &json!({ "op": "usage" }))?;
        let usage: usage::Answer = serde_json::from_value(usage)?;
        let sites = usage.sites.into_iter();
        Ok(Responder {
            is_up: status["program"] == "geodns",
            status,
            queries: sites
                .map(|row| (row.site, row.now[Column::DnsQueries]))
                .collect(),
        })
    }

    fn count(&self, path: &str) -> Option<Value> {
        self.status.pointer(path)?.as_u64().map(Value::Count)
    }
}

fn question(socket: &Path, question: &Json) -> io::Result<Json> {
    let deadline = Instant::now() + WITHIN;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut reader = BufReader::new(stream.take(ANSWER_BYTES_MAX));
    let mut line = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let stream = reader.get_ref().get_ref();
        stream.set_read_timeout(Some(left))?;
        let read = reader.fill_buf()?;
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = read.iter().position(|&byte| byte == b'\n');
        let taken = end.unwrap_or(read.len());
        line.extend_from_slice(&read[..taken]);
        if end.is_some() {
            return Ok(serde_json::from_slice(&line)?);
        }
        reader.consume(taken);
    }
}

/// A family with one series: a number of the responder's status.
type Plain = (&'static str, Kind, &'static str, &'static str);

const PLAIN: [Plain; 7] = [
    (
        "meridian_dns_config_revision",
        Kind::Gauge,
        "The revision that the responder answers from.",
        "/revision",
    ),
    (
        "meridian_dns_subnet_responses_total",
        Kind::Counter,
        "Responses to queries with a client subnet (EDNS).",
        "/counters/with_subnet",
    ),
    (
        "meridian_dns_truncated_responses_total",
        Kind::Counter,
        "Responses that something is missing in (TC).",
        "/counters/truncated",
    ),
    (
        "meridian_dns_unsent_responses_total",
        Kind::Counter,
        "Responses that the kernel did not take.",
        "/counters/unsent",
    ),
    (
        "meridian_dns_receive_failures_total",
        Kind::Counter,
        "Calls to receive datagrams that failed.",
        "/counters/receive_failures",
    ),
    (
        "meridian_dns_connections_total",
        Kind::Counter,
        "Connections that were accepted for DNS.",
        "/counters/connections",
    ),
    (
        "meridian_dns_idle_closed_total",
        Kind::Counter,
        "Connections for DNS that were closed for being idle.",
        "/counters/idle_closed",
    ),
];

/// A family with a series for each entry of an object in the responder's status.
struct Keyed {
    name: &'static str,
    help: &'static str,
    path: &'static str,
    label: &'static str,
    /// How many series there may be.
    most: usize,
}

const KEYED: [Keyed; 4] = [
    Keyed {
        name: "meridian_dns_queries_total",
        help: "Messages that came to the responder, by how they came.",
        path: "/counters/queries",
        label: "transport",
        most: 2,
    },
    Keyed {
        name: "meridian_dns_responses_total",
        help: "Responses by what they say.",
        path: "/counters/responses",
        label: "kind",
        most: 32,
    },
    Keyed {
        name: "meridian_dns_dropped_messages_total",
        help: "Messages that get no response, by what they are.",
        path: "/counters/dropped",
        label: "reason",
        most: 8,
    },
    Keyed {
        name: "meridian_dns_group_answers_total",
        help: "Answers with the hosts of one group, by group.",
        path: "/counters/groups",
        label: "group",
        most: GEO_GROUPS_MAX,
    },
];

/// Everything of DNS. Without a responder the families have no series.
pub(super) fn write(responder: Option<&Responder>, sites: &[SiteQueries], to: &mut Exposition) {
    let none = Labels::none();
    let mut family = to.family(
        "meridian_dns_up",
        Kind::Gauge,
        "1 when the responder answered within 2 s.",
    );
    if let Some(responder) = responder {
        family.sample(&none, Value::Count(u64::from(responder.is_up)));
    }
    for (name, kind, help, path) in PLAIN {
        let mut family = to.family(name, kind, help);
        if let Some(value) = responder.and_then(|it| it.count(path)) {
            family.sample(&none, value);
        }
    }
    for keyed in KEYED {
        let mut family = to.family(keyed.name, Kind::Counter, keyed.help);
        let object = responder.and_then(|it| it.status.pointer(keyed.path)?.as_object());
        for (key, count) in object.into_iter().flatten().take(keyed.most) {
            let labels = none.with(keyed.label, key);
            family.sample(&labels, Value::Count(count.as_u64().unwrap_or_default()));
        }
    }
    let mut family = to.family(
        "meridian_dns_limit_hits_total",
        Kind::Counter,
        "How often a limit of the responder was met, by limit.",
    );
    let limits = responder.and_then(|it| it.status["limits"].as_array());
    for limit in limits.into_iter().flatten() {
        let labels = none.with("limit", limit["name"].as_str().unwrap_or_default());
        family.sample(
            &labels,
            Value::Count(limit["hits"].as_u64().unwrap_or_default()),
        );
    }
    let mut family = to.family(
        "meridian_dns_site_queries_total",
        Kind::Counter,
        "Queries for a site's service name that were answered.",
    );
    for SiteQueries { labels, queries } in sites {
        family.sample(labels, Value::Count(*queries));
    }
}
