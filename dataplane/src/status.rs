//! What the plane says of itself over the local socket.

use crate::access_log::LogStanding;
use crate::configuration::Position;
use crate::control::PROTOCOL;
use crate::counters::{Cause, Counter};
use crate::headroom::Headroom;
use crate::names::FollowedName;
use crate::routing::{RefusedAddress, ServedSite, backends};
use crate::shared::Shared;
use jiff::Timestamp;
use meridian_model::address_policy::Refusal;
use meridian_model::certificate::expiry_word;
use meridian_model::snapshot::{Certificate, Certificates, Site, SiteId};
use meridian_model::usage::{Column, Tally};
use meridian_sys::has_bounded_receives;
use meridian_sys::process::{Limit, kernel_release, limit};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What is not in [`Shared`].
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Every worker answered.
    pub(crate) ready: bool,
    /// A stop was asked for.
    pub(crate) draining: bool,
    /// Since the start.
    pub(crate) uptime: Duration,
    /// Where the configuration thread stands.
    pub(crate) position: &'a Position,
    /// The CPU of each worker.
    pub(crate) cpus: &'a [usize],
    /// What each worker has left.
    pub(crate) headroom: &'a [Headroom],
}

/// The whole report.
pub(crate) fn report(shared: &Shared, facts: &Facts<'_>) -> Value {
    let routing = shared.routing.load();
    let served: Vec<&ServedSite> = (routing.snapshot.sites_by_name().iter())
        .filter_map(|site| routing.served(site.id).map(|it| &**it))
        .collect();
    let sums = shared.usage.sums();
    let mut report = summary(shared, facts);
    report["sites"] = served
        .iter()
        .map(|served| site_row(served.site(), &sums))
        .collect();
    report["backends"] = served
        .iter()
        .flat_map(|served| backend_rows(served))
        .collect();
    report["pools"] = served.iter().flat_map(|served| pool_rows(served)).collect();
    report["certificates"] = certificates(&routing.snapshot.certificates);
    report["names"] = shared.names.all().iter().map(|it| name_row(it)).collect();
    report["limits"] = limits(shared).iter().map(Met::row).collect();
    report
}

/// The report without what there is one of for each site.
pub(crate) fn summary(shared: &Shared, facts: &Facts<'_>) -> Value {
    let routing = shared.routing.load();
    json!({
        "program": "dataplane",
        "protocol": PROTOCOL,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "revision": routing.snapshot.revision,
        "generation": facts.position.generation,
        "config_fault": facts.position.fault,
        "ready": facts.ready,
        "draining": facts.draining,
        "uptime_s": facts.uptime.as_secs(),
        "workers": workers(shared, facts),
        "probes": shared.workers.iter().map(|it| it.probes.answered.get()).sum::<u64>(),
        "sites_lost": shared.lost_sites.len(),
        "access_log": shared.log.as_deref().map(access_log),
        "kernel": {
            "release": kernel_release(),
            "features": kernel_features(),
            "open_files_max": limit(Limit::OpenFiles).0,
        },
    })
}

/// What of the kernel is made use of: what every kernel has that we run on, then what this one has.
fn kernel_features() -> Vec<&'static str> {
    let mut features = vec![
        "single_issuer",
        "defer_taskrun",
        "multishot_accept",
        "multishot_recv",
        "provided_buffers",
    ];
    if has_bounded_receives() {
        features.push("bounded_recv");
    }
    features
}

fn access_log(log: &LogStanding) -> Value {
    json!({ "path": log.path(), "lines": log.lines(), "fault": log.fault() })
}

fn site_row(site: &Site, sums: &HashMap<SiteId, Tally>) -> Value {
    let mut row = json!({
        "tenant": site.tenant,
        "site": site.name,
        "suspended": site.suspended.holds(),
    });
    let sum = sums.get(&site.id).copied().unwrap_or_default();
    for column in Column::ALL {
        row[column.name()] = sum[column].into();
    }
    row
}

fn workers(shared: &Shared, facts: &Facts<'_>) -> Vec<Value> {
    let boards = shared.workers.iter().zip(facts.cpus);
    let workers = boards.zip(facts.headroom).enumerate();
    workers
        .map(|(index, ((board, cpu), headroom))| {
            let uptime_ns = facts.uptime.as_nanos().max(1) as f64;
            let share = |spent: &Counter| (spent.get() as f64 / uptime_ns).clamp(0.0, 1.0);
            json!({
                "worker": index,
                "cpu": cpu,
                "revision": board.revision.get(),
                "accepted": board.accepted.get(),
                "handed_over": board.handed_over.get(),
                "connections": board.connections.get(),
                "idle_connections": board.idle_connections.get(),
                "upstream_connections": board.sockets.get().saturating_sub(board.connections.get()),
                "requests": board.requests.get(),
                "queued": board.queued.get(),
                "waiting": board.waiting.get(),
                "tls_handshakes": board.tls_handshakes.get(),
                "tls_resumed": board.tls_resumed.get(),
                "sticky_kept": board.sticky_kept.get(),
                "sticky_set": board.sticky_set.get(),
                "turns": board.turns.get(),
                "busy": 1.0 - share(&board.waited_ns),
                "polling": share(&board.polled_ns),
                "headroom": {
                    "time": headroom.time,
                    "connections": headroom.connections,
                    "buffers": headroom.buffers,
                },
                "buffers": board.buffers.get(),
                "buffers_in_use": board.buffers_in_use.get(),
                "buffers_max": board.buffers_max.get(),
            })
        })
        .collect()
}

