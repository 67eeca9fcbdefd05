//! Puts together what all threads count, once for each scrape.
//!
//! It reads what others write and holds nobody up: workers are asked to publish their numbers as
//! `status` asks them, and everything else stands in memory that is shared.

use super::chosen::Chosen;
use super::dns::{self, Responder, SiteQueries};
use super::exposition::{Exposition, Labels};
use super::families;
use super::shares::shares;
use crate::backend_state::BackendState;
use crate::configuration::{Position, Standing};
use crate::pool_queue::PoolQueue;
use crate::routing::{Routing, ServedSite, backends};
use crate::shared::Shared;
use crate::usage::SiteFigures;
use meridian_model::limits::METRICS_BACKENDS_MAX;
use meridian_model::snapshot::{Pool, SiteId, TenantId};
use meridian_model::usage::NO_SITE;
use meridian_sys::Notifier;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long a scrape waits for the workers; after that it has what they published before.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it looks whether they have answered.
const LOOK: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Exporter {
    shared: Arc<Shared>,
    notifiers: Arc<[Notifier]>,
    standing: Standing,
    /// Where the DNS responder answers, if there is one.
    responder: PathBuf,
    /// Nanoseconds from 1970 to the start of the process.
    started_ns: u64,
    /// Held for a scrape: there is one at a time.
    memory: Mutex<Memory>,
}

/// What one scrape knows of those before.
#[derive(Debug, Default)]
struct Memory {
    chosen: Chosen,
    /// By worker, as it was told last: a counter never goes back.
    busy_ns: Vec<u64>,
}

