//! The metrics, by name (<https://prometheus.io/docs/practices/naming/>): docs/operations.md has the
//! same ones in a table, and a test holds both together.

use super::exporter::{BackendRow, Scrape, SiteRow};
use super::exposition::{Exposition, Family, Kind, Labels, Value};
use crate::backend_state::Health;
use crate::counters::{BackendCounters, Counter};
use crate::shared::WorkerBoard;
use crate::status::limits;
use meridian_model::limits::METRICS_CERTIFICATES_MAX;
use meridian_model::snapshot::Certificate;
use meridian_model::usage::{BUCKETS, Column, lower_bound_ns};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Buckets of a page that go into one of a metric: two octaves.
const BUCKETS_AT_ONCE: usize = 4;
/// Bounds of a histogram, without the infinite one: 64 us to 17 s, each four times the one before.
const BOUNDS: usize = 10;

const _: () = assert!(BUCKETS_AT_ONCE * (BOUNDS - 1) + 1 < BUCKETS);

/// Everything that there is to tell.
pub(super) fn write(scrape: &Scrape<'_>, to: &mut Exposition) {
    process(scrape, to);
    configuration(scrape, to);
    bad_ends(scrape, to);
    certificates(scrape, to);
    access_log(scrape, to);
    workers(scrape, to);
    sites(scrape, to);
    latency(scrape, to);
    backends(scrape, to);
    pools(scrape, to);
}

fn gauge(to: &mut Exposition, name: &'static str, help: &str, value: Value) {
    to.family(name, Kind::Gauge, help)
        .sample(&Labels::none(), value);
}

fn is(holds: bool) -> Value {
    Value::Count(u64::from(holds))
}

fn process(scrape: &Scrape<'_>, to: &mut Exposition) {
    let version = Labels::none().with("version", env!("CARGO_PKG_VERSION"));
    to.family(
        "meridian_build_info",
        Kind::Gauge,
        "1, with the version of the proxy.",
    )
    .sample(&version, Value::Count(1));
    gauge(
        to,
        "process_start_time_seconds",
        "Start of the proxy, in seconds since 1970.",
        Value::Nanoseconds(scrape.started_ns),
    );
    gauge(
        to,
        "meridian_ready",
        "1 when every worker answered within 2 s.",
        is(scrape.ready),
    );
    gauge(
        to,
        "meridian_draining",
        "1 when a stop was asked for.",
        is(scrape.shared.draining.load(Ordering::Acquire)),
    );
}

fn configuration(scrape: &Scrape<'_>, to: &mut Exposition) {
    gauge(
        to,
        "meridian_config_revision",
        "The revision that workers are given.",
        Value::Count(scrape.position.revision),
    );
    gauge(
        to,
        "meridian_config_fault",
        "1 when a newer revision can not be served: status says why.",
        is(scrape.position.fault.is_some()),
    );
    gauge(
        to,
        "meridian_sites",
        "Sites of the revision.",
        Value::Count(scrape.routing.snapshot.sites.len() as u64),
    );
    let mut states = to.family(
        "meridian_backends",
        Kind::Gauge,
        "Backends of all sites, by state.",
    );
    for (word, count) in scrape.states {
        let labels = Labels::none().with("state", word);
        states.sample(&labels, Value::Count(count));
    }
    gauge(
        to,
        "meridian_metrics_sites_left_out",
        "Sites with traffic that have no series, for there are too many.",
        Value::Count(scrape.sites_left_out),
    );
    gauge(
        to,
        "meridian_metrics_backends_left_out",
        "Backends of sites with series that have none, for there are too many.",
        Value::Count(scrape.backends_left_out),
    );
}

/// What `status` shows as limits that were met, each in one of two families.
fn bad_ends(scrape: &Scrape<'_>, to: &mut Exposition) {
    let (causes, limits): (Vec<_>, Vec<_>) = limits(scrape.shared)
        .into_iter()
        .partition(|met| met.fault.is_some());
    let mut family = to.family(
        "meridian_http_bad_ends_total",
        Kind::Counter,
        "Requests that ended badly, by cause and whose fault it was.",
    );
    for met in causes {
        let labels = Labels::none().with("cause", met.name);
        let labels = labels.with("fault", met.fault.unwrap_or_default());
        family.sample(&labels, Value::Count(met.hits));
    }
    let mut family = to.family(
        "meridian_limit_hits_total",
        Kind::Counter,
        "How often a limit of the proxy was met, by limit.",
    );
    for met in limits {
        let labels = Labels::none().with("limit", met.name);
        family.sample(&labels, Value::Count(met.hits));
    }
}