fn backend_rows(served: &ServedSite) -> Vec<Value> {
    let site = served.site();
    let tiers = site.pools.iter().flat_map(|pool| &pool.tiers);
    let backends = tiers.flat_map(|tier| tier.backends.iter().map(|it| (tier.backup, it)));
    let rows = backends.filter_map(|(backup, backend)| {
        let state = served.backend_state(&backend.key)?;
        let (checks, check_failures) = state.checks();
        let (pool, name) = (backend.key.pool(), backend.name());
        let change = state.last_change();
        let (changed_at, reason) = change.map_or((None, None), |change| {
            let at = Timestamp::try_from(change.at).ok();
            (at.map(|at| at.to_string()), Some(change.reason))
        });
        Some(json!({
            "backend": format!("{}/{}/{pool}/{name}", site.tenant, site.name),
            "address": backend.address().to_string(),
            "state": state.word(),
            "draining": state.is_draining(),
            "backup": backup,
            "reason": reason.unwrap_or_default(),
            "changed_at": changed_at,
            "weight": backend.weight,
            "connections_max": backend.connections,
            "connections": state.sum(|counters| &counters.connections),
            "in_flight": state.sum(|counters| &counters.in_flight),
            "requests": state.sum(|counters| &counters.requests),
            "failures": state.sum(|counters| &counters.failures),
            "checks": checks,
            "check_failures": check_failures,
        }))
    });
    rows.chain(unused_rows(served)).collect()
}

/// The pools where requests may wait.
fn pool_rows(served: &ServedSite) -> Vec<Value> {
    let site = served.site();
    let rows = site.pools.iter().filter_map(|pool| {
        let (rules, queue) = (pool.queue.as_ref()?, served.queue(pool.id)?);
        Some(json!({
            "pool": format!("{}/{}/{}", site.tenant, site.name, pool.name),
            "waiting": queue.waiting(),
            "waiting_max": rules.requests,
        }))
    });
    rows.collect()
}

/// What is no backend that requests can go to: addresses of names where none may be, and names
/// without an address.
fn unused_rows(served: &ServedSite) -> Vec<Value> {
    let site = served.declared();
    let pools = site.pools.iter();
    let named = pools.flat_map(|pool| {
        let tiers = pool.tiers.iter().flat_map(|tier| &tier.named);
        tiers.map(move |backend| (&*pool.name, backend))
    });
    let mut rows = Vec::new();
    for (pool, backend) in named {
        let full = format!("{}/{}/{pool}/{}", site.tenant, site.name, backend.name);
        let row = |address: String, state: &str| {
            json!({
                "backend": full, "address": address, "state": state, "weight": backend.weight,
                "connections": 0, "in_flight": 0, "requests": 0, "failures": 0, "checks": 0, "check_failures": 0,
            })
        };
        let of_backend = |it: &&RefusedAddress| it.backend == *backend;
        let refused = served.refused().iter().filter(of_backend);
        // The same backend may stand in several pools.
        let refused: BTreeMap<SocketAddr, &Refusal> =
            refused.map(|it| (it.address, &it.refusal)).collect();
        for (address, refusal) in &refused {
            let mut row = row(address.to_string(), "refused");
            row["reason"] = refusal.to_string().into();
            rows.push(row);
        }
        let is_used = backends(served.site()).any(|it| {
            it.key.pool() == pool
                && it.name() == &*backend.name
                && it.address().port() == backend.port
        });
        if !is_used && refused.is_empty() {
            let address = format!("{}:{}", backend.host, backend.port);
            rows.push(row(address, "unresolved"));
        }
    }
    rows
}

/// Every certificate and how long it holds on, the first to expire first.
fn certificates(certificates: &Certificates) -> Value {
    let now = Timestamp::now().as_second();
    let row = |it: &Arc<Certificate>| {
        json!({
            "certificate": format!("{}/{}", it.tenant, it.name),
            "not_after": Timestamp::from_second(it.not_after).ok().map(|at| at.to_string()),
            "state": expiry_word(it.not_after, now),
        })
    };
    let mut all: Vec<&Arc<Certificate>> = certificates.iter().collect();
    all.sort_unstable_by_key(|it| (it.not_after, &it.tenant, &it.name));
    all.into_iter().map(row).collect()
}

fn name_row(name: &FollowedName) -> Value {
    let found = name.found();
    let now = Instant::now();
    let addresses: Vec<String> = found.addresses.iter().map(IpAddr::to_string).collect();
    let resolved = found.resolved_at.map(|at| (now - at).as_secs_f64());
    let next = found.next_at.map(|at| at.saturating_duration_since(now));
    json!({
        "name": &**name.host(),
        "addresses": addresses,
        "resolved_s_ago": resolved,
        "next_lookup_s": next.map(|next| next.as_secs_f64()),
        "fault": found.fault,
    })
}

