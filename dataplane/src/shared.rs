//! What the threads of a plane share: the routing, the wall clock, and a board per worker.

use crate::accept_queue::AcceptQueues;
use crate::access_log::LogStanding;
use crate::counters::{Causes, Counter};
use crate::drains::Drains;
use crate::entrance::Entrance;
use crate::failures::Question;
use crate::health::{HealthChecks, descriptors_for_checks};
use crate::limits::Meters;
use crate::names::Names;
use crate::peers::{LostSites, Peers, ProbeCounters};
use crate::routing::{Joint, Routing};
use crate::sticky::StickyKey;
use crate::tls::{BackendConfigs, Loader};
use crate::usage::Usage;
use arc_swap::ArcSwap;
use meridian_model::limits::{
    CLIENT_DESCRIPTORS_PERCENT, DESCRIPTORS_RESERVED, RECEIVE_BUFFERS_LEAST, RECEIVE_MEMORY_PERCENT,
};
use meridian_sys::Notifier;
use meridian_sys::limits::{BUFFERS_MAX, RECV_STRIDE_BYTES};
use meridian_sys::process::random_bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a worker shows of itself. It writes, the control thread reads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerBoard {
    /// 1 once it has drained and ended: it answers no more.
    pub(crate) ended: Counter,
    /// The revision that it serves.
    pub(crate) revision: Counter,
    /// The serial of the routing that it took up last.
    pub(crate) routing: Counter,
    /// Connections that came to it since the start, whoever accepted them.
    pub(crate) accepted: Counter,
    /// Connections that it accepted and another worker has.
    pub(crate) handed_over: Counter,
    /// Connections that it kept, for the queue of the other worker was full.
    pub(crate) accept_queue_full: Counter,
    /// Final responses begun since the start.
    pub(crate) requests: Counter,
    /// Bad ends by cause.
    pub(crate) causes: Causes,
    /// Retries that the budget of a site did not allow.
    pub(crate) retries_refused: Counter,
    /// Requests that went to the backend that their cookie names.
    pub(crate) sticky_kept: Counter,
    /// Requests that had to wait for room at a backend.
    pub(crate) queued: Counter,
    /// Of these, the ones that wait now.
    pub(crate) waiting: Counter,
    /// Cookies set.
    pub(crate) sticky_set: Counter,
    /// Requests whose cookies of a pool's name named none of its backends.
    pub(crate) sticky_unknown: Counter,
    /// Idle client connections that were closed for want of descriptors.
    pub(crate) client_connections_closed: Counter,
    /// Client connections that were closed as they came, for those before them are in use.
    pub(crate) clients_turned_away: Counter,
    /// Pooled connections to backends that were closed for want of descriptors.
    pub(crate) upstream_connections_closed: Counter,
    /// Connections closed because the host denies their clients.
    pub(crate) clients_denied: Counter,
    /// Connections of proxies that did not begin with a header of the PROXY protocol.
    pub(crate) proxy_headers_bad: Counter,
    /// Connections of proxies whose header did not come in time.
    pub(crate) proxy_headers_late: Counter,
    /// Handshakes of TLS that were made.
    pub(crate) tls_handshakes: Counter,
    /// Of these, the ones that resumed a session.
    pub(crate) tls_resumed: Counter,
    /// Requests without TLS that were sent to the same by HTTPS.
    pub(crate) redirects_to_https: Counter,
    /// Handshakes that were refused for what the client sent.
    pub(crate) tls_refused: Counter,
    /// Handshakes whose client showed no certificate that its site takes.
    pub(crate) tls_clients_refused: Counter,
    /// Handshakes that asked for no site with certificates.
    pub(crate) tls_unknown_names: Counter,
    /// Handshakes that took too long.
    pub(crate) tls_late: Counter,
    /// Handshakes whose clients went away.
    pub(crate) tls_gone: Counter,
    /// Handshakes that were not begun, for too many were under way.
    pub(crate) tls_over_limit: Counter,
    /// Handshakes with sites whose certificates could not be had.
    pub(crate) tls_without_certificate: Counter,
    /// Probes of other hosts.
    pub(crate) probes: ProbeCounters,
    /// Connections to backends refused by the address policy.
    pub(crate) policy_refusals: Counter,
    /// Entries of the access log for which there was no room.
    pub(crate) log_lost: Counter,
    /// Failures that were forgotten for want of room.
    pub(crate) failures_forgotten: Counter,
    /// The numbers below are published when asked for; this grows by one each time.
    pub(crate) published: Counter,
    /// Client connections that are open.
    pub(crate) connections: Counter,
    /// Of these, the ones that wait for a request.
    pub(crate) idle_connections: Counter,
    /// Sockets of any kind.
    pub(crate) sockets: Counter,
    /// Turns of the loop.
    pub(crate) turns: Counter,
    /// When it published them, in nanoseconds from [`Shared::origin`].
    pub(crate) looked_ns: Counter,
    /// Nanoseconds spent waiting.
    pub(crate) waited_ns: Counter,
    /// Of these, nanoseconds spent looking instead of sleeping.
    pub(crate) polled_ns: Counter,
    /// Receives that waited for a buffer.
    pub(crate) starved: Counter,
    /// Receives that waited because their tenant held its share of the buffers.
    pub(crate) over_share: Counter,
    /// Accepts that failed for want of descriptors or memory.
    pub(crate) accept_failures: Counter,
    /// Completions that belonged to nobody; a fault of ours.
    pub(crate) stale: Counter,
    /// Receive buffers in circulation.
    pub(crate) buffers: Counter,
    /// Receive buffers that there may be.
    pub(crate) buffers_max: Counter,
    /// Receive buffers that hold bytes.
    pub(crate) buffers_in_use: Counter,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The routing that new requests are served by.
    pub(crate) routing: Arc<ArcSwap<Routing>>,
    /// Seconds since 1970, as the control thread last looked.
    pub(crate) wall_seconds: AtomicU64,
    /// Client connections that each worker may have.
    pub(crate) client_connections_max: u64,
    /// Connections that each worker may have in all, to clients and to backends.
    pub(crate) sockets_max: u64,
    /// Who may come in.
    pub(crate) entrance: Entrance,
    /// Whether workers may look for what comes instead of sleeping.
    pub(crate) busy_polling: bool,
    /// Receive buffers that each worker may have.
    pub(crate) buffers_max: u16,
    /// What was served.
    pub(crate) usage: Arc<Usage>,
    /// The names that backends are known by.
    pub(crate) names: Arc<Names>,
    /// The checks of backends.
    pub(crate) health: Arc<HealthChecks>,
    /// The sites that lack a backend.
    pub(crate) lost_sites: Arc<LostSites>,
    /// What other hosts are told.
    pub(crate) peers: Peers,
    /// What is used of limits.
    pub(crate) meters: Meters,
    /// From which on workers say when they published their numbers.
    pub(crate) origin: Instant,
    /// The backends that are drained.
    pub(crate) drains: Drains,
    /// What cookies are made with.
    pub(crate) sticky_key: StickyKey,
    /// Reads certificates.
    pub(crate) certificates: Loader,
    /// What handshakes with backends are made with.
    pub(crate) backend_tls: BackendConfigs,
    /// Grows with each question for the numbers that workers publish.
    pub(crate) questions: AtomicU64,
    /// Questions for failures that are open: looked at when `questions` grew.
    failure_questions: Mutex<Vec<Arc<Question>>>,
    /// How the access log stands; none where there is no log.
    pub(crate) log: Option<Arc<LogStanding>>,
    /// Connections for metrics that were closed, for there were too many.
    pub(crate) metrics_turned_away: AtomicU64,
    /// A stop was asked for.
    pub(crate) draining: AtomicBool,
    /// Connections between workers.
    pub(crate) accept_queues: AcceptQueues,
    /// By worker.
    pub(crate) workers: Box<[WorkerBoard]>,
}