fn certificates(scrape: &Scrape<'_>, to: &mut Exposition) {
    let all = &scrape.routing.snapshot.certificates;
    gauge(
        to,
        "meridian_certificates",
        "Certificates of the revision.",
        Value::Count(all.len() as u64),
    );
    let mut first: Vec<&Arc<Certificate>> = all.iter().collect();
    let left_out = first.len().saturating_sub(METRICS_CERTIFICATES_MAX);
    gauge(
        to,
        "meridian_metrics_certificates_left_out",
        "Certificates that expire later than those that have a series.",
        Value::Count(left_out as u64),
    );
    if left_out > 0 {
        first.select_nth_unstable_by_key(METRICS_CERTIFICATES_MAX, |it| it.not_after);
        first.truncate(METRICS_CERTIFICATES_MAX);
    }
    first.sort_unstable_by_key(|it| (it.not_after, &it.tenant, &it.name));
    let mut family = to.family(
        "meridian_certificate_expiration_timestamp_seconds",
        Kind::Gauge,
        "When a certificate ends, in seconds since 1970.",
    );
    for certificate in first {
        let labels = Labels::none().with("tenant", &certificate.tenant);
        let labels = labels.with("certificate", &certificate.name);
        // One that ended before 1970 has ended.
        let not_after = u64::try_from(certificate.not_after).unwrap_or_default();
        family.sample(&labels, Value::Count(not_after));
    }
}

fn access_log(scrape: &Scrape<'_>, to: &mut Exposition) {
    let log = scrape.shared.log.as_deref();
    let mut family = to.family(
        "meridian_access_log_lines_total",
        Kind::Counter,
        "Lines that the file of the access log took.",
    );
    if let Some(log) = log {
        family.sample(&Labels::none(), Value::Count(log.lines()));
    }
    let mut family = to.family(
        "meridian_access_log_fault",
        Kind::Gauge,
        "1 when lines of the access log can not be written.",
    );
    if let Some(log) = log {
        family.sample(&Labels::none(), is(log.fault().is_some()));
    }
}

/// A family with a series for each worker.
struct OfWorker(
    &'static str,
    Kind,
    &'static str,
    fn(&WorkerBoard) -> &Counter,
);

const OF_WORKERS: [OfWorker; 16] = [
    OfWorker(
        "meridian_worker_config_revision",
        Kind::Gauge,
        "The revision that a worker serves.",
        |board| &board.revision,
    ),
    OfWorker(
        "meridian_worker_connections_accepted_total",
        Kind::Counter,
        "Connections of clients that came to a worker, whoever accepted them.",
        |board| &board.accepted,
    ),
    OfWorker(
        "meridian_worker_connections_handed_over_total",
        Kind::Counter,
        "Connections of clients that a worker accepted for another one that had fewer.",
        |board| &board.handed_over,
    ),
    OfWorker(
        "meridian_worker_connections",
        Kind::Gauge,
        "Connections of clients that are open.",
        |board| &board.connections,
    ),
    OfWorker(
        "meridian_worker_idle_connections",
        Kind::Gauge,
        "Connections of clients that wait for a request.",
        |board| &board.idle_connections,
    ),
    OfWorker(
        "meridian_worker_sockets",
        Kind::Gauge,
        "Connections that are open, to clients and to backends.",
        |board| &board.sockets,
    ),
    OfWorker(
        "meridian_worker_requests_total",
        Kind::Counter,
        "Requests whose final response was begun.",
        |board| &board.requests,
    ),
    OfWorker(
        "meridian_worker_requests_queued_total",
        Kind::Counter,
        "Requests that had to wait for room at a backend.",
        |board| &board.queued,
    ),
    OfWorker(
        "meridian_worker_requests_waiting",
        Kind::Gauge,
        "Requests that wait for room at a backend.",
        |board| &board.waiting,
    ),
    OfWorker(
        "meridian_worker_sticky_kept_total",
        Kind::Counter,
        "Requests that went to the backend that their sticky cookie names.",
        |board| &board.sticky_kept,
    ),
    OfWorker(
        "meridian_worker_sticky_set_total",
        Kind::Counter,
        "Sticky cookies that were set.",
        |board| &board.sticky_set,
    ),
    OfWorker(
        "meridian_worker_turns_total",
        Kind::Counter,
        "Turns of the loop.",
        |board| &board.turns,
    ),
    OfWorker(
        "meridian_worker_buffers",
        Kind::Gauge,
        "Receive buffers in circulation.",
        |board| &board.buffers,
    ),
    OfWorker(
        "meridian_worker_buffers_in_use",
        Kind::Gauge,
        "Receive buffers that hold bytes.",
        |board| &board.buffers_in_use,
    ),
    OfWorker(
        "meridian_worker_buffers_max",
        Kind::Gauge,
        "Receive buffers that there may be.",
        |board| &board.buffers_max,
    ),
    OfWorker(
        "meridian_worker_ended",
        Kind::Gauge,
        "1 once a worker has drained and ended.",
        |board| &board.ended,
    ),
];