/// What one scrape tells.
pub(super) struct Scrape<'a> {
    pub(super) shared: &'a Shared,
    pub(super) routing: &'a Routing,
    pub(super) position: &'a Position,
    /// Nanoseconds from 1970 to the start of the process.
    pub(super) started_ns: u64,
    /// Every worker answered.
    pub(super) ready: bool,
    /// By worker.
    pub(super) busy_ns: &'a [u64],
    pub(super) sites: Vec<SiteRow>,
    pub(super) sites_left_out: u64,
    pub(super) backends: Vec<BackendRow>,
    pub(super) backends_left_out: u64,
    /// Those where requests may wait and that have a backend with series.
    pub(super) pools: Vec<PoolRow>,
    /// Backends of all sites that are in each state.
    pub(super) states: [(&'static str, u64); 4],
}

/// A site with series of its own.
pub(super) struct SiteRow {
    pub(super) labels: Labels,
    pub(super) figures: SiteFigures,
}

/// A backend with series of its own.
pub(super) struct BackendRow {
    pub(super) labels: Labels,
    pub(super) weight: u32,
    pub(super) state: Arc<BackendState>,
}

/// A pool with series of its own.
pub(super) struct PoolRow {
    pub(super) labels: Labels,
    pub(super) queue: Arc<PoolQueue>,
}

/// Rows of backends and of their pools.
#[derive(Default)]
struct Rows {
    backends: Vec<BackendRow>,
    /// Backends that have none.
    left_out: u64,
    pools: Vec<PoolRow>,
}

impl Exporter {
    pub(super) fn new(
        shared: Arc<Shared>,
        notifiers: Arc<[Notifier]>,
        standing: Standing,
        responder: PathBuf,
    ) -> Exporter {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let started = now.unwrap_or_default().checked_sub(shared.origin.elapsed());
        Exporter {
            started_ns: started.unwrap_or_default().as_nanos() as u64,
            shared,
            notifiers,
            standing,
            responder,
            memory: Mutex::default(),
        }
    }

    /// There were too many connections at a time.
    pub(super) fn count_turned_away(&self) {
        let turned_away = &self.shared.metrics_turned_away;
        turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything, as text.
    pub(super) fn render(&self) -> String {
        let memory = self.memory.lock();
        let Memory { chosen, busy_ns } = &mut *memory.unwrap_or_else(PoisonError::into_inner);
        let ready = self.hear_from_workers();
        self.note_busy_time(busy_ns);
        // Not a guard: this takes a while.
        let routing = self.shared.routing.load_full();
        let usage = &self.shared.usage;
        let responder = Responder::ask(&self.responder);
        let mut with_traffic = usage.sites_with_traffic();
        with_traffic.extend(responder.iter().flat_map(|it| it.queries.keys()));
        let tenant = |site| routing.served(site).map(|it| it.site().tenant_id);
        let sites_left_out = chosen.update(&with_traffic, tenant);
        let figures = usage.figures(|site| site == NO_SITE || chosen.has(site));
        let rows = Rows::new(&routing, chosen);
        let scrape = Scrape {
            shared: &self.shared,
            routing: &routing,
            position: &self.standing.position(),
            started_ns: self.started_ns,
            ready,
            busy_ns,
            sites: site_rows(&routing, chosen, figures),
            sites_left_out,
            backends: rows.backends,
            backends_left_out: rows.left_out,
            pools: rows.pools,
            states: states(&routing),
        };
        let mut exposition = Exposition::default();
        families::write(&scrape, &mut exposition);
        let queries = responder.as_ref().map_or_else(Vec::new, |responder| {
            site_queries(&routing, chosen, responder)
        });
        dns::write(responder.as_ref(), &queries, &mut exposition);
        exposition.into_text()
    }

    /// Has every worker publish its numbers; whether all did in time.
    fn hear_from_workers(&self) -> bool {
        let asked = self.shared.ask_workers(&self.notifiers);
        let begun = Instant::now();
        while !self.shared.have_answered(&asked) {
            if begun.elapsed() > WORKERS_TIMEOUT {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    fn note_busy_time(&self, busy_ns: &mut Vec<u64>) {
        let workers = &self.shared.workers;
        busy_ns.resize(workers.len(), 0);
        for (board, busy_ns) in workers.iter().zip(busy_ns) {
            let now_ns = board.looked_ns.get().saturating_sub(board.waited_ns.get());
            *busy_ns = now_ns.max(*busy_ns);
        }
    }
}

fn site_labels(tenant: &str, site: &str) -> Labels {
    Labels::none().with("tenant", tenant).with("site", site)
}

/// What belongs to no site comes first.
fn site_rows(
    routing: &Routing,
    chosen: &Chosen,
    mut figures: HashMap<SiteId, SiteFigures>,
) -> Vec<SiteRow> {
    let nobody = figures.remove(&NO_SITE).map(|figures| SiteRow {
        labels: site_labels("-", "-"),
        figures,
    });
    let of_sites = chosen.sites().iter().filter_map(|id| {
        let site = routing.served(*id)?.site();
        Some(SiteRow {
            labels: site_labels(&site.tenant, &site.name),
            figures: figures.remove(id)?,
        })
    });
    nobody.into_iter().chain(of_sites).collect()
}

/// As [`site_rows`], of sites that were asked for by DNS.
fn site_queries(routing: &Routing, chosen: &Chosen, responder: &Responder) -> Vec<SiteQueries> {
    let row = |id: SiteId, labels: Labels| {
        let queries = *responder.queries.get(&id)?;
        Some(SiteQueries { labels, queries })
    };
    let of_sites = chosen.sites().iter().filter_map(|&id| {
        let site = routing.served(id)?.site();
        row(id, site_labels(&site.tenant, &site.name))
    });
    row(NO_SITE, site_labels("-", "-"))
        .into_iter()
        .chain(of_sites)
        .collect()
}

impl Rows {
    /// The backends of the chosen sites, as many as there may be by the tenants' [`shares`], and the
    /// pools of these. So there are no more pools than there may be backends.
    fn new(routing: &Routing, chosen: &Chosen) -> Rows {
        let of_chosen = || chosen.sites().iter().filter_map(|&id| routing.served(id));
        let mut wanted: HashMap<TenantId, usize> = HashMap::new();
        for site in of_chosen().map(|served| served.site()) {
            *wanted.entry(site.tenant_id).or_default() += backends(site).count();
        }
        let mut left = shares(wanted, |_| 0, METRICS_BACKENDS_MAX);
        let mut rows = Rows::default();
        for served in of_chosen() {
            let left = left.entry(served.site().tenant_id).or_default();
            for pool in &served.site().pools {
                rows.add(served, pool, left);
            }
        }
        rows
    }

    /// As many of the backends of a pool as are `left`.
    fn add(&mut self, served: &ServedSite, pool: &Pool, left: &mut usize) {
        let site = served.site();
        let of_pool = site_labels(&site.tenant, &site.name).with("pool", &pool.name);
        let before = self.backends.len();
        for backend in pool.tiers.iter().flat_map(|tier| &tier.backends) {
            let Some(state) = served.backend_state(&backend.key) else {
                continue;
            };
            if *left == 0 {
                self.left_out += 1;
                continue;
            }
            *left -= 1;
            self.backends.push(BackendRow {
                labels: of_pool
                    .with("backend", backend.name())
                    .with("address", backend.address()),
                weight: backend.weight,
                state,
            });
        }
        if self.backends.len() > before
            && pool.queue.is_some()
            && let Some(queue) = served.queue(pool.id)
        {
            self.pools.push(PoolRow {
                labels: of_pool,
                queue: Arc::clone(queue),
            });
        }
    }
}

fn states(routing: &Routing) -> [(&'static str, u64); 4] {
    let mut states = BackendState::WORDS.map(|word| (word, 0));
    for state in routing.backend_states() {
        let word = state.word();
        for (_, count) in states.iter_mut().filter(|(it, _)| *it == word) {
            *count += 1;
        }
    }
    states
}