/// What outlives revisions and the sites of each are joined with.
#[derive(Debug)]
pub(crate) struct Registers {
    /// The names that backends are known by.
    pub(crate) names: Arc<Names>,
    /// What is used of limits.
    pub(crate) meters: Meters,
    /// The backends that are drained.
    pub(crate) drains: Drains,
    /// What cookies are made with.
    pub(crate) sticky_key: StickyKey,
    /// Reads certificates.
    pub(crate) certificates: Loader,
    /// What handshakes with backends are made with.
    pub(crate) backend_tls: BackendConfigs,
    /// What other hosts are told.
    pub(crate) peers: Peers,
}

/// Workers that were asked to publish their numbers.
#[derive(Debug)]
pub(crate) struct Asked {
    /// How often each had published before.
    before: Vec<u64>,
}

/// What a process has to serve with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    /// Threads that serve.
    pub(crate) workers: usize,
    /// Files that may be open.
    pub(crate) descriptors: u64,
    /// Memory of the machine.
    pub(crate) memory_bytes: u64,
    /// Whether workers may look for what comes instead of sleeping.
    pub(crate) busy_polling: bool,
}

/// Receive buffers that each of so many workers may have on a machine with so much memory: a power
/// of two, as the ring of buffers has.
fn buffers_of_a_worker(memory_bytes: u64, workers: usize) -> u16 {
    let for_buffers = memory_bytes / 100 * RECEIVE_MEMORY_PERCENT;
    let of_a_worker = for_buffers / workers.max(1) as u64 / RECV_STRIDE_BYTES as u64;
    let most = of_a_worker.clamp(RECEIVE_BUFFERS_LEAST.into(), BUFFERS_MAX.into());
    1 << most.ilog2()
}