fn workers(scrape: &Scrape<'_>, to: &mut Exposition) {
    let boards = scrape.shared.workers.iter().enumerate();
    let boards: Vec<(Labels, &WorkerBoard)> = boards
        .map(|(index, board)| (Labels::none().with("worker", index), board))
        .collect();
    for OfWorker(name, kind, help, counter) in OF_WORKERS {
        let mut family = to.family(name, kind, help);
        for (labels, board) in &boards {
            family.sample(labels, Value::Count(counter(board).get()));
        }
    }
    let mut family = to.family(
        "meridian_worker_busy_seconds_total",
        Kind::Counter,
        "Time in which a worker worked.",
    );
    for ((labels, _), busy_ns) in boards.iter().zip(scrape.busy_ns) {
        family.sample(labels, Value::Nanoseconds(*busy_ns));
    }
    let mut family = to.family(
        "meridian_worker_polling_seconds_total",
        Kind::Counter,
        "Time in which a worker looked for work instead of sleeping: it is free.",
    );
    for (labels, board) in &boards {
        family.sample(labels, Value::Nanoseconds(board.polled_ns.get()));
    }
}

const CODES: [(&str, Column); 4] = [
    ("2xx", Column::Responses2xx),
    ("3xx", Column::Responses3xx),
    ("4xx", Column::Responses4xx),
    ("5xx", Column::Responses5xx),
];

/// A counter with a series for each site that has some.
const OF_SITES: [(&str, &str, Column); 7] = [
    (
        "meridian_http_received_bytes_total",
        "Bytes that came from clients as HTTP, heads included.",
        Column::BytesIn,
    ),
    (
        "meridian_http_sent_bytes_total",
        "Bytes that went to clients as HTTP, heads included.",
        Column::BytesOut,
    ),
    (
        "meridian_http_connections_total",
        "Connections of clients whose first served site it was.",
        Column::Connections,
    ),
    (
        "meridian_http_retries_total",
        "Further attempts after a failed one.",
        Column::Retries,
    ),
    (
        "meridian_http_refused_total",
        "Requests refused by a limit of the site or its tenant.",
        Column::Refused,
    ),
    (
        "meridian_http_cut_total",
        "Requests that ended without a whole response.",
        Column::Cut,
    ),
    (
        "meridian_http_cross_group_total",
        "Requests served by the backends of another group.",
        Column::CrossGroup,
    ),
];

fn sites(scrape: &Scrape<'_>, to: &mut Exposition) {
    let mut family = to.family(
        "meridian_http_requests_total",
        Kind::Counter,
        "Requests whose final response was begun, by class of its status.",
    );
    for SiteRow { labels, figures } in &scrape.sites {
        for (code, column) in CODES {
            let labels = labels.with("code", code);
            family.sample(&labels, Value::Count(figures.tally[column]));
        }
    }
    for (name, help, column) in OF_SITES {
        let mut family = to.family(name, Kind::Counter, help);
        for SiteRow { labels, figures } in &scrape.sites {
            family.sample(labels, Value::Count(figures.tally[column]));
        }
    }
}