/// A cause or a limit, and how often it was met.
#[derive(Debug)]
pub(crate) struct Met {
    /// The word that operators know it by.
    pub(crate) name: &'static str,
    /// How often.
    pub(crate) hits: u64,
    /// Whose fault it is, in a word; none: of a limit.
    pub(crate) fault: Option<&'static str>,
}

impl Met {
    fn row(&self) -> Value {
        let mut row = json!({ "name": self.name, "hits": self.hits });
        if let Some(fault) = self.fault {
            row["fault"] = fault.into();
        }
        row
    }
}

/// Every cause and limit.
pub(crate) fn limits(shared: &Shared) -> Vec<Met> {
    let sum = |pick: &dyn Fn(usize) -> u64| (0..shared.workers.len()).map(pick).sum::<u64>();
    let causes = Cause::all().map(|cause| Met {
        name: cause.word(),
        hits: sum(&|worker| shared.workers[worker].causes.get(cause)),
        fault: Some(cause.fault().word()),
    });
    let others = [
        (
            "retry_budget",
            sum(&|worker| shared.workers[worker].retries_refused.get()),
        ),
        (
            "sticky_unknown",
            sum(&|worker| shared.workers[worker].sticky_unknown.get()),
        ),
        (
            "backend_refused_by_policy",
            shared.names.refused() + sum(&|worker| shared.workers[worker].policy_refusals.get()),
        ),
        (
            "client_connections",
            sum(&|worker| shared.workers[worker].client_connections_closed.get()),
        ),
        (
            "clients_turned_away",
            sum(&|worker| shared.workers[worker].clients_turned_away.get()),
        ),
        (
            "upstream_connections",
            sum(&|worker| shared.workers[worker].upstream_connections_closed.get()),
        ),
        (
            "client_denied",
            sum(&|worker| shared.workers[worker].clients_denied.get()),
        ),
        (
            "bad_proxy_header",
            sum(&|worker| shared.workers[worker].proxy_headers_bad.get()),
        ),
        (
            "proxy_header_timeout",
            sum(&|worker| shared.workers[worker].proxy_headers_late.get()),
        ),
        (
            "redirected_to_https",
            sum(&|worker| shared.workers[worker].redirects_to_https.get()),
        ),
        (
            "tls_handshake_refused",
            sum(&|worker| shared.workers[worker].tls_refused.get()),
        ),
        (
            "tls_client_certificate_refused",
            sum(&|worker| shared.workers[worker].tls_clients_refused.get()),
        ),
        (
            "tls_unknown_name",
            sum(&|worker| shared.workers[worker].tls_unknown_names.get()),
        ),
        (
            "tls_handshake_timeout",
            sum(&|worker| shared.workers[worker].tls_late.get()),
        ),
        (
            "tls_handshake_aborted",
            sum(&|worker| shared.workers[worker].tls_gone.get()),
        ),
        (
            "tls_handshakes_over_limit",
            sum(&|worker| shared.workers[worker].tls_over_limit.get()),
        ),
        (
            "tls_without_certificate",
            sum(&|worker| shared.workers[worker].tls_without_certificate.get()),
        ),
        (
            "receive_without_buffer",
            sum(&|worker| shared.workers[worker].starved.get()),
        ),
        (
            "receive_over_share",
            sum(&|worker| shared.workers[worker].over_share.get()),
        ),
        (
            "accept_failed",
            sum(&|worker| shared.workers[worker].accept_failures.get()),
        ),
        (
            "accept_queue_full",
            sum(&|worker| shared.workers[worker].accept_queue_full.get()),
        ),
        (
            "stale_completion",
            sum(&|worker| shared.workers[worker].stale.get()),
        ),
        ("health_check_late", shared.health.late()),
        (
            "health_check_without_resources",
            shared.health.without_resources(),
        ),
        ("health_check_too_long", shared.health.too_long()),
        (
            "probe_forged",
            sum(&|worker| shared.workers[worker].probes.forged.get()),
        ),
        (
            "probe_foreign",
            sum(&|worker| shared.workers[worker].probes.foreign.get()),
        ),
        (
            "probe_old",
            sum(&|worker| shared.workers[worker].probes.old.get()),
        ),
        ("lookup_failed", shared.names.failed()),
        ("name_addresses", shared.names.over()),
        ("site_addresses", shared.names.over_of_site()),
        (
            "access_log_lost",
            sum(&|worker| shared.workers[worker].log_lost.get()),
        ),
        (
            "failures_forgotten",
            sum(&|worker| shared.workers[worker].failures_forgotten.get()),
        ),
        ("counters_unbacked", shared.usage.unbacked()),
        ("slots_unwritten", shared.usage.unwritten()),
        (
            "metrics_connections",
            shared.metrics_turned_away.load(Ordering::Relaxed),
        ),
    ];
    let others = others.map(|(name, hits)| Met {
        name,
        hits,
        fault: None,
    });
    causes.chain(others).collect()
}