impl Shared {
    /// What the sites of a routing are joined with.
    pub(crate) fn joint(&self) -> Joint<'_> {
        Joint {
            names: &self.names,
            meters: &self.meters,
            drains: &self.drains,
        }
    }

    /// What the workers of a process with these `means` share, beginning with `routing`, which
    /// was made with these `registers`, and counting into `usage`; `entrance` says who may come in.
    pub(crate) fn new(
        routing: Routing,
        registers: Registers,
        usage: Arc<Usage>,
        wall_seconds: u64,
        entrance: Entrance,
        means: Means,
        log: Option<Arc<LogStanding>>,
    ) -> std::io::Result<Arc<Shared>> {
        let Means {
            workers,
            descriptors,
            memory_bytes,
            busy_polling,
        } = means;
        let for_sockets = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
        let for_clients = for_sockets * CLIENT_DESCRIPTORS_PERCENT / 100;
        let for_checks = descriptors_for_checks(for_sockets);
        let of_a_worker = |all: u64| (all / workers.max(1) as u64).max(1);
        let routing = Arc::new(ArcSwap::from_pointee(routing));
        let lost_sites = LostSites::new(&routing, u64::from_ne_bytes(random_bytes()?));
        let backend_tls = registers.backend_tls.clone();
        let health = HealthChecks::start(&routing, for_checks, backend_tls, &lost_sites)?;
        Ok(Arc::new(Shared {
            routing,
            health,
            lost_sites,
            peers: registers.peers,
            wall_seconds: AtomicU64::new(wall_seconds),
            client_connections_max: of_a_worker(for_clients),
            sockets_max: of_a_worker(for_sockets.saturating_sub(for_checks)),
            entrance,
            busy_polling,
            buffers_max: buffers_of_a_worker(memory_bytes, workers),
            usage,
            names: registers.names,
            meters: registers.meters,
            drains: registers.drains,
            sticky_key: registers.sticky_key,
            certificates: registers.certificates,
            backend_tls: registers.backend_tls,
            origin: Instant::now(),
            questions: AtomicU64::new(0),
            failure_questions: Mutex::default(),
            log,
            metrics_turned_away: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            accept_queues: AcceptQueues::new(workers),
            workers: (0..workers).map(|_| WorkerBoard::default()).collect(),
        }))
    }

    /// Asks every worker to publish its numbers.
    pub(crate) fn ask_workers(&self, notifiers: &[Notifier]) -> Asked {
        let before = self.workers.iter().map(|it| it.published.get()).collect();
        self.questions.fetch_add(1, Ordering::AcqRel);
        notifiers.iter().for_each(Notifier::notify);
        Asked { before }
    }

    /// Whether every worker has, or has ended.
    pub(crate) fn have_answered(&self, asked: &Asked) -> bool {
        let mut both = self.workers.iter().zip(&asked.before);
        both.all(|(board, &before)| board.published.get() > before || board.ended.get() == 1)
    }

    /// Asks the workers; they see it when `questions` grows.
    pub(crate) fn open_question(&self, question: &Arc<Question>) {
        self.open_questions().push(Arc::clone(question));
    }

    /// Nobody needs an answer any more.
    pub(crate) fn close_question(&self, question: &Arc<Question>) {
        self.open_questions()
            .retain(|open| !Arc::ptr_eq(open, question));
    }

    /// Gives each open question to `answer`.
    pub(crate) fn each_question(&self, answer: impl Fn(&Question)) {
        self.open_questions()
            .iter()
            .for_each(|question| answer(question));
    }

    fn open_questions(&self) -> MutexGuard<'_, Vec<Arc<Question>>> {
        let questions = &self.failure_questions;
        questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receive_buffers_go_by_the_machine() {
        let stride = RECV_STRIDE_BYTES as u64;
        let memory = |buffers: u64| buffers * stride * 100 / RECEIVE_MEMORY_PERCENT + 4096;
        assert_eq!(buffers_of_a_worker(memory(8192), 1), 8192);
        assert_eq!(buffers_of_a_worker(memory(8191), 1), 4096);
        assert_eq!(buffers_of_a_worker(memory(8192), 2), 4096);
        assert_eq!(buffers_of_a_worker(0, 4), RECEIVE_BUFFERS_LEAST);
        assert_eq!(buffers_of_a_worker(u64::MAX, 1), BUFFERS_MAX);
    }
}