fn latency(scrape: &Scrape<'_>, to: &mut Exposition) {
    let mut family = to.family(
        "meridian_http_response_latency_seconds",
        Kind::Histogram,
        "From the first byte of a request to the head of its response.",
    );
    for row in &scrape.sites {
        histogram(&mut family, row);
    }
}

fn histogram(family: &mut Family<'_>, SiteRow { labels, figures }: &SiteRow) {
    let mut count = 0;
    let mut counted = 0;
    for bound in 0..BOUNDS {
        // All buckets of the page that end there.
        let end = 1 + BUCKETS_AT_ONCE * bound;
        count += figures.latency[counted..end].iter().sum::<u64>();
        counted = end;
        let labels = labels.with("le", Value::Nanoseconds(lower_bound_ns(end)));
        family.suffixed("_bucket", &labels, Value::Count(count));
    }
    count += figures.latency[counted..].iter().sum::<u64>();
    let infinite = labels.with("le", "+Inf");
    family.suffixed("_bucket", &infinite, Value::Count(count));
    family.suffixed("_sum", labels, Value::Nanoseconds(figures.latency_ns));
    family.suffixed("_count", labels, Value::Count(count));
}

/// A family with a series for each backend that has some.
struct OfBackend(&'static str, Kind, &'static str, fn(&BackendRow) -> Value);

const OF_BACKENDS: [OfBackend; 9] = [
    OfBackend(
        "meridian_backend_up",
        Kind::Gauge,
        "0 when a backend is down, else 1.",
        |row| is(row.state.health() != Health::Down),
    ),
    OfBackend(
        "meridian_backend_draining",
        Kind::Gauge,
        "1 while a backend is drained.",
        |row| is(row.state.is_draining()),
    ),
    OfBackend(
        "meridian_backend_weight",
        Kind::Gauge,
        "The weight of a backend.",
        |row| Value::Count(u64::from(row.weight)),
    ),
    OfBackend(
        "meridian_backend_requests_total",
        Kind::Counter,
        "Attempts that were given to a backend.",
        |row| row.sum(|counters| &counters.requests),
    ),
    OfBackend(
        "meridian_backend_failures_total",
        Kind::Counter,
        "Attempts that a backend failed.",
        |row| row.sum(|counters| &counters.failures),
    ),
    OfBackend(
        "meridian_backend_connections",
        Kind::Gauge,
        "Connections to a backend that are open.",
        |row| row.sum(|counters| &counters.connections),
    ),
    OfBackend(
        "meridian_backend_requests_in_flight",
        Kind::Gauge,
        "Requests that a backend has and tunnels through it.",
        |row| row.sum(|counters| &counters.in_flight),
    ),
    OfBackend(
        "meridian_backend_health_checks_total",
        Kind::Counter,
        "Health checks of a backend that ended.",
        |row| Value::Count(row.state.checks().0),
    ),
    OfBackend(
        "meridian_backend_health_check_failures_total",
        Kind::Counter,
        "Health checks of a backend that failed.",
        |row| Value::Count(row.state.checks().1),
    ),
];

impl BackendRow {
    fn sum(&self, pick: fn(&BackendCounters) -> &Counter) -> Value {
        Value::Count(self.state.sum(pick))
    }
}

fn backends(scrape: &Scrape<'_>, to: &mut Exposition) {
    for OfBackend(name, kind, help, value) in OF_BACKENDS {
        let mut family = to.family(name, kind, help);
        for row in &scrape.backends {
            family.sample(&row.labels, value(row));
        }
    }
}

fn pools(scrape: &Scrape<'_>, to: &mut Exposition) {
    let mut family = to.family(
        "meridian_pool_requests_waiting",
        Kind::Gauge,
        "Requests that wait for room at the backends of a pool.",
    );
    for row in &scrape.pools {
        family.sample(&row.labels, Value::Count(u64::from(row.queue.waiting())));
    }
}
